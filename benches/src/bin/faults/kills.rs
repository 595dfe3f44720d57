//! Kill storms: a process that writes is killed at a random moment, again and again, also while it opens the store. After
//! each kill another process opens it, compares everything with the story, and goes on.

use crate::Settings;
use crate::peers::{Peer, compare, version_of};
use crate::story::{self, Task, after, txn};
use rand::prelude::*;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest that a writer lives, in microseconds.
const LONGEST: u64 = 40_000;
/// A look at the store that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of one store.
#[derive(Default)]
pub struct Outcome {
    pub store: &'static str,
    pub rounds: u64,
    pub acknowledged: u64,
    pub lost: u64,
    pub wrong: u64,
    pub unopened: u64,
    pub died: u64,
}

/// Those of all.
pub struct Outcomes(pub Vec<Outcome>);

/// Kills the writers of every store so many times.
pub fn run(settings: &Settings, rounds: u64) -> Outcomes {
    let stores = story::stores().into_iter().filter(|store| settings.names(store));
    Outcomes(stores.map(|store| storm(settings, store, rounds)).collect())
}

fn storm(settings: &Settings, store: &'static str, rounds: u64) -> Outcome {
    let directory = settings.scratch(&format!("kills-{store}"));
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut outcome = Outcome { store, rounds, ..Outcome::default() };
    let mut acknowledged = 0;
    for _ in 0..rounds {
        let life = Duration::from_micros(random.random_range(0..LONGEST));
        acknowledged = live(store, &directory, life).unwrap_or(acknowledged).max(acknowledged);
        let found = ask(store, &directory);
        let failed = match found.split_once(' ') {
            Some(("version", version)) => {
                let version: u64 = version.trim().parse().expect("a number");
                let is_lost = version < acknowledged;
                outcome.lost += u64::from(is_lost);
                // At most one more had begun.
                outcome.wrong += u64::from(version > acknowledged + 1);
                acknowledged = version;
                is_lost
            }
            Some(("unopened", _)) => {
                outcome.unopened += 1;
                true
            }
            Some(("wrong", _)) => {
                outcome.wrong += 1;
                true
            }
            _ => {
                outcome.died += 1;
                true
            }
        };
        if failed {
            println!("  {store}: after txn {acknowledged}: {found}");
            // What is damaged once is not judged again.
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(&directory).expect("a directory");
            outcome.acknowledged += acknowledged;
            acknowledged = 0;
        }
    }
    outcome.acknowledged += acknowledged;
    let _ = std::fs::remove_dir_all(&directory);
    outcome
}

/// Lets a writer live so long. Returns the last txn that it acknowledged.
fn live(store: &str, directory: &Path, life: Duration) -> Option<u64> {
    let mut writer = Command::new(std::env::current_exe().expect("this program"))
        .args(["writer", store])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    std::thread::sleep(life);
    writer.kill().expect("it is there");
    let out = BufReader::new(writer.stdout.take().expect("it is piped"));
    let last = out.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()).last();
    writer.wait().expect("it is there");
    last
}

/// What another process finds in the store: `version V`, `wrong …`, `unopened …`, or how it died.
fn ask(store: &str, directory: &Path) -> String {
    let checker = Command::new(std::env::current_exe().expect("this program"))
        .args(["check", store])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let id = rustix::process::Pid::from_child(&checker);
    let (sender, end) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    let output = checker.wait_with_output().expect("it ends");
    drop(sender);
    watch.join().expect("no panic");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { said } else { format!("ended with {}: {said}", output.status) }
}

/// `writer STORE DIRECTORY`: goes on with the story, and says every txn that was acknowledged.
pub fn write_for_ever(arguments: &[&str]) {
    story::with(arguments[0], Writer { directory: Path::new(arguments[1]) });
}

struct Writer<'a> {
    directory: &'a Path,
}

impl Task for Writer<'_> {
    type Result = ();

    fn run<P: Peer>(self) {
        let store = P::open(self.directory).expect("it opens");
        let mut version = version_of(&store).expect("readable");
        let mut out = std::io::stdout().lock();
        loop {
            version += 1;
            store.write(version, &txn(version)).expect("nothing is in the way");
            writeln!(out, "{version}").and_then(|()| out.flush()).expect("someone listens");
        }
    }
}

/// `check STORE DIRECTORY`: opens the store and compares it with the story.
pub fn check(arguments: &[&str]) {
    println!("{}", story::with(arguments[0], Checker { directory: Path::new(arguments[1]) }));
}

struct Checker<'a> {
    directory: &'a Path,
}

impl Task for Checker<'_> {
    type Result = String;

    fn run<P: Peer>(self) -> String {
        let store = match P::open(self.directory) {
            Ok(store) => store,
            Err(error) => return format!("unopened {error}"),
        };
        let version = match version_of(&store) {
            Ok(version) => version,
            Err(error) => return format!("wrong {error}"),
        };
        match compare(&store, &after(version)).and_then(|errors| match errors {
            0 => store.check(),
            errors => Err(format!("{errors} errors")),
        }) {
            Ok(()) => format!("version {version}"),
            Err(what) => format!("wrong {what}"),
        }
    }
}

impl Outcomes {
    /// Prints a table; whether mapleaf lost nothing.
    pub fn print(&self) -> bool {
        println!("\n| store | kills | acknowledged txns | lost | wrong | not opened | died or hung |");
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for it in &self.0 {
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                it.store, it.rounds, it.acknowledged, it.lost, it.wrong, it.unopened, it.died
            );
        }
        let bad = |it: &Outcome| it.lost + it.wrong + it.unopened + it.died;
        self.0.iter().all(|it| it.store != "mapleaf" || bad(it) == 0)
    }
}
