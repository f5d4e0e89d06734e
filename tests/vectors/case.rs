//! A signature to be judged, and who judges.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{
    keys::{Algorithm, Key},
    token::signature::{SignatureCheck, WasmVerifier},
};
use serde_json::Value;

/// One vector.
pub struct Case {
    /// Where it is from.
    pub name: String,
    pub algorithm: &'static str,
    /// The JWK.
    pub key: String,
    pub message: Vec<u8>,
    pub signature: Vec<u8>,
    /// What is published.
    pub good: bool,
}

impl Case {
    /// The verdict of the VM's code, run natively.
    pub fn verdict(&self) -> bool {
        let algorithm = Algorithm::from_name(self.algorithm).unwrap();
        Key::from_json(&self.key)
            .is_ok_and(|key| WasmVerifier.check(&key, algorithm, &self.message, &self.signature).is_ok())
    }
}

pub fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|index| u8::from_str_radix(&text[index..index + 2], 16).unwrap()).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
