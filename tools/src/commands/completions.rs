//! `mapleaf completions`: the command line, for a shell to complete.

use crate::cli::Cli;
use crate::failure::Result;
use crate::output::print;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// The arguments of completions.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints a script that the shell reads when it starts.\n\nExamples:\n  mapleaf completions bash > ~/.local/share/bash-completion/completions/mapleaf\n  mapleaf completions zsh > ~/.zfunc/_mapleaf\n  mapleaf completions fish > ~/.config/fish/completions/mapleaf.fish"
)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mapleaf", &mut script);
    print(|output| Ok(output.write_all(&script)?))
}
