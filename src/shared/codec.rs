//! Numbers, times and bytes in shared data: little-endian numbers of eight bytes, bytes behind their length.
//!
//! A reader treats its input as hostile: each read may fail, none panics.

use std::time::Duration;

use crate::time::UnixTime;

/// Stands for a number that is absent.
const ABSENT: u64 = u64::MAX;

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A writer whose output begins with a format marker.
    pub fn new(marker: &[u8]) -> Self {
        Self(marker.to_vec())
    }

    /// The bytes written so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn optional(&mut self, number: Option<u64>) {
        self.number(number.unwrap_or(ABSENT));
    }

    pub fn time(&mut self, time: UnixTime) {
        self.number(time.as_millis());
    }

    pub fn optional_time(&mut self, time: Option<UnixTime>) {
        self.optional(time.map(UnixTime::as_millis));
    }

    /// Writes whole milliseconds.
    pub fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    /// Writes whole seconds.
    pub fn optional_seconds(&mut self, duration: Option<Duration>) {
        self.optional(duration.map(|duration| duration.as_secs()));
    }

    /// Writes bytes whose number the reader knows.
    pub fn array<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// Takes values from the front of a buffer. `None`: the buffer does not hold such a value.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of what follows the format marker. `None`: the marker is another.
    pub fn new(bytes: &'a [u8], marker: &[u8]) -> Option<Self> {
        bytes.strip_prefix(marker).map(Self)
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub fn small_number(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub fn optional(&mut self) -> Option<Option<u64>> {
        self.number().map(|number| (number != ABSENT).then_some(number))
    }

    pub fn time(&mut self) -> Option<UnixTime> {
        self.number().map(UnixTime::from_millis)
    }

    pub fn optional_time(&mut self) -> Option<Option<UnixTime>> {
        Some(self.optional()?.map(UnixTime::from_millis))
    }

    pub fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    pub fn optional_seconds(&mut self) -> Option<Option<Duration>> {
        Some(self.optional()?.map(Duration::from_secs))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_takes_what_a_writer_wrote_and_nothing_shorter() {
        let mut writer = Writer::new(b"m");
        writer.number(7);
        writer.optional(None);
        writer.optional_time(Some(UnixTime::from_millis(3)));
        writer.duration(Duration::from_millis(1500));
        writer.optional_seconds(Some(Duration::from_millis(1500)));
        writer.bytes(b"abc");
        let bytes = writer.into_bytes();
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes, b"m")?;
            let values = (reader.number()?, reader.optional()?, reader.optional_time()?, reader.duration()?);
            let more = (reader.optional_seconds()?, reader.bytes()?.to_vec());
            reader.is_empty().then_some((values, more))
        };
        let values = (7, None, Some(UnixTime::from_millis(3)), Duration::from_millis(1500));
        assert_eq!(read(&bytes), Some((values, (Some(Duration::from_secs(1)), b"abc".to_vec()))));
        assert!((0..bytes.len()).all(|cut| read(&bytes[..cut]).is_none()));
        assert!(Reader::new(&bytes, b"n").is_none());
    }
}
