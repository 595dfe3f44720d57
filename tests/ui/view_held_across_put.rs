//! A view of a table shows one state, so the table may not change under it.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database) -> Result<u64> {
    let mut w = db.begin_write()?;
    let view = w.table(NUMBERS)?;
    w.put(NUMBERS, &1, &2)?; //~ E0502
    Ok(view.len())
}

fn main() {}
