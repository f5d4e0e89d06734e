//! The path of a field, for error messages.

use std::fmt;

use super::error::ConfigError;

/// Where a field is: a list linked from the field to the root, so that a path costs nothing until an error prints it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    /// The configuration as a whole.
    Root,
    /// A member of a message or a map.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list.
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(super) fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Field(self, name)
    }

    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }

    /// The error that this field causes.
    pub(super) fn error(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::new(self.to_string(), reason)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Path::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_printed_from_the_root() {
        let providers = Path::Root.field("providers");
        let headers = providers.field("p").field("from_headers").to_string();
        assert_eq!(headers, "providers.p.from_headers");
        assert_eq!(Path::Root.field("rules").index(3).field("match").to_string(), "rules[3].match");
        assert_eq!(Path::Root.error("empty").to_string(), "configuration: empty");
        assert_eq!(Path::Root.field("mode").error("unknown").to_string(), "mode: unknown");
    }
}
