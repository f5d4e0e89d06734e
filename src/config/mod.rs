//! The plugin configuration, JSON or a `google.protobuf.Struct`, into a [`Plan`] or a named mistake.
//!
//! Two layers: `schema` mirrors the wire, read by `read`, `compile` turns it into types in which nothing invalid can be written.

mod compile;
mod duration;
mod error;
mod oneof;
mod path;
mod protobuf;
mod read;
mod schema;
mod suggest;

#[cfg(test)]
mod reference;

pub use error::ConfigError;

use path::Path;

use crate::policy::provider::Plan;

/// Reads a configuration.
///
/// # Errors
/// The first mistake, with the path of its field.
pub fn parse(configuration: &[u8]) -> Result<Plan, ConfigError> {
    if configuration.is_empty() {
        return Err(Path::Root.error("there is none; it must be a JSON object or a google.protobuf.Struct"));
    }
    let value = match protobuf::decode_struct(configuration) {
        Some(object) => object,
        None => crate::json::parse(configuration).map_err(|error| Path::Root.error(error.to_string()))?,
    };
    if !value.is_object() {
        return Err(Path::Root.error("must be a JSON object or a google.protobuf.Struct"));
    }
    let config = <schema::JwtAuthentication as read::Read>::read(value, &Path::Root)?;
    compile::plan(config)
}

#[cfg(test)]
mod tests;
