//! A value of a snapshot ends with it.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let value = {
        let r = db.begin_read()?;
        r.get(WORDS, "a")? //~ E0597
    };
    Ok(value.map_or(0, str::len))
}

fn main() {}
