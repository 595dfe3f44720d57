//! watch, copy, bench, completions and man.

mod common;

use common::Place;
use common::screen::Screen;
use mapleaf::{Database, Table};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const STOCK: Table<str, u64> = Table::new("stock");
const OTHER: Table<u64, str> = Table::new("other");

#[allow(unsafe_code)]
fn open(place: &Place) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path("a.maple")) }.unwrap()
}

fn store(place: &Place) -> Database {
    let db = open(place);
    db.write(|w| {
        w.put(STOCK, "tea", &5)?;
        w.put(OTHER, &1, "x")?;
        w.create_snapshot("begin")
    })
    .unwrap();
    db
}

/// A program that is killed where the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watch_tells_each_state_and_what_differs() {
    let place = Place::new();
    let db = store(&place);
    db.write(|w| w.put(STOCK, "tea", &4)).unwrap();
    let watch = |args: &[&str]| {
        let mut command: Command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        command.args([&["watch", "a.maple", "--from", "begin"], args].concat()).stdout(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        (running, lines.map(Result::unwrap))
    };
    let (mut text, mut lines) = watch(&["--count", "3"]);
    let (mut json, mut json_lines) = watch(&["--json", "-s", "stock", "--count", "2"]);
    let mut told = |count: usize| lines.by_ref().take(count).collect::<Vec<_>>();
    let first = db.begin_read().unwrap().txn_id();
    assert_eq!(told(3), [&format!("txn {first}"), "-\t\"stock\"\ttea\t5", "+\t\"stock\"\ttea\t4"]);
    // Who begins late is told of the newest state only.
    let early: Vec<String> = json_lines.by_ref().take(2).collect();
    db.write(|w| w.put(OTHER, &2, "y")).unwrap();
    assert_eq!(told(2), [&format!("txn {}", first + 1), "+\t\"other\"\t2\ty"]);
    db.write(|w| w.delete(STOCK, "tea")).unwrap();
    assert_eq!(told(9), [&format!("txn {}", first + 2), "-\t\"stock\"\ttea\t4"]);
    assert_eq!(text.0.wait().unwrap().code(), Some(0));

    let told: Vec<serde_json::Value> =
        early.into_iter().chain(json_lines).map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(
        (&told[0]["txn"], &told[1]["change"], &told[1]["old"]),
        (&first.into(), &"changed".into(), &5.into())
    );
    assert_eq!((&told[2]["txn"], &told[3]["change"]), (&(first + 2).into(), &"deleted".into()));
    assert_eq!(json.0.wait().unwrap().code(), Some(0));
}

#[test]
fn watch_ends_when_its_time_is_over() {
    let place = Place::new();
    drop(store(&place));
    assert_eq!(place.run(["watch", "a.maple", "--timeout", "10ms"]).fine().text(), "");
    assert_eq!(place.run(["watch", "a.maple", "--timeout", "10ms", "--count", "1"]).fails(1, &[]).text(), "");
    place.run(["watch", "a.maple", "--timeout", "soon"]).fails(2, &["--timeout"]);
    place.run(["watch", "a.maple", "--from", "monday", "--timeout", "1ms"]).fails(1, &["monday", "begin"]);
    place.run(["watch", "none.maple"]).fails(1, &["mapleaf: none.maple: no such file"]);
}

#[test]
fn a_copy_is_a_store_with_the_same_content() {
    let place = Place::new();
    let db = store(&place);
    db.write(|w| (0..2000).try_for_each(|i| w.put(OTHER, &i, &"value".repeat(40)).map(|_| ()))).unwrap();
    let copy = place.run(["copy", "a.maple", "b.maple"]).fine();
    let txn = db.begin_read().unwrap().txn_id();
    let len = place.read("b.maple").len();
    assert_eq!(copy.text().replace(',', ""), format!("2001 entries of txn {txn} {len} bytes\n"));
    place.run(["verify", "b.maple"]).fine();
    let dump = |store: &str, args: &[&str]| place.run([&["dump", "-a", store], args].concat()).fine().out;
    assert!(dump("a.maple", &[]) == dump("b.maple", &[]));
    let json = place.run(["copy", "a.maple", "c.maple", "--snapshot", "begin", "--json"]).fine().json();
    assert_eq!((&json["entries"], &json["txn"]), (&2.into(), &(txn - 1).into()));
    assert!(dump("a.maple", &["--snapshot", "begin"]) == dump("c.maple", &[]));
    // The copy goes its own way.
    place.run(["put", "b.maple", "-s", "stock", "salt", "1"]).fine();
    place.run(["get", "a.maple", "-s", "stock", "salt"]).fails(1, &["no key"]);
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let place = Place::new();
    let db = store(&place);
    db.write(|w| (0..2000).try_for_each(|i| w.put(OTHER, &i, &"value".repeat(40)).map(|_| ()))).unwrap();
    db.close().unwrap();
    place.write("there", "x");
    place.run(["copy", "a.maple", "there"]).fails(1, &["there"]);
    assert_eq!(place.read("there"), b"x");
    place.run(["copy", "a.maple", "no/such/directory"]).fails(1, &["no/such/directory"]);
    place.run(["copy", "none.maple", "b.maple"]).fails(1, &["mapleaf: none.maple: no such file"]);
    place.run(["copy", "a.maple"]).fails(2, &["<NEW>"]);
    place.run(["copy", "a.maple", "./a.maple"]).fails(1, &["./a.maple: that is the file that is to be read"]);
    // A page of a leaf rots: the copy names it, and is not made.
    let mut bytes = place.read("a.maple");
    let stat = place.run(["page", "a.maple", "--json", "20"]).json();
    assert!(stat["kind"].as_str().is_some());
    for page in 10..bytes.len() / 4096 {
        bytes[page * 4096 + 900] ^= 0x55;
    }
    place.write("d.maple", &bytes);
    place.run(["copy", "d.maple", "b.maple"]).fails(1, &["mapleaf: d.maple: ", "page "]);
    assert!(!place.path("b.maple").exists());
    assert!(
        place
            .files()
            .iter()
            .all(|name| ["a.maple", "d.maple", "there"].iter().any(|of| name.starts_with(of))),
        "{:?}",
        place.files()
    );
}

#[test]
fn bench_does_all_its_work_and_leaves_nothing() {
    let place = Place::new();
    let args = ["bench", ".", "--count", "300", "--durable", "3", "--value-len", "10"];
    let rows = place.run([&args[..], &["--json"]].concat()).fine().json();
    let works: Vec<(&str, u64)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["work"].as_str().unwrap(), row["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(works.len(), 7);
    assert!(
        works.contains(&("get, random", 300)) && works.contains(&("put, 1 a commit, durable", 3)),
        "{works:?}"
    );
    assert!(rows.as_array().unwrap().iter().all(|row| row["seconds"].as_f64().unwrap() > 0.0));
    let told = place.run(args);
    assert_eq!((told.code, told.text().lines().count()), (Some(0), 8), "{told:?}");
    assert_eq!(told.err.contains("built without optimisation"), cfg!(debug_assertions), "{told:?}");
    assert!(place.files().is_empty(), "{:?}", place.files());
    place.run(["bench", "no/such/directory"]).fails(1, &["mapleaf: no/such/directory: "]);
}

#[test]
fn shells_complete_every_command() {
    let place = Place::new();
    let help = place.run(["--help"]).fine().text().to_owned();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(["completions", shell]).fine();
        for command in ["verify", "export", "watch", "completions"] {
            assert!(help.contains(command) && script.text().contains(command), "{shell} {command}");
        }
    }
    place.run(["completions", "csh"]).fails(2, &["bash, elvish, fish, powershell, zsh"]);
    // bash takes it, and completes with it.
    let script = place.run(["completions", "bash"]).fine().text().to_owned();
    if std::path::Path::new("/bin/bash").exists() {
        let asked =
            "COMP_WORDS=(mapleaf ver); COMP_CWORD=1; _mapleaf mapleaf ver mapleaf; echo ${COMPREPLY[@]}";
        let run = place.feed_program("/bin/bash", ["-c", &format!("{script}\n{asked}")], b"");
        assert_eq!((run.code, run.text()), (Some(0), "verify\n"), "{run:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let place = Place::new();
    let page = place.run(["man"]).fine();
    assert!(page.text().contains(".TH mapleaf 1"), "{}", page.text());
    let scan = place.run(["man", "scan"]).fine();
    assert!(
        scan.text().contains("mapleaf\\-scan") && scan.text().contains("\\-\\-prefix"),
        "{}",
        scan.text()
    );
    place.run(["man", "-o", "man/man1"]).fine();
    let pages = std::fs::read_dir(place.path("man/man1")).unwrap().count();
    assert!(pages > 20 && place.path("man/man1/mapleaf-import-csv.1").exists(), "{pages}");
    // Examples stand as they are typed; what else clap tells stands in its place.
    let import = std::fs::read_to_string(place.path("man/man1/mapleaf-import-csv.1")).unwrap();
    let title = format!(".TH mapleaf-import-csv 1 \"\" \"mapleaf {}\" ", env!("CARGO_PKG_VERSION"));
    assert!(import.starts_with(&title), "{import}");
    let sections: Vec<&str> = import.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let expected =
        ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""];
    assert_eq!(sections, expected);
    let (_, examples) = import.split_once(".SH EXAMPLES\n.nf\n").unwrap();
    let (examples, after) = examples.split_once("\n.fi\n").unwrap();
    let example =
        "mapleaf import csv users.csv app.maple \\-s by_mail \\-\\-key mail \\-\\-value id \\-\\-multi";
    assert!(examples.lines().any(|line| line == example), "{examples}");
    assert!(after.contains("\\fBmapleaf\\-import\\fR(1)"), "{after}");
    assert!(scan.text().contains("\\fBmapleaf\\-get\\fR(1)"), "{}", scan.text());
    place.run(["man", "frobnicate"]).fails(2, &["no command \"frobnicate\"", "verify"]);
    place.write("file", "");
    place.run(["man", "-o", "file"]).fails(1, &["mapleaf: file: cannot make the directory: "]);
}

#[test]
fn on_a_terminal_man_shows_the_page() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.path("bin")).unwrap();
    let man = |script: &str| {
        place.write("bin/man", script);
        std::fs::set_permissions(place.path("bin/man"), PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", place.path("bin").display());
        Screen::open(&place, &["man", "scan"], &[("PATH", &path)])
    };
    let screen = man("#!/bin/sh\necho shown by man $*\nhead -n 1\n");
    screen.expect("shown by man -l -");
    screen.expect(".TH mapleaf-scan 1");
    // One that cannot take it from here.
    man("#!/bin/sh\nexit 1\n").expect(".SH EXAMPLES");
}
