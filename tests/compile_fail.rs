//! What must not compile, and a twin of each that does.
//!
//! The programs are in `tests/ui`. A line that must be refused ends in `//~ E0502`, say: that error code, on
//! that line, and nothing else is what the compiler must say of the file. Messages are not compared, for
//! their wording changes from one compiler to the next; except for those of the derive macros, which have no code
//! and are our own: of them the words up to the first comma or colon stand there.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Program, line, error code or the message's first words.
type Refusal = (String, usize, String);

#[test]
fn the_compiler_refuses_what_it_must_and_nothing_else() {
    let programs = programs();
    let refused: BTreeSet<String> = expected(&programs).into_iter().map(|(program, ..)| program).collect();
    for program in &programs {
        let name = name_of(program);
        let has_twin = programs.iter().any(|other| name_of(other) == format!("{name}_twin"));
        assert_eq!(has_twin, refused.contains(&name), "{name} and its twin");
    }
    let (found, output) = check(&programs);
    assert_eq!(found, expected(&programs), "\n{output}");
}

fn programs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut programs: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    assert!(programs.len() >= 8);
    programs
}

fn name_of(program: &Path) -> String {
    program.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn expected(programs: &[PathBuf]) -> BTreeSet<Refusal> {
    let mut expected = BTreeSet::new();
    for program in programs {
        let text = std::fs::read_to_string(program).unwrap();
        for (line, code) in
            text.lines().enumerate().filter_map(|(i, l)| Some((i + 1, l.split_once("//~ ")?.1)))
        {
            expected.insert((name_of(program), line, code.to_owned()));
        }
    }
    expected
}

/// Checks all programs as binaries of one package. Returns the errors, and everything that was said.
fn check(programs: &[PathBuf]) -> (BTreeSet<Refusal>, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    std::fs::create_dir_all(&package).unwrap();
    let mut manifest = format!(
        "[package]\nname = \"ui\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nmapleaf = {{ path = {root:?} }}\n"
    );
    for program in programs {
        write!(manifest, "[[bin]]\nname = {:?}\npath = {program:?}\n", name_of(program)).unwrap();
    }
    std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--bins", "--keep-going", "--message-format=short", "--color=never"])
        .arg("--target-dir")
        .arg(package.join("target"))
        .current_dir(&package)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.contains("Checking ui"), "the library itself was not built:\n{output}");
    let errors = output.lines().filter_map(|line| {
        let (place, error) = line.split_once(": error")?;
        let mut place = place.rsplit(':').skip(1);
        let line = place.next()?.parse().ok()?;
        let code = match error.strip_prefix('[') {
            Some(rest) => rest.split(']').next()?,
            None => error.strip_prefix(": ")?.split([',', ':']).next()?,
        };
        Some((name_of(Path::new(place.next()?)), line, code.to_owned()))
    });
    (errors.collect(), output)
}
