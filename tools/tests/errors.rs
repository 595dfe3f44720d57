//! What every command says when it cannot: the same faults for all of them.

mod common;

use common::Place;
use mapleaf::{Database, Table};
use std::process::Stdio;
use std::sync::LazyLock;

const ENTRIES: Table<u64, str> = Table::new("entries");

/// The commands that read a store, which stands for `@`. What they make is called `out`.
const READING: &[&[&str]] = &[
    &["stat", "@"],
    &["verify", "@"],
    &["salvage", "@", "--dry-run"],
    &["salvage", "@", "-o", "out.maple"],
    &["dump", "-a", "@"],
    &["dump", "-a", "@", "-o", "out.dump"],
    &["get", "@", "7"],
    &["scan", "@"],
    &["tables", "@"],
    &["export", "csv", "@"],
    &["export", "tsv", "@", "-o", "out.tsv"],
    &["export", "jsonl", "-a", "@"],
    &["backup", "@", "-o", "out.backup"],
    &["copy", "@", "out.maple"],
    &["copy", "--compact", "@", "out.maple"],
    &["page", "@", "0"],
    &["map", "@"],
    &["map", "@", "-o", "out.svg"],
    &["tree", "@"],
    &["tree", "@", "-o", "out.png"],
    &["diff", "@", "--from", "kept"],
    &["diff", "@", "other.maple"],
    &["diff", "other.maple", "@"],
    &["snapshot", "list", "@"],
    &["readers", "@"],
    &["watch", "@", "--timeout", "1ms"],
    &["shell", "--read-only", "@"],
];

/// Those that change it.
const WRITING: &[&[&str]] = &[
    &["put", "@", "8", "v"],
    &["del", "@", "7"],
    &["load", "--no-create", "@", "-f", "in.dump"],
    &["import", "csv", "--no-create", "in.csv", "@", "-s", "entries"],
    &["import", "tsv", "--no-create", "in.tsv", "@", "-s", "entries"],
    &["import", "jsonl", "--no-create", "in.jsonl", "@", "-s", "entries"],
    &["import", "redb", "--no-create", "in.redb", "@"],
    &["import", "sqlite", "--no-create", "in.sqlite", "@"],
    &["snapshot", "create", "@", "name"],
    &["snapshot", "drop", "@", "kept"],
    &["compact", "@"],
    &["trim", "@"],
    &["checkpoint", "@"],
    &["table", "create", "@", "new"],
    &["table", "rename", "@", "entries", "renamed"],
    &["table", "drop", "@", "entries"],
    &["shell", "@"],
];

/// Those that read another file, which stands for `@`, and what they say of one that is something else.
const SOURCES: &[(&[&str], &str)] = &[
    (&["load", "out.maple", "-f", "@"], "expected \"VERSION=3\""),
    (&["import", "csv", "@", "out.maple"], "expected UTF-8"),
    (&["import", "tsv", "@", "out.maple"], "expected UTF-8"),
    (&["import", "jsonl", "@", "out.maple"], "expected a JSON object"),
    (&["import", "lmdb", "@", "out.maple"], "expected the file or the directory of an LMDB environment"),
    (&["import", "redb", "@", "out.maple"], "Not a redb database"),
    (&["import", "sqlite", "@", "out.maple"], "expected a database of SQLite 3"),
    (&["restore", "@", "-o", "out.maple"], "is no backup"),
    (&["restore", "@", "--dry-run"], "is no backup"),
    (&["backup", "s.maple", "--since", "@", "-o", "out.backup"], "is no backup"),
    (&["plot", "@", "-o", "out"], "not a report"),
    // Any file is a value.
    (&["put", "s.maple", "8", "--value-file", "@"], ""),
];

/// Those that open no store that is there, nor any other file.
const ALONE: &[&[&str]] = &[&["bench", "--count", "10"], &["completions", "bash"], &["man"]];

/// What needs a terminal has tests of its own (`explore.rs`).
const ON_A_TERMINAL: &[&[&str]] = &[&["explore", "@"]];

fn on<'a>(args: &[&'a str], file: &'a str) -> Vec<&'a str> {
    args.iter().map(|arg| if *arg == "@" { file } else { arg }).collect()
}

#[allow(unsafe_code)]
fn open(place: &Place) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path("s.maple")) }.unwrap()
}

fn place() -> Place {
    let place = Place::new();
    fill_small(&place);
    place
}

/// A store of 500 entries, and what the commands take besides.
fn fill_small(place: &Place) {
    place.write("in.csv", "k,v\n9,x\n");
    place.write("in.tsv", "k\tv\n9\tx\n");
    place.write("in.jsonl", "{\"key\":9,\"value\":\"x\"}\n");
    place.write_foreign();
    open(place)
        .write(|w| {
            (0..500).try_for_each(|i| w.put(ENTRIES, &i, &"value".repeat(20)).map(|_| ()))?;
            w.create_snapshot("kept")
        })
        .unwrap();
    place.run(["dump", "s.maple", "-o", "in.dump"]).fine();
    place.run(["copy", "s.maple", "other.maple", "-q"]).fine();
    place.run(["tables", "other.maple"]).fine();
    place.run(["put", "s.maple", "500", "new"]).fine();
}

/// Whether this build has it.
fn is_built(args: &[&str]) -> bool {
    static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| Place::new().listed(&["import"]));
    args[0] != "import" || SOURCES.iter().any(|name| name == args[1])
}

fn built(commands: &'static [&'static [&'static str]]) -> impl Iterator<Item = &'static [&'static str]> {
    commands.iter().copied().filter(|args| is_built(args))
}

fn commands() -> impl Iterator<Item = &'static [&'static str]> {
    built(READING).chain(built(WRITING))
}

/// Removes what was made.
fn tidy(place: &Place) {
    for name in place.files().into_iter().filter(|name| name.starts_with("out")) {
        let path = place.path(&name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
}

/// What the tool says that it can do, this file tries.
#[test]
fn every_command_is_among_those_that_are_tried() {
    let place = Place::new();
    let sources = SOURCES.iter().map(|(args, _)| *args);
    let tried: Vec<&[&str]> =
        commands().chain(sources).chain(ALONE.iter().chain(ON_A_TERMINAL).copied()).collect();
    let names = place.listed(&[]);
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let parts = place.listed(&[&name]);
        assert!(tried.iter().any(|args| args[0] == name), "mapleaf {name} is nowhere tried");
        for part in parts {
            assert!(
                tried.iter().any(|args| args[..2] == [&*name, &*part]),
                "mapleaf {name} {part} is nowhere tried"
            );
        }
    }
}

#[test]
fn a_missing_file_is_named_and_not_made() {
    let place = place();
    let before = place.files();
    for args in commands().chain(ON_A_TERMINAL.iter().copied()) {
        place.run(on(args, "none.maple")).fails(1, &["mapleaf: none.maple: no such file; check the path"]);
        assert_eq!(place.files(), before, "{args:?}");
    }
    for (args, _) in SOURCES.iter().filter(|(args, _)| is_built(args)) {
        place.run(on(args, "none")).fails(1, &["mapleaf: none: cannot read", "No such file or directory"]);
        assert_eq!(place.files(), before, "{args:?}");
    }
}

#[test]
fn a_file_of_something_else_is_named_and_not_changed() {
    let place = place();
    let text = "It was a dark and stormy night. ".repeat(1000);
    place.write("text", &text);
    place.write("noise", [0xfe, 0x55, 10, 200].repeat(5000));
    std::fs::create_dir(place.path("directory")).unwrap();
    let before = place.files();
    for args in commands().chain(ON_A_TERMINAL.iter().copied()) {
        let said = "mapleaf: text: not a mapleaf store: it begins with \"It was \", a store with \"mapleaf\"; check the path\n";
        let salvaged = "mapleaf: text: not a mapleaf store: neither a meta slot nor any page is whole; there is nothing to recover\n";
        let said = if args[0] == "salvage" { salvaged } else { said };
        assert_eq!(place.run(on(args, "text")).fails(1, &[]).err, said, "{args:?}");
        let said = "mapleaf: directory: a directory, and a store is a file; check the path\n";
        assert_eq!(place.run(on(args, "directory")).fails(1, &[]).err, said, "{args:?}");
        assert_eq!(place.read("text"), text.as_bytes(), "{args:?}");
    }
    let is_new = |name: &String| !before.contains(name) && !name.ends_with("-lock");
    assert!(!place.files().iter().any(is_new), "{:?}", place.files());
    for (args, said) in SOURCES.iter().filter(|(args, said)| is_built(args) && !said.is_empty()) {
        place.run(on(args, "noise")).fails(1, &["mapleaf: noise: ", said]);
        assert!(!place.files().iter().any(is_new), "{args:?} {:?}", place.files());
    }
    for (args, _) in SOURCES.iter().filter(|(args, _)| is_built(args)) {
        place.run(on(args, "directory")).fails(1, &["mapleaf: directory: "]);
        assert!(!place.files().iter().any(is_new), "{args:?} {:?}", place.files());
    }
}

/// What would take the place of something else is refused, and what is to be replaced stays until it can be.
#[test]
fn what_is_there_is_not_lost() {
    let place = place();
    std::fs::create_dir(place.path("directory")).unwrap();
    place.run(["backup", "s.maple", "-o", "in.backup"]).fine();
    place.write("there.svg", "there");
    let store = place.read("s.maple");
    for args in [
        &["copy", "s.maple", "@"][..],
        &["copy", "--compact", "s.maple", "@"],
        &["salvage", "s.maple", "-o", "@"],
        &["restore", "in.backup", "-o", "@"],
    ] {
        for name in ["there.svg", "directory", "s.maple"] {
            let said = match (args[0], name) {
                ("copy" | "salvage", "s.maple") => "that is the file that is to be read; choose another name",
                _ => "exists already; remove it, or choose another name",
            };
            let said = format!("mapleaf: {name}: {said}\n");
            assert_eq!(place.run(on(args, name)).fails(1, &[]).err, said, "{args:?}");
        }
        place.run(on(args, "no/where")).fails(1, &["no/where", "No such file or directory"]);
    }
    for args in [
        &["dump", "s.maple", "-o", "@"][..],
        &["export", "csv", "s.maple", "-o", "@"],
        &["map", "s.maple", "-o", "@"],
        &["tree", "s.maple", "-o", "@"],
        &["backup", "s.maple", "-o", "@"],
    ] {
        place.run(on(args, "no/where.svg")).fails(1, &["no/where.svg", "No such file or directory"]);
        if !["map", "tree"].contains(&args[0]) {
            place.run(on(args, "directory")).fails(1, &["directory", "s a directory"]);
            let run = place.run(on(args, "s.maple"));
            assert!(matches!(run.code, Some(1 | 2)) && run.err.contains("s.maple"), "{run:?}");
        }
    }
    assert!(place.read("s.maple") == store && place.read("there.svg") == b"there");
    assert_eq!(std::fs::read_dir(place.path("directory")).unwrap().count(), 0);
}

#[test]
fn damage_is_named_by_its_page() {
    let place = place();
    let mut bytes = place.read("s.maple");
    bytes.chunks_mut(4096).skip(2).for_each(|page| page[700] ^= 0x55);
    for args in commands().filter(|args| !["page", "watch", "shell"].contains(&args[0])) {
        place.write("d.maple", &bytes);
        let _ = std::fs::remove_file(place.path("d.maple-lock"));
        tidy(&place);
        let run = place.run(on(args, "d.maple"));
        let said = format!("{}{}", String::from_utf8_lossy(&run.out), run.err);
        // Who reads lists them without reading their tables.
        if args[0] == "readers" && run.code == Some(0) {
            continue;
        }
        assert!(run.code == Some(1) && said.contains("page "), "{args:?} {run:?}");
        assert!(!said.contains("panicked"), "{run:?}");
        // What could be rescued is the one thing that is made of it.
        let made: Vec<String> = place.files().into_iter().filter(|name| name.starts_with("out")).collect();
        assert!(made.is_empty() || args[0] == "salvage", "{args:?} {made:?}");
    }
    place.write("d.maple", &bytes);
    for line in ["scan", "put 8 v", "tables"] {
        let run = place.feed(["shell", "d.maple"], format!("{line}\n").as_bytes());
        run.fails(1, &["mapleaf: line 1: page "]);
    }
    let run = place.run(["page", "d.maple", "5"]).fails(1, &["mapleaf: d.maple: page 5 is damaged"]);
    assert!(run.text().contains("problem: "), "{run:?}");
}

/// The commands whose help has this flag.
fn with_flag(place: &Place, flag: &str) -> Vec<&'static [&'static str]> {
    let has = |args: &&[&str]| place.run([args[0], "--help"]).text().contains(flag);
    commands().filter(|args| args[0] != "import" && args[0] != "snapshot").filter(has).collect()
}

#[test]
fn wrong_tables_are_told() {
    let place = place();
    let is_new = |args: &&[&str]| args[0] != "load";
    let asking = with_flag(&place, "-s, --table").into_iter().filter(is_new);
    let asking: Vec<_> = asking.filter(|args| !args.contains(&"-a") && args[0] != "watch").collect();
    assert!(asking.len() >= 10, "{asking:?}");
    for args in asking {
        let run = place.run([&on(args, "s.maple")[..], &["-s", "nmaes"]].concat());
        let next = if args[0] == "put" { "; --create makes it" } else { "; it has \"entries\"" };
        let place_of = if args.contains(&"other.maple") { " or " } else { "s.maple" };
        run.fails(1, &[place_of, &format!(": no table \"nmaes\"{next}")]);
        tidy(&place);
    }
    let shell = place.feed(["shell", "s.maple"], b"use nmaes\n");
    shell.fails(1, &["mapleaf: line 1: no table \"nmaes\"; it has \"entries\""]);
    for kind in
        ["lmdb", "redb", "sqlite"].iter().filter(|kind| is_built(&["import", kind]) && **kind != "lmdb")
    {
        let run = place.run(["import", kind, &format!("in.{kind}"), "out.maple", "-s", "nmaes"]);
        run.fails(1, &[&format!("mapleaf: in.{kind}: no table \"nmaes\"; it has ")]);
    }
}

#[test]
fn wrong_snapshots_are_told() {
    let place = place();
    for flag in ["--snapshot", "--from", "--to"] {
        let asking = with_flag(&place, &format!("{flag} <{}", "SNAPSHOT"));
        assert!(!asking.is_empty(), "{flag}");
        for args in asking.into_iter().filter(|args| !args.contains(&flag) && !args.contains(&"other.maple"))
        {
            let run = place.run([&on(args, "s.maple")[..], &[flag, "sunday"]].concat());
            run.fails(1, &["s.maple: no snapshot \"sunday\"; there are [\"kept\"]"]);
            assert!(!place.files().iter().any(|name| name.starts_with("out")), "{args:?}");
        }
    }
    place.run(["snapshot", "drop", "s.maple", "sunday"]).fails(1, &["no snapshot \"sunday\""]);
    place.run(["snapshot", "create", "s.maple", "kept"]).fails(1, &["\"kept\""]);
}

#[test]
fn wrong_keys_and_values_are_told() {
    let place = place();
    for args in [
        &["get", "@", "seven"][..],
        &["del", "@", "seven"],
        &["put", "@", "seven", "v"],
        &["scan", "@", "--from", "seven"],
        &["scan", "@", "--to", "seven"],
    ] {
        place
            .run(on(args, "s.maple"))
            .fails(2, &["mapleaf: key \"seven\": expected a number from 0 to 18446744073709551615"]);
    }
    place
        .run(["scan", "s.maple", "--prefix", "seven"])
        .fails(2, &["mapleaf: prefix \"seven\": expected a number"]);
    place.write("wrong.csv", "k,v\nseven,x\n");
    let run = place.run(["import", "csv", "wrong.csv", "s.maple", "-s", "entries"]);
    run.fails(1, &["mapleaf: wrong.csv: line 2: the key: expected a number from 0 to 18446744073709551615"]);
    place.write("wrong.jsonl", "{\"key\":\"seven\",\"value\":\"x\"}\n");
    let run = place.run(["import", "jsonl", "wrong.jsonl", "s.maple", "-s", "entries"]);
    run.fails(1, &["mapleaf: wrong.jsonl: line 1: the key: expected a number"]);
    for flag in ["--key-format", "--value-format"] {
        let asking = with_flag(&place, flag);
        assert!(asking.len() >= 8, "{asking:?}");
        for args in asking {
            let run = place.run([&on(args, "s.maple")[..], &[flag, "nonsense"]].concat());
            run.fails(2, &["expected auto, utf8, hex, escaped, base64, or a type such as u64"]);
            // Values that are no numbers, where they are shown, are an error that says how to see them.
            if flag == "--value-format" && !["put", "del", "tree"].contains(&args[0]) {
                let run = place.run([&on(args, "s.maple")[..], &[flag, "u64"]].concat());
                if args[0] != "watch" {
                    run.fails(
                        1,
                        &["bytes that are not of the type u64; show them with a format of hex or escaped"],
                    );
                }
            }
            tidy(&place);
        }
    }
    let shown =
        place.run(["get", "s.maple", "--key-format", "base64", "AAAAAAAAAAc=", "--value-format", "base64"]);
    assert_eq!(shown.fine().text().len(), 137);
}

/// Another process writes and does not end: who waits only so long says so, and nothing is changed.
#[test]
fn a_writer_that_does_not_end_is_told() {
    let place = place();
    let db = open(&place);
    let txn = db.begin_write().unwrap();
    for args in
        built(WRITING).filter(|args| args[0] != "shell").chain([&["backup", "@", "-o", "out.backup"][..]])
    {
        let run = place.run([&on(args, "s.maple")[..], &["--wait", "20ms"]].concat());
        run.fails(1, &["another process writes, and did not end within 20ms; nothing was done"]);
    }
    let shell = place.feed(["shell", "s.maple", "--wait", "20ms"], b"get 7\nput 8 v\n");
    shell.fails(1, &["mapleaf: line 2: another process writes, and did not end within 20ms"]);
    for line in
        ["table create t --wait 20ms", "snapshot create t --wait 20ms", "import csv in.csv -s t --wait 20ms"]
    {
        let shell = place.feed(["shell", "s.maple"], format!("{line}\n").as_bytes());
        shell.fails(1, &["mapleaf: line 1: another process writes, and did not end within 20ms"]);
    }
    // Who reads does not wait. What may be damaged is not read while someone has it open.
    for args in built(READING).filter(|args| args[0] != "backup") {
        let run = place.run(on(args, "s.maple"));
        match args[0] {
            "salvage" => {
                _ = run.fails(1, &["mapleaf: s.maple: is open; close it everywhere, or salvage a copy\n"])
            }
            _ => assert!(run.code == Some(0), "{run:?}"),
        }
        tidy(&place);
    }
    drop(txn);
    place.run(["put", "s.maple", "8", "v", "--wait", "20s"]).fine();
    place.run(["put", "s.maple", "8", "v", "--wait", "soon"]).fails(2, &["--wait"]);
}

/// A command that prints, with what it changes, if anything, done.
fn printing() -> impl Iterator<Item = &'static [&'static str]> {
    let is_silent = |args: &&[&str]| {
        ["watch", "shell", "snapshot"].contains(&args[0])
            || (args.contains(&"-o") && args[0] != "salvage" && args[0] != "backup")
    };
    let watching: [&[&str]; 1] = [&["watch", "@", "--from", "kept", "--count", "1"]];
    commands().filter(move |args| !is_silent(args)).chain(watching).chain(ALONE.iter().copied())
}

#[test]
fn a_closed_output_ends_quietly() {
    let place = place();
    for args in printing().chain([&["--help"][..], &["scan", "--help"], &["--version"]]) {
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        let mut child = command
            .args(on(args, "s.maple"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr)),
            (Some(0), "".into()),
            "{args:?}"
        );
        again(&place, args);
    }
}

#[test]
fn a_full_output_is_a_problem() {
    let place = place();
    for args in printing() {
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        let output = command.args(on(args, "s.maple")).stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said.starts_with("mapleaf: standard output: cannot write: No space left"), "{args:?} {said}");
        again(&place, args);
    }
}

/// A script's answers that nobody takes, or that find no room.
#[test]
fn answers_of_the_shell_and_streams_of_backups_that_nobody_takes() {
    let place = place();
    let tool = env!("CARGO_BIN_EXE_mapleaf");
    let sh = |script: &str| {
        let script = script.replace("mapleaf", tool);
        place.feed_program("bash", ["-c", &format!("set -o pipefail; {script}")], b"")
    };
    sh("printf 'scan\\n%.0s' {1..1000} | mapleaf shell s.maple | head -1 > /dev/null").fine();
    sh("printf 'scan\\n%.0s' {1..1000} | mapleaf shell --json s.maple | head -1 > /dev/null").fine();
    sh("echo scan | mapleaf shell s.maple > /dev/full")
        .fails(1, &["mapleaf: line 1: standard output: cannot write"]);
    // A backup that was not taken whole is none: that is a problem.
    let cut = sh("mapleaf backup s.maple -o - | head -c 100 > /dev/null");
    cut.fails(1, &["mapleaf: standard output: cannot write", "what was written is no backup"]);
    sh("mapleaf backup s.maple -o - > /dev/full")
        .fails(1, &["No space left", "what was written is no backup"]);
}

/// What was done is undone where the next one needs it.
fn again(place: &Place, args: &[&str]) {
    tidy(place);
    match args[..args.len().min(2)] {
        ["del", _] => _ = place.run(["put", "s.maple", "7", "seven"]).fine(),
        ["table", "create"] => _ = place.run(["table", "drop", "s.maple", "new"]).fine(),
        ["table", "rename"] => _ = place.run(["table", "rename", "s.maple", "renamed", "entries"]).fine(),
        ["table", "drop"] => {
            place
                .run(["table", "create", "s.maple", "entries", "--key-type", "u64", "--value-type", "str"])
                .fine();
        }
        _ => {}
    }
}

/// What is wrong with a command line is told as everything else is, with the use below it.
#[test]
fn wrong_use_is_told_with_the_use() {
    let place = Place::new();
    for name in place.listed(&[]) {
        let run = place
            .run([&name[..], "--frobnicate"])
            .fails(2, &["mapleaf: unexpected argument '--frobnicate' found"]);
        assert!(run.err.contains(&format!("Usage: mapleaf {name}")) && run.out.is_empty(), "{run:?}");
        let help = place.run([&name[..], "--help"]).fine();
        assert!(help.text().contains(&format!("Usage: mapleaf {name}")), "{help:?}");
    }
    place.run(["stats"]).fails(2, &["mapleaf: unrecognized subcommand 'stats'", "'stat'"]);
    let none: [&str; 0] = [];
    assert!(place.run(none).err.contains("Usage: mapleaf <COMMAND>"));
    place.run(["put", "--create", "s.maple", "--key-format", "i64", "-5", "x"]).fine();
    assert_eq!(
        place.run(["scan", "s.maple", "--key-format", "i64", "--prefix", "-5"]).fine().text(),
        "-5\tx\n"
    );
}

/// What a pipe gets has no escapes, whoever asks for colours.
#[test]
fn a_pipe_gets_no_colours() {
    let place = place();
    for args in commands().chain([&["--help"][..], &["nonsense"]]) {
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        let output = command
            .args(on(args, "s.maple"))
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = [output.stdout, output.stderr].concat();
        assert!(!shown.contains(&0x1b), "{args:?} {}", String::from_utf8_lossy(&shown));
        tidy(&place);
    }
}

/// Those that write: what they are given, how many KiB are left for it, and which files they would make.
const GROWING: &[(&[&str], u64, &[&str])] = &[
    (&["put", "s.maple", "8", "--value-file", "large"], 0, &[]),
    (&["put", "--create", "out.maple", "8", "--value-file", "large"], 0, &["out.maple"]),
    (&["load", "s.maple", "-f", "large.dump"], 0, &[]),
    (&["load", "out.maple", "-f", "large.dump"], 500, &["out.maple"]),
    (&["import", "csv", "large.csv", "s.maple", "-s", "rows"], 0, &[]),
    (&["import", "tsv", "large.tsv", "out.maple", "-s", "rows", "--value-type", "unit"], 500, &["out.maple"]),
    (&["shell", "s.maple"], 0, &[]),
    (&["dump", "s.maple", "-o", "out.dump"], 20, &["out.dump"]),
    (&["export", "csv", "s.maple", "-o", "out.csv"], 20, &["out.csv"]),
    (&["export", "jsonl", "s.maple", "-o", "out.jsonl"], 20, &["out.jsonl"]),
    (&["backup", "s.maple", "-o", "out.backup"], 20, &["out.backup"]),
    (&["copy", "s.maple", "out.maple"], 50, &["out.maple"]),
    (&["copy", "--compact", "s.maple", "out.maple"], 50, &["out.maple"]),
    (&["restore", "in.backup", "-o", "out.maple"], 50, &["out.maple"]),
    (&["salvage", "s.maple", "-o", "out.maple"], 50, &["out.maple"]),
    (&["map", "s.maple", "-o", "out.svg"], 0, &["out.svg"]),
    (&["tree", "s.maple", "-o", "out.png"], 0, &["out.png"]),
    (&["plot", "bench.json", "-o", "out"], 0, &["out/bench.svg"]),
    (&["man", "-o", "out"], 0, &["out/mapleaf.1"]),
    (&["bench", ".", "--count", "10000"], 100, &[]),
];

/// Those that may find room in what the store has, and are whole or an error.
const SMALL: &[&[&str]] = &[
    &["put", "s.maple", "8", "v"],
    &["del", "s.maple", "7"],
    &["snapshot", "create", "s.maple", "name"],
    &["snapshot", "drop", "s.maple", "kept"],
    &["compact", "s.maple"],
    &["trim", "s.maple"],
    &["checkpoint", "s.maple"],
    &["table", "create", "s.maple", "new"],
    &["table", "drop", "s.maple", "entries"],
];

/// A larger store, and more to put into it.
fn fill(place: &Place) {
    open(place)
        .write(|w| {
            (0..3000).try_for_each(|i| w.put(ENTRIES, &i, &"value".repeat(20)).map(|_| ()))?;
            w.create_snapshot("kept")
        })
        .unwrap();
    place.write("large", "large".repeat(1_000_000));
    let rows: String = (0..40_000).map(|i| format!("row {i},{}\n", "x".repeat(80))).collect();
    place.write("large.csv", format!("k,v\n{rows}"));
    place.write("large.tsv", format!("k\n{rows}"));
    let pairs: String = (0..40_000).map(|i| format!(" {i:08}\n {}\n", "x".repeat(80))).collect();
    place.write("large.dump", format!("VERSION=3\nformat=print\ntype=btree\nHEADER=END\n{pairs}DATA=END\n"));
    place.run(["backup", "s.maple", "-o", "in.backup"]).fine();
    place.write("bench.json", place.run(["bench", "--count", "10", "--durable", "1", "--json"]).fine().out);
}

/// What the store holds, which must be whole.
fn held(place: &Place) -> Vec<u8> {
    place.run(["verify", "s.maple"]).fine();
    place.run(["dump", "-a", "s.maple"]).fine().out
}

fn sizes(place: &Place) -> Vec<(String, u64)> {
    let of = |name: String| {
        (place.path(&name).metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 }), name)
    };
    place.files().into_iter().map(of).map(|(len, name)| (name, len)).collect()
}

/// Tries those that write, by `run`, which leaves them so many KiB.
fn without_room(place: &Place, why: &str, run: impl Fn(&[&str], u64) -> common::Run) {
    let before = held(place);
    for (args, room, made) in GROWING {
        tidy(place);
        let files = place.files();
        let ended = run(args, *room);
        assert!(
            ended.code == Some(1) && ended.err.contains(why) && ended.err.starts_with("mapleaf: "),
            "{args:?} {ended:?}"
        );
        assert_eq!(ended.err.lines().count(), 1, "{args:?} {ended:?}");
        assert!(made.iter().all(|name| !place.path(name).exists()), "{args:?} {:?}", sizes(place));
        let is_left = |name: &String| !files.contains(name) && name != "out";
        assert!(!place.files().iter().any(is_left), "{args:?} {:?}", sizes(place));
        assert!(held(place) == before, "{args:?}");
    }
    // A file that is to be replaced stays as it was.
    tidy(place);
    for (args, room, made) in
        GROWING.iter().filter(|(args, ..)| ["dump", "export", "map", "tree", "backup"].contains(&args[0]))
    {
        let there = if args[0] == "backup" { place.read("in.backup") } else { b"there".to_vec() };
        place.write(made[0], &there);
        let ended = run(args, *room).fails(1, &[why]);
        assert!(place.read(made[0]) == there, "{args:?} {ended:?}");
        tidy(place);
    }
    for args in SMALL {
        let before = held(place);
        let ended = run(args, 0);
        match ended.code {
            Some(0) => assert_eq!(ended.err, "", "{args:?}"),
            _ => assert!(
                ended.code == Some(1) && ended.err.contains(why) && held(place) == before,
                "{args:?} {ended:?}"
            ),
        }
        held(place);
    }
}

#[test]
fn a_full_disk_is_told_and_takes_nothing() {
    common::mounts::in_own_mounts("a_full_disk_is_told_and_takes_nothing", |directory| {
        let disk = directory.join("disk");
        if !common::mounts::mount(&["-t", "tmpfs", "-o", "size=24m", "none"], &disk) {
            return eprintln!("skipped: no tmpfs can be mounted");
        }
        let place = Place::below(&disk);
        fill(&place);
        let stranger = disk.join("stranger");
        without_room(&place, "No space left on device", |args, room| {
            // As much as there is, and the room given back.
            let mut all = std::fs::File::create(&stranger).unwrap();
            let mut taken = 0;
            while std::io::Write::write_all(&mut all, &[0; 4096]).is_ok() {
                taken += 4096;
            }
            all.set_len(taken - room * 1024).unwrap();
            let script = format!("put 8 {}\n", "v".repeat(2_000_000));
            let ended = place.feed(args, script.as_bytes());
            std::fs::remove_file(&stranger).unwrap();
            ended
        });
    });
}

#[test]
fn a_limit_of_the_length_of_files_is_told_and_takes_nothing() {
    let place = Place::new();
    fill(&place);
    without_room(&place, "File too large", |args, room| {
        // Blocks are of 512 or of 1024 bytes, as the shell has it.
        let is_small = ["map", "tree", "plot", "man"].contains(&args[0]);
        let limit = format!("ulimit -f {} && exec \"$@\"", if is_small { 1 } else { room + 100 });
        let script = format!("put 8 {}\n", "v".repeat(2_000_000));
        place.feed_program(
            "sh",
            [&["-c", &limit, "sh", env!("CARGO_BIN_EXE_mapleaf")], args].concat(),
            script.as_bytes(),
        )
    });
}

/// A store on a medium that may only be read.
fn read_only(place: &Place, disk: &std::path::Path, fill: impl FnOnce(&std::path::Path)) -> bool {
    if !common::mounts::mount(&["-t", "tmpfs", "none"], disk) {
        return false;
    }
    std::fs::copy(place.path("s.maple"), disk.join("s.maple")).unwrap();
    fill(disk);
    assert!(common::mounts::mount(&["-o", "remount,bind,ro"], disk));
    true
}

#[test]
fn read_only_media_are_read() {
    common::mounts::in_own_mounts("read_only_media_are_read", |directory| {
        let place = Place::below(directory);
        fill_small(&place);
        // Without a lock file, and with one that somebody has left there.
        for name in ["disk", "locked"] {
            let is_there = read_only(&place, &place.path(name), |disk| {
                if name == "locked" {
                    std::fs::copy(place.path("s.maple-lock"), disk.join("s.maple-lock")).unwrap();
                }
            });
            if !is_there {
                return eprintln!("skipped: no tmpfs can be mounted");
            }
            let store = format!("{name}/s.maple");
            may_be_read(&place, &store, Some("Read-only file system"));
            for args in built(WRITING) {
                let said = format!("mapleaf: {store}: cannot open: Read-only file system (os error 30)\n");
                assert_eq!(place.run(on(args, &store)).fails(1, &[]).err, said, "{args:?}");
            }
            for output in ["disk/new", "disk/new.svg"] {
                for args in
                    [&["dump", "@", "-o"][..], &["copy", "@"], &["map", "@", "-o"], &["salvage", "@", "-o"]]
                {
                    let run = place.run([&on(args, "s.maple")[..], &[output]].concat());
                    let wanted = if args[0] == "map" && output == "disk/new" { 2 } else { 1 };
                    run.fails(
                        wanted,
                        &[output, if wanted == 1 { "Read-only file system" } else { ".svg or .png" }],
                    );
                }
            }
        }
    });
}

/// Those that read do, all of them.
fn may_be_read(place: &Place, store: &str, no_checkpoint: Option<&str>) {
    let told = format!(
        "mapleaf: {store}: no other backup can be made since this one, as it can only since a checkpoint: cannot "
    );
    for args in built(READING) {
        let run = place.run(on(args, store));
        assert_eq!(run.code, Some(0), "{args:?} {run:?}");
        match no_checkpoint.filter(|_| args[0] == "backup") {
            Some(why) => assert!(run.err.starts_with(&told) && run.err.contains(why), "{run:?}"),
            None => assert_eq!(run.err, "", "{args:?}"),
        }
        tidy(place);
    }
}

/// A store that may be written to, beside which nothing can be made.
#[test]
fn where_no_lock_file_can_be_made_stores_are_read() {
    common::mounts::in_own_mounts("where_no_lock_file_can_be_made_stores_are_read", |directory| {
        let place = Place::below(directory);
        fill_small(&place);
        let is_there = read_only(&place, &place.path("disk"), |disk| {
            let store = place.path("s.maple");
            assert!(common::mounts::mount(&["--bind", store.to_str().unwrap()], &disk.join("s.maple")));
        });
        if !is_there {
            return eprintln!("skipped: no tmpfs can be mounted");
        }
        may_be_read(&place, "disk/s.maple", None);
        for args in built(WRITING) {
            let run = place.run(on(args, "disk/s.maple"));
            run.fails(
                1,
                &["mapleaf: disk/s.maple: cannot open the lock file ", "s.maple-lock: Read-only file system"],
            );
        }
    });
}

/// A store that was not closed, where its log cannot be replayed.
#[test]
fn a_log_that_waits_on_a_read_only_medium_is_told() {
    common::mounts::in_own_mounts("a_log_that_waits_on_a_read_only_medium_is_told", |directory| {
        let place = Place::below(directory);
        fill_small(&place);
        let db = open(&place);
        db.write(|w| w.put(ENTRIES, &500, "logged")).unwrap();
        if !read_only(&place, &place.path("disk"), |_| {}) {
            return eprintln!("skipped: no tmpfs can be mounted");
        }
        // These look at the file as it is.
        let needs_it = |args: &&[&str]| !["salvage", "readers", "verify", "page"].contains(&args[0]);
        for args in built(READING).filter(needs_it) {
            let run = place.run(on(args, "disk/s.maple"));
            run.fails(
                1,
                &["mapleaf: disk/s.maple: the store was not closed, and may not be written here: its log has 1 txn more", "--ignore-log"],
            );
            let run = place.run([&on(args, "disk/s.maple")[..], &["--ignore-log"]].concat());
            assert_eq!(run.code, Some(0), "{args:?} {run:?}");
            tidy(&place);
        }
        for args in [&["verify", "disk/s.maple"], &["page", "disk/s.maple", "0"][..]] {
            let run = place.run(args);
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(run.err.contains("its last checkpoint, without the 1 txn in its log"), "{run:?}");
        }
        for args in built(WRITING) {
            place.run(on(args, "disk/s.maple")).fails(1, &["mapleaf: disk/s.maple: cannot open: Read-only"]);
        }
    });
}

/// What a killed writer has left is read as if it had closed the store; only who judges the file leaves it as it is.
#[test]
fn a_log_that_waits_is_replayed() {
    let place = Place::new();
    let db = open(&place);
    db.write(|w| w.put(ENTRIES, &1, "checkpoint")).unwrap();
    db.checkpoint().unwrap();
    // The next commit makes the log.
    db.write(|w| w.put(ENTRIES, &2, "checkpoint")).unwrap();
    db.write(|w| w.put(ENTRIES, &3, "logged")).unwrap();
    // As a dead process leaves it.
    std::fs::copy(place.path("s.maple"), place.path("dead.maple")).unwrap();
    drop(db);
    let before = place.read("dead.maple");
    let run = place.run(["verify", "dead.maple"]);
    assert!(run.code == Some(0) && run.err.contains("without the 1 txn in its log"), "{run:?}");
    assert!(run.text().contains("2 entries"), "{run:?}");
    place.run(["page", "dead.maple", "0"]);
    let old = "1\tcheckpoint\n2\tcheckpoint\n";
    assert_eq!(place.run(["scan", "--ignore-log", "dead.maple"]).fine().text(), old);
    assert!(place.read("dead.maple") == before, "the file was changed");
    assert_eq!(place.run(["scan", "dead.maple"]).fine().text(), format!("{old}3\tlogged\n"));
    assert!(place.run(["verify", "dead.maple"]).fine().text().contains("3 entries"));
}
