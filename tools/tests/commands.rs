//! The commands but for dump and load: what they print, and how they end.

mod common;

use common::Place;
use mapleaf::{Database, Table};

const NUMBERS: Table<u64, i64> = Table::new("numbers");
const NAMES: Table<i32, str> = Table::new("names");

/// A store with typed tables of 1,000 and of 3 entries.
fn typed_store() -> Place {
    let place = Place::new();
    // SAFETY: only mapleaf changes this file while it is open.
    #[allow(unsafe_code)]
    let db = unsafe { Database::open(place.path("t.maple")) }.unwrap();
    db.write(|txn| {
        (0..1000).try_for_each(|i| txn.put(NUMBERS, &i, &(5 - i as i64)).map(drop))?;
        [(-1, "minus one"), (0, "zero"), (7, "séven")]
            .iter()
            .try_for_each(|(k, v)| txn.put(NAMES, k, *v).map(drop))
    })
    .unwrap();
    place
}

/// A store with one pair in its main table.
fn small_store() -> Place {
    let place = Place::new();
    assert_eq!(place.run(["put", "--create", "s.maple", "k", "v"]).fine().text(), "inserted\n");
    place
}

#[test]
fn put_get_and_del_say_what_was_there() {
    let place = small_store();
    assert_eq!(place.run(["get", "s.maple", "k"]).fine().text(), "v\n");
    assert_eq!(place.run(["put", "s.maple", "k", "w"]).fine().text(), "replaced\n");
    assert_eq!(place.run(["get", "s.maple", "k", "--raw"]).fine().text(), "w");
    assert_eq!(place.run(["del", "s.maple", "k"]).fine().text(), "deleted\n");
    place.run(["del", "s.maple", "k"]).fails(1, &["mapleaf: s.maple: no key \"k\"", "nothing was deleted"]);
    assert!(place.run(["get", "s.maple", "k"]).fails(1, &["no key \"k\" in table \"\""]).out.is_empty());
}

#[test]
fn values_come_from_files_and_standard_input_byte_for_byte() {
    let place = small_store();
    let bytes = b"\0\xff line\n";
    place.write("value", bytes);
    place.run(["put", "s.maple", "a", "--value-file", "value"]).fine();
    place.feed(["put", "s.maple", "b", "-"], bytes).fine();
    place.feed(["put", "s.maple", "c", "--value-file", "-"], bytes).fine();
    for key in ["a", "b", "c"] {
        assert_eq!(place.run(["get", "s.maple", key, "--raw"]).fine().out, bytes);
    }
    assert_eq!(place.run(["get", "s.maple", "a"]).fine().text(), "\\00\\ff line\\0a\n");
    place
        .run(["put", "s.maple", "a", "--value-file", "missing"])
        .fails(1, &["mapleaf: missing: cannot read"]);
}

#[test]
fn a_large_value_passes_through() {
    let place = small_store();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    place.feed(["put", "s.maple", "large", "-"], &bytes).fine();
    assert!(place.run(["get", "s.maple", "large", "--raw"]).fine().out == bytes);
}

#[test]
fn formats_are_the_same_for_typing_and_showing() {
    let place = Place::new();
    let put = |args: &[&str]| place.run([&["put", "--create", "f.maple"], args].concat()).fine();
    put(&["--key-format", "u64", "7", "--value-format", "i64", "-7"]);
    assert_eq!(place.run(["scan", "f.maple", "--hex"]).fine().text(), "0000000000000007\t7ffffffffffffff9\n");
    let get = ["get", "f.maple", "--key-format", "hex", "0000000000000007", "--value-format", "i64"];
    assert_eq!(place.run(get).fine().text(), "-7\n");
    put(&["--key-format", "escaped", "a\\00\\\\b", "x"]);
    assert_eq!(place.run(["get", "f.maple", "--key-format", "hex", "61005c62"]).fine().text(), "x\n");
    place
        .run(["get", "f.maple", "--key-format", "escaped", "a\\00\\\\b", "--value-format", "u64"])
        .fails(1, &["1 bytes"]);
    place.run(["get", "f.maple", "--hex", "0"]).fails(2, &["key \"0\": expected another hex digit"]);
    place.run(["get", "f.maple", "--key-format", "u64", "x"]).fails(2, &["0 to 18446744073709551615"]);
}

#[test]
fn typed_tables_are_typed_and_shown_by_their_types() {
    let place = typed_store();
    assert_eq!(place.run(["get", "t.maple", "-s", "numbers", "999"]).fine().text(), "-994\n");
    assert_eq!(place.run(["get", "t.maple", "-s", "names", "-1"]).fine().text(), "minus one\n");
    assert_eq!(
        place.run(["scan", "t.maple", "-s", "names"]).fine().text(),
        "-1\tminus one\n0\tzero\n7\tséven\n"
    );
    place.run(["put", "t.maple", "-s", "numbers", "1000", "-3"]).fine();
    assert_eq!(
        place.run(["scan", "t.maple", "-s", "numbers", "--reverse", "--limit", "1"]).fine().text(),
        "1000\t-3\n"
    );
    place
        .run(["put", "t.maple", "-s", "numbers", "--key-format", "utf8", "short", "1"])
        .fails(1, &["key of 5 bytes"]);
}

#[test]
fn scan_takes_ranges_prefixes_windows_and_counts() {
    let place = typed_store();
    let scan = |args: &[&str]| {
        place.run([&["scan", "t.maple", "-s", "numbers"], args].concat()).fine().text().to_owned()
    };
    let keys = |args: &[&str]| -> Vec<u64> {
        scan(args).lines().map(|line| line.split_once('\t').unwrap().0.parse().unwrap()).collect()
    };
    assert_eq!(keys(&[]), (0..1000).collect::<Vec<_>>());
    assert_eq!(keys(&["--from", "990", "--to", "993"]), [990, 991, 992]);
    assert_eq!(keys(&["--from", "990", "--to", "993", "--reverse"]), [992, 991, 990]);
    assert_eq!(keys(&["--from", "10", "--offset", "5", "--limit", "2"]), [15, 16]);
    assert_eq!(keys(&["--to", "10", "--offset", "5", "--limit", "2", "--reverse"]), [4, 3]);
    assert_eq!(keys(&["--from", "5", "--to", "10", "--offset", "5"]), [] as [u64; 0]);
    assert_eq!(keys(&["--from", "10", "--to", "5"]), [] as [u64; 0]);
    assert_eq!(keys(&["--offset", "999"]), [999]);
    assert_eq!(keys(&["--limit", "0"]), [] as [u64; 0]);
}

/// As `Prefix` of the library: only whole elements count.
#[test]
fn scan_takes_the_first_elements_of_a_tuple() {
    let place = Place::new();
    place.write("in.csv", "key.0,key.1,value\na,1,x\na,2,x\nab,1,x\nb,1,x\n");
    place.run(["import", "csv", "in.csv", "t.maple", "--key-type", "(str,u8)"]).fine();
    let keys = |prefix: &str| {
        let scan = place.run(["scan", "t.maple", "--count", "--prefix", prefix]).fine();
        scan.text().trim().parse::<u64>().unwrap()
    };
    assert_eq!([keys(r#"["a"]"#), keys(r#"["ab"]"#), keys(r#"["a",2]"#), keys("[]")], [2, 1, 1, 4]);
    place.run(["scan", "t.maple", "--prefix", r#"["a",2,3]"#]).fails(2, &["prefix", "expected a list of 2"]);
    place
        .run(["scan", "t.maple", "--prefix", r#"["a",-1]"#])
        .fails(2, &["element 1: expected a number from 0 to 255"]);
}

#[test]
fn scan_counts_without_reading() {
    let place = typed_store();
    let count =
        |args: &[&str]| place.run([&["scan", "t.maple", "--count"], args].concat()).fine().text().to_owned();
    assert_eq!(count(&["-s", "numbers"]), "1000\n");
    assert_eq!(count(&["-s", "numbers", "--from", "100", "--to", "300"]), "200\n");
    assert_eq!(count(&["-s", "numbers", "--key-format", "hex", "--prefix", "000000000000"]), "1000\n");
    assert_eq!(count(&["-s", "numbers", "--key-format", "hex", "--prefix", "00000000000003"]), "232\n");
    assert_eq!(count(&["-a"]), "\"names\"\t3\n\"numbers\"\t1000\n");
    let json = place.run(["scan", "t.maple", "--count", "--json", "-s", "names"]).fine().json();
    assert_eq!(json["count"], 3);
}

#[test]
fn the_table_is_the_one_asked_for_the_main_one_or_the_only_one() {
    let place = typed_store();
    place.run(["get", "t.maple", "7"]).fails(1, &["which table? give -s TABLE", "\"names\", \"numbers\""]);
    place.run(["scan", "t.maple", "-s", "nmaes"]).fails(1, &["no table \"nmaes\"", "\"names\""]);
    place.run(["put", "t.maple", "-s", "new", "k", "v"]).fails(1, &["no table \"new\"; --create makes it"]);
    place.run(["put", "t.maple", "-s", "", "--create", "k", "v"]).fine();
    assert_eq!(place.run(["get", "t.maple", "k"]).fine().text(), "v\n");

    let place = Place::new();
    place.run(["put", "--create", "o.maple", "-s", "only", "k", "v"]).fine();
    assert_eq!(place.run(["get", "o.maple", "k"]).fine().text(), "v\n");
    place.run(["put", "o.maple", "k", "w"]).fine();
    assert_eq!(place.run(["tables", "o.maple", "--json"]).fine().json()[0]["entries"], 1);
    place.run(["get", "o.maple", "-s", "", "k"]).fails(1, &["no table \"\"; it has \"only\""]);
}

#[test]
fn everything_with_json_prints_json() {
    let place = typed_store();
    let json = |args: &[&str]| place.run([args, &["--json"]].concat()).fine().json();
    let stat = json(&["stat", "t.maple"]);
    assert_eq!((&stat["entries"], &stat["tables"][1]["name"]), (&1003.into(), &"numbers".into()));
    let leaves = &stat["tables"][1]["level_stats"][0];
    assert_eq!(leaves["entries"], 1000);
    assert_eq!(stat["file_bytes"], place.read("t.maple").len());
    assert_eq!(json(&["verify", "t.maple"])["clean"], true);
    assert_eq!(json(&["tables", "t.maple"])[0]["key_type"], "i32");
    assert_eq!(json(&["get", "t.maple", "-s", "numbers", "9"])["value"], -4);
    assert_eq!(json(&["put", "t.maple", "-s", "numbers", "9", "9"])["existed"], true);
    assert_eq!(json(&["del", "t.maple", "-s", "numbers", "9"])["deleted"], true);
    assert_eq!(json(&["page", "t.maple", "0"])["fields"][0]["value"], "mapleaf\\n");
    let lines = place.run(["scan", "t.maple", "-a", "--json"]).fine();
    let pairs: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((pairs.len(), &pairs[0]["table"], &pairs[0]["key"]), (1002, &"names".into(), &(-1).into()));
}

#[test]
fn stat_and_tables_are_readable() {
    let place = typed_store();
    let tables = place.run(["tables", "t.maple"]).fine();
    assert!(tables.text().contains("\"numbers\"         1,000 entries"), "{}", tables.text());
    let stat = place.run(["stat", "t.maple", "-s", "numbers"]).fine();
    assert!(
        stat.text().contains("table \"numbers\"") && !stat.text().contains("\"names\""),
        "{}",
        stat.text()
    );
    assert!(place.run(["verify", "t.maple"]).fine().text().starts_with("clean: txn "));
}

#[test]
fn every_page_is_shown_byte_by_byte() {
    let place = typed_store();
    let stat = place.run(["stat", "t.maple", "--json"]).fine().json();
    for page in 0..stat["page_count"].as_u64().unwrap() {
        let shown = place.run(["page", "t.maple", &page.to_string()]).fine();
        assert!(shown.text().starts_with(&format!("page {page}: ")), "{}", shown.text());
        let json = place.run(["page", "t.maple", "--json", &page.to_string()]).fine().json();
        assert_eq!(json["bytes"].as_str().unwrap().len(), 2 * 4096);
    }
    place.run(["page", "t.maple", "99999999999999"]).fails(1, &["page 99999999999999: the file has"]);
}

#[test]
fn wrong_use_is_2_and_changes_nothing() {
    let place = Place::new();
    for args in [
        &[][..],
        &["frobnicate", "x"],
        &["get"],
        &["get", "x.maple"],
        &["put", "--create", "x.maple", "k"],
        &["put", "x.maple", "k", "v", "--value-file", "f"],
        &["put", "x.maple", "k", "v", "--page-size", "4096"],
        &["put", "--create", "x.maple", "k", "v", "--page-size", "5000"],
        &["put", "--create", "x.maple", "--hex", "k", "v"],
        &["scan", "x.maple", "--prefix", "a", "--from", "b"],
        &["scan", "x.maple", "-a", "-s", "t"],
        &["dump", "x.maple", "--compat", "sqlite"],
        &["dump", "x.maple", "--mapsize", "1"],
        &["page", "x.maple", "first"],
        &["load", "x.maple", "--batch", "0"],
    ] {
        place.run(args).fails(2, &[]);
    }
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_put_that_fails_leaves_no_new_file() {
    let place = Place::new();
    place
        .run(["put", "--create", "x.maple", &"k".repeat(3000), "v"])
        .fails(1, &["key of 3000 bytes, at most 2000 fit"]);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn help_and_version_are_fine() {
    let place = Place::new();
    assert_eq!(place.run(["--version"]).fine().text(), concat!("mapleaf ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(place.run(["--help"]).fine().text().contains("Examples:"));
    for command in ["stat", "verify", "dump", "load", "get", "put", "del", "scan", "tables", "page"] {
        assert!(place.run([command, "--help"]).fine().text().contains("Examples:"), "{command}");
    }
}

#[test]
fn files_without_anything_are_no_stores() {
    let place = Place::new();
    place.write("zeros", [0; 20_000]);
    place.write("text", "It was a dark and stormy night. ".repeat(1000));
    place.write("empty", "");
    for file in ["zeros", "text", "empty"] {
        for args in [
            &["stat", file][..],
            &["verify", file],
            &["dump", file],
            &["get", file, "k"],
            &["page", file, "0"],
        ] {
            place.run(args).fails(1, &[&format!("mapleaf: {file}: ")]);
        }
    }
    let verify = place.run(["verify", "--json", "text"]).fails(1, &["not a mapleaf store"]);
    assert_eq!(verify.json()["clean"], false);
}

/// One byte changed in every page: each command ends with 0 or 1, and verify says so for every page in use.
#[test]
fn damage_is_reported_never_a_panic() {
    let place = typed_store();
    let whole = place.read("t.maple");
    for page in 2..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096 + 700] ^= 0x55;
        place.write("d.maple", &damaged);
        let clean = place.run(["verify", "d.maple", "--json"]);
        assert!(!clean.err.contains("panicked"), "{clean:?}");
        let clean = clean.code == Some(0);
        for args in [&["stat", "d.maple"][..], &["scan", "-a", "d.maple"], &["dump", "-a", "d.maple"]] {
            let run = place.run(args);
            assert!(matches!(run.code, Some(0 | 1)) && !run.err.contains("panicked"), "{run:?}");
            assert!(!clean || run.code == Some(0), "page {page}: verify found nothing but {run:?}");
            if run.code == Some(1) {
                assert!(run.err.contains("page "), "{run:?}");
            }
        }
    }
}
