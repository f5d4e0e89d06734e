//! The wire form: the proto3-JSON of Envoy's `jwt_authn.v3.JwtAuthentication`, in both spellings, plus `rotation`.
//!
//! Strict: a field that is not here is refused, not ignored, and so is one that is written twice.

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use serde::{
    de::{self, Deserializer, MapAccess, Visitor},
    Deserialize,
};

use crate::time::parse_duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtAuthentication {
    #[serde(default)]
    pub(super) providers: Named<JwtProvider>,
    #[serde(default)]
    pub(super) rules: Vec<RequirementRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtProvider {
    #[serde(default)]
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    #[serde(alias = "remoteJwks")]
    pub(super) remote_jwks: Option<RemoteJwks>,
    #[serde(alias = "localJwks")]
    pub(super) local_jwks: Option<DataSource>,
    #[serde(default)]
    pub(super) forward: bool,
    #[serde(default, alias = "fromHeaders")]
    pub(super) from_headers: Vec<JwtHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteJwks {
    #[serde(alias = "httpUri")]
    pub(super) http_uri: HttpUri,
    #[serde(alias = "cacheDuration")]
    pub(super) cache_duration: Option<ProtoDuration>,
    #[serde(default)]
    pub(super) rotation: Rotation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpUri {
    pub(super) uri: String,
    pub(super) cluster: String,
    pub(super) timeout: ProtoDuration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    #[serde(alias = "unknownKidMinInterval")]
    pub(super) unknown_kid_min_interval: Option<ProtoDuration>,
    #[serde(alias = "unknownKidMaxWait")]
    pub(super) unknown_kid_max_wait: Option<ProtoDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataSource {
    #[serde(alias = "inlineString")]
    pub(super) inline_string: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtHeader {
    pub(super) name: String,
    #[serde(default, alias = "valuePrefix")]
    pub(super) value_prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequirementRule {
    #[serde(rename = "match")]
    pub(super) matcher: RouteMatch,
    pub(super) requires: Option<JwtRequirement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteMatch {
    pub(super) prefix: Option<String>,
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtRequirement {
    #[serde(alias = "providerName")]
    pub(super) provider_name: String,
}

/// A `google.protobuf.Duration`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProtoDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for ProtoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// A map by name, in which no name stands twice.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("{name:?} stands here twice")));
                    }
                    entries.insert(name, value);
                }
                Ok(Named(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
