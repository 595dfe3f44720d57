//! What every command says when it cannot: the same faults for all of them.

mod common;

use common::Place;
use mapleaf::{Database, Table};
use std::process::Stdio;

const ENTRIES: Table<u64, str> = Table::new("entries");

/// The commands that read a store, which stands for `@`.
const READING: &[&[&str]] = &[
    &["stat", "@"],
    &["verify", "@"],
    &["dump", "-a", "@"],
    &["get", "@", "7"],
    &["scan", "@"],
    &["tables", "@"],
    &["export", "csv", "@"],
    &["export", "jsonl", "-a", "@"],
    &["backup", "@", "-o", "out.backup"],
    &["copy", "@", "out.maple"],
    &["copy", "--compact", "@", "out.maple"],
    &["page", "@", "0"],
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
    &["import", "jsonl", "--no-create", "in.jsonl", "@", "-s", "entries"],
    &["snapshot", "create", "@", "name"],
    &["snapshot", "drop", "@", "kept"],
    &["compact", "@"],
    &["trim", "@"],
];

fn on<'a>(args: &[&'a str], store: &'a str) -> Vec<&'a str> {
    args.iter().map(|arg| if *arg == "@" { store } else { arg }).collect()
}

#[allow(unsafe_code)]
fn open(place: &Place) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path("s.maple")) }.unwrap()
}

fn place() -> Place {
    let place = Place::new();
    place.write("in.csv", "k,v\n9,x\n");
    place.write("in.jsonl", "{\"key\":9,\"value\":\"x\"}\n");
    open(&place)
        .write(|w| {
            (0..500).try_for_each(|i| w.put(ENTRIES, &i, &"value".repeat(20)).map(|_| ()))?;
            w.create_snapshot("kept")
        })
        .unwrap();
    place.run(["dump", "s.maple", "-f", "in.dump"]).fine();
    place
}

fn commands() -> impl Iterator<Item = &'static [&'static str]> {
    READING.iter().chain(WRITING).copied()
}

#[test]
fn a_missing_file_is_named_and_not_made() {
    let place = place();
    let before = place.files();
    for args in commands() {
        place.run(on(args, "none.maple")).fails(1, &["mapleaf: none.maple: no such file; check the path"]);
        assert_eq!(place.files(), before, "{args:?}");
    }
}

#[test]
fn a_file_of_something_else_is_named_and_not_changed() {
    let place = place();
    let text = "It was a dark and stormy night. ".repeat(1000);
    place.write("text", &text);
    std::fs::create_dir(place.path("directory")).unwrap();
    let before = place.files();
    for args in commands() {
        place.run(on(args, "text")).fails(1, &["mapleaf: text: not a mapleaf store"]);
        place.run(on(args, "directory")).fails(1, &["mapleaf: directory: "]);
        assert_eq!(place.read("text"), text.as_bytes(), "{args:?}");
    }
    assert!(
        place.files().iter().all(|name| before.contains(name) || name.ends_with("-lock")),
        "{:?}",
        place.files()
    );
}

/// Every page but the first two damaged: whatever it is that a command reads, it names a page, and never panics.
#[test]
fn damage_is_named_by_its_page() {
    let place = place();
    let mut bytes = place.read("s.maple");
    bytes.chunks_mut(4096).skip(2).for_each(|page| page[700] ^= 0x55);
    for args in commands().filter(|args| !["page", "watch", "shell"].contains(&args[0])) {
        place.write("d.maple", &bytes);
        let _ = std::fs::remove_file(place.path("d.maple-lock"));
        let run = place.run(on(args, "d.maple"));
        let said = format!("{}{}", String::from_utf8_lossy(&run.out), run.err);
        // Who reads lists them without reading their tables.
        if args[0] == "readers" && run.code == Some(0) {
            continue;
        }
        assert!(run.code == Some(1) && said.contains("page "), "{args:?} {run:?}");
        assert!(!said.contains("panicked"), "{run:?}");
    }
}

#[test]
fn wrong_tables_and_keys_are_told() {
    let place = place();
    for args in [
        &["get", "@", "7"][..],
        &["scan", "@"],
        &["export", "csv", "@"],
        &["stat", "@"],
        &["dump", "@"],
        &["put", "@", "8", "v"],
        &["del", "@", "7"],
    ] {
        let args = on(args, "s.maple");
        place.run([&args[..], &["-s", "nmaes"]].concat()).fails(1, &["mapleaf: s.maple: no table \"nmaes\""]);
    }
    for args in [
        &["get", "@", "seven"][..],
        &["del", "@", "seven"],
        &["put", "@", "seven", "v"],
        &["scan", "@", "--from", "seven"],
    ] {
        place
            .run(on(args, "s.maple"))
            .fails(2, &["key \"seven\": expected a number from 0 to 18446744073709551615"]);
    }
    place
        .run(["get", "s.maple", "--key-format", "nonsense", "7"])
        .fails(2, &["expected auto, utf8, hex, escaped, base64, or a type"]);
    place
        .run(["scan", "s.maple", "--value-format", "u64"])
        .fails(1, &["a value in table \"entries\" has 100 bytes that are not of the type u64"]);
    assert_eq!(
        place
            .run(["get", "s.maple", "--key-format", "base64", "AAAAAAAAAAc=", "--value-format", "base64"])
            .fine()
            .text()
            .len(),
        137
    );
}

/// Another process writes and does not end: who waits only so long says so, and nothing is changed.
#[test]
fn a_writer_that_does_not_end_is_told() {
    let place = place();
    let db = open(&place);
    let txn = db.begin_write().unwrap();
    for args in WRITING {
        let run = place.run([&on(args, "s.maple")[..], &["--wait", "20ms"]].concat());
        run.fails(1, &["another process writes, and did not end within 20ms; nothing was done"]);
    }
    // Who reads does not wait.
    for args in READING.iter().filter(|args| args[0] != "backup") {
        assert!(matches!(place.run(on(args, "s.maple")).code, Some(0)), "{args:?}");
        let _ = std::fs::remove_file(place.path("out.maple"));
    }
    drop(txn);
    place.run(["put", "s.maple", "8", "v", "--wait", "20s"]).fine();
    place.run(["put", "s.maple", "8", "v", "--wait", "soon"]).fails(2, &["--wait"]);
}

/// A store that may only be read, in a directory that may only be read.
#[test]
fn read_only_media_are_read() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    drop(open(&place));
    std::fs::create_dir(place.path("media")).unwrap();
    std::fs::rename(place.path("s.maple"), place.path("media/s.maple")).unwrap();
    let mode = |path: &str, mode| {
        std::fs::set_permissions(place.path(path), std::fs::Permissions::from_mode(mode)).unwrap()
    };
    mode("media/s.maple", 0o444);
    mode("media", 0o555);
    if std::fs::write(place.path("media/probe"), "").is_ok() {
        let _ = std::fs::remove_file(place.path("media/probe"));
        eprintln!("skipped: this user may write anywhere");
    } else {
        for args in READING {
            assert_eq!(place.run(on(args, "media/s.maple")).code, Some(0), "{args:?}");
            let _ = std::fs::remove_file(place.path("out.maple"));
        }
        for args in WRITING {
            place.run(on(args, "media/s.maple")).fails(1, &["mapleaf: media/s.maple: "]);
        }
    }
    mode("media", 0o755);
}

#[test]
fn a_closed_output_ends_quietly_and_a_full_one_is_a_problem() {
    let place = place();
    let printing = READING.iter().copied().filter(|args| !["backup", "watch", "shell"].contains(&args[0]));
    let more: [&[&str]; 4] = [&["man"], &["completions", "bash"], &["--help"], &["scan", "--help"]];
    for args in printing.chain(more) {
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
        let _ = std::fs::remove_file(place.path("out.maple"));
    }
    let printing = READING.iter().copied().filter(|args| !["backup", "watch", "shell"].contains(&args[0]));
    for args in printing.chain([&["man"][..], &["completions", "bash"]]) {
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        let output = command.args(on(args, "s.maple")).stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said.contains("mapleaf: standard output: cannot write"), "{args:?} {said}");
        let _ = std::fs::remove_file(place.path("out.maple"));
    }
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
        if args[0] != "backup" {
            assert!(!shown.contains(&0x1b), "{args:?} {}", String::from_utf8_lossy(&shown));
        }
        let _ = std::fs::remove_file(place.path("out.maple"));
    }
}
