//! `--json`: every command takes it, and what it prints then is JSON, of the fields that are written here.

mod common;

use common::Place;
use serde_json::Value;

/// A command, and the fields of the document that it prints: names at the top, or, where it is a list, `[]` and those of its
/// items. Of what prints a document on each line, `+` and those of the first.
const PRINTED: &[(&[&str], &str)] = &[
    (
        &["stat", "s.maple", "--json"],
        "catalog_pages checkpoint dirty_bytes disk_bytes entries file_bytes free_pages hole_pages log_pages meta_problems page_count page_size pending_for_checkpoint pending_for_nobody pending_pages pinned_txns readers resident_bytes snapshots snapshots_pages space_pages store_id tables txn user_version write_back_bytes",
    ),
    (&["verify", "s.maple", "--json"], "clean entries omitted page_count problems tables txn"),
    (
        &["salvage", "s.maple", "--dry-run", "--json"],
        "bad_pages checkpoint complete log_txns notes page_count page_size tables",
    ),
    (
        &["salvage", "s.maple", "-o", "salvaged.maple", "--json"],
        "bad_pages checkpoint complete log_txns notes page_count page_size tables",
    ),
    (
        &["backup", "s.maple", "-o", "full.backup", "--json"],
        "backup bytes can_be_continued created page_count page_size pages since store tables txn user_version",
    ),
    (
        &["backup", "s.maple", "--since", "full.backup", "-o", "more.backup", "--json"],
        "backup bytes can_be_continued created page_count page_size pages since store tables txn user_version",
    ),
    (&["restore", "full.backup", "more.backup", "--dry-run", "--json"], "backups pages whole"),
    (&["restore", "full.backup", "-o", "restored.maple", "--json"], "entries page_count pages tables txn"),
    (
        &["compact", "restored.maple", "--json"],
        "file_bytes freed_bytes held_by moved_pages page_count page_size steps",
    ),
    (&["trim", "s.maple", "--json"], "disk_bytes trimmed_bytes"),
    (&["copy", "s.maple", "copied.maple", "--json"], "entries file_bytes txn"),
    (&["copy", "--compact", "s.maple", "compacted.maple", "--json"], "entries file_bytes txn"),
    (&["dump", "-a", "s.maple", "-o", "out.dump", "--json"], "bytes records tables written"),
    (&["dump", "-l", "s.maple", "--json"], "[]"),
    (&["load", "s.maple", "-f", "in.dump", "--json"], "loaded skipped tables"),
    (&["export", "csv", "s.maple", "-o", "out.csv", "--json"], "bytes records tables written"),
    (&["export", "tsv", "s.maple", "-o", "out.tsv", "--json"], "bytes records tables written"),
    (&["export", "jsonl", "s.maple", "-o", "out.jsonl", "--json"], "bytes records tables written"),
    (&["import", "csv", "in.csv", "s.maple", "-s", "users", "--json"], "loaded skipped tables"),
    (&["import", "tsv", "out.tsv", "s.maple", "-s", "users", "--json"], "loaded skipped tables"),
    (&["import", "jsonl", "in.jsonl", "s.maple", "-s", "users", "--json"], "loaded skipped tables"),
    (&["import", "redb", "in.redb", "s.maple", "--json"], "loaded skipped tables"),
    (&["import", "sqlite", "in.sqlite", "s.maple", "--json"], "loaded skipped tables"),
    (&["get", "s.maple", "-s", "users", "7", "--json"], "key table value value_len"),
    (&["put", "s.maple", "-s", "users", "12", "[\"Tom\",null]", "--json"], "existed table"),
    (&["del", "s.maple", "-s", "users", "12", "--json"], "deleted table values"),
    (&["scan", "s.maple", "-s", "users", "--json"], "+ key value"),
    (&["scan", "-a", "s.maple", "--json"], "+ key table value"),
    (&["scan", "s.maple", "-s", "users", "--count", "--json"], "+ count"),
    (&["scan", "-a", "s.maple", "--count", "--json"], "+ count table"),
    (&["diff", "s.maple", "--from", "kept", "--json"], "+ change key table value"),
    (&["diff", "s.maple", "--from", "kept", "--tables", "--json"], "+ change table"),
    (&["diff", "other.maple", "s.maple", "--json"], "+ change key table value"),
    (&["watch", "s.maple", "--from", "kept", "--count", "1", "--json"], "+ txn"),
    (
        &["tables", "s.maple", "--json"],
        "[] entries id key_type key_width levels multimap name overflow_pages set_trees value_align value_type value_width",
    ),
    (&["table", "create", "s.maple", "new", "--json"], "created table txn"),
    (&["table", "rename", "s.maple", "new", "newer", "--json"], "renamed table txn"),
    (&["table", "drop", "s.maple", "newer", "--json"], "dropped entries table txn"),
    (&["readers", "s.maple", "--json"], "[]"),
    (&["readers", "--reap", "s.maple", "--json"], "freed"),
    (
        &["snapshot", "list", "s.maple", "--json"],
        "[] created name pages_alone pages_retained tables txn user_version",
    ),
    (&["snapshot", "create", "s.maple", "more", "--json"], "created snapshot txn"),
    (&["snapshot", "drop", "s.maple", "more", "--json"], "dropped snapshot txn"),
    (&["page", "s.maple", "0", "--json"], "bytes fields kind page problems"),
    (&["map", "s.maple", "--json"], "by cells legend page_count page_size pages_per_cell txn"),
    (&["map", "s.maple", "-o", "map.svg", "--json"], "bytes written"),
    (
        &["tree", "s.maple", "-s", "users", "--json"],
        "entries levels overflow_pages page_size root set_trees table txn",
    ),
    (&["tree", "s.maple", "-s", "users", "-o", "tree.png", "--json"], "bytes written"),
    (&["plot", "bench.json", "-o", "charts", "--json"], "written"),
    (&["checkpoint", "s.maple", "--json"], "replayed_txns txn"),
    (
        &["bench", "--count", "10", "--durable", "1", "--json"],
        "[] count nanoseconds_each per_second seconds work",
    ),
];

/// Those that have none: they print a script for a shell, pages for man, and to a terminal.
const WITHOUT: [&str; 3] = ["completions", "man", "explore"];

/// A store with a snapshot, and one that was copied from it and changed.
fn place() -> Place {
    let place = Place::new();
    place.write("in.jsonl", "{\"key\":7,\"value\":[\"ann\",30]}\n{\"key\":8,\"value\":[\"bob\",null]}\n");
    place.write("in.csv", "id,name,age\n9,Eve,\n");
    let types = ["-s", "users", "--key-type", "u64", "--value-type", "(str,option(u8))"];
    place.run([&["import", "jsonl", "in.jsonl", "s.maple"], &types[..]].concat()).fine();
    place.run(["copy", "s.maple", "other.maple", "-q"]).fine();
    place.run(["snapshot", "create", "s.maple", "kept"]).fine();
    place.run(["put", "s.maple", "7", "[\"ann\",31]"]).fine();
    place.run(["dump", "s.maple", "-o", "in.dump"]).fine();
    place.run(["backup", "s.maple", "-o", "in.backup"]).fine();
    place.write("bench.json", place.run(["bench", "--count", "10", "--durable", "1", "--json"]).fine().out);
    place.write_foreign();
    place
}

fn is_built(place: &Place, args: &[&str]) -> bool {
    args[0] != "import" || place.listed(&["import"]).iter().any(|name| name == args[1])
}

/// The names of its fields.
fn fields(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields.keys().map(String::as_str).collect::<Vec<_>>().join(" "),
        Value::Array(items) => {
            let of_first = items.first().filter(|first| first.is_object()).map(fields).unwrap_or_default();
            format!("[] {of_first}").trim_end().to_owned()
        }
        other => panic!("{other} is no document"),
    }
}

#[test]
fn every_command_prints_json_of_these_fields() {
    let place = place();
    for (args, wanted) in PRINTED.iter().filter(|(args, _)| is_built(&place, args)) {
        let run = place.run(*args).fine();
        let documents = serde_json::Deserializer::from_slice(&run.out).into_iter::<Value>();
        let documents: Vec<Value> =
            documents.map(|one| one.unwrap_or_else(|error| panic!("{error}: {run:?}"))).collect();
        let found = fields(&documents[0]);
        match wanted.strip_prefix("+ ") {
            // A line each, so that a line can be taken by itself.
            Some(wanted) => {
                assert!(found == wanted && run.text().lines().count() == documents.len(), "{args:?} {found}")
            }
            None => assert!(found == *wanted && documents.len() == 1, "{args:?} {found}"),
        }
    }
}

#[test]
fn every_command_takes_it() {
    let place = Place::new();
    for name in place.listed(&[]) {
        let parts = place.listed(&[&name]);
        let parts: Vec<Vec<&str>> = match parts.is_empty() {
            true => vec![vec![&name]],
            false => parts.iter().map(|part| vec![&name[..], part]).collect(),
        };
        for args in parts {
            let help = place.run([&args[..], &["--help"]].concat()).fine();
            let takes = help.text().contains("--json");
            assert_eq!(takes, !WITHOUT.contains(&&*name), "{args:?}");
            let is_tried = PRINTED.iter().any(|(tried, _)| tried.starts_with(&args)) || args == ["shell"];
            assert!(is_tried || !takes || args == ["import", "lmdb"], "{args:?} is not tried");
        }
    }
}

/// What went wrong is text on standard error, as without `--json`, and standard output has nothing.
#[test]
fn errors_are_text_on_standard_error() {
    let place = place();
    let reads = |args: &&[&str]| !["load", "import", "restore", "plot", "bench"].contains(&args[0]);
    for args in PRINTED.iter().map(|(args, _)| *args).filter(reads).filter(|args| !args.contains(&"--since"))
    {
        let args: Vec<&str> = args
            .iter()
            .map(|arg| if ["s.maple", "restored.maple"].contains(arg) { "none.maple" } else { arg })
            .collect();
        let run = place.run(&args).fails(1, &["mapleaf: none.maple: no such file"]);
        assert!(run.out.is_empty() && run.err.lines().count() == 1, "{args:?} {run:?}");
    }
    for (args, taken) in [
        (&["dump", "s.maple", "--json"][..], "the dump"),
        (&["dump", "s.maple", "--json", "-o", "-"], "the dump"),
        (&["export", "jsonl", "s.maple", "--json"], "the export"),
        (&["backup", "s.maple", "--json", "-o", "-"], "the backup"),
    ] {
        let said = format!("mapleaf: --json needs standard output, which {taken} takes: give -o FILE");
        assert!(place.run(args).fails(2, &[&said]).out.is_empty());
    }
}

/// What is written is what the files have.
#[test]
fn files_that_were_written_are_told() {
    let place = place();
    for (args, name, more) in [
        (&["dump", "-a", "s.maple"][..], "out.dump", r#","records":2,"tables":1"#),
        (&["export", "tsv", "s.maple"], "out.tsv", r#","records":2,"tables":1"#),
        (&["map", "s.maple"], "out.svg", ""),
        (&["tree", "s.maple"], "out.png", ""),
    ] {
        let told = place.run([args, &["--json", "-o", name]].concat()).fine().json().to_string();
        let len = place.read(name).len();
        assert_eq!(told, format!(r#"{{"bytes":{len}{more},"written":["{name}"]}}"#));
    }
}
