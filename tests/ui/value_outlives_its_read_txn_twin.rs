//! The twin of `value_outlives_its_read_txn`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let r = db.begin_read()?;
    let value = { r.get(WORDS, "a")? };
    Ok(value.map_or(0, str::len))
}

fn main() {}
