//! The plugin configuration, JSON or a `google.protobuf.Struct`, into a [`Plan`] or a named mistake.
//!
//! Two layers: `schema` mirrors the wire, `compile` turns it into types in which nothing invalid can be written.

mod compile;
mod error;
mod protobuf;
mod schema;

pub use error::ConfigError;

use serde::Deserializer;

use crate::policy::provider::Plan;

/// Reads a configuration.
///
/// # Errors
/// The first mistake, with the path of its field.
pub fn parse(configuration: &[u8]) -> Result<Plan, ConfigError> {
    if let Some(object) = protobuf::decode_struct(configuration) {
        return compile::plan(read(object)?);
    }
    if configuration.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ConfigError::new("", "must be a JSON object or a google.protobuf.Struct"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(configuration);
    let config = read(&mut deserializer)?;
    deserializer.end().map_err(|error| ConfigError::new("", error.to_string()))?;
    compile::plan(config)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<schema::JwtAuthentication, ConfigError> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::new(if path == "." { String::new() } else { path }, error.inner().to_string())
    })
}

#[cfg(test)]
mod tests;
