//! The twin of `value_of_an_entry_held_across_put`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let len = w.entry(WORDS, "a")?.or_insert("b")?.len();
    w.put(WORDS, "c", "d")?;
    Ok(len)
}

fn main() {}
