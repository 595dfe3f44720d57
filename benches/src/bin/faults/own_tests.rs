//! mapleaf's own tests of faults: runs them, and gathers which ended how and how many cases they say they tried.
//!
//! A test says so by a line `tried: CLASSES | TEST | CASES`, such as `tried: F9, F23 | failing_calls::every_call | 812`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tests that have nothing to do with faults.
const OTHERS: [&str; 6] = ["common", "compile_fail", "examples", "layers", "syscalls", "ui"];

/// What one test said.
#[derive(Default)]
pub struct Said {
    pub is_ok: Option<bool>,
    pub cases: u64,
    pub classes: Vec<String>,
}

/// By `TARGET::NAME`.
#[derive(Default)]
pub struct Results(pub BTreeMap<String, Said>);

/// Runs these test programs, or all.
pub fn run(targets: &[&str]) -> Results {
    let mut results = Results::default();
    let all = all_targets();
    let wanted = all.iter().filter(|target| targets.is_empty() || targets.contains(&&target[..]));
    wanted.for_each(|target| results.gather(target));
    results
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in a workspace").to_owned()
}

fn all_targets() -> Vec<String> {
    let entries = std::fs::read_dir(repository().join("tests")).expect("the tests are there");
    let name = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_test = path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file();
        is_test.then(|| path.file_stem().expect("a name").to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = entries.filter_map(|entry| name(entry.expect("readable"))).collect();
    names.retain(|name| !OTHERS.contains(&&name[..]));
    names.sort();
    names
}

impl Results {
    fn gather(&mut self, target: &str) {
        println!("running tests/{target}");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .current_dir(repository())
            .args(["test", "-p", "mapleaf", "--test", target, "--", "--nocapture", "--test-threads", "2"])
            .output()
            .expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().for_each(|line| self.note(target, line));
        if !output.status.success() && !text.contains("test result: FAILED") {
            self.0.entry(format!("{target}::(the program)")).or_default().is_ok = Some(false);
        }
    }

    fn note(&mut self, target: &str, line: &str) {
        if let Some((_, tried)) = line.split_once("tried: ") {
            let parts: Vec<&str> = tried.split(" | ").map(str::trim).collect();
            let [classes, test, cases] = parts[..] else { return };
            let name = test.strip_prefix(&format!("{target}::")).unwrap_or(test);
            let name = self.full_name(target, name);
            let said = self.0.entry(name).or_default();
            said.cases += cases.parse::<u64>().unwrap_or(0);
            said.classes.extend(classes.split(',').map(|class| class.trim().to_owned()));
            return;
        }
        let Some((before, end)) = line.rsplit_once(" ... ") else { return };
        let Some((_, name)) =
            format!(" {before}").rsplit_once(" test ").map(|(a, b)| (a.to_owned(), b.to_owned()))
        else {
            return;
        };
        let is_ok = match end.trim() {
            "ok" => true,
            "FAILED" => false,
            _ => return,
        };
        let name = self.full_name(target, &name);
        self.0.entry(name).or_default().is_ok = Some(is_ok);
    }

    /// The name under which a test is noted already, be it without its module; or a new one.
    fn full_name(&mut self, target: &str, name: &str) -> String {
        let last = name.rsplit("::").next().expect("a part");
        let is_same = |known: &&String| {
            known.split("::").next() == Some(target) && known.rsplit("::").next() == Some(last)
        };
        let full = format!("{target}::{name}");
        match self.0.keys().find(is_same).cloned() {
            // The longer one has the module.
            Some(known) if known.len() < full.len() => {
                let said = self.0.remove(&known).expect("it is there");
                self.0.insert(full.clone(), said);
                full
            }
            Some(known) => known,
            None => full,
        }
    }

    /// The tests of a row: those that it names, and those that say that they tried its classes.
    pub fn of(&self, ids: &[&str], patterns: &[&str]) -> Vec<(&String, &Said)> {
        let is_named = |name: &str| {
            patterns.iter().any(|pattern| match pattern.split_once('*') {
                Some((begin, rest)) => {
                    name.strip_prefix(begin).is_some_and(|left| left.contains(rest.trim_end_matches('*')))
                }
                None => name == *pattern,
            })
        };
        let says = |said: &Said| said.classes.iter().any(|class| ids.contains(&&class[..]));
        self.0.iter().filter(|(name, said)| says(said) || said.classes.is_empty() && is_named(name)).collect()
    }

    /// Prints everything that was said; whether all tests passed.
    pub fn print(&self) -> bool {
        println!("\n| test | classes | cases | |\n|---|---|---:|---|");
        for (name, said) in &self.0 {
            let end = match said.is_ok {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "?",
            };
            println!("| {name} | {} | {} | {end} |", said.classes.join(", "), said.cases.max(1));
        }
        self.0.values().all(|said| said.is_ok != Some(false))
    }
}
