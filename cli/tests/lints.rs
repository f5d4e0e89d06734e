//! What `check` finds. `lints` has two files for each finding of docs/cli.md: `bad.yaml` has the finding and no other, and `good.yaml`
//! has none. `mistakes` has configurations as users write them, each with one mistake.
//!
//! The first lines of a file name its findings: `# expects LINE CODE: PART OF THE MESSAGE`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[derive(Debug)]
struct Finding {
    line: usize,
    code: String,
    message: String,
    severity: String,
}

/// What `check` finds in a file.
fn check(path: &Path) -> Vec<Finding> {
    let output = Command::new(env!("CARGO_BIN_EXE_jwks-gate"))
        .args(["--json", "check"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let of = |finding: &Value| Finding {
        line: usize::try_from(finding["line"].as_u64().unwrap()).unwrap(),
        code: text(finding, "code"),
        message: text(finding, "message"),
        severity: text(finding, "severity"),
    };
    list.as_array().unwrap().iter().map(of).collect()
}

/// The findings that a file's first lines name, as line, code and a part of the message.
fn expected(path: &Path) -> Vec<(usize, String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let of = |line: &str| {
        let (place, message) = line.split_once(": ").unwrap();
        let (line, code) = place.split_once(' ').unwrap();
        (line.parse().unwrap(), code.to_owned(), message.to_owned())
    };
    text.lines().map_while(|line| line.strip_prefix("# expects ")).map(of).collect()
}

/// Compares what was found with what the file names. Notes count only if the file names them.
fn compare(path: &Path) -> Result<Vec<Finding>, String> {
    let wanted = expected(path);
    let mut found = check(path);
    found.retain(|finding| finding.severity != "note" || wanted.iter().any(|(_, code, _)| *code == finding.code));
    let fits = |(line, code, message): &(usize, String, String)| {
        found
            .iter()
            .any(|finding| finding.line == *line && finding.code == *code && finding.message.contains(message.as_str()))
    };
    if wanted.iter().all(fits) && found.len() == wanted.len() {
        Ok(found)
    } else {
        Err(format!("{}: expected {wanted:#?}, found {found:#?}", path.display()))
    }
}

/// The findings of the table in docs/cli.md, with their severity.
fn documented() -> Vec<(String, String)> {
    let text = fs::read_to_string(workspace().join("docs/cli.md")).unwrap();
    let (_, table) = text.split_once("| finding | severity |").unwrap();
    let mut rows = Vec::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').collect();
        for code in cells[1].split(',') {
            rows.push((code.trim().trim_matches('`').to_owned(), cells[2].trim().to_owned()));
        }
    }
    rows
}

#[test]
fn each_documented_lint_has_a_file_with_the_finding_and_a_file_without() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lints");
    let documented = documented();
    let names: BTreeSet<_> = documented.iter().map(|(code, _)| code.clone()).collect();
    let entries = fs::read_dir(&folder).unwrap();
    let folders: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, folders, "the table of docs/cli.md, and the folders in cli/tests/lints");
    let mut wrong = Vec::new();
    for (code, severity) in &documented {
        let bad = folder.join(code).join("bad.yaml");
        match compare(&bad) {
            Ok(found) => {
                let [finding] = &found[..] else { panic!("{code}: {found:#?}") };
                assert_eq!(finding.code, *code, "{}", bad.display());
                assert!(severity.starts_with(&finding.severity), "{code}: {} is no {severity}", finding.severity);
            }
            Err(error) => wrong.push(error),
        }
        let good = folder.join(code).join("good.yaml");
        let found = check(&good);
        if !found.is_empty() {
            wrong.push(format!("{}: {found:#?}", good.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes")).unwrap();
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let wrong: Vec<_> = files.iter().filter_map(|path| compare(path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files.len() >= 20 && files.iter().all(|path| !expected(path).is_empty()), "{}", files.len());
}

/// The manifests of Kubernetes that are shipped, as text.
fn manifests() -> Vec<(PathBuf, String)> {
    let (mut open, mut found) = (vec![workspace().join("envoy")], Vec::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("\nkind: ") || text.starts_with("kind: ") {
                found.push((path, text));
            }
        }
    }
    found
}

/// The fields below `spec` down to this depth, as line numbers and names.
fn fields(text: &str) -> Vec<(usize, String)> {
    let of = |(index, line): (usize, &str)| {
        let content = line.trim_start_matches([' ', '-']);
        let (name, _) = content.split_once(':')?;
        let indentation = line.len() - content.len();
        let is_name = !name.is_empty() && name.chars().all(char::is_alphanumeric);
        (is_name && (2..=4).contains(&indentation)).then(|| (index, name.to_owned()))
    };
    text.lines().enumerate().filter_map(of).collect()
}

/// No manifest has a field that the schema of its kind does not have; and a misspelt field is found, whichever it is.
#[test]
fn the_shipped_manifests_fit_their_schemas_strictly() {
    let (mut kinds, mut misspelt) = (BTreeSet::new(), 0);
    for (path, text) in manifests() {
        let invalid = |found: &[Finding]| found.iter().filter(|finding| finding.code == "invalid_resource").count();
        let found = check(&path);
        assert_eq!(invalid(&found), 0, "{}: {found:#?}", path.display());
        kinds.extend(text.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned));
        for (index, name) in fields(&text) {
            // Labels, the configuration and metadata have any names, and the schema of EnvoyProxy is open at the top.
            let any = ["app", "istio", "name", "namespace", "providers", "rules", "annotations", "labels", "provider"];
            if any.contains(&&*name) {
                continue;
            }
            let lines = text.lines().enumerate().map(|(at, line)| {
                if at == index {
                    line.replacen(&format!("{name}:"), &format!("{name}x:"), 1)
                } else {
                    line.to_owned()
                }
            });
            let bad = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misspelt.yaml");
            fs::write(&bad, lines.collect::<Vec<_>>().join("\n")).unwrap();
            let message = format!("unknown field `{name}x`");
            assert!(
                check(&bad).iter().any(|found| found.code == "invalid_resource" && found.message.contains(&message)),
                "{}:{}: {name}",
                path.display(),
                index + 1
            );
            misspelt += 1;
        }
    }
    let schemas = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")).unwrap();
    let schemas: BTreeSet<_> = schemas.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for kind in &kinds {
        assert!(schemas.contains(&format!("{}.yaml", kind.to_lowercase())), "{kind} has no schema");
    }
    assert!(kinds.len() >= 6 && misspelt > 20, "{kinds:?} {misspelt}");
}
