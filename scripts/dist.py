#!/usr/bin/env python3
"""Packs what users install into dist/: run `make dist`.

jwks-gate.wasm.sha256        the digest of the wasm
jwks-gate.cdx.json           the crates in the wasm, as a CycloneDX 1.5 SBOM
LICENSES.txt                 the licences of these crates
configuration.schema.json, alerts.yaml
oci/                         an OCI image layout with two images of the wasm: the tag VERSION is an image that Istio and Envoy
                             Gateway pull (one layer, tar and gzip, with plugin.wasm), VERSION-artifact is the same wasm as an
                             OCI artifact (the layers application/vnd.module.wasm.config.v1+json and …content.layer.v1+wasm)

The same wasm always gives the same bytes: no file contains a time.
"""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TARGET = "wasm32-unknown-unknown"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", TARGET,
               "--no-default-features", "--features", "filter"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(metadata):
    """The packages in the wasm: those that the filter reaches by normal dependencies."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    reached, open_ids = set(), [next(id for id, package in packages.items() if package["name"] == "jwks-gate")]
    while open_ids:
        id = open_ids.pop()
        if id in reached:
            continue
        reached.add(id)
        for dependency in nodes[id]["deps"]:
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if is_normal and not is_macro:
                open_ids.append(dependency["pkg"])
    return sorted((packages[id] for id in reached), key=lambda package: (package["name"], package["version"]))


def sbom(packages, version, digest):
    def component(package):
        purl = f"pkg:cargo/{package['name']}@{package['version']}"
        return {
            "type": "library",
            "bom-ref": purl,
            "name": package["name"],
            "version": package["version"],
            "purl": purl,
            "licenses": [{"expression": package["license"]}],
        }

    others = [package for package in packages if package["name"] != "jwks-gate"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"pkg:cargo/jwks-gate@{version}",
                "name": "jwks-gate",
                "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        },
        "components": [component(package) for package in others],
    }


def licences(packages):
    parts = []
    for package in packages:
        parts.append(f"{package['name']} {package['version']}: {package['license']}\n")
        directory = pathlib.Path(package["manifest_path"]).parent
        texts = sorted(path for pattern in ("LICEN*", "COPYING*", "NOTICE*") for path in directory.glob(pattern))
        for path in texts:
            if path.is_file():
                parts.append(f"--- {path.name}\n{path.read_text(errors='replace').strip()}\n")
        parts.append("\n")
    return "".join(parts)


class Layout:
    """An OCI image layout."""

    def __init__(self, path):
        shutil.rmtree(path, ignore_errors=True)
        self.path, self.manifests = path, []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}\n')

    def blob(self, media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.path / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, tag, config, layers, annotations):
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
                    "annotations": annotations}
        descriptor = self.blob(MANIFEST, to_bytes(manifest))
        self.manifests.append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}})

    def close(self):
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                 "manifests": self.manifests}
        (self.path / "index.json").write_bytes(to_bytes(index))


def to_bytes(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def tar_gz(name, content):
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        tar.addfile(entry, io.BytesIO(content))
    return tar_bytes.getvalue(), gzip.compress(tar_bytes.getvalue(), mtime=0)


def images(wasm, version):
    layout = Layout(DIST / "oci")
    annotations = {
        "org.opencontainers.image.title": "jwks-gate",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    tar, compressed = tar_gz("plugin.wasm", wasm)
    config = {"architecture": "wasm", "os": "wasi", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}}
    layout.image(
        version,
        layout.blob("application/vnd.oci.image.config.v1+json", to_bytes(config)),
        [layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", compressed)],
        annotations | {"module.wasm.image/variant": "compat"},
    )
    runtime = layout.blob("application/vnd.module.wasm.config.v1+json", to_bytes({"type": "envoy_proxy"}))
    content = layout.blob("application/vnd.module.wasm.content.layer.v1+wasm", wasm)
    empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}")
    layout.image(f"{version}-artifact", empty, [runtime, content], annotations)
    layout.close()


def main():
    wasm = (DIST / "jwks-gate.wasm").read_bytes()
    digest = hashlib.sha256(wasm).hexdigest()
    data = metadata()
    packages = linked(data)
    version = next(package["version"] for package in packages if package["name"] == "jwks-gate")
    (DIST / "jwks-gate.wasm.sha256").write_text(f"{digest}  jwks-gate.wasm\n")
    (DIST / "jwks-gate.cdx.json").write_text(json.dumps(sbom(packages, version, digest), indent=2) + "\n")
    (DIST / "LICENSES.txt").write_text(licences(packages))
    shutil.copy(ROOT / "docs" / "configuration.schema.json", DIST)
    shutil.copy(ROOT / "envoy" / "prometheus" / "alerts.yaml", DIST)
    images(wasm, version)
    print(f"dist: jwks-gate {version}, sha256 {digest}, {len(packages) - 1} crates linked in")


if __name__ == "__main__":
    main()
