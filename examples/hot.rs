use jwks_gate::{
    config, gate::Gate, keys::*, parked::StreamId, policy::headers::Headers, time::UnixTime, token::signature::*,
};
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::json;
struct Yes;
impl SignatureCheck for Yes {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}
fn main() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let exp = 1_900_000_000u64;
    let toks:Vec<_>=(0..4500).map(|n|key.mint(&json!({"iss":"https://issuer.test","aud":["api","other"],"sub":"spiffe://cluster.local/ns/shop/sa/orders","exp":exp,"iat":exp-300_000_000,"jti":format!("{n:032x}"),"scope":"orders:read orders:write","email":"somebody@example.com","groups":["staff","orders","payments"]}))).collect();
    let jwks = json!({"keys":[key.public_jwk()]}).to_string();
    let cfg = json!({"providers":{"p":{"issuer":"https://issuer.test","audiences":["api"],"local_jwks":{"inline_string":jwks}}},"rules":[{"match":{"prefix":"/api/"},"requires":{"provider_name":"p"}}]});
    let mut g = Gate::new(config::parse(cfg.to_string().as_bytes()).unwrap(), Yes);
    let now = UnixTime::from_millis(1_700_000_000_000);
    for (name, fresh) in [("fresh", true), ("seen", false), ("fresh", true), ("seen", false)] {
        let t = std::time::Instant::now();
        let n = 90_000;
        for i in 0..n {
            let tok = &toks[if fresh { i % 4500 } else { 0 }];
            let list = vec![
                (":authority".to_string(), b"127.0.0.1:1234".to_vec()),
                (":path".to_string(), b"/api/x".to_vec()),
                (":method".to_string(), b"GET".to_vec()),
                (":scheme".to_string(), b"http".to_vec()),
                ("authorization".to_string(), format!("Bearer {tok}").into_bytes()),
                ("x-forwarded-proto".to_string(), b"http".to_vec()),
                ("x-request-id".to_string(), b"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee".to_vec()),
            ];
            let h = Headers::new(&list);
            let p = g.requirement(h).unwrap();
            std::hint::black_box(g.on_request(StreamId(i as u32), p, h, now));
            std::hint::black_box(g.take_counts());
        }
        println!("{name} {:.2} us", t.elapsed().as_secs_f64() * 1e6 / n as f64);
    }
}
