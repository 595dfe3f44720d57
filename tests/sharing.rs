//! One store in many processes, by every way there is: fork, links, descriptors, memory.
//!
//! Children are this test program again, running only [`child`], or real forks of it. Forks copy whatever this
//! process has open, so the tests run one at a time ([`alone`]). No child outlives its test.

#![allow(unsafe_code)]

mod common;

use common::{assert_clean, contents, open, try_open};
use mapleaf::{
    Database, Durability, Error, Observer, Op, Options, ReadTxn, Savepoint, Schema, Table, Ticket, Verdict,
    WriteTxn,
};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

const ROWS: Table<u64, [u8]> = Table::new("rows");
const COUNTER: Table<str, u64> = Table::new("counter");
const ROW_COUNT: u64 = 300;
/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(15);
const NOBODY: u32 = 65534;

// ---- what is in the stores ----

fn fill(db: &Database) {
    db.write(|w| {
        w.put(COUNTER, "n", &0)?;
        (0..ROW_COUNT).try_for_each(|key| w.put(ROWS, &key, &[0; 600]).map(drop))
    })
    .unwrap();
}

/// So many commits that all replace some rows.
fn churn(db: &Database, commits: u64) {
    for _ in 0..commits {
        db.write(|w| {
            w.set_durability(Durability::Eventual);
            let round = w.get(COUNTER, "churn")?.unwrap_or(0);
            for i in 0..20 {
                let len = 300 + (round * 37 + i * 11) % 500;
                w.put(ROWS, &((round * 20 + i) % ROW_COUNT), &vec![(round + i) as u8; len as usize])?;
            }
            w.put(COUNTER, "churn", &(round + 1)).map(drop)
        })
        .unwrap();
    }
}

fn add(db: &Database) -> mapleaf::Result<()> {
    db.write(|w| {
        w.set_durability(Durability::Eventual);
        let old = w.get(COUNTER, "n")?.unwrap_or(0);
        w.put(COUNTER, "n", &(old + 1)).map(drop)
    })
}

fn counter(db: &Database) -> u64 {
    db.begin_read().unwrap().get(COUNTER, "n").unwrap().unwrap_or(0)
}

/// A number for everything in a snapshot.
fn digest(r: &ReadTxn) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents(r).hash(&mut hasher);
    hasher.finish()
}

// ---- one test at a time ----

struct Alone {
    _turn: MutexGuard<'static, ()>,
    _alive: Sender<()>,
}

/// Keeps other tests of this process out; ends the process when a test hangs.
fn alone() -> Alone {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (alive, over) = channel();
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    std::thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            say_on_stderr(&format!("{name} hangs\n"));
            std::process::abort();
        }
    });
    Alone { _turn: turn, _alive: alive }
}

fn say_on_stderr(text: &str) {
    // SAFETY: the pointer and the length are those of the text.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

// ---- forks ----

/// A forked child, killed at the end if it has not ended by itself.
struct Forked {
    pid: i32,
    link: Link,
    is_over: bool,
}

/// Numbers to and from a forked child.
struct Link(UnixStream);

impl Link {
    fn say(&mut self, number: u64) {
        self.0.write_all(&number.to_le_bytes()).unwrap();
    }

    fn hear(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).expect("the other side says something");
        u64::from_le_bytes(bytes)
    }
}

/// Forks; the child does `work` and nothing else.
fn fork(work: impl FnOnce(&mut Link)) -> Forked {
    fork_with(true, work)
}

fn fork_with(dies_with_parent: bool, work: impl FnOnce(&mut Link)) -> Forked {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let (own, before) = (std::process::id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| match std::process::id() == own {
            true => before(info),
            // The harness would keep it for itself, in the child's memory.
            false => say_on_stderr(&format!("in a forked child: {info}\n")),
        }));
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    // SAFETY: the child runs only `work`, with this thread alone, and ends without leaving it.
    match unsafe { libc::fork() } {
        0 => {
            if dies_with_parent {
                // SAFETY: it has no pointers.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drop(ours);
                theirs.set_read_timeout(Some(4 * PATIENCE)).unwrap();
                work(&mut Link(theirs));
            }));
            // SAFETY: it ends this process, without what the harness would do.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            Forked { pid, link: Link(ours), is_over: false }
        }
    }
}

impl Forked {
    /// Waits until it ends well.
    fn end(mut self) {
        let code = self.wait();
        assert_eq!(code, Some(0), "the forked child has failed");
    }

    fn kill(mut self) {
        kill(self.pid, libc::SIGKILL);
        assert_eq!(self.wait(), None);
    }

    /// Its exit code; `None` when it was killed.
    fn wait(&mut self) -> Option<i32> {
        self.wait_for(PATIENCE)
    }

    fn wait_for(&mut self, patience: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: the status outlives the call.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) };
            if pid == self.pid {
                self.is_over = true;
                return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            }
            assert_eq!(pid, 0, "{}", std::io::Error::last_os_error());
            assert!(start.elapsed() < patience, "the forked child hangs");
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if !self.is_over {
            kill(self.pid, libc::SIGKILL);
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }
}

fn kill(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: it has no pointers; the process is one that this test has started and not waited for.
    unsafe { libc::kill(pid, signal) };
}

/// An orphan, which nobody waits for; killed at the end.
struct Orphan(i32);

impl Orphan {
    fn end(self) {}
}

impl Drop for Orphan {
    fn drop(&mut self) {
        kill(self.0, libc::SIGKILL);
        let start = Instant::now();
        while start.elapsed() < PATIENCE
            && std::fs::read_to_string(format!("/proc/{}/stat", self.0))
                .is_ok_and(|stat| !stat.contains(") Z"))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn idle() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn is_root() -> bool {
    // SAFETY: it has no arguments.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        println!("skipped: it needs root");
    }
    is_root
}

fn become_nobody() {
    // SAFETY: an empty list has no pointer.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: it has no pointers.
    assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
    // SAFETY: it has no pointers.
    assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
}

// ---- programs ----

const ROLE: &str = "MAPLEAF_SHARING_CHILD";
const PASSED: RawFd = 77;

/// Does nothing unless a test below has started it.
#[test]
fn child() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let mut child = Obedient::default();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match child.obey(&words) {
            // In one piece, apart from what the test harness says.
            Ok(said) => println!("\n@ok {said}"),
            Err(error) => println!("\n@error {error:?}"),
        }
        std::io::stdout().flush().unwrap();
    }
}

#[derive(Default)]
struct Obedient {
    turn: Option<WriteTxn>,
    pinned: Vec<(ReadTxn, u64)>,
    db: Option<Database>,
}

impl Obedient {
    fn obey(&mut self, words: &[&str]) -> mapleaf::Result<String> {
        let number = || words[1].parse::<u64>().unwrap();
        match words[0] {
            "open" => self.db = Some(try_open(&Options::new().dirty_limit(1 << 20), Path::new(words[1]))?),
            "read" => self.db = Some(try_open(&Options::new().read_only(true), Path::new(words[1]))?),
            "name" => {
                // SAFETY: the store is the test's own.
                self.db = Some(unsafe { Options::new().shared_memory(words[1])? });
            }
            "from_fd" => {
                // SAFETY: the descriptor was passed for this, and is nobody else's in this process.
                let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(PASSED) };
                // SAFETY: the file is the test's own.
                self.db = Some(unsafe { Database::from_fd(fd)? });
            }
            "import" => {
                // SAFETY: the descriptor was passed for this.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(PASSED) };
                // SAFETY: the file is the test's own.
                let snapshot = unsafe { ReadTxn::import(fd)? };
                let digest = digest(&snapshot);
                self.pinned.push((snapshot, digest));
                return Ok(digest.to_string());
            }
            "close" => {
                self.pinned.clear();
                self.db.take().unwrap().close()?;
            }
            "add" => (0..number()).try_for_each(|_| add(self.db()))?,
            "churn" => churn(self.db(), number()),
            "get" => return Ok(counter(self.db()).to_string()),
            "turn" => {
                self.turn = self.db().try_begin_write()?;
                return Ok(if self.turn.is_some() { "mine" } else { "taken" }.into());
            }
            "scribble" => {
                let w = self.turn.as_mut().unwrap();
                (0..2000).try_for_each(|key| w.put(ROWS, &key, &[9; 2000]).map(drop))?;
            }
            "commit" => self.turn.take().unwrap().commit()?,
            "abort" => drop(self.turn.take()),
            "pin" => {
                let r = self.db().begin_read()?;
                let digest = digest(&r);
                self.pinned.push((r, digest));
            }
            "check" => self.pinned.iter().for_each(|(r, before)| assert_eq!(digest(r), *before)),
            "unpin" => self.pinned.clear(),
            "readers" => return Ok(self.db().readers()?.len().to_string()),
            "reap" => return Ok(self.db().reap()?.to_string()),
            "verify" => assert_clean(self.db()),
            "wait" => {
                let timeout = Duration::from_millis(words[2].parse().unwrap());
                return Ok(format!("{:?}", self.db().wait_for_commit(number(), Some(timeout))?));
            }
            other => panic!("{other}"),
        }
        Ok(String::new())
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }
}

/// This program, obeying.
struct Process {
    child: Child,
    input: Option<UnixStream>,
    output: BufReader<UnixStream>,
}

impl Process {
    fn start() -> Self {
        Self::start_with(None)
    }

    /// One that inherits a descriptor.
    fn start_with(passed: Option<RawFd>) -> Self {
        let (input, their_input) = UnixStream::pair().unwrap();
        let (output, their_output) = UnixStream::pair().unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, "obey")
            .stdin(Stdio::from(OwnedFd::from(their_input)))
            .stdout(Stdio::from(OwnedFd::from(their_output)));
        if let Some(fd) = passed {
            let pass = move || {
                // SAFETY: it has no pointers; nothing else has this number so early in the child.
                match unsafe { libc::dup2(fd, PASSED) } {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                }
            };
            // SAFETY: one system call.
            unsafe { command.pre_exec(pass) };
        }
        let child = command.spawn().unwrap();
        drop(command);
        Process { child, input: Some(input), output: BufReader::new(output) }
    }

    fn opened(path: &Path) -> Self {
        let mut process = Process::start();
        process.obey(&format!("open {}", path.display()));
        process
    }

    fn say(&mut self, what: &str) {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let got = self.output.read_line(&mut line).expect("it does not hang");
            assert!(got > 0, "it has ended: {:?}", self.child.wait());
            if let Some(said) = line.strip_prefix('@') {
                return said.trim_end().to_owned();
            }
        }
    }

    fn tell(&mut self, what: &str) -> String {
        self.say(what);
        self.hear()
    }

    /// Has it do something that goes well, and returns what it says.
    fn obey(&mut self, what: &str) -> String {
        let said = self.tell(what);
        said.strip_prefix("ok").unwrap_or_else(|| panic!("{what}: {said}")).trim_start().to_owned()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- places ----

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Place(directory)
    }

    /// With a store that is closed.
    fn filled() -> Self {
        let place = Place::new();
        fill(&place.open());
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.at("a.maple")
    }

    fn open(&self) -> Database {
        open(&Options::new(), &self.file())
    }

    fn len(&self) -> u64 {
        std::fs::metadata(self.file()).unwrap().len()
    }
}

fn is_forked<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Forked))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// ---- forks ----

#[test]
fn a_forked_child_reads_and_waits_its_turn_beside_the_txn_that_its_parent_has_begun() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let before = digest(&db.begin_read().unwrap());
    let mut w = db.begin_write().unwrap();
    w.put(COUNTER, "n", &5).unwrap();
    let mut child = fork(|link| {
        assert_eq!(digest(&db.begin_read().unwrap()), before);
        assert!(db.try_begin_write().unwrap().is_none());
        let soon = Instant::now() + Duration::from_millis(30);
        assert!(db.begin_write_deadline(soon).unwrap().is_none());
        link.say(1);
        // It waits in here, as another process does.
        add(&db).unwrap();
        assert_eq!(counter(&db), 6);
        link.say(2);
    });
    assert_eq!(child.link.hear(), 1);
    std::thread::sleep(Duration::from_millis(50));
    w.commit().unwrap();
    assert_eq!(child.link.hear(), 2);
    child.end();
    assert_eq!(counter(&db), 6);
    assert_clean(&db);
}

#[test]
fn a_child_goes_on_where_its_parent_was_in_a_snapshot_that_the_parent_lets_go() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let value = |i: u64| vec![i as u8; 700];
    db.write(|w| (0..2000).try_for_each(|i| w.put(ROWS, &i, &value(i)).map(drop))).unwrap();
    let r = db.begin_read().unwrap();
    let expected: Vec<_> =
        r.iter(ROWS).unwrap().map(|entry| entry.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
    let (mut forwards, mut both) = (r.iter(ROWS).unwrap(), r.iter(ROWS).unwrap());
    (0..2).for_each(|_| drop((forwards.next(), both.next(), both.next_back())));
    let mut child = fork(|link| {
        link.say(1);
        link.hear();
        let rest: Vec<_> = forwards.map(|entry| entry.unwrap()).map(|(k, v)| (k, v.to_vec())).collect();
        assert!(rest == expected[2..]);
        let keys: Vec<u64> = expected.iter().rev().step_by(3).map(|(key, _)| *key).collect();
        let values = expected.iter().rev().step_by(3).map(|(_, value)| Some(&value[..]));
        assert!(r.get_many(ROWS, &keys).unwrap().into_iter().eq(values));
        let mut ends = (2, expected.len() - 2);
        while ends.0 < ends.1 {
            assert!(both.next_back().unwrap().unwrap().0 == expected[ends.1 - 1].0);
            ends.1 -= 1;
            if ends.0 < ends.1 {
                assert!(both.next().unwrap().unwrap().0 == expected[ends.0].0);
                ends.0 += 1;
            }
        }
        assert!(both.next().is_none() && both.next_back().is_none());
    });
    assert_eq!(child.link.hear(), 1);
    drop(r);
    for round in 0..6 {
        db.write(|w| (0..2000).try_for_each(|i| w.put(ROWS, &i, &value(i + round + 1)).map(drop))).unwrap();
    }
    child.link.say(1);
    child.end();
    assert_clean(&db);
}

#[test]
fn a_write_txn_is_nobodys_in_the_child_and_untouched_in_the_parent() {
    let _alone = alone();
    let place = Place::filled();
    let db = open(&Options::new().dirty_limit(1 << 20), &place.file());
    for ends in ["drop", "commit", "ticket", "abort", "exit"] {
        let before = counter(&db);
        let mut begun = Some(db.begin_write().unwrap());
        let w = begun.as_mut().unwrap();
        w.put(COUNTER, "n", &(before + 1)).unwrap();
        // Much of it is written early.
        (0..3000).for_each(|key| assert!(!w.put(ROWS, &(1000 + key), &[7; 1000]).unwrap()));
        let savepoint: Savepoint = w.savepoint();
        let child = fork(|_| {
            let w = begun.as_mut().unwrap();
            assert!(is_forked(w.put(COUNTER, "n", &99)), "{ends}");
            assert!(is_forked(w.put_new(COUNTER, "m", &99)));
            assert!(is_forked(w.get(COUNTER, "n")), "get of what was changed");
            assert!(is_forked(w.get(ROWS, &1)), "get of what was not");
            assert!(is_forked(w.get(ROWS, &1001)), "get of what was written early");
            assert!(is_forked(w.get_many(ROWS, &[1, 1001])), "many keys");
            assert!(is_forked(w.delete(ROWS, &1)));
            assert!(is_forked(w.raw_put("rows", b"x", b"y")));
            assert!(is_forked(w.raw_delete("rows", b"x")));
            assert!(is_forked(w.create_table("new", &Schema::bytes())));
            assert!(is_forked(w.drop_table("rows")));
            assert!(is_forked(w.rename_table("rows", "lines")));
            assert!(is_forked(w.tables()));
            assert!(is_forked(w.first(ROWS)));
            assert!(
                w.iter(ROWS)
                    .and_then(|rows| rows.collect::<Result<Vec<_>, _>>())
                    .is_err_and(|error| matches!(error, Error::Forked))
            );
            assert!(is_forked(w.rollback_to(savepoint)));
            let w = begun.take().unwrap();
            match ends {
                "drop" => drop(w),
                "commit" => assert!(is_forked(w.commit())),
                "ticket" => assert!(is_forked(w.commit_ticket())),
                "abort" => w.abort(),
                _ => {}
            }
            assert_eq!(counter(&db), before);
            assert!(db.try_begin_write().unwrap().is_none(), "it is still the parent's turn");
        });
        child.end();
        assert!(Process::opened(&place.file()).obey("turn") == "taken", "{ends}");
        let mut w = begun.unwrap();
        assert_eq!(w.get(COUNTER, "n").unwrap(), Some(before + 1));
        (0..3000).for_each(|key| assert!(w.delete(ROWS, &(1000 + key)).unwrap()));
        w.commit().unwrap();
        assert_eq!(counter(&db), before + 1, "{ends}");
        assert_clean(&db);
    }
}

#[test]
fn an_empty_write_txn_cannot_be_committed_in_the_child() {
    let _alone = alone();
    let db = Database::in_memory().unwrap();
    fill(&db);
    let mut w = Some(db.begin_write().unwrap());
    fork(|_| assert!(is_forked(w.take().unwrap().commit()))).end();
    w.unwrap().commit().unwrap();
}

/// More than fit into one block of slots, and of many txns.
#[test]
fn snapshots_of_the_parent_stay_whole_in_the_child_when_the_parent_lets_them_go() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let mut snapshots: Vec<(ReadTxn, u64)> = Vec::new();
    for _ in 0..150 {
        churn(&db, 1);
        let r = db.begin_read().unwrap();
        let digest = digest(&r);
        snapshots.push((r, digest));
    }
    let mut child = fork(|link| {
        link.say(0);
        link.hear();
        snapshots.iter().for_each(|(r, before)| assert_eq!(digest(r), *before, "{r:?}"));
        // Also after the newest have been let go, and one's own store was opened.
        snapshots.truncate(10);
        churn(&db, 30);
        link.say(1);
        link.hear();
        snapshots.iter().for_each(|(r, before)| assert_eq!(digest(r), *before, "{r:?}"));
    });
    child.link.hear();
    drop(snapshots);
    churn(&db, 150);
    let mut other = Process::opened(&place.file());
    other.obey("churn 100");
    assert!(db.readers().unwrap().len() >= 150);
    child.link.say(0);
    child.link.hear();
    other.obey("churn 100");
    churn(&db, 50);
    assert_eq!(db.readers().unwrap().len(), 10);
    child.link.say(0);
    child.end();
    db.reap().unwrap();
    assert!(db.readers().unwrap().is_empty());
    assert_clean(&db);
}

#[test]
fn a_child_that_ends_releases_nothing_of_its_parents() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let mut other = Process::opened(&place.file());
    for (way, kills) in
        [("touches nothing", false), ("touches nothing", true), ("uses it", false), ("uses it", true)]
    {
        let mut kept = vec![db.begin_read().unwrap()];
        let before = digest(&kept[0]);
        let turn = db.begin_write().unwrap();
        let mut handle = Some(db.clone());
        let mut child = fork(|link| {
            if way == "uses it" {
                let own = db.begin_read().unwrap();
                assert_eq!(digest(&kept[0]), before);
                if !kills {
                    drop(own);
                    kept.clear();
                    drop(handle.take());
                }
            }
            link.say(0);
            if kills {
                idle();
            }
        });
        child.link.hear();
        if kills {
            child.kill()
        } else {
            child.end()
        }
        assert_eq!(other.obey("turn"), "taken", "{way}, {kills}");
        drop(turn);
        other.obey("reap");
        other.obey("churn 150");
        assert_eq!(digest(&kept[0]), before, "{way}, {kills}");
    }
    drop(other);
    assert_clean(&db);
}

/// The arrangement for a parent that is killed: an intermediate process which opens the store and forks a child that
/// lives on.
#[test]
fn an_idle_child_of_a_killed_writer_keeps_neither_its_turn_nor_its_later_snapshots() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let mut middle = fork(|link| {
        let db = open(&Options::new().dirty_limit(1 << 20), &path);
        let inherited = db.begin_read().unwrap();
        let mut w = db.begin_write().unwrap();
        (0..2000).try_for_each(|key| w.put(ROWS, &key, &[9; 2000]).map(drop)).unwrap();
        let idle = fork_with(false, |_| idle());
        link.say(idle.pid as u64);
        let later: Vec<ReadTxn> = (0..5).map(|_| db.begin_read().unwrap()).collect();
        link.say(later.len() as u64);
        link.hear();
        drop((inherited, w, idle));
    });
    let orphan = Orphan(middle.link.hear() as i32);
    middle.link.hear();
    let mut other = Process::opened(&path);
    assert_eq!(other.obey("turn"), "taken");
    assert_eq!(other.obey("readers"), "7");
    middle.kill();
    assert_eq!(other.obey("turn"), "mine", "at once");
    other.obey("commit");
    other.obey("reap");
    // What was held at the fork is the child's as well.
    assert_eq!(other.obey("readers"), "1");
    other.obey("churn 100");
    orphan.end();
    other.obey("reap");
    assert_eq!(other.obey("readers"), "0");
    other.obey("verify");
    other.end();
    assert_eq!(
        open(&Options::new().read_only(true), &path).begin_read().unwrap().len(ROWS).unwrap(),
        ROW_COUNT
    );
}

/// Holds an operation of the store up.
#[derive(Default)]
struct Gate {
    armed: AtomicBool,
    reached: AtomicBool,
}

impl Observer for Gate {
    fn before(&self, op: &Op<'_>) -> Verdict {
        if matches!(op, Op::Sync { .. }) && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.store(true, Ordering::SeqCst);
            // A fork may wait for it, or not.
            std::thread::sleep(Duration::from_secs(2));
        }
        Verdict::Proceed
    }
}

fn fork_while_another_thread_is_at_it(when: &str) {
    let place = Place::filled();
    let path = if when == "creates" { place.at("blank") } else { place.file() };
    if when == "creates" {
        std::fs::File::create(&path).unwrap();
    }
    let mut middle = fork(|link| {
        let gate = Arc::new(Gate::default());
        let options = Options::new().observer(gate.clone());
        let path = path.clone();
        let armed = Arc::clone(&gate);
        let closes = when == "closes";
        std::thread::spawn(move || {
            armed.armed.store(!closes, Ordering::SeqCst);
            let db = open(&options, &path);
            churn(&db, 10);
            if !closes {
                std::thread::sleep(4 * PATIENCE);
            }
            armed.armed.store(true, Ordering::SeqCst);
            drop(db);
        });
        wait_until("the thread comes to the gate", || gate.reached.load(Ordering::SeqCst));
        let idle = fork_with(false, |_| idle());
        link.say(idle.pid as u64);
        link.hear();
    });
    let orphan = Orphan(middle.link.hear() as i32);
    middle.kill();
    let mut other = Process::opened(&path);
    other.obey("add 1");
    other.end();
    orphan.end();
}

#[test]
fn an_idle_child_forked_while_another_thread_opens_a_store_locks_nobody_out() {
    let _alone = alone();
    fork_while_another_thread_is_at_it("creates");
}

#[test]
fn an_idle_child_forked_while_another_thread_closes_a_store_locks_nobody_out() {
    let _alone = alone();
    fork_while_another_thread_is_at_it("closes");
}

#[test]
fn grandchildren_read_the_snapshots_of_all_their_ancestors() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let eldest = db.begin_read().unwrap();
    let before = digest(&eldest);
    let mut eldest = Some(eldest);
    let mut child = fork(|link| {
        churn(&db, 5);
        let middle = db.begin_read().unwrap();
        let before_middle = digest(&middle);
        churn(&db, 5);
        let mut both = Some((eldest.take().unwrap(), middle));
        let mut grandchild = fork(|link| {
            link.hear();
            let (eldest, middle) = both.as_ref().unwrap();
            assert_eq!((digest(eldest), digest(middle)), (before, before_middle));
            add(&db).unwrap();
            let own = db.begin_read().unwrap();
            let before_own = digest(&own);
            let mut last = fork(|link| {
                link.hear();
                let (eldest, middle) = both.as_ref().unwrap();
                assert_eq!([eldest, middle, &own].map(digest), [before, before_middle, before_own]);
                add(&db).unwrap();
            });
            both = None;
            churn(&db, 60);
            last.link.say(0);
            last.end();
            assert_eq!(digest(&own), before_own);
        });
        both = None;
        churn(&db, 60);
        link.say(1);
        link.hear();
        grandchild.link.say(0);
        grandchild.end();
        drop(both);
    });
    child.link.hear();
    eldest = None;
    churn(&db, 100);
    child.link.say(0);
    child.end();
    drop(eldest);
    assert_eq!(counter(&db), 2);
    db.reap().unwrap();
    assert!(db.readers().unwrap().is_empty());
    assert_clean(&db);
}

/// Threads that read, commit, and open and close another store, all the time.
#[test]
fn fifty_children_forked_among_busy_threads_find_everything_in_order() {
    let _alone = alone();
    let (place, aside) = (Place::filled(), Place::filled());
    let db = place.open();
    let held = db.begin_read().unwrap();
    let before = digest(&held);
    let is_over = AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let mut begun = Ok(());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while goes_on() {
                churn(&db, 1);
            }
        });
        threads.spawn(|| {
            while goes_on() {
                let many: Vec<ReadTxn> = (0..70).map(|_| db.begin_read().unwrap()).collect();
                many.iter().for_each(|r| assert!(r.get(ROWS, &7).unwrap().is_some()));
            }
        });
        threads.spawn(|| {
            while goes_on() {
                add(&aside.open()).unwrap();
            }
        });
        begun = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..50 {
                let child = fork(|_| {
                    assert_eq!(digest(&held), before);
                    let own = db.begin_read().unwrap();
                    let before_own = digest(&own);
                    add(&db).unwrap();
                    add(&aside.open()).unwrap();
                    assert_eq!(digest(&own), before_own);
                });
                child.end();
            }
        }));
        is_over.store(true, Ordering::SeqCst);
    });
    begun.unwrap();
    assert_eq!(counter(&db), 50);
    assert_eq!(digest(&held), before);
    drop(held);
    db.reap().unwrap();
    assert!(db.readers().unwrap().is_empty());
    assert_clean(&db);
    assert_clean(&aside.open());
}

#[test]
fn a_snapshot_that_another_thread_was_beginning_at_the_fork_is_whole_in_the_child_or_refused() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let shared: Mutex<Option<(ReadTxn, u64)>> = Mutex::new(None);
    let is_over = AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let seen = AtomicUsize::new(0);
    let mut outcome = Ok(());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while goes_on() {
                churn(&db, 1);
            }
        });
        threads.spawn(|| {
            while goes_on() {
                let mut shared = shared.lock().unwrap();
                *shared = None;
                let r = db.begin_read().unwrap();
                let rounds = r.get(COUNTER, "churn").unwrap().unwrap_or(0);
                *shared = Some((r, rounds));
                drop(shared);
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                let mut child = fork(|link| {
                    let found = shared.try_lock().ok();
                    link.hear();
                    let Some(Some((r, rounds))) = found.as_deref() else { return };
                    match r.get(COUNTER, "churn") {
                        Err(Error::Forked) => {}
                        got => {
                            assert_eq!(got.unwrap().unwrap_or(0), *rounds, "{r:?}");
                            digest(r);
                            link.say(1);
                        }
                    }
                });
                // Meanwhile its pages may be used again.
                let now = counter_of_churn(&db);
                wait_until("commits come", || counter_of_churn(&db) > now + 12);
                child.link.say(0);
                let mut said = [0; 8];
                seen.fetch_add(usize::from(child.link.0.read_exact(&mut said).is_ok()), Ordering::SeqCst);
                child.end();
            }
        }));
        is_over.store(true, Ordering::SeqCst);
    });
    outcome.unwrap();
    assert!(seen.load(Ordering::SeqCst) > 0, "some are inherited");
    drop(shared);
    assert_clean(&db);
}

fn counter_of_churn(db: &Database) -> u64 {
    db.begin_read().unwrap().get(COUNTER, "churn").unwrap().unwrap_or(0)
}

#[test]
fn stores_without_a_name_are_shared_across_a_fork() {
    let _alone = alone();
    for db in [Database::in_memory().unwrap(), Database::temporary().unwrap()] {
        fill(&db);
        let held = db.begin_read().unwrap();
        let before = digest(&held);
        let mut held = Some(held);
        let mut child = fork(|link| {
            (0..50).for_each(|_| add(&db).unwrap());
            link.say(0);
            link.hear();
            assert_eq!(digest(held.as_ref().unwrap()), before);
            assert_eq!(counter(&db), 100);
            let turn = db.begin_write().unwrap();
            link.say(0);
            link.hear();
            drop(turn);
        });
        (0..50).for_each(|_| add(&db).unwrap());
        child.link.hear();
        assert_eq!(counter(&db), 100, "{db:?}");
        held = None;
        churn(&db, 150);
        child.link.say(0);
        child.link.hear();
        assert!(db.try_begin_write().unwrap().is_none());
        child.kill();
        drop(db.try_begin_write().unwrap().expect("at once"));
        churn(&db, 50);
        assert_clean(&db);
        drop(held);
    }
}

#[test]
fn a_store_without_a_name_lives_on_in_a_child_whose_parent_was_killed() {
    let _alone = alone();
    for in_memory in [true, false] {
        let (mut there, here) = UnixStream::pair().unwrap();
        there.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut middle = fork(|link| {
            let db = if in_memory { Database::in_memory().unwrap() } else { Database::temporary().unwrap() };
            fill(&db);
            let mut w = db.begin_write().unwrap();
            w.put(COUNTER, "n", &77).unwrap();
            let heir = fork_with(false, |_| {
                let mut link = Link(here.try_clone().unwrap());
                link.hear();
                add(&db).unwrap();
                churn(&db, 30);
                assert_clean(&db);
                link.say(counter(&db));
                idle();
            });
            link.say(heir.pid as u64);
            link.hear();
            drop((w, heir));
        });
        let orphan = Orphan(middle.link.hear() as i32);
        middle.kill();
        there.write_all(&[0; 8]).unwrap();
        assert_eq!(Link(there).hear(), 1, "in memory: {in_memory}");
        orphan.end();
    }
}

#[test]
fn a_ticket_is_the_parents_to_wait_for() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    // Behind these, commits are logged.
    (0..10).for_each(|_| db.write(|w| w.put(COUNTER, "n", &0).map(drop)).unwrap());
    (0..10).for_each(|i| db.write(|w| w.put(COUNTER, "m", &i).map(drop)).unwrap());
    assert!(db.counters().logged_commits > 0);
    let hand_over = || -> Ticket {
        let mut w = db.begin_write().unwrap();
        let old = w.get(COUNTER, "n").unwrap().unwrap();
        w.put(COUNTER, "n", &(old + 1)).unwrap();
        w.commit_ticket().unwrap()
    };
    let mut ticket = Some(hand_over());
    fork(|_| assert!(is_forked(ticket.take().unwrap().wait()), "nobody has flushed it")).end();
    fork(|_| drop(ticket.take())).end();
    assert_eq!(counter(&db), 0);
    fork(|_| add(&db).unwrap()).end();
    assert_eq!(counter(&db), 2, "the child's commit was built on it");
    ticket.take().unwrap().wait().unwrap();
    let mut ticket = Some(hand_over());
    let mut child = fork(|link| {
        link.hear();
        // How it has ended is to be seen.
        assert!(ticket.as_ref().unwrap().is_done());
        ticket.take().unwrap().wait().unwrap();
    });
    ticket.take().unwrap().wait().unwrap();
    child.link.say(0);
    child.end();
    assert_eq!(counter(&db), 3);
    assert_clean(&db);
}

#[test]
fn parent_and_child_count_together_and_lose_nothing() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let children: Vec<Forked> = (0..4).map(|_| fork(|_| (0..100).for_each(|_| add(&db).unwrap()))).collect();
    (0..100).for_each(|_| add(&db).unwrap());
    children.into_iter().for_each(Forked::end);
    assert_eq!(counter(&db), 500);
    assert_clean(&db);
}

#[test]
fn a_child_that_closes_last_leaves_nothing_to_replay() {
    let _alone = alone();
    for closes in [true, false] {
        let place = Place::filled();
        let path = place.file();
        let (mut there, here) = UnixStream::pair().unwrap();
        there.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut middle = fork(|link| {
            let mut db = Some(open(&Options::new(), &path));
            let mut held = Some(db.as_ref().unwrap().begin_read().unwrap());
            add(db.as_ref().unwrap()).unwrap();
            let heir = fork_with(false, |_| {
                let mut link = Link(here.try_clone().unwrap());
                link.hear();
                add(db.as_ref().unwrap()).unwrap();
                held = None;
                match closes {
                    true => db.take().unwrap().close().unwrap(),
                    false => drop(db.take()),
                }
                link.say(1);
                idle();
            });
            link.say(heir.pid as u64);
            link.hear();
            drop((held, heir));
        });
        let orphan = Orphan(middle.link.hear() as i32);
        middle.kill();
        there.write_all(&[0; 8]).unwrap();
        Link(there).hear();
        // It would say that there is a log.
        let mut reader = Process::start();
        reader.obey(&format!("read {}", path.display()));
        assert_eq!(reader.obey("get"), "2", "closes: {closes}");
        orphan.end();
    }
}

#[test]
fn a_child_without_descriptors_left_is_refused_and_does_no_harm() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let limited = fork(|_| {
        let db = open(&Options::new(), &path);
        let held = db.begin_read().unwrap();
        let before = digest(&held);
        let w = db.begin_write().unwrap();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit outlives the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
        let link = UnixStream::pair().unwrap();
        let all = limit.rlim_cur;
        limit.rlim_cur = 3;
        // The link of the child itself needs two: so it is forked by hand.
        // SAFETY: the limit outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        // SAFETY: the child runs on this thread alone and ends here.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                assert!(is_forked(held.get(ROWS, &1)));
                let error = db.begin_read().unwrap_err();
                assert!(matches!(error, Error::Io { .. }), "{error:?}");
            }));
            // SAFETY: it ends this process.
            unsafe { libc::_exit(i32::from(done.is_err())) };
        }
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        limit.rlim_cur = all;
        // SAFETY: the limit outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        assert_eq!(status, 0);
        drop(link);
        let mut other = Process::opened(&path);
        assert_eq!(other.obey("turn"), "taken");
        drop(w);
        other.obey("churn 100");
        assert_eq!(digest(&held), before);
        // With descriptors again it works.
        fork(|_| assert_eq!(digest(&held), before)).end();
    });
    limited.end();
}

#[test]
fn a_child_hands_on_a_snapshot_that_it_has_inherited() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let mut held = Some(db.begin_read().unwrap());
    let before = digest(held.as_ref().unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let child = fork(|_| send_fd(&theirs, held.as_ref().unwrap().export("by the child").unwrap().as_fd()));
    let exported = receive_fd(&ours);
    child.end();
    held = None;
    churn(&db, 150);
    assert_eq!(digest(&import(&exported)), before);
    assert_eq!(db.readers().unwrap()[0].label, "by the child");
    drop((exported, held));
    db.reap().unwrap();
    assert!(db.readers().unwrap().is_empty());
}

#[test]
fn programs_that_are_started_keep_nothing_open() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let mut middle = fork(|link| {
        let db = open(&Options::new(), &path);
        let held = db.begin_read().unwrap();
        let w = db.begin_write().unwrap();
        for forks in [true, false] {
            let mut command = Command::new("sleep");
            command.arg("30").stdin(Stdio::null());
            if forks {
                // SAFETY: it does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            link.say(u64::from(command.spawn().unwrap().id()));
        }
        link.hear();
        drop((held, w));
    });
    let programs = [(); 2].map(|()| Orphan(middle.link.hear() as i32));
    middle.kill();
    let mut other = Process::opened(&path);
    assert_eq!(other.obey("turn"), "mine");
    other.obey("abort");
    assert_eq!(other.obey("readers"), "0", "a new session has begun");
    drop(programs);
}

// ---- the same file by many names ----

#[test]
fn all_names_of_a_file_are_one_store_in_a_process() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    std::fs::create_dir(place.at("sub")).unwrap();
    std::fs::hard_link(place.file(), place.at("b.maple")).unwrap();
    std::fs::hard_link(place.file(), place.at("sub/c.maple")).unwrap();
    std::os::unix::fs::symlink(place.file(), place.at("sub/d.maple")).unwrap();
    let mut other = Process::opened(&place.file());
    let names = ["b.maple", "sub/c.maple", "sub/d.maple", "sub/../a.maple", "descriptor", "share"];
    for name in names {
        let again = match name {
            // SAFETY: the file is the test's own.
            "descriptor" => unsafe {
                Database::from_fd(
                    std::fs::File::options().read(true).write(true).open(place.file()).unwrap().into(),
                )
            }
            .unwrap(),
            // SAFETY: the file is the test's own.
            "share" => unsafe { Database::from_fd(db.share().unwrap()) }.unwrap(),
            name => open(&Options::new(), &place.at(name)),
        };
        let before = counter(&db);
        add(&again).unwrap();
        assert_eq!(counter(&db), before + 1, "{name}");
        let held = again.begin_read().unwrap();
        let digest_before = digest(&held);
        let w = db.begin_write().unwrap();
        assert!(again.try_begin_write().unwrap().is_none(), "{name}");
        drop(again);
        drop(std::fs::read(place.file()).unwrap());
        drop(std::fs::read(place.at("a.maple-lock")).unwrap());
        assert_eq!(other.obey("turn"), "taken", "{name}");
        drop(w);
        other.obey("churn 60");
        assert_eq!(digest(&held), digest_before, "{name}");
        let read_only = open(&Options::new().read_only(true), &place.at("b.maple"));
        assert_eq!(counter(&read_only), before + 1);
        let w = db.begin_write().unwrap();
        drop(read_only);
        assert_eq!(other.obey("turn"), "taken", "a handle for reading was closed");
        drop(w);
    }
    assert_clean(&db);
}

/// Both see each other's commits and snapshots, and exclude each other.
fn assert_together(a: &mut Process, b: &mut Process, what: &str) {
    for (one, two) in [(0, 1), (1, 0)] {
        let both = [&mut *a, &mut *b];
        let before: u64 = both[one].obey("get").parse().unwrap();
        both[one].obey("add 1");
        assert_eq!(both[two].obey("get"), (before + 1).to_string(), "{what}");
        assert_eq!(both[one].obey("turn"), "mine", "{what}");
        assert_eq!(both[two].obey("turn"), "taken", "{what}");
        both[one].obey("abort");
        both[one].obey("pin");
        assert_eq!(both[two].obey("readers"), "1", "{what}");
        both[two].obey("churn 12");
        both[one].obey("check");
        both[one].obey("unpin");
    }
}

#[test]
fn a_second_process_finds_the_session_by_any_name() {
    let _alone = alone();
    let place = Place::filled();
    std::fs::create_dir(place.at("sub")).unwrap();
    std::fs::hard_link(place.file(), place.at("b.maple")).unwrap();
    std::fs::hard_link(place.file(), place.at("sub/c.maple")).unwrap();
    std::os::unix::fs::symlink("../b.maple", place.at("sub/d.maple")).unwrap();
    let names = ["a.maple", "b.maple", "sub/c.maple", "sub/d.maple"];
    // Every pair, each with the lock files that those before have left.
    for first in names {
        for second in names {
            let mut a = Process::opened(&place.at(first));
            let mut b = Process::opened(&place.at(second));
            assert_together(&mut a, &mut b, &format!("{first}, {second}"));
            a.end();
            // Who is left has the same session still.
            let mut c = Process::opened(&place.at(first));
            assert_together(&mut b, &mut c, &format!("{second}, {first}"));
            if first == "b.maple" { b.kill() } else { b.end() }
        }
    }
    assert_clean(&place.open());
}

#[test]
fn a_second_process_finds_the_session_of_a_file_that_was_renamed() {
    let _alone = alone();
    for moves in ["file", "file into directory", "directory"] {
        let place = Place::new();
        std::fs::create_dir(place.at("old")).unwrap();
        let mut first = Process::opened(&place.at("old/a.maple"));
        first.obey("add 1");
        let new = match moves {
            "file" => ("old/a.maple", "old/b.maple", "old/b.maple"),
            "file into directory" => {
                std::fs::create_dir(place.at("new")).unwrap();
                ("old/a.maple", "new/a.maple", "new/a.maple")
            }
            _ => ("old", "new", "new/a.maple"),
        };
        std::fs::rename(place.at(new.0), place.at(new.1)).unwrap();
        let mut second = Process::opened(&place.at(new.2));
        first.obey("churn 1");
        assert_together(&mut first, &mut second, moves);
        second.obey("pin");
        second.end();
        assert_eq!(first.obey("turn"), "mine");
        first.obey("abort");
        // Forks and shares do not ask for names.
        first.obey("pin");
        first.kill();
        let mut third = Process::opened(&place.at(new.2));
        third.obey("verify");
        assert_eq!(third.obey("get"), "3");
    }
}

#[test]
fn an_old_lock_file_beside_another_link_makes_no_second_session() {
    let _alone = alone();
    let place = Place::filled();
    std::fs::create_dir(place.at("sub")).unwrap();
    for link in ["b.maple", "sub/b.maple"] {
        std::fs::hard_link(place.file(), place.at(link)).unwrap();
        for ends in ["closed", "killed"] {
            // The first session, by the first name, leaves its lock file and the word where it is.
            let mut first = Process::opened(&place.file());
            first.obey("add 1");
            first.obey("pin");
            if ends == "closed" {
                first.end()
            } else {
                first.kill()
            }
            assert!(place.at("a.maple-lock").exists());
            let mut p = Process::opened(&place.at(link));
            p.obey("pin");
            let mut q = Process::opened(&place.file());
            assert_eq!(q.obey("readers"), "1");
            p.obey("unpin");
            assert_together(&mut p, &mut q, link);
            // And with a session of the other name behind it.
            p.end();
            q.end();
            let mut p = Process::opened(&place.file());
            let mut q = Process::opened(&place.at(link));
            assert_together(&mut p, &mut q, link);
            let mut reader = Process::start();
            reader.obey(&format!("read {}", place.at(link).display()));
            reader.obey("pin");
            assert_eq!(p.obey("readers"), "1");
        }
    }
    assert_clean(&place.open());
}

#[test]
fn processes_that_come_and_go_by_two_names_lose_no_commit() {
    let _alone = alone();
    let place = Place::filled();
    std::fs::hard_link(place.file(), place.at("b.maple")).unwrap();
    let paths = [place.file(), place.at("b.maple")];
    let rounds = 40;
    let children: Vec<Forked> = (0..6)
        .map(|i: usize| {
            fork(|_| {
                for round in 0..rounds {
                    let path = &paths[(i + round) % 2];
                    if i == 5 {
                        // Reads only: its sessions begin without locking others out.
                        let db = loop {
                            match try_open(&Options::new().read_only(true), path) {
                                Ok(db) => break db,
                                // The writers may all be over: then somebody must replay it.
                                Err(Error::LogToReplay { .. }) => drop(open(&Options::new(), path)),
                                Err(error) => panic!("{error:?}"),
                            }
                        };
                        let r = db.begin_read().unwrap();
                        let before = digest(&r);
                        std::thread::sleep(Duration::from_millis(1));
                        assert_eq!(digest(&r), before);
                        continue;
                    }
                    let db = open(&Options::new(), path);
                    add(&db).unwrap();
                    let r = db.begin_read().unwrap();
                    let before = digest(&r);
                    add(&db).unwrap();
                    assert_eq!(digest(&r), before);
                }
            })
        })
        .collect();
    children.into_iter().for_each(Forked::end);
    let db = place.open();
    assert_eq!(counter(&db), 5 * 2 * rounds as u64);
    assert_clean(&db);
}

#[test]
fn processes_that_open_a_closed_store_at_the_same_moment_are_together() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    std::fs::hard_link(&path, place.at("b.maple")).unwrap();
    let other = place.at("b.maple");
    for round in 0..25 {
        let ends = round % 2 == 0;
        let mut children: Vec<Forked> = (0..8)
            .map(|i| {
                fork(|link| {
                    let path = if round >= 15 && i % 2 == 1 { &other } else { &path };
                    link.hear();
                    let db = open(&Options::new(), path);
                    add(&db).unwrap();
                    link.say(0);
                    // They all have it open now.
                    link.hear();
                    assert_eq!(counter(&db), (round + 1) * 8);
                    let r = db.begin_read().unwrap();
                    link.say(0);
                    link.hear();
                    // Others list them, too, and pin the newest meanwhile.
                    assert!(db.readers().unwrap().len() >= 8);
                    link.say(0);
                    link.hear();
                    drop(r);
                    if !ends {
                        idle();
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            children.iter_mut().for_each(|child| child.link.say(0));
            children.iter_mut().for_each(|child| assert_eq!(child.link.hear(), 0));
        }
        children.iter_mut().for_each(|child| child.link.say(0));
        children.into_iter().for_each(|child| if ends { child.end() } else { child.kill() });
    }
    let db = place.open();
    assert_eq!(counter(&db), 200);
    assert_clean(&db);
}

/// As programs do that replace a file in one step, and administrators who move one away.
#[test]
fn a_store_that_takes_the_name_of_one_that_is_open_leaves_that_in_peace() {
    let _alone = alone();
    for way in ["renamed over it", "created where it was"] {
        let place = Place::filled();
        let mut old = Process::opened(&place.file());
        old.obey("add 5");
        old.obey("pin");
        match way {
            "renamed over it" => {
                fill(&open(&Options::new(), &place.at("new.maple")));
                std::fs::rename(place.at("new.maple"), place.file()).unwrap();
            }
            _ => std::fs::rename(place.file(), place.at("old.maple")).unwrap(),
        }
        let mut new = Process::opened(&place.file());
        new.obey("add 1");
        new.obey("pin");
        assert_eq!(old.obey("get"), "5", "{way}");
        old.obey("check");
        let mut last = 5;
        if way == "created where it was" {
            // It has another name. (Without one, what is committed would be lost: tests/removed.rs.)
            old.obey("add 1");
            old.obey("churn 50");
            last = 6;
        }
        old.obey("check");
        assert_eq!(old.obey("readers"), "1", "{way}");
        assert_eq!((old.obey("get"), new.obey("get")), (last.to_string(), "1".into()), "{way}");
        new.obey("churn 50");
        new.obey("check");
        new.obey("verify");
        old.obey("verify");
        old.obey("close");
        new.obey("churn 1");
        if way != "renamed over it" {
            assert_eq!(counter(&open(&Options::new(), &place.at("old.maple"))), 6);
        }
    }
}

#[test]
fn a_store_with_the_name_of_a_lock_file_is_not_overwritten() {
    let _alone = alone();
    let place = Place::filled();
    // A store that has such a name.
    let odd = open(&Options::new(), &place.at("a.maple-lock-lock"));
    drop(odd);
    let odd = place.at("c-lock");
    fill(&open(&Options::new(), &odd));
    let refused = try_open(&Options::new(), &place.at("c")).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused}");
    assert_eq!(open(&Options::new(), &odd).begin_read().unwrap().len(ROWS).unwrap(), ROW_COUNT);
}

#[test]
fn without_the_lock_file_in_use_a_second_process_is_refused_and_the_first_goes_on() {
    let _alone = alone();
    for way in ["removed", "copied"] {
        let place = Place::filled();
        let lock = place.at("a.maple-lock");
        let mut first = Process::opened(&place.file());
        first.obey("pin");
        if way == "copied" {
            std::fs::copy(&lock, place.at("copy")).unwrap();
        }
        std::fs::remove_file(&lock).unwrap();
        if way == "copied" {
            std::fs::rename(place.at("copy"), &lock).unwrap();
        }
        for how in ["open", "read"] {
            let mut second = Process::start();
            let said = second.tell(&format!("{how} {}", place.file().display()));
            assert!(said.starts_with("error Busy"), "{way}: {said}");
            second.end();
        }
        first.obey("churn 60");
        first.obey("check");
        first.obey("add 1");
        first.end();
        let mut second = Process::opened(&place.file());
        assert_eq!(second.obey("get"), "1");
        second.obey("verify");
        second.end();
    }
}

// ---- descriptors ----

fn send_fd(to: &UnixStream, fd: std::os::fd::BorrowedFd<'_>) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(rights.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(to, &[IoSlice::new(b"!")], &mut rights, SendFlags::empty()).unwrap();
}

fn receive_fd(from: &UnixStream) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.expect("a descriptor came")
}

fn from_fd(fd: impl Into<OwnedFd>) -> mapleaf::Result<Database> {
    // SAFETY: the files are the test's own.
    unsafe { Database::from_fd(fd.into()) }
}

fn import(fd: impl AsFd) -> ReadTxn {
    // SAFETY: the files are the test's own.
    unsafe { ReadTxn::import(fd) }.unwrap()
}

#[test]
fn a_descriptor_of_the_file_opens_the_store_in_any_process() {
    let _alone = alone();
    let place = Place::filled();
    let file = std::fs::File::options().read(true).write(true).open(place.file()).unwrap();
    for mode in ["alone", "beside another"] {
        let mut beside = (mode != "alone").then(|| Process::opened(&place.file()));
        let mut passed = Process::start_with(Some(file.as_raw_fd()));
        passed.obey("from_fd");
        let mut third = Process::opened(&place.file());
        assert_together(&mut passed, &mut third, mode);
        if let Some(beside) = &mut beside {
            assert_together(&mut passed, beside, mode);
        }
        // Of this one a copy is kept here, and closed: no lock goes with it.
        assert_eq!(passed.obey("turn"), "mine");
        drop(file.try_clone().unwrap());
        assert_eq!(third.obey("turn"), "taken");
    }
    let db = from_fd(file.try_clone().unwrap()).unwrap();
    add(&db).unwrap();
    let read_only = from_fd(std::fs::File::open(place.file()).unwrap()).unwrap();
    assert_eq!(counter(&read_only), counter(&db));
    assert!(matches!(read_only.begin_write(), Err(Error::ReadOnly)));
    drop((db, read_only));
    // Its name is gone: nobody else can find it.
    std::fs::remove_file(place.file()).unwrap();
    let db = from_fd(file).unwrap();
    churn(&db, 10);
    assert_clean(&db);
}

#[test]
fn one_without_any_rights_takes_turns_through_a_shared_descriptor() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    let place = Place::filled();
    let path = place.file();
    let mut poor = fork(|link| {
        become_nobody();
        assert!(std::fs::metadata(&path).is_err());
        let received = receive_fd(&link.0);
        let db = from_fd(received).unwrap();
        link.say(counter(&db));
        (0..200).for_each(|_| add(&db).unwrap());
        let held = db.begin_read().unwrap();
        let before = digest(&held);
        link.say(0);
        link.hear();
        assert_eq!(digest(&held), before);
        let turn = db.begin_write().unwrap();
        link.say(0);
        link.hear();
        drop(turn);
        drop(held);
        churn(&db, 20);
        assert!(db.readers().unwrap().is_empty());
        assert_clean(&db);
        // What it may not do says so.
        assert!(matches!(db.share(), Err(Error::Io { .. })));
        assert!(matches!(db.begin_read().unwrap().export(""), Err(Error::Io { .. })));
        db.close().unwrap();
    });
    let db = place.open();
    add(&db).unwrap();
    send_fd(&poor.link.0, db.share().unwrap().as_fd());
    assert_eq!(poor.link.hear(), 1);
    (0..200).for_each(|_| add(&db).unwrap());
    poor.link.hear();
    assert_eq!(counter(&db), 401);
    churn(&db, 100);
    assert_eq!(db.readers().unwrap().len(), 1);
    poor.link.say(0);
    poor.link.hear();
    assert!(db.try_begin_write().unwrap().is_none());
    poor.link.say(0);
    poor.end();
    assert_clean(&db);
}

#[test]
fn a_shared_descriptor_opens_one_store() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let shared = db.share().unwrap();
    let copy = shared.try_clone().unwrap();
    let mut other = Process::start_with(Some(shared.as_raw_fd()));
    other.obey("from_fd");
    for again in [copy, shared] {
        let error = from_fd(again).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("opened before"), "{error}");
    }
    add(&db).unwrap();
    assert_eq!(other.obey("get"), "1");
    assert_eq!(other.obey("turn"), "mine");
    assert!(db.try_begin_write().unwrap().is_none());
    other.kill();
    // Of two that come at once, one has it.
    let shared = db.share().unwrap();
    let both: Vec<Forked> = (0..2)
        .map(|_| {
            fork(|link| {
                let opened = from_fd(shared.try_clone().unwrap());
                link.say(u64::from(opened.is_ok()));
                opened.into_iter().for_each(|db| add(&db).unwrap());
            })
        })
        .collect();
    let had: u64 = both
        .into_iter()
        .map(|mut one| {
            let had = one.link.hear();
            one.end();
            had
        })
        .sum();
    assert_eq!(had, 1);
    assert_eq!(counter(&db), 2);
}

#[test]
fn a_shared_descriptor_outlives_whoever_has_made_it() {
    let _alone = alone();
    for ends in ["closed", "killed", "killed in its turn"] {
        let place = Place::filled();
        let path = place.file();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut maker = fork(|link| {
            let db = open(&Options::new().dirty_limit(1 << 20), &path);
            add(&db).unwrap();
            send_fd(&theirs, db.share().unwrap().as_fd());
            if ends == "closed" {
                return db.close().unwrap();
            }
            let mut w = db.begin_write().unwrap();
            (0..2000).try_for_each(|key| w.put(ROWS, &key, &[9; 2000]).map(drop)).unwrap();
            if ends == "killed" {
                w.abort();
                add(&db).unwrap();
            }
            link.say(0);
            idle();
        });
        if ends == "closed" {
            maker.end();
        } else {
            maker.link.hear();
            maker.kill();
        }
        let shared = receive_fd(&ours);
        let mut beside = Process::opened(&path);
        let db = from_fd(shared).unwrap();
        let expected = if ends == "killed" { 2 } else { 1 };
        assert_eq!((counter(&db), beside.obey("get")), (expected, expected.to_string()), "{ends}");
        let w = db.begin_write().unwrap();
        assert_eq!(beside.obey("turn"), "taken", "{ends}");
        drop(w);
        beside.obey("add 1");
        assert_eq!(counter(&db), expected + 1);
        assert_clean(&db);
        beside.end();
        db.close().unwrap();
        assert_eq!(counter(&open(&Options::new().read_only(true), &path)), expected + 1, "{ends}");
    }
}

#[test]
fn stores_without_a_name_are_shared_by_descriptor() {
    let _alone = alone();
    for db in [Database::in_memory().unwrap(), Database::temporary().unwrap()] {
        fill(&db);
        let shared = db.share().unwrap();
        let mut other = Process::start_with(Some(shared.as_raw_fd()));
        drop(shared);
        other.obey("from_fd");
        other.obey("add 3");
        other.obey("pin");
        churn(&db, 100);
        other.obey("check");
        assert_eq!(counter(&db), 3);
        assert_eq!(other.obey("turn"), "mine");
        other.obey("scribble");
        assert!(db.try_begin_write().unwrap().is_none());
        other.kill();
        add(&db).unwrap();
        db.reap().unwrap();
        assert!(db.readers().unwrap().is_empty());
        churn(&db, 50);
        assert_clean(&db);
        // It goes on in the other when it is closed here.
        let shared = db.share().unwrap();
        let mut other = Process::start_with(Some(shared.as_raw_fd()));
        drop(shared);
        other.obey("from_fd");
        db.close().unwrap();
        other.obey("churn 20");
        assert_eq!(other.obey("get"), "4");
        other.obey("verify");
        other.obey("close");
    }
}

#[test]
fn descriptors_of_other_things_are_refused_with_a_clear_error() {
    let _alone = alone();
    let place = Place::filled();
    let text = place.at("text");
    std::fs::write(&text, b"hello".repeat(5000)).unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let (pipe, _end) = std::io::pipe().unwrap();
    let read = |path: &str| OwnedFd::from(std::fs::File::open(path).unwrap());
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let refused: [(&str, OwnedFd); 7] = [
        ("a file", std::fs::File::open(&text).unwrap().into()),
        ("a socket", socket.into()),
        ("a listening socket", std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()),
        ("a pipe", pipe.into()),
        ("a directory", read("/tmp")),
        ("a device", null.into()),
        ("/proc", read("/proc/self/status")),
    ];
    let mut unclear = Vec::new();
    for (what, fd) in refused {
        // SAFETY: it is no store at all.
        let no_snapshot = unsafe { ReadTxn::import(&fd) }.unwrap_err();
        assert!(matches!(no_snapshot, Error::InvalidArgument { .. }), "{what}: {no_snapshot:?}");
        let error = from_fd(fd).unwrap_err();
        if !matches!(error, Error::InvalidArgument { .. } | Error::NotAStore { .. }) {
            unclear.push(format!("{what}: {error:?}"));
        }
    }
    assert!(unclear.is_empty(), "{unclear:#?}");
    assert_eq!(std::fs::read(&text).unwrap(), b"hello".repeat(5000));
}

#[test]
fn a_descriptor_that_is_tried_as_something_else_stays_what_it_is() {
    let _alone = alone();
    let db = Database::in_memory().unwrap();
    fill(&db);
    let r = db.begin_read().unwrap();
    let before = digest(&r);
    let (store, snapshot) = (db.share().unwrap(), r.export("").unwrap());
    drop(r);
    // SAFETY: the store is the test's own.
    let error = unsafe { ReadTxn::import(&store) }.unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument { detail } if detail.contains("from_fd")), "{error:?}");
    let error = from_fd(snapshot.try_clone().unwrap()).unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument { detail } if detail.contains("import")), "{error:?}");
    churn(&db, 100);
    drop(from_fd(store).unwrap());
    // SAFETY: the store is the test's own.
    let imported = unsafe { ReadTxn::import(&snapshot) };
    assert_eq!(imported.map(|r| digest(&r)).map_err(|error| error.to_string()), Ok(before));
    // A message of somebody else's is still to be read.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    (&theirs).write_all(b"for you").unwrap();
    assert!(from_fd(ours.try_clone().unwrap()).is_err());
    ours.set_nonblocking(true).unwrap();
    let mut message = [0; 7];
    ours.read_exact(&mut message).unwrap();
}

// ---- snapshots handed over ----

#[test]
fn an_exported_snapshot_stays_whatever_becomes_of_its_exporter() {
    let _alone = alone();
    for ends in ["drops", "exits", "is killed"] {
        let place = Place::filled();
        let path = place.file();
        let db = place.open();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut exporter = fork(|link| {
            churn(&db, 3);
            let r = db.begin_read().unwrap();
            link.say(digest(&r));
            link.say(r.txn_id());
            send_fd(&theirs, r.export("for you").unwrap().as_fd());
            drop(r);
            link.say(0);
            match ends {
                "exits" => {}
                _ => idle(),
            }
        });
        let (before, txn) = (exporter.link.hear(), exporter.link.hear());
        exporter.link.hear();
        // It is in flight only, now.
        let mut exporter = Some(exporter);
        match ends {
            "exits" => exporter.take().unwrap().end(),
            "is killed" => exporter.take().unwrap().kill(),
            _ => {}
        }
        churn(&db, 50);
        db.reap().unwrap();
        let readers = db.readers().unwrap();
        assert_eq!((readers.len(), readers[0].txn, &readers[0].label[..]), (1, txn, "for you"), "{ends}");
        assert!(!readers[0].is_dead && readers[0].pages_retained > 0, "{readers:?}");
        let exported = receive_fd(&ours);
        // Several, in several processes.
        let first = import(&exported);
        assert_eq!((digest(&first), first.txn_id()), (before, txn), "{ends}");
        let mut others: Vec<Process> =
            (0..3).map(|_| Process::start_with(Some(exported.as_raw_fd()))).collect();
        others.iter_mut().for_each(|other| assert_eq!(other.obey("import"), before.to_string()));
        // And handed on.
        let again = first.export("and on").unwrap();
        drop((first, exported));
        churn(&db, 50);
        let last = import(&again);
        assert_eq!(digest(&last), before, "{ends}");
        drop(again);
        others.iter_mut().for_each(|other| drop(other.obey("check")));
        drop(last);
        churn(&db, 20);
        others.iter_mut().for_each(|other| drop(other.obey("check")));
        assert_eq!(db.readers().unwrap().len(), 1);
        // By and by nobody has it any more.
        while let Some(other) = others.pop() {
            other.end();
        }
        drop(exporter);
        db.reap().unwrap();
        assert!(db.readers().unwrap().is_empty(), "{ends}: {:?}", db.readers());
        churn(&db, 120);
        let len = place.len();
        churn(&db, 120);
        assert_eq!(place.len(), len, "{ends}: the file grows");
        assert_clean(&db);
        drop(db);
        assert_clean(&open(&Options::new(), &path));
    }
}

#[test]
fn a_descriptor_alone_pins_its_snapshot_when_a_new_process_comes() {
    let _alone = alone();
    for killed in [false, true] {
        let place = Place::filled();
        let path = place.file();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut exporter = fork(|link| {
            let db = open(&Options::new(), &path);
            churn(&db, 10);
            let r = db.begin_read().unwrap();
            link.say(digest(&r));
            send_fd(&theirs, r.export("left").unwrap().as_fd());
            churn(&db, 10);
            if killed {
                link.say(0);
                idle();
            }
            drop(r);
            db.close().unwrap();
            link.say(0);
        });
        let before = exporter.link.hear();
        exporter.link.hear();
        if killed {
            exporter.kill()
        } else {
            exporter.end()
        }
        let mut fresh = Process::opened(&path);
        fresh.obey("churn 200");
        fresh.obey("reap");
        assert_eq!(fresh.obey("readers"), "1", "killed: {killed}");
        fresh.end();
        let mut reader = Process::start();
        reader.obey(&format!("read {}", path.display()));
        reader.obey("pin");
        reader.end();
        let mut fresh = Process::opened(&path);
        fresh.obey("churn 100");
        let exported = receive_fd(&ours);
        assert_eq!(digest(&import(&exported)), before, "killed: {killed}");
        drop(exported);
        fresh.obey("reap");
        assert_eq!(fresh.obey("readers"), "0");
        fresh.obey("verify");
        fresh.end();
        assert_eq!(open(&Options::new().read_only(true), &path).readers().unwrap().len(), 0);
    }
}

#[test]
fn an_imported_snapshot_is_read_across_a_fork_and_by_one_without_rights() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let exported = db.begin_read().unwrap().export("").unwrap();
    let mut imported = Some(import(&exported));
    let before = digest(imported.as_ref().unwrap());
    let mut exported = Some(exported);
    let mut children: Vec<Forked> = (0..2)
        .map(|i| {
            fork(|link| {
                drop(exported.take());
                if i == 1 && is_root() {
                    become_nobody();
                }
                link.hear();
                assert_eq!(digest(imported.as_ref().unwrap()), before);
            })
        })
        .collect();
    let mut poor = fork(|link| {
        if is_root() {
            become_nobody();
        }
        drop(imported.take());
        link.hear();
        assert_eq!(digest(&import(exported.as_ref().unwrap())), before);
    });
    drop((imported.take(), exported.take()));
    churn(&db, 200);
    children.iter_mut().for_each(|child| child.link.say(0));
    poor.link.say(0);
    children.into_iter().for_each(Forked::end);
    poor.end();
    db.reap().unwrap();
    assert!(db.readers().unwrap().is_empty());
}

// ---- memory ----

#[test]
fn a_store_in_memory_grows_and_takes_back_a_large_txn() {
    let _alone = alone();
    let small = Options::new().dirty_limit(1 << 20);
    for db in [small.in_memory().unwrap(), small.temporary_in("/tmp").unwrap()] {
        fill(&db);
        let held = db.begin_read().unwrap();
        let before = digest(&held);
        for round in 0..3 {
            let mut w = db.begin_write().unwrap();
            (0..6000).try_for_each(|key| w.put(ROWS, &(key * 3), &[round; 1500]).map(drop)).unwrap();
            if round == 2 {
                w.commit().unwrap()
            } else {
                w.abort()
            }
            assert_clean(&db);
        }
        assert_eq!(db.begin_read().unwrap().len(ROWS).unwrap(), 6000 + ROW_COUNT - 100);
        assert_eq!(digest(&held), before);
        // A large value has pages of its own.
        db.write(|w| w.put(ROWS, &1_000_000, &vec![1; 20_000_000])).unwrap();
        db.write(|w| w.delete(ROWS, &1_000_000)).unwrap();
        churn(&db, 50);
        assert_eq!(digest(&held), before);
        assert_clean(&db);
    }
}

fn shared_name(what: &str) -> String {
    format!("mapleaf-test-{}-{what}", std::process::id())
}

struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Database::remove_shared_memory(&self.0);
    }
}

#[test]
fn a_store_in_shared_memory_is_found_by_its_name_until_that_is_removed() {
    let _alone = alone();
    let name = Removed(shared_name("found"));
    // SAFETY: the store is the test's own.
    let db = unsafe { Database::shared_memory(&name.0) }.unwrap();
    fill(&db);
    let mut other = Process::start();
    other.obey(&format!("name {}", name.0));
    other.obey("add 2");
    assert_eq!(counter(&db), 2);
    assert_eq!(other.obey("turn"), "mine");
    other.obey("scribble");
    assert!(db.try_begin_write().unwrap().is_none());
    other.kill();
    add(&db).unwrap();
    assert_clean(&db);
    drop(db);
    let mut old = Process::start();
    old.obey(&format!("name {}", name.0));
    assert_eq!(old.obey("get"), "3", "it stays");
    old.obey("pin");
    assert!(Database::remove_shared_memory(&name.0).unwrap());
    assert!(!Database::remove_shared_memory(&name.0).unwrap());
    // A new one beside the old one.
    let mut new = Process::start();
    new.obey(&format!("name {}", name.0));
    assert_eq!(new.obey("get"), "0");
    new.obey("add 1");
    old.obey("churn 30");
    old.obey("check");
    old.obey("add 1");
    assert_eq!((old.obey("get"), new.obey("get")), ("4".into(), "1".into()));
    for bad in ["", ".", "..", "a/b", "/x", "a\0b"] {
        // SAFETY: nothing is opened.
        let refused = unsafe { Database::shared_memory(bad) };
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{bad:?}: {refused:?}");
        assert!(matches!(Database::remove_shared_memory(bad), Err(Error::InvalidArgument { .. })), "{bad:?}");
    }
}

// ---- waiting ----

#[test]
fn commits_of_another_process_wake_those_who_wait() {
    let _alone = alone();
    let place = Place::filled();
    let db = place.open();
    let now = || db.begin_read().unwrap().txn_id();
    let start = Instant::now();
    assert_eq!(db.wait_for_commit(now(), Some(Duration::from_millis(50))).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < Duration::from_secs(2));
    assert_eq!(db.wait_for_commit(now() - 1, Some(Duration::ZERO)).unwrap(), Some(now()));
    assert_eq!(db.wait_for_commit(now(), Some(Duration::ZERO)).unwrap(), None);
    let mut waiters: Vec<Process> = (0..4).map(|_| Process::opened(&place.file())).collect();
    let mut doomed = Process::opened(&place.file());
    let mut writer = Process::opened(&place.file());
    let seen = now();
    // Threads, forks, programs; a killed one among them.
    doomed.say(&format!("wait {seen} 60000"));
    waiters.iter_mut().for_each(|waiter| waiter.say(&format!("wait {seen} 10000")));
    let mut forked: Vec<Forked> = (0..4)
        .map(|_| {
            fork(|link| {
                link.say(0);
                let woken = db.wait_for_commit(seen, Some(PATIENCE)).unwrap();
                assert_eq!(woken, Some(seen + 1));
            })
        })
        .collect();
    forked.iter_mut().for_each(|child| assert_eq!(child.link.hear(), 0));
    std::thread::scope(|threads| {
        let here: Vec<_> =
            (0..4).map(|_| threads.spawn(|| db.wait_for_commit(seen, None).unwrap())).collect();
        std::thread::sleep(Duration::from_millis(150));
        doomed.kill();
        let start = Instant::now();
        writer.obey("add 1");
        waiters.iter_mut().for_each(|waiter| assert_eq!(waiter.hear(), format!("ok Some({})", seen + 1)));
        here.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Some(seen + 1)));
        forked.into_iter().for_each(Forked::end);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    });
    // Who follows misses nothing.
    let mut follower = fork(|link| {
        let mut seen = seen + 1;
        link.say(0);
        while counter(&db) < 300 {
            seen = db.wait_for_commit(seen, Some(PATIENCE)).unwrap().expect("the next one comes");
        }
    });
    follower.link.hear();
    writer.obey("add 299");
    follower.end();
    // For ever does not overflow.
    let forever = fork(|_| drop(db.wait_for_commit(u64::MAX - 1, Some(Duration::MAX))));
    std::thread::sleep(Duration::from_millis(30));
    forever.kill();
}

// ---- who reads ----

#[test]
fn readers_are_listed_with_what_they_keep_and_reaped_when_they_are_dead() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let db = open(&Options::new().label("main"), &path);
    let mut own = db.begin_read().unwrap();
    let mut holder = fork(|link| {
        let db = open(&Options::new().label("a label of more than forty bytes, which is cut"), &path);
        let held: Vec<ReadTxn> = (0..3).map(|_| db.begin_read().unwrap()).collect();
        let mut named = db.begin_read().unwrap();
        named.set_label("the report");
        link.say(held[0].txn_id());
        idle();
    });
    let txn = holder.link.hear();
    std::thread::sleep(Duration::from_millis(120));
    churn(&db, 60);
    own = {
        drop(own);
        db.begin_read().unwrap()
    };
    let listed = db.readers().unwrap();
    // Inherited at the fork: one.
    let theirs: Vec<_> = listed.iter().filter(|reader| reader.pid == holder.pid as u32).collect();
    assert_eq!(theirs.len(), 5, "{listed:?}");
    assert!(listed.iter().filter(|reader| reader.label == "forked").count() == 1, "{listed:?}");
    assert_eq!(listed.len(), 6, "{listed:?}");
    assert!(listed.is_sorted_by_key(|reader| reader.txn));
    for reader in &theirs {
        assert_eq!(reader.txn, txn, "{reader:?}");
        assert!(reader.age >= Duration::from_millis(110) && reader.age < PATIENCE, "{reader:?}");
        assert!(reader.pages_retained > 0 && !reader.is_dead, "{reader:?}");
        assert!(
            reader.label == "forked"
                || reader.label == "the report"
                || reader.label == "a label of more than forty bytes, which ",
            "{reader:?}"
        );
    }
    assert_eq!(theirs.iter().filter(|reader| reader.label == "the report").count(), 1);
    let mine = listed.iter().find(|reader| reader.txn == own.txn_id()).unwrap();
    assert_eq!((&mine.label[..], mine.pid, mine.is_dead), ("main", std::process::id(), false));
    holder.kill();
    let dead = db.readers().unwrap();
    assert_eq!(dead.iter().filter(|reader| reader.is_dead).count(), 5, "{dead:?}");
    assert_eq!(db.reap().unwrap(), 5);
    assert_eq!(db.reap().unwrap(), 0);
    let left = db.readers().unwrap();
    assert_eq!((left.len(), left[0].txn), (1, own.txn_id()));
    drop(own);
    churn(&db, 200);
    let len = place.len();
    churn(&db, 200);
    assert_eq!(place.len(), len);
    assert_clean(&db);
}

#[test]
fn what_the_dead_held_comes_free_without_being_asked_for() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let mut holder = fork(|link| {
        let db = open(&Options::new(), &path);
        let held: Vec<ReadTxn> = (0..100)
            .map(|_| {
                churn(&db, 1);
                db.begin_read().unwrap()
            })
            .collect();
        link.say(held.len() as u64);
        idle();
    });
    holder.link.hear();
    let db = place.open();
    churn(&db, 50);
    holder.kill();
    let len = place.len();
    churn(&db, 300);
    assert!(db.readers().unwrap().iter().all(|reader| !reader.is_dead) || place.len() <= len);
    let len = place.len();
    churn(&db, 300);
    assert_eq!(place.len(), len);
    assert_clean(&db);
}

#[test]
fn processes_with_the_same_pid_in_two_namespaces_are_told_apart() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    let place = Place::filled();
    let path = place.file();
    let mut helpers: Vec<Forked> = (0..2)
        .map(|_| {
            fork(|link| {
                // SAFETY: it has no pointers.
                if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                    return link.say(0);
                }
                let other_end = link.0.try_clone().unwrap();
                let mut first = fork(|_| {
                    let mut link = Link(other_end);
                    assert_eq!(std::process::id(), 1);
                    let db = open(&Options::new(), &path);
                    let held: Vec<(ReadTxn, u64)> = (0..10)
                        .map(|_| {
                            churn(&db, 1);
                            let r = db.begin_read().unwrap();
                            let digest = digest(&r);
                            (r, digest)
                        })
                        .collect();
                    link.say(1);
                    while link.hear() == 0 {
                        held.iter().for_each(|(r, before)| assert_eq!(digest(r), *before));
                        link.say(2);
                    }
                    idle();
                });
                link.say(first.pid as u64);
                assert_eq!(first.wait_for(4 * PATIENCE), None, "it is killed");
            })
        })
        .collect();
    let mut firsts = Vec::new();
    for helper in &mut helpers {
        // Two say something, in any order.
        let first = helper.link.hear();
        if first == 0 {
            println!("skipped: no pid namespaces here");
            return;
        }
        firsts.push(first.max(helper.link.hear()) as i32);
    }
    let db = place.open();
    churn(&db, 100);
    let listed = db.readers().unwrap();
    assert_eq!(listed.len(), 20);
    assert!(listed.iter().all(|reader| reader.pid == 1 && !reader.is_dead), "{listed:?}");
    assert_eq!(db.reap().unwrap(), 0);
    for helper in &mut helpers {
        helper.link.say(0);
        assert_eq!(helper.link.hear(), 2);
    }
    // One dies: the other's are kept.
    kill(firsts[0], libc::SIGKILL);
    assert_eq!(helpers[0].wait(), Some(0));
    assert_eq!(db.readers().unwrap().iter().filter(|reader| reader.is_dead).count(), 10);
    assert_eq!(db.reap().unwrap(), 10);
    churn(&db, 150);
    helpers[1].link.say(0);
    assert_eq!(helpers[1].link.hear(), 2);
    kill(firsts[1], libc::SIGKILL);
    assert_eq!(helpers[1].wait(), Some(0));
    assert_eq!(db.reap().unwrap(), 10);
    assert!(db.readers().unwrap().is_empty());
    churn(&db, 200);
    let len = place.len();
    churn(&db, 200);
    assert_eq!(place.len(), len);
    assert_clean(&db);
}

#[test]
fn a_thousand_processes_and_ten_thousand_snapshots_at_once() {
    let _alone = alone();
    let place = Place::filled();
    let path = place.file();
    let db = place.open();
    let shared = db.begin_read().unwrap();
    let before = digest(&shared);
    let mut children: Vec<Forked> = (0..1000)
        .map(|_| {
            fork(|link| {
                let own = db.begin_read().unwrap();
                link.say(own.txn_id());
                link.hear();
                assert_eq!((own.get(COUNTER, "n").unwrap(), own.len(ROWS).unwrap()), (Some(0), ROW_COUNT));
                assert_eq!(shared.len(ROWS).unwrap(), ROW_COUNT);
            })
        })
        .collect();
    for child in &mut children {
        assert_eq!(child.link.hear(), shared.txn_id());
    }
    // Own ones, inherited ones, and that of this process.
    assert_eq!(db.readers().unwrap().len(), 2001);
    assert_eq!(db.reap().unwrap(), 0);
    churn(&db, 50);
    let many: Vec<ReadTxn> = (0..10_000).map(|_| db.begin_read().unwrap()).collect();
    assert_eq!(db.readers().unwrap().len(), 12_001);
    churn(&db, 20);
    assert_eq!(digest(&shared), before);
    // Half of them end, half are killed.
    let killed = children.split_off(500);
    children.iter_mut().for_each(|child| child.link.say(0));
    children.into_iter().for_each(Forked::end);
    killed.into_iter().for_each(Forked::kill);
    assert_eq!(
        db.reap().unwrap(),
        2000 - 500,
        "those that ended gave their own back, not the inherited ones"
    );
    assert_eq!(db.readers().unwrap().len(), 10_001);
    drop(many);
    drop(shared);
    assert!(db.readers().unwrap().is_empty());
    let mut other = Process::opened(&path);
    other.obey("add 1");
    other.end();
    assert_eq!(counter(&db), 1);
    assert_clean(&db);
}

// ---- a writer that stands still ----

/// Stops its process at an operation, once.
struct Stops {
    at_sync: bool,
    armed: AtomicBool,
}

impl Observer for Stops {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let is_it = matches!((op, self.at_sync), (Op::Sync { .. }, true) | (Op::Write { .. }, false));
        if is_it && self.armed.swap(false, Ordering::SeqCst) {
            // SAFETY: it has no pointers.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        Verdict::Proceed
    }
}

#[test]
fn a_writer_stopped_in_its_commit_holds_up_no_reader() {
    let _alone = alone();
    for (at_sync, durability) in [
        (false, Durability::Durable),
        (true, Durability::Durable),
        (false, Durability::Ordered),
        (true, Durability::Ordered),
        (false, Durability::Eventual),
    ] {
        let what = format!("in a sync: {at_sync}, {durability:?}");
        let place = Place::filled();
        let path = place.file();
        let db = place.open();
        (0..10).for_each(|_| add(&db).unwrap());
        let mut reader = Process::opened(&path);
        reader.obey("pin");
        let before = digest(&db.begin_read().unwrap());
        let mut writer = fork(|_| {
            let stops = Arc::new(Stops { at_sync, armed: AtomicBool::new(false) });
            let other = Options::new().observer(stops.clone());
            let db = open(&other, &path);
            let mut w = db.begin_write().unwrap();
            w.set_durability(durability);
            w.put(COUNTER, "n", &11).unwrap();
            w.put(ROWS, &1, &[1; 5000]).unwrap();
            stops.armed.store(true, Ordering::SeqCst);
            w.commit().unwrap();
        });
        let mut status = 0;
        let start = Instant::now();
        loop {
            // SAFETY: the status outlives the call.
            let pid = unsafe { libc::waitpid(writer.pid, &raw mut status, libc::WUNTRACED | libc::WNOHANG) };
            if pid == writer.pid {
                writer.is_over = !libc::WIFSTOPPED(status);
                assert!(libc::WIFSTOPPED(status), "{what}: it has ended, {status}");
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(db.begin_read().unwrap().get(COUNTER, "n").unwrap(), Some(10), "{what}");
        }
        assert_eq!(digest(&db.begin_read().unwrap()), before);
        reader.obey("check");
        reader.obey("pin");
        assert_eq!(reader.obey("get"), "10", "{what}");
        // Also who comes now, or is forked, exports, lists, or asks for the turn without waiting.
        let mut late = Process::start();
        late.obey(&format!("read {}", path.display()));
        assert_eq!(late.obey("get"), "10", "{what}");
        let mut late_writer = Process::opened(&path);
        assert_eq!(late_writer.obey("get"), "10", "{what}");
        fork(|_| assert_eq!(digest(&db.begin_read().unwrap()), before)).end();
        let exported = db.begin_read().unwrap().export("").unwrap();
        assert_eq!(digest(&import(&exported)), before);
        assert!(!db.readers().unwrap().is_empty());
        if !at_sync {
            assert!(db.try_begin_write().unwrap().is_none(), "{what}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        kill(writer.pid, libc::SIGCONT);
        writer.end();
        assert_eq!(counter(&db), 11, "{what}");
        add(&db).unwrap();
        reader.obey("check");
        assert_eq!(reader.obey("get"), "12");
        assert_clean(&db);
    }
}
