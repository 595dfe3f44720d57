//! With the real mdb_load, mdb_dump (lmdb-utils), db_load and db_dump (db-util), on a real word list where there is one. Where a
//! program is missing its test says so and passes.

mod common;

use common::Place;
use std::path::Path;

fn missing(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|name| !Path::new("/usr/bin").join(name).exists()).collect();
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} not installed (packages lmdb-utils and db-util)");
    }
    !missing.is_empty()
}

/// `word LF number LF` for every word of the real list, else of a small one.
fn words() -> String {
    let list = std::fs::read_to_string("/usr/share/dict/words").unwrap_or_else(|_| {
        eprintln!("no /usr/share/dict/words (package wamerican): a small list instead");
        ["maple", "leaf", "élan", "back\\\\slash", "zeta"].join("\n")
    });
    list.lines().enumerate().map(|(i, word)| format!("{word}\n{i}\n")).collect()
}

const SECOND: [(&str, &str); 4] =
    [("\0\x01", "é"), ("plain", "\\ \n\\\\a\\d"), ("c:\\dir\\new", "x"), ("empty", "")];

/// As text pairs in which nothing but backslashes and line feeds needs an escape.
fn second_text() -> String {
    let escape = |text: &str| text.replace('\\', "\\5c").replace('\n', "\\0a");
    SECOND.iter().map(|(key, value)| format!("{}\n{}\n", escape(key), escape(value))).collect()
}

fn hex_records<'r>(records: impl Iterator<Item = (&'r str, &'r str)>) -> String {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    records.map(|(key, value)| format!(" {}\n {}\n", hex(key), hex(value))).collect()
}

fn mapsize(dump: &str) -> String {
    dump.lines().find_map(|line| line.strip_prefix("mapsize=")).unwrap().to_owned()
}

/// An LMDB file with two named tables.
fn lmdb_file(place: &Place) {
    let load = |name: &str, records: String| {
        let header = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=67108864\nHEADER=END\n";
        let dump = format!("{header}{records}DATA=END\n");
        assert_eq!(
            place.feed_program("mdb_load", ["-n", "-s", name, "old.mdb"], dump.as_bytes()).code,
            Some(0)
        );
    };
    let words = words();
    let lines: Vec<&str> = words.lines().collect();
    load("words", hex_records(lines.chunks(2).map(|pair| (pair[0], pair[1]))));
    load("second", hex_records(SECOND.into_iter()));
}

#[test]
fn lmdb_to_mapleaf_and_back_is_equal() {
    if missing(&["mdb_load", "mdb_dump"]) {
        return;
    }
    let place = Place::new();
    lmdb_file(&place);
    let old = place.feed_program("mdb_dump", ["-a", "-n", "old.mdb"], b"").fine();
    place.feed(["load", "new.maple"], &old.out).fine();
    place.run(["verify", "new.maple"]).fine();
    for format in [&[][..], &["-p"]] {
        let dump = ["dump", "-a", "--compat", "lmdb", "--mapsize", &mapsize(old.text()), "new.maple"];
        let dump = place.run([&dump, format].concat()).fine();
        let loaded = place.feed_program("mdb_load", ["-n", "back.mdb"], &dump.out);
        assert_eq!(loaded.code, Some(0), "{loaded:?}");
        let back = place.feed_program("mdb_dump", ["-a", "-n", "back.mdb"], b"").fine();
        assert!(back.out == old.out, "{format:?}: {} and {} bytes", back.out.len(), old.out.len());
        std::fs::remove_file(place.path("back.mdb")).unwrap();
    }
}

/// The default mapsize is enough for LMDB to hold what is loaded.
#[test]
fn the_mapsize_is_large_enough() {
    if missing(&["mdb_load", "mdb_dump"]) {
        return;
    }
    let place = Place::new();
    place.feed(["load", "-T", "new.maple"], words().as_bytes()).fine();
    let dump = place.run(["dump", "--compat", "lmdb", "new.maple"]).fine();
    let loaded = place.feed_program("mdb_load", ["-n", "back.mdb"], &dump.out);
    assert_eq!(
        (loaded.code, place.feed_program("mdb_dump", ["-n", "back.mdb"], b"").fine().code),
        (Some(0), Some(0)),
        "{loaded:?}"
    );
}

/// LMDB 0.9.24, which some distributions still have, writes backslashes bare in print format.
#[test]
fn print_dumps_of_lmdb_are_read_as_they_were_written() {
    if missing(&["mdb_load", "mdb_dump"]) {
        return;
    }
    let place = Place::new();
    let text = "windows\nc:\\5cdir\\5cnew\nregex\n\\5cd+\\5c.\\00\n";
    assert_eq!(place.feed_program("mdb_load", ["-T", "-n", "old.mdb"], text.as_bytes()).code, Some(0));
    let dump = place.feed_program("mdb_dump", ["-p", "-n", "old.mdb"], b"").fine();
    let bare = dump.text().contains("c:\\dir\\new\n");
    if bare {
        place.feed(["load", "x.maple"], &dump.out).fails(1, &["--lenient-backslash"]);
        place.feed(["load", "--lenient-backslash", "x.maple"], &dump.out).fine();
    } else {
        place.feed(["load", "x.maple"], &dump.out).fine();
    }
    assert_eq!(place.run(["get", "x.maple", "windows", "--raw"]).fine().text(), "c:\\dir\\new");
    assert_eq!(place.run(["get", "x.maple", "regex", "--raw"]).fine().text(), "\\d+\\.\0");
}

#[test]
fn multimaps_of_lmdb_come_and_go_back_equal() {
    if missing(&["mdb_load", "mdb_dump"]) {
        return;
    }
    let place = Place::new();
    let load = |name: &str, flags: &str, records: Vec<(String, String)>| {
        let records = hex_records(records.iter().map(|(key, value)| (&key[..], &value[..])));
        let header = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=67108864\n";
        let dump = format!("{header}{flags}HEADER=END\n{records}DATA=END\n");
        let loaded = place.feed_program("mdb_load", ["-n", "-s", name, "old.mdb"], dump.as_bytes());
        assert_eq!(loaded.code, Some(0), "{loaded:?}");
    };
    let pairs = |width: usize| {
        let values = |key: usize| (0..[1, 3, 100, 3000][key % 4]).map(move |i| (key, i));
        let pair = |(key, i): (usize, usize)| (format!("key {key:03}"), format!("{i:0width$}"));
        (0..60).flat_map(values).map(pair).collect::<Vec<_>>()
    };
    load("any", "dupsort=1\n", pairs(1));
    load("fixed", "dupsort=1\ndupfixed=1\n", pairs(8));
    load("single", "", pairs(1).into_iter().step_by(7).collect());
    let old = place.feed_program("mdb_dump", ["-a", "-n", "old.mdb"], b"").fine();
    place.feed(["load", "new.maple"], &old.out).fine();
    place.run(["verify", "new.maple"]).fine();
    assert!(place.run(["tables", "new.maple"]).fine().text().contains("bytes -> many bytes"));
    for format in [&[][..], &["-p"]] {
        let dump = ["dump", "-a", "--compat", "lmdb", "--mapsize", &mapsize(old.text()), "new.maple"];
        let dump = place.run([&dump, format].concat()).fine();
        let loaded = place.feed_program("mdb_load", ["-n", "back.mdb"], &dump.out);
        assert_eq!(loaded.code, Some(0), "{loaded:?}");
        let back = place.feed_program("mdb_dump", ["-a", "-n", "back.mdb"], b"").fine();
        // That all values have one width is a promise that only LMDB's own tables make.
        let plain = old.text().replace("dupfixed=1\n", "");
        assert!(back.text() == plain, "{format:?}: {} and {} bytes", back.out.len(), plain.len());
        std::fs::remove_file(place.path("back.mdb")).unwrap();
    }
}

#[test]
fn berkeley_db_to_mapleaf_and_back_is_equal() {
    if missing(&["db_load", "db_dump"]) {
        return;
    }
    let place = Place::new();
    assert_eq!(
        place.feed_program("db_load", ["-T", "-t", "btree", "old.db"], words().as_bytes()).code,
        Some(0)
    );
    assert_eq!(
        place.feed_program("db_load", ["-T", "-t", "hash", "hash.db"], second_text().as_bytes()).code,
        Some(0)
    );
    for format in [&[][..], &["-p"]] {
        let old = place.feed_program("db_dump", [format, &["old.db"]].concat(), b"").fine();
        place.feed(["load", "new.maple"], &old.out).fine();
        place.run(["verify", "new.maple"]).fine();
        let dump = place.run([&["dump", "--compat", "bdb", "new.maple"], format].concat()).fine();
        let loaded = place.feed_program("db_load", ["back.db"], &dump.out);
        assert_eq!(loaded.code, Some(0), "{loaded:?}");
        let back = place.feed_program("db_dump", [format, &["back.db"]].concat(), b"").fine();
        assert!(back.out == old.out, "{format:?}: {} and {} bytes", back.out.len(), old.out.len());
        std::fs::remove_file(place.path("back.db")).unwrap();
        std::fs::remove_file(place.path("new.maple")).unwrap();
    }
    let hash = place.feed_program("db_dump", ["hash.db"], b"").fine();
    place.feed(["load", "hash.maple"], &hash.out).fine();
    assert_eq!(place.run(["get", "hash.maple", "plain", "--raw"]).fine().text(), SECOND[1].1);
}

/// A file of several databases is dumped one by one by db_dump, and loaded back into one file.
#[test]
fn named_berkeley_databases_keep_their_names() {
    if missing(&["db_load", "db_dump"]) {
        return;
    }
    let place = Place::new();
    place.feed(["load", "-T", "new.maple", "-s", "words"], words().as_bytes()).fine();
    place.feed(["load", "-T", "new.maple", "-s", "second"], second_text().as_bytes()).fine();
    let dump = place.run(["dump", "-a", "--compat", "bdb", "new.maple"]).fine();
    let loaded = place.feed_program("db_load", ["back.db"], &dump.out);
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    for name in ["second", "words"] {
        let back = place.feed_program("db_dump", ["-s", name, "back.db"], b"").fine();
        // db_dump leaves out the name of the one that it was asked for.
        place.feed(["load", "again.maple", "-s", name], &back.out).fine();
    }
    let all = |store| place.run(["dump", "-a", store]).fine().out;
    assert!(all("again.maple") == all("new.maple"));
}
