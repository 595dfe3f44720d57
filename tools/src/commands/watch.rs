//! `mapleaf watch`: what is committed, as it comes.
//!
//! Promises: of two states that are told one after the other, the difference is exactly what is printed between them; nothing is
//! missed, however fast others commit. Commits that follow closely may be told as one.

use super::diff::Shown;
use crate::cli::LogArg;
use crate::failure::{Outcome, Result};
use crate::output::print;
use crate::store::open_to_read;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The arguments of watch.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints \"txn N\" for a new state of the store, and below it what differs from the one before, as \"mapleaf diff\" prints it. With --json each is one JSON object on a line: {\"txn\": N}, then those of diff. Commits that follow closely may come as one state. States in which nothing that is asked for differs are passed over.\n\nThe kernel wakes it when there is something to tell; it costs nothing meanwhile. Exit code 1 when the time of --timeout is over before --count states were told.\n\nExamples:\n  mapleaf watch app.maple\n  mapleaf watch app.maple -s jobs --json | ./worker\n  mapleaf watch app.maple -s config --count 1 --timeout 60s > /dev/null && ./reload"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// From the state of this snapshot on ("mapleaf snapshot list" has the names); by default from now on
    #[arg(long, value_name = "SNAPSHOT")]
    from: Option<String>,
    /// End after so many states
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, such as 30s or 5min
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    shown: Shown,
}

impl Args {
    /// Whether it ends by itself.
    pub fn ends(&self) -> bool {
        self.count.is_some() || self.timeout.is_some()
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut old = match &args.from {
        Some(name) => db.read_snapshot(name)?,
        None => db.begin_read()?,
    };
    let mut told = 0;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if db.wait_for_commit(old.txn_id(), left)?.is_none() {
            return Ok(if args.count.is_some() { Outcome::Problem } else { Outcome::Fine });
        }
        let new = db.begin_read()?;
        if !args.shown.changed(&old, &new)?.is_empty() {
            print(|output| {
                match args.shown.is_json() {
                    true => writeln!(output, "{}", json!({ "txn": new.txn_id() }))?,
                    false => writeln!(output, "txn {}", new.txn_id())?,
                }
                args.shown.print(&old, &new, output)
            })?;
            told += 1;
        }
        if args.count == Some(told) {
            return Ok(Outcome::Fine);
        }
        old = new;
    }
}
