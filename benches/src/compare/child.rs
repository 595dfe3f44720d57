//! What a process of its own measures: this program again, as `compare child WORK STORE DIRECTORY PAIRS COUNT
//! SEED CACHE [GROUP]`. It answers on its standard output; of gets it makes COUNT for each line on its
//! standard input.

use super::Run;
use crate::data::{Data, Made, Shape};
use crate::engines::{Direction, Engine, Kind, Mode};
use crate::{cache_bytes, set_cache_bytes};
use clap::ValueEnum;
use rand::prelude::*;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// What the process does.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Gets in turns with others.
    Gets,
    /// Durable single puts.
    Commits,
    /// A load of a new store, in one txn.
    Load,
    /// Gets, then puts in batches of 100, within a memory group.
    Limited,
}

impl Work {
    fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }
}

const SHAPE: Shape = Shape::Bytes;

/// The command that starts one.
pub fn command(work: Work, kind: Kind, directory: &Path, pairs: u64, count: usize, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["child", &work.name(), &kind.name()]).arg(directory);
    command.args([pairs, count as u64, seed, cache_bytes() as u64].map(|number| number.to_string()));
    command
}

/// What a process says that starts, works and ends; none if it fails.
pub fn answer(command: &mut Command) -> Option<Vec<f64>> {
    let output = command.stderr(Stdio::inherit()).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("numbers");
    output.status.success().then(|| text.split_whitespace().map(|n| n.parse().expect("a number")).collect())
}

/// One that makes gets when it is told to.
pub struct Getting {
    process: std::process::Child,
    says: BufReader<ChildStdout>,
    hears: Option<ChildStdin>,
}

impl Getting {
    pub fn start(kind: Kind, directory: &Path, run: &Run, count: usize, seed: u64) -> Self {
        let mut command = command(Work::Gets, kind, directory, run.pairs, count, seed);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a second process");
        let says = BufReader::new(process.stdout.take().expect("piped"));
        let hears = process.stdin.take();
        let mut getting = Getting { process, says, hears };
        assert_eq!(getting.heard(), "ready");
        getting
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("it says something");
        line.trim().to_owned()
    }

    pub fn go(&mut self) {
        let hears = self.hears.as_mut().expect("it has not ended");
        hears.write_all(b"go\n").and_then(|()| hears.flush()).expect("it listens");
    }

    /// Nanoseconds a get.
    pub fn took(&mut self) -> f64 {
        self.heard().parse().expect("a number")
    }
}

impl Drop for Getting {
    fn drop(&mut self) {
        self.hears = None;
        let _ = self.process.wait();
    }
}

/// The process itself.
pub fn run(arguments: &[String]) {
    let [work, kind, directory, numbers @ ..] = arguments else { panic!("compare starts these") };
    let number = |at: usize| -> u64 { numbers[at].parse().expect("a number") };
    let (work, kind) = (Work::from_str(work, true), Kind::from_str(kind, true));
    let (work, kind) = (work.expect("known work"), kind.expect("a store that is built in"));
    set_cache_bytes(number(3) as usize);
    if let Some(group) = numbers.get(4) {
        std::fs::write(PathBuf::from(group).join("cgroup.procs"), "0").expect("in the memory group");
    }
    let directory = PathBuf::from(directory);
    let mode = match work {
        Work::Gets => Mode::Reading,
        Work::Limited => Mode::Scarce,
        Work::Commits | Work::Load => Mode::Durable,
    };
    let engine = kind.open(&directory, SHAPE, mode);
    let mine = Mine { engine, pairs: number(0), count: number(1) as usize, seed: number(2) };
    match work {
        Work::Gets => mine.get_when_told(),
        Work::Commits => mine.commit(),
        Work::Load => mine.load(),
        Work::Limited => mine.limited(),
    }
}

struct Mine {
    engine: Box<dyn Engine>,
    pairs: u64,
    count: usize,
    seed: u64,
}

impl Mine {
    fn any(&self, version: u64) -> Data {
        let mut random = SmallRng::seed_from_u64(self.seed);
        Data::of(SHAPE, (0..self.count).map(|_| (random.random_range(0..self.pairs), version)))
    }

    fn get_when_told(self) {
        let gets = self.any(0);
        assert_eq!(self.engine.scan(Direction::Forward).entries, self.pairs);
        println!("ready");
        for _ in std::io::stdin().lines() {
            println!("{}", super::nanos(self.count, || self.engine.get_all(gets.pairs())));
        }
    }

    fn commit(self) {
        let puts = self.any(1);
        puts.pairs().chunks(1).for_each(|put| self.engine.put(put));
    }

    fn load(self) {
        self.engine.put_all(&mut Made::new(SHAPE, 0..self.pairs));
        println!("{} {}", status("VmHWM"), status("RssAnon"));
    }

    /// Half of the gets only fill what memory there is.
    fn limited(self) {
        let gets = self.any(0);
        let (first, timed) =
            (gets.pairs().slice(0..self.count / 2), gets.pairs().slice(self.count / 2..self.count));
        self.engine.get_all(first);
        let get = super::nanos(timed.len(), || self.engine.get_all(timed));
        let puts = self.any(1);
        let start = Instant::now();
        timed_puts(self.engine.as_ref(), &puts);
        println!("{get} {}", start.elapsed().as_nanos() as f64 / self.count as f64);
    }
}

fn timed_puts(engine: &dyn Engine, puts: &Data) {
    puts.pairs().chunks(100).for_each(|some| engine.put(some));
}

/// A size in /proc/self/status, in bytes.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}
