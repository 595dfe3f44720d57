//! The twin: what can.
use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use mapleaf::{Database, Result, Table, Value};

#[derive(Value, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[repr(C)]
struct Named {
    age: u32,
    name: [u8; 12],
}

const NAMED: Table<u64, Named> = Table::new("named");

pub fn run(db: &Database, named: &Named) -> Result<u32> {
    db.write(|w| w.put(NAMED, &1, named))?;
    Ok(db.begin_read()?.get(NAMED, &1)?.map_or(0, |named| named.age))
}

fn main() {}
