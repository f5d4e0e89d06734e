//! Fetches a key document from an issuer as Envoy does: one GET, and no redirect is followed.

use std::time::Duration;

use ureq::{
    http::{header::LOCATION, StatusCode},
    tls::{RootCerts, TlsConfig},
    Agent, Error,
};

use crate::Failure;

/// For the whole fetch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the body of a 200.
pub(crate) fn get(url: &str, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(TIMEOUT))
        // The system's certificates, which may have those of a private issuer.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .user_agent(concat!("jwks-gate/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut response = config.new_agent().get(url).call().map_err(|error| failure(url, error, max_bytes))?;
    let status = response.status();
    if status != StatusCode::OK {
        let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
        return Err(match location {
            None => format!("{url}: status {status}, expected 200"),
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                format!(
                    "{url}: status {status}, a redirect to {location:?}: Envoy follows no redirect, so the filter's fetch fails too"
                )
            }
        });
    }
    let body = response.body_mut().with_config().limit(u64::try_from(max_bytes).unwrap_or(u64::MAX));
    body.read_to_vec().map_err(|error| failure(url, error, max_bytes))
}

fn failure(url: &str, error: Error, max_bytes: usize) -> Failure {
    match error {
        Error::BodyExceedsLimit(_) => {
            format!("{url}: the document is longer than {max_bytes} bytes (max_document_bytes)")
        }
        Error::Timeout(_) => format!("{url}: no whole response within {} s", TIMEOUT.as_secs()),
        error => format!("{url}: {error}"),
    }
}
