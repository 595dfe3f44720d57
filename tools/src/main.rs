//! `mapleaf`, the command-line tool of the mapleaf store.
//!
//! Reading the source: [`cli`] lists the commands, each file in [`commands`] is one of them, [`dump_text`] is the dump format,
//! [`formats`] how keys and values are typed and shown, [`types`] what the stored types are, [`store`] opens files and finds tables, [`lmdb_file`] reads those of LMDB, [`prometheus`] is what monitoring reads, [`space_map`], [`tree_sketch`] and [`chart`] are what is drawn, by
//! [`drawing`] and in a [`terminal`], [`explorer`] is the page browser, [`help`] groups the commands, [`failure`] is how it ends; [`alias`] is what it does under the names of LMDB's tools.

mod alias;
mod chart;
mod cli;
mod columns;
mod commands;
mod drawing;
mod dump_text;
mod explorer;
mod failure;
mod formats;
mod help;
mod intake;
mod lmdb_file;
mod output;
mod progress;
mod prometheus;
mod space_map;
mod store;
mod types;
mod terminal;
mod tree_sketch;

use clap::FromArgMatches;
use failure::Outcome;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    // Behind a limit of the length of files, writing is an error like any other (EFBIG), which can be told and cleared up after.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    if let Some(code) = alias::run(std::env::args_os()) {
        return code;
    }
    let parsed = help::command().try_get_matches().and_then(|found| cli::Cli::from_arg_matches(&found));
    let command = match parsed {
        Ok(cli) => cli.command,
        Err(wrong) => return failure::misused(&wrong),
    };
    match command.run() {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Problem) => ExitCode::from(1),
        Err(failure) => failure.report(command.file().map(|file| file.as_path())),
    }
}
