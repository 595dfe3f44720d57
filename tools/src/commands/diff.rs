//! `mapleaf diff`: what was changed between two states of a store, or of two stores with a common history. Costs what the change does, not what the tables do.

use super::scan::bad;
use crate::cli::{Codecs, FormatArgs, JsonArg, LogArg, order};
use crate::failure::{Failure, Result};
use crate::output::{Output, painted, print};
use crate::store::{choose, open_to_read, shown};
use mapleaf::{Change, Database, PairChange, ReadTxn, TableChange, TableInfo};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// The arguments of diff.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints a sign, a tab, TABLE, a tab, KEY, a tab, VALUE on a line: + for a pair that there was not before, - for one that there is no more; a pair with another value is a - line and a + line. With -s no TABLE is printed. With --json each is one JSON object on a line: {\"table\": …, \"change\": \"inserted\", \"key\": …, \"value\": …}; or \"deleted\"; or \"changed\" with \"old\" and \"new\".\n\n--tables prints a sign, a tab, TABLE for each table that differs: + where it was created, - where it was dropped, ~ where it was written to. A table that was renamed is both dropped and created.\n\nPages that both states share are not read, so damage in them is not noticed. Of two files these are the pages of the last checkpoint that both remember to have come through: of a file and its copy little more than what was written to either since is read; files that have nothing in common, among them one that was restored and the one that the backup was of, are read whole.\n\nExamples:\n  mapleaf snapshot create app.maple before && ./upgrade && mapleaf diff app.maple --from before\n  mapleaf diff app.maple --from monday --to tuesday -s users | grep '^-'\n  mapleaf diff app.maple --from monday --tables\n  mapleaf diff yesterday.maple app.maple"
)]
pub struct Args {
    /// The store; where another is given, the older one
    pub file: PathBuf,
    /// Another store, whose state is the newer one: a copy that went its own way, or what the older one was copied from
    #[arg(value_name = "NEW_FILE")]
    newer: Option<PathBuf>,
    #[command(flatten)]
    log: LogArg,
    /// From the state of this snapshot ("mapleaf snapshot list" has the names); of two files by default the newest
    #[arg(long, value_name = "SNAPSHOT", required_unless_present = "newer")]
    from: Option<String>,
    /// To the state of this one; by default to the newest
    #[arg(long, value_name = "SNAPSHOT")]
    to: Option<String>,
    #[command(flatten)]
    shown: Shown,
}

/// What is shown of a difference.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// Only which tables differ
    #[arg(long, conflicts_with = "table")]
    tables: bool,
    /// Only this table; by default all
    #[arg(short = 's', long = "table", value_name = "TABLE", display_order = order::TABLE)]
    table: Option<String>,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// A key with its value in each state, where it has one.
type Entry<'t> = (&'t [u8], Option<&'t [u8]>, Option<&'t [u8]>);

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    let newer = match &args.newer {
        Some(file) => open_to_read(file, args.log)?,
        None => db.clone(),
    };
    let state = |db: &Database, name: &Option<String>| match name {
        Some(name) => db.read_snapshot(name),
        None => db.begin_read(),
    };
    let (old, new) =
        (state(&db, &args.from)?, state(&newer, &args.to).map_err(|error| args.of_newer(error))?);
    let compared = args.shown.expect_table(&old, &new);
    let compared = compared.and_then(|()| print(|output| args.shown.print(&old, &new, output)));
    // Which of two it was in the error does not say.
    compared.map_err(|failure| match &args.newer {
        Some(newer) => failure.of(&format!("{} or {}", args.file.display(), newer.display())),
        None => failure,
    })
}

impl Args {
    fn of_newer(&self, error: mapleaf::Error) -> Failure {
        Failure::from(error).of(&self.newer.as_ref().unwrap_or(&self.file).display().to_string())
    }
}

impl Shown {
    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json.json
    }

    /// Fails where the table that is asked for is in neither state.
    pub fn expect_table(&self, old: &ReadTxn, new: &ReadTxn) -> Result<()> {
        let Some(name) = &self.table else { return Ok(()) };
        let mut known = [old.tables()?, new.tables()?].concat();
        known.sort_by(|one, next| one.name.cmp(&next.name));
        known.dedup_by(|one, next| one.name == next.name);
        choose(&known, Some(name)).map(|_| ())
    }

    /// The tables that differ, of those that are asked for.
    pub fn changed(&self, old: &ReadTxn, new: &ReadTxn) -> Result<Vec<TableChange>> {
        let mut changed = old.changed_tables(new)?;
        changed.retain(|table| self.table.as_ref().is_none_or(|name| table.name() == name.as_str()));
        Ok(changed)
    }

    /// Prints the difference.
    pub fn print(&self, old: &ReadTxn, new: &ReadTxn, output: &mut Output) -> Result<()> {
        self.changed(old, new)?.iter().try_for_each(|table| match self.tables {
            true => self.print_table(table, output),
            false => self.print_entries(old, new, table, output),
        })
    }

    fn print_table(&self, table: &TableChange, output: &mut Output) -> Result<()> {
        let (sign, change) = match table {
            TableChange::Created(_) => ("+", "created"),
            TableChange::Changed { .. } => ("~", "changed"),
            TableChange::Dropped(_) => ("-", "dropped"),
        };
        match self.json.json {
            true => writeln!(output, "{}", json!({ "table": table.name(), "change": change }))?,
            false => writeln!(output, "{}\t{}", painted(sign), shown(table.name()))?,
        }
        Ok(())
    }

    fn print_entries(
        &self,
        old: &ReadTxn,
        new: &ReadTxn,
        table: &TableChange,
        output: &mut Output,
    ) -> Result<()> {
        match table {
            TableChange::Changed { old: before, new: after } if before.schema != after.schema => {
                // Of other types nothing is the same.
                self.print_whole(old, before, false, output)?;
                self.print_whole(new, after, true, output)
            }
            TableChange::Created(info)
            | TableChange::Dropped(info)
            | TableChange::Changed { new: info, .. } => match info.schema.multi {
                true => self.print_pairs(old, new, info, output),
                false => self.print_changes(old, new, info, output),
            },
        }
    }

    fn print_changes(
        &self,
        old: &ReadTxn,
        new: &ReadTxn,
        table: &TableInfo,
        output: &mut Output,
    ) -> Result<()> {
        let codecs = self.formats.codecs(Some(table));
        for change in old.raw_diff(new, &table.name)?.into_iter().flatten() {
            let entry = match change? {
                Change::Inserted { key, value } => (key, None, Some(value)),
                Change::Changed { key, old, new } => (key, Some(old), Some(new)),
                Change::Deleted { key, value } => (key, Some(value), None),
            };
            self.print_entry(table, &codecs, entry, output)?;
        }
        Ok(())
    }

    fn print_pairs(
        &self,
        old: &ReadTxn,
        new: &ReadTxn,
        table: &TableInfo,
        output: &mut Output,
    ) -> Result<()> {
        let codecs = self.formats.codecs(Some(table));
        for change in old.raw_diff_multi(new, &table.name)?.into_iter().flatten() {
            let entry = match change? {
                PairChange::Inserted { key, value } => (key, None, Some(value)),
                PairChange::Deleted { key, value } => (key, Some(value), None),
            };
            self.print_entry(table, &codecs, entry, output)?;
        }
        Ok(())
    }

    /// All of a table that only one of the states has.
    fn print_whole(&self, txn: &ReadTxn, table: &TableInfo, is_new: bool, output: &mut Output) -> Result<()> {
        let codecs = self.formats.codecs(Some(table));
        let mut print = |pair: mapleaf::Result<(_, _)>| {
            let (key, value) = pair?;
            let (before, after) = if is_new { (None, Some(value)) } else { (Some(value), None) };
            self.print_entry(table, &codecs, (key, before, after), output)
        };
        match table.schema.multi {
            true => {
                txn.raw_multi(&table.name)?.into_iter().flat_map(|view| view.iter()).try_for_each(&mut print)
            }
            false => {
                txn.raw_table(&table.name)?.into_iter().flat_map(|view| view.iter()).try_for_each(&mut print)
            }
        }
    }

    fn print_entry(
        &self,
        table: &TableInfo,
        codecs: &Codecs,
        (key, before, after): Entry<'_>,
        output: &mut Output,
    ) -> Result<()> {
        if self.json.json {
            return self.print_json(table, codecs, (key, before, after), output);
        }
        let key = codecs.key.text(key).map_err(|wrong| bad(table, "key", &wrong))?;
        for (sign, value) in [("-", before), ("+", after)] {
            let Some(value) = value else { continue };
            let value = codecs.value.text(value).map_err(|wrong| bad(table, "value", &wrong))?;
            let sign = painted(sign);
            match self.table {
                Some(_) => writeln!(output, "{sign}\t{key}\t{value}")?,
                None => writeln!(output, "{sign}\t{}\t{key}\t{value}", shown(&table.name))?,
            }
        }
        Ok(())
    }

    fn print_json(
        &self,
        table: &TableInfo,
        codecs: &Codecs,
        (key, before, after): Entry<'_>,
        output: &mut Output,
    ) -> Result<()> {
        let value = |value: &[u8]| -> Result<Value> {
            codecs.value.json(value).map_err(|wrong| bad(table, "value", &wrong))
        };
        let key = codecs.key.json(key).map_err(|wrong| bad(table, "key", &wrong))?;
        let entry = match (before, after) {
            (Some(old), Some(new)) => {
                json!({ "table": table.name, "change": "changed", "key": key, "old": value(old)?, "new": value(new)? })
            }
            (None, Some(new)) => {
                json!({ "table": table.name, "change": "inserted", "key": key, "value": value(new)? })
            }
            (old, None) => {
                let old = old.map(value).transpose()?;
                json!({ "table": table.name, "change": "deleted", "key": key, "value": old })
            }
        };
        Ok(writeln!(output, "{entry}")?)
    }
}
