//! Dump and load: round trips, atomicity, and what cut and damaged dumps do.

mod common;

use common::Place;
use mapleaf::{Database, MultiTable, Table};

const SCORES: Table<(String, u8), i64> = Table::new("scores");

const SMALL: &str = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n a\n 1\n \n \\00\\\\\nDATA=END\n\
                     VERSION=3\nformat=bytevalue\ndatabase=second\ntype=btree\nmapleaf_section=2/2\nHEADER=END\n 6b\n 76\nDATA=END\n";

#[allow(unsafe_code)]
fn open(place: &Place, name: &str) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path(name)) }.unwrap()
}

/// Bytes of all kinds, keys empty and long, values empty and of several pages, a typed table, and a strange name.
fn full_store(place: &Place) {
    let put = |args: &[&str], value: &[u8]| {
        place
            .feed([&["put", "--create", "a.maple", "--key-format", "escaped"], args, &["-"]].concat(), value)
            .fine();
    };
    put(&["-s", "", ""], b"");
    put(&["-s", "", "back\\\\slash \\00\\ff\\0a"], b"DATA=END\n\\\\ \\00 \x7f\x80");
    put(&["-s", "", &"k".repeat(2000)], &(0..=255).cycle().take(50_000).collect::<Vec<u8>>());
    put(&["-s", "two\nlines", "k"], b"v");
    put(&["-s", "empty", "k"], b"v");
    place.run(["del", "a.maple", "-s", "empty", "k"]).fine();
    open(place, "a.maple")
        .write(|txn| {
            txn.put(SCORES, &("ann", 1), &-5)?;
            txn.put(SCORES, &("bo\0b", 2), &i64::MAX)
        })
        .unwrap();
}

#[test]
fn a_dump_of_everything_comes_back_equal() {
    let place = Place::new();
    full_store(&place);
    for format in [&[][..], &["-p"]] {
        let dump = place.run([&["dump", "-a", "a.maple"], format].concat()).fine();
        place.feed(["load", "b.maple"], &dump.out).fine();
        place.run(["verify", "b.maple"]).fine();
        assert_eq!(place.run([&["dump", "-a", "b.maple"], format].concat()).fine().text(), dump.text());
        let tables = |store| place.run(["tables", store]).fine().text().to_owned();
        assert_eq!(tables("a.maple"), tables("b.maple"));
        let scores = open(&place, "b.maple").begin_read().unwrap();
        assert_eq!(scores.get(SCORES, &("bo\0b", 2)).unwrap(), Some(i64::MAX));
        drop(scores);
        std::fs::remove_file(place.path("b.maple")).unwrap();
    }
}

#[test]
fn one_table_is_dumped_where_one_is_meant() {
    let place = Place::new();
    full_store(&place);
    assert!(!place.run(["dump", "a.maple"]).fine().text().contains("database="));
    let scores = place.run(["dump", "-p", "a.maple", "-s", "scores"]).fine();
    let header = "VERSION=3\nformat=print\ndatabase=scores\ntype=btree\ndb_pagesize=4096\nmapleaf_key_type=(str,u8)\n\
                  mapleaf_value_type=i64\nmapleaf_value_width=8\nmapleaf_value_align=1\nHEADER=END\n ann\\00\\00\\01\n";
    assert!(scores.text().starts_with(header), "{}", scores.text());
    place.run(["dump", "a.maple", "-s", "none"]).fails(1, &["no table \"none\""]);
    assert_eq!(place.run(["dump", "-l", "a.maple"]).fine().text(), "empty\nscores\ntwo\nlines\n");
    place
        .run(["dump", "-a", "a.maple", "--compat", "bdb"])
        .fails(1, &["cannot stand in a dump for other tools"]);
}

#[test]
fn headers_fit_those_they_are_for() {
    let place = Place::new();
    place.feed(["load", "a.maple"], SMALL.replace("mapleaf_section=2/2\n", "").as_bytes()).fine();
    let headers = |compat: &str| -> Vec<String> {
        let dump = place.run(["dump", "-a", "--compat", compat, "a.maple"]);
        // There is an empty key, which only the LMDB dump speaks of.
        assert_eq!((dump.code, dump.err.contains("1 keys are empty or longer")), (Some(0), compat == "lmdb"));
        dump.text()
            .lines()
            .filter(|line| line.contains('=') && !line.starts_with(' '))
            .map(str::to_owned)
            .collect()
    };
    let second = ["database=second", "type=btree", "db_pagesize=4096", "HEADER=END", "DATA=END"];
    let bdb = headers("bdb");
    assert_eq!(bdb[..5], ["VERSION=3", "format=bytevalue", "type=btree", "db_pagesize=4096", "HEADER=END"]);
    assert_eq!(bdb[8..], second);
    assert!(
        headers("lmdb").contains(&"mapsize=1048576".to_owned())
            && headers("lmdb").contains(&"maxreaders=126".to_owned())
    );
    assert!(headers("mapleaf").contains(&"mapleaf_section=1/2".to_owned()));
    assert!(
        place
            .run(["dump", "a.maple", "-s", "second", "--compat", "lmdb", "--mapsize", "77"])
            .fine()
            .text()
            .contains("mapsize=77\n")
    );
}

/// Both ways: into nothing, and into a store that holds something.
#[test]
fn a_dump_cut_at_any_byte_loads_nothing() {
    let place = Place::new();
    place.run(["put", "--create", "old.maple", "a", "before"]).fine();
    let before = place.read("old.maple");
    for len in 0..SMALL.len() {
        let cut = &SMALL.as_bytes()[..len];
        if len == SMALL.find("DATA=END\n").unwrap() + "DATA=END\n".len() {
            continue; // The first section is a dump by itself: its header does not say that another follows.
        }
        let line = 1 + cut.iter().filter(|byte| **byte == b'\n').count();
        let said = [
            format!("line {line}, byte {len}: expected"),
            "found the end of the input".into(),
            "nothing was loaded".into(),
        ];
        let said = [&said[0], "end of the input", &said[2]];
        place.feed(["load", "new.maple"], cut).fails(1, &said);
        place.feed(["load", "old.maple"], cut).fails(1, &said);
        assert_eq!(place.files(), ["old.maple", "old.maple-lock"], "cut at {len}");
        assert!(place.read("old.maple") == before, "cut at {len}");
    }
    place.feed(["load", "old.maple"], SMALL.as_bytes()).fine();
}

#[test]
fn a_dump_of_several_tables_cannot_be_cut_between_them() {
    let place = Place::new();
    full_store(&place);
    let dump = place.run(["dump", "-a", "a.maple"]).fine();
    let end = dump.text().find("DATA=END\n").unwrap() + "DATA=END\n".len();
    place
        .feed(["load", "b.maple"], &dump.out[..end])
        .fails(1, &["expected section 2 of 4, found the end of the input"]);
    assert!(!place.path("b.maple").exists() && !place.path("b.maple-lock").exists());
}

#[test]
fn faults_are_placed_and_explained() {
    let place = Place::new();
    let head = "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n";
    for (text, said) in [
        ("hello\n".into(), "line 1, byte 0: expected \"VERSION=3\""),
        (format!("{head} 6b\n 7\nDATA=END\n"), "line 6, byte 55: expected another hex digit"),
        (format!("{head} 6b\n 7z\nDATA=END\n"), "line 6, byte 55: expected a hex digit, found \"z\""),
        (
            format!("{head} 6b\nDATA=END\n"),
            "the value, on a line that begins with a space, of the key on line 5",
        ),
        (format!("{head}DATA=END\ntrailing\n"), "another section, or the end of the input"),
        (
            head.replace("btree", "recno"),
            "line 3, byte 27: expected type=btree or type=hash, found \"type=recno\"",
        ),
        (head.replace("format", "from"), "line 4, byte 36: expected a line \"format=bytevalue\""),
        (head.replace('\n', "\r\n"), "dos2unix"),
    ] {
        place
            .feed(["load", "x.maple"], text.as_bytes())
            .fails(1, &["mapleaf: standard input: ", said, "nothing was loaded"]);
        place.write("x.dump", text);
        place.run(["load", "x.maple", "-f", "x.dump"]).fails(1, &["mapleaf: x.dump: ", said]);
    }
    assert_eq!(place.files(), ["x.dump"]);
    place.run(["load", "x.maple", "-f", "none"]).fails(1, &["mapleaf: none: cannot read"]);
}

#[test]
fn what_does_not_fit_undoes_the_load() {
    let place = Place::new();
    let text = format!("VERSION=3\nformat=print\nHEADER=END\n a\n 1\n {}\n 2\nDATA=END\n", "k".repeat(3000));
    let said = [
        "mapleaf: x.maple: record at line 6 of standard input: key of 3000 bytes, at most 2000 fit",
        "nothing was loaded",
    ];
    place.feed(["load", "x.maple"], text.as_bytes()).fails(1, &said);
    assert!(place.files().is_empty(), "{:?}", place.files());
    place.feed(["load", "x.maple", "--page-size", "8192"], text.as_bytes()).fine();
    assert_eq!(place.run(["stat", "x.maple", "--json"]).fine().json()["page_size"], 8192);
}

#[test]
fn an_empty_file_is_a_place_for_a_store() {
    let place = Place::new();
    place.write("x.maple", "");
    place.feed(["load", "x.maple"], &SMALL.as_bytes()[..3]).fails(1, &["nothing was loaded"]);
    assert!(place.read("x.maple").is_empty());
    place.feed(["load", "x.maple"], SMALL.as_bytes()).fine();
    assert_eq!(place.run(["get", "x.maple", "-s", "second", "k"]).fine().text(), "v\n");
}

#[test]
fn batches_are_kept_and_told() {
    let place = Place::new();
    let records: String = (0..10).map(|i| format!(" k{i}\n v\n")).collect();
    let text = format!("VERSION=3\nformat=print\nHEADER=END\n{records}");
    place
        .feed(["load", "x.maple", "--batch", "4"], text.as_bytes())
        .fails(1, &["the first 8 records were committed"]);
    assert_eq!(place.run(["scan", "x.maple", "--count"]).fine().text(), "8\n");
    let whole = place
        .feed(["load", "x.maple", "--batch", "4", "--json"], format!("{text}DATA=END\n").as_bytes())
        .fine();
    assert_eq!(whole.json()["loaded"], 10);
    assert_eq!(place.run(["stat", "x.maple", "--json"]).fine().json()["entries"], 10);
}

#[test]
fn existing_keys_are_overwritten_or_skipped_as_asked() {
    let place = Place::new();
    place.run(["put", "--create", "x.maple", "a", "old"]).fine();
    let skipped = place
        .feed(["load", "-N", "x.maple"], SMALL.as_bytes())
        .fails(1, &["mapleaf: x.maple: 1 record was not loaded, for its key is there"]);
    assert_eq!(skipped.text(), "loaded 2 records into 2 tables, 1 skipped that were there\n");
    assert_eq!(place.run(["get", "x.maple", "a"]).fine().text(), "old\n");
    assert_eq!(
        place.feed(["load", "x.maple"], SMALL.as_bytes()).fine().text(),
        "loaded 3 records into 2 tables\n"
    );
    assert_eq!(place.run(["get", "x.maple", "a"]).fine().text(), "1\n");
}

#[test]
fn text_pairs_are_loaded() {
    let place = Place::new();
    let text = "key\nvalue\ntab\there\nback\\\\slash\\0a\n\n\n";
    place.feed(["load", "-T", "x.maple", "-s", "t"], text.as_bytes()).fine();
    assert_eq!(place.run(["scan", "x.maple", "--hex"]).fine().text().lines().count(), 3);
    assert_eq!(place.run(["get", "x.maple", "tab\there", "--raw"]).fine().text(), "back\\slash\n");
    place
        .feed(["load", "-T", "y.maple"], b"a\n1\nb\n")
        .fails(1, &["line 4, byte 6: expected the value of the key on line 3"]);
    place.feed(["load", "-T", "y.maple"], b"a\n1").fails(1, &["expected a line feed"]);
    place
        .feed(["load", "-T", "y.maple"], b"a\n\\x\n")
        .fails(1, &["line 2, byte 3: expected \"\\\\\" or a backslash with two hex"]);
    assert!(!place.path("y.maple").exists());
}

#[test]
fn repeated_keys_make_a_multimap_where_the_dump_says_so() {
    let place = Place::new();
    let dump = |flag: &str, keys: [&str; 3]| {
        format!(
            "VERSION=3\nformat=print\n{flag}HEADER=END\n {}\n 1\n {}\n 2\n {}\n 3\nDATA=END\n",
            keys[0], keys[1], keys[2]
        )
    };
    for keys in [["a", "a", "b"], ["a", "b", "a"]] {
        let text = dump("duplicates=1\ndupsort=1\n", keys);
        let table = |name| ["load", "x.maple", "-s", name].map(str::to_owned);
        place.feed(table("multi"), text.as_bytes()).fine();
        // A table that has one value for a key stays one.
        place.feed(table("single"), dump("", ["x", "y", "z"]).as_bytes()).fine();
        let text = dump("duplicates=1\n", ["a", "a", "b"]);
        place.feed(table("single"), text.as_bytes()).fails(1, &["several values for a key", "\"single\""]);
        place.feed(table("single"), dump("duplicates=1\n", ["a", "b", "c"]).as_bytes()).fine();
        let values = if keys[1] == "a" { "1\n2\n" } else { "1\n3\n" };
        assert_eq!(place.run(["get", "x.maple", "-s", "multi", "a"]).fine().text(), values);
        assert_eq!(place.run(["get", "x.maple", "-s", "single", "a"]).fine().text(), "1\n");
        std::fs::remove_file(place.path("x.maple")).unwrap();
    }
    place.feed(["load", "x.maple"], dump("", ["a", "a", "b"]).as_bytes()).fine();
    assert_eq!(place.run(["get", "x.maple", "a"]).fine().text(), "2\n");
}

#[test]
fn a_multimap_is_read_changed_dumped_and_loaded_by_each_of_its_values() {
    const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    let place = Place::new();
    let fill = |w: &mut mapleaf::WriteTxn| {
        (0..3000).try_for_each(|id| w.put_value(TAGS, "many", &id).map(drop))?;
        w.put_value(TAGS, "few", &8)?;
        w.put_value(TAGS, "few", &7)
    };
    // SAFETY: only mapleaf changes the file.
    #[allow(unsafe_code)]
    unsafe { mapleaf::Options::new().create(true).open(place.path("a.maple")) }.unwrap().write(fill).unwrap();
    assert_eq!(place.run(["get", "a.maple", "few"]).fine().text(), "7\n8\n");
    place.run(["put", "a.maple", "few", "5"]).fine();
    place.run(["put", "a.maple", "few", "6"]).fine();
    place.run(["del", "a.maple", "few", "8"]).fine();
    place.run(["del", "a.maple", "few", "8"]).fails(1, &["no such value"]);
    let scan = place.run(["scan", "a.maple", "--limit", "4"]).fine();
    assert_eq!(scan.text(), "few\t5\nfew\t6\nfew\t7\nmany\t0\n");
    let scan = place.run(["scan", "a.maple", "--offset", "2000", "--limit", "1", "--reverse"]).fine();
    assert_eq!(scan.text(), "many\t999\n");
    assert_eq!(place.run(["scan", "a.maple", "--from", "g", "--count"]).fine().text(), "3000\n");
    let dump = place.run(["dump", "-a", "a.maple"]).fine();
    assert!(dump.text().contains("\nduplicates=1\ndupsort=1\n"));
    place.feed(["load", "b.maple"], &dump.out).fine();
    assert_eq!(place.run(["dump", "-a", "b.maple"]).fine().text(), dump.text());
    assert_eq!(open(&place, "b.maple").begin_read().unwrap().values(TAGS, "many").unwrap().len(), 3000);
    place.run(["verify", "b.maple"]).fine();
    let stat = place.run(["stat", "a.maple"]).fine();
    assert!(stat.text().contains("3,003 values") && stat.text().contains("1 large set\n"), "{}", stat.text());
    assert!(place.run(["tables", "a.maple"]).fine().text().contains("str -> many u64"));
    place.run(["del", "a.maple", "many"]).fine();
    place.run(["get", "a.maple", "many"]).fails(1, &["no key"]);
}

#[test]
fn types_of_a_dump_must_be_those_of_the_table() {
    let place = Place::new();
    full_store(&place);
    let dump = place.run(["dump", "a.maple", "-s", "scores"]).fine();
    place.feed(["load", "a.maple"], &dump.out).fine();
    place.run(["put", "--create", "b.maple", "-s", "scores", "k", "v"]).fine();
    let said = [
        "table \"scores\" is stored as bytes -> bytes, the dump has it as (str,u8) -> i64",
        "nothing was loaded",
    ];
    place.feed(["load", "b.maple"], &dump.out).fails(1, &said);
}

#[test]
fn dumps_go_to_files_whole_or_not_at_all() {
    let place = Place::new();
    full_store(&place);
    place.write("out", "before");
    place.run(["dump", "-a", "a.maple", "-f", "out"]).fine();
    assert_eq!(place.read("out"), place.run(["dump", "-a", "a.maple"]).fine().out);
    place.run(["dump", "-a", "a.maple", "-f", "a.maple"]).fails(2, &["that is the store itself"]);
    place
        .run(["dump", "-a", "a.maple", "-f", "no/such/directory"])
        .fails(1, &["mapleaf: no/such/directory: cannot write"]);
    place.run(["verify", "a.maple"]).fine();
    assert_eq!(place.files(), ["a.maple", "a.maple-lock", "out"]);
}

#[test]
fn a_dump_is_of_one_snapshot_of_a_live_store() {
    let place = Place::new();
    full_store(&place);
    let before = place.run(["dump", "-a", "a.maple"]).fine();
    let db = open(&place, "a.maple");
    let mut txn = db.begin_write().unwrap();
    txn.put(SCORES, &("zoe", 3), &3).unwrap();
    assert_eq!(place.run(["dump", "-a", "a.maple"]).fine().out, before.out);
    txn.commit().unwrap();
    assert!(place.run(["dump", "-a", "a.maple"]).fine().out.len() > before.out.len());
}

#[test]
fn an_empty_store_has_an_empty_dump() {
    let place = Place::new();
    drop(open(&place, "a.maple"));
    let dump = place.run(["dump", "-a", "a.maple"]).fine();
    assert!(dump.text().ends_with("HEADER=END\nDATA=END\n"));
    place.feed(["load", "b.maple"], &dump.out).fine();
}

#[test]
fn pipes_see_no_progress_bar() {
    let place = Place::new();
    let records: String = (0..20_000).map(|i| format!(" k{i:05}\n v\n")).collect();
    place.write("in", format!("VERSION=3\nformat=print\nHEADER=END\n{records}DATA=END\n"));
    // fine() says that standard error, a pipe here, got nothing.
    place.run(["load", "x.maple", "-f", "in"]).fine();
    place.run(["verify", "x.maple"]).fine();
    place.run(["dump", "x.maple", "-f", "out"]).fine();
}
