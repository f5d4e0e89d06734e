//! The plugin configuration, JSON or a `google.protobuf.Struct`, into a [`Plan`] or a named mistake.
//!
//! Two layers: `schema` mirrors the wire, read by `read`, `compile` turns it into types in which nothing invalid can be written.

mod compile;
mod error;
mod protobuf;
mod read;
mod schema;

#[cfg(test)]
mod reference;

pub use error::ConfigError;

use crate::policy::plan::Plan;

/// Reads a configuration.
///
/// # Errors
/// The first mistake, with the path of its field.
pub fn parse(configuration: &[u8]) -> Result<Plan, ConfigError> {
    if configuration.is_empty() {
        return Err(ConfigError::new("", "there is none; it must be a JSON object or a google.protobuf.Struct"));
    }
    let value = match protobuf::decode_struct(configuration) {
        Some(object) => object,
        None => crate::json::parse(configuration).map_err(|error| ConfigError::new("", error.to_string()))?,
    };
    if !value.is_object() {
        return Err(ConfigError::new("", "must be a JSON object or a google.protobuf.Struct"));
    }
    let config = <schema::JwtAuthentication as read::Read>::read(value, "")?;
    compile::plan(config)
}

#[cfg(test)]
mod tests;
