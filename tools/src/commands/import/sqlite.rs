//! Importing tables of SQLite.
//!
//! The key of a row is its primary key, or its rowid; the value is its other columns. Of what type a column is follows from what is in
//! it: integers are i64, reals f64, text str, blobs bytes; a column that may be null is an option; one that has several kinds of
//! values is an enum of them. Nothing is rounded, and nothing left out but indexes, views and triggers.

use super::Foreign;
use crate::failure::{Result, tell};
use crate::intake::Intake;
use crate::progress::Meter;
use crate::store::shown;
use crate::types::Type;
use mapleaf::Schema;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::io::Read;

/// Of a column that holds several kinds of values.
const ANY: &str = "enum{0:Integer(i64),1:Real(f64),2:Text(str),3:Blob(bytes)}";

/// Longest name of a type that a schema has.
const LONGEST: usize = 512;

/// A column, and what is in it.
struct Column {
    name: String,
    type_name: String,
}

/// Runs it.
pub fn run(args: &Foreign) -> Result {
    judge(args)?;
    let wrong = |error: rusqlite::Error| args.wrong(spoken(&error));
    let db = Connection::open_with_flags(&args.source, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    // One snapshot for all of it.
    db.execute_batch("BEGIN").map_err(wrong)?;
    let names = tables(&db).map_err(wrong)?;
    args.expect(names.iter().map(String::as_str))?;
    left_out(args, &db).map_err(wrong)?;
    let counts = args.target.fill(|intake| {
        names.iter().filter(|name| args.wants(name)).try_for_each(|name| put(args, &db, name, intake))
    });
    args.target.print(&counts?)
}

/// SQLite takes an empty file for a database, and says of others no more than that they are none.
fn judge(args: &Foreign) -> Result<()> {
    let mut magic = Vec::new();
    let opened = std::fs::File::open(&args.source);
    let read = opened.and_then(|file| file.take(16).read_to_end(&mut magic));
    read.map_err(|error| args.wrong(format!("cannot read: {error}")))?;
    match magic == b"SQLite format 3\0" {
        true => Ok(()),
        false => Err(args.wrong("expected a database of SQLite 3, found something else")),
    }
}

fn spoken(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => message.clone().unwrap_or_else(|| code.to_string()),
        other => other.to_string(),
    }
}

fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let select = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' \
                  ESCAPE '\\' ORDER BY name";
    db.prepare(select)?.query_map([], |row| row.get(0))?.collect()
}

/// Tells what has no counterpart here: a line for each thing.
fn left_out(args: &Foreign, db: &Connection) -> rusqlite::Result<()> {
    let select = "SELECT type, name, tbl_name FROM sqlite_schema WHERE type IN ('view', 'index', 'trigger') AND sql IS NOT NULL \
                  UNION ALL SELECT 'generated column', c.name, t.name FROM pragma_table_list AS t, pragma_table_xinfo(t.name) AS c \
                  WHERE t.schema = 'main' AND t.type = 'table' AND c.hidden IN (2, 3) ORDER BY 1 DESC, 3, 2";
    let mut statement = db.prepare(select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, table): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let of = format!(" of table {}", shown(&table));
        let what = match kind.as_str() {
            "view" if args.wants(&name) => format!("view {} is left out", shown(&name)),
            "index" | "trigger" if args.wants(&table) => format!("{kind} {}{of} is left out", shown(&name)),
            "generated column" if args.wants(&table) => {
                format!(
                    "generated column {}{of} is taken as it is now: nothing computes it any more",
                    shown(&name)
                )
            }
            _ => continue,
        };
        tell(&format!("{}: {what}", args.source.display()));
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a table consists of.
struct Layout {
    key: Vec<Column>,
    value: Vec<Column>,
}

fn layout(db: &Connection, table: &str) -> rusqlite::Result<Layout> {
    let select =
        "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid";
    let mut statement = db.prepare(select)?;
    let columns = statement.query_map([table], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, bool>(2)?,
            row.get::<_, i64>(3)?,
        ))
    })?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for column in columns {
        let (name, declared, not_null, place) = column?;
        // An INTEGER PRIMARY KEY is never null; of others nulls are seen.
        let column = column_of(db, table, name, &declared, not_null || place > 0)?;
        match place {
            0 => value.push(column),
            place => key.push((place, column)),
        }
    }
    key.sort_by_key(|(place, _)| *place);
    let mut key: Vec<Column> = key.into_iter().map(|(_, column)| column).collect();
    if key.is_empty() {
        // It has three names, and a column can take one.
        let is_free =
            |name: &&str| !value.iter().any(|column: &Column| column.name.eq_ignore_ascii_case(name));
        let name = ["rowid", "_rowid_", "oid"].into_iter().find(is_free).unwrap_or("rowid");
        key.push(Column { name: name.into(), type_name: "i64".into() });
    }
    Ok(Layout { key, value })
}

/// Its type, after what is in it.
fn column_of(
    db: &Connection,
    table: &str,
    name: String,
    declared: &str,
    not_null: bool,
) -> rusqlite::Result<Column> {
    let (of, from) = (quoted(&name), quoted(table));
    let select = format!("SELECT DISTINCT typeof({of}) FROM {from}");
    let mut kinds: Vec<String> =
        db.prepare(&select)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let has_null = kinds.iter().any(|kind| kind == "null");
    kinds.retain(|kind| kind != "null");
    kinds.sort();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let plain = match kinds[..] {
        [] => of_declared(declared),
        ["integer"] => "i64",
        ["real"] => "f64",
        ["text"] => "str",
        ["blob"] => "bytes",
        _ => ANY,
    };
    let type_name = match has_null || !not_null {
        true => format!("option({plain})"),
        false => plain.to_owned(),
    };
    Ok(Column { name, type_name })
}

/// By SQLite's rules of affinity.
fn of_declared(declared: &str) -> &'static str {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        "i64"
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        "str"
    } else if declared.is_empty() || has(&["BLOB"]) {
        "bytes"
    } else {
        "f64"
    }
}

fn put(args: &Foreign, db: &Connection, table: &str, intake: &mut Intake<'_>) -> Result<()> {
    let wrong = |error: rusqlite::Error| args.wrong(format!("table {}: {}", shown(table), spoken(&error)));
    let Layout { key, value } = layout(db, table).map_err(wrong)?;
    let (key_type, value_type) = (joined(&key), joined(&value));
    let (Some(key_codec), Some(value_codec)) = (Type::of(&key_type), Type::of(&value_type)) else {
        return Err(args.wrong(format!("table {}: no type for its columns", shown(table))));
    };
    if value_type.len().max(key_type.len()) > LONGEST {
        return Err(args.wrong(format!(
            "table {}: {} columns make a type with a name of {} bytes, at most {LONGEST} fit; make a view of fewer, or export it as \
             JSON lines (sqlite3 -json) and import that",
            shown(table),
            key.len() + value.len(),
            value_type.len().max(key_type.len()),
        )));
    }
    let schema = Schema {
        key_width: key_codec.width(),
        value_width: value_codec.width(),
        key_type,
        value_type,
        value_align: 1,
        multi: false,
    };
    args.table(intake, table, &schema)?;
    let names: Vec<String> = key.iter().chain(&value).map(|column| quoted(&column.name)).collect();
    let select = format!("SELECT {} FROM {}", names.join(", "), quoted(table));
    let mut statement = db.prepare(&select).map_err(wrong)?;
    let count =
        db.query_row(&format!("SELECT count(*) FROM {}", quoted(table)), [], |row| row.get::<_, i64>(0));
    let meter = Meter::new("importing", "rows", Some(count.map_err(wrong)?.unsigned_abs()));
    let mut rows = statement.query([]).map_err(wrong)?;
    let mut done = 0_u64;
    while let Some(row) = rows.next().map_err(wrong)? {
        done += 1;
        let what = || format!("row {done} of table {}", shown(table));
        let bytes = |columns: &[Column], from: usize, codec: &Type| {
            let values = columns.iter().enumerate().map(|(index, column)| {
                let cell = row.get_ref(from + index).map_err(|error| spoken(&error))?;
                cell_of(cell, column).map_err(|wrong| format!("column {}: {wrong}", shown(&column.name)))
            });
            let mut values = values.collect::<Result<Vec<Value>, String>>()?;
            codec.bytes(&match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            })
        };
        let told = |wrong: String| args.wrong(format!("{}: {wrong}", what()));
        let key = bytes(&key, 0, &key_codec).map_err(told)?;
        let value = bytes(&value, names.len() - value.len(), &value_codec).map_err(told)?;
        intake.put(table, false, &key, &value, || format!("{} of {}", what(), args.source.display()))?;
        meter.set(done);
    }
    Ok(())
}

/// The type of all of them.
fn joined(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.type_name.as_str()).collect();
    match names[..] {
        [] => "unit".into(),
        [one] => one.to_owned(),
        _ => format!("({})", names.join(",")),
    }
}

/// What stands in a cell, as its column's type has it.
fn cell_of(cell: ValueRef<'_>, column: &Column) -> Result<Value, String> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| "a text that is not UTF-8; make it a blob".to_owned())
    };
    let is_any = column.type_name.contains(ANY);
    let real = |real: f64| match real.is_finite() {
        true => json!(real),
        false => json!(real.to_string()),
    };
    Ok(match (cell, is_any) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), false) => json!(number),
        (ValueRef::Real(number), false) => real(number),
        (ValueRef::Text(bytes), false) => Value::String(text(bytes)?),
        (ValueRef::Blob(bytes), false) => Value::String(crate::dump_text::escaped(bytes)),
        (ValueRef::Integer(number), true) => json!({ "Integer": [number] }),
        (ValueRef::Real(number), true) => json!({ "Real": [real(number)] }),
        (ValueRef::Text(bytes), true) => json!({ "Text": [text(bytes)?] }),
        (ValueRef::Blob(bytes), true) => json!({ "Blob": [crate::dump_text::escaped(bytes)] }),
    })
}
