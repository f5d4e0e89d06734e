//! A test vector for a signature.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{
    keys::{Algorithm, Key},
    token::signature::{SignatureCheck, WasmVerifier},
};
use serde_json::Value;

/// A signature with its published verdict.
pub struct Case {
    /// The origin of the vector, for failure messages.
    pub name: String,
    pub algorithm: &'static str,
    /// The public key, as a JWK.
    pub key: String,
    pub message: Vec<u8>,
    pub signature: Vec<u8>,
    /// The published verdict.
    pub good: bool,
}

impl Case {
    /// The verdict of the VM's verifier, run natively.
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
