//! `faults [OPTIONS] mutations [N [PEERS]] | full-disk | kills [N] | crash | table [N [PEERS [KILLS]]]`:
//! what becomes of stores when something goes wrong, mapleaf beside LMDB and (feature `redb`) redb.
//!
//! `mutations` (100,000): random damages of good files, each judged in a process that may die of it, in three modes
//! (default options; without verification; with checksums put right after the damage), N in each; then PEERS damages
//! (10,000) by the same generator on the peers' files. `full-disk`: a small ext4 on a loop device is filled
//! up and freed again (needs root). `kills` (200): writers killed at random moments. `crash`: runs mapleaf's own
//! tests of faults (`crash TARGET …`: these) and gathers what they say they tried. `table`: all of these, and the tables of
//! `docs/reliability.md`.
//!
//! Options: `--seed S`. `--in DIR`: where the files lie (default: /dev/shm, or the system's directory for temporary
//! files). `--keep DIR` keeps the files that were judged wrong. `--of NAMES`: only these campaigns, as in
//! `--of rot,lmdb`. `--only CASE` judges one damage again, in this process: `--only rot:1234`. Anything that mapleaf
//! does wrong makes the exit code 1.

mod full_disk;
mod heap;
mod kills;
mod mutations;
mod own_tests;
mod peers;
mod rows;
mod story;
mod table;
mod stores;
mod worker;
#[path = "../../../../tests/damage/engine/mod.rs"]
mod engine;

use std::path::PathBuf;

/// What the command line says.
pub struct Settings {
    pub seed: u64,
    pub root: PathBuf,
    /// Which campaigns; all, if none is named.
    pub names: Vec<String>,
    pub keep: Option<PathBuf>,
    pub only: Option<String>,
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let settings = Settings::of(&mut arguments);
    let words: Vec<&str> = arguments.iter().map(|word| &word[..]).collect();
    let number =
        |at: usize, default: u64| words.get(at).map_or(default, |text| text.parse().expect("a number"));
    let is_sound = match words.first() {
        Some(&"worker") => return worker::work(&words[1..]),
        Some(&"writer") => return kills::write_for_ever(&words[1..]),
        Some(&"check") => return kills::check(&words[1..]),
        Some(&"filler") => return full_disk::fill(&words[1..]),
        Some(&"kills") => kills::run(&settings, number(1, 200)).print(),
        Some(&"full-disk") => full_disk::run(&settings).is_none_or(|outcomes| outcomes.print()),
        Some(&"crash") => own_tests::run(&words[1..]).print(),
        Some(&"table") => table::run(&settings, number(1, 100_000), number(2, 10_000), number(3, 200)),
        Some(&"mutations") => mutations::run(&settings, number(1, 100_000), number(2, 10_000)).print(),
        _ => panic!("usage: faults [OPTIONS] mutations [N [PEERS]] | full-disk | kills [N] | crash | table"),
    };
    if !is_sound {
        std::process::exit(1);
    }
}

impl Settings {
    fn of(arguments: &mut Vec<String>) -> Self {
        let memory = || Some("/dev/shm".into()).filter(|path: &PathBuf| path.is_dir());
        let names = option(arguments, "--of").unwrap_or_default();
        Settings {
            seed: option(arguments, "--seed").map_or(1, |seed| seed.parse().expect("a number")),
            root: option(arguments, "--in")
                .map(PathBuf::from)
                .or_else(memory)
                .unwrap_or_else(std::env::temp_dir),
            names: names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            keep: option(arguments, "--keep").map(PathBuf::from),
            only: option(arguments, "--only"),
        }
    }

    /// Whether a campaign of this name is meant.
    pub fn names(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|meant| meant == name)
    }

    /// A fresh directory for this process.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let directory = self.root.join(format!("mapleaf-faults-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory of its own");
        directory
    }
}

/// The value of an option, which is taken out of the arguments.
fn option(arguments: &mut Vec<String>, name: &str) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.drain(at..at + 2).nth(1)
}
