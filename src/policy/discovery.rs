//! OpenID Connect Discovery 1.0 and RFC 8414: the metadata document of an issuer, which names the URI of its JWKS.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::endpoint::{split_uri, Endpoint};
use crate::{json, rotation::record::MAX_LOCATION_BYTES};

/// A larger metadata document is not read.
pub const MAX_METADATA_BYTES: usize = 64 << 10;
/// How much of a document's text an error quotes.
const MAX_QUOTED_BYTES: usize = 100;

/// How the URI of a JWKS is found.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Where the metadata document is.
    pub metadata: Endpoint,
    /// The `issuer` that the document must state.
    pub issuer: String,
    /// The cluster that reaches the JWKS, whatever the document says.
    pub jwks_cluster: String,
    /// The only host of a JWKS, with its port if that is not the scheme's.
    pub jwks_host: String,
    /// How long a URI is used before the document is read again.
    pub ttl: Duration,
}

/// Why a metadata document names no JWKS. Quoted texts are printable ASCII and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataError {
    TooLarge,
    NotJson,
    /// There is no string of this name.
    Missing(&'static str),
    Issuer {
        wanted: String,
        found: String,
    },
    Host {
        wanted: String,
        found: String,
    },
    /// `jwks_uri` is `http`, and the URI of the document is `https`.
    Downgrade,
    Uri(&'static str),
}

impl Discovery {
    /// Where the JWKS is, as this document says. The host is the configured one, in any case.
    ///
    /// # Errors
    /// The document is of another issuer, or its JWKS is elsewhere.
    pub fn jwks(&self, document: &[u8]) -> Result<Endpoint, MetadataError> {
        if document.len() > MAX_METADATA_BYTES {
            return Err(MetadataError::TooLarge);
        }
        let document = json::parse(document).map_err(|_| MetadataError::NotJson)?;
        let text = |name| document.get(name).and_then(Value::as_str).ok_or(MetadataError::Missing(name));
        let (issuer, uri) = (text("issuer")?, text("jwks_uri")?);
        if issuer != self.issuer {
            return Err(MetadataError::Issuer { wanted: self.issuer.clone(), found: printable(issuer) });
        }
        self.jwks_at(uri)
    }

    /// The JWKS at this URI, if the issuer may have its JWKS there.
    ///
    /// # Errors
    /// The URI is elsewhere.
    pub fn jwks_at(&self, uri: &str) -> Result<Endpoint, MetadataError> {
        if uri.len() > MAX_LOCATION_BYTES {
            return Err(MetadataError::Uri("is too long"));
        }
        if uri.contains('#') {
            return Err(MetadataError::Uri("must not have a fragment"));
        }
        let (scheme, authority, path) = split_uri(uri).map_err(MetadataError::Uri)?;
        if scheme != self.metadata.scheme && scheme != "https" {
            return Err(MetadataError::Downgrade);
        }
        if normalized(&authority, scheme) != normalized(&self.jwks_host, scheme) {
            return Err(MetadataError::Host { wanted: self.jwks_host.clone(), found: printable(&authority) });
        }
        let (cluster, authority) = (self.jwks_cluster.clone(), self.jwks_host.clone());
        Ok(Endpoint { cluster, scheme, authority, path, timeout: self.metadata.timeout })
    }
}

/// A host in lower case, without the port that the scheme implies.
fn normalized(authority: &str, scheme: &str) -> String {
    let port = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase()
}

fn printable(text: &str) -> String {
    text.bytes().take(MAX_QUOTED_BYTES).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("too large"),
            Self::NotJson => f.write_str("not JSON"),
            Self::Missing(name) => write!(f, "no {name}"),
            Self::Issuer { wanted, found } => write!(f, "issuer is \"{found}\", not \"{wanted}\""),
            Self::Host { wanted, found } => write!(f, "the host of jwks_uri is \"{found}\", not \"{wanted}\""),
            Self::Downgrade => f.write_str("jwks_uri must be https, as the metadata URI is"),
            Self::Uri(reason) => write!(f, "jwks_uri {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn discovery(uri: &str, jwks_host: &str) -> Discovery {
        let (scheme, authority, path) = split_uri(uri).unwrap();
        let timeout = Duration::from_secs(1);
        Discovery {
            metadata: Endpoint { cluster: "c".to_owned(), scheme, authority, path, timeout },
            issuer: "https://i".to_owned(),
            jwks_cluster: "k".to_owned(),
            jwks_host: jwks_host.to_owned(),
            ttl: timeout,
        }
    }

    fn read(uri: &str, jwks_host: &str, jwks_uri: &str) -> Result<String, String> {
        let document = json!({"issuer": "https://i", "jwks_uri": jwks_uri}).to_string();
        let endpoint = discovery(uri, jwks_host).jwks(document.as_bytes());
        endpoint.map(|endpoint| endpoint.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_jwks_is_on_the_configured_host_by_the_configured_cluster() {
        for (uri, host, jwks_uri, expected) in [
            ("https://i/m", "i", "https://i/keys?x=1", "https://i/keys?x=1"),
            ("https://i/m", "i", "HTTPS://I:443", "https://i/"),
            ("https://i/m", "i:443", "https://i/k", "https://i:443/k"),
            ("http://i:8080/m", "i:8080", "http://i:8080/k", "http://i:8080/k"),
            ("http://i/m", "i", "https://i/k", "https://i/k"),
            ("https://i/m", "keys.i", "https://keys.i/k", "https://keys.i/k"),
            ("https://i/m", "[::1]:8443", "https://[::1]:8443/k", "https://[::1]:8443/k"),
        ] {
            assert_eq!(read(uri, host, jwks_uri).as_deref(), Ok(&*format!("{expected} by cluster \"k\"")));
        }
    }

    #[test]
    fn a_jwks_anywhere_else_is_denied() {
        let host = |found: &str| format!("the host of jwks_uri is \"{found}\", not \"i\"");
        let user = "jwks_uri must name a host, without user information".to_owned();
        for (jwks_uri, expected) in [
            ("https://evil/k", host("evil")),
            ("https://i.evil/k", host("i.evil")),
            ("https://evil.i/k", host("evil.i")),
            ("https://i./k", host("i.")),
            ("https://i:8443/k", host("i:8443")),
            ("https://i:80/k", host("i:80")),
            ("https://i:/k", host("i:")),
            ("https://i%2f/k", host("i%2f")),
            ("https://i\\.evil/k", host("i\\\\.evil")),
            ("https://169.254.169.254/latest", host("169.254.169.254")),
            ("https://i@evil/k", user.clone()),
            ("https://i:x@i/k", user.clone()),
            ("https://evil\\@i/k", user.clone()),
            ("https:///k", user),
            ("https://evil#i/k", "jwks_uri must not have a fragment".to_owned()),
            ("https://i/k#x", "jwks_uri must not have a fragment".to_owned()),
            ("http://i/k", "jwks_uri must be https, as the metadata URI is".to_owned()),
            ("ftp://i/k", "jwks_uri must begin with http:// or https://".to_owned()),
            ("file:///etc/passwd", "jwks_uri must begin with http:// or https://".to_owned()),
            ("//i/k", "jwks_uri must begin with http:// or https://".to_owned()),
            ("https://i/k\r\nx: y", "jwks_uri must contain only printable ASCII without spaces".to_owned()),
            ("https://i/k y", "jwks_uri must contain only printable ASCII without spaces".to_owned()),
            ("https://ı/k", "jwks_uri must contain only printable ASCII without spaces".to_owned()),
            ("", "jwks_uri must begin with http:// or https://".to_owned()),
        ] {
            assert_eq!(read("https://i/m", "i", jwks_uri), Err(expected), "{jwks_uri}");
        }
        let long = format!("https://i/{}", "k".repeat(MAX_LOCATION_BYTES));
        assert_eq!(read("https://i/m", "i", &long), Err("jwks_uri is too long".to_owned()));
    }

    #[test]
    fn a_document_of_another_issuer_or_of_none_is_denied() {
        let read = |document: &str| discovery("https://i/m", "i").jwks(document.as_bytes()).unwrap_err();
        let issuer = |found: &str| MetadataError::Issuer { wanted: "https://i".to_owned(), found: found.to_owned() };
        let long = format!("{}{{}}", " ".repeat(MAX_METADATA_BYTES));
        for (document, expected) in [
            (r#"{"issuer": "https://i/", "jwks_uri": "https://i/k"}"#, issuer("https://i/")),
            (r#"{"issuer": "https://I", "jwks_uri": "https://i/k"}"#, issuer("https://I")),
            (r#"{"issuer": "a\nb", "jwks_uri": "https://i/k"}"#, issuer("a\\nb")),
            (r#"{"jwks_uri": "https://i/k"}"#, MetadataError::Missing("issuer")),
            (r#"{"issuer": ["https://i"], "jwks_uri": "https://i/k"}"#, MetadataError::Missing("issuer")),
            (r#"{"issuer": "https://i"}"#, MetadataError::Missing("jwks_uri")),
            (
                r#"{"issuer": "https://i", "jwks_uri": "https://i/k", "jwks_uri": "https://i/l"}"#,
                MetadataError::NotJson,
            ),
            (r#"{"issuer": "https://i", "jwks_uri": "https://i/k"} x"#, MetadataError::NotJson),
            ("<html>", MetadataError::NotJson),
            (&"[".repeat(10_000), MetadataError::NotJson),
            ("[]", MetadataError::Missing("issuer")),
            (&long, MetadataError::TooLarge),
        ] {
            assert_eq!(read(document), expected);
        }
        let found = read(&json!({"issuer": "x".repeat(5000), "jwks_uri": ""}).to_string()).to_string();
        assert!(found.len() < 2 * MAX_QUOTED_BYTES, "{found}");
    }
}
