//! The soundness page and the source say the same: `docs/soundness.md` names claims, the code that upholds each, and the
//! tests that fail without it; every `SAFETY` comment cites claims.
//!
//! A claim is a heading (`### M1. …`) or a numbered part of one (`- **M2.3.** …`). In a claim, what stands behind
//! "Upheld by" is code, behind "Fails without" tests, both in backticks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules that may have `unsafe` blocks.
const UNSAFE_MODULES: [&str; 3] = ["map", "fork", "lock"];
/// Files whose public `unsafe` functions stand on the caller's promise.
const UNSAFE_SIGNATURES: [&str; 2] = ["database.rs", "handover.rs"];

#[test]
fn every_safety_comment_cites_claims_that_exist() {
    let claims = claims();
    let mut wrong = Vec::new();
    let mut comments = 0;
    for (file, text) in sources() {
        for (line, comment) in safety_comments(&text) {
            comments += 1;
            let cited = cited(&comment);
            if cited.is_empty() {
                wrong.push(format!("{file}:{line}: cites no claim: {comment}"));
            }
            let unknown = cited.iter().filter(|claim| !claims.contains_key(*claim));
            wrong.extend(unknown.map(|claim| format!("{file}:{line}: cites {claim}, which is not there")));
        }
    }
    assert!(comments > 20, "{comments} comments");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A claim that no `unsafe` block needs is one about mapleaf, and no matter of this page; but for those that
/// others are made of, and those that the page marks so.
#[test]
fn every_claim_is_cited_by_code_or_by_a_claim_that_is() {
    let claims = claims();
    let mut reached: BTreeSet<String> = sources()
        .iter()
        .flat_map(|(_, text)| safety_comments(text))
        .flat_map(|(_, text)| cited(&text))
        .collect();
    loop {
        let parts =
            claims.keys().filter(|claim| claim.split_once('.').is_some_and(|(of, _)| reached.contains(of)));
        let mentioned = reached.iter().filter_map(|claim| claims.get(claim)).flat_map(|text| cited(text));
        let more: BTreeSet<String> = parts.cloned().chain(mentioned).collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            break;
        }
    }
    let left: Vec<&String> = claims.keys().filter(|claim| !reached.contains(*claim)).collect();
    assert!(left.is_empty(), "nobody relies on {left:?}");
}

#[test]
fn every_claim_names_code_and_tests_that_exist() {
    let (functions, tests) = (functions(), tests());
    let mut wrong = Vec::new();
    for (claim, text) in claims() {
        if has_parts(&claim) {
            continue;
        }
        let upheld = behind(&text, "Upheld by");
        let fails = behind(&text, "Fails without");
        if upheld.is_empty() || fails.is_empty() {
            wrong.push(format!("{claim} names {} pieces of code and {} tests", upheld.len(), fails.len()));
        }
        let lost = upheld.iter().filter(|code| !functions.contains(*code));
        wrong.extend(lost.map(|code| format!("{claim}: there is no {code}")));
        let lost = fails.iter().filter(|test| !tests.contains(*test));
        wrong.extend(lost.map(|test| format!("{claim}: there is no test {test}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_in_its_modules_and_in_signatures_only() {
    let root = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    assert!(root.starts_with("#![deny(unsafe_code)]\n"));
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        if UNSAFE_MODULES.contains(&module) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let mentions = code.contains("unsafe") && file != "lib.rs";
            let is_signature = ["allow(unsafe_code)", "pub unsafe fn ", "unsafe { Options::new()."]
                .iter()
                .any(|part| code.contains(part));
            if mentions && !(is_signature && UNSAFE_SIGNATURES.contains(&file.as_str())) {
                wrong.push(format!("src/{file}:{}: {line}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

// ---- the page ----

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/soundness.md")).unwrap()
}

/// By number: what the page says of the claim.
fn claims() -> BTreeMap<String, String> {
    let mut claims: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in page().lines() {
        if line.starts_with("## ") {
            current = None;
        }
        if let Some(claim) = heading(line) {
            assert!(!claims.contains_key(&claim), "{claim} is there twice");
            current = Some(claim);
        }
        if let Some(claim) = &current {
            let text = claims.entry(claim.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(claims.len() > 10, "{:?}", claims.keys());
    claims
}

fn heading(line: &str) -> Option<String> {
    let rest = line.strip_prefix("### ").or_else(|| line.strip_prefix("- **"))?;
    let number: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let number = number.trim_end_matches('.');
    is_claim(number).then(|| number.to_owned())
}

/// `M1`, `M2.3`.
fn is_claim(word: &str) -> bool {
    let mut letters = word.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_uppercase());
    let rest: Vec<&str> = letters.as_str().split('.').collect();
    first && rest.len() <= 2 && rest.iter().all(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit()))
}

fn has_parts(claim: &str) -> bool {
    claims().contains_key(&format!("{claim}.1"))
}

fn cited(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    words.map(|word| word.trim_end_matches('.')).filter(|word| is_claim(word)).map(str::to_owned).collect()
}

/// What stands in backticks behind this mark, up to the end of the line.
fn behind(text: &str, mark: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once(mark)?.1.split_once(':'));
    lines.flat_map(|(_, rest)| rest.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

// ---- the source ----

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Files of `src`, by path within it, with their text.
fn sources() -> Vec<(String, String)> {
    texts(&source())
}

fn texts(directory: &Path) -> Vec<(String, String)> {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files(directory).into_iter().map(read).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Comments that begin with `SAFETY:`, whole, with their lines. Examples in documentation are not ours.
fn safety_comments(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_comment = |line: &&&str| line.starts_with("//");
    let begins = lines.iter().enumerate().filter(|(_, line)| line.starts_with("// SAFETY:"));
    begins
        .map(|(at, _)| {
            (at + 1, lines[at..].iter().take_while(is_comment).copied().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// `module::function`, with the innermost module, for every function of `src`; also `module` itself.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (file, text) in sources() {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
        let module = path.rsplit('/').next().unwrap();
        found.insert(module.to_owned());
        found.extend(names_of_functions(&text).map(|name| format!("{module}::{name}")));
    }
    found
}

fn names_of_functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//")).filter_map(|line| {
        let rest = line.split_once("fn ")?.1;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        (end > 0).then(|| &rest[..end])
    })
}

/// `file::name` for every test of `tests`, `module::name` for those of `src`, and the programs of `tests/ui`.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in ["src", "tests"] {
        for (file, text) in texts(&source().with_file_name(directory)) {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
            let name = path.replace('/', "::");
            if name.starts_with("ui::") && text.contains("//~ E") {
                found.insert(name.clone());
            }
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let mut is_test = false;
            for line in lines {
                if line.contains("#[test]") {
                    is_test = true;
                } else if is_test && let Some(function) = names_of_functions(line).next() {
                    found.insert(format!("{name}::{function}"));
                    is_test = false;
                }
            }
        }
    }
    // The mutations by their names.
    let mutations = std::fs::read_to_string(source().with_file_name("tests/crash/mutations.rs")).unwrap();
    let named =
        mutations.lines().filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\","));
    found.extend(named.map(|name| format!("crash::mutations::{name}")));
    found
}
