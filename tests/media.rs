//! Stores on media that cannot be written to, and on file systems of all kinds.
//!
//! What needs mounts or other users happens in a forked child with a mount namespace of its own, so that nothing is
//! left behind. Where the system does not let it, or a program is missing, a test says that it is skipped.

#![allow(unsafe_code)]

mod common;

use common::{assert_clean, contents, open, try_open};
use mapleaf::{Database, Durability, Error, Options, ReadTxn, Table};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const ROWS: Table<u64, [u8]> = Table::new("rows");
const COUNTER: Table<str, u64> = Table::new("counter");
const ROW_COUNT: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(15);
const NOBODY: u32 = 65534;
const SKIPPED: i32 = 77;

// ---- helpers ----

/// Forks copy what is open, so the tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say_on_stderr(text: &str) {
    // SAFETY: the pointer and the length are those of the text.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// A forked child, killed at the end if it has not ended by itself.
struct Forked {
    pid: i32,
    link: UnixStream,
    is_over: bool,
}

/// Forks; the child does `work` and nothing else. It is skipped where that returns a reason.
fn fork(work: impl FnOnce(&mut UnixStream) -> Result<(), String>) -> Forked {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let (own, before) = (std::process::id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| match std::process::id() == own {
            true => before(info),
            // The harness would keep it for itself, in the child's memory.
            false => say_on_stderr(&format!("in a forked child: {info}\n")),
        }));
    });
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    for link in [&ours, &theirs] {
        link.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    }
    // SAFETY: the child runs only `work`, with this thread alone, and ends without leaving it.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: it has no pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            drop(ours);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut theirs)));
            let code = match done {
                Ok(Ok(())) => 0,
                Ok(Err(reason)) => {
                    say_on_stderr(&format!("skipped: {reason}\n"));
                    SKIPPED
                }
                Err(_) => 101,
            };
            // SAFETY: it ends this process, without what the harness would do.
            unsafe { libc::_exit(code) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            Forked { pid, link: ours, is_over: false }
        }
    }
}

impl Forked {
    fn end(mut self) {
        let start = Instant::now();
        let mut status = 0;
        // SAFETY: the status outlives the call.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } == 0 {
            assert!(start.elapsed() < 2 * PATIENCE, "the forked child hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_over = true;
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        assert!(code == Some(0) || code == Some(SKIPPED), "the forked child has failed: {code:?}");
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if !self.is_over {
            // SAFETY: it has no pointers; the child was not waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }
}

fn say(link: &mut UnixStream) {
    link.write_all(b"!").unwrap();
}

fn hear(link: &mut UnixStream) {
    link.read_exact(&mut [0]).expect("the other side says something");
}

/// Runs `work` in a child as a user without rights, who first hears that everything is there.
fn as_nobody(work: impl FnOnce(&mut UnixStream)) -> Forked {
    fork(|link| {
        // SAFETY: an empty list has no pointer.
        if unsafe { libc::setgroups(0, std::ptr::null()) } != 0 {
            return Err("it needs root".into());
        }
        // SAFETY: it has no pointers.
        assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
        // SAFETY: it has no pointers.
        assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
        work(link);
        Ok(())
    })
}

/// Runs `work` in a child whose mounts nobody else sees, and which takes them along when it ends.
fn in_own_mounts(work: impl FnOnce(&Path) -> Result<(), String>) {
    let directory = tempfile::tempdir().unwrap();
    fork(|_| {
        // SAFETY: it has no pointers.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err("it needs mount namespaces".into());
        }
        run("mount", &["--make-rprivate", "/"])?;
        work(directory.path())
    })
    .end();
}

/// Runs a program; says why it cannot be.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match ended {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn make_directory(path: PathBuf) -> PathBuf {
    std::fs::create_dir(&path).unwrap();
    path
}

fn is_root() -> bool {
    // SAFETY: it has no arguments.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        println!("skipped: it needs root");
    }
    is_root
}

fn read_only() -> Options {
    Options::new().read_only(true)
}

fn immutable() -> Options {
    Options::new().immutable(true)
}

fn fill(db: &Database) {
    db.write(|w| {
        w.put(COUNTER, "n", &0)?;
        (0..ROW_COUNT).try_for_each(|key| w.put(ROWS, &key, &[key as u8; 600]).map(drop))
    })
    .unwrap();
}

fn add(db: &Database) -> mapleaf::Result<()> {
    db.write(|w| {
        let old = w.get(COUNTER, "n")?.unwrap_or(0);
        w.put(COUNTER, "n", &(old + 1)).map(drop)
    })
}

fn churn(db: &Database, commits: u64) {
    for _ in 0..commits {
        db.write(|w| {
            w.set_durability(Durability::Eventual);
            let round = w.get(COUNTER, "churn")?.unwrap_or(0);
            for i in 0..20 {
                w.put(ROWS, &((round * 20 + i) % ROW_COUNT), &vec![(round + i) as u8; 400])?;
            }
            w.put(COUNTER, "churn", &(round + 1)).map(drop)
        })
        .unwrap();
    }
}

fn counter(db: &Database) -> u64 {
    db.begin_read().unwrap().get(COUNTER, "n").unwrap().unwrap_or(0)
}

/// A closed store in `directory`, without a lock file; its counter is 3.
fn closed_store(directory: &Path) -> PathBuf {
    let path = directory.join("a.maple");
    let db = open(&Options::new(), &path);
    fill(&db);
    (0..3).for_each(|_| add(&db).unwrap());
    db.close().unwrap();
    std::fs::remove_file(directory.join("a.maple-lock")).unwrap();
    path
}

/// A store whose processes all died, without a lock file: 5 txns, to 8, are in its log only.
fn dead_store(directory: &Path) -> PathBuf {
    let aside = tempfile::tempdir().unwrap();
    let (path, copy) = (closed_store(aside.path()), directory.join("dead.maple"));
    let db = open(&Options::new(), &path);
    db.checkpoint().unwrap();
    let before = db.counters().logged_commits;
    (0..5).for_each(|_| add(&db).unwrap());
    assert_eq!(db.counters().logged_commits - before, 5);
    std::fs::copy(&path, &copy).unwrap();
    copy
}

type Listing = BTreeMap<PathBuf, (u64, u32, SystemTime, i64, Vec<u8>)>;

/// Everything that can be seen to change in a directory.
fn listing(directory: &Path) -> Listing {
    let entries = std::fs::read_dir(directory).unwrap();
    let own = std::iter::once(directory.to_owned());
    own.chain(entries.map(|entry| entry.unwrap().path()))
        .map(|path| {
            let meta = std::fs::metadata(&path).unwrap();
            let name = CString::new(text(&path)).unwrap();
            let mut names = vec![0; 1000];
            // SAFETY: the pointers and the length are those of the name and of the buffer.
            let len = unsafe { libc::listxattr(name.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
            names.truncate(len.max(0) as usize);
            (path, (meta.len(), meta.mode(), meta.modified().unwrap(), meta.ctime(), names))
        })
        .collect()
}

/// What every reader of [`closed_store`] can do.
fn assert_readable(db: &Database) {
    let r = db.begin_read().unwrap();
    assert_eq!((r.get(COUNTER, "n").unwrap(), r.len(ROWS).unwrap()), (Some(3), ROW_COUNT));
    contents(&r);
    assert_clean(db);
    assert_eq!(db.readers().unwrap().len(), 1);
    assert_eq!(db.reap().unwrap(), 0);
    assert_eq!(db.wait_for_commit(r.txn_id(), Some(Duration::from_millis(1))).unwrap(), None);
    assert!(db.stats().is_ok());
    assert!(matches!(db.begin_write(), Err(Error::ReadOnly)));
    assert!(matches!(db.checkpoint(), Err(Error::ReadOnly)));
    // Through a fork, and handed over.
    fork(|_| {
        assert_eq!(r.get(COUNTER, "n").unwrap(), Some(3));
        assert_eq!(counter(db), 3);
        Ok(())
    })
    .end();
    match r.export("") {
        Ok(exported) => {
            // SAFETY: the file is the test's own.
            let imported = unsafe { ReadTxn::import(&exported) }.unwrap();
            assert_eq!(contents(&imported), contents(&r));
        }
        // One who may not open its own files anew.
        Err(error) => assert!(matches!(error, Error::Io { .. }), "{error:?}"),
    }
}

/// Nobody can write here, and nobody else has the store open.
fn assert_read_only_medium(path: &Path) {
    let before = listing(path.parent().unwrap());
    for options in [read_only(), immutable()] {
        let db = open(&options, path);
        assert_readable(&db);
        // Others may read, too.
        fork(|_| {
            assert_readable(&open(&read_only(), path));
            assert_readable(&open(&immutable(), path));
            Ok(())
        })
        .end();
    }
    let error = try_open(&Options::new(), path).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(listing(path.parent().unwrap()), before, "something was written");
}

fn assert_log_is_noticed(path: &Path) {
    let before = listing(path.parent().unwrap());
    for options in [read_only(), immutable()] {
        let error = try_open(&options, path).unwrap_err();
        assert!(matches!(error, Error::LogToReplay { txns: 5 }), "{error:?}");
        let db = open(&options.ignore_log(true), path);
        assert_eq!(counter(&db), 3, "the last checkpoint");
        assert_clean(&db);
    }
    assert_eq!(listing(path.parent().unwrap()), before, "something was written");
}

/// One process with a store, and another, on any file system.
fn assert_shared(path: &Path, options: &Options) {
    let db = open(options, path);
    fill(&db);
    let mut other = fork(|link| {
        let db = open(options, path);
        let r = db.begin_read().unwrap();
        let before = contents(&r);
        say(link);
        hear(link);
        assert_eq!(contents(&r), before);
        assert_eq!(counter(&db), 1);
        add(&db).unwrap();
        let turn = db.begin_write().unwrap();
        say(link);
        hear(link);
        drop(turn);
        Ok(())
    });
    hear(&mut other.link);
    add(&db).unwrap();
    churn(&db, 60);
    say(&mut other.link);
    hear(&mut other.link);
    assert_eq!(counter(&db), 2);
    assert!(db.try_begin_write().unwrap().is_none());
    say(&mut other.link);
    other.end();
    assert_clean(&db);
    db.close().unwrap();
    assert_eq!(counter(&open(&options.clone().read_only(true), path)), 2);
}

// ---- read-only media ----

#[test]
fn a_squashfs_image_is_read_and_says_so_when_its_store_was_not_closed() {
    let _alone = alone();
    in_own_mounts(|at| {
        let (source, target) = (make_directory(at.join("source")), make_directory(at.join("image")));
        closed_store(&source);
        dead_store(&source);
        let image = at.join("image.squashfs");
        run("mksquashfs", &[text(&source), text(&image), "-quiet", "-no-progress"])?;
        run("mount", &["-t", "squashfs", "-o", "loop,ro", text(&image), text(&target)])?;
        assert_read_only_medium(&target.join("a.maple"));
        assert_log_is_noticed(&target.join("dead.maple"));
        Ok(())
    });
}

#[test]
fn a_tmpfs_that_became_read_only_is_read() {
    let _alone = alone();
    in_own_mounts(|at| {
        let target = make_directory(at.join("tmpfs"));
        run("mount", &["-t", "tmpfs", "none", text(&target)])?;
        let path = closed_store(&target);
        dead_store(&target);
        // With a lock file of before beside it, too.
        open(&Options::new(), &path).close().unwrap();
        assert!(target.join("a.maple-lock").exists());
        run("mount", &["-o", "remount,ro", text(&target)])?;
        assert_read_only_medium(&path);
        assert_log_is_noticed(&target.join("dead.maple"));
        Ok(())
    });
}

#[test]
fn a_read_only_mount_of_a_directory_that_others_write_to_never_shows_pages_that_change() {
    let _alone = alone();
    in_own_mounts(|at| {
        let (source, target) = (make_directory(at.join("source")), make_directory(at.join("mounted")));
        let path = closed_store(&source);
        run("mount", &["--bind", text(&source), text(&target)])?;
        run("mount", &["-o", "remount,bind,ro", text(&target)])?;
        let mounted = target.join("a.maple");
        assert_read_only_medium(&mounted);
        // Who reads it there as immutable keeps writers out.
        let reader = open(&read_only(), &mounted);
        let r = reader.begin_read().unwrap();
        fork(|_| {
            let error = try_open(&Options::new(), &path).unwrap_err();
            assert!(matches!(&error, Error::Busy { detail } if detail.contains("immutable")), "{error:?}");
            Ok(())
        })
        .end();
        drop((r, reader));
        // Beside a writer it has a part in the lock file, or is refused.
        let writer = open(&Options::new(), &path);
        fork(|_| {
            let error = try_open(&immutable(), &mounted).unwrap_err();
            assert!(matches!(error, Error::Busy { .. }), "{error:?}");
            Ok(())
        })
        .end();
        let mut late = fork(|link| {
            match try_open(&read_only(), &mounted) {
                Ok(reader) => {
                    let r = reader.begin_read().unwrap();
                    let before = contents(&r);
                    say(link);
                    hear(link);
                    assert_eq!(contents(&r), before);
                    assert_eq!(counter(&reader), 4);
                }
                Err(Error::Busy { .. }) => say(link),
                Err(error) => panic!("{error:?}"),
            }
            Ok(())
        });
        hear(&mut late.link);
        add(&writer).unwrap();
        churn(&writer, 60);
        let _ = late.link.write_all(b"!");
        late.end();
        Ok(())
    });
}

#[test]
fn one_who_may_only_read_leaves_no_trace() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    for lock_file in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = closed_store(directory.path());
        let dead = dead_store(directory.path());
        if lock_file {
            open(&Options::new(), &path).close().unwrap();
            assert!(directory.path().join("a.maple-lock").exists());
        }
        for file in [&path, &dead] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o444)).unwrap();
        }
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
        let before = listing(directory.path());
        as_nobody(|_| {
            assert_read_only_medium(&path);
            assert_log_is_noticed(&dead);
        })
        .end();
        assert_eq!(listing(directory.path()), before);
        // Beside who writes: refused, for it has no part in the lock file. And the other way round.
        let db = open(&Options::new(), &path);
        add(&db).unwrap();
        as_nobody(|_| {
            for options in [read_only(), immutable()] {
                let error = try_open(&options, &path).unwrap_err();
                assert!(matches!(error, Error::Busy { .. }), "{error:?}");
            }
        })
        .end();
        db.close().unwrap();
        let mut reader = as_nobody(|link| {
            let db = open(&read_only(), &path);
            let r = db.begin_read().unwrap();
            say(link);
            hear(link);
            assert_eq!(r.get(COUNTER, "n").unwrap(), Some(4));
        });
        hear(&mut reader.link);
        let error = try_open(&Options::new(), &path).unwrap_err();
        assert!(matches!(&error, Error::Busy { detail } if detail.contains("immutable")), "{error:?}");
        // Who only reads, with a lock file or without, may come.
        assert_eq!(counter(&open(&read_only(), &path)), 4);
        say(&mut reader.link);
        reader.end();
        let db = open(&Options::new(), &path);
        add(&db).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Where the directory may be written to, but the store is not to be.
#[test]
fn immutable_writes_nothing_and_keeps_writers_out() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = closed_store(directory.path());
    let before = listing(directory.path());
    let db = open(&immutable(), &path);
    let again = open(&immutable(), &path);
    assert_readable(&db);
    let refused = || {
        let error = try_open(&Options::new(), &path).unwrap_err();
        assert!(matches!(&error, Error::Busy { detail } if detail.contains("immutable")), "{error:?}");
    };
    refused();
    fork(|_| {
        assert_readable(&open(&immutable(), &path));
        Ok(())
    })
    .end();
    drop(again);
    fork(|_| {
        refused();
        Ok(())
    })
    .end();
    // Its snapshots, and what was made of them, count as well.
    let r = db.begin_read().unwrap();
    drop(db);
    refused();
    let exported = r.export("").unwrap();
    drop(r);
    refused();
    // SAFETY: the file is the test's own.
    let imported = unsafe { ReadTxn::import(&exported) }.unwrap();
    drop(exported);
    refused();
    assert_eq!(imported.len(ROWS).unwrap(), ROW_COUNT);
    drop(imported);
    std::fs::remove_file(directory.path().join("a.maple-lock")).unwrap_or(());
    let after: Vec<_> = listing(directory.path()).into_iter().filter(|(path, _)| path.is_file()).collect();
    assert_eq!(after, before.into_iter().filter(|(path, _)| path.is_file()).collect::<Vec<_>>());
    add(&open(&Options::new(), &path)).unwrap();
}

#[test]
fn immutable_is_refused_beside_a_writer() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = closed_store(directory.path());
    let db = open(&Options::new(), &path);
    let refused = || {
        let error = try_open(&immutable(), &path).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    };
    refused();
    fork(|_| {
        refused();
        Ok(())
    })
    .end();
    let exported = db.begin_read().unwrap().export("").unwrap();
    db.close().unwrap();
    // The descriptor still has a part in the lock file.
    refused();
    drop(exported);
    assert_readable(&open(&immutable(), &path));
    // A child that was forked from a writer counts.
    let db = open(&Options::new(), &path);
    let mut db = Some(db);
    let mut child = fork(|link| {
        say(link);
        hear(link);
        Ok(())
    });
    hear(&mut child.link);
    db.take().unwrap().close().unwrap();
    refused();
    say(&mut child.link);
    child.end();
    assert_readable(&open(&immutable(), &path));
}

#[test]
fn a_store_that_was_not_closed_is_not_read_as_if_it_were() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = dead_store(directory.path());
    let error = try_open(&immutable(), &path).unwrap_err();
    assert!(matches!(error, Error::LogToReplay { txns: 5 }), "{error:?}");
    assert_eq!(counter(&open(&immutable().ignore_log(true), &path)), 3);
    assert_eq!(counter(&open(&Options::new(), &path)), 8);
    assert_eq!(counter(&open(&immutable(), &path)), 8);
}

// ---- file systems ----

#[test]
fn local_file_systems_are_not_refused() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    assert_shared(&directory.path().join("here.maple"), &Options::new());
    in_own_mounts(|at| {
        let tmpfs = make_directory(at.join("tmpfs"));
        run("mount", &["-t", "tmpfs", "none", text(&tmpfs)])?;
        assert_shared(&tmpfs.join("a.maple"), &Options::new());
        Ok(())
    });
    in_own_mounts(|at| {
        let (image, target) = (at.join("image.ext4"), make_directory(at.join("ext4")));
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        run("mount", &["-o", "loop", text(&image), text(&target)])?;
        assert_shared(&target.join("a.maple"), &Options::new());
        Ok(())
    });
}

fn mount_overlay(at: &Path) -> Result<PathBuf, String> {
    // Not on an overlay itself.
    let base = make_directory(at.join("base"));
    run("mount", &["-t", "tmpfs", "none", text(&base)])?;
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| make_directory(base.join(name)));
    closed_store(&lower);
    let layers = format!("lowerdir={},upperdir={},workdir={}", text(&lower), text(&upper), text(&work));
    run("mount", &["-t", "overlay", "overlay", "-o", &layers, text(&merged)])?;
    Ok(merged)
}

#[test]
fn an_overlay_is_not_refused() {
    let _alone = alone();
    in_own_mounts(|at| {
        let merged = mount_overlay(at)?;
        assert_shared(&merged.join("new.maple"), &Options::new());
        let db = open(&Options::new(), &merged.join("a.maple"));
        assert_eq!(counter(&db), 3);
        add(&db).unwrap();
        assert_clean(&db);
        Ok(())
    });
}

/// The file that a reader has opened in the lower layer is another one than that which a writer makes of it.
#[test]
fn a_reader_of_an_overlays_lower_layer_sees_what_is_written_later_or_keeps_writers_out() {
    let _alone = alone();
    for options in [read_only(), immutable()] {
        in_own_mounts(|at| {
            let path = mount_overlay(at)?.join("a.maple");
            let reader = open(&options, &path);
            let r = reader.begin_read().unwrap();
            let before = contents(&r);
            let mut writer = fork(|link| {
                match try_open(&Options::new(), &path) {
                    Ok(db) => {
                        churn(&db, 60);
                        add(&db).unwrap();
                        link.write_all(b"4").unwrap();
                        hear(link);
                    }
                    Err(Error::Busy { .. }) => link.write_all(b"3").unwrap(),
                    Err(error) => panic!("{error:?}"),
                }
                Ok(())
            });
            let mut expected = [0];
            writer.link.read_exact(&mut expected).unwrap();
            assert_eq!(counter(&reader), u64::from(expected[0] - b'0'));
            assert_eq!(contents(&r), before);
            assert_clean(&reader);
            let _ = writer.link.write_all(b"!");
            writer.end();
            Ok(())
        });
    }
}

#[test]
fn fuse_is_refused_unless_it_is_allowed() {
    let _alone = alone();
    in_own_mounts(|at| {
        let (source, target) = (make_directory(at.join("source")), make_directory(at.join("fuse")));
        closed_store(&source);
        run("bindfs", &[text(&source), text(&target)])?;
        let path = target.join("a.maple");
        let before = listing(&source);
        for options in [Options::new(), read_only()] {
            let error = try_open(&options, &path).unwrap_err();
            let is_it =
                matches!(&error, Error::NetworkFileSystem { path: named, name: "FUSE" } if *named == path);
            assert!(is_it, "{error:?}");
        }
        let error = try_open(&Options::new(), &target.join("new.maple")).unwrap_err();
        assert!(matches!(error, Error::NetworkFileSystem { .. }), "{error:?}");
        let error = Options::new().temporary_in(&target).unwrap_err();
        assert!(matches!(error, Error::NetworkFileSystem { .. } | Error::Io { .. }), "{error:?}");
        // A descriptor does not hide where it leads to.
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: the file is the test's own.
        let error = unsafe { Database::from_fd(file.into()) }.unwrap_err();
        assert!(matches!(error, Error::NetworkFileSystem { .. }), "{error:?}");
        assert_eq!(listing(&source), before, "something was written");
        // Who promises that nobody writes is believed.
        assert_readable(&open(&immutable(), &path));
        assert_eq!(listing(&source), before, "something was written");
        let any = Options::new().any_file_system(true);
        assert_eq!(counter(&open(&any, &path)), 3);
        assert_shared(&target.join("new.maple"), &any);
        Ok(())
    });
}
