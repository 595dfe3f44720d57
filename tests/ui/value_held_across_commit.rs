//! A value of a write txn ends with it.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let w = db.begin_write()?;
    let value = w.get(WORDS, "a")?;
    w.commit()?; //~ E0505
    Ok(value.map_or(0, str::len))
}

fn main() {}
