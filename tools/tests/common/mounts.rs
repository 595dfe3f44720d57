//! File systems for tests, in a mount namespace of a process of their own: when it ends, they are gone. That takes no rights where
//! the system has user namespaces.

use std::path::Path;
use std::process::{Command, Stdio};

const INSIDE: &str = "MAPLEAF_TOOL_MOUNTS";

/// Runs the test of this name again in a process with mounts of its own, and `work` there, in an empty directory. Where a
/// process may not have them the test is skipped, and says so.
pub fn in_own_mounts(test: &str, work: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(INSIDE) {
        return work(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let unshare = ["--user", "--map-root-user", "--mount", "--kill-child"];
    match Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        _ => return eprintln!("skipped: a process may not have mounts of its own here"),
    }
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {said}");
    said.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| eprintln!("{line}"));
}

/// Mounts something; says whether that could be.
pub fn mount(args: &[&str], at: &Path) -> bool {
    if !at.exists() {
        std::fs::create_dir_all(at).unwrap();
    }
    Command::new("mount").args(args).arg(at).status().unwrap().success()
}
