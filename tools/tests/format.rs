//! The worked example of `docs/format.md` is what the tool prints, and an old file still reads the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn mapleaf() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mapleaf"))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn pages(file: &Path) -> String {
    let mut text = String::new();
    for page in 1..=4 {
        let output = mapleaf().arg("page").arg(file).arg(page.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        text.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    text
}

/// Without the store id and the seed, which are random, and the checksum that depends on them.
fn comparable(dump: &str) -> Vec<&str> {
    let random = |line: &&str| {
        line.contains("slot 1 checksum")
            || line.contains("store id")
            || line.contains("log seed")
            || line.starts_with("0030  ") && line.len() < 32
    };
    let (meta, rest) = dump.split_once("page 2:").expect("pages 1 to 4");
    meta.lines().filter(|line| !random(line)).chain(rest.lines()).map(str::trim_end).collect()
}

fn documented() -> String {
    let document = std::fs::read_to_string(repository("docs/format.md")).unwrap();
    let example = document.split("## Worked example").nth(1).expect("the section");
    example
        .split("```text\n")
        .nth(1)
        .and_then(|block| block.split("```").next())
        .expect("the block")
        .to_owned()
}

#[test]
fn the_worked_example_is_what_a_new_file_looks_like() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("three.maple");
    let mut load = mapleaf().args(["load", "-T"]).arg(&file).stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(b"apple\nred\nbanana\nyellow\ncherry\ndark red\n").unwrap();
    assert!(load.wait().unwrap().success());
    assert_eq!(comparable(&pages(&file)), comparable(&documented()));
}

#[test]
fn the_committed_file_of_version_1_reads_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("three.maple");
    std::fs::copy(repository("tests/fixtures/three-keys.maple"), &file).unwrap();
    assert_eq!(comparable(&pages(&file)), comparable(&documented()));
    let verify = mapleaf().arg("verify").arg(&file).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let value = mapleaf().arg("get").arg(&file).arg("banana").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&value.stdout).trim_end(), "yellow");
}
