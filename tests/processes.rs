//! Real processes on one file: beside each other, one after the other, and killed.
//!
//! A child is this test program again, running only [`child`] in the role that an environment variable
//! gives. It reports by lines that begin with `@` and ends when its standard input does, so none outlives
//! its test.

#![allow(unsafe_code)]

mod common;

use common::{DeadStore, assert_clean, open};
use mapleaf::{
    Database, Durability, Error, Observer, Op, Options, ReadTxn, Table, Ticket, Verdict, WriteTxn,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: Table<u64, u64> = Table::new("accounts");
const HISTORY: Table<u64, [u8]> = Table::new("history");
const WORDS: Table<str, [u8]> = Table::new("words");
const ROOM: Table<u64, [u8]> = Table::new("room");
const COUNTER: Table<str, u64> = Table::new("counter");
const ACCOUNT_COUNT: u64 = 500;
const TOTAL: u64 = ACCOUNT_COUNT * 1000;

// ---- children ----

const ROLE: &str = "MAPLEAF_CHILD_ROLE";
const FILE: &str = "MAPLEAF_CHILD_FILE";
/// In which flush of its own opening it gets stuck, counted from 1.
const STICK: &str = "MAPLEAF_CHILD_STICK";

/// Does nothing unless a test below has started it.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var(FILE).unwrap());
    let mut options = Options::new();
    let reads = matches!(role.as_str(), "read_only" | "ignore_log");
    options = options.dirty_limit(1 << 20).read_only(reads).ignore_log(role == "ignore_log");
    let stuck = Arc::new(SticksInFlush::default());
    if role == "obey" {
        let flush = std::env::var(STICK).map_or(0, |flush| flush.parse().unwrap());
        stuck.flushes.store(flush, Ordering::SeqCst);
        options = options.observer(stuck.clone());
    }
    if role == "die_at_meta" {
        options = options.observer(Arc::new(DiesAtMeta { armed: AtomicBool::new(false) }));
    }
    // SAFETY: the file is the test's own.
    let db = match unsafe { options.open(&path) } {
        Ok(db) => db,
        Err(error) => {
            let kind = if matches!(error, Error::Busy { .. }) { "busy" } else { "error" };
            report(&format!("{kind} {error}"));
            return;
        }
    };
    match role.as_str() {
        "transfer" => transfer_forever(&db),
        "sum" => sum_forever(&db),
        "hold_snapshots" => {
            let snapshots: Vec<ReadTxn> = (0..100).map(|_| db.begin_read().unwrap()).collect();
            report(&format!("holding {}", snapshots[0].txn_id()));
            wait_for_end();
            let sum: u64 = snapshots.iter().map(check_sum).sum();
            report(&format!("sum {sum}"));
        }
        "hold_turn" => {
            let mut w = db.begin_write().unwrap();
            scribble(&mut w);
            report("scribbled");
            wait_for_end();
        }
        "count" => {
            for _ in 0..200 {
                db.write(|w| {
                    let old = w.get(COUNTER, "n")?.unwrap_or(0);
                    w.put(COUNTER, "n", &(old + 1))
                })
                .unwrap();
            }
            report("counted");
        }
        "die_at_meta" => db.write(|w| w.put(HISTORY, &1_000_000, &vec![7; 300_000])).map(|_| ()).unwrap(),
        "open" | "read_only" | "ignore_log" => answer(&db),
        "obey" => obey(&db, &stuck),
        "storm" => storm(&db),
        "hold" => hold_some(&db),
        other => panic!("{other}"),
    }
}

fn report(line: &str) {
    // In one piece, apart from what the test harness says.
    println!("\n@{line}");
    std::io::stdout().flush().unwrap();
}

fn wait_for_end() {
    std::io::stdin().lines().for_each(drop);
}

/// Moves money between accounts until the input ends; reports every commit.
fn transfer_forever(db: &Database) {
    let ended = end_of_input();
    for i in 0.. {
        db.write(|w| transfer(w, i)).unwrap();
        report(&format!("{i}"));
        if ended.is_finished() {
            return;
        }
    }
}

fn end_of_input() -> std::thread::JoinHandle<()> {
    std::thread::spawn(wait_for_end)
}

fn transfer(w: &mut WriteTxn, i: u64) -> mapleaf::Result<()> {
    let (from, to) = (i * 7919 % ACCOUNT_COUNT, (i * 104_729 + 1) % ACCOUNT_COUNT);
    let amount = w.get(ACCOUNTS, &from)?.unwrap().min(i % 97);
    let balance = w.get(ACCOUNTS, &from)?.unwrap();
    w.put(ACCOUNTS, &from, &(balance - amount))?;
    let balance = w.get(ACCOUNTS, &to)?.unwrap();
    w.put(ACCOUNTS, &to, &(balance + amount))?;
    // History, now and then a large piece, that comes and goes.
    let len = if i.is_multiple_of(8) { 20_000 } else { 300 };
    w.put(HISTORY, &i, &vec![i as u8; len])?;
    if i >= 50 {
        w.delete(HISTORY, &(i - 50))?;
    }
    w.put(COUNTER, "transfers", &(i + 1)).map(|_| ())
}

/// More than the txn may keep in memory.
fn scribble(w: &mut WriteTxn) {
    for i in 0..4000u64 {
        w.put(ACCOUNTS, &(i % ACCOUNT_COUNT), &7).unwrap();
        w.put(HISTORY, &(i * 31), &vec![0xee; 1000]).unwrap();
    }
    let _ = w.drop_table("counter").unwrap();
}

/// The invariant of every snapshot.
fn check_sum(r: &ReadTxn) -> u64 {
    let sum: u64 = r.iter(ACCOUNTS).unwrap().map(|entry| entry.unwrap().1).sum();
    assert_eq!(sum, TOTAL, "txn {}", r.txn_id());
    for entry in r.iter(HISTORY).unwrap() {
        let (i, value) = entry.unwrap();
        assert!(value.iter().all(|byte| *byte == i as u8), "history {i} of txn {}", r.txn_id());
    }
    let transfers = r.get(COUNTER, "transfers").unwrap().unwrap_or(0);
    assert_eq!(r.last(HISTORY).unwrap().map_or(0, |(i, _)| i + 1), transfers);
    sum
}

fn sum_forever(db: &Database) {
    let ended = end_of_input();
    let (mut newest, mut snapshots, mut states) = (0, 0, 0);
    report("summing");
    while !ended.is_finished() {
        let r = db.begin_read().unwrap();
        assert!(r.txn_id() >= newest, "txn {} after {newest}", r.txn_id());
        states += u64::from(r.txn_id() > newest);
        newest = r.txn_id();
        check_sum(&r);
        snapshots += 1;
    }
    report(&format!("{snapshots} {states}"));
}

/// Says of every line of input what the counter is.
fn answer(db: &Database) {
    report("open");
    for _ in std::io::stdin().lines() {
        let r = db.begin_read().unwrap();
        report(&format!("{}", r.get(COUNTER, "n").unwrap().unwrap_or(0)));
    }
}

/// Does what every line of input says, and reports how it went. `k` and `v` are numbers.
fn obey(db: &Database, stuck: &SticksInFlush) {
    report("open");
    let mut tickets = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let done = match words[0] {
            "put" => put_as(db, level(words[1]), number(2), number(3)),
            "hand" => hand_over(db, number(1), number(2)).map(|ticket| tickets.push(ticket)),
            "wait" => tickets.drain(..).try_for_each(Ticket::wait),
            "add" => add(db).map(|ticket| tickets.push(ticket)),
            "checkpoint" => db.checkpoint(),
            "stick" => {
                stuck.flushes.store(number(1) as usize, Ordering::SeqCst);
                Ok(())
            }
            other => panic!("{other}"),
        };
        match done {
            Ok(()) => report("ok"),
            Err(error) => report(&format!("error {error}")),
        }
    }
}

fn level(name: &str) -> Durability {
    match name {
        "durable" => Durability::Durable,
        "ordered" => Durability::Ordered,
        "eventual" => Durability::Eventual,
        other => panic!("{other}"),
    }
}

fn put_as(db: &Database, level: Durability, key: u64, value: u64) -> mapleaf::Result<()> {
    db.write(|w| {
        w.set_durability(level);
        w.put(ACCOUNTS, &key, &value).map(drop)
    })
}

fn hand_over(db: &Database, key: u64, value: u64) -> mapleaf::Result<Ticket> {
    let mut w = db.begin_write()?;
    w.put(ACCOUNTS, &key, &value)?;
    w.commit_ticket()
}

/// Adds one to the counter, on what other processes have handed over and nobody has waited for.
fn add(db: &Database) -> mapleaf::Result<Ticket> {
    let mut w = db.begin_write()?;
    let old = w.get(COUNTER, "n")?.unwrap_or(0);
    w.put(COUNTER, "n", &(old + 1))?;
    w.commit_ticket()
}

fn balance(db: &Database, key: u64) -> u64 {
    db.begin_read().unwrap().get(ACCOUNTS, &key).unwrap().unwrap()
}

/// When told to, lets so many flushes less one pass and never comes back from the next.
#[derive(Default)]
struct SticksInFlush {
    flushes: AtomicUsize,
}

impl Observer for SticksInFlush {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let left = self.flushes.load(Ordering::SeqCst);
        if matches!(op, Op::Sync { .. }) && left > 0 {
            self.flushes.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                report("flushing");
                loop {
                    std::thread::park();
                }
            }
        }
        Verdict::Proceed
    }
}

/// Holds some snapshots at any time and judges each before it lets it go, until it is killed or its input ends.
fn hold_some(db: &Database) {
    let ended = end_of_input();
    let mut rng = SmallRng::seed_from_u64(std::process::id().into());
    let mut held: Vec<ReadTxn> = Vec::new();
    report("holding");
    while !ended.is_finished() {
        held.push(db.begin_read().unwrap());
        if held.len() > 8 {
            check_sum(&held.swap_remove(rng.random_range(0..held.len())));
        }
    }
    for snapshot in &held {
        check_sum(snapshot);
    }
    report("judged");
}

/// Transfers beside others of its kind, at random levels, until it is killed or its input ends. Reports its name
/// the last of its own transfers that was acknowledged, and the last that it tried.
fn storm(db: &Database) {
    let ended = end_of_input();
    let seed = std::process::id();
    let mut storm =
        Storm { rng: SmallRng::seed_from_u64(seed.into()), name: seed.to_string(), ..Storm::new() };
    report(&format!("{} 0 0", storm.name));
    while !ended.is_finished() {
        storm.step(db);
        report(&format!("{} {} {}", storm.name, storm.acknowledged, storm.tried));
    }
}

struct Storm {
    rng: SmallRng,
    name: String,
    acknowledged: u64,
    tried: u64,
}

impl Storm {
    fn new() -> Self {
        Storm { rng: SmallRng::seed_from_u64(0), name: String::new(), acknowledged: 0, tried: 0 }
    }

    /// One txn, or a few that are waited for in any order.
    fn step(&mut self, db: &Database) {
        let mut tickets = Vec::new();
        let mut done = Ok(());
        for _ in 0..[1, 1, 1, 4][self.rng.random_range(0..4)] {
            match self.transfer(db) {
                Ok(ticket) => tickets.insert(self.rng.random_range(0..=tickets.len()), ticket),
                Err(error) => done = Err(error),
            }
        }
        for ticket in tickets {
            done = ticket.wait().and(done);
        }
        let r = db.begin_read().unwrap();
        let found = r.get(COUNTER, &self.name[..]).unwrap().unwrap_or(0);
        assert!((self.acknowledged..=self.tried).contains(&found), "{found}, not {}", self.acknowledged);
        match done {
            Ok(()) => assert_eq!(found, self.tried),
            // Another process was killed while it flushed, or wrote what this one has built on.
            Err(Error::Io { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.acknowledged = found;
    }

    fn transfer(&mut self, db: &Database) -> mapleaf::Result<Ticket> {
        // Whoever was killed before, and wherever: this works.
        let mut w = db.begin_write().unwrap();
        let levels = [Durability::Durable, Durability::Durable, Durability::Eventual, Durability::Ordered];
        w.set_durability(levels[self.rng.random_range(0..4)]);
        let i = w.get(COUNTER, "transfers")?.unwrap_or(0);
        transfer(&mut w, i)?;
        self.tried += 1;
        w.put(COUNTER, &self.name[..], &self.tried)?;
        w.commit_ticket()
    }
}

/// Dies when a commit's meta slot is written but neither flushed nor published.
struct DiesAtMeta {
    armed: AtomicBool,
}

impl Observer for DiesAtMeta {
    fn before(&self, op: &Op<'_>) -> Verdict {
        match op {
            // Data is flushed before; the next flush is that of the meta.
            Op::Sync { len, .. } if *len > 4096 => self.armed.store(true, Ordering::SeqCst),
            Op::Sync { .. } if self.armed.load(Ordering::SeqCst) => std::process::exit(9),
            _ => {}
        }
        Verdict::Proceed
    }
}

// ---- the parent's side ----

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, path: &Path) -> Self {
        Self::start_sticking(role, path, 0)
    }

    /// One that gets stuck in this flush of its opening.
    fn start_sticking(role: &str, path: &Path, flush: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FILE, path)
            .env(STICK, flush.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, input, output }
    }

    /// The next report; `None` when the process has ended.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(report) = line.strip_prefix('@') {
                return Some(report.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    fn expect(&mut self, start: &str) -> String {
        let report = self.next().unwrap_or_else(|| panic!("ended without {start:?}"));
        assert!(report.starts_with(start), "{report:?}, expected {start:?}");
        report
    }

    /// Has it do something, and returns how that went.
    fn tell(&mut self, what: &str) -> String {
        self.say(what);
        self.next().unwrap_or_else(|| panic!("ended at {what:?}"))
    }

    fn say(&mut self, what: &str) {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
    }

    /// Has it do something that goes well.
    fn obey(&mut self, what: &str) {
        assert_eq!(self.tell(what), "ok", "{what}");
    }

    fn ask(&mut self) -> u64 {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
        self.next().unwrap().parse().unwrap()
    }

    /// Kills it as `kill -9` does, and returns what it had still reported.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Ends its input, waits, and returns its last report.
    fn end(mut self) -> Option<String> {
        self.input = None;
        let last = std::iter::from_fn(|| self.next()).last();
        assert!(self.child.wait().unwrap().success());
        last
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("shared.maple")
    }

    fn sidecar(&self) -> PathBuf {
        self.0.path().join("shared.maple-lock")
    }

    fn open(&self) -> Database {
        open(&Options::new(), &self.file())
    }

    fn with_accounts() -> Self {
        let place = Place::new();
        let fill =
            |w: &mut WriteTxn| (0..ACCOUNT_COUNT).try_for_each(|i| w.put(ACCOUNTS, &i, &1000).map(|_| ()));
        place.open().write(fill).unwrap();
        place
    }

    /// With accounts, and a log that has room.
    fn with_log() -> Self {
        let place = Place::with_accounts();
        let db = place.open();
        // Room for the commits to come: one that grows the file flushes what is new.
        db.write(|w| w.put(ROOM, &0, &[0; 100_000])).unwrap();
        db.write(|w| w.delete(ROOM, &0)).unwrap();
        (0..10).for_each(|_| put_as(&db, Durability::Durable, 0, 1000).unwrap());
        assert!(db.counters().logged_commits > 0);
        place
    }

    /// How many txns would have to be replayed if all processes died now.
    fn to_replay(&self) -> u64 {
        let dead = DeadStore::of(&self.file());
        let db = open(&Options::new(), &dead.path());
        assert_clean(&db);
        db.counters().replayed_txns
    }

    fn len(&self) -> u64 {
        std::fs::metadata(self.file()).unwrap().len()
    }
}

#[test]
fn three_readers_see_whole_commits_of_a_writer_beside_them() {
    let place = Place::with_accounts();
    let mut writer = Process::start("transfer", &place.file());
    writer.expect("0");
    let mut readers: Vec<Process> = (0..3).map(|_| Process::start("sum", &place.file())).collect();
    for reader in &mut readers {
        reader.expect("summing");
    }
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        writer.next().unwrap();
    }
    for reader in readers {
        let report = reader.end().unwrap();
        let (snapshots, states) = report.split_once(' ').unwrap();
        assert!(snapshots.parse::<u64>().unwrap() > 10, "{report}");
        assert!(states.parse::<u64>().unwrap() > 5, "{report}");
    }
    let last: u64 = writer.end().unwrap().parse().unwrap();
    let db = place.open();
    check_sum(&db.begin_read().unwrap());
    assert_eq!(db.begin_read().unwrap().get(COUNTER, "transfers").unwrap(), Some(last + 1));
    assert_clean(&db);
}

#[test]
fn a_writer_killed_within_its_txn_is_followed_at_once_and_nothing_is_lost() {
    let place = Place::with_accounts();
    let db = place.open();
    for i in 0..100 {
        db.write(|w| transfer(w, i)).unwrap();
    }
    let before = db.begin_read().unwrap();
    let len = place.len();
    let mut writer = Process::start("hold_turn", &place.file());
    writer.expect("scribbled");
    assert!(db.try_begin_write().unwrap().is_none(), "it is the other's turn");
    assert!(place.len() > len, "it has written early");
    writer.kill();
    let start = Instant::now();
    let w = db.begin_write().unwrap();
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    drop(w);
    check_sum(&before);
    for i in 100..200 {
        db.write(|w| transfer(w, i)).unwrap();
        check_sum(&db.begin_read().unwrap());
    }
    check_sum(&before);
    // More than there was room for.
    db.write(|w| w.put(WORDS, "large", &vec![1; 9_000_000])).unwrap();
    assert_clean(&db);
    drop((before, db));
    assert_clean(&place.open());
}

#[test]
fn what_a_killed_writer_has_added_to_the_file_is_cut_off() {
    for survivor_wrote_last in [false, true] {
        let place = Place::with_accounts();
        let db = place.open();
        if survivor_wrote_last {
            db.write(|w| transfer(w, 0)).unwrap();
        }
        let len = place.len();
        let mut writer = Process::start("hold_turn", &place.file());
        writer.expect("scribbled");
        writer.kill();
        drop(db.begin_write().unwrap());
        assert_eq!(place.len(), len, "the survivor wrote last: {survivor_wrote_last}");
        db.write(|w| transfer(w, 1)).unwrap();
        assert_clean(&db);
    }
}

/// Its meta slot may be found by the next opening, as newest, so the pages it refers to must not be used
/// again before that slot is overwritten: not even by a txn that writes early and is then undone.
#[test]
fn a_writer_that_died_before_its_publication_is_undone_whole_or_not_at_all() {
    for (wrote_last, commits) in [(false, false), (false, true), (true, false), (true, true)] {
        println!("the survivor wrote last: {wrote_last}, commits: {commits}");
        let place = Place::with_accounts();
        // Room for everything, so that the file need not grow.
        let db = place.open();
        db.write(|w| w.put(WORDS, "large", &vec![1; 12_000_000])).unwrap();
        db.write(|w| w.delete(WORDS, "large")).unwrap();
        drop(db);
        let db = open(&Options::new().dirty_limit(1 << 20), &place.file());
        let len = place.len();
        if wrote_last {
            db.write(|w| transfer(w, 0)).unwrap();
        }
        let mut dying = Process::start("die_at_meta", &place.file());
        assert_eq!(dying.next(), None);
        assert_eq!(dying.child.wait().unwrap().code(), Some(9));
        let mut w = db.begin_write().unwrap();
        if commits {
            transfer(&mut w, 1).unwrap();
            w.commit().unwrap();
        } else {
            (0..600).for_each(|i| assert!(!w.put(HISTORY, &(2_000_000 + i), &vec![9; 5000]).unwrap()));
            w.abort();
        }
        assert_eq!(place.len(), len);
        drop(db);
        let db = place.open();
        assert_clean(&db);
        let r = db.begin_read().unwrap();
        let sum: u64 = r.iter(ACCOUNTS).unwrap().map(|entry| entry.unwrap().1).sum();
        assert_eq!(sum, TOTAL);
        let whole = r.get(HISTORY, &1_000_000).unwrap().is_none_or(|value| value == [7; 300_000]);
        assert!(whole, "it is there whole or not at all");
    }
}

#[test]
fn a_writer_killed_anywhere_loses_nothing_that_it_reported() {
    let place = Place::with_accounts();
    let mut reported = 0;
    for round in 0..12u32 {
        // By turns with nobody, and with this process, having the store open meanwhile.
        let beside = (round % 2 == 0).then(|| place.open());
        let pinned = beside.as_ref().map(|db| db.begin_read().unwrap());
        let mut writer = Process::start("transfer", &place.file());
        writer.expect("0");
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 100)));
        let last = writer.kill().last().map_or(0, |report| report.parse::<u64>().unwrap());
        if let Some(pinned) = pinned {
            check_sum(&pinned);
        }
        let db = beside.unwrap_or_else(|| place.open());
        let r = db.begin_read().unwrap();
        check_sum(&r);
        let found = r.get(COUNTER, "transfers").unwrap().unwrap();
        // The last commit may be done without its report.
        assert!(found == last + 1 || found == last + 2, "reported {last}, found {found} transfers");
        assert_clean(&db);
        // Each round begins anew.
        db.write(|w| {
            w.drop_table("history")?;
            w.drop_table("counter")
        })
        .unwrap();
        assert_clean(&db);
        reported += last + 1;
    }
    assert!(reported > 12, "{reported}");
}

#[test]
fn snapshots_of_killed_readers_no_longer_make_the_file_grow() {
    let place = Place::with_accounts();
    let db = place.open();
    let rewrite = |times: u64| {
        for i in 0..times {
            db.write(|w| {
                (0..ACCOUNT_COUNT / 10)
                    .try_for_each(|k| w.put(HISTORY, &(i * 50 % 500 + k), &vec![i as u8; 2000]).map(|_| ()))
            })
            .unwrap();
        }
    };
    rewrite(50);
    let mut readers: Vec<Process> = (0..2).map(|_| Process::start("hold_snapshots", &place.file())).collect();
    for reader in &mut readers {
        reader.expect("holding");
    }
    let before = place.len();
    rewrite(100);
    let held = place.len();
    assert!(held > before, "the snapshots keep their pages");
    for reader in readers {
        reader.kill();
    }
    rewrite(300);
    assert_eq!(place.len(), held, "was {before} before the snapshots");
    assert_clean(&db);
}

#[test]
fn a_snapshot_in_another_process_stays_whole_while_this_one_writes() {
    let place = Place::with_accounts();
    let mut reader = Process::start("hold_snapshots", &place.file());
    reader.expect("holding");
    let db = place.open();
    for i in 0..300 {
        db.write(|w| transfer(w, i)).unwrap();
    }
    assert_eq!(reader.end().unwrap(), format!("sum {}", 100 * TOTAL));
    assert_clean(&db);
}

#[test]
fn two_writers_take_turns_and_no_increment_is_lost() {
    let place = Place::new();
    let mut writers: Vec<Process> = (0..2).map(|_| Process::start("count", &place.file())).collect();
    for writer in &mut writers {
        writer.expect("counted");
    }
    writers.into_iter().for_each(|writer| drop(writer.end()));
    let db = place.open();
    assert_eq!(db.begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(400));
    assert_clean(&db);
}

#[test]
fn a_sidecar_that_nobody_uses_may_be_anything() {
    let place = Place::new();
    let count = |expected: u64| {
        let db = place.open();
        db.write(|w| w.put(COUNTER, "n", &expected)).unwrap();
        let mut beside = opened("open", &place);
        assert_eq!(beside.ask(), expected);
        beside.end();
        assert_clean(&db);
    };
    count(1);
    std::fs::remove_file(place.sidecar()).unwrap();
    count(2);
    std::fs::write(place.sidecar(), b"").unwrap();
    count(3);
    std::fs::write(place.sidecar(), vec![0xff; 10_000]).unwrap();
    count(4);
    std::fs::write(place.sidecar(), vec![0; 100]).unwrap();
    count(5);
    let len = std::fs::metadata(place.sidecar()).unwrap().len();
    std::fs::File::options().write(true).open(place.sidecar()).unwrap().set_len(len / 2 + 13).unwrap();
    count(6);
    // That of another store.
    let other = Place::new();
    other.open().write(|w| w.put(COUNTER, "n", &9)).unwrap();
    std::fs::copy(other.sidecar(), place.sidecar()).unwrap();
    count(7);
    // A killed process leaves slots behind.
    let mut holder = Process::start("hold_snapshots", &place.file());
    holder.expect("holding");
    holder.kill();
    count(8);
}

fn opened(role: &str, place: &Place) -> Process {
    let mut process = Process::start(role, &place.file());
    process.expect("open");
    process
}

#[test]
fn a_sidecar_removed_or_replaced_while_in_use_is_an_error_that_says_so() {
    let place = Place::new();
    place.open().write(|w| w.put(COUNTER, "n", &1)).unwrap();
    let mut user = opened("open", &place);
    let other = Place::new();
    let foreign = opened("open", &other);
    let kept = place.0.path().join("kept");
    std::fs::rename(place.sidecar(), &kept).unwrap();
    for content in
        [None, Some(Vec::new()), Some(vec![0xff; 8192]), Some(std::fs::read(other.sidecar()).unwrap())]
    {
        let _ = std::fs::remove_file(place.sidecar());
        if let Some(content) = content {
            std::fs::write(place.sidecar(), content).unwrap();
        }
        for role in ["open", "read_only"] {
            let mut late = Process::start(role, &place.file());
            let report = late.expect("busy");
            assert!(report.contains("lock file") && report.contains("close"), "{report}");
            late.end();
        }
        // SAFETY: the file is the test's own.
        let here = unsafe { Database::open(place.file()) };
        assert!(matches!(here, Err(Error::Busy { .. })), "{here:?}");
        assert_eq!(user.ask(), 1, "who has it open goes on");
    }
    foreign.end();
    // With its sidecar back it is one store again.
    std::fs::rename(&kept, place.sidecar()).unwrap();
    let db = place.open();
    db.write(|w| w.put(COUNTER, "n", &2)).unwrap();
    assert_eq!(user.ask(), 2);
    user.end();
    drop(db);
    // And when nobody has it open its sidecar may be lost.
    std::fs::remove_file(place.sidecar()).unwrap();
    assert_eq!(place.open().begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(2));
}

#[test]
fn a_read_only_store_beside_a_writer_sees_its_commits_and_cannot_write() {
    let place = Place::new();
    let db = place.open();
    let mut reader = opened("read_only", &place);
    for n in 1..50 {
        db.write(|w| {
            w.put(HISTORY, &n, &vec![n as u8; 100_000])?;
            w.put(COUNTER, "n", &n)
        })
        .unwrap();
        assert_eq!(reader.ask(), n);
    }
    reader.end();
    drop(db);
    let db = open(&Options::new().read_only(true), &place.file());
    assert!(matches!(db.begin_write(), Err(Error::ReadOnly)));
    assert!(matches!(db.try_begin_write(), Err(Error::ReadOnly)));
    assert_clean(&db);
    // One that opened it alone does not keep a writer out, and sees what it does.
    let writer = place.open();
    writer.write(|w| w.put(COUNTER, "n", &1000)).unwrap();
    assert_eq!(db.begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(1000));
    assert_clean(&db);
    assert_clean(&writer);
}

#[test]
fn a_read_only_process_that_came_first_sees_the_commits_of_a_later_writer() {
    let place = Place::new();
    place.open().write(|w| w.put(COUNTER, "n", &1)).unwrap();
    let mut reader = opened("read_only", &place);
    assert_eq!(reader.ask(), 1);
    let db = place.open();
    for n in 2..20 {
        db.write(|w| w.put(COUNTER, "n", &n)).unwrap();
        assert_eq!(reader.ask(), n);
    }
    assert_clean(&db);
    reader.end();
}

#[test]
fn processes_that_open_a_new_store_at_once_share_it() {
    for _ in 0..5 {
        let place = Place::new();
        let mut writers: Vec<Process> = (0..4).map(|_| Process::start("count", &place.file())).collect();
        for writer in &mut writers {
            writer.expect("counted");
        }
        writers.into_iter().for_each(|writer| drop(writer.end()));
        assert_eq!(place.open().begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(800));
    }
}

// ---- the log between processes ----

#[test]
fn the_turn_goes_from_process_to_process_in_the_middle_of_a_log() {
    let place = Place::with_log();
    let mut both = [opened("obey", &place), opened("obey", &place)];
    for round in 0..60 {
        let who = &mut both[round % 2];
        // What the other has handed over is built on, be it waited for or not.
        (0..3).for_each(|_| who.obey("add"));
        if round % 3 == 0 {
            who.obey("wait");
        }
    }
    both.iter_mut().for_each(|who| who.obey("wait"));
    let db = place.open();
    assert_eq!(db.begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(180));
    assert!(place.to_replay() > 0);
    assert_clean(&db);
    both.into_iter().for_each(|who| drop(who.end()));
    drop(db);
    assert_eq!(place.to_replay(), 0);
}

#[test]
fn processes_wait_for_the_tickets_that_they_hold_at_the_same_time() {
    let place = Place::with_log();
    let mut all: Vec<Process> = (0..3).map(|_| opened("obey", &place)).collect();
    for _ in 0..20 {
        all.iter_mut().for_each(|who| who.obey("add"));
        all.iter_mut().for_each(|who| who.say("wait"));
        all.iter_mut().for_each(|who| drop(who.expect("ok")));
    }
    all.into_iter().for_each(|who| drop(who.end()));
    assert_eq!(place.open().begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(60));
}

#[test]
fn readers_in_other_processes_see_a_txn_when_it_is_published_and_not_before() {
    let place = Place::with_log();
    let (mut writer, mut reader) = (opened("obey", &place), opened("open", &place));
    let mut read_only = opened("read_only", &place);
    let mut both_see = |n| assert_eq!([reader.ask(), read_only.ask()], [n; 2]);
    both_see(0);
    for n in 0..20 {
        writer.obey("add");
        writer.obey("add");
        both_see(2 * n);
        writer.obey("wait");
        both_see(2 * n + 2);
    }
    writer.obey("put eventual 7 7");
    assert_eq!(balance(&place.open(), 7), 7);
}

#[test]
fn eventual_commits_of_a_killed_process_are_there_when_the_store_is_opened_again() {
    let place = Place::with_log();
    for round in 1..5 {
        let mut writer = opened("obey", &place);
        for key in 0..30 {
            writer.obey(&format!("put eventual {key} {}", round * 100 + key));
        }
        writer.obey("put durable 40 1");
        writer.obey(&format!("put eventual 41 {round}"));
        writer.kill();
        let db = place.open();
        assert!(db.counters().replayed_txns >= 32);
        assert!((0..30).all(|key| balance(&db, key) == round * 100 + key));
        assert_eq!(balance(&db, 41), round);
        assert_clean(&db);
    }
}

#[test]
fn eventual_commits_of_a_killed_process_are_there_for_those_that_live_on() {
    let place = Place::with_log();
    let db = place.open();
    let mut writer = opened("obey", &place);
    (0..30).for_each(|key| writer.obey(&format!("put eventual {key} 5")));
    writer.kill();
    assert!((0..30).all(|key| balance(&db, key) == 5));
    put_as(&db, Durability::Durable, 31, 5).unwrap();
    assert!((0..30).all(|key| balance(&db, key) == 5));
    assert!(place.to_replay() > 30);
    assert_clean(&db);
}

#[test]
fn a_writer_killed_before_it_waited_for_its_tickets_leaves_a_store_that_goes_on() {
    for alone in [true, false] {
        let place = Place::with_log();
        let beside = (!alone).then(|| place.open());
        let mut writer = opened("obey", &place);
        writer.obey("put durable 1 1");
        (2..9).for_each(|key| writer.obey(&format!("hand {key} {key}")));
        writer.kill();
        let db = beside.unwrap_or_else(|| place.open());
        put_as(&db, Durability::Durable, 20, 20).unwrap();
        assert_eq!([1, 20].map(|key| balance(&db, key)), [1, 20]);
        // Of the others the first few, or none.
        let there = (2..9).take_while(|key| balance(&db, *key) == *key).count() as u64;
        assert!((2 + there..9).all(|key| balance(&db, key) == 1000), "alone: {alone}, {there} are there");
        assert_clean(&db);
        place.to_replay();
    }
}

/// What the child flushes when it is killed: the log; a checkpoint's data; its meta slot.
const STICKING: [(&str, usize); 4] =
    [("put durable 2 2", 1), ("put ordered 2 2", 1), ("put ordered 2 2", 2), ("checkpoint", 1)];

#[test]
fn a_writer_killed_while_it_flushes_is_followed_at_once_without_an_error() {
    for (what, flush) in STICKING {
        let place = Place::with_log();
        let db = place.open();
        put_as(&db, Durability::Durable, 1, 1).unwrap();
        let mut writer = opened("obey", &place);
        writer.obey("put eventual 3 3");
        writer.obey(&format!("stick {flush}"));
        writer.say(what);
        writer.expect("flushing");
        let pinned = db.begin_read().unwrap();
        assert_eq!([1, 2, 3].map(|key| balance(&db, key)), [1, 1000, 3], "{what}");
        writer.kill();
        let start = Instant::now();
        put_as(&db, Durability::Durable, 4, 4).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!([1, 3, 4].map(|key| balance(&db, key)), [1, 3, 4], "{what}");
        let unacknowledged = balance(&db, 2);
        assert!([2, 1000].contains(&unacknowledged), "{what}: {unacknowledged}");
        assert_eq!(pinned.get(ACCOUNTS, &2).unwrap(), Some(1000));
        assert_clean(&db);
        drop((pinned, db));
        let db = place.open();
        assert_eq!([1, 2, 3, 4].map(|key| balance(&db, key)), [1, unacknowledged, 3, 4], "{what}");
        assert_clean(&db);
    }
}

#[test]
fn a_process_killed_alone_while_it_flushes_leaves_a_store_that_opens() {
    for (what, flush) in STICKING {
        let place = Place::with_log();
        let mut writer = opened("obey", &place);
        writer.obey("put durable 1 1");
        writer.obey("put eventual 3 3");
        writer.obey(&format!("stick {flush}"));
        writer.say(what);
        writer.expect("flushing");
        writer.kill();
        let db = place.open();
        assert_eq!([1, 3].map(|key| balance(&db, key)), [1, 3], "{what}");
        assert!([2, 1000].contains(&balance(&db, 2)), "{what}");
        put_as(&db, Durability::Durable, 4, 4).unwrap();
        assert_clean(&db);
    }
}

#[test]
fn a_process_killed_while_it_recovers_is_followed_by_one_that_recovers() {
    for flush in 1..=3 {
        let place = Place::with_log();
        let db = place.open();
        put_as(&db, Durability::Durable, 1, 1).unwrap();
        put_as(&db, Durability::Eventual, 3, 3).unwrap();
        for stuck in [1, flush, flush] {
            let mut dying = opened("obey", &place);
            dying.obey(&format!("stick {stuck}"));
            dying.say("put durable 2 2");
            dying.expect("flushing");
            assert_eq!([1, 2, 3].map(|key| balance(&db, key)), [1, 1000, 3]);
            dying.kill();
        }
        put_as(&db, Durability::Durable, 4, 4).unwrap();
        assert_eq!([1, 3, 4].map(|key| balance(&db, key)), [1, 3, 4], "flush {flush}");
        assert_clean(&db);
        place.to_replay();
    }
}

#[test]
fn a_process_killed_while_it_opens_loses_nothing() {
    let place = Place::with_log();
    let mut writer = opened("obey", &place);
    (0..7).for_each(|_| writer.obey("add"));
    writer.obey("wait");
    writer.kill();
    for flush in [1, 2, 3, 4, 2, 1] {
        let mut dying = Process::start_sticking("obey", &place.file(), flush);
        let came = dying.next().unwrap();
        // Who only reads waits for it, and then finds the log, unless the recovery came to its end.
        let mut reader = Process::start("read_only", &place.file());
        std::thread::sleep(Duration::from_millis(30));
        dying.kill();
        let found = reader.next().unwrap();
        assert!(came == "flushing" || came == "open", "{came}");
        assert!(found.contains("7 txns") || found == "open", "{found}");
        reader.kill();
    }
    let db = place.open();
    assert_eq!(db.begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(7));
    assert_clean(&db);
}

#[test]
fn tickets_behind_a_flush_whose_process_is_killed_end_and_the_next_txn_works() {
    for (what, flush) in STICKING {
        let place = Place::with_log();
        let db = place.open();
        let mut writer = opened("obey", &place);
        writer.obey("put durable 1 1");
        // Handed over here before and, where the other does not keep the turn, behind it.
        let mut tickets = vec![(5, hand_over(&db, 5, 5).unwrap())];
        writer.obey(&format!("stick {flush}"));
        writer.say(what);
        writer.expect("flushing");
        if what.starts_with("put durable") {
            tickets.push((6, hand_over(&db, 6, 6).unwrap()));
        }
        let waiting: Vec<_> = tickets
            .into_iter()
            .map(|(key, ticket)| (key, std::thread::spawn(move || ticket.wait())))
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        writer.kill();
        for (key, waiting) in waiting {
            let outcome = waiting.join().unwrap();
            assert!(matches!(outcome, Ok(()) | Err(Error::Io { .. })), "{outcome:?}");
            assert_eq!(balance(&db, key), if outcome.is_ok() { key } else { 1000 }, "{what}");
        }
        put_as(&db, Durability::Durable, 7, 7).unwrap();
        assert_eq!([1, 7].map(|key| balance(&db, key)), [1, 7]);
        assert_clean(&db);
        place.to_replay();
    }
}

#[test]
fn the_last_process_to_close_makes_a_checkpoint_and_the_others_do_not() {
    let place = Place::with_log();
    let mut all: Vec<Process> = (0..3).map(|_| opened("obey", &place)).collect();
    for who in &mut all {
        who.obey("put durable 1 1");
        who.obey("put eventual 2 2");
        who.obey("hand 3 3");
    }
    let last = all.pop().unwrap();
    for who in all {
        who.end();
        assert!(place.to_replay() >= 6);
    }
    last.end();
    assert_eq!(place.to_replay(), 0);
    let db = open(&Options::new().read_only(true), &place.file());
    assert_eq!([1, 2, 3].map(|key| balance(&db, key)), [1, 2, 3]);
}

#[test]
fn a_killed_process_does_not_count_as_one_that_has_the_store_open() {
    let place = Place::with_log();
    let (mut dying, mut closing) = (opened("obey", &place), opened("obey", &place));
    dying.obey("put durable 1 1");
    closing.obey("put durable 2 2");
    dying.obey("hand 3 3");
    dying.kill();
    closing.end();
    assert_eq!(place.to_replay(), 0);
    assert_eq!([1, 2].map(|key| balance(&place.open(), key)), [1, 2]);
}

#[test]
fn a_read_only_process_says_that_a_log_waits_and_can_be_told_to_read_without_it() {
    let place = Place::with_log();
    let mut writer = opened("obey", &place);
    (0..5).for_each(|_| writer.obey("add"));
    writer.obey("checkpoint");
    (0..7).for_each(|_| writer.obey("add"));
    writer.obey("wait");
    writer.kill();
    let mut refused = Process::start("read_only", &place.file());
    let report = refused.expect("error");
    assert!(report.contains("7 txns"), "{report}");
    refused.end();
    let mut reader = opened("ignore_log", &place);
    assert_eq!(reader.ask(), 5);
    // A writer that comes later replays the log beside it.
    let mut writer = opened("obey", &place);
    assert_eq!(reader.ask(), 12);
    writer.obey("add");
    writer.obey("wait");
    assert_eq!(reader.ask(), 13);
    let mut late = opened("read_only", &place);
    assert_eq!(late.ask(), 13);
    [reader, late, writer].into_iter().for_each(|who| drop(who.end()));
    assert_clean(&place.open());
}

#[test]
fn snapshots_in_other_processes_stay_whole_across_checkpoints_and_recoveries() {
    let place = Place::with_log();
    let mut holder = Process::start("hold_snapshots", &place.file());
    holder.expect("holding");
    let db = place.open();
    for round in 0..8 {
        (0..25).for_each(|i| db.write(|w| transfer(w, round * 25 + i)).unwrap());
        let mut dying = opened("obey", &place);
        dying.obey("stick 1");
        dying.say("put durable 1 7");
        dying.expect("flushing");
        dying.kill();
        if round % 3 == 0 {
            db.checkpoint().unwrap();
        }
        // The killed txn may be there; what it broke is put right.
        restore_total(&db);
        check_sum(&db.begin_read().unwrap());
    }
    assert_eq!(holder.end().unwrap(), format!("sum {}", 100 * TOTAL));
    assert_clean(&db);
}

fn restore_total(db: &Database) {
    db.write(|w| {
        let others: u64 =
            w.iter(ACCOUNTS)?.map(|entry| entry.unwrap()).filter(|e| e.0 != 1).map(|e| e.1).sum();
        w.put(ACCOUNTS, &1, &(TOTAL - others))
    })
    .unwrap();
}

#[test]
fn writers_of_all_levels_that_are_killed_at_random_lose_nothing_that_was_acknowledged() {
    let place = Place::with_accounts();
    let mut rng = SmallRng::seed_from_u64(1);
    for survivors in [true, false, true, false] {
        let beside = survivors.then(|| place.open());
        let mut reader = survivors.then(|| Process::start("sum", &place.file()));
        reader.iter_mut().for_each(|reader| drop(reader.expect("summing")));
        let mut writers: Vec<Process> = (0..3).map(|_| Process::start("storm", &place.file())).collect();
        let mut acknowledged = Vec::new();
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(rng.random_range(20..150)));
            let killed = writers.swap_remove(rng.random_range(0..writers.len()));
            acknowledged.extend(killed.kill().pop());
            if let Some(db) = &beside {
                check_sum(&db.begin_read().unwrap());
            }
            writers.push(Process::start("storm", &place.file()));
        }
        // In the end all are killed, one behind the other.
        acknowledged.extend(writers.into_iter().filter_map(|writer| writer.kill().pop()));
        let db = beside.unwrap_or_else(|| place.open());
        check_sum(&db.begin_read().unwrap());
        check_acknowledged(&db, &acknowledged);
        put_as(&db, Durability::Durable, 1, balance(&db, 1)).unwrap();
        check_acknowledged(&db, &acknowledged);
        check_sum(&db.begin_read().unwrap());
        assert_clean(&db);
        reader.into_iter().for_each(|reader| drop(reader.end()));
        place.to_replay();
    }
}

#[test]
fn two_hundred_rounds_of_killed_writers_and_readers_leave_the_store_whole_and_small() {
    const ROLES: [&str; 4] = ["storm", "storm", "hold", "hold"];
    let place = Place::with_accounts();
    let mut rng = SmallRng::seed_from_u64(7);
    let start = |role: &str| (role.to_owned(), Process::start(role, &place.file()));
    let mut all: Vec<(String, Process)> = ROLES.map(start).into();
    let mut acknowledged = Vec::new();
    let mut kill = |(role, process): (String, Process)| {
        let last = process.kill().pop();
        acknowledged.extend(last.filter(|_| role == "storm"));
        role
    };
    let mut lens = Vec::new();
    for round in 0..200 {
        std::thread::sleep(Duration::from_millis(rng.random_range(0..40)));
        // Mostly one, sometimes everybody at once: then the next one is the first.
        let victims = if round % 16 == 15 { all.len() } else { 1 };
        let mut gone = Vec::new();
        for _ in 0..victims {
            gone.push(kill(all.swap_remove(rng.random_range(0..all.len()))));
        }
        let db = place.open();
        check_sum(&db.begin_read().unwrap());
        let commit = || {
            let turn = db.begin_write_deadline(Instant::now() + Duration::from_secs(20)).unwrap();
            let mut w = turn.expect("the turn is not stuck");
            w.put(WORDS, "round", &[round as u8])?;
            w.commit()
        };
        // What is built on a txn whose process was killed while it flushed is lost with it; what comes then is not.
        let outcomes: Vec<_> = (0..3).map(|_| commit()).collect();
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        if round % 8 == 7 {
            assert_clean(&db);
        }
        lens.push(place.len());
        gone.iter().for_each(|role| all.push(start(role)));
    }
    all.into_iter().for_each(|process| drop(kill(process)));
    let db = place.open();
    check_acknowledged(&db, &acknowledged);
    assert_eq!(db.reap().unwrap(), 0, "whoever comes first begins with an empty table");
    assert!(db.readers().unwrap().is_empty());
    assert_clean(&db);
    // As long as readers live it is no longer than what their eighteen snapshots can see, and the log.
    let longest = *lens.iter().max().unwrap();
    assert!(longest <= 4 << 20, "it grows: {lens:?}");
    // Nothing of what the dead held is lost: there is room for all that comes.
    (0..300).for_each(|_| put_as(&db, Durability::Durable, 1, balance(&db, 1)).unwrap());
    assert!(place.len() <= longest, "{} after {longest}", place.len());
    assert_clean(&db);
}

/// `reports` say of each writer what it was told last.
fn check_acknowledged(db: &Database, reports: &[String]) {
    let r = db.begin_read().unwrap();
    for report in reports {
        let words: Vec<&str> = report.split(' ').collect();
        let found = r.get(COUNTER, words[0]).unwrap().unwrap_or(0);
        let [acknowledged, tried] = [1, 2].map(|at| words[at].parse::<u64>().unwrap());
        // What it had under way may be there, too. (It may have failed before, and so have tried more.)
        assert!((acknowledged..=tried + 4).contains(&found), "{report}: {found}");
    }
}
