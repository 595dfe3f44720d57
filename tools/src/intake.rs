//! Putting records from elsewhere into a store.
//!
//! Owns: when is committed, what is counted, and what becomes of a new store when something fails. Promises: without a batch
//! all is put in one txn or nothing is; a file that was made for it is removed again. Leaves to others: where records
//! come from ([`crate::commands::load`], [`crate::commands::import`]).

use crate::cli::{ReportArgs, TurnArg};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{counted, plural};
use crate::store::{open_to_write, remove_new, shown};
use mapleaf::{Database, Schema, TableInfo, WriteTxn};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Where it goes, and how.
pub struct Into<'i> {
    /// The store.
    pub file: &'i Path,
    /// Whether it is made if it is not there.
    pub create: bool,
    /// Of a new store.
    pub page_size: Option<usize>,
    /// Commit after so many records.
    pub batch: Option<u64>,
    /// Keys that are there keep their values.
    pub no_overwrite: bool,
    /// How long to wait for the turn to write.
    pub turn: TurnArg,
}

impl Into<'_> {
    /// Lets `put` put records, and commits them. A failure says what was kept all the same.
    pub fn fill(&self, put: impl FnOnce(&mut Intake<'_>) -> Result<()>) -> Result<Counts> {
        let existed = fs::symlink_metadata(self.file).is_ok();
        let db = open_to_write(self.file, self.create, self.page_size)?;
        let mut intake = Intake { into: self, db: &db, txn: None, counts: Counts::default() };
        let done = put(&mut intake).and_then(|()| intake.commit());
        let Intake { counts, txn, .. } = intake;
        drop(txn);
        match done {
            Ok(()) => {
                db.close()?;
                Ok(counts)
            }
            Err(failure) => {
                if !existed {
                    remove_new(&db, self.file);
                }
                Err(failure.and(&counts.after_failure()))
            }
        }
    }
}

/// What was done.
#[derive(Default)]
pub struct Counts {
    loaded: u64,
    skipped: u64,
    /// Of those that were loaded: pairs of a multimap that were there.
    repeated: u64,
    committed: u64,
    tables: BTreeSet<String>,
    columns: Option<String>,
}

impl Counts {
    fn after_failure(&self) -> String {
        match self.committed {
            0 => "nothing was loaded".into(),
            1 => "the first record was committed (--batch)".into(),
            committed => format!("the first {committed} records were committed (--batch)"),
        }
    }

    /// Tells it. As db_load has it, keys that were to stay as they are, and did, are a problem.
    pub fn tell(&self, file: &Path, no_overwrite: bool, report: ReportArgs) -> Result {
        let Counts { loaded, skipped, tables, .. } = self;
        let records = |count: u64| counted(count, "record", "records");
        let there = if no_overwrite { format!(", {skipped} skipped that were there") } else { String::new() };
        let repeated = match self.repeated {
            0 => String::new(),
            repeated => format!(", {} of them new,", loaded - repeated),
        };
        let line = format!("loaded {}{repeated} into {}{there}", records(*loaded), self.tables_told());
        report.tell(&line, &json!({ "loaded": loaded, "skipped": skipped, "tables": tables }))?;
        if *skipped > 0 && !report.is_quiet() {
            let were =
                plural(*skipped, "was not loaded, for its key is", "were not loaded, for their keys are");
            tell(&format!("{}: {} {were} there", file.display(), records(*skipped)));
        }
        Ok(self.outcome())
    }

    fn tables_told(&self) -> String {
        let columns = self.columns.as_ref().map(|columns| format!(" ({columns})")).unwrap_or_default();
        match self.tables.first() {
            Some(only) if self.tables.len() == 1 => format!("table {}{columns}", shown(only)),
            _ => counted(self.tables.len() as u64, "table", "tables"),
        }
    }

    /// Whether all was put.
    pub fn outcome(&self) -> Outcome {
        if self.skipped == 0 { Outcome::Fine } else { Outcome::Problem }
    }
}

/// Under way.
pub struct Intake<'d> {
    into: &'d Into<'d>,
    db: &'d Database,
    txn: Option<WriteTxn>,
    counts: Counts,
}

impl Intake<'_> {
    /// The txn that records are put into.
    pub fn txn(&mut self) -> Result<&mut WriteTxn> {
        Ok(match &mut self.txn {
            Some(txn) => txn,
            none => none.insert(self.into.turn.begin(self.db)?),
        })
    }

    /// The table as it is stored; where there is none it is made, and `None` returned.
    pub fn table(&mut self, name: &str, schema: &Schema) -> Result<Option<TableInfo>> {
        let txn = self.txn()?;
        let stored = txn.tables()?.into_iter().find(|stored| stored.name == name);
        if stored.is_none() {
            txn.create_table(name, schema)?;
        }
        self.counts.tables.insert(name.to_owned());
        Ok(stored)
    }

    /// The columns that records are made of, for what is told of them.
    pub fn take_from(&mut self, columns: String) {
        self.counts.columns = Some(columns);
    }

    /// Puts a record into a table that is there; `what` names it where that fails.
    pub fn put(
        &mut self,
        table: &str,
        multi: bool,
        key: &[u8],
        value: &[u8],
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let no_overwrite = self.into.no_overwrite;
        let txn = self.txn()?;
        let is_new = match no_overwrite {
            _ if multi => txn.raw_put_value(table, key, value),
            true => txn.raw_put_new(table, key, value),
            false => txn.raw_put(table, key, value).map(|_| true),
        };
        self.count(is_new, what)
    }

    /// Puts a long value, part by part, into a table that is there and no multimap.
    pub fn put_from(
        &mut self,
        table: &str,
        key: &[u8],
        len: u64,
        value: impl Read,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let no_overwrite = self.into.no_overwrite;
        let txn = self.txn()?;
        let is_kept = no_overwrite
            && match txn.raw_table(table)? {
                Some(view) => view.contains(key)?,
                None => false,
            };
        let put = match is_kept {
            true => Ok(false),
            false => txn.raw_put_from(table, key, len, value).map(|_| true),
        };
        self.count(put, what)
    }

    /// Counts what was put, or was not as it is there.
    fn count(&mut self, is_new: mapleaf::Result<bool>, what: impl FnOnce() -> String) -> Result<()> {
        let is_new = is_new.map_err(|error| Failure::problem(format!("{}: {error}", what())))?;
        let put = is_new || !self.into.no_overwrite;
        self.counts.repeated += u64::from(put && !is_new);
        self.counts.loaded += u64::from(put);
        self.counts.skipped += u64::from(!put);
        let records = self.counts.loaded + self.counts.skipped;
        match self.into.batch.is_some_and(|batch| records.is_multiple_of(batch)) {
            true => self.commit(),
            false => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<()> {
        if let Some(txn) = self.txn.take() {
            txn.commit()?;
            self.counts.committed = self.counts.loaded;
        }
        Ok(())
    }
}
