//! The twin of `view_held_across_put`, which compiles.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database) -> Result<u64> {
    let mut w = db.begin_write()?;
    w.put(NUMBERS, &1, &2)?;
    let view = w.table(NUMBERS)?;
    Ok(view.len())
}

fn main() {}
