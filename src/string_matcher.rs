//! String matching with the semantics of Envoy's `envoy.type.matcher.v3.StringMatcher`.

use regex_lite::{Regex, RegexBuilder};

/// A pattern that a string must match.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    pattern: Pattern,
    ignore_case: bool,
}

/// The `match_pattern` of a [`StringMatcher`].
#[derive(Clone, Debug)]
pub enum Pattern {
    /// The string equals the text.
    Exact(String),
    /// The string starts with the text.
    Prefix(String),
    /// The string ends with the text.
    Suffix(String),
    /// The string contains the text.
    Contains(String),
    /// The whole string matches the expression, in linear time.
    Regex(Regex),
}

/// Largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Longest text that a regular expression is tried on, in bytes. An expression takes up to 0.2 µs for each byte, and clients
/// choose the text.
pub const MAX_REGEX_INPUT: usize = 4096;

/// The text is longer than [`MAX_REGEX_INPUT`], so nobody knows whether the regular expression matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl StringMatcher {
    /// Creates a matcher. `ignore_case` applies to ASCII letters, and does not apply to regular expressions.
    pub fn new(pattern: Pattern, ignore_case: bool) -> Self {
        let normalize = |text: String| if ignore_case { text.to_ascii_lowercase() } else { text };
        let pattern = match pattern {
            Pattern::Exact(text) => Pattern::Exact(normalize(text)),
            Pattern::Prefix(text) => Pattern::Prefix(normalize(text)),
            Pattern::Suffix(text) => Pattern::Suffix(normalize(text)),
            Pattern::Contains(text) => Pattern::Contains(normalize(text)),
            Pattern::Regex(regex) => Pattern::Regex(regex),
        };
        Self { pattern, ignore_case }
    }

    /// Whether `text` matches the pattern.
    ///
    /// # Errors
    /// [`TooLong`]: the pattern is a regular expression.
    pub fn matches(&self, text: &str) -> Result<bool, TooLong> {
        if self.ignore_case {
            self.pattern.matches(&text.to_ascii_lowercase())
        } else {
            self.pattern.matches(text)
        }
    }

    /// Whether `bytes` match the pattern. Invalid UTF-8 counts as U+FFFD.
    ///
    /// # Errors
    /// As for [`Self::matches`].
    pub fn matches_bytes(&self, bytes: &[u8]) -> Result<bool, TooLong> {
        self.matches(&String::from_utf8_lossy(bytes))
    }

    /// The text that alone matches, if there is one.
    pub fn exact(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Exact(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }

    /// Whether the pattern is a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self.pattern, Pattern::Regex(_))
    }
}

impl Pattern {
    /// Compiles a regular expression that must match the whole string, as Envoy's `safe_regex` does.
    ///
    /// # Errors
    /// The expression is empty, invalid or too large; the text says which.
    pub fn regex(regex: &str) -> Result<Self, String> {
        if regex.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let build = |regex: &str| {
            RegexBuilder::new(regex).size_limit(MAX_REGEX_BYTES).build().map_err(|error| error.to_string())
        };
        // The expression must be valid alone: `a)|(?:b` would close the group that anchors it.
        build(regex)?;
        build(&format!("^(?:{regex})$")).map(Self::Regex)
    }

    /// Whether `bytes` match the pattern. Invalid UTF-8 counts as U+FFFD.
    ///
    /// # Errors
    /// As for [`StringMatcher::matches`].
    pub fn matches_bytes(&self, bytes: &[u8]) -> Result<bool, TooLong> {
        self.matches(&String::from_utf8_lossy(bytes))
    }

    fn matches(&self, text: &str) -> Result<bool, TooLong> {
        Ok(match self {
            Self::Exact(expected) => text == expected,
            Self::Prefix(expected) => text.starts_with(expected.as_str()),
            Self::Suffix(expected) => text.ends_with(expected.as_str()),
            Self::Contains(expected) => text.contains(expected.as_str()),
            Self::Regex(_) if text.len() > MAX_REGEX_INPUT => return Err(TooLong),
            Self::Regex(regex) => regex.is_match(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_matches_only_its_pattern() {
        let regex = Pattern::regex("spiffe://[a-z]+/x|y").unwrap();
        let cases = [
            (Pattern::Exact("ab".into()), vec!["ab"], vec!["abc", "AB", ""]),
            (Pattern::Prefix("ab".into()), vec!["ab", "abc"], vec!["aab", "AB"]),
            (Pattern::Suffix("ab".into()), vec!["ab", "aab"], vec!["abc", "AB"]),
            (Pattern::Contains("ab".into()), vec!["ab", "xabx"], vec!["axb", "AB"]),
            (regex, vec!["spiffe://a/x", "y"], vec!["spiffe://a/xx", "spiffe://a/y", "yy", "y\n", "\ny"]),
        ];
        for (pattern, good, bad) in cases {
            let matcher = StringMatcher::new(pattern, false);
            assert!(good.iter().all(|text| matcher.matches(text) == Ok(true)), "{matcher:?}");
            assert!(bad.iter().all(|text| matcher.matches(text) == Ok(false)), "{matcher:?}");
        }
        assert_eq!(StringMatcher::new(Pattern::Prefix("Ab".into()), true).matches("aBc"), Ok(true));
    }

    #[test]
    fn no_regular_expression_is_tried_on_a_long_text() {
        let regex = StringMatcher::new(Pattern::regex("a*").unwrap(), false);
        assert_eq!(regex.matches(&"a".repeat(MAX_REGEX_INPUT)), Ok(true));
        assert_eq!(regex.matches(&"a".repeat(MAX_REGEX_INPUT + 1)), Err(TooLong));
        // Each invalid byte becomes a character of three bytes.
        assert_eq!(regex.matches_bytes(&[0xff; MAX_REGEX_INPUT]), Err(TooLong));
        let prefix = StringMatcher::new(Pattern::Prefix("a".into()), false);
        assert_eq!(prefix.matches(&"a".repeat(MAX_REGEX_INPUT + 1)), Ok(true));
    }

    #[test]
    fn regular_expressions_are_validated_and_bounded() {
        assert!(Pattern::regex("").is_err() && Pattern::regex("(").is_err());
        assert!(Pattern::regex("(a{1000}){1000}").is_err());
        assert!(Pattern::regex("a)|(?:b").is_err());
    }
}
