//! Runs each configuration in `envoy/recipes/`, between an issuer and an upstream.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use jwks_gate_issuer::{Alg, Issuer, Options, Rotation};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    workspace_root, Bootstrap, Directory, Envoy, EnvoyOptions,
};
use serde_json::json;

use crate::{
    docs::{read, Example},
    setup::{count, tls_terminator_as},
};

const WITHIN: Duration = Duration::from_secs(15);

/// Replaces texts that the configuration must have.
fn replaced(config: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(config.to_owned(), |config, (from, to)| {
        assert!(config.contains(from), "{from}");
        config.replace(from, to)
    })
}

fn endpoint(address: SocketAddr) -> String {
    format!("address: {}, port_value: {} }}", address.ip(), address.port())
}

fn tls_file(name: &str) -> String {
    workspace_root().join("tests/e2e/tls").join(name).display().to_string()
}

/// Renews the files of a volume as kubelet does: new files in a new directory, then a new target for the link `..data`.
fn renew_volume(volume: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir(volume.join(version)).unwrap();
    for (name, content) in files {
        fs::write(volume.join(version).join(name), content).unwrap();
        if !volume.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
        }
    }
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
fn the_kubernetes_recipe_sends_the_bearer_of_the_file() {
    let (volume, secrets) = (Directory::create().unwrap(), Directory::create().unwrap());
    renew_volume(volume.path(), "..2026_11_28", &[("token", "first")]);
    let mounted = volume.path().display().to_string();
    let mount = "/var/run/secrets/kubernetes.io/serviceaccount";
    let secret = replaced(&read("envoy/recipes/kubernetes/token.yaml"), &[(mount, &mounted)]);
    fs::write(secrets.file("token.yaml"), secret).unwrap();

    let options = Options {
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        alg: Alg::Es256,
        ..Options::default()
    };
    let issuer = Issuer::start(options).unwrap();
    issuer.demand(&[("authorization", "Bearer first")]);
    let terminator = tls_terminator_as("recipes", None, &issuer);
    let example = Example::start_between(issuer, "recipes/kubernetes", |config, _| {
        let changes = [
            ("envoy/recipes/kubernetes/token.yaml", secrets.file("token.yaml").display().to_string()),
            (&format!("{mount}/ca.crt"), tls_file("recipes-ca.pem")),
            ("address: kubernetes.default.svc, port_value: 443 }", endpoint(terminator.addr())),
            ("/openid/v1/jwks", "/.well-known/jwks.json".into()),
        ];
        changes.iter().fold(config, |config, (from, to)| replaced(&config, &[(from, to)]))
    });
    let get = |sub: &str| example.status("/", &example.mint(json!({}), json!({"sub": sub})));
    let (ours, other) = ("system:serviceaccount:prod:web", "system:serviceaccount:test:web");
    assert_eq!((get(ours), get(other), example.status("/", "x")), (200, 401, 401), "{}", example.envoy.log());

    // From now on, the issuer accepts the renewed bearer only.
    example.issuer.demand(&[("authorization", "Bearer second")]);
    example.issuer.rotate(Rotation::Hard);
    assert_eq!(get(ours), 503);
    renew_volume(volume.path(), "..2026_11_29", &[("token", "second")]);
    assert!(eventually(WITHIN, || get(ours) == 200), "{}", example.envoy.log());
    assert!(!example.envoy.log().contains("Bearer"));
}

#[test]
fn the_mtls_recipe_presents_a_certificate() {
    let (volume, secrets) = (Directory::create().unwrap(), Directory::create().unwrap());
    let pair = |name: &str| [read(&format!("tests/e2e/tls/{name}.pem")), read(&format!("tests/e2e/tls/{name}.key"))];
    let renew = |version: &str, [chain, key]: [String; 2]| {
        renew_volume(volume.path(), version, &[("tls.crt", &chain), ("tls.key", &key)]);
    };
    // A certificate of another CA.
    renew("..2026_11_28", pair("issuer"));
    let mounted = volume.path().display().to_string();
    let secret = replaced(&read("envoy/recipes/mtls/client.yaml"), &[("/etc/envoy/jwks", &mounted)]);
    fs::write(secrets.file("client.yaml"), secret).unwrap();
    let mut terminator = None;
    let example = Example::start_with("recipes/mtls", |config, issuer| {
        let envoy = tls_terminator_as("issuer", Some("recipes-ca.pem"), issuer);
        let (from, to) = (endpoint(issuer.addr()), endpoint(envoy.addr()));
        terminator = Some(envoy);
        let file = secrets.file("client.yaml").display().to_string();
        replaced(&config, &[("envoy/recipes/mtls/client.yaml", &file), (&from, &to)])
    });
    let token = example.issuer.token();
    assert_eq!(example.status("/", &token), 503);
    renew("..2026_11_29", pair("client"));
    assert!(eventually(WITHIN, || example.status("/", &token) == 200), "{}", example.envoy.log());
    assert_eq!(example.status("/", "x"), 401);
}

/// An HTTP proxy that knows CONNECT only, and leads each tunnel to `target`.
struct ConnectProxy {
    addr: SocketAddr,
    /// The request lines so far.
    seen: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (addr, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let lines = seen.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let lines = lines.clone();
                thread::spawn(move || tunnel(client, target, &lines));
            }
        });
        Self { addr, seen }
    }
}

fn tunnel(mut client: TcpStream, target: SocketAddr, lines: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = read_head(&mut client)?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    let is_connect = line.starts_with("CONNECT ");
    lines.lock().unwrap().push(line);
    if !is_connect {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upwards = thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)?;
    upwards.join().unwrap().map(drop)
}

/// Reads up to the empty line.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn the_connect_proxy_recipe_fetches_through_a_tunnel() {
    let mut servers = None;
    let example = Example::start_with("recipes/connect-proxy", |config, issuer| {
        let terminator = tls_terminator_as("issuer", None, issuer);
        let proxy = ConnectProxy::start(terminator.addr());
        let config = replaced(&config, &[("address: 127.0.0.1, port_value: 3128 }", &endpoint(proxy.addr))]);
        servers = Some((terminator, proxy));
        config
    });
    let (_terminator, proxy) = servers.unwrap();
    assert_eq!((example.status("/", &example.issuer.token()), example.status("/", "x")), (200, 401));
    example.issuer.rotate(Rotation::Hard);
    assert_eq!(example.status("/", &example.issuer.token()), 200);
    let seen = proxy.seen.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.iter().all(|line| line == "CONNECT issuer.test:443 HTTP/1.1"), "{seen:?}");
}

#[test]
fn the_two_idps_recipe_accepts_both_and_shows_who_is_used() {
    let old = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
    let example = Example::start_with("recipes/two-idps-one-iss", |config, _| {
        replaced(
            &config,
            &[
                ("9002/", &format!("{}/", old.addr().port())),
                ("port_value: 9002 }", &format!("port_value: {} }}", old.addr().port())),
            ],
        )
    });
    assert_eq!((example.status("/", &example.issuer.token()), example.status("/", &old.token())), (200, 200));
    let stranger = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
    assert_eq!(example.status("/", &stranger.token()), 401);
    let allowed = |provider: &str| {
        let series = format!("jwks_gate_provider_requests{{outcome=\"allowed\",provider=\"{provider}\"}}");
        crate::metrics::scrape(&example.envoy).get(&series).copied().unwrap_or_default()
    };
    assert!(eventually(WITHIN, || (allowed("new"), allowed("old")) == (1.0, 1.0)));
    let gets = old.stats().jwks_requests;
    for _ in 0..20 {
        assert_eq!(example.status("/", &example.issuer.token()), 200);
    }
    assert!(eventually(WITHIN, || allowed("new") == 21.0));
    assert_eq!((allowed("old"), old.stats().jwks_requests), (1.0, gets));
    // A token of a key that is new to both asks both.
    example.issuer.rotate(Rotation::Hard);
    assert_eq!(example.status("/", &example.issuer.token()), 200);
    assert!(old.stats().jwks_requests > gets);
    assert_eq!(example.status("/", &old.token()), 200);
    assert!(eventually(WITHIN, || (allowed("new"), allowed("old")) == (22.0, 2.0)));
}

#[test]
fn the_github_actions_recipe_admits_one_branch_of_one_repository() {
    let name = "token.actions.githubusercontent.com";
    let options = Options { issuer: format!("https://{name}"), alg: Alg::Rs256, ..Options::default() };
    let issuer = Issuer::start(options).unwrap();
    let terminator = tls_terminator_as("recipes", None, &issuer);
    let example = Example::start_between(issuer, "recipes/github-actions", |config, _| {
        replaced(
            &config,
            &[
                ("/etc/ssl/certs/ca-certificates.crt", &tls_file("recipes-ca.pem")),
                (&format!("address: {name}, port_value: 443 }}"), &endpoint(terminator.addr())),
                ("/.well-known/jwks\n", "/.well-known/jwks.json\n"),
            ],
        )
    });
    let status = |claim: &str, value: &str| {
        let mut claims = json!({
            "aud": "https://deploy.example.com", "repository": "octo-org/octo-repo", "ref": "refs/heads/main",
            "repository_owner": "octo-org", "repository_owner_id": "65",
            "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        });
        claims[claim] = json!(value);
        example.status("/", &example.mint(json!({"typ": "JWT"}), claims))
    };
    assert_eq!(status("jti", "1"), 200);
    for (claim, value) in [
        ("repository", "octo-org/other-repo"),
        ("repository", "octo-org/octo-repo2"),
        ("repository_owner", "Octo-Org"),
        ("repository_owner_id", "66"),
        ("ref", "refs/heads/feature"),
        ("ref", "refs/pull/1/merge"),
        ("aud", "https://github.com/octo-org"),
    ] {
        assert_eq!(status(claim, value), 403, "{claim}: {value}");
    }
    assert_eq!(example.status("/", "x"), 401);
}

/// A gRPC service that speaks HTTP/1.1: answers each call with one message, and with trailers.
fn start_grpc_service() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                while read_head(&mut client)?.starts_with("POST ") {
                    client.read_exact(&mut [0; 5])?;
                    client.write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n\
                          5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\n\r\n",
                    )?;
                }
                Ok(())
            });
        }
    });
    addr
}

/// An Envoy that leads HTTP/1.1 with trailers to HTTP/2, or HTTP/2 to HTTP/1.1.
fn protocol_bridge(to: SocketAddr, is_http_2: bool) -> Envoy {
    let protocol = match is_http_2 {
        true => json!({"http2_protocol_options": {}}),
        false => json!({"http_protocol_options": {"enable_trailers": true}}),
    };
    let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
    }});
    let bootstrap = Bootstrap::with_filters(to, Vec::new());
    let bootstrap = bootstrap.cluster_option("upstream", "typed_extension_protocol_options", options);
    Envoy::start(&bootstrap.yaml(), EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() }).unwrap()
}

/// Calls a gRPC method with an empty message. Returns the status, the headers and trailers, and the body.
fn call(addr: SocketAddr, path: &str, token: &str) -> (String, BTreeMap<String, String>, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: grpc.test\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
         authorization: Bearer {token}\r\nconnection: close\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    let fields = answer.lines().skip(1).filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect();
    (status, fields, answer)
}

#[test]
fn the_grpc_recipe_denies_with_a_grpc_status() {
    let service = protocol_bridge(start_grpc_service(), false);
    let example = Example::start_with("recipes/grpc", |config, _| {
        let (before, after) = config.rsplit_once("cluster_name: upstream").unwrap();
        let (address, rest) = after.split_once("port_value: ").unwrap();
        let (_, rest) = rest.split_once(' ').unwrap();
        format!("{before}cluster_name: upstream{address}port_value: {} {rest}", service.addr().port())
    });
    let client = protocol_bridge(example.envoy.addr(), true);
    let call = |path: &str, token: &str| call(client.addr(), path, token);
    let (status, fields, answer) = call("/api.Orders/List", &example.issuer.token());
    assert_eq!(
        (status.as_str(), fields["grpc-status"].as_str(), fields["grpc-message"].as_str()),
        ("200", "0", "fine")
    );
    // The message, then the status in trailers.
    assert!(answer.contains("\0\0\0\0\0\r\n0\r\ngrpc-status: 0"), "{answer}");
    assert_eq!(call("/grpc.health.v1.Health/Check", "x").1["grpc-status"], "0");

    let denied = |token: &str| {
        let (status, fields, _) = call("/api.Orders/List", token);
        assert_eq!((status.as_str(), fields["content-type"].as_str()), ("200", "application/grpc"));
        fields
    };
    let expired = example.mint(json!({}), json!({"exp": 1_000_000_000}));
    let other = example.mint(json!({}), json!({"aud": "other"}));
    for (token, grpc_status, message) in
        [(&expired, "16", "Jwt is expired"), (&other, "7", "Audiences in Jwt are not allowed")]
    {
        let fields = denied(token);
        assert_eq!((fields["grpc-status"].as_str(), fields["grpc-message"].as_str()), (grpc_status, message));
        assert!(fields["www-authenticate"].contains("error=\"invalid_token\""));
    }
    example.issuer.stop();
    example.issuer.rotate(Rotation::Hard);
    let fields = denied(&example.issuer.token());
    assert_eq!(
        (fields["grpc-status"].as_str(), fields["grpc-message"].as_str()),
        ("14", "Jwks remote fetch is failed")
    );
    assert!(fields.contains_key("retry-after") && !fields.contains_key("www-authenticate"));
}

#[test]
fn the_rate_limit_recipe_limits_each_tenant() {
    let example = Example::start_with("recipes/rate-limit-by-claim", |config, _| config);
    let send = |tenant: &str, header: &str| {
        let token = example.mint(json!({}), json!({"tenant": tenant}));
        let request = Request::get("/").bearer(&token).header("x-tenant", header);
        http::send(example.envoy.addr(), &request).unwrap()
    };
    assert_eq!(send("one", "one").json()["headers"]["x-tenant"], json!(["one"]));
    // Neither a request without a token nor one of another tenant takes from the limit, whatever its header says.
    for _ in 0..60 {
        let request = Request::get("/").header("x-tenant", "one");
        assert_eq!(http::send(example.envoy.addr(), &request).unwrap().status, 401);
    }
    assert_eq!(send("two", "one").json()["headers"]["x-tenant"], json!(["two"]));
    assert_eq!(count((0..49).map(|_| send("one", "two").status)), [(200, 49)]);
    // The limit grows back by a token in more than a second.
    let over = count((0..20).map(|_| send("one", "two").status));
    assert!(over.iter().any(|(status, times)| *status == 429 && *times > 10), "{over:?}");
    assert_eq!((send("two", "one").status, send("acme", "one").status), (200, 200));
    assert_eq!(example.status("/", &example.issuer.token()), 403);
}
