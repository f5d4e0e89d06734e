//! Key documents: which keys of a document verify, fetched or in `local_jwks`.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::keys::{document, KeyError};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::{self, Request};
use serde_json::{json, Value};

use crate::{document_server::serve, pair::Pair};

/// What the two filters make of a token under a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Both,
    Neither,
    /// `jwt_authn` alone: a difference that docs/jwt_authn.md lists.
    Native,
    /// jwks-gate alone.
    Ours,
}
use Takes::{Both, Native, Neither, Ours};

struct Case {
    name: String,
    document: String,
    token: String,
    takes: Takes,
}

struct Keys {
    rsa: SigningKey,
    p256: SigningKey,
    p384: SigningKey,
    p521: SigningKey,
    ed25519: SigningKey,
}

fn claims() -> Value {
    json!({"iss": "i", "sub": "alice"})
}

fn with(mut jwk: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if *value == json!("REMOVED") {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

fn text(jwk: &Value, member: &str) -> String {
    jwk[member].as_str().unwrap().to_owned()
}

/// Base64url of the bytes of `text`, with zeros before them.
fn zeros_before(text: &str) -> String {
    BASE64.encode([&[0, 0][..], &BASE64.decode(text).unwrap()].concat())
}

/// A key on this curve with a coordinate that begins with a zero byte: one in 128 on P-256.
fn short_key(alg: Alg) -> (SigningKey, Value) {
    loop {
        let key = SigningKey::generate(alg, "short");
        let mut jwk = key.public_jwk();
        let x = BASE64.decode(text(&jwk, "x")).unwrap();
        if x[0] == 0 {
            jwk["x"] = BASE64.encode(&x[1..]).into();
            return (key, jwk);
        }
    }
}

impl Keys {
    fn generate() -> Self {
        Self {
            rsa: SigningKey::generate(Alg::Rs256, "rsa"),
            p256: SigningKey::generate(Alg::Es256, "p256"),
            p384: SigningKey::generate(Alg::Es384, "p384"),
            p521: SigningKey::generate(Alg::Es512, "p521"),
            ed25519: SigningKey::generate(Alg::EdDsa, "ed"),
        }
    }

    /// Changes of one JWK. Another good key stands beside it, so that a skipped key does not sink the document.
    fn changes(&self) -> Vec<(&SigningKey, Value, Takes)> {
        let (rsa, p256) = (self.rsa.public_jwk(), self.p256.public_jwk());
        let (n, x) = (text(&rsa, "n"), text(&p256, "x"));
        let y = text(&p256, "y");
        vec![
            (&self.rsa, json!({}), Both),
            (&self.p256, json!({}), Both),
            (&self.p384, json!({}), Both),
            (&self.p521, json!({}), Both),
            (&self.ed25519, json!({}), Both),
            // Encodings.
            (&self.rsa, json!({"n": format!("{n}==")}), Both),
            (&self.rsa, json!({"n": format!("{n}=")}), Neither),
            (&self.rsa, json!({"n": format!("{n}..")}), Both),
            (&self.rsa, json!({"n": zeros_before(&n)}), Both),
            (&self.rsa, json!({"n": format!("{}\n {}", &n[..64], &n[64..])}), Both),
            (&self.rsa, json!({"n": format!("{}+{}", &n[..64], &n[65..])}), Neither),
            (&self.rsa, json!({"n": format!("{n}=A=")}), Neither),
            (&self.rsa, json!({"e": "AAEAAQ"}), Both),
            (&self.rsa, json!({"e": "AQAB===="}), Neither),
            (&self.p256, json!({"x": format!("{x}=")}), Both),
            (&self.p256, json!({"y": format!("{y}=")}), Both),
            (&self.p256, json!({"x": format!("{x}==")}), Neither),
            (&self.p256, json!({"x": zeros_before(&x), "y": zeros_before(&y)}), Both),
            (&self.p256, json!({"x": "Q".repeat(44)}), Neither),
            (&self.p256, json!({"x": y, "y": x}), Neither),
            (&self.ed25519, json!({"x": format!("{}=", text(&self.ed25519.public_jwk(), "x"))}), Both),
            (&self.ed25519, json!({"x": zeros_before(&text(&self.ed25519.public_jwk(), "x"))}), Neither),
            // Types.
            (&self.rsa, json!({"n": null}), Neither),
            (&self.rsa, json!({"n": 7}), Neither),
            (&self.rsa, json!({"e": "REMOVED"}), Neither),
            (&self.rsa, json!({"e": 65537}), Neither),
            (&self.p256, json!({"crv": null}), Neither),
            (&self.p256, json!({"crv": 256}), Neither),
            (&self.p256, json!({"crv": ""}), Both),
            (&self.p256, json!({"crv": "REMOVED"}), Both),
            (&self.p256, json!({"crv": "REMOVED", "alg": "REMOVED"}), Both),
            (&self.p384, json!({"crv": "REMOVED"}), Both),
            (&self.p384, json!({"crv": "REMOVED", "alg": "REMOVED"}), Neither),
            (&self.p384, json!({"crv": "P-256"}), Neither),
            (&self.p256, json!({"crv": "p-256"}), Neither),
            (&self.ed25519, json!({"crv": "REMOVED"}), Neither),
            (&self.p256, json!({"kty": "ec"}), Neither),
            (&self.p256, json!({"kty": null}), Neither),
            (&self.p256, json!({"kty": ["EC"]}), Neither),
            // What states the algorithm.
            (&self.rsa, json!({"alg": "REMOVED"}), Both),
            (&self.rsa, json!({"alg": ""}), Both),
            (&self.rsa, json!({"alg": null}), Both),
            (&self.rsa, json!({"alg": 7}), Both),
            (&self.rsa, json!({"alg": ["RS256"]}), Both),
            (&self.rsa, json!({"alg": "RS512"}), Neither),
            (&self.rsa, json!({"alg": "RSA-OAEP"}), Neither),
            (&self.rsa, json!({"alg": "rs256"}), Neither),
            (&self.rsa, json!({"alg": "HS256"}), Neither),
            (&self.p256, json!({"alg": "ES384"}), Neither),
            (&self.ed25519, json!({"alg": "REMOVED"}), Both),
            (&self.ed25519, json!({"alg": "Ed25519"}), Ours),
            // What states the purpose.
            (&self.rsa, json!({"use": "REMOVED"}), Both),
            (&self.rsa, json!({"use": ""}), Both),
            (&self.rsa, json!({"use": null}), Both),
            (&self.rsa, json!({"use": 7}), Both),
            (&self.rsa, json!({"use": "jwt-svid"}), Both),
            (&self.rsa, json!({"use": "x509-svid"}), Native),
            (&self.rsa, json!({"use": "enc"}), Native),
            (&self.rsa, json!({"key_ops": ["verify"]}), Both),
            (&self.rsa, json!({"key_ops": []}), Both),
            (&self.rsa, json!({"key_ops": null}), Both),
            (&self.rsa, json!({"key_ops": "verify"}), Both),
            (&self.rsa, json!({"key_ops": {"sign": 1}}), Both),
            (&self.rsa, json!({"key_ops": [7]}), Both),
            (&self.rsa, json!({"key_ops": ["encrypt"]}), Native),
            // What is not read.
            (&self.rsa, json!({"x5c": 7, "x5t": null, "x": [], "y": {}, "crv": 1}), Both),
            (&self.rsa, json!({"ext": true, "iat": 1e9, "nested": {"a": [{"b": "c"}]}}), Both),
            (&self.rsa, json!({"d": null}), Both),
            (&self.rsa, json!({"d": ""}), Both),
            (&self.rsa, json!({"d": "AQAB"}), Native),
            // The kid.
            (&self.rsa, json!({"kid": "REMOVED"}), Both),
            (&self.rsa, json!({"kid": ""}), Both),
            (&self.rsa, json!({"kid": null}), Both),
            (&self.rsa, json!({"kid": 7}), Both),
            (&self.rsa, json!({"kid": "other"}), Neither),
            (&self.rsa, json!({"kid": "RSA"}), Neither),
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let other = SigningKey::generate(Alg::Es256, "beside").public_jwk();
        for (key, changes, takes) in self.changes() {
            let jwk = with(key.public_jwk(), &changes);
            let document = json!({ "keys": [other, jwk] }).to_string();
            let name = format!("{} with {changes}", key.kid);
            cases.push(Case { name, document, token: key.mint(&claims()), takes });
        }
        let mut add = |name: &str, document: String, token: String, takes| {
            cases.push(Case { name: name.to_owned(), document, token, takes });
        };
        let (rsa, p256) = (&self.rsa, &self.p256);
        let (jwk, token) = (rsa.public_jwk(), rsa.mint(&claims()));
        let set = |keys: Value| json!({ "keys": keys }).to_string();

        for alg in [Alg::Es256, Alg::Es512] {
            let (key, jwk) = short_key(alg);
            add("a short coordinate", set(json!([jwk])), key.mint(&claims()), Both);
        }
        // Other members of `keys`, and of the set.
        let beside = json!([7, null, "x", [], {}, {"kty": "AKP"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, jwk]);
        add("bad keys beside a good key", set(beside), token.clone(), Both);
        let more = json!({"keys": [jwk], "spiffe_sequence": 1, "a": null, "b": {"keys": []}, "c": "d"});
        add("other members of the set", more.to_string(), token.clone(), Both);
        add("blanks", format!(" \r\n\t{} \n", set(json!([jwk]))), token.clone(), Both);
        let twelve: Vec<_> = (0..12).map(|_| SigningKey::generate(Alg::Rs256, "n")).collect();
        let jwks = twelve.iter().enumerate().map(|(n, key)| with(key.public_jwk(), &json!({"kid": n.to_string()})));
        let jwks = set(jwks.collect());
        let without_kid = |header: Value| twelve[8].mint_with_header(&header, &claims());
        add("no kid, the ninth of twelve", jwks.clone(), without_kid(json!({"alg": "RS256"})), Both);
        add("an empty kid, the ninth of twelve", jwks.clone(), without_kid(json!({"alg": "RS256", "kid": ""})), Both);
        add("the kid of another key", jwks, without_kid(json!({"alg": "RS256", "kid": "7"})), Neither);
        let same = SigningKey::generate(Alg::Rs256, "rsa").public_jwk();
        add("two keys of one kid", set(json!([same, jwk])), token.clone(), Both);
        let nameless = with(jwk.clone(), &json!({"kid": "REMOVED"}));
        add("a key without kid beside the named key", set(json!([same, nameless])), token.clone(), Both);
        let long = with(jwk.clone(), &json!({"x5c": ["A".repeat(300_000)]}));
        add("300 KB", set(json!([long])), token.clone(), Both);
        let many: Vec<_> = (0..300).map(|n| json!({"kty": "AKP", "kid": n.to_string()})).chain([jwk.clone()]).collect();
        add("301 keys", set(many.into()), token.clone(), Both);
        let private = with(jwk.clone(), &json!({"kid": "private", "d": "AQAB"}));
        let document = set(json!([jwk, private, p256.public_jwk()]));
        add("a private key beside its public key", document, token.clone(), Native);
        // A name that repeats.
        let body = set(json!([jwk]));
        let twice = body.replacen("\"kid\":", "\"kid\":\"x\",\"kid\":", 1);
        add("a repeated kid", twice, token.clone(), Neither);
        let unread = body.replacen("\"kid\":", "\"z\":1,\"z\":2,\"kid\":", 1);
        add("a repeated member that is not read", unread, token.clone(), Ours);
        add("repeated keys", body.replacen("{\"keys\":", "{\"keys\":[],\"keys\":", 1), token.clone(), Neither);
        // Not a set.
        add("one JWK", jwk.to_string(), token.clone(), Neither);
        add("a list of JWKs", json!([jwk]).to_string(), token.clone(), Neither);
        add("keys as an object", json!({"keys": {"a": jwk}}).to_string(), token.clone(), Neither);
        add("a JWK per kid", json!({"rsa": jwk}).to_string(), token.clone(), Neither);
        add("no keys", set(json!([])), token.clone(), Neither);
        add("nothing", String::new(), token.clone(), Neither);
        add("a byte order mark", format!("\u{feff}{body}"), token.clone(), Neither);
        add("a comma too many", body.replace("}]", "},]"), token.clone(), Native);
        add("single quotes", body.replace('"', "'"), token.clone(), Native);
        add("names without quotes", body.replace("\"kty\"", "kty"), token.clone(), Native);
        add("a comment", format!("// keys\n{body}"), token.clone(), Neither);
        add("more behind the set", format!("{body}{body}"), token.clone(), Neither);
        // PEM.
        let (pem, ec) = (rsa.certificate_pem(), p256.certificate_pem());
        let map = |pem: &str| json!({ "rsa": pem }).to_string();
        add("a certificate", map(&pem), token.clone(), Both);
        add("a certificate under another kid", json!({ "x": pem }).to_string(), token.clone(), Neither);
        let second = SigningKey::generate(Alg::Rs256, "x").certificate_pem();
        add("two certificates", json!({"x": second, "rsa": pem}).to_string(), token.clone(), Both);
        let ps512 = SigningKey::generate(Alg::Ps512, "rsa");
        add("PSS under a certificate", map(&ps512.certificate_pem()), ps512.mint(&claims()), Both);
        add("a certificate, no kid", map(&pem), rsa.mint_with_header(&json!({"alg": "RS256"}), &claims()), Both);
        add("a chain", map(&format!("{pem}{second}")), token.clone(), Both);
        add("a chain of others", map(&format!("{second}{pem}")), token.clone(), Neither);
        add("a certificate without the last line's end", map(pem.trim_end()), token.clone(), Ours);
        add("a certificate with CRLF", map(&pem.replace('\n', "\r\n")), token.clone(), Ours);
        add("a certificate of an EC key", json!({ "p256": ec }).to_string(), p256.mint(&claims()), Ours);
        add("a certificate of an EC key beside", json!({"p256": ec, "rsa": pem}).to_string(), token.clone(), Ours);
        add("a public key", map(&rsa.public_key_pem()), token.clone(), Ours);
        let ed = json!({ "ed": self.ed25519.public_key_pem() }).to_string();
        add("a public key for Ed25519", ed, self.ed25519.mint(&claims()), Ours);
        add("a certificate beside text", json!({"rsa": pem, "x": "y"}).to_string(), token.clone(), Neither);
        add("a certificate beside a number", json!({"rsa": pem, "x": 7}).to_string(), token.clone(), Neither);
        add("a certificate without kid", json!({ "": pem }).to_string(), token.clone(), Neither);
        add("a certificate beside keys", json!({"keys": [], "rsa": pem}).to_string(), token.clone(), Neither);
        let private = pem.replace("CERTIFICATE", "PRIVATE KEY");
        add("a private key", map(&private), token.clone(), Neither);
        let broken = pem.replacen("\nM", "\n!", 1);
        add("a broken certificate", map(&broken), token.clone(), Neither);
        add("a broken certificate beside", json!({"x": broken, "rsa": pem}).to_string(), token, Ours);
        cases
    }
}

/// The cases without a document that `local_jwks` takes: private keys, and documents that are no set.
const REJECTED_LOCALLY: usize = 22;

/// Whether jwks-gate rejects a configuration with this document in `local_jwks`.
fn is_rejected_locally(document: &str) -> bool {
    let document = document::parse_local(document.as_bytes());
    !document.is_ok_and(|document| {
        let has_private = document.skipped.iter().any(|(_, error)| *error == KeyError::Private);
        !document.keys.is_empty() && !has_private
    })
}

#[test]
fn the_same_keys_of_a_document_verify() {
    let cases = Keys::generate().cases();
    let address = serve(cases.iter().map(|case| case.document.clone()).collect());
    let (mut providers, mut rules, mut rejected) = (json!({}), Vec::new(), 0);
    let mut requests = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let uri = format!("http://documents/{number}");
        let remote = json!({"http_uri": {"uri": uri, "cluster": "documents", "timeout": "2s"}});
        let local = json!({ "inline_string": case.document });
        let sources = [("remote_jwks", remote), ("local_jwks", local)];
        // Each filter rejects a local document that it rejects whole.
        let is_rejected = is_rejected_locally(&case.document);
        rejected += usize::from(is_rejected && case.takes != Ours);
        let is_local = case.takes != Ours && !is_rejected;
        for (field, source) in sources.into_iter().take(if is_local { 2 } else { 1 }) {
            let name = format!("{field}-{number}");
            providers[&name] = json!({ "issuer": "i", field: source });
            rules.push(json!({"match": {"prefix": format!("/{name}/")}, "requires": {"provider_name": name}}));
            let request = Request::get(&format!("/{name}/")).header("host", "differential.test");
            requests.push((case, field, request.bearer(&case.token)));
        }
    }
    assert_eq!(rejected, REJECTED_LOCALLY);
    let block = json!({ "providers": providers, "rules": rules });
    let pair = Pair::start_with(&block, &[("documents", address)], |bootstrap| bootstrap);
    let answers = |address| {
        let answers = http::concurrently(address, requests.len(), |index| requests[index].2.clone());
        answers.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let answers = [&pair.native, &pair.ours].map(|envoy| answers(envoy.addr()));
    for ((case, field, request), answer) in requests.iter().zip(&answers[1]) {
        let name = format!("{field}: {}", case.name);
        pair.explained.compare(&name, request, Some(case.document.as_bytes()), answer);
    }
    assert_eq!(pair.explained.compared(), requests.len());
    let [native, ours] = answers.map(|answers| answers.iter().map(|answer| answer.status == 200).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for ((case, field, _), verdict) in requests.iter().zip(native.into_iter().zip(ours)) {
        let takes = match verdict {
            (true, true) => Both,
            (false, false) => Neither,
            (true, false) => Native,
            (false, true) => Ours,
        };
        if takes != case.takes {
            wrong.push(format!("{field}: {}: {takes:?}, not {:?}", case.name, case.takes));
        }
    }
    println!("{} documents, {} requests", cases.len(), requests.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
