//! docs/side-by-side.md says how many lines each program has, and that none is longer than its counterpart;
//! src/cookbook.rs that its tasks are short. Both are counted here. (That the programs run is what the
//! doctests show.)

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

const SIDE_BY_SIDE: &str = include_str!("../docs/side-by-side.md");
const COOKBOOK: &str = include_str!("../src/cookbook.rs");

/// By the title it stands under, the first program of each section.
fn programs(text: &str) -> BTreeMap<&str, String> {
    let (mut found, mut title, mut program) = (BTreeMap::new(), "", None::<String>);
    for line in text.lines() {
        match &mut program {
            None if line.starts_with("## ") => title = &line[3..],
            None if line.starts_with("```") => program = Some(String::new()),
            Some(_) if line.starts_with("```") => {
                let program = program.take().expect("it is open");
                assert!(found.insert(title, program).is_none(), "{title:?} has two programs");
            }
            Some(program) => *program += &format!("{line}\n"),
            None => {}
        }
    }
    found
}

/// Lines that are neither blank nor only a comment.
fn code_lines(program: &str) -> usize {
    program.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// What a link `[text](#anchor)` says.
fn link_text(cell: &str) -> &str {
    cell.trim().trim_start_matches('[').split("](").next().expect("there is always a first")
}

#[test]
fn no_program_is_longer_than_its_counterpart_and_the_table_says_how_long() {
    let programs = programs(SIDE_BY_SIDE);
    let rows = SIDE_BY_SIDE.lines().filter(|line| line.starts_with("| redb") || line.starts_with("| heed"));
    let mut missing = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [theirs, their_lines, here, our_lines] = cells[..] else { panic!("not four cells: {row}") };
        assert!(SIDE_BY_SIDE.contains(&format!("\n## {}\n", link_text(here))), "no section for {here}");
        if our_lines.starts_with("no") {
            missing.push((link_text(here), our_lines));
            continue;
        }
        let program = &programs[link_text(here)];
        assert_eq!(code_lines(program).to_string(), our_lines, "{here}");
        assert!(
            code_lines(program) <= their_lines.parse().expect("a number"),
            "{here} is longer than {theirs}"
        );
    }
    missing.sort_unstable();
    missing.dedup();
    assert_eq!(missing, [("Encryption", "no"), ("The state before", "not yet")]);
}

#[test]
fn the_programs_are_formatted_as_this_repository_is() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/rustfmt.toml");
    for (title, program) in programs(SIDE_BY_SIDE) {
        let mut command = Command::new("rustfmt");
        command
            .args(["--edition", "2024", "--config-path", config])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let Ok(mut rustfmt) = command.spawn() else {
            return eprintln!("rustfmt is not installed: not tested");
        };
        rustfmt.stdin.take().expect("a pipe").write_all(program.as_bytes()).expect("it reads");
        let formatted = rustfmt.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&formatted.stdout), program, "{title}");
    }
}

#[test]
fn the_cookbook_has_many_short_tasks_and_lists_each() {
    let text: String = COOKBOOK
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' ').to_owned() + "\n")
        .collect();
    let visible = |program: &String| {
        program.lines().filter(|line| !line.trim_start().starts_with("# ") && !line.trim().is_empty()).count()
    };
    let tasks = programs(&text);
    assert!(tasks.len() >= 25, "{} tasks", tasks.len());
    for (title, program) in &tasks {
        assert!(visible(program) <= 25, "{title} takes {} lines", visible(program));
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
