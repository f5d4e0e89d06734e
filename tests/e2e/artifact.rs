//! What users install: the files of `make dist`, and the images that a registry gives back.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use jwks_gate_testbed::{
    eventually, free_port,
    http::{self, Request},
    wasm_path, workspace_root, Directory, Envoy, EnvoyOptions, Process,
};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use crate::setup::Plan;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const REPOSITORY: &str = "/v2/jwks-gate";

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn dist(name: &str) -> Vec<u8> {
    fs::read(workspace_root().join("dist").join(name)).unwrap()
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The blob that a descriptor of the layout names.
fn blob(descriptor: &Value) -> Vec<u8> {
    let name = descriptor["digest"].as_str().unwrap();
    let bytes = dist(&format!("oci/blobs/{}", name.replace(':', "/")));
    assert_eq!((digest(&bytes).as_str(), descriptor["size"].as_u64()), (name, Some(bytes.len() as u64)));
    bytes
}

/// Each image of the layout: its tag, its manifest, and the manifest's bytes.
fn images() -> Vec<(String, Value, Vec<u8>)> {
    let index = json_of(&dist("oci/index.json"));
    let of = |descriptor: &Value| {
        let bytes = blob(descriptor);
        let tag = descriptor["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        (tag.to_owned(), json_of(&bytes), bytes)
    };
    index["manifests"].as_array().unwrap().iter().map(of).collect()
}

/// The wasm in an image, as Istio's fetcher reads it: `plugin.wasm` in the last layer if that is a tar with gzip, else the content
/// layer of two.
fn wasm_in(manifest: &Value, read: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let layers = manifest["layers"].as_array().unwrap();
    let last = layers.last().unwrap();
    if last["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip" {
        return unpacked(&read(last));
    }
    assert_eq!(layers.len(), 2);
    let is_content = |layer: &&Value| layer["mediaType"] == "application/vnd.module.wasm.content.layer.v1+wasm";
    read(layers.iter().find(is_content).unwrap())
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    let mut tar = tar.args(["-xzO", "plugin.wasm"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, layer) = (tar.stdin.take().unwrap(), layer.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&layer).unwrap());
    let output = tar.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn the_files_of_a_release_agree_with_the_wasm() {
    let wasm = fs::read(wasm_path()).unwrap();
    let hex = digest(&wasm).replace("sha256:", "");
    assert_eq!(
        String::from_utf8(dist("jwks-gate.wasm.sha256")).unwrap(),
        format!("{hex}  jwks-gate.wasm\n"),
        "run make dist"
    );
    let sbom = json_of(&dist("jwks-gate.cdx.json"));
    assert_eq!(sbom["metadata"]["component"]["hashes"][0]["content"], json!(hex));
    let names: Vec<_> =
        sbom["components"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    for name in ["serde_json", "p256", "jwks-gate-crypto"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for name in ["proptest", "clap", "serde_derive"] {
        assert!(!names.contains(&name), "{name} is not in the wasm");
    }
    let licences = String::from_utf8(dist("LICENSES.txt")).unwrap();
    assert!(names.iter().all(|name| licences.contains(&format!("{name} "))), "every crate has its licence");
    let images = images();
    assert_eq!(images.len(), 2);
    for (tag, manifest, _) in images {
        assert_eq!(wasm_in(&manifest, blob), wasm, "{tag}");
    }
}

/// A container registry on loopback.
struct Registry {
    addr: SocketAddr,
    _process: Process,
    _directory: Directory,
}

impl Registry {
    fn start() -> Self {
        let directory = Directory::create().unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": directory.path()}},
            "http": {"addr": addr.to_string()},
        });
        let path = directory.file("registry.json");
        fs::write(&path, config.to_string()).unwrap();
        let program = workspace_root().join("target/registry/usr/bin/docker-registry");
        let mut command = Command::new(program);
        command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn_in(&mut command, &directory).unwrap();
        let is_up = || http::send(addr, &Request::get("/v2/")).is_ok_and(|response| response.status == 200);
        assert!(eventually(Duration::from_secs(20), is_up));
        Self { addr, _process: process, _directory: directory }
    }

    fn push_blob(&self, bytes: Vec<u8>) {
        let begun = http::send(self.addr, &Request::post(&format!("{REPOSITORY}/blobs/uploads/"))).unwrap();
        assert_eq!(begun.status, 202);
        let location = begun.header("location").unwrap();
        let path = &location[location.find("/v2/").unwrap()..];
        let separator = if path.contains('?') { '&' } else { '?' };
        let put = Request::new("PUT", &format!("{path}{separator}digest={}", digest(&bytes)));
        let done = http::send(self.addr, &put.header("content-type", "application/octet-stream").body(bytes)).unwrap();
        assert_eq!(done.status, 201, "{}", done.text());
    }

    fn push(&self, tag: &str, manifest: &Value, bytes: Vec<u8>) {
        let layers = manifest["layers"].as_array().unwrap();
        layers.iter().chain([&manifest["config"]]).for_each(|descriptor| self.push_blob(blob(descriptor)));
        let put = Request::new("PUT", &format!("{REPOSITORY}/manifests/{tag}"));
        let done = http::send(self.addr, &put.header("content-type", MANIFEST).body(bytes)).unwrap();
        assert_eq!(done.status, 201, "{}", done.text());
    }

    fn pull(&self, path: &str) -> Vec<u8> {
        let get = Request::get(&format!("{REPOSITORY}/{path}")).header("accept", MANIFEST);
        let response = http::send(self.addr, &get).unwrap();
        assert_eq!(response.status, 200, "{path}");
        response.body
    }
}

#[test]
fn an_image_from_a_registry_runs_in_envoy() {
    let registry = Registry::start();
    for (tag, manifest, bytes) in images() {
        registry.push(&tag, &manifest, bytes.clone());
        let pulled = registry.pull(&format!("manifests/{tag}"));
        assert_eq!(digest(&pulled), digest(&bytes), "the digest to pin");
        let read = |descriptor: &Value| {
            let name = descriptor["digest"].as_str().unwrap();
            let bytes = registry.pull(&format!("blobs/{name}"));
            assert_eq!(digest(&bytes), name);
            bytes
        };
        let wasm = wasm_in(&json_of(&pulled), read);
        let directory = Directory::create().unwrap();
        let path = directory.file("plugin.wasm");
        fs::write(&path, wasm).unwrap();
        let plan = Plan::new();
        let yaml = plan.yaml().replace(wasm_path().to_str().unwrap(), path.to_str().unwrap());
        assert!(yaml.contains("plugin.wasm"));
        let envoy = Envoy::start(&yaml, EnvoyOptions { concurrency: 2, ..EnvoyOptions::default() }).unwrap();
        let token = plan.issuer.token();
        assert_eq!(http::send(envoy.addr(), &Request::get("/api/x").bearer(&token)).unwrap().status, 200, "{tag}");
        assert_eq!(http::send(envoy.addr(), &Request::get("/api/x")).unwrap().status, 401, "{tag}");
    }
}

/// An operator reads the version of a file without running the file, and the version of a running filter in the log.
#[test]
fn the_version_is_in_the_module_and_in_the_log() {
    let module = fs::read(wasm_path()).unwrap();
    let section = [&b"\x11jwks_gate.version"[..], env!("CARGO_PKG_VERSION").as_bytes()].concat();
    assert!(module.windows(section.len()).any(|window| window == section));
    let site = Plan::new().start();
    let line = concat!("jwks-gate ", env!("CARGO_PKG_VERSION"), ": signatures checked by the host: ");
    assert!(eventually(Duration::from_secs(5), || site.envoy.log().contains(line)));
}

/// The same sources give the same wasm in any directory.
#[test]
fn the_build_is_reproducible() {
    let script: &Path = &workspace_root().join("scripts/reproduce.sh");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
