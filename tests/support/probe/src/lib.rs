//! A filter for tests. A request's body holds signatures. The answer holds the verdicts of the host and of the VM, and
//! the time per check. With a plugin configuration, the filter is a hostile plugin instead.

#![cfg(target_arch = "wasm32")]

mod intruder;

use std::time::Duration;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{
    keys::{Algorithm, Key},
    token::{
        host_verifier::{HostVerifier, FUNCTION},
        signature::{SignatureCheck, WasmVerifier},
    },
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{Action, BufferType, ContextType},
};
use serde::{Deserialize, Serialize};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root(None)));
}}

/// A request's body.
#[derive(Deserialize)]
struct Task {
    /// The algorithm, JWK, message and signature of each case. Message and signature are in base64url.
    cases: Vec<(String, String, String, String)>,
    /// The number of timed checks per case.
    times: u32,
}

/// An answer's body.
#[derive(Serialize)]
struct Answer {
    /// The algorithms that passed the host's self-test.
    trusted: Vec<String>,
    /// For each case, whether the signature is good: by the host, if it is trusted, and by the VM.
    verdicts: Vec<(bool, bool)>,
    /// For each case, the microseconds per check: by the host and by the VM.
    micros: Vec<(f64, f64)>,
}

/// With a configuration, a hostile plugin.
struct Root(Option<intruder::Intruder>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let configuration = configuration.ok().flatten().unwrap_or_default();
        if configuration.is_empty() {
            return true;
        }
        let attack = serde_json::from_slice(&configuration);
        self.0 = attack.ok().map(intruder::Intruder::new);
        self.0.is_some()
    }

    fn on_tick(&mut self) {
        if let Some(intruder) = &mut self.0 {
            intruder.on_tick();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        match self.0 {
            Some(_) => Some(Box::new(intruder::Idle)),
            None => Some(Box::new(Http)),
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Http;

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if end_of_stream {
            reply(b"{}");
        }
        Action::Pause
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if end_of_stream {
            let body = hostcalls::get_buffer(BufferType::HttpRequestBody, 0, size).ok().flatten().unwrap_or_default();
            let answer = serde_json::from_slice(&body).map(|task| verify(&task));
            reply(&answer.map_or_else(
                |error| error.to_string().into_bytes(),
                |answer| serde_json::to_vec(&answer).unwrap_or_default(),
            ));
        }
        Action::Pause
    }
}

fn reply(body: &[u8]) {
    let _ = hostcalls::send_http_response(200, Vec::new(), Some(body));
}

fn verify(task: &Task) -> Answer {
    let host =
        HostVerifier::new(|argument: &[u8]| hostcalls::call_foreign_function(FUNCTION, Some(argument)).ok().flatten());
    let trusted = host.trusted().iter().map(|algorithm| format!("{algorithm:?}")).collect();
    let (mut verdicts, mut micros) = (Vec::new(), Vec::new());
    for (algorithm, key, message, signature) in &task.cases {
        let decode = |text: &str| BASE64.decode(text).ok();
        let parsed = Algorithm::from_name(algorithm).zip(Key::from_json(key).ok());
        let Some(((algorithm, key), (message, signature))) = parsed.zip(decode(message).zip(decode(signature))) else {
            verdicts.push((false, false));
            micros.push((0.0, 0.0));
            continue;
        };
        let by_host = timed(task.times, || host.check(&key, algorithm, &message, &signature).is_ok());
        let by_vm = timed(task.times, || WasmVerifier.check(&key, algorithm, &message, &signature).is_ok());
        verdicts.push((by_host.0, by_vm.0));
        micros.push((by_host.1, by_vm.1));
    }
    Answer { trusted, verdicts, micros }
}

/// The result of `verify`, and the mean time of `times` further calls in microseconds.
fn timed(times: u32, mut verify: impl FnMut() -> bool) -> (bool, f64) {
    let verdict = verify();
    if times == 0 {
        return (verdict, 0.0);
    }
    let begin = now();
    for _ in 0..times {
        std::hint::black_box(verify());
    }
    (verdict, (now().saturating_sub(begin)).as_secs_f64() * 1e6 / f64::from(times))
}

fn now() -> Duration {
    let time = hostcalls::get_current_time().ok();
    time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default()
}
