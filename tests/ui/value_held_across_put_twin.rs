//! The twin of `value_held_across_put`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let value = w.get(WORDS, "a")?.map(str::to_owned);
    w.put(WORDS, "b", "c")?;
    Ok(value.map_or(0, |value| value.len()))
}

fn main() {}
