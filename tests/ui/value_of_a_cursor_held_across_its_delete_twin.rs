//! The twin of `value_of_a_cursor_held_across_its_delete`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let mut cursor = w.cursor_mut(WORDS)?;
    let entry = cursor.seek_ge("a")?;
    let len = entry.map_or(0, |(key, _)| key.len());
    cursor.delete()?;
    Ok(len)
}

fn main() {}
