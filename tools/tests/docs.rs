//! The sessions in the pages, and in `sessions.md` (blocks called `console`) print what is written there. Those of a page are run in order, in one directory.
//! What a person types is behind `$ `, and behind `> ` the lines that are its input.

mod common;

use common::Place;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command and what it prints, of standard output and standard error together.
fn run(place: &Place, command: &str, input: &str) -> String {
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let mut program = place.command("/bin/sh");
    program.args(["-c", &format!("exec 2>&1; {command}")]).env("PATH", path);
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The page, its sessions as they go.
fn as_it_is(place: &Place, text: &str) -> String {
    let mut page = String::new();
    let mut lines = text.lines().peekable();
    let mut in_session = false;
    while let Some(line) = lines.next() {
        in_session = line == "```console" || (in_session && line != "```");
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_session) else {
            // What was printed before is told anew.
            if !in_session || line == "```console" {
                writeln!(page, "{line}").unwrap();
            }
            continue;
        };
        writeln!(page, "{line}").unwrap();
        let mut input = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("> ")) {
            writeln!(page, "{line}").unwrap();
            writeln!(input, "{}", &line[2..]).unwrap();
        }
        page.push_str(&run(place, command, &input));
    }
    page
}

fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mapleaf"), place.path("bin/mapleaf")).unwrap();
    place
}

/// Runs the sessions of a page and compares.
#[track_caller]
fn compare(place: &Place, path: &str) {
    let (text, name) =
        (std::fs::read_to_string(repository().join(path)).unwrap(), path.rsplit('/').next().unwrap());
    assert!(text.contains("```console\n$ mapleaf "), "{name} has no session");
    let page = as_it_is(place, &text);
    let differ = page.lines().zip(text.lines()).find(|(is, says)| is != says);
    if differ.is_some() || page.lines().count() != text.lines().count() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, &page).unwrap();
        panic!("{differ:?}: the page as it should be is in {}", path.display());
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_sessions_of_the_tool_print_what_the_page_says() {
    compare(&place(), "docs/tool.md");
}

#[test]
fn the_sessions_of_the_first_hour_print_what_the_page_says() {
    let place = place();
    std::fs::create_dir(place.path("target")).unwrap();
    // What it prints is compared where the examples are run.
    let mut first = Command::new(env!("CARGO"));
    first.current_dir(repository()).args(["run", "--quiet", "--example", "first", "--"]);
    let output = first.arg(place.path("target/first.maple")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    compare(&place, "docs/first-hour.md");
}

/// Every command, what it prints and what it says when it cannot.
#[test]
fn each_command_prints_what_the_sessions_say() {
    compare(&place(), "tools/tests/sessions.md");
    let sessions = include_str!("sessions.md");
    for name in Place::new().listed(&[]) {
        assert!(sessions.contains(&format!("mapleaf {name} ")), "{name} is not in the sessions");
    }
}

/// Pages whose sessions nobody runs would grow old.
#[test]
fn every_page_with_sessions_is_run() {
    let pages = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.chain([repository().join("README.md")]).filter(|path| path.is_file());
    let with_sessions = pages.filter(|path| std::fs::read_to_string(path).unwrap().contains("```console"));
    let mut names: Vec<_> = with_sessions.map(|path| path.file_name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["first-hour.md", "tool.md"]);
}
