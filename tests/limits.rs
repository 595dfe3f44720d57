//! A process with little of everything: errors or smaller steps, never a signal.
//!
//! A test runs itself again under the shell's `ulimit`, in a group with little memory, or limits itself step by step.

#![allow(unsafe_code)]

mod common;

use mapleaf::{Error, Options, Table};
use std::process::Command;

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

/// Runs the test of this name again, limited. `None` in the limited process itself.
fn limited(limit: &str, test: &str) -> Option<std::process::ExitStatus> {
    if std::env::var_os("MAPLEAF_LIMITED").is_some() {
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!("ulimit {limit} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program).env("MAPLEAF_LIMITED", "1").env("RUST_BACKTRACE", "0");
    Some(command.status().unwrap())
}

fn fill(db: &mapleaf::Database, keys: std::ops::Range<u64>) -> mapleaf::Result<()> {
    db.write(|w| {
        for key in keys {
            w.put(BLOBS, &key, &[7; 2000])?;
        }
        Ok(())
    })
}

#[test]
fn a_store_that_outgrows_scarce_address_space_is_mapped_anew() {
    if let Some(status) = limited("-v 600000", "a_store_that_outgrows_scarce_address_space_is_mapped_anew") {
        tried("F23", "a_store_that_outgrows_scarce_address_space_is_mapped_anew", 1);
        return assert!(status.success());
    }
    let db = common::TestDb::with(Options::new().dirty_limit(1 << 20));
    fill(&db, 0..100).unwrap();
    let reader = db.begin_read().unwrap();
    let first = reader.get(BLOBS, &5).unwrap().unwrap();
    for round in 0..40 {
        fill(&db, round * 1000..round * 1000 + 1000).unwrap();
    }
    assert!(db.file_len() > 80 << 20);
    assert_eq!(first, [7; 2000], "the old mapping is where it was");
    assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 40_000);
}

#[test]
fn a_file_size_limit_is_an_error_and_the_store_goes_on() {
    if let Some(status) = limited("-f 4096", "a_file_size_limit_is_an_error_and_the_store_goes_on") {
        tried("F25", "a_file_size_limit_is_an_error_and_the_store_goes_on", 1);
        return assert!(status.success());
    }
    let db = common::TestDb::new();
    fill(&db, 0..100).unwrap();
    match fill(&db, 0..5000) {
        Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(27), "EFBIG"),
        other => panic!("{other:?}"),
    }
    assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 100);
    fill(&db, 0..110).unwrap();
}

// ---- limits that are set from within ----

/// Runs the test of this name again, alone in its process. `false` in that process itself.
fn alone_in_a_process(test: &str) -> bool {
    if std::env::var_os("MAPLEAF_LIMITED").is_some() {
        return false;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("MAPLEAF_LIMITED", "1")
        // One heap for all threads: that which gets its memory before it is scarce.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    true
}

/// A program whose allocator has no memory is ended by the language; this is about what is mapped.
fn have_enough_memory() {
    for (parameter, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, i32::MAX)] {
        // SAFETY: it has no pointers.
        assert_eq!(unsafe { libc::mallopt(parameter, value) }, 1);
    }
    drop(std::hint::black_box(vec![1u8; 64 << 20]));
}

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of the local.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: the pointer is that of the local.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// Whether it has failed for want of something, and for nothing else.
fn is_want(error: &Error, errnos: &[i32]) -> bool {
    matches!(error, Error::Io { source, .. } if source.raw_os_error().is_some_and(|errno| errnos.contains(&errno)))
}

fn tried(class: &str, test: &str, cases: usize) {
    println!("tried: {class} | {test} | {cases}");
}

#[test]
fn with_any_amount_of_address_space_a_store_works_or_is_an_error() {
    const NAME: &str = "with_any_amount_of_address_space_a_store_works_or_is_an_error";
    if alone_in_a_process(NAME) {
        return;
    }
    have_enough_memory();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.maple");
    let options = Options::new().dirty_limit(1 << 20);
    let db = common::open(&options, &path);
    fill(&db, 0..3000).unwrap();
    drop(db);
    let (mut opened, mut failed) = (0, 0);
    // What opening maps: the lock file, 16 MiB, and the data.
    for step in (0..80).map(|step| step << 19).chain((40..240).step_by(8).map(|step| step << 20)) {
        set_limit(libc::RLIMIT_AS, address_space() + step);
        let work = |keys: std::ops::Range<u64>| {
            let db = common::try_open(&options, &path)?;
            let before = db.begin_read()?;
            fill(&db, keys)?;
            before.get(BLOBS, &5)?;
            db.begin_read()?.len(BLOBS)
        };
        let ended = work(3000..3000 + step / (1 << 19) * 10);
        set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
        match ended {
            Ok(_) => opened += 1,
            Err(error) => {
                assert!(is_want(&error, &[libc::ENOMEM, libc::EAGAIN]), "{step}: {error:?}");
                failed += 1;
            }
        }
        let db = common::open(&options, &path);
        assert!(db.begin_read().unwrap().len(BLOBS).unwrap() >= 3000, "usable afterwards");
    }
    common::assert_clean(&common::open(&options, &path));
    println!("{opened} worked, {failed} were errors");
    assert!(opened > 0 && failed > 0, "{opened} and {failed}");
    tried("F23", NAME, opened + failed);
}

#[test]
fn with_any_number_of_descriptors_a_store_works_or_is_an_error() {
    const NAME: &str = "with_any_number_of_descriptors_a_store_works_or_is_an_error";
    if alone_in_a_process(NAME) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.maple");
    fill(&common::open(&Options::new(), &path), 0..100).unwrap();
    // Some are open behind the first that is not.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let (mut opened, mut failed) = (0, 0);
    for create in [false, true] {
        for limit in 0..open + 16 {
            let path = if create { directory.path().join(format!("{limit}.maple")) } else { path.clone() };
            set_limit(libc::RLIMIT_NOFILE, limit);
            let work = || {
                let db = common::try_open(&Options::new(), &path)?;
                fill(&db, 0..10)?;
                let r = db.begin_read()?;
                let exported = r.export("")?;
                // SAFETY: the file is the test's own.
                unsafe { mapleaf::ReadTxn::import(&exported) }?.len(BLOBS)?;
                // SAFETY: the same.
                unsafe { mapleaf::Database::from_fd(db.share()?) }.map(drop)
            };
            let ended = work();
            set_limit(libc::RLIMIT_NOFILE, 1024);
            match ended {
                Ok(()) => opened += 1,
                Err(error) => {
                    assert!(is_want(&error, &[libc::EMFILE]), "{limit}: {error:?}");
                    failed += 1;
                }
            }
            let db = common::open(&Options::new(), &path);
            fill(&db, 0..20).unwrap();
            common::assert_clean(&db);
        }
    }
    let names = std::fs::read_dir(directory.path()).unwrap().count() as u64;
    assert_eq!(names, 2 + 2 * (open + 16), "stores, lock files, and nothing else");
    println!("{opened} worked, {failed} were errors");
    assert!(opened > 0 && failed > 0, "{opened} and {failed}");
    tried("F23", NAME, opened + failed);
}

#[test]
fn at_any_file_size_limit_nothing_is_a_signal() {
    const NAME: &str = "at_any_file_size_limit_nothing_is_a_signal";
    if alone_in_a_process(NAME) {
        return;
    }
    // SAFETY: that of the harness may be another.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    let directory = tempfile::tempdir().unwrap();
    let (mut worked, mut failed) = (0, 0);
    let limits =
        (0..16).map(|pages| pages * 4096).chain((1..40).map(|step| step * 50_000)).chain([4 << 20, 16 << 20]);
    for (i, limit) in limits.enumerate() {
        for create in [true, false] {
            let path = directory.path().join(format!("{i}-{create}.maple"));
            if !create {
                let db = common::open(&Options::new(), &path);
                fill(&db, 0..100).unwrap();
            }
            set_limit(libc::RLIMIT_FSIZE, limit);
            let mut kept = 0;
            let work = |kept: &mut u64| {
                let db = common::try_open(&Options::new().dirty_limit(1 << 20), &path)?;
                for keys in [10, 50, 400, 2000, 4] {
                    let ended = fill(&db, 100..100 + keys);
                    *kept = if ended.is_ok() { (*kept).max(keys) } else { *kept };
                    let r = db.begin_read()?;
                    assert!(r.len(BLOBS)? >= *kept);
                    ended?;
                }
                db.close()
            };
            let ended = work(&mut kept);
            set_limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);
            match ended {
                Ok(()) => worked += 1,
                Err(error) => {
                    assert!(is_want(&error, &[libc::EFBIG]), "{limit}, {create}: {error:?}");
                    failed += 1;
                }
            }
            let db = common::open(&Options::new(), &path);
            let len = db.begin_read().unwrap().len(BLOBS).unwrap();
            assert_eq!(len, kept + if create { 0 } else { 100 }, "{limit}, {create}");
            fill(&db, 0..20).unwrap();
            common::assert_clean(&db);
        }
    }
    println!("{worked} worked, {failed} were errors");
    assert!(worked > 0 && failed > 0, "{worked} and {failed}");
    tried("F25", NAME, worked + failed);
}

/// A group of processes with little memory, where the system has such groups (version 1). It ends with this.
struct Group {
    path: std::path::PathBuf,
}

impl Group {
    fn with(limit: u64) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let is_memory = |fields: &Vec<&str>| {
            fields[2] == "cgroup" && fields[3].split(',').any(|option| option == "memory")
        };
        let at = lines.find(is_memory)?[1].to_owned();
        let path = std::path::Path::new(&at).join(format!("mapleaf-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let group = Group { path };
        std::fs::write(group.path.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(group)
    }

    fn number(&self, name: &str) -> u64 {
        std::fs::read_to_string(self.path.join(name)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path.join("memory.force_empty"), "0");
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[test]
fn a_store_five_times_as_large_as_its_memory_is_read_and_written() {
    const NAME: &str = "a_store_five_times_as_large_as_its_memory_is_read_and_written";
    const KEYS: u64 = 80_000;
    if std::env::var_os("MAPLEAF_LIMITED").is_none() {
        let Some(group) = Group::with(32 << 20) else {
            return println!("skipped: there are no memory groups of version 1, or it needs root");
        };
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.path.display());
        let status = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env("MAPLEAF_LIMITED", "1")
            .status()
            .unwrap();
        let (most, refused) = (group.number("memory.max_usage_in_bytes"), group.number("memory.failcnt"));
        println!("at most {most} bytes, {refused} times at the limit");
        assert!(status.success(), "{status}");
        assert!(refused > 0, "the limit was never met: {most} bytes");
        return tried("F23", NAME, 1);
    }
    // On a disk: what is in a tmpfs is memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("a.maple");
    // Large pages: with debug assertions each commit counts all of them, and that takes memory of its own.
    let options = Options::new().dirty_limit(4 << 20).log_limit(1 << 20).page_size(16384);
    let db = common::open(&options, &path);
    for round in 0..8 {
        fill(&db, round * KEYS / 8..(round + 1) * KEYS / 8).unwrap();
    }
    assert!(std::fs::metadata(&path).unwrap().len() > 5 * (32 << 20));
    let r = db.begin_read().unwrap();
    let mut key = 1;
    for i in 0..10_000u64 {
        key = (key * 6_364_136_223 + 1_442_695) % KEYS;
        assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[7; 2000][..]));
        if i % 100 == 0 {
            db.write(|w| w.put(BLOBS, &key, &[7; 2000])).unwrap();
        }
    }
    assert_eq!(r.iter(BLOBS).unwrap().count() as u64, KEYS);
    drop(r);
    common::assert_clean(&db);
    db.close().unwrap();
    common::assert_clean(&common::open(&options, &path));
}
