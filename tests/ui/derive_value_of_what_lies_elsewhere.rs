//! What cannot be read in place: one error each, also where a table of it is used.
use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use mapleaf::{Database, Result, Table, Value};
use std::collections::HashMap;

#[derive(Value)]
#[repr(C)]
struct Named {
    age: u32,
    name: String, //~ what this holds lies elsewhere in memory
    mail: Option<std::string::String>, //~ what this holds lies elsewhere in memory
    tags: [Vec<u8>; 2], //~ what this holds lies elsewhere in memory
    seen: HashMap<u8, u8>, //~ what this holds lies elsewhere in memory
    kind: &'static str, //~ what this holds lies elsewhere in memory
}

#[derive(Value)]
struct Boxed(Box<[u8]>); //~ what this holds lies elsewhere in memory

#[derive(Value)]
#[repr(C)]
struct Bare { //~ E0080
    x: f64,
}

#[derive(Value, FromBytes, IntoBytes, KnownLayout)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[repr(C)]
struct Mutable { //~ E0080
    x: f64,
}

#[derive(Value, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[repr(C)]
struct Whole {
    x: f64,
}

const NAMED: Table<u64, Named> = Table::new("named");
const BARE: Table<u64, Bare> = Table::new("bare");
const WHOLE: Table<u64, [Whole]> = Table::new("whole");

pub fn run(db: &Database, named: &Named) -> Result<f64> {
    db.write(|w| {
        w.put(NAMED, &1, named)?;
        w.put(WHOLE, &1, &[Whole { x: 1.0 }])?;
        w.put(BARE, &1, &Bare { x: 0.5 })
    })?;
    Ok(db.begin_read()?.get(BARE, &1)?.map_or(0.0, |bare| bare.x))
}

fn main() {}
