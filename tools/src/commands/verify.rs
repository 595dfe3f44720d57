//! `mapleaf verify`: judging every page. It only reads.

use crate::cli::{JsonArg, LogArg};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::formats::{Codec, Format};
use crate::output::{counted, print, print_json};
use crate::progress::Meter;
use crate::store::{open_to_judge, shown};
use mapleaf::{Database, Problem, Salvage, VerifyReport};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of verify.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads one snapshot with system calls, also of a store that others write to meanwhile, and changes nothing. Each problem names the page and, where it is a table's, the keys that are behind it. Exit code 1 when anything is wrong; the problems are listed on standard output.\n\nExamples:\n  mapleaf verify app.maple\n  mapleaf verify --json app.maple | jq '.problems[].page'"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = match open_to_judge(&args.file, args.log) {
        Err(Failure::Problem { message, .. }) if args.file.is_file() => {
            let advice = "; run \"mapleaf verify\" on a copy of the file";
            return report_unopened(args, message.strip_suffix(advice).unwrap_or(&message));
        }
        opened => opened?,
    };
    let report = {
        let mut meter = Meter::none();
        let mut begun = false;
        db.verify(&mut |progress| {
            if !begun {
                meter = Meter::new("verifying", "pages", Some(progress.page_count));
                begun = true;
            }
            meter.set(progress.pages);
        })?
    };
    let codecs = key_codecs(&db);
    match args.json.json {
        true => print_json(&document(&report, &codecs))?,
        false => print_text(&report, &codecs)?,
    };
    if report.is_clean() {
        return Ok(Outcome::Fine);
    }
    tell(&format!(
        "{}: {} found; keep a copy of the file as it is, rescue what is whole with \"mapleaf salvage\", or restore a backup",
        args.file.display(),
        counted(report.problems.len() as u64 + report.omitted, "problem", "problems"),
    ));
    Ok(Outcome::Problem)
}

/// A store that cannot even be opened is a finding too; then every page is judged by itself.
fn report_unopened(args: &Args, message: &str) -> Result {
    let survey = Salvage::of(&args.file).and_then(|salvage| salvage.survey(&mut |_| {}));
    let survey = survey.ok().filter(|survey| !survey.is_complete());
    if args.json.json {
        let problem =
            |page: Option<u64>, detail: &str| json!({ "page": page, "table": Value::Null, "detail": detail });
        let bad = survey.iter().flat_map(|survey| &survey.bad_pages);
        let bad = bad.map(|bad| problem(Some(bad.page), &bad.detail));
        let problems: Vec<Value> = std::iter::once(problem(None, message)).chain(bad).collect();
        print_json(&json!({ "clean": false, "problems": problems }))?;
    }
    let Some(survey) = survey else { return Err(Failure::problem(message)) };
    if !args.json.json {
        print(|output| super::salvage::print_text(output, &survey))?;
    }
    Err(Failure::problem(format!("{message}; \"mapleaf salvage\" can rescue what is listed")))
}

/// How the keys of each table are shown, as far as the catalog can be read.
fn key_codecs(db: &Database) -> BTreeMap<String, Codec> {
    let tables = db.begin_read().and_then(|txn| txn.tables()).unwrap_or_default();
    let codec = |table: mapleaf::TableInfo| (table.name, Format::Auto.codec(&table.schema.key_type));
    tables.into_iter().map(codec).collect()
}

fn codec_of<'c>(problem: &Problem, codecs: &'c BTreeMap<String, Codec>) -> &'c Codec {
    problem.table.as_ref().and_then(|table| codecs.get(table)).unwrap_or(&Codec::Plain)
}

fn document(report: &VerifyReport, codecs: &BTreeMap<String, Codec>) -> Value {
    let problem = |problem: &Problem| {
        let codec = codec_of(problem, codecs);
        let behind = problem.behind.as_ref().map(|behind| {
            let to = behind.to.as_ref().map(|to| codec.bound(to));
            json!({ "from": codec.bound(&behind.from), "to": to, "entries": behind.entries })
        });
        json!({ "page": problem.page, "table": problem.table, "detail": problem.detail, "behind": behind })
    };
    json!({
        "clean": report.is_clean(),
        "txn": report.txn,
        "page_count": report.page_count,
        "tables": report.tables,
        "entries": report.entries,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "omitted": report.omitted,
    })
}

fn print_text(report: &VerifyReport, codecs: &BTreeMap<String, Codec>) -> Result {
    print(|output| {
        for problem in &report.problems {
            let page = problem.page.map(|page| format!("page {page}: "));
            let table = problem.table.as_ref().map(|table| format!("table {}: ", shown(table)));
            let behind = problem.behind.as_ref().map(|behind| {
                let keys = codec_of(problem, codecs).range(&behind.from, behind.to.as_deref());
                format!(" ({} behind it: {keys})", counted(behind.entries, "entry", "entries"))
            });
            let [page, table, behind] = [page, table, behind].map(Option::unwrap_or_default);
            writeln!(output, "{page}{table}{}{behind}", problem.detail)?;
        }
        if report.omitted > 0 {
            writeln!(output, "and {} more", report.omitted)?;
        }
        let pages = counted(report.page_count, "page", "pages");
        let tables = counted(report.tables, "table", "tables");
        let entries = counted(report.entries, "entry", "entries");
        let judgement = if report.is_clean() { "clean" } else { "damaged" };
        Ok(writeln!(output, "{judgement}: txn {}, {pages}, {tables}, {entries}", report.txn)?)
    })
}
