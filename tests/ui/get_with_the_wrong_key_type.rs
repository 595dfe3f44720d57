//! A key of another type than the table's.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database) -> Result<Option<u64>> {
    db.begin_read()?.get(NUMBERS, "one") //~ E0277
}

fn main() {}
