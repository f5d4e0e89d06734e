//! Reads one JSON Web Key (RFC 7517, RFC 7518 §6), with the tolerance of `jwt_authn`.

use std::fmt;

use serde::{
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
    Deserialize, Deserializer,
};

use super::{
    base64,
    key::{Curve, Prepared},
    Key, KeyError,
};

/// The members that are read. All others are ignored.
const NAMES: [&str; 19] = [
    "kty", "kid", "alg", "use", "key_ops", "issuer", "crv", "n", "e", "x", "y", "d", "p", "q", "dp", "dq", "qi", "oth",
    "k",
];

/// The members of [`NAMES`] that a JWK has.
struct Jwk {
    /// The first of each name.
    members: Vec<(&'static str, Member)>,
    /// Whether a member occurs twice. Nobody knows which of the two is meant.
    is_ambiguous: bool,
    /// Whether a private member that occurs twice may hold a secret in its later places.
    repeats_secret: bool,
}

/// A member of a JWK. What has another type than the member should have counts as absent where the member is optional.
enum Member {
    Absent,
    Null,
    Text(String),
    List(Vec<Member>),
    Other,
}

impl Member {
    /// The text of an optional member. An empty text says nothing.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The bytes of a member in base64url, which must be there.
    fn bytes(&self) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Text(text) => base64::decode_url_safe(text).ok_or(KeyError::Malformed),
            _ => Err(KeyError::Malformed),
        }
    }

    /// Whether the member may hold a secret.
    fn may_hold_secret(&self) -> bool {
        match self {
            Self::Absent | Self::Null => false,
            Self::Text(text) => !text.is_empty(),
            Self::List(_) | Self::Other => true,
        }
    }
}

impl Jwk {
    fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|(known, _)| *known == name).map_or(&Member::Absent, |(_, member)| member)
    }

    /// Whether the JWK contains a private member (RFC 7518 §6.2.2 and §6.3.2), or a secret that is not allowed.
    fn is_private(&self, allow_secret: bool) -> bool {
        let is_allowed = allow_secret && self.member("kty").text() == Some("oct");
        let is_secret = |(name, member): &(&str, Member)| {
            (is_private_name(name) || (*name == "k" && !is_allowed)) && member.may_hold_secret()
        };
        self.repeats_secret || self.members.iter().any(is_secret)
    }

    /// Whether `use` and `key_ops` permit to verify signatures.
    fn may_verify(&self) -> bool {
        // `jwt-svid` is SPIFFE's word for `sig`.
        let is_permitted = self.member("use").text().is_none_or(|usage| matches!(usage, "sig" | "jwt-svid"));
        let operations = match self.member("key_ops") {
            Member::List(items) => items.iter().filter_map(Member::text).collect(),
            _ => Vec::new(),
        };
        is_permitted && (operations.is_empty() || operations.contains(&"verify"))
    }

    /// The issuer for which the key is published. What is no string is no issuer of a token.
    fn issuer(&self) -> Option<String> {
        match self.member("issuer") {
            Member::Absent | Member::Null => None,
            Member::Text(issuer) => Some(issuer.clone()),
            Member::List(_) | Member::Other => Some(String::new()),
        }
    }

    fn prepare(&self, kty: &str, allow_secret: bool) -> Result<Prepared, KeyError> {
        match kty {
            "EC" => Prepared::ec(self.curve()?, &self.member("x").bytes()?, &self.member("y").bytes()?),
            "OKP" if self.member("crv").text() == Some("Ed25519") => Prepared::ed25519(&self.member("x").bytes()?),
            "RSA" => Prepared::rsa(&self.member("n").bytes()?, &self.member("e").bytes()?),
            "oct" if allow_secret => Prepared::hmac(self.member("k").bytes()?),
            _ => Err(KeyError::Unsupported),
        }
    }

    /// The curve of an EC key. Without `crv`, `alg` states the curve; without both, P-256 is meant.
    fn curve(&self) -> Result<Curve, KeyError> {
        match (self.member("crv"), self.member("alg").text()) {
            (Member::Null | Member::List(_) | Member::Other, _) => Err(KeyError::Malformed),
            (Member::Text(name), _) if !name.is_empty() => Curve::from_name(name).ok_or(KeyError::Unsupported),
            (_, None | Some("ES256")) => Ok(Curve::P256),
            (_, Some("ES384")) => Ok(Curve::P384),
            (_, Some("ES512")) => Ok(Curve::P521),
            (_, Some(_)) => Err(KeyError::Unsupported),
        }
    }
}

/// Whether a member of this name is private whatever the type of the key.
fn is_private_name(name: &str) -> bool {
    matches!(name, "d" | "p" | "q" | "dp" | "dq" | "qi" | "oth")
}

impl Key {
    /// Reads a member of `keys` in a JWKS.
    ///
    /// # Errors
    /// See [`KeyError`]; the caller skips the key.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        read(json, false)
    }

    /// Reads a key of `local_jwks`, which may also be a secret (`kty` `oct`).
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_local_json(json: &str) -> Result<Self, KeyError> {
        read(json, true)
    }

    /// The thumbprint of the public key that belongs to a published private key. `None` if the JWK cannot be read.
    pub(super) fn exposed_thumbprint(json: &str) -> Option<String> {
        let jwk: Jwk = serde_json::from_str(json).ok()?;
        Some(jwk.prepare(jwk.member("kty").text()?, false).ok()?.thumbprint())
    }
}

fn read(json: &str, allow_secret: bool) -> Result<Key, KeyError> {
    let jwk: Jwk = serde_json::from_str(json).map_err(|_| KeyError::Malformed)?;
    if jwk.is_private(allow_secret) {
        return Err(KeyError::Private);
    }
    let kty = jwk.member("kty").text().filter(|_| !jwk.is_ambiguous).ok_or(KeyError::Malformed)?;
    if !jwk.may_verify() {
        return Err(KeyError::NotForVerifying);
    }
    let (kid, alg) = (jwk.member("kid").text(), jwk.member("alg").text());
    Ok(Key::new(kid.map(str::to_owned), alg, jwk.prepare(kty, allow_secret)?)?.of_issuer(jwk.issuer()))
}

impl<'de> Deserialize<'de> for Jwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Jwk;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Jwk, A::Error> {
                let mut jwk = Jwk { members: Vec::new(), is_ambiguous: false, repeats_secret: false };
                while let Some(name) = map.next_key::<String>()? {
                    let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let member: Member = map.next_value()?;
                    if jwk.members.iter().any(|(known, _)| *known == name) {
                        jwk.is_ambiguous = true;
                        jwk.repeats_secret |= is_private_name(name) && member.may_hold_secret();
                    } else {
                        jwk.members.push((name, member));
                    }
                }
                Ok(jwk)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Null)
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Member, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Member::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
