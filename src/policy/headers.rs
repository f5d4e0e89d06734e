//! A view of a request's headers: names are lower-case, values are whatever bytes the client sent.

/// The header map as the host gave it, pseudo-headers included.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [(String, Vec<u8>)]);

impl<'a> Headers<'a> {
    /// A view of this list.
    pub fn new(list: &'a [(String, Vec<u8>)]) -> Self {
        Self(list)
    }

    /// Every value of this header, in order.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        self.0.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The first value of this header.
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The path without query and fragment.
    pub fn path(self) -> &'a [u8] {
        let target = self.first(":path").unwrap_or_default();
        target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
    }
}
