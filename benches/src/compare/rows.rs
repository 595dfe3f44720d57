//! The rows: what each is called, what its figure counts, and what the project asks of it (`targets.json`).

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nanoseconds; compared as speed.
    Nanos,
    Bytes,
    Count,
    /// A quotient of two figures; more is better.
    Quotient,
}

pub struct Row {
    pub id: String,
    pub name: String,
    pub unit: Unit,
}

/// What the project asks of a row. `at_least` is of mapleaf's figure beside LMDB's where the row has a
/// unit to compare, of the figure itself in quotients; `at_most` bounds the figure.
#[derive(Deserialize)]
pub struct Target {
    pub asks: String,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

pub fn targets() -> HashMap<String, Target> {
    serde_json::from_str(include_str!("../../targets.json")).expect("targets.json is right")
}

const ROWS: &[(&str, &str, Unit)] = &[
    ("get", "random get", Unit::Nanos),
    ("get_zipf", "Zipf get", Unit::Nanos),
    ("get_u64", "u64 → u64 get", Unit::Nanos),
    ("get_kib", "get of 1-KiB values", Unit::Nanos),
    ("get_many", "get_many(16), a key", Unit::Nanos),
    ("seek", "seek + 10 next", Unit::Nanos),
    ("scan", "full scan, an entry", Unit::Nanos),
    ("scan_reverse", "reverse scan, an entry", Unit::Nanos),
    ("scan_u64", "u64 scan, an entry", Unit::Nanos),
    ("begin_read", "begin_read + drop", Unit::Nanos),
    ("load_random", "load, random order, one txn", Unit::Nanos),
    ("load_ascending", "load, ascending, one txn", Unit::Nanos),
    ("load_u64", "load, u64 ascending, one txn", Unit::Nanos),
    ("load_kib", "load, 1-KiB values, one txn", Unit::Nanos),
    ("overwrite", "overwrite 100,000 random, one txn", Unit::Nanos),
    ("delete_half", "delete half, one txn", Unit::Nanos),
    ("single", "durable single put", Unit::Nanos),
    ("batch100", "durable batches of 100, a put", Unit::Nanos),
    ("batch1000", "durable batches of 1,000, a put", Unit::Nanos),
    ("threads8", "durable single puts, eight threads", Unit::Nanos),
    ("not_waiting", "single put, not waiting for the disk", Unit::Nanos),
    ("get_beside", "get beside a committing writer", Unit::Nanos),
    ("cold_get", "cold random get", Unit::Nanos),
    ("cold_bytes", "bytes read from the disk, a cold get", Unit::Bytes),
    ("open", "open a clean store, first get", Unit::Nanos),
    ("get_two_processes", "gets from 2 processes, a get in each", Unit::Nanos),
    ("two_processes", "gets from 2 processes, each beside alone", Unit::Quotient),
    ("size_random", "file after random load", Unit::Bytes),
    ("size_ascending", "file after ascending load", Unit::Bytes),
    ("size_u64", "file after u64 ascending load", Unit::Bytes),
    ("size_kib", "file after load of 1-KiB values", Unit::Bytes),
    ("size_compacted", "file after deleting half and compacting", Unit::Bytes),
    ("device_single", "device bytes a durable single put", Unit::Bytes),
    ("device_batch100", "device bytes a put in batches of 100", Unit::Bytes),
    ("flushes", "flushes a durable commit", Unit::Count),
    ("peak_memory", "peak resident memory of a load", Unit::Bytes),
    ("peak_private", "of it not file pages, at the end", Unit::Bytes),
    ("memory_get", "random get, memory a quarter of the data", Unit::Nanos),
    ("memory_put", "put, batches of 100, memory a quarter of the data", Unit::Nanos),
    ("sustained_put", "sustained durable single puts", Unit::Nanos),
    ("sustained_get", "gets beside them, 100 a snapshot", Unit::Nanos),
    ("sustained_stall", "longest stall of a put", Unit::Nanos),
    ("sustained_growth", "growth of the files meanwhile", Unit::Bytes),
];

/// The row of this id; `id@size` are rows of growth.
pub fn row(id: &str) -> Row {
    let (name, unit) = match id.split_once('@') {
        Some((what, size)) => {
            let unit = if what == "growth_size" { Unit::Bytes } else { Unit::Nanos };
            (format!("{} at {size} pairs", what.trim_start_matches("growth_")), unit)
        }
        None => match ROWS.iter().find(|row| row.0 == id) {
            Some((_, name, unit)) => ((*name).to_owned(), *unit),
            None => (id.replace('_', " "), Unit::Nanos),
        },
    };
    Row { id: id.to_owned(), name, unit }
}
