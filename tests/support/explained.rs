//! Whether `jwks-gate explain` says of a request what the filter did with it in Envoy: status, reason, body and headers.

use std::{
    cell::{Cell, RefCell},
    time::SystemTime,
};

use jwks_gate::{config, engine::Plan, time::UnixTime};
use jwks_gate_cli::explain::{explain, Decided, Steps};
use jwks_gate_testbed::{
    http::{Request, Response},
    Bootstrap,
};
use serde_json::{json, Value};

/// Tells what Envoy knows of an answer that no upstream gave.
pub const TOLD: &str = "x-told";

/// An Envoy that tells in its own answers why it gave them: the name of its reason, and the filter's reason.
pub fn telling(bootstrap: Bootstrap) -> Bootstrap {
    let told = "|%RESPONSE_CODE_DETAILS%|%FILTER_STATE(wasm.jwks_gate.reason:PLAIN)%|";
    let always = json!({"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 0, "runtime_key": "none"}}}});
    let mapper = json!({"filter": always, "headers_to_add": [{"header": {"key": TOLD, "value": told}}]});
    bootstrap.connection_manager_option("local_reply_config", json!({ "mappers": [mapper] }))
}

/// The explanations of one configuration. Panics when dropped if one of them disagrees with Envoy.
pub struct Explained {
    plan: Plan,
    compared: Cell<usize>,
    /// Requests that Envoy answered before the filter saw them.
    unseen: Cell<usize>,
    wrong: RefCell<Vec<String>>,
}

impl Explained {
    pub fn new(configuration: &Value) -> Self {
        let plan = config::parse(configuration.to_string().as_bytes()).unwrap();
        Self { plan, compared: Cell::default(), unseen: Cell::default(), wrong: RefCell::default() }
    }

    /// How many explanations were compared.
    pub fn compared(&self) -> usize {
        self.compared.get()
    }

    /// Compares the explanation of a request, under the JWKS that the issuer publishes, with Envoy's answer.
    pub fn compare(&self, name: &str, request: &Request, jwks: Option<&[u8]>, response: &Response) {
        let told = response.header(TOLD).map(|told| told.split('|').collect::<Vec<_>>());
        let reason = match told.as_deref() {
            // The upstream, or a route without upstream: the filter let the request through.
            None | Some([_, "direct_response", "" | "-", _]) => None,
            Some([_, _, "" | "-", _]) => return self.unseen.set(self.unseen.get() + 1),
            Some([_, _, reason, _]) => Some(*reason),
            Some(other) => panic!("{other:?}"),
        };
        self.compared.set(self.compared.get() + 1);
        let filter = match reason {
            None => json!(Decided::Allowed as u8),
            Some(reason) => json!([
                http_status(response),
                reason,
                response.header("grpc-message").map_or_else(|| body(request, response.text()), percent_decoded),
                response.header("www-authenticate"),
                response.header("retry-after").is_some(),
            ]),
        };
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let mut headers: Vec<_> =
            request.headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
        headers.push(":scheme: http".to_owned());
        let asked = jwks_gate_cli::explain::Request {
            line: &format!("{} {}", request.method, request.path),
            headers: &headers,
            token: None,
        };
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let now = UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap());
        let mut steps = Steps::default();
        let verdict = explain(&self.plan, asked, jwks, now, false, &mut steps).unwrap();
        let header = |name: &str| verdict.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let explained = match verdict.decided {
            Decided::Denied => json!([
                verdict.status,
                verdict.reason,
                body(request, verdict.body.clone()),
                header("www-authenticate"),
                header("retry-after").is_some(),
            ]),
            decided => json!(decided as u8),
        };
        if explained != filter {
            self.wrong.borrow_mut().push(format!("{name}: explained {explained}, Envoy {filter}: {steps:?}"));
        }
    }
}

/// The status that the filter gave to the answer. Envoy answers gRPC clients in their protocol.
fn http_status(response: &Response) -> u16 {
    match response.header("grpc-status") {
        None => response.status,
        Some("16") => 401,
        Some("7") => 403,
        Some("14") => 503,
        Some(other) => panic!("grpc-status {other}"),
    }
}

fn body(request: &Request, body: String) -> String {
    if request.method == "HEAD" {
        String::new()
    } else {
        body
    }
}

/// The messages of the filter have no byte that gRPC encodes.
fn percent_decoded(message: &str) -> String {
    assert!(!message.contains('%'), "{message}");
    message.to_owned()
}

impl Drop for Explained {
    fn drop(&mut self) {
        println!("{} explanations compared, {} requests unseen", self.compared.get(), self.unseen.get());
        let wrong = self.wrong.borrow();
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "{} explanations disagree: {}", wrong.len(), wrong.join("\n"));
        }
    }
}
