//! The twin of `table_of_a_type_without_order`, which compiles.
use mapleaf::{Database, Result, Table};

const PLACES: Table<u32, u64> = Table::new("places");

pub fn run(_: &Database) -> Result<()> {
    let _ = PLACES;
    Ok(())
}

fn main() {}
