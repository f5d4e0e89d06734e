//! The suggestion for a misspelt field: the known fields whose names are closest.

/// More edits than this make another name.
const MAX_DISTANCE: usize = 2;

/// The fields closest to `name`, as "; did you mean `a` or `b`?"; empty if none is close.
///
/// A field may be listed several times in `known`, with each of its spellings.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut closest = MAX_DISTANCE;
    let mut fields: Vec<&str> = Vec::new();
    for (field, spelling) in known {
        let Some(distance) = distance(name, &spelling).filter(|distance| *distance <= closest) else { continue };
        if distance < closest {
            closest = distance;
            fields.clear();
        }
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    if fields.is_empty() {
        return String::new();
    }
    let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    format!("; did you mean {}?", fields.join(" or "))
}

/// Levenshtein distance, computed row by row; `None` if it exceeds [`MAX_DISTANCE`] or `known` is too short to guess.
fn distance(name: &str, known: &str) -> Option<usize> {
    if name.len().abs_diff(known.len()) > MAX_DISTANCE {
        return None;
    }
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for a in name.bytes() {
        let mut diagonal = row.first().map_or(0, |first| *first);
        let mut left = diagonal.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(known.bytes()) {
            let substituted = diagonal.saturating_add(usize::from(a != b));
            diagonal = *cell;
            left = substituted.min(left.saturating_add(1)).min(diagonal.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().filter(|distance| *distance <= MAX_DISTANCE && known.len() > MAX_DISTANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestion(name: &str) -> String {
        let known = [("min_ttl", "min_ttl"), ("min_ttl", "minTtl"), ("max_ttl", "max_ttl"), ("uri", "uri")];
        did_you_mean(name, known.into_iter().map(|(field, spelling)| (field, spelling.to_owned())))
    }

    #[test]
    fn the_closest_fields_are_suggested() {
        assert_eq!(suggestion("min_tl"), "; did you mean `min_ttl`?");
        assert_eq!(suggestion("minTtll"), "; did you mean `min_ttl`?");
        assert_eq!(suggestion("mon_ttl"), "; did you mean `min_ttl`?");
        assert_eq!(suggestion("mxx_ttl"), "; did you mean `max_ttl`?");
        assert_eq!(suggestion("mzz_ttl"), "; did you mean `min_ttl` or `max_ttl`?");
        assert_eq!(suggestion("url"), "; did you mean `uri`?");
        assert_eq!(suggestion("cluster"), "");
    }
}
