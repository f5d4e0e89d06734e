//! The supply chain: which crates are in the wasm, why each dependency is there, and under which licence and from where. Needs
//! cargo only. `make deny` checks more, with cargo-deny.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn metadata(manifest: &str) -> Value {
    let text = cargo(&["metadata", "--format-version=1", "--locked", "--manifest-path", manifest]);
    serde_json::from_str(&text).expect("JSON")
}

/// The crates of other authors that the linker sees for the wasm: names and versions.
fn linked() -> BTreeSet<(String, String)> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        "jwks-gate",
        "--target",
        "wasm32-unknown-unknown",
        "--edges",
        "normal,no-proc-macro",
        "--no-default-features",
        "--features",
        "filter",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let parts = |line: &str| {
        let mut parts = line.split(' ');
        (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned())
    };
    let lines = tree.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(parts).filter(|(name, _)| !name.starts_with("jwks-gate")).collect()
}

/// The first cells of the table below this heading, without backquotes, each with the whole row.
fn table(document: &str, heading: &str) -> BTreeMap<String, String> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| {
        let cell = row.split('|').nth(1).unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), row.to_owned())).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn the_document_counts_and_names_the_crates_in_the_wasm() {
    let (linked, document) = (linked(), read("docs/dependencies.md"));
    let names: BTreeSet<_> = linked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), linked.len(), "a crate is in the wasm in two versions: {linked:?}");
    let documented = table(&document, "In the wasm");
    let documented: BTreeSet<_> = documented.keys().map(String::as_str).collect();
    assert_eq!(documented, names, "docs/dependencies.md, and `cargo tree`");
    assert!(
        document.contains(&format!("\n{} crates of other authors are linked into the wasm.", linked.len())),
        "{}",
        linked.len()
    );
    for banned in ["getrandom", "proxy-wasm", "std-detect", "wasi", "wasm-bindgen"] {
        assert!(!names.contains(banned), "{banned} is in the wasm");
    }
}

#[test]
fn each_dependency_has_a_reason() {
    let document = read("docs/dependencies.md");
    let sections = ["In the wasm", "In the command", "In tests and tools", "In the fuzz targets"];
    let tables: BTreeMap<String, String> = sections.into_iter().flat_map(|section| table(&document, section)).collect();
    let mut direct = BTreeSet::new();
    for manifest in WORKSPACES {
        let metadata = metadata(manifest);
        let members: BTreeSet<_> =
            metadata["workspace_members"].as_array().into_iter().flatten().map(Value::to_string).collect();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            if members.contains(&package["id"].to_string()) {
                let names = package["dependencies"].as_array().into_iter().flatten();
                direct.extend(names.filter_map(|dependency| dependency["name"].as_str()).map(str::to_owned));
            }
        }
    }
    direct.retain(|name| !name.starts_with("jwks-gate"));
    assert!(direct.len() > 30, "{direct:?}");
    let unexplained: Vec<_> = direct.iter().filter(|name| !tables.contains_key(*name)).collect();
    assert!(unexplained.is_empty(), "docs/dependencies.md does not say why: {unexplained:?}");
    for (name, row) in &tables {
        assert!(row.split('|').nth(2).is_some_and(|reason| reason.trim().len() > 10), "{name} has no reason");
    }
    let gone: Vec<_> = tables
        .keys()
        .filter(|name| !direct.contains(*name) && !linked().iter().any(|(linked, _)| linked == *name))
        .collect();
    assert!(gone.is_empty(), "docs/dependencies.md explains what is no dependency: {gone:?}");
}

/// As cargo-deny does, of the same list, without cargo-deny.
#[test]
fn licences_and_sources_are_those_of_the_list() {
    let list = read("deny.toml");
    let list = list.split("\nallow = [").nth(1).and_then(|rest| rest.split(']').next()).expect("a list of licences");
    let allowed: BTreeSet<_> = list.split('"').skip(1).step_by(2).collect();
    let is_allowed = |licence: &str| allowed.contains(licence.trim().trim_matches(['(', ')']).trim());
    let (mut seen, mut sources) = (BTreeSet::new(), BTreeSet::new());
    for manifest in WORKSPACES {
        for package in metadata(manifest)["packages"].as_array().into_iter().flatten() {
            let name = format!("{} {}", package["name"], package["version"]);
            let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} states no licence"));
            // Every side of an AND, and one side of an OR.
            let sides = licence.replace('/', " OR ");
            let is_good = sides.split(" AND ").all(|side| side.split(" OR ").any(is_allowed));
            assert!(is_good, "{name}: {licence}");
            if let Some(source) = package["source"].as_str() {
                assert!(source.starts_with("registry+"), "{name}: {source}");
                sources.insert(source.to_owned());
            } else {
                let path = Path::new(package["manifest_path"].as_str().unwrap_or_default());
                assert!(path.starts_with(root()), "{name} is from {}", path.display());
            }
            seen.insert(name);
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
    assert_eq!(sources.len(), 1, "{sources:?}");
}

/// What `rust-version` promises is one promise, which clippy's `incompatible_msrv` compares with the library functions in use.
#[test]
fn every_crate_states_the_same_rust_version() {
    for manifest in WORKSPACES {
        let metadata = metadata(manifest);
        let packages: Vec<_> = metadata["packages"].as_array().into_iter().flatten().collect();
        for package in &packages {
            let stated = package["rust_version"].as_str();
            let name = &package["name"];
            if package["source"].is_null() {
                assert!(stated.is_none_or(|version| version == "1.90"), "{name}: {stated:?}");
            } else {
                let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
                assert!(stated.and_then(minor).is_none_or(|minor| minor <= 90), "{name} needs Rust {stated:?}");
            }
        }
    }
}
