//! How often a durable commit flushes, by strace; and how much memory a load takes. The sizes of the files
//! and the bytes that the disk writes are by-products of loads and of durable commits, so these run too.

use super::child::{Work, answer, command};
use super::store::Store;
use super::{Run, durable, loads};
use crate::data::Shape;
use crate::engines::Kind;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

const FEW: usize = 20;
const MANY: usize = 120;
const CALLS: &str = "trace=openat,close,fsync,fdatasync,msync,syncfs,write,pwrite64,writev,pwritev,pwritev2";

/// With loads and durable commits, unless there are figures of them already.
pub fn run(run: &mut Run) {
    let has = |run: &Run, row: &str| run.samples.iter().any(|sample| sample.row == row);
    if !has(run, "size_random") {
        loads::run(run);
    }
    if !has(run, "device_single") {
        durable::run(run);
    }
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    let data = run.data(Shape::Bytes);
    for kind in kinds {
        let mut store = Store::load(kind, &run.place, Shape::Bytes, data.pairs());
        store.close();
        let counted = |count| flushes(kind, &store.directory, run.pairs, count);
        let per_commit = (counted(MANY), counted(FEW));
        store.remove();
        match per_commit {
            (Some(many), Some(few)) => {
                run.record("flushes", kind, 0, (many as f64 - few as f64) / (MANY - FEW) as f64);
            }
            _ => eprintln!("flushes of {}: strace could not count them", kind.name()),
        }
        memory(run, kind);
    }
}

fn memory(run: &mut Run, kind: Kind) {
    let mut store = Store::create(kind, &run.place, Shape::Bytes);
    store.close();
    if let Some(found) = answer(&mut command(Work::Load, kind, &store.directory, run.pairs, 0, 0)) {
        run.record("peak_memory", kind, 0, found[0]);
        run.record("peak_private", kind, 0, found[1]);
    }
    store.remove();
}

/// How often a process that makes so many durable single puts flushed, all in all.
fn flushes(kind: Kind, directory: &Path, pairs: u64, count: usize) -> Option<u64> {
    let work = command(Work::Commits, kind, directory, pairs, count, 7);
    let trace = directory.with_extension("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", CALLS, "-o"]).arg(&trace).arg(work.get_program()).args(work.get_args());
    if !strace.status().ok()?.success() {
        return None;
    }
    let text = std::fs::read(&trace).ok()?;
    let _ = std::fs::remove_file(trace);
    Some(count_flushes(&String::from_utf8_lossy(&text)))
}

/// Calls that return only when the disk has something, and writes through descriptors that are synchronous.
/// sync_file_range is none: it does not make the disk keep what it has.
fn count_flushes(trace: &str) -> u64 {
    let mut synchronous = HashSet::new();
    let mut flushes = 0;
    for line in trace.lines() {
        let Some((_, call)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let descriptor = || arguments.split([',', ')']).next().unwrap_or("").trim().to_owned();
        match name {
            "openat" if arguments.contains("O_DSYNC") || arguments.contains("O_SYNC") => {
                synchronous.extend(arguments.rsplit_once("= ").map(|(_, fd)| fd.trim().to_owned()));
            }
            "openat" => {
                arguments.rsplit_once("= ").map(|(_, fd)| synchronous.remove(fd.trim()));
            }
            "close" => {
                synchronous.remove(&descriptor());
            }
            "fsync" | "fdatasync" | "syncfs" => flushes += 1,
            "msync" => flushes += u64::from(arguments.contains("MS_SYNC")),
            _ => {
                let is_flagged = arguments.contains("RWF_DSYNC") || arguments.contains("RWF_SYNC");
                flushes += u64::from(is_flagged || synchronous.contains(&descriptor()));
            }
        }
    }
    flushes
}
