//! Importing LMDB environments (data versions 1 to 3), read by [`crate::lmdb_file`].
//!
//! A named database becomes the table of that name, the records of the main one the main table. `DUPSORT` is a multimap.
//! `INTEGERKEY` and `INTEGERDUP`, whose bytes are in the order of the machine, become u32 or u64, in order; what was in
//! reverse order is in plain order.
//!
//! Where programs that write to it have written pages anew before they were read, the import begins again with the newest
//! state, as long as nothing was committed here: writers rest at times. Those that never do are to be stopped, or
//! `mdb_copy`, which holds a place among LMDB's readers, makes what is imported.

use super::Foreign;
use crate::failure::{Outcome, Result, tell};
use crate::intake::Intake;
use crate::lmdb_file::{Environment, Snapshot, Tree, Value};
use crate::progress::Meter;
use crate::store::{MAIN, shown};
use mapleaf::Schema;
use std::borrow::Cow;
use std::thread::sleep;
use std::time::Duration;

/// An environment of up to so many bytes is read at once: writers then have less time to be faster.
const IN_MEMORY: u64 = 64 << 20;
/// How long is waited before each time that it begins again.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];

/// Runs it.
pub fn run(args: &Foreign) -> Result {
    let env = Environment::open(&args.source)?;
    let mut pauses = PAUSES.into_iter();
    loop {
        let snapshot = env.newest(IN_MEMORY)?;
        match args.target.fill(|intake| put_all(args, intake, &snapshot)) {
            Err(failure) if snapshot.has_moved() && args.target.batch.is_none() => match pauses.next() {
                Some(pause) => sleep(pause),
                None => return Err(failure),
            },
            counts => {
                let outcome = args.target.print(&counts?)?;
                return Ok(if snapshot.is_whole() { outcome } else { Outcome::Problem });
            }
        }
    }
}

fn put_all(args: &Foreign, intake: &mut Intake<'_>, snapshot: &Snapshot<'_>) -> Result<()> {
    let mut named = Vec::new();
    let mut main = Table::new(args, MAIN, snapshot.main());
    snapshot.records(snapshot.main(), &mut |key, value| match value {
        Value::Database(tree) => {
            // Versions 2 and 3 end names with a zero.
            let name = key.strip_suffix(b"\0").unwrap_or(key);
            match std::str::from_utf8(name) {
                Ok(name) => named.push((name.to_owned(), tree)),
                Err(_) if !args.wants(&String::from_utf8_lossy(name)) => {}
                Err(_) => {
                    return Err(args.wrong(format!(
                        "a database whose name is not UTF-8: {}; give the tables that are wanted with -s",
                        name.escape_ascii()
                    )));
                }
            }
            Ok(())
        }
        value => main.put(intake, key, value),
    })?;
    let names = named.iter().map(|(name, _)| name.as_str());
    args.expect(names.chain((main.found > 0).then_some(MAIN)))?;
    for (name, tree) in &named {
        if args.wants(name) {
            let mut table = Table::new(args, name, tree);
            snapshot.records(tree, &mut |key, value| table.put(intake, key, value))?;
            table.begin(intake, None)?;
        }
    }
    Ok(())
}

/// A table that is filled.
struct Table<'t> {
    args: &'t Foreign,
    name: &'t str,
    tree: &'t Tree,
    /// Bytes of integers, known with the first record.
    widths: Option<(Option<usize>, Option<usize>)>,
    found: u64,
    meter: Meter,
}

impl<'t> Table<'t> {
    fn new(args: &'t Foreign, name: &'t str, tree: &'t Tree) -> Self {
        let meter = Meter::new("importing", "records", Some(tree.len()));
        Table { args, name, tree, widths: None, found: 0, meter }
    }

    /// Makes the table, unless it is made. What LMDB does not say, how long integers are, the first record does.
    fn begin(
        &mut self,
        intake: &mut Intake<'_>,
        first: Option<(&[u8], &[u8])>,
    ) -> Result<(Option<usize>, Option<usize>)> {
        if let Some(widths) = self.widths {
            return Ok(widths);
        }
        let Table { args, name, tree, .. } = *self;
        let in_reverse = [(tree.has_reverse_keys(), "keys"), (tree.has_reverse_values(), "values")];
        for (_, what) in in_reverse.into_iter().filter(|(is_reverse, _)| *is_reverse) {
            tell(&format!(
                "{}: table {}: {what} that were in reverse order are kept as they are, their order becomes bytewise",
                args.source.display(),
                shown(name)
            ));
        }
        let (key, value) = first.map_or((8, 8), |(key, value)| (key.len(), value.len()));
        let widths @ (key_width, value_width) =
            (tree.has_integer_keys().then_some(key), tree.has_integer_values().then_some(value));
        let number =
            |width: Option<usize>| match width {
                None => Ok("bytes"),
                Some(4) => Ok("u32"),
                Some(8) => Ok("u64"),
                Some(len) => Err(args
                    .wrong(format!("table {}: integers of {len} bytes, where LMDB has 4 or 8", shown(name)))),
            };
        let schema = Schema {
            key_type: number(key_width)?.into(),
            value_type: number(value_width)?.into(),
            key_width,
            value_width,
            multi: tree.is_multi(),
            ..Schema::bytes()
        };
        args.table(intake, name, &schema)?;
        self.widths = Some(widths);
        Ok(widths)
    }

    fn put(&mut self, intake: &mut Intake<'_>, key: &[u8], value: Value<'_>) -> Result<()> {
        self.found += 1;
        if !self.args.wants(self.name) {
            return Ok(());
        }
        let record = self.found;
        let Table { args, name, tree, .. } = *self;
        let what = || format!("record {record} of table {} of {}", shown(name), args.source.display());
        let number = |bytes, width| {
            ordered(bytes, width)
                .map_err(|wrong| args.wrong(format!("record {record} of table {}: {wrong}", shown(name))))
        };
        match value {
            Value::Whole(value) => {
                let (key_width, value_width) = self.begin(intake, Some((key, value)))?;
                let (key, value) = (number(key, key_width)?, number(value, value_width)?);
                intake.put(name, tree.is_multi(), &key, &value, what)?;
            }
            Value::Long(run) => {
                let (key_width, _) = self.begin(intake, Some((key, b"")))?;
                intake.put_from(name, &number(key, key_width)?, run.len(), run, what)?;
            }
            Value::Database(_) => {
                return Err(args.wrong(format!("{}: expected a value, found a database", what())));
            }
        }
        self.meter.set(record);
        Ok(())
    }
}

/// Of an integer in the order of the machine the bytes whose order is its own.
fn ordered(bytes: &[u8], width: Option<usize>) -> Result<Cow<'_, [u8]>, String> {
    match width {
        None => Ok(bytes.into()),
        Some(width) if bytes.len() != width => {
            Err(format!("expected an integer of {width} bytes, found {}", bytes.len()))
        }
        Some(_) => Ok(bytes.iter().rev().copied().collect::<Vec<u8>>().into()),
    }
}
