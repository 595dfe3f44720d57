//! docs/side-by-side.md says how many lines each program has, and that none is longer than its counterpart;
//! src/cookbook.rs that its tasks are short. Both are counted here. (That the programs run is what the doctests show.)

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const SIDE_BY_SIDE: &str = include_str!("../docs/side-by-side.md");
const COOKBOOK: &str = include_str!("../src/cookbook.rs");

/// Programs with the headings that they stand under.
fn programs(text: &str) -> Vec<(&str, String)> {
    let (mut found, mut title, mut program) = (Vec::new(), "", None::<String>);
    for line in text.lines() {
        match &mut program {
            None if line.starts_with('#') => title = line.trim_start_matches('#').trim(),
            None if line.starts_with("```") => program = Some(String::new()),
            Some(_) if line.starts_with("```") => found.push((title, program.take().expect("it is open"))),
            Some(program) => *program += &format!("{line}\n"),
            None => {}
        }
    }
    found
}

/// What the `//!` lines of a file say.
fn doc_of(file: &str) -> String {
    let lines = file.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect()
}

/// Lines that are neither blank nor only a comment.
fn code_lines(program: &str) -> usize {
    program.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// `None` where there is no rustfmt.
fn formatted(program: &str) -> Option<String> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/rustfmt.toml");
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024", "--config-path", config]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut rustfmt) = command.spawn() else {
        eprintln!("rustfmt is not installed: not tested");
        return None;
    };
    rustfmt.stdin.take().expect("a pipe").write_all(program.as_bytes()).expect("it reads");
    let output = rustfmt.wait_with_output().expect("it ends");
    assert!(output.status.success(), "rustfmt does not accept this:\n{program}");
    Some(String::from_utf8(output.stdout).expect("it writes text"))
}

/// A row of the table: their example, its lines, ours, its lines.
fn rows() -> impl Iterator<Item = [&'static str; 4]> {
    let rows = SIDE_BY_SIDE.lines().filter(|line| line.starts_with("| redb") || line.starts_with("| heed"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("not four cells: {row}"))
    })
}

/// The text and the target of the link in a cell.
fn link(cell: &str) -> (&str, &str) {
    let (text, target) = cell.split_once("](").expect("there is a link");
    (text.split_once('[').expect("it begins").1, target.trim_end_matches(')'))
}

#[test]
fn no_program_is_longer_than_its_counterpart_and_the_table_says_how_long() {
    let programs: BTreeMap<&str, String> = programs(SIDE_BY_SIDE).into_iter().collect();
    let mut missing = Vec::new();
    for [theirs, their_lines, here, our_lines] in rows() {
        let (title, _) = link(here);
        assert!(SIDE_BY_SIDE.contains(&format!("\n## {title}\n")), "no section for {here}");
        if our_lines.starts_with("no") {
            missing.push((title, our_lines));
            continue;
        }
        let lines = code_lines(&programs[title]);
        assert_eq!(lines.to_string(), our_lines, "{here}");
        assert!(lines <= their_lines.parse().expect("a number"), "{here} is longer than {theirs}");
    }
    missing.sort_unstable();
    missing.dedup();
    assert_eq!(missing, [("Encryption", "no")]);
}

#[test]
fn the_programs_are_formatted_as_this_repository_is() {
    for (title, program) in programs(SIDE_BY_SIDE) {
        assert!(formatted(&program).is_none_or(|formatted| formatted == program), "{title}");
    }
}

/// Needs the two repositories, at the commits that the document names, as directories `redb` and `heed` in
/// `$SIDE_BY_SIDE_PEERS`.
#[test]
#[ignore = "needs the repositories of redb and heed"]
fn their_programs_are_as_long_as_the_table_says() {
    let peers = std::env::var("SIDE_BY_SIDE_PEERS").expect("SIDE_BY_SIDE_PEERS names a directory");
    for [theirs, their_lines, ..] in rows() {
        let program = their_program(Path::new(&peers), link(theirs));
        let whole = program.contains("fn main()");
        let wrapped = if whole { program } else { format!("fn main() {{\n{program}\n}}") };
        let Some(formatted) = formatted(&wrapped) else { return };
        let lines = code_lines(&formatted) - if whole { 0 } else { 2 };
        assert_eq!(lines.to_string(), their_lines, "{theirs}");
    }
}

fn their_program(peers: &Path, (title, target): (&str, &str)) -> String {
    let read = |path: &str| std::fs::read_to_string(peers.join(path)).expect("it is in the repository");
    let documented = |text: &str, is_it: &dyn Fn(&str) -> bool| {
        let mut found = programs(text).into_iter().filter(|(heading, _)| is_it(heading));
        let (_, program) = found.next().unwrap_or_else(|| panic!("no program for {title}"));
        // What rustdoc hides.
        program
            .lines()
            .filter(|line| !line.trim_start().starts_with("# "))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    if let Some((repository, path)) = target.split_once("/blob/") {
        let repository = repository.rsplit('/').next().expect("there is a last");
        let file = read(&format!("{repository}/{}", path.split_once('/').expect("a commit and a path").1));
        return match path.ends_with(".md") {
            true => documented(&file, &|_| true),
            false => file,
        };
    }
    match title {
        "docs.rs" if target.contains("redb") => documented(&doc_of(&read("redb/src/lib.rs")), &|_| true),
        "docs.rs" => documented(&doc_of(&read("heed/heed/src/lib.rs")), &|_| true),
        _ => documented(&doc_of(&read("heed/heed/src/cookbook.rs")), &|heading| heading == title),
    }
}

#[test]
fn the_cookbook_has_many_short_tasks_and_lists_each() {
    let text = doc_of(COOKBOOK);
    let is_visible = |line: &&str| !line.trim_start().starts_with("# ") && !line.trim().is_empty();
    let tasks = programs(&text);
    assert!(tasks.len() >= 25, "{} tasks", tasks.len());
    for (title, program) in &tasks {
        let lines = program.lines().filter(is_visible).count();
        assert!(lines <= 25, "{title} takes {lines} lines");
        assert!(text.contains(&format!("[{title}](#")), "{title} is not in the table");
    }
}

#[test]
fn every_program_runs() {
    for text in [SIDE_BY_SIDE, COOKBOOK] {
        let fences = text.lines().filter_map(|line| line.trim_start_matches("//! ").strip_prefix("```"));
        for fence in fences {
            assert!(["", "rust"].contains(&fence), "a program is marked {fence:?}");
        }
    }
}
