//! The results of `convert`, which `tests/differential/converted.rs` runs beside `jwt_authn`.

use std::{env, fs, path::Path, process::Command};

/// Each result is in the file beside its source. `WRITE_CONVERTED=1` writes the files anew.
#[test]
fn each_document_is_converted_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/differential/converted");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for folder in entries.filter(|path| path.is_dir()) {
        let source = folder.join("source.yaml");
        let output = Command::new(env!("CARGO_BIN_EXE_jwks-gate")).arg("convert").arg(&source).output().unwrap();
        assert!(output.stderr.is_empty(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
        let result = String::from_utf8(output.stdout).unwrap();
        let file = folder.join("converted.yaml");
        if env::var_os("WRITE_CONVERTED").is_some() {
            fs::write(&file, &result).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), result, "{}", file.display());
        count += 1;
    }
    assert!(count >= 10, "{count}");
}
