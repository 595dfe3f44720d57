//! `mapleaf man`: the pages of the manual.
//!
//! Owns: which sections a page has, and the examples in them, which stand as they are typed. Leaves to others: what clap knows of a
//! command, which `clap_mangen` writes.

use crate::cli::Cli;
use crate::failure::{Failure, Outcome, Result};
use crate::help::beside;
use crate::output::{as_it_was, print, replace_file};
use clap::CommandFactory;
use clap_mangen::Man;
use std::fs;
use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The arguments of man.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Shows a page, mapleaf(1) or that of a command, by man on a terminal; anywhere else it is printed as man reads it.\n\nExamples:\n  mapleaf man scan\n  mapleaf man scan > mapleaf-scan.1\n  mapleaf man -o ~/.local/share/man/man1       all of them: mapleaf.1, mapleaf-scan.1, …"
)]
pub struct Args {
    /// The page of this command
    #[arg(value_name = "COMMAND")]
    page: Option<String>,
    /// Write all pages into this directory, which is made if it is not there
    #[arg(short, long, value_name = "DIRECTORY", conflicts_with = "page")]
    output: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    if let Some(dir) = &args.output {
        let place = || dir.display().to_string();
        fs::create_dir_all(dir)
            .map_err(|error| Failure::elsewhere(place(), format!("cannot make the directory: {error}")))?;
        return write_pages(cli, dir).map(|()| Outcome::Fine);
    }
    let page = match &args.page {
        None => cli,
        Some(name) => {
            let found = cli.find_subcommand(name).cloned();
            let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
            let wrong = || Failure::Usage(format!("no command {name:?}; there are {}", names.join(", ")));
            found.ok_or_else(wrong)?
        }
    };
    let text = rendered(page)?;
    if stdout().is_terminal() && shown(&text) {
        return Ok(Outcome::Fine);
    }
    print(|output| Ok(output.write_all(&text)?))
}

/// Shows a page by man, if there is one that can.
fn shown(text: &[u8]) -> bool {
    let Ok(mut man) = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn() else {
        return false;
    };
    // Who leaves before the end does not read on.
    let _ = man.stdin.take().map(|mut input| input.write_all(text));
    man.wait().is_ok_and(|status| status.success())
}

/// A page: what clap knows of the command, and what stands behind its help.
fn rendered(mut command: clap::Command) -> Result<Vec<u8>> {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (name, subject) = (name_of(&command), command.get_name().to_owned());
    let (has_options, has_parts) =
        (command.get_arguments().next().is_some(), command.get_subcommands().next().is_some());
    let page = Man::new(command.override_usage(usage));
    let (about, examples) = parted(&after);

    let mut text = Vec::new();
    // clap_mangen's own would lack a date, and a field that is empty shifts the others.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, ".TH {name} 1 \"\" \"mapleaf {version}\" \"mapleaf manual\"")?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    write_paragraphs(&mut text, &about)?;
    if has_options {
        page.render_options_section(&mut text)?;
    }
    if has_parts {
        page.render_subcommands_section(&mut text)?;
    }
    if !examples.is_empty() {
        writeln!(text, ".SH EXAMPLES\n.nf")?;
        examples.iter().try_for_each(|line| writeln!(text, "{}", verbatim(line)))?;
        writeln!(text, ".fi")?;
    }
    text.extend_from_slice(EXIT_STATUS.as_bytes());
    write_see_also(&mut text, &name, &subject)?;
    Ok(text)
}

const EXIT_STATUS: &str = "\
.SH \"EXIT STATUS\"
.TP
0
Done.
.TP
1
A problem was found: no such key, table or file, damage, bad input, no room.
.TP
2
Wrong use.
";

fn name_of(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// What stands behind the help of a command: paragraphs, and the lines that are examples.
fn parted(after: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut paragraphs, mut examples) = (Vec::new(), Vec::new());
    for paragraph in after.split("\n\n") {
        match paragraph.strip_prefix("Examples:\n") {
            Some(lines) => examples.extend(lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line))),
            None => paragraphs.push(paragraph),
        }
    }
    (paragraphs, examples)
}

fn write_paragraphs(text: &mut Vec<u8>, paragraphs: &[&str]) -> Result<()> {
    for paragraph in paragraphs.iter().filter(|paragraph| !paragraph.is_empty()) {
        writeln!(text, ".PP")?;
        let lines: Vec<String> = paragraph.lines().map(verbatim).collect();
        writeln!(text, "{}", lines.join("\n.br\n"))?;
    }
    Ok(())
}

/// The page above, and those of the commands that are for the same.
fn write_see_also(text: &mut Vec<u8>, name: &str, subject: &str) -> Result<()> {
    let Some(above) = name.strip_suffix(&format!("-{subject}")) else { return Ok(()) };
    let mut pages = vec![above.to_owned()];
    if above == "mapleaf" {
        pages.extend(beside(subject).into_iter().map(|other| format!("mapleaf-{other}")));
    }
    let pages: Vec<String> = pages.iter().map(|page| format!("\\fB{}\\fR(1)", verbatim(page))).collect();
    Ok(writeln!(text, ".SH \"SEE ALSO\"\n{}", pages.join(",\n"))?)
}

/// A line that man shows as it is.
fn verbatim(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('~', "\\(ti");
    let line = line.replace('^', "\\(ha").replace('`', "\\(ga");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

/// The page of a command, and those of its parts.
fn write_pages(command: clap::Command, dir: &Path) -> Result<()> {
    command.get_subcommands().cloned().try_for_each(|part| write_pages(part, dir))?;
    let (path, text) = (dir.join(format!("{}.1", name_of(&command))), rendered(command)?);
    replace_file(&path, None, |mut file| file.write_all(&text).map_err(|error| as_it_was(&path, &error)))
}
