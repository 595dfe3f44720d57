//! `processes begin|beside|memory FILE [PAIRS]`: what processes that share a store cost each other.
//!
//! `begin` (1 million pairs): `begin_read` and drop, in turns with two atomic additions; then the throughput of
//! `begin_read`, and of random gets from one snapshot, in each of two processes, as a share of that of one alone.
//! `beside` (1 million pairs): random gets, a new snapshot for every 100, without and with a second process that
//! commits durable single puts one after another, each process on a CPU of its own: the disk's interrupts may all
//! go to one of the two (/proc/interrupts), so both placements are measured. `memory` (5.5 million pairs, 1.5 GB):
//! ten processes scan the whole store and stay; what /proc/PID/smaps says of their mappings of FILE, as it was loaded
//! and after `Database::preload`.
//!
//! FILE is loaded where there is none. For comparison the second process also does what shares nothing with the
//! first: atomic additions, dependent loads from 256 MB of its own, flushes of a page of a file of its own. In
//! each round everything has its turn; figures are medians over the rounds, lowest and highest in brackets. The
//! other processes are this program again, as `processes work FILE PAIRS SEED`; each does what it is told by its
//! standard input, and ends with it.

use mapleaf::{Database, Error, Options, ReadTxn};
use mapleaf_bench::{PAIRS, median, pair, version};
use rand::prelude::*;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
/// Of one thing in one round.
const TURN: Duration = Duration::from_millis(500);
/// Between two looks at the clock.
const CHUNK: u64 = 1000;
/// With one snapshot.
const GETS: u64 = 100;
const SCANNERS: u64 = 10;
/// Words of private memory to load from.
const WORDS: usize = 32 << 20;
/// Bytes of the file that is flushed, page by page.
const FLUSHED: u64 = 16 << 20;
const PAGE: usize = 4096;
const MIB: f64 = (1 << 20) as f64;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(|text| &text[..]).collect();
    let number = |text: &str| text.parse().expect("a number");
    let pairs = |rest: &[&str], default| rest.first().map_or(default, |text| number(text));
    match arguments[..] {
        ["work", path, pairs, seed] => work(Path::new(path), number(pairs), number(seed)),
        ["begin", path, ref rest @ ..] => begin(Path::new(path), pairs(rest, 1_000_000)),
        ["beside", path, ref rest @ ..] => beside(Path::new(path), pairs(rest, 1_000_000)),
        ["memory", path, ref rest @ ..] => memory(Path::new(path), pairs(rest, 5_500_000)),
        _ => panic!("usage: processes begin|beside|memory FILE [PAIRS]"),
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().open(path) }
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file is there").len()
}

fn open_loaded(path: &Path, pairs: u64) -> Result<Database, Error> {
    let db = open(path)?;
    let found = db.begin_read()?.len(PAIRS)?;
    if found == 0 {
        db.write(|w| {
            for i in 0..pairs {
                let (key, value) = version(i, 0);
                w.put(PAIRS, &key, &value)?;
            }
            Ok(())
        })?;
    }
    assert_eq!(db.begin_read()?.len(PAIRS)?, pairs, "another store is there");
    println!("store of {pairs} pairs, {} bytes", len(path));
    Ok(db)
}

/// A figure over the rounds.
fn spread(numbers: &[f64], digits: usize) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} [{low:.digits$}, {high:.digits$}]", median(numbers.to_vec()))
}

/// Round by round.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

fn begin(path: &Path, pairs: u64) -> Result<(), Error> {
    let db = open_loaded(path, pairs)?;
    let counter = AtomicU64::new(0);
    let (mut additions, mut begins) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        additions.push(1e9 / rate(TURN, CHUNK, || add(&counter)));
        begins.push(1e9 / rate(TURN, CHUNK, || begin_and_drop(&db)));
    }
    println!("two atomic additions: {} ns", spread(&additions, 2));
    println!("begin_read and drop: {} ns", spread(&begins, 2));
    println!("begin_read and drop, in two atomic additions: {}", spread(&ratios(&begins, &additions), 2));

    let mut workers = [1, 2].map(|seed| Worker::warm(path, pairs, seed));
    let works = ["additions", "begins", "loads", "gets"];
    let (mut alone, mut each) = (works.map(|_| Vec::new()), works.map(|_| Vec::new()));
    for _ in 0..ROUNDS {
        for (i, work) in works.into_iter().enumerate() {
            let one_by_one: f64 = workers.iter_mut().map(|worker| worker.run(work, TURN)).sum();
            workers.iter_mut().for_each(|worker| worker.tell(work, TURN));
            let together: f64 = workers.iter_mut().map(Worker::answer).sum();
            alone[i].push(one_by_one / 2.0);
            each[i].push(together / 2.0);
        }
    }
    workers.into_iter().for_each(Worker::end);
    for (i, work) in works.into_iter().enumerate() {
        println!("{work} of one process alone: {} a second", spread(&alone[i], 0));
        println!("{work} of each of two processes: {} a second", spread(&each[i], 0));
        println!("{work} of each of two to one alone: {}", spread(&ratios(&each[i], &alone[i]), 3));
    }
    Ok(())
}

fn beside(path: &Path, pairs: u64) -> Result<(), Error> {
    drop(open_loaded(path, pairs)?);
    let cpus = sched_getaffinity(None).expect("the CPUs of this process");
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu));
    let [first, second] = [cpus.next(), cpus.next()].map(|cpu| cpu.expect("two CPUs"));
    let placements = [(first, second), (second, first)];
    let [mut reader, mut other] = [1, 2].map(|seed| Worker::warm(path, pairs, seed));
    let works = ["loads", "flushes", "commits"];
    let mut alone = placements.map(|_| Vec::new());
    let (mut gets, mut rates) =
        (placements.map(|_| works.map(|_| Vec::new())), placements.map(|_| works.map(|_| Vec::new())));
    for _ in 0..ROUNDS {
        for (p, (readers, others)) in placements.into_iter().enumerate() {
            reader.place(readers);
            other.place(others);
            alone[p].push(reader.run("snapshots", TURN));
            for (i, work) in works.into_iter().enumerate() {
                // It begins before the reader and ends after it.
                other.tell(work, TURN + TURN / 5);
                std::thread::sleep(TURN / 10);
                gets[p][i].push(reader.run("snapshots", TURN));
                rates[p][i].push(other.answer());
            }
        }
    }
    reader.end();
    other.end();
    for (p, (cpu, _)) in placements.into_iter().enumerate() {
        println!("reader on CPU {cpu}: gets alone, {GETS} a snapshot: {} a second", spread(&alone[p], 0));
        for (i, work) in works.into_iter().enumerate() {
            println!("reader on CPU {cpu}: {work} of the other: {} a second", spread(&rates[p][i], 0));
            println!("reader on CPU {cpu}: gets beside {work}: {} a second", spread(&gets[p][i], 0));
            let share = ratios(&gets[p][i], &alone[p]);
            println!("reader on CPU {cpu}: gets beside {work} to gets alone: {}", spread(&share, 3));
        }
        let share = ratios(&gets[p][2], &gets[p][1]);
        println!("reader on CPU {cpu}: gets beside commits to gets beside flushes: {}", spread(&share, 3));
    }
    assert!(open(path)?.verify(&mut |_| {})?.is_clean());
    Ok(())
}

fn memory(path: &Path, pairs: u64) -> Result<(), Error> {
    let db = open_loaded(path, pairs)?;
    db.checkpoint()?;
    drop(db);
    scan_in_ten(path, pairs, "as loaded")?;
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(path)? };
    db.preload()?;
    drop(db);
    scan_in_ten(path, pairs, "preloaded")
}

fn scan_in_ten(path: &Path, pairs: u64, how: &str) -> Result<(), Error> {
    let mut workers: Vec<Worker> = (0..SCANNERS).map(|seed| Worker::start(path, pairs, seed)).collect();
    for worker in &mut workers {
        worker.run("scan", Duration::ZERO);
    }
    let path = std::fs::canonicalize(path).expect("the file is there");
    let mut sums = [0.0; 3];
    for (i, worker) in workers.iter().enumerate() {
        let found = mapped(worker.child.id(), &path);
        let [rss, pss, pmd] = found.map(|bytes| bytes / MIB);
        println!("{how}: reader {i}: Rss {rss:.1} MiB, Pss {pss:.1}, FilePmdMapped {pmd:.1}");
        sums.iter_mut().zip(found).for_each(|(sum, bytes)| *sum += bytes);
    }
    workers.into_iter().for_each(Worker::end);
    let (file, [rss, pss, pmd]) = (len(&path) as f64, sums);
    println!(
        "{how}: sums of ten: Rss {:.1} MiB, Pss {:.1}, FilePmdMapped {:.1}",
        rss / MIB,
        pss / MIB,
        pmd / MIB
    );
    println!("{how}: file {:.1} MiB; sum of Pss to the file: {:.4}", file / MIB, pss / file);
    Ok(())
}

/// Rss, Pss and FilePmdMapped of a process's mappings of the file, in bytes.
fn mapped(process: u32, path: &Path) -> [f64; 3] {
    let smaps = std::fs::read_to_string(format!("/proc/{process}/smaps")).expect("a process of ours");
    let (mut sums, mut is_file) = ([0.0; 3], false);
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, _, _, _, _, ref name @ ..] if !words[0].ends_with(':') => {
                is_file = Path::new(&name.join(" ")) == path;
            }
            [field, number, "kB"] if is_file => {
                if let Some(i) = ["Rss:", "Pss:", "FilePmdMapped:"].iter().position(|name| *name == field) {
                    sums[i] += number.parse::<f64>().expect("a number") * 1024.0;
                }
            }
            _ => {}
        }
    }
    sums
}

/// A process of this program that does what it is told.
struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(path: &Path, pairs: u64, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["work".as_ref(), path.as_os_str()])
            .args([pairs, seed].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Worker { child, answers }
    }

    /// One that has touched all pairs and everything of its own.
    fn warm(path: &Path, pairs: u64, seed: u64) -> Self {
        let mut worker = Worker::start(path, pairs, seed);
        worker.run("warm", Duration::ZERO);
        worker
    }

    fn place(&self, cpu: usize) {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        sched_setaffinity(Some(Pid::from_child(&self.child)), &cpus).expect("a CPU of ours");
    }

    fn tell(&mut self, work: &str, time: Duration) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{work} {}", time.as_nanos()).expect("it reads");
    }

    /// How often a second it did what it was told.
    fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim().parse().expect("a rate")
    }

    fn run(&mut self, work: &str, time: Duration) -> f64 {
        self.tell(work, time);
        self.answer()
    }

    fn end(mut self) {
        assert!(self.child.wait().expect("a process of ours").success(), "it failed");
    }
}

fn work(path: &Path, pairs: u64, seed: u64) -> Result<(), Error> {
    let db = open(path)?;
    let mut own = None;
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let (work, nanos) = line.split_once(' ').expect("two words");
        let time = Duration::from_nanos(nanos.parse().expect("a number"));
        let rate = match work {
            "scan" => scan(&db)?,
            _ => own.get_or_insert_with(|| Own::new(path, pairs, seed)).work(&db, work, time),
        };
        println!("{rate}");
    }
    Ok(())
}

/// How often a second something is done that `some` does `times` times.
fn rate(time: Duration, times: u64, mut some: impl FnMut()) -> f64 {
    let (start, mut done) = (Instant::now(), 0);
    loop {
        some();
        done += times;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return done as f64 / elapsed.as_secs_f64();
        }
    }
}

/// Two additions, a thousand times.
fn add(counter: &AtomicU64) {
    for _ in 0..CHUNK {
        black_box(counter).fetch_add(1, SeqCst);
        black_box(counter).fetch_sub(1, SeqCst);
    }
}

fn begin_and_drop(db: &Database) {
    for _ in 0..CHUNK {
        // By reference: passing it by value would copy it once more.
        black_box(&db.begin_read().expect("a snapshot"));
    }
}

/// Reads every pair, and so every page of the tree.
fn scan(db: &Database) -> Result<f64, Error> {
    let (start, r, mut found) = (Instant::now(), db.begin_read()?, 0);
    for entry in r.iter(PAIRS)? {
        black_box(entry?);
        found += 1;
    }
    assert_eq!(found, r.len(PAIRS)?);
    Ok(found as f64 / start.elapsed().as_secs_f64())
}

/// What a process has beside the store.
struct Own {
    pairs: u64,
    random: SmallRng,
    /// All of them, in the order of their use, so that the processor reads them ahead.
    keys: Vec<(u64, [u8; 24])>,
    next: usize,
    words: Vec<u64>,
    place: u64,
    file: File,
    commits: u64,
}

impl Own {
    fn new(path: &Path, pairs: u64, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut numbers: Vec<u64> = (0..pairs).collect();
        numbers.shuffle(&mut random);
        let keys = numbers.into_iter().map(|i| (i, pair(i).0)).collect();
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-flushed-{seed}"));
        let file = File::create_new(&name).expect("a new file");
        std::fs::remove_file(&name).expect("unlinked");
        file.write_all_at(&vec![1; FLUSHED as usize], 0).and_then(|()| file.sync_all()).expect("written");
        Own { pairs, random, keys, next: 0, words: vec![1; WORDS], place: 0, file, commits: 0 }
    }

    fn work(&mut self, db: &Database, work: &str, time: Duration) -> f64 {
        let snapshot = || db.begin_read().expect("a snapshot");
        let counter = AtomicU64::new(0);
        match work {
            "warm" => rate(time, self.pairs, || self.get(&snapshot(), self.pairs)),
            "additions" => rate(time, CHUNK, || add(&counter)),
            "begins" => rate(time, CHUNK, || begin_and_drop(db)),
            "loads" => rate(time, CHUNK, || self.load()),
            "gets" => {
                let r = snapshot();
                rate(time, CHUNK, || self.get(&r, CHUNK))
            }
            "snapshots" => rate(time, GETS, || self.get(&snapshot(), GETS)),
            "flushes" => rate(time, 1, || self.flush()),
            "commits" => rate(time, 1, || self.commit(db)),
            _ => panic!("unknown: {work}"),
        }
    }

    /// One value is compared byte by byte.
    fn get(&mut self, r: &ReadTxn, times: u64) {
        for i in 0..times {
            let (number, key) = &self.keys[self.next];
            self.next = (self.next + 1) % self.keys.len();
            let value = black_box(r.get(PAIRS, key).expect("no damage").expect("loaded"));
            if i == 0 {
                let latest = u64::from_le_bytes(*value.first_chunk().expect("8 bytes"));
                assert_eq!(value, version(*number, latest).1, "a wrong value");
            }
        }
    }

    /// Random loads, each from a place that the one before says.
    fn load(&mut self) {
        for _ in 0..CHUNK {
            let word = self.words[(self.place >> 32) as usize % WORDS];
            self.place = self.place.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(word);
        }
        black_box(self.place);
    }

    fn flush(&mut self) {
        let offset = self.random.random_range(0..FLUSHED / PAGE as u64) * PAGE as u64;
        self.file.write_all_at(&[2; PAGE], offset).and_then(|()| self.file.sync_data()).expect("flushed");
    }

    fn commit(&mut self, db: &Database) {
        self.commits += 1;
        let (key, value) = version(self.random.random_range(0..self.pairs), self.commits);
        db.write(|w| w.put(PAIRS, &key, &value)).expect("committed");
    }
}
