//! The fields of a protobuf `oneof`: a message sets at most one of them.

use super::{
    error::{ConfigError, Result},
    path::Path,
};

/// The field that is set, with its name; `None` if no field is set.
///
/// # Errors
/// Several fields are set.
pub(super) fn at_most_one<T>(
    path: &Path<'_>,
    fields: &mut [(&'static str, Option<T>)],
) -> Result<Option<(&'static str, T)>> {
    match number_set(fields) {
        0 | 1 => Ok(first(fields)),
        _ => Err(wrong_number(path, "at most one", &names(fields))),
    }
}

/// The field that is set, with its name.
///
/// # Errors
/// No field or several fields are set.
pub(super) fn exactly_one<T>(path: &Path<'_>, fields: &mut [(&'static str, Option<T>)]) -> Result<(&'static str, T)> {
    let field = if number_set(fields) == 1 { first(fields) } else { None };
    field.ok_or_else(|| wrong_number(path, "exactly one", &names(fields)))
}

fn number_set<T>(fields: &[(&'static str, Option<T>)]) -> usize {
    fields.iter().filter(|(_, value)| value.is_some()).count()
}

fn first<T>(fields: &mut [(&'static str, Option<T>)]) -> Option<(&'static str, T)> {
    fields.iter_mut().find_map(|(name, value)| Some((*name, value.take()?)))
}

/// The name of each field, and whether the field is set.
fn names<T>(fields: &[(&'static str, Option<T>)]) -> Vec<(&'static str, bool)> {
    fields.iter().map(|(name, value)| (*name, value.is_some())).collect()
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
        assert_eq!(exactly_one(&path, &mut fields(None, Some(2))), Ok(("b", 2)));
        assert_eq!(at_most_one(&path, &mut fields(Some(1), None)), Ok(Some(("a", 1))));
        assert_eq!(at_most_one::<u8>(&path, &mut fields(None, None)), Ok(None));
        let none = exactly_one::<u8>(&path, &mut fields(None, None)).map_err(text);
        assert_eq!(none, Err("f: expected exactly one of a, b; found none".to_owned()));
        let both = exactly_one(&path, &mut fields(Some(1), Some(2))).map_err(text);
        assert_eq!(both, Err("f: expected exactly one of a, b; found a, b".to_owned()));
        let both = at_most_one(&path, &mut fields(Some(1), Some(2))).map_err(text);
        assert_eq!(both, Err("f: expected at most one of a, b; found a, b".to_owned()));
    }
}
