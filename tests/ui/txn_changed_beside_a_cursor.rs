//! While a cursor that writes lives, the txn is changed through it alone.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<bool> {
    let mut w = db.begin_write()?;
    let mut cursor = w.cursor_mut(WORDS)?;
    w.put(WORDS, "a", "b")?; //~ E0499
    cursor.delete()
}

fn main() {}
