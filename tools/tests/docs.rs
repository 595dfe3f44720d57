//! The sessions in `docs/tool.md` print what is written there. They are run in order, in one directory. What a person types is behind
//! `$ `, and behind `> ` the lines that are its input.

mod common;

use common::Place;
use std::fmt::Write;

const PAGE: &str = include_str!("../../docs/tool.md");

/// A command and what it prints, of standard output and standard error together.
fn run(place: &Place, command: &str, input: &str) -> String {
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let mut program = place.command("/bin/sh");
    program.args(["-c", &format!("exec 2>&1; {command}")]).env("PATH", path);
    program.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = program.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The page, its sessions as they go.
fn as_it_is(place: &Place) -> String {
    let mut page = String::new();
    let mut lines = PAGE.lines().peekable();
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

#[test]
fn the_sessions_print_what_the_page_says() {
    let place = Place::new();
    std::fs::create_dir(place.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mapleaf"), place.path("bin/mapleaf")).unwrap();
    let page = as_it_is(&place);
    let differ = page.lines().zip(PAGE.lines()).find(|(is, says)| is != says);
    if differ.is_some() || page.lines().count() != PAGE.lines().count() {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("tool.md");
        std::fs::write(&path, &page).unwrap();
        panic!("{differ:?}: the page as it should be is in {}", path.display());
    }
}
