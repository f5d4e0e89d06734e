//! Checks of single values, shared by several messages.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    config::{
        duration,
        error::Result,
        oneof,
        path::Path,
        schema::{self, RegexMatcher},
    },
    string_matcher::{Pattern, StringMatcher},
};

/// Rejects a message that sets one of these fields.
pub(super) fn unsupported<const N: usize>(
    path: &Path<'_>,
    fields: [(&'static str, &Option<schema::Unsupported>); N],
    reason: &str,
) -> Result<()> {
    match fields.into_iter().find(|(_, value)| value.is_some()) {
        Some((field, _)) => Err(path.field(field).error(reason)),
        None => Ok(()),
    }
}

/// Rejects a list with an invalid item.
pub(super) fn check_items(
    path: &Path<'_>,
    items: &[String],
    is_valid: impl Fn(&str) -> bool,
    reason: &str,
) -> Result<()> {
    match items.iter().position(|item| !is_valid(item)) {
        Some(index) => Err(path.index(index).error(reason)),
        None => Ok(()),
    }
}

pub(super) fn in_range(path: &Path<'_>, value: Duration, range: RangeInclusive<Duration>) -> Result<Duration> {
    if range.contains(&value) {
        Ok(value)
    } else {
        let (min, max) = (duration::text(*range.start()), duration::text(*range.end()));
        Err(path.error(format!("must be from {min} to {max}")))
    }
}

/// A valid header name (RFC 9110 §5.1), in lower case.
pub(super) fn header_name(name: &str) -> Option<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(token)).then(|| name.to_ascii_lowercase())
}

/// The name of a header that the filter may set, in lower case.
pub(super) fn writable_header(path: &Path<'_>, name: &str) -> Result<String> {
    let writable = header_name(name).filter(|name| name != "host");
    writable.ok_or_else(|| path.error(format!("{name:?} is not a header that can be set")))
}

pub(super) fn regex(path: &Path<'_>, wire: &RegexMatcher) -> Result<Pattern> {
    Pattern::regex(&wire.regex).map_err(|reason| path.field("regex").error(reason))
}

pub(super) fn string_matcher(path: &Path<'_>, wire: &schema::StringMatcher) -> Result<StringMatcher> {
    unsupported(path, [("custom", &wire.custom)], "Envoy extensions are not available to Wasm filters")?;
    let safe_regex = wire.safe_regex.as_ref().map(|wire| regex(&path.field("safe_regex"), wire)).transpose()?;
    let (_, pattern) = oneof::exactly_one(
        path,
        &mut [
            ("exact", wire.exact.clone().map(Pattern::Exact)),
            ("prefix", wire.prefix.clone().map(Pattern::Prefix)),
            ("suffix", wire.suffix.clone().map(Pattern::Suffix)),
            ("contains", wire.contains.clone().map(Pattern::Contains)),
            ("safe_regex", safe_regex),
        ],
    )?;
    Ok(StringMatcher::new(pattern, wire.ignore_case))
}
