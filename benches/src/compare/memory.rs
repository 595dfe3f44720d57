//! Random gets and puts of a store that is four times larger than the memory that its process may use, page
//! cache included: a process of its own in a memory group (cgroup v1 or v2). Caches of a store's own are half
//! of that.

use super::Run;
use super::child::{Work, answer, command};
use super::store::Store;
use crate::data::Shape;
use crate::engines::Kind;
use crate::{cache_bytes, set_cache_bytes};
use std::path::{Path, PathBuf};

const OPERATIONS: usize = 20_000;
const LEAST: u64 = 48 << 20;

/// A memory group that goes when it is dropped.
struct Group(PathBuf);

impl Group {
    fn new(limit: u64) -> std::io::Result<Self> {
        let (parent, file) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        let group = Group(Path::new(parent).join(format!("mapleaf-bench-{}", std::process::id())));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(file), limit.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

pub fn run(run: &mut Run) {
    let (key, value) = Shape::Bytes.lens();
    let limit = (run.pairs * (key + value) as u64 / 4).max(LEAST);
    let group = match Group::new(limit) {
        Ok(group) => group,
        Err(error) => return eprintln!("skipped: no memory group of {limit} bytes: {error}"),
    };
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    let data = run.data(Shape::Bytes);
    let count = run.count(OPERATIONS);
    let cache = cache_bytes();
    for round in 0..run.rounds {
        for kind in run.turn(round).into_iter().filter(|kind| kinds.contains(kind)) {
            set_cache_bytes(cache);
            let mut store = Store::load(kind, &run.place, Shape::Bytes, data.pairs());
            store.close();
            store.forget_pages();
            set_cache_bytes(limit as usize / 2);
            let mut limited = command(Work::Limited, kind, &store.directory, run.pairs, count, round);
            match answer(limited.arg(&group.0)) {
                Some(found) => {
                    run.record("memory_get", kind, round, found[0]);
                    run.record("memory_put", kind, round, found[1]);
                }
                None => eprintln!("{} does not live in {limit} bytes", kind.name()),
            }
            store.remove();
        }
    }
    set_cache_bytes(cache);
}
