//! All threads of a pool scan one table: a snapshot, and then a txn that is not committed yet.
//!
//! `split` divides a range into parts of equal count by reading the paths to their borders only; rayon does the rest.

use mapleaf::{Database, Range, Result, Table, WriteTxn};
use rayon::prelude::*;

const VISITS: Table<u64, u64> = Table::new("visits");

fn main() -> Result<()> {
    let db = Database::temporary()?;
    db.write(|w| visit(w, 0..300_000))?;
    let r = db.begin_read()?;
    println!("the snapshot: {} milliseconds", sum_of(r.split(VISITS, .., parts())?)?);

    let mut w = db.begin_write()?;
    visit(&mut w, 300_000..400_000)?;
    w.delete_range(VISITS, ..100_000)?;
    println!("not committed yet: {} milliseconds", sum_of(w.split(VISITS, .., parts())?)?);

    let longest = w
        .split(VISITS, 150_000.., parts())?
        .into_par_iter()
        .map(longest)
        .try_reduce(|| 0, |a, b| Ok(a.max(b)))?;
    println!("the longest of the later ones: {longest} milliseconds");
    w.commit()
}

/// A few for each thread, so that nobody waits long for the slowest.
fn parts() -> usize {
    4 * rayon::current_num_threads()
}

fn sum_of(parts: Vec<Range<'_, u64, u64>>) -> Result<u64> {
    parts.into_par_iter().map(|part| part.map(|visit| Ok(visit?.1)).sum::<Result<u64>>()).sum()
}

fn longest(mut part: Range<'_, u64, u64>) -> Result<u64> {
    part.try_fold(0, |longest, visit| Ok(longest.max(visit?.1)))
}

fn visit(w: &mut WriteTxn, mut ids: std::ops::Range<u64>) -> Result<()> {
    ids.try_for_each(|id| w.put(VISITS, &id, &(id % 1000)).map(drop))
}
