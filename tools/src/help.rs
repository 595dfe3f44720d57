//! `mapleaf --help`: the commands by what they are for.
//!
//! Owns: the groups. Promises: every command stands in one of them (tested here).

use crate::cli::Cli;
use anstyle::Style;
use clap::{Command, CommandFactory};
use std::fmt::Write;

/// What commands are for, and which.
const GROUPS: [(&str, &[&str]); 8] = [
    ("Read and change", &["get", "put", "del", "scan", "tables", "table", "shell"]),
    ("Look inside", &["stat", "readers", "map", "tree", "page", "explore"]),
    ("Check and rescue", &["verify", "salvage", "checkpoint"]),
    ("Earlier states, copies", &["snapshot", "diff", "watch", "backup", "restore", "copy"]),
    ("In and out", &["import", "export", "dump", "load"]),
    ("Give space back", &["compact", "trim"]),
    ("Measure", &["bench", "plot"]),
    ("The tool itself", &["completions", "man", "help"]),
];

/// The commands that are for the same as this one.
pub fn beside(name: &str) -> Vec<&'static str> {
    let group =
        GROUPS.iter().map(|(_, names)| *names).find(|names| names.contains(&name)).unwrap_or_default();
    group.iter().copied().filter(|other| *other != name && *other != "help").collect()
}

/// The command line, whose help has the groups.
pub fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    let (heading, groups) = (heading(), grouped(&command));
    Cli::command().help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n{groups}\n{heading}Options:{heading:#}\n{{options}}{{after-help}}"
    ))
}

fn heading() -> Style {
    Style::new().bold().underline()
}

fn grouped(command: &Command) -> String {
    let (heading, name_style) = (heading(), Style::new().bold());
    let mut text = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "\n{heading}{group}:{heading:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {name_style}{name:<12}{name_style:#} {about}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group_and_on_one_line() {
        let mut command = Cli::command();
        command.build();
        let mut known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut shown: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, known);
        for subcommand in command.get_subcommands() {
            let about = subcommand.get_about().unwrap().to_string();
            assert!(about.len() <= 65, "{}: {about:?} is wider than a terminal", subcommand.get_name());
        }
    }
}
