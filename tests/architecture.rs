//! Who may import whom, how long a file may be, where host calls stand, and which log lines the documents may show. Needs no
//! Envoy.
//!
//! `cargo test --test architecture -- --nocapture` prints the import graph and the size of each folder.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each part of the crate, and the parts that it may import. Parts stand in the order of their floors: a part imports parts
/// that stand above it, and no other.
const IMPORTS: [(&str, &[&str]); 16] = [
    ("crypto", &[]),
    ("time", &[]),
    ("ids", &[]),
    ("json", &[]),
    ("bytes", &[]),
    ("sorted", &[]),
    ("string_matcher", &[]),
    ("keys", &["crypto", "time"]),
    ("shared", &["time"]),
    ("rotation", &["keys", "shared", "time"]),
    ("token", &["bytes", "crypto", "json", "keys", "sorted", "string_matcher", "time"]),
    ("metrics", &["ids", "token"]),
    ("policy", &["bytes", "ids", "json", "keys", "rotation", "shared", "sorted", "string_matcher", "token"]),
    ("engine", &["ids", "keys", "metrics", "policy", "rotation", "time", "token"]),
    ("config", &["ids", "json", "keys", "policy", "rotation", "shared", "sorted", "string_matcher", "time", "token"]),
    ("shell", &["config", "engine", "ids", "keys", "metrics", "policy", "rotation", "shared", "time", "token"]),
];

/// No file is longer, tests included.
const MAX_LINES: usize = 400;
/// The shell's share of the lines of code, tests left out, in per cent.
const MAX_SHELL_SHARE: usize = 10;

struct Source {
    /// The path below `src`, in parts, without `.rs` and `mod`.
    module: Vec<String>,
    path: PathBuf,
    /// Without comments, string contents and test modules.
    code: String,
    lines: usize,
    code_lines: usize,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text above the first test module, without comments. (Test modules stand last in this repository.)
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.split("#[cfg(test)]\npub(super) mod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn sources() -> Vec<Source> {
    let (src, crypto) = (root().join("src"), root().join("crypto/src"));
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    rust_files(&crypto, &mut files);
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let below =
            path.strip_prefix(&src).or_else(|_| path.strip_prefix(&crypto)).expect("below src").with_extension("");
        let mut module: Vec<_> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.retain(|part| part != "mod" && part != "lib");
        if path.starts_with(&crypto) {
            // A crate of its own: its paths do not begin at this crate's root.
            module.insert(0, "crypto".to_owned());
        }
        let is_test = module.iter().any(|part| part == "tests" || part == "reference" || part == "test_hooks");
        let code = if is_test { String::new() } else { code_of(&text) };
        let code_lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        Source { module, path, lines: text.lines().count(), code_lines, code }
    };
    files.into_iter().map(source).collect()
}

/// The paths that the `use` items and the qualified names of a file name, as modules from the crate's root.
fn imports(source: &Source) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for item in source.code.split("\nuse ").skip(1).chain(source.code.split("\npub use ").skip(1)) {
        let tree = item.split(';').next().unwrap_or_default();
        expand(tree, &mut Vec::new(), &mut found);
    }
    for item in source.code.split("\n    use ").skip(1) {
        expand(item.split(';').next().unwrap_or_default(), &mut Vec::new(), &mut found);
    }
    // Names that are written out: `crate::a::b`.
    for rest in source.code.split("crate::").skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        let path =
            ["crate".to_owned()].into_iter().chain(name.split("::").filter(|part| !part.is_empty()).map(str::to_owned));
        found.insert(path.collect());
    }
    if source.module.first().is_some_and(|part| part == "crypto") {
        return BTreeSet::new();
    }
    let here = &source.module;
    let absolute = |path: Vec<String>| {
        let first = path.first()?.as_str();
        let supers = path.iter().take_while(|part| *part == "super").count();
        match first {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&here[..], &path[1..]].concat()),
            "super" => Some([&here[..here.len().saturating_sub(supers)], &path[supers..]].concat()),
            _ => None,
        }
    };
    found.into_iter().filter_map(absolute).collect()
}

/// The leaves of a use tree.
fn expand(tree: &str, prefix: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    let tree = tree.trim();
    let depth = prefix.len();
    if let Some((head, body)) = tree.split_once('{') {
        prefix.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        let body = body.rsplit_once('}').map_or(body, |(body, _)| body);
        let (mut level, mut start) = (0_i32, 0);
        for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
            match c {
                '{' => level += 1,
                '}' => level -= 1,
                ',' if level == 0 => {
                    if !body[start..at].trim().is_empty() {
                        expand(&body[start..at], prefix, found);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else {
        let leaf = tree.split(" as ").next().unwrap_or_default();
        prefix.extend(leaf.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        let path: Vec<_> = prefix.iter().filter(|part| *part != "self" || prefix[0] == **part).cloned().collect();
        found.insert(path);
    }
    prefix.truncate(depth);
}

/// Which file imports which.
fn file_graph(sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules: BTreeSet<_> = sources.iter().map(|source| source.module.clone()).collect();
    let mut graph = BTreeMap::new();
    for source in sources.iter().filter(|source| source.code_lines > 0) {
        let file_of =
            |path: Vec<String>| (0..=path.len()).rev().map(|n| path[..n].to_vec()).find(|m| modules.contains(m));
        // A parent module re-exports its children; what a child takes through its parent is its sibling's.
        let imported = imports(source).into_iter().filter_map(file_of);
        let others = imported.filter(|module| *module != source.module && !module.is_empty());
        graph.insert(source.module.clone(), others.collect::<BTreeSet<_>>());
    }
    graph
}

#[test]
fn parts_import_only_parts_on_lower_floors() {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let Some(part) = source.module.first() else { continue };
        let imported = imports(&source).into_iter().filter_map(|path| path.first().cloned());
        graph.entry(part.clone()).or_default().extend(imported.filter(|other| other != part));
    }
    println!("{:16} imports", "part");
    for (floor, (part, allowed)) in IMPORTS.iter().enumerate() {
        let imported = graph.remove(*part).unwrap_or_default();
        println!("{part:16} {}", imported.iter().cloned().collect::<Vec<_>>().join(" "));
        for other in &imported {
            let lower = IMPORTS[..floor].iter().any(|(name, _)| name == other);
            assert!(lower, "{part} imports {other}, which does not stand on a lower floor");
            assert!(allowed.contains(&other.as_str()), "{part} imports {other}, which IMPORTS does not allow");
        }
        let unused: Vec<_> = allowed.iter().filter(|other| !imported.contains(**other)).collect();
        assert!(unused.is_empty(), "{part} imports no {unused:?}: take them out of IMPORTS");
    }
    graph.remove("allocator");
    assert!(graph.is_empty(), "not in IMPORTS: {:?}", graph.keys());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = file_graph(&sources());
    // A folder's `mod.rs` and `lib.rs` name their children to declare and re-export them.
    let is_parent = |parent: &[String], child: &[String]| child.len() > parent.len() && child.starts_with(parent);
    let mut edges: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (module, imported) in &graph {
        let to: BTreeSet<_> = imported.iter().filter(|other| !is_parent(module, other)).cloned().collect();
        edges.insert(module.clone(), to);
    }
    // Files without an import that is left are taken away, until none is left or those left form circles.
    loop {
        let free: Vec<_> = edges
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !edges.contains_key(to)))
            .map(|(m, _)| m.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|module| drop(edges.remove(module)));
    }
    let left = |to: &BTreeSet<Vec<String>>| {
        to.iter().filter(|to| edges.contains_key(*to)).map(|to| to.join("/")).collect::<Vec<_>>()
    };
    let names: Vec<_> = edges.iter().map(|(module, to)| format!("{} -> {:?}", module.join("/"), left(to))).collect();
    assert!(edges.is_empty(), "files in circles:\n{}", names.join("\n"));
    let count: usize = graph.values().map(BTreeSet::len).sum();
    println!("{} files, {count} imports between them, no circle", graph.len());
}

#[test]
fn files_are_short_and_the_shell_is_thin() {
    let sources = sources();
    let mut folders: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for source in &sources {
        let folder = if source.module.len() > 1 { source.module[0].clone() } else { ".".to_owned() };
        let entry = folders.entry(folder).or_default();
        *entry = (entry.0 + 1, entry.1 + source.lines, entry.2 + source.code_lines);
        assert!(source.lines <= MAX_LINES, "{}: {} lines", source.path.display(), source.lines);
    }
    println!("{:10} {:>6} {:>7} {:>7}", "folder", "files", "lines", "code");
    for (folder, (files, lines, code)) in &folders {
        println!("{folder:10} {files:6} {lines:7} {code:7}");
    }
    let mut lines: Vec<_> = sources.iter().map(|source| source.lines).collect();
    lines.sort_unstable();
    let code: usize = folders.values().map(|(_, _, code)| code).sum();
    let share = folders["shell"].2 * 1000 / code;
    println!(
        "median file {} lines, largest {}; the shell is {}.{} % of {code} lines of code",
        lines[lines.len() / 2],
        lines[lines.len() - 1],
        share / 10,
        share % 10
    );
    assert!(share <= MAX_SHELL_SHARE * 10, "the shell is {}.{} %", share / 10, share % 10);
}

#[test]
fn host_calls_stand_in_the_shell_only_and_clocks_nowhere() {
    for source in sources() {
        let part = source.module.first().map_or("", String::as_str);
        let allowed: &[&str] = match part {
            "shell" => &["unsafe_code"],
            "allocator" => &["unsafe_code"],
            _ => &[],
        };
        for word in ["proxy_wasm", "unsafe_code", "SystemTime::now", "Instant::now", "std::net", "std::fs", "std::env"]
        {
            let is_there = source.code.contains(word);
            assert!(!is_there || allowed.contains(&word), "{} has {word}", source.path.display());
        }
    }
}

/// The string literals of a source text, with continued lines joined.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('"') {
        let mut literal = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, '\n')) => {
                        let skipped = chars.as_str().len() - chars.as_str().trim_start().len();
                        chars.by_ref().take(skipped).for_each(drop);
                    }
                    Some((_, escaped)) => literal.push(escaped),
                    None => break,
                },
                c => literal.push(c),
            }
        }
        found.push(literal);
        rest = &after[end..];
    }
    found
}

/// A pattern for what a format string prints. `None`: the string is too short to tell anything.
fn pattern(format: &str) -> Option<regex_lite::Regex> {
    let mut pattern = String::from("^");
    let (mut literal, mut rest) = (0, format);
    while let Some((text, after)) = rest.split_once('{') {
        pattern += &regex_lite::escape(text);
        literal += text.len();
        pattern += ".*";
        rest = after.split_once('}')?.1;
    }
    pattern += &regex_lite::escape(rest);
    (literal + rest.len() >= 12).then(|| regex_lite::Regex::new(&(pattern + "$")).expect("a pattern"))
}

#[test]
fn log_lines_of_the_documents_are_printed_by_the_code() {
    let patterns: Vec<_> =
        sources().iter().flat_map(|source| literals(&source.code)).filter_map(|format| pattern(&format)).collect();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a document");
        // Odd parts stand between fences.
        for block in text.split("```").skip(1).step_by(2) {
            for line in block.lines().filter(|line| line.starts_with("provider \"")) {
                // A change of a key is printed behind the provider by a format string of its own.
                let message = line.split_once("\": ").expect("a message behind the provider").1;
                let prints = |pattern: &regex_lite::Regex| pattern.is_match(line) || pattern.is_match(message);
                let is_printed = patterns.iter().any(prints);
                assert!(is_printed, "{}: no code prints {line:?}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 7, "{seen} lines");
    assert!(
        !patterns.iter().any(|pattern| pattern.is_match("the JWKS is taken, usable keys: 2")),
        "the check can fail"
    );
}

/// The table of docs/architecture.md is the one above.
#[test]
fn the_documented_imports_are_those_of_the_code() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("a document");
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut rows = BTreeMap::new();
    let mut floors = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ") && line.contains(" | `")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let Ok(floor) = cells[1].parse::<u32>() else { continue };
        for part in names(cells[2]) {
            floors.insert(part.clone(), floor);
            rows.insert(part, names(cells[4]));
        }
    }
    rows.remove("allocator");
    let expected: BTreeMap<_, _> = IMPORTS
        .iter()
        .map(|(part, imports)| ((*part).to_owned(), imports.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(rows, expected);
    for (part, imports) in &rows {
        assert!(imports.iter().all(|other| floors[other] < floors[part]), "{part}: floors");
    }
}

/// In the table of SECURITY.md: a file, and after a colon the names of its tests.
#[test]
fn the_tests_that_security_md_names_exist() {
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md");
    let (_, table) = text.split_once("| promise | test |").expect("the table");
    let mut names = 0;
    for row in table.lines().skip(2).take_while(|row| row.starts_with('|')) {
        let mut code = String::new();
        for name in row.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                code = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            } else {
                assert!(code.contains(&format!("fn {name}()")), "{name}");
                names += 1;
            }
        }
        assert!(!code.is_empty(), "{row}");
    }
    assert!(names > 12, "{names}");
}
