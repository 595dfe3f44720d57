//! A full disk: a small ext4 on a loop device, which the store fills up; then space is freed, and the same process
//! has to go on; then the store is opened anew. Each store in a process of its own, which may die of SIGBUS.
//!
//! Needs root and `mkfs.ext4`; without them it says so and is left out. The file system is unmounted when this ends,
//! also by a panic.

use crate::Settings;
use crate::engine::shapes::{Change, Contents, apply};
use crate::peers::{Peer, compare, version_of};
use crate::story::{self, Task};
use rand::prelude::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DISK: u64 = 16 << 20;
const BALLAST: u64 = 4 << 20;
/// How often the disk is filled.
const CYCLES: u64 = 8;
/// More txns than the disk can hold.
const MANY: u64 = 100_000;

/// What the process of one store said.
pub struct Outcome {
    pub store: &'static str,
    pub lines: Vec<String>,
    pub end: String,
}

/// Those of all.
pub struct Outcomes(pub Vec<Outcome>);

/// A mounted file system.
struct Mounted {
    directory: PathBuf,
    image: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.directory).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
        let _ = std::fs::remove_file(&self.image);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// A new, empty ext4, or `None` where that cannot be made.
fn mount(settings: &Settings, name: &str) -> Option<Mounted> {
    let scratch = settings.scratch(name);
    let (directory, image) = (scratch.join("mounted"), scratch.join("image"));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::File::create(&image).and_then(|file| file.set_len(DISK)).expect("an image");
    let ran = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let run = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let word = std::ffi::OsStr::new;
    let is_there = rustix::process::geteuid().is_root()
        && ran("mkfs.ext4", &[word("-q"), word("-m"), word("0"), word("-F"), image.as_os_str()])
        && ran("mount", &[word("-o"), word("loop"), image.as_os_str(), directory.as_os_str()]);
    match is_there {
        true => Some(Mounted { directory, image }),
        false => {
            let _ = std::fs::remove_dir_all(&scratch);
            None
        }
    }
}

/// Fills a disk with every store; `None` where no disk can be made.
pub fn run(settings: &Settings) -> Option<Outcomes> {
    let mut outcomes = Vec::new();
    for store in story::stores().into_iter().filter(|store| settings.names(store)) {
        let Some(mounted) = mount(settings, &format!("full-{store}")) else {
            println!("skipped: a full disk needs root, loop devices and mkfs.ext4");
            return None;
        };
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["filler", store])
            .arg(&mounted.directory)
            .arg(settings.seed.to_string())
            .output()
            .expect("another process");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut end = output.status.to_string();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            end = format!("{end}: {}", errors.lines().find(|line| !line.is_empty()).unwrap_or(""));
        }
        outcomes.push(Outcome { store, lines: text.lines().map(str::to_owned).collect(), end });
    }
    Some(Outcomes(outcomes))
}

/// `filler STORE DIRECTORY SEED`: fills the disk, frees space, goes on, and says how each step went.
pub fn fill(arguments: &[&str]) {
    let seed = arguments[2].parse().expect("a number");
    story::with(arguments[0], Filler { directory: PathBuf::from(arguments[1]), seed });
}

struct Filler {
    directory: PathBuf,
    seed: u64,
}

impl Task for Filler {
    type Result = ();

    fn run<P: Peer>(self) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut story = Story::default();
        let mut store = P::open(&self.directory).expect("the disk is empty");
        for cycle in 0..CYCLES {
            write_ballast(&self.directory);
            let size = [2000, 5000, 40_000, 400_000][cycle as usize % 4];
            match fill_up(&store, &mut story, size, &mut random) {
                Some(error) => println!("full: {error}"),
                None => println!("never full"),
            }
            judge("read when full", &store, &story);
            let deleted = story.write(&store, |story| story.deletion());
            println!("delete when full: {}", said(&deleted));
            judge("read after that", &store, &story);
            std::fs::remove_file(ballast(&self.directory)).expect("it is there");
            let freed = story.write(&store, |story| story.deletion());
            println!("delete in the same process: {}", said(&freed));
            let wrote = story.write(&store, |story| story.addition(300, &mut random));
            println!("write in the same process: {}", said(&wrote));
            judge("read in the same process", &store, &story);
            store.close();
            store = match P::open(&self.directory) {
                Ok(store) => store,
                Err(error) => return println!("reopen: {error}"),
            };
            println!("reopen: ok");
            judge("read when reopened", &store, &story);
            let wrote = story.write(&store, |story| story.addition(300, &mut random));
            println!("write when reopened: {}", said(&wrote));
            // Room for the next cycle.
            for _ in 0..MANY {
                if story.entries() < 20 || story.write(&store, |story| story.deletion()).is_err() {
                    break;
                }
            }
        }
        println!("acknowledged: {}", story.version);
    }
}

fn said(result: &Result<(), String>) -> &str {
    result.as_ref().map_or_else(|error| &error[..], |()| "ok")
}

fn ballast(directory: &Path) -> PathBuf {
    directory.join("ballast")
}

/// What is removed to free space. As much as still fits.
fn write_ballast(directory: &Path) {
    let mut file = std::fs::File::create(ballast(directory)).expect("there is an inode");
    let zeros = vec![1; 1 << 16];
    for _ in 0..BALLAST >> 16 {
        if std::io::Write::write_all(&mut file, &zeros).is_err() {
            break;
        }
    }
    let _ = file.sync_all();
}

/// Writes until that fails; returns the error.
fn fill_up(store: &impl Peer, story: &mut Story, size: usize, random: &mut StdRng) -> Option<String> {
    (0..MANY).find_map(|_| story.write(store, |story| story.addition(size, random)).err())
}

fn judge(what: &str, store: &impl Peer, story: &Story) {
    let version = version_of(store);
    let compared = match &version {
        Ok(version) if *version != story.version => {
            Err(format!("version {version}, acknowledged {}", story.version))
        }
        Ok(_) => compare(store, &story.contents).and_then(|errors| match errors {
            0 => store.check(),
            errors => Err(format!("{errors} errors")),
        }),
        Err(error) => Err(error.clone()),
    };
    println!("{what}: {}", said(&compared));
}

/// What was acknowledged.
#[derive(Default)]
struct Story {
    version: u64,
    contents: Contents,
}

impl Story {
    fn entries(&self) -> usize {
        self.contents.values().map(|entries| entries.len()).sum()
    }

    /// One txn; it is part of the story if it is acknowledged.
    fn write(&mut self, store: &impl Peer, txn: impl FnOnce(&Self) -> Vec<Change>) -> Result<(), String> {
        let txn = txn(self);
        store.write(self.version + 1, &txn)?;
        self.version += 1;
        txn.iter().for_each(|change| apply(&mut self.contents, change));
        Ok(())
    }

    fn addition(&self, size: usize, random: &mut StdRng) -> Vec<Change> {
        let mut put = |_| {
            let mut value = vec![0; random.random_range(1..=size)];
            random.fill_bytes(&mut value);
            let key = format!("key {:08}", random.random_range(0..10_000_000));
            Change::Put("filled", key.into_bytes().into(), value.into())
        };
        (0..8).map(&mut put).collect()
    }

    /// A tenth of the entries, up to 16.
    fn deletion(&self) -> Vec<Change> {
        let entries = self.contents.iter().flat_map(|(name, entries)| entries.keys().map(|key| (*name, key)));
        let some = entries.take((self.entries() / 10).clamp(1, 16));
        some.map(|(name, key)| Change::Delete(name, key.clone())).collect()
    }
}

impl Outcomes {
    /// Prints a table of the steps; whether mapleaf did what it owes.
    pub fn print(&self) -> bool {
        const STEPS: [&str; 9] = [
            "full",
            "read when full",
            "delete when full",
            "read after that",
            "delete in the same process",
            "write in the same process",
            "read in the same process",
            "reopen",
            "write when reopened",
        ];
        println!("\n| step | {} |", self.0.iter().map(|it| it.store).collect::<Vec<_>>().join(" | "));
        println!("|---|{}", "---|".repeat(self.0.len()));
        for step in STEPS {
            let cells: Vec<String> = self.0.iter().map(|it| it.said_of(step)).collect();
            println!("| {step} | {} |", cells.join(" | "));
        }
        let ends: Vec<String> = self.0.iter().map(|it| it.end.clone()).collect();
        println!("| the process | {} |", ends.join(" | "));
        self.0.iter().all(|it| it.store != "mapleaf" || it.is_sound())
    }
}

impl Outcome {
    fn answers(&self, step: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(step)?.strip_prefix(": ")).collect()
    }

    /// How often it went well, and the first thing that was said otherwise.
    fn said_of(&self, step: &str) -> String {
        let answers = self.answers(step);
        let well = answers.iter().filter(|answer| **answer == "ok").count();
        match answers.iter().find(|answer| **answer != "ok") {
            Some(other) => format!("{well} of {}; {other}", answers.len()),
            None => format!("{well} of {}", answers.len()),
        }
    }

    /// Everything but filling up, and deleting while it is full, went well.
    fn is_sound(&self) -> bool {
        let is_excused = |line: &String| line.starts_with("full: ") || line.starts_with("delete when full: ");
        let is_well = |line: &String| line.ends_with(": ok") || line.starts_with("acknowledged: ");
        self.end == "exit status: 0" && self.lines.iter().all(|line| is_excused(line) || is_well(line))
    }
}
