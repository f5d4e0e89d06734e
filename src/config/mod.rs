//! Parses the plugin configuration, JSON or a `google.protobuf.Struct`, into a [`Plan`].
//!
//! Two layers: `read` fills the types of `schema`, which mirror the JSON; `compile` checks them and builds the plan, whose
//! types cannot hold an invalid configuration.

mod compile;
mod duration;
mod environment;
mod error;
mod oneof;
mod path;
mod protobuf;
mod read;
mod schema;
mod suggest;
mod timestamp;

#[cfg(test)]
mod reference;

pub use error::ConfigError;
#[doc(hidden)]
pub use read::camel_case;
#[doc(hidden)]
pub use suggest::did_you_mean;

use path::Path;

use crate::policy::plan::Plan;

const NO_OBJECT: &str = "neither a JSON object nor a google.protobuf.Struct; the \"@type\" of `configuration` must be \
                         google.protobuf.StringValue or google.protobuf.Struct, with the fields in `value`";

/// Parses and checks a configuration.
///
/// # Errors
/// The configuration is invalid. The error describes the first invalid field.
pub fn parse(configuration: &[u8]) -> Result<Plan, ConfigError> {
    parse_in(b"", configuration)
}

/// As [`parse`], in this environment: `NAME=value` entries, each followed by a zero byte. The variable
/// `JWKS_GATE_SHARED_DATA_SECRET` stands in for an absent `shared_data_secret`.
///
/// # Errors
/// The configuration or the variable is invalid.
pub fn parse_in(environment: &[u8], configuration: &[u8]) -> Result<Plan, ConfigError> {
    if configuration.is_empty() {
        return Err(Path::Root.error("empty; expected a JSON object or a google.protobuf.Struct"));
    }
    let value = match protobuf::decode_struct(configuration) {
        Some(object) => object,
        // Such as a message of the type of `jwt_authn`.
        None if !configuration.trim_ascii_start().starts_with(b"{") => return Err(Path::Root.error(NO_OBJECT)),
        None => crate::json::parse(configuration).map_err(|error| Path::Root.error(error.to_string()))?,
    };
    let config = read::read::<schema::JwtAuthentication>(value, &Path::Root)?;
    compile::plan(config, environment::secret(environment))
}

#[cfg(test)]
mod tests;
