//! The plugin configuration, JSON, into a [`Plan`] or a named mistake.
//!
//! Two layers: `schema` mirrors the wire, `compile` turns it into types in which nothing invalid can be written.

mod compile;
mod error;
mod schema;

pub use error::ConfigError;

use crate::policy::provider::Plan;

/// Reads a configuration.
///
/// # Errors
/// The first mistake, with the path of its field.
pub fn parse(json: &[u8]) -> Result<Plan, ConfigError> {
    if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ConfigError::new("", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::new(if path == "." { String::new() } else { path }, error.inner().to_string())
    })?;
    deserializer.end().map_err(|error| ConfigError::new("", error.to_string()))?;
    compile::plan(config)
}

#[cfg(test)]
mod tests;
