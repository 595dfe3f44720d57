//! The twin of `value_held_across_commit`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let w = db.begin_write()?;
    let value = w.get(WORDS, "a")?;
    let len = value.map_or(0, str::len);
    w.commit()?;
    Ok(len)
}

fn main() {}
