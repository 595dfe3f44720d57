//! `mapleaf readers`, beside real processes that hold snapshots, live and die.
//!
//! A process that holds a snapshot is this test program again, running only [`holder`], for the store that an
//! environment variable names. It ends with its standard input, so none outlives its test.

mod common;

use common::Place;
use mapleaf::{Database, Table};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use unicode_width::UnicodeWidthStr;

const NUMBERS: Table<u64, [u8]> = Table::new("numbers");
const FILE: &str = "MAPLEAF_HOLDER_FILE";
const LABEL: &str = "the nightly report";

/// Does nothing unless a test below has started it.
#[test]
fn holder() {
    let Ok(file) = std::env::var(FILE) else { return };
    let db = open(file);
    let mut snapshot = db.begin_read().unwrap();
    snapshot.set_label(LABEL);
    println!("\n@holding");
    std::io::stdin().lines().for_each(drop);
}

fn open(file: impl AsRef<std::path::Path>) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    #[allow(unsafe_code)]
    unsafe { Database::open(file) }.unwrap()
}

/// Puts 100 values of half a page, so that a snapshot from before retains pages.
fn write(db: &Database, byte: u8) {
    db.write(|w| (0..100).try_for_each(|i| w.put(NUMBERS, &i, &[byte; 2000]).map(drop))).unwrap();
}

/// A store with two commits, opened.
fn store() -> (Place, Database) {
    let place = Place::new();
    let db = open(place.path("s.maple"));
    write(&db, 1);
    (place, db)
}

/// A process that holds a snapshot.
struct Holder(Child);

impl Holder {
    fn start(place: &Place) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "holder", "--nocapture"]).env(FILE, place.path("s.maple"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "@holding"));
        Holder(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// By SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_snapshot_in_another_process_is_listed_with_its_label_and_what_it_costs() {
    let (place, db) = store();
    let txn = db.begin_read().unwrap().txn_id();
    let holder = Holder::start(&place);
    (2..5).for_each(|byte| write(&db, byte));

    let json = place.run(["readers", "--json", "s.maple"]).fine().json();
    let [reader] = &json.as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!(reader["txn"], txn);
    assert_eq!(reader["label"], LABEL);
    assert_eq!(reader["pid"], holder.pid());
    assert_eq!(reader["dead"], false);
    let number = |name: &str| reader[name].as_f64().unwrap();
    assert!((0.0..600.0).contains(&number("age_seconds")), "{json}");
    assert!(number("pages_retained") >= 50.0, "{json}");
    assert!((1.0..=number("pages_retained")).contains(&number("pages_alone")), "{json}");
    let metrics = place.run(["stat", "--prometheus", "s.maple"]).fine();
    let of_holder = format!("{{label=\"{LABEL}\",pid=\"{}\"}}", holder.pid());
    for (name, value) in [("process_readers", 1.0), ("process_alone_pages", number("pages_alone"))] {
        let line = format!("mapleaf_{name}{of_holder} {value}\n");
        assert!(metrics.text().contains(&line), "no {line} in {}", metrics.text());
    }
    holder.end();
}

#[test]
fn columns_are_aligned_below_a_head_line() {
    let (place, db) = store();
    let holder = Holder::start(&place);
    write(&db, 2);
    let mut own = db.begin_read().unwrap();
    own.set_label("東京 \"words\"");

    let list = place.run(["readers", "s.maple"]).fine();
    let lines: Vec<&str> = list.text().lines().collect();
    assert_eq!(lines.len(), 3, "{}", list.text());
    let names: Vec<&str> = list.text().lines().next().unwrap().split_whitespace().collect();
    assert_eq!(names, ["txn", "age", "retained", "alone", "label", "pid", "process"]);
    assert!(lines[1].contains(&format!("{LABEL:?}")) && lines[2].contains("\"東京 \\\"words\\\"\""));
    assert!(lines[1].contains(&holder.pid().to_string()));
    // The last column begins at the same place in all of them, the label too. The letters of Tokyo are two columns wide.
    let column = |line: &str, word: &str| line[..line.find(word).unwrap()].width();
    for line in &lines[1..] {
        assert!(line.ends_with("alive"), "{}", list.text());
        assert_eq!(column(line, "alive"), column(lines[0], "process"), "{}", list.text());
        assert_eq!(column(line, "\""), column(lines[0], "label"), "{}", list.text());
    }
    holder.end();
}

#[test]
fn the_snapshot_of_a_killed_process_is_shown_as_dead_and_freed_when_asked() {
    let (place, db) = store();
    let holder = Holder::start(&place);
    write(&db, 2);
    let list = || place.run(["readers", "--json", "s.maple"]).fine().json();
    assert_eq!(list()[0]["dead"], false);
    assert_eq!(
        place.run(["readers", "--reap", "s.maple"]).fine().text(),
        "no dead process held a snapshot\n"
    );
    assert_eq!(list().as_array().unwrap().len(), 1, "the living keep theirs");

    let pid = holder.pid();
    holder.kill();
    let json = list();
    assert_eq!((&json[0]["dead"], &json[0]["pid"]), (&true.into(), &pid.into()), "{json}");
    let text = place.run(["readers", "s.maple"]).fine();
    assert!(text.text().lines().any(|line| line.ends_with("  dead")), "{}", text.text());

    assert_eq!(
        place.run(["readers", "--reap", "s.maple"]).fine().text(),
        "freed 1 snapshot of a dead process\n"
    );
    assert_eq!(list(), serde_json::json!([]));
    assert_eq!(place.run(["readers", "--reap", "--json", "s.maple"]).fine().json()["freed"], 0);
    drop(db);
}

#[test]
fn listing_alone_frees_nothing() {
    let (place, db) = store();
    Holder::start(&place).kill();
    for _ in 0..3 {
        assert_eq!(place.run(["readers", "--json", "s.maple"]).fine().json()[0]["dead"], true);
    }
    assert_eq!(db.reap().unwrap(), 1);
}

#[test]
fn a_store_that_a_writer_has_open_can_be_listed_within_its_txn() {
    let (place, db) = store();
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &1000, &[7; 10]).unwrap();
    assert_eq!(place.run(["readers", "s.maple"]).fine().text(), "nobody holds a snapshot\n");
    assert_eq!(place.run(["readers", "--json", "s.maple"]).fine().json(), serde_json::json!([]));
    w.commit().unwrap();
}

#[test]
fn a_closed_store_has_none() {
    let (place, db) = store();
    drop(db);
    for _ in 0..2 {
        assert_eq!(place.run(["readers", "s.maple"]).fine().text(), "nobody holds a snapshot\n");
        assert_eq!(place.run(["readers", "--json", "s.maple"]).fine().json(), serde_json::json!([]));
    }
    assert!(place.run(["readers", "--reap", "s.maple"]).fine().text().starts_with("no dead process"));
}

#[test]
fn a_store_all_of_whose_processes_were_killed_has_none_though_its_log_waits() {
    let (place, db) = store();
    // A copy of a file in use is what the death of all processes leaves. The first commits make the log.
    for byte in 0..10 {
        db.write(|w| w.put(NUMBERS, &7, &[byte; 10]).map(drop)).unwrap();
    }
    std::fs::copy(place.path("s.maple"), place.path("copy.maple")).unwrap();
    assert_eq!(place.run(["readers", "copy.maple"]).fine().text(), "nobody holds a snapshot\n");
    // Its log waits still.
    assert!(place.run(["verify", "copy.maple"]).err.contains("in its log"));
    drop(db);

    Holder::start(&place).kill();
    assert_eq!(place.run(["readers", "s.maple"]).fine().text(), "nobody holds a snapshot\n");
}

#[test]
fn wrong_use_and_missing_files_are_told() {
    let place = Place::new();
    place.run(["readers", "x.maple"]).fails(1, &["mapleaf: x.maple: no such file; check the path"]);
    place.run(["readers", "--reap", "x.maple"]).fails(1, &["no such file"]);
    place.run(["readers"]).fails(2, &[]);
    assert!(place.files().is_empty(), "{:?}", place.files());
    assert!(place.run(["readers", "--help"]).fine().text().contains("Examples:"));
}
