//! Revokes a key in the filter configuration that Envoy watches, as a gateway's operator does.

use std::fs;
use std::path::Path;

/// Adds a `kid` to the `revoked_keys` of a configuration. Envoy reads a watched file when a rename replaces it.
pub(crate) fn revoke(filter: &Path, kid: &str) -> Result<(), String> {
    if kid.is_empty() || !kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(format!("not a kid of this issuer's: {kid:?}"));
    }
    let failed = |error| format!("{}: {error}", filter.display());
    let changed = with_revoked(&fs::read_to_string(filter).map_err(failed)?, kid)?;
    let new = filter.with_extension("new");
    fs::write(&new, changed).and_then(|()| fs::rename(&new, filter)).map_err(failed)
}

fn with_revoked(config: &str, kid: &str) -> Result<String, String> {
    let mut lines: Vec<String> = config.lines().map(str::to_owned).collect();
    let rotation = lines.iter().position(|line| line.trim() == "rotation:").ok_or("there is no `rotation:` in it")?;
    let next = lines.get_mut(rotation + 1).ok_or("there is nothing in its `rotation:`")?;
    match next.strip_suffix(']').filter(|line| line.trim_start().starts_with("revoked_keys: [")) {
        Some(list) => *next = format!("{list}, {kid}]"),
        None => {
            let indentation = " ".repeat(next.len() - next.trim_start().len());
            lines.insert(rotation + 1, format!("{indentation}revoked_keys: [{kid}]"));
        }
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_added_to_the_list() {
        let config = "a:\n  rotation:\n    min_ttl: 1s\nb: 1\n";
        let one = with_revoked(config, "k1").unwrap();
        assert_eq!(one, "a:\n  rotation:\n    revoked_keys: [k1]\n    min_ttl: 1s\nb: 1\n");
        let two = with_revoked(&one, "k2").unwrap();
        assert_eq!(two, "a:\n  rotation:\n    revoked_keys: [k1, k2]\n    min_ttl: 1s\nb: 1\n");
        assert!(with_revoked("a: 1\n", "k1").is_err());
        assert!(revoke(Path::new("/nowhere"), "a]").unwrap_err().starts_with("not a kid"));
    }
}
