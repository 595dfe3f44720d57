//! `mapleaf man`: the pages of the manual.

use crate::cli::Cli;
use crate::failure::{Failure, Outcome, Result};
use crate::output::{as_it_was, print, replace_file};
use clap::CommandFactory;
use clap_mangen::Man;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The arguments of man.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints a page as man reads it: mapleaf(1), or that of a command.\n\nExamples:\n  mapleaf man scan | man -l -\n  mapleaf man -o ~/.local/share/man/man1       all of them: mapleaf.1, mapleaf-scan.1, …"
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
    let text = rendered(&page_of(page))?;
    print(|output| Ok(output.write_all(&text)?))
}

/// The page of a command.
fn page_of(command: clap::Command) -> Man {
    Man::new(command).source(concat!("mapleaf ", env!("CARGO_PKG_VERSION"))).manual("mapleaf")
}

fn rendered(page: &Man) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    Ok(text)
}

/// The page of a command, and those of its parts.
fn write_pages(command: clap::Command, dir: &Path) -> Result<()> {
    command.get_subcommands().cloned().try_for_each(|part| write_pages(part, dir))?;
    let page = page_of(command);
    let (path, text) = (dir.join(page.get_filename()), rendered(&page)?);
    replace_file(&path, None, |mut file| file.write_all(&text).map_err(|error| as_it_was(&path, &error)))
}
