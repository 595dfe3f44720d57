//! `mapleaf scan`: the pairs of a range of keys.
//!
//! Skipping is not reading: `--offset` and `--count` go by the counts in the tree, in O(log n).

use crate::cli::{Codecs, FormatArgs, JsonArg, LogArg, SnapshotArg, TableArg};
use crate::failure::{Failure, Result};
use crate::output::{Output, print};
use crate::store::{State, choose, open_to_read, shown};
use mapleaf::{TableInfo, TableView};
use serde::Serialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;
use std::path::PathBuf;

/// The arguments of scan.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints KEY, a tab, VALUE on a line for each pair, KEY alone where the values are of type unit; with -a the table before it. With --json each pair is one JSON object on a line: {\"key\": …, \"value\": …}, with -a \"table\" too; --count prints {\"count\": …}.\n\nExamples:\n  mapleaf scan app.maple --prefix user: --limit 10\n  mapleaf scan app.maple -s log --from 1000 --to 2000 --count\n  mapleaf scan app.maple --reverse --limit 1           the last pair\n  mapleaf scan app.maple --offset 1000000 --limit 1    the millionth pair, found by the counts in the tree"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    log: LogArg,
}

/// What is scanned, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct What {
    /// Begin at this key
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    from: Option<OsString>,
    /// End before this key
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    to: Option<OsString>,
    /// Only keys that begin with this: text, bytes, or the first elements of a tuple, as in '["ann"]'
    #[arg(long, value_name = "KEY", allow_negative_numbers = true, conflicts_with_all = ["from", "to"])]
    prefix: Option<OsString>,
    /// At most so many pairs
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Pass over so many pairs
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    offset: u64,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Print only how many pairs there are
    #[arg(long, conflicts_with_all = ["limit", "offset", "reverse"])]
    count: bool,
    /// All tables, one after the other; the other arguments hold for each
    #[arg(short = 'a', long = "all", conflicts_with = "table")]
    all: bool,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

type View<'t> = TableView<'t, [u8], [u8]>;
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

#[derive(Serialize)]
struct Pair<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'t str>,
    key: Value,
    value: Value,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    print(|output| args.what.print(State::Read(&txn), None, output))
}

impl What {
    /// Prints it; `usual` is the table where none is asked for.
    pub fn print(&self, state: State<'_>, usual: Option<&str>, output: &mut Output) -> Result<()> {
        let tables = state.tables()?;
        let chosen: Vec<&TableInfo> = match self.all {
            true => tables.iter().collect(),
            false => vec![choose(&tables, self.table.asked().or(usual))?],
        };
        chosen.into_iter().try_for_each(|table| self.scan(state, table, output))
    }

    fn scan(&self, state: State<'_>, table: &TableInfo, output: &mut Output) -> Result<()> {
        if table.schema.multi {
            return self.scan_multi(state, table, output);
        }
        let Some(view) = state.table(&table.name)? else { return Ok(()) };
        let codecs = self.formats.codecs(Some(table));
        let bounds = self.bounds(&codecs)?;
        if self.count {
            return self.print_count(table, view.count(bounds)?, output);
        }
        let Some(bounds) = self.skip(view, bounds)? else { return Ok(()) };
        let pairs = view.range(bounds);
        let limit = as_usize(self.limit.unwrap_or(u64::MAX));
        let mut print =
            |pair: mapleaf::Result<(&[u8], &[u8])>| self.print_pair(table, &codecs, pair?, output);
        match self.reverse {
            true => pairs.rev().take(limit).try_for_each(&mut print),
            false => pairs.take(limit).try_for_each(&mut print),
        }
    }

    /// The same of a multimap: a key comes with each of its values.
    fn scan_multi(&self, state: State<'_>, table: &TableInfo, output: &mut Output) -> Result<()> {
        let Some(view) = state.multi(&table.name)? else { return Ok(()) };
        let codecs = self.formats.codecs(Some(table));
        let bounds = self.bounds(&codecs)?;
        if self.count {
            return self.print_count(table, view.count(bounds)?, output);
        }
        let pairs = view.range(bounds);
        let (offset, limit) = (as_usize(self.offset), as_usize(self.limit.unwrap_or(u64::MAX)));
        let mut print =
            |pair: mapleaf::Result<(&[u8], &[u8])>| self.print_pair(table, &codecs, pair?, output);
        match self.reverse {
            true => pairs.rev().skip(offset).take(limit).try_for_each(&mut print),
            false => pairs.skip(offset).take(limit).try_for_each(&mut print),
        }
    }

    fn bounds(&self, codecs: &Codecs) -> Result<Bounds> {
        if let Some(prefix) = &self.prefix {
            let prefix = codecs.parse_prefix(prefix)?;
            let end = prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
            return Ok((Bound::Included(prefix), end));
        }
        let parse = |key: &Option<OsString>| key.as_ref().map(|key| codecs.parse_key(key)).transpose();
        Ok((
            parse(&self.from)?.map_or(Bound::Unbounded, Bound::Included),
            parse(&self.to)?.map_or(Bound::Unbounded, Bound::Excluded),
        ))
    }

    /// The bounds without the pairs that `--offset` passes over; `None` when nothing is left.
    fn skip(&self, view: View<'_>, bounds: Bounds) -> Result<Option<Bounds>> {
        if self.offset == 0 {
            return Ok(Some(bounds));
        }
        let count = view.count(bounds.clone())?;
        if self.offset >= count {
            return Ok(None);
        }
        let before = match &bounds.0 {
            Bound::Included(key) => view.rank(&key[..])?,
            _ => 0,
        };
        let rank = if self.reverse { before + count - 1 - self.offset } else { before + self.offset };
        let Some((key, _)) = view.nth(rank)? else { return Ok(None) };
        let edge = Bound::Included(key.to_vec());
        Ok(Some(if self.reverse { (bounds.0, edge) } else { (edge, bounds.1) }))
    }

    fn print_count(&self, table: &TableInfo, count: u64, output: &mut Output) -> Result<()> {
        match (self.json.json, self.all) {
            (true, true) => writeln!(output, "{}", json!({ "table": table.name, "count": count }))?,
            (true, false) => writeln!(output, "{}", json!({ "count": count }))?,
            (false, true) => writeln!(output, "{}\t{count}", shown(&table.name))?,
            (false, false) => writeln!(output, "{count}")?,
        }
        Ok(())
    }

    fn print_pair(
        &self,
        table: &TableInfo,
        codecs: &Codecs,
        (key, value): (&[u8], &[u8]),
        output: &mut Output,
    ) -> Result<()> {
        if self.json.json {
            let pair = Pair {
                table: self.all.then_some(&table.name),
                key: codecs.key.json(key).map_err(|wrong| bad(table, "key", &wrong))?,
                value: codecs.value.json(value).map_err(|wrong| bad(table, "value", &wrong))?,
            };
            serde_json::to_writer(&mut *output, &pair)?;
            return Ok(writeln!(output)?);
        }
        if self.all {
            write!(output, "{}\t", shown(&table.name))?;
        }
        let key = codecs.key.text(key).map_err(|wrong| bad(table, "key", &wrong))?;
        let value = codecs.value.text(value).map_err(|wrong| bad(table, "value", &wrong))?;
        match codecs.value.is_unit() {
            true => writeln!(output, "{key}")?,
            false => writeln!(output, "{key}\t{value}")?,
        }
        Ok(())
    }
}

fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn bad(table: &TableInfo, what: &str, wrong: &str) -> Failure {
    Failure::problem(format!("a {what} in table {} has {wrong}", shown(&table.name)))
}

/// The smallest bytes above everything that begins with `prefix`, if there are any.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
