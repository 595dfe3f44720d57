//! The twin of `entry_held_after_its_range_across_delete`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let w = db.begin_write()?;
    let entry = w.range(WORDS, ..)?.next_back().transpose()?;
    Ok(entry.map_or(0, |(key, _)| key.len()))
}

fn main() {}
