//! What a cursor returns borrows from it: it cannot be held across a change there.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let mut cursor = w.cursor_mut(WORDS)?;
    let entry = cursor.seek_ge("a")?;
    cursor.delete()?; //~ E0499
    Ok(entry.map_or(0, |(key, _)| key.len()))
}

fn main() {}
