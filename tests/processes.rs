//! Real processes on one file: beside each other, one after the other, and killed.
//!
//! A child is this test program again, running only [`child`] in the role that an environment variable
//! gives. It reports by lines that begin with `@` and ends when its standard input does, so none outlives
//! its test.

#![allow(unsafe_code)]

mod common;

use common::{assert_clean, open};
use mapleaf::{Database, Error, Observer, Op, Options, ReadTxn, Table, Verdict, WriteTxn};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: Table<u64, u64> = Table::new("accounts");
const HISTORY: Table<u64, [u8]> = Table::new("history");
const WORDS: Table<str, [u8]> = Table::new("words");
const COUNTER: Table<str, u64> = Table::new("counter");
const ACCOUNT_COUNT: u64 = 500;
const TOTAL: u64 = ACCOUNT_COUNT * 1000;

// ---- children ----

const ROLE: &str = "MAPLEAF_CHILD_ROLE";
const FILE: &str = "MAPLEAF_CHILD_FILE";

/// Does nothing unless a test below has started it.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var(FILE).unwrap());
    let mut options = Options::new();
    options = options.dirty_limit(1 << 20).read_only(role == "read_only");
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
        "open" | "read_only" => answer(&db),
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
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FILE, path)
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
