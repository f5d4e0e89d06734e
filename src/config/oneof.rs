//! The fields of a protobuf `oneof`: a message sets at most one of them.

use super::{
    error::{ConfigError, Result},
    path::Path,
};

/// The field that is set, with its name; `None` if no field is set.
///
/// # Errors
/// Several fields are set.
pub(super) fn at_most_one<T, const N: usize>(
    path: &Path<'_>,
    fields: [(&'static str, Option<T>); N],
) -> Result<Option<(&'static str, T)>> {
    let names = names(&fields);
    let mut set = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    match (set.next(), set.next()) {
        (field, None) => Ok(field),
        (_, Some(_)) => Err(wrong_number(path, "at most one", &names)),
    }
}

/// The field that is set, with its name.
///
/// # Errors
/// No field or several fields are set.
pub(super) fn exactly_one<T, const N: usize>(
    path: &Path<'_>,
    fields: [(&'static str, Option<T>); N],
) -> Result<(&'static str, T)> {
    let names = names(&fields);
    let mut set = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    match (set.next(), set.next()) {
        (Some(field), None) => Ok(field),
        _ => Err(wrong_number(path, "exactly one", &names)),
    }
}

/// The name of each field, and whether the field is set.
fn names<T, const N: usize>(fields: &[(&'static str, Option<T>); N]) -> [(&'static str, bool); N] {
    fields.each_ref().map(|(name, value)| (*name, value.is_some()))
}

fn wrong_number(path: &Path<'_>, expected: &str, names: &[(&str, bool)]) -> ConfigError {
    let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    let set: Vec<_> = names.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    let found = if set.is_empty() { "none".to_owned() } else { set.join(", ") };
    path.error(format!("expected {expected} of {}; found {found}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_fields_that_are_known_and_those_that_are_set() {
        let path = Path::Root.field("f");
        let fields = |a, b| [("a", a), ("b", b)];
        let text = |error: ConfigError| error.to_string();
        assert_eq!(exactly_one(&path, fields(None, Some(2))), Ok(("b", 2)));
        assert_eq!(at_most_one(&path, fields(Some(1), None)), Ok(Some(("a", 1))));
        assert_eq!(at_most_one::<u8, 2>(&path, fields(None, None)), Ok(None));
        let none = exactly_one::<u8, 2>(&path, fields(None, None)).map_err(text);
        assert_eq!(none, Err("f: expected exactly one of a, b; found none".to_owned()));
        let both = exactly_one(&path, fields(Some(1), Some(2))).map_err(text);
        assert_eq!(both, Err("f: expected exactly one of a, b; found a, b".to_owned()));
        let both = at_most_one(&path, fields(Some(1), Some(2))).map_err(text);
        assert_eq!(both, Err("f: expected at most one of a, b; found a, b".to_owned()));
    }
}
