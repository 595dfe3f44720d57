//! Import and export: CSV, TSV and JSON lines, both ways.

mod common;

use common::Place;
use mapleaf::{Database, MultiTable, Table};
use serde_json::{Value, json};

const USERS: Table<u64, (String, Option<u8>)> = Table::new("users");
const TAGS: MultiTable<str, i16> = MultiTable::new("tags");
const SPOTS: Table<(String, u8), [f32]> = Table::new("spots");
const SEEN: Table<str, ()> = Table::new("seen");

#[allow(unsafe_code)]
fn open(place: &Place, name: &str) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path(name)) }.unwrap()
}

fn full_store(place: &Place) {
    let db = open(place, "a.maple");
    db.write(|w| {
        w.put(USERS, &7, &("ann, \"a\"", Some(30)))?;
        w.put(USERS, &8, &("bob\nb\0", None::<u8>))?;
        for (tag, user) in [("x", 1), ("x", -2), ("", 0)] {
            w.put_value(TAGS, tag, &user)?;
        }
        w.put(SPOTS, &("é", 1), &[0.1_f32, f32::NAN][..])?;
        w.put(SEEN, "a", &())?;
        w.put(Table::<[u8], [u8]>::new(""), &b"\\\xff"[..], &b"c:\\dir"[..]).map(|_| ())
    })
    .unwrap();
}

const CSV: &str = "key,value.0,value.1\n7,\"ann, \"\"a\"\"\",30\n8,\"bob\nb\0\",\n";

#[test]
fn csv_is_what_spreadsheets_read() {
    let place = Place::new();
    full_store(&place);
    let export = |args: &[&str]| place.run([&["export"], args].concat()).fine().text().to_owned();
    assert_eq!(export(&["csv", "a.maple", "-s", "users"]), CSV);
    assert_eq!(export(&["tsv", "a.maple", "-s", "tags", "--no-header"]), "\t0\nx\t-2\nx\t1\n");
    assert_eq!(
        export(&["csv", "a.maple", "-s", "spots"]),
        "key.0,key.1,value\né,1,\"[0.10000000149011612,\"\"NaN\"\"]\"\n"
            .replace("0.10000000149011612", "0.1")
    );
    assert_eq!(export(&["csv", "a.maple", "-s", "seen"]), "key\na\n");
    assert_eq!(export(&["csv", "a.maple"]), "key,value\n\\5c\\ff,c:\\5cdir\n".replace("\\5c", "\\\\"));
    assert_eq!(export(&["csv", "a.maple", "-s", "", "--hex"]), "key,value\n5cff,633a5c646972\n");
    assert_eq!(
        export(&["csv", "a.maple", "-s", "", "--value-format", "base64"]),
        "key,value\n\\\\\\ff,YzpcZGly\n"
    );
}

/// Into a new store by schema lines, and into tables that are there by their types.
#[test]
fn what_was_exported_comes_back_equal() {
    let place = Place::new();
    full_store(&place);
    let dump = |store: &str| place.run(["dump", "-a", store]).fine().out;
    let lines = place.run(["export", "jsonl", "-a", "a.maple", "-o", "a.jsonl"]).fine();
    assert!(lines.out.is_empty());
    let told = place.run(["import", "jsonl", "a.jsonl", "b.maple", "--json"]).fine().json();
    assert_eq!((&told["loaded"], &told["skipped"]), (&json!(8), &json!(0)));
    assert!(dump("a.maple") == dump("b.maple"));
    place.run(["verify", "b.maple"]).fine();
    assert_eq!(
        open(&place, "b.maple").begin_read().unwrap().get(USERS, &8).unwrap(),
        Some(("bob\nb\0".into(), None))
    );

    for (kind, table) in [("csv", "users"), ("tsv", "tags"), ("csv", "spots"), ("tsv", ""), ("csv", "seen")] {
        let text = place.run(["export", kind, "a.maple", "-s", table]).fine().out;
        open(&place, "b.maple")
            .write(|w| match table {
                "tags" => w.delete_keys(TAGS, ..).map(|_| ()),
                table => w.raw_delete_range(table, ..).map(|_| ()),
            })
            .unwrap();
        assert_ne!(dump("a.maple"), dump("b.maple"), "{table}");
        place.feed(["import", kind, "-", "b.maple", "-s", table], &text).fine();
        assert_eq!(dump("a.maple"), dump("b.maple"), "{table}");
    }
}

/// Types that are named on the command line are those that programs have.
#[test]
fn programs_read_what_was_imported() {
    let place = Place::new();
    let types = ["--key-type", "u64", "--value-type", "(str, option(u8))"];
    place
        .feed([&["import", "csv", "-", "a.maple", "-s", "users"][..], &types].concat(), CSV.as_bytes())
        .fine();
    let tags = ["--key-type", "str", "--value-type", "i16", "--multi"];
    place
        .feed(
            [&["import", "tsv", "-", "a.maple", "-s", "tags"][..], &tags].concat(),
            b"tag\tid\nx\t-2\nx\t7\n",
        )
        .fine();
    let spots = "{\"key\":[\"é\",1],\"value\":\"0x\"}\n";
    place
        .feed(
            ["import", "jsonl", "-", "a.maple", "-s", "seen", "--value-type", "unit"],
            b"{\"key\":\"a\",\"value\":[]}\n",
        )
        .fine();
    let db = open(&place, "a.maple");
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(USERS, &7).unwrap(), Some(("ann, \"a\"".into(), Some(30))));
    assert_eq!(r.values(TAGS, "x").unwrap().map(Result::unwrap).collect::<Vec<_>>(), [-2, 7]);
    assert_eq!(r.get(SEEN, "a").unwrap(), Some(()));
    drop((r, db));
    place
        .feed(["import", "jsonl", "-", "a.maple", "-s", "s", "--value-type", "[f32le]"], spots.as_bytes())
        .fails(2, &["a table of plain memory can only be made by the program that has the type"]);
}

#[test]
fn columns_are_chosen_by_name() {
    let place = Place::new();
    let text = b"\xef\xbb\xbfid,name,mail\n1,ann,a@x\n2,bob,b@x\n";
    let import = |args: &[&str]| place.feed([&["import", "csv", "-", "a.maple"], args].concat(), text);
    import(&["-s", "all"]).fine();
    import(&["-s", "mail", "--key", "mail", "--value", "id", "--value-type", "u32"]).fine();
    import(&["-s", "pair", "--key", "name,id"]).fine();
    import(&["-s", "set", "--key", "name", "--value-type", "unit"]).fine();
    let scan = |table: &str| place.run(["scan", "a.maple", "-s", table]).fine().text().to_owned();
    assert_eq!(scan("all"), "1\t[\"ann\",\"a@x\"]\n2\t[\"bob\",\"b@x\"]\n");
    assert_eq!(scan("mail"), "a@x\t1\nb@x\t2\n");
    assert_eq!(scan("pair"), "[\"ann\",\"1\"]\ta@x\n[\"bob\",\"2\"]\tb@x\n");
    assert_eq!(scan("set"), "ann\nbob\n");
    import(&["--no-header", "-s", "raw", "--key", "2", "--value", "1"]).fine();
    assert_eq!(place.run(["get", "a.maple", "-s", "raw", "bob"]).fine().text(), "2\n");
    import(&["--key", "nmae"])
        .fails(1, &["no column \"nmae\"; there are id, name, mail", "nothing was loaded"]);
    import(&["--key", "id", "--value-type", "u8"]).fails(
        1,
        &["there are the columns id, name, mail; a key of type str takes 1, a value of type u8 takes 1"],
    );
}

#[test]
fn any_objects_are_imported_by_the_field_that_is_their_key() {
    let place = Place::new();
    let lines = b"{\"id\":3,\"name\":\"x\",\"at\":[1,2]}\n\n{\"id\":-4,\"name\":\"y\",\"at\":[2,1.5]}\n";
    let import = |args: &[&str], lines: &[u8]| {
        place.feed([&["import", "jsonl", "-", "a.maple"], args].concat(), lines)
    };
    import(&["-s", "whole", "--key", "id"], lines).fine();
    import(&["-s", "at", "--key", "name", "--value", "at"], lines)
        .fails(1, &["line 3", "element 1: expected"]);
    import(&["-s", "at", "--key", "name", "--value", "at", "--value-type", "(u8,f64)"], lines).fine();
    let scan = |table: &str| -> Vec<Value> {
        let run = place.run(["scan", "--json", "a.maple", "-s", table]).fine();
        run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(scan("whole")[0]["key"], -4);
    let whole: Value = serde_json::from_str(scan("whole")[1]["value"].as_str().unwrap()).unwrap();
    assert_eq!(whole, json!({ "id": 3, "name": "x", "at": [1, 2] }));
    assert_eq!(scan("at")[1], json!({ "key": "y", "value": [2, 1.5] }));
    import(&["-s", "n", "--key", "id"], b"{\"id\":null}\n")
        .fails(1, &["line 1: null does not say which type it is; give --key-type"]);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_imported() {
    let place = Place::new();
    let numbers = ["--key-type", "u8", "--value-type", "bool"];
    for (kind, text, said) in [
        (
            "csv",
            "k,v\n1,true\n300,true\n",
            "standard input: line 3: the key: expected a number from 0 to 255; nothing was loaded",
        ),
        ("csv", "k,v\n1,true\n2\n", "line 3: expected 2 columns as in the first line, found 1"),
        ("csv", "k,v\n1,\"true\n", "line 2: the value: expected true or false"),
        ("csv", "k,v\n1,\u{1}\n", "line 2: the value: expected true or false"),
        ("csv", "", "line 1: expected a line with the names of the columns"),
        ("csv", "k\n1\n", "there are the columns k; a key of type u8 takes 1, a value of type bool takes 1"),
        (
            "jsonl",
            "{\"key\":1,\"value\":true}\n{\"key\":1}\n",
            "line 2: expected a field \"value\", found none",
        ),
        ("jsonl", "{\"key\":1,\"value\":1}\n", "line 1: the value: expected true or false"),
        ("jsonl", "{\"key\":1,\n", "line 1: expected a JSON object: EOF"),
        ("jsonl", "[1]\n", "line 1: expected a JSON object, found [1]"),
        ("jsonl", "{\"table\":\"t\",\"schema\":{}}\n", "line 1: expected a schema with key_type"),
        (
            "jsonl",
            "{\"table\":\"t\",\"schema\":{\"key_type\":\"u8\",\"value_type\":\"u8\",\"key_width\":0,\"value_width\":-1}}\n",
            "value_width",
        ),
    ] {
        place
            .feed([&["import", kind, "-", "x.maple"][..], &numbers].concat(), text.as_bytes())
            .fails(1, &[said]);
        assert!(place.files().is_empty(), "{text:?} {:?}", place.files());
    }
    place.feed(["import", "csv", "-", "x.maple"], b"k,v\n\xff,1\n").fails(1, &["line 2: expected UTF-8"]);
    place
        .feed(["import", "csv", "-", "x.maple", "--key-type", "u7"], b"k,v\n")
        .fails(2, &["the type \"u7\" of the keys: expected u8 to u128"]);
    place.run(["import", "csv", "none.csv", "x.maple"]).fails(1, &["mapleaf: none.csv: cannot read"]);
    place
        .run(["import", "jsonl", "-", "x.maple", "--no-create"])
        .fails(1, &["mapleaf: x.maple: no such file"]);
    assert!(place.files().is_empty(), "{:?}", place.files());

    place.feed(["import", "csv", "-", "x.maple", "-s", "t", "--key-type", "u8"], b"k,v\n1,a\n").fine();
    let before = place.read("x.maple");
    place
        .feed(["import", "csv", "-", "x.maple", "-s", "t", "--key-type", "u16"], b"k,v\n")
        .fails(1, &["table \"t\" is stored as u8 -> str"]);
    place.feed(["import", "csv", "-", "x.maple", "-s", "t"], b"k,v\n2,b\nx,c\n").fails(1, &["line 3"]);
    assert_eq!(place.run(["scan", "x.maple"]).fine().text(), "1\ta\n");
    assert_eq!(before.len(), place.read("x.maple").len());
    place
        .feed(["import", "csv", "-", "x.maple", "-s", "t", "-N"], b"k,v\n1,b\n2,c\n")
        .fails(1, &["1 record was not loaded, for its key is there"]);
    assert_eq!(place.run(["scan", "x.maple"]).fine().text(), "1\ta\n2\tc\n");
    place
        .feed(["import", "csv", "-", "x.maple", "-s", "t", "--batch", "2"], b"k,v\n3,b\n4,c\n5,d\nx,e\n")
        .fails(1, &["the first 2 records were committed (--batch)"]);
}

#[test]
fn an_export_that_fails_takes_nothing_away() {
    let place = Place::new();
    full_store(&place);
    place.write("out", "before");
    place.run(["export", "csv", "a.maple", "-s", "users", "-o", "out"]).fine();
    assert_eq!(place.read("out"), CSV.as_bytes());
    place.run(["export", "csv", "a.maple", "-s", "users", "--key-format", "utf8", "-o", "out"]).fine();
    place
        .run(["export", "csv", "a.maple", "-s", "spots", "--value-format", "utf8", "-o", "out"])
        .fails(1, &["a value in table \"spots\" has 8 bytes that are not UTF-8"]);
    assert!(place.read("out").starts_with(b"key,value.0,value.1\n\0\0"), "{:?}", place.read("out"));
    place
        .run(["export", "csv", "a.maple", "-s", "users", "-o", "a.maple"])
        .fails(2, &["that is the store itself"]);
    place
        .run(["export", "csv", "a.maple", "-s", "users", "-o", "no/such"])
        .fails(1, &["mapleaf: no/such: cannot write"]);
    place.run(["export", "csv", "-a", "a.maple"]).fails(2, &["-a goes with jsonl"]);
    place.run(["export", "csv", "a.maple"]).fine();
    place.run(["export", "csv", "none.maple"]).fails(1, &["mapleaf: none.maple: no such file"]);
    place.run(["export", "csv", "a.maple", "-s", "nmaes"]).fails(1, &["no table \"nmaes\""]);
    if std::path::Path::new("/dev/full").exists() {
        place
            .run(["export", "csv", "a.maple", "-s", "users", "-o", "/dev/full"])
            .fails(1, &["mapleaf: /dev/full: cannot write"]);
    }
    assert_eq!(place.files(), ["a.maple", "a.maple-lock", "out"]);
}

/// Files of text with a few bytes changed: imported, or refused with nothing made; and what was imported is whole.
#[test]
fn noise_is_an_error_never_a_panic() {
    let place = Place::new();
    full_store(&place);
    let mut seed = 7_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let lines = place.run(["export", "jsonl", "-a", "a.maple"]).fine().out;
    let users = place.run(["export", "csv", "a.maple", "-s", "users"]).fine().out;
    let csv = ["--key-type", "u64", "--value-type", "(str,option(u8))"];
    let (mut whole, mut refused) = (0, 0);
    for round in 0..80 {
        let (kind, text, types) =
            if round % 2 == 0 { ("jsonl", &lines, &[][..]) } else { ("csv", &users, &csv[..]) };
        let mut text = text.clone();
        for _ in 0..=random(3) {
            let at = random(text.len());
            match random(3) {
                0 => text[at] = b"\"\\,{}[]\n\t\0\xff0-"[random(13)],
                1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        let run = place.feed([&["import", kind, "-", "n.maple"], types].concat(), &text);
        let said = String::from_utf8_lossy(&text);
        assert!(!run.err.contains("panicked"), "{said} {run:?}");
        match run.code {
            Some(0) => {
                whole += 1;
                place.run(["verify", "n.maple"]).fine();
                ["n.maple", "n.maple-lock"]
                    .iter()
                    .for_each(|name| std::fs::remove_file(place.path(name)).unwrap());
            }
            code => {
                refused += 1;
                assert!(matches!(code, Some(1 | 2)) && run.err.starts_with("mapleaf: "), "{said} {run:?}");
                assert!(!place.path("n.maple").exists(), "{said}");
            }
        }
    }
    assert!(whole > 0 && refused > 20, "{whole} {refused}");
}

#[test]
fn what_was_taken_for_columns_is_told() {
    let place = Place::new();
    let import =
        |text: &str, args: &[&str]| place.feed([&["import", "csv", "-"], args].concat(), text.as_bytes());
    let told = import("id,name,age\n1,ann,30\n2,bob,40\n", &["a.maple", "-s", "users"]).fine();
    assert_eq!(told.text(), "loaded 2 records into table \"users\" (key: id; value: name, age)\n");

    // A record that is taken for a header.
    let told = import("1,ann\n2,bob\n", &["b.maple"]);
    assert_eq!(told.text(), "loaded 1 record into table \"\" (key: 1; value: ann)\n");
    let said = "standard input: line 1: 1 was taken for the name of a column; if the line is a record, give --no-header";
    assert!(told.code == Some(0) && told.err.contains(said), "{told:?}");
    let told = import("1,ann\n2,bob\n", &["c.maple", "--no-header"]).fine();
    assert_eq!(told.text(), "loaded 2 records into table \"\" (key: 1; value: 2)\n");

    // Other delimiters.
    for (delimiter, given) in [(";", "';'"), ("|", "'|'"), ("\t", "'\\t'")] {
        let text = format!("id{delimiter}name\n1{delimiter}ann\n");
        let said = format!("if {given} is between the columns, give --delimiter {given}");
        import(&text, &["d.maple"]).fails(1, &["line 1: one column, ", &said, "nothing was loaded"]);
        let given = given.trim_matches('\'');
        let told = import(&text, &["e.maple", "-d", given]).fine();
        assert_eq!(told.text(), "loaded 1 record into table \"\" (key: id; value: name)\n");
        import(&text, &["set.maple", "--value-type", "unit"]).fine();
        let told = import(&text, &["f.maple", "--delimiter", ","]).fine();
        assert!(told.text().starts_with("loaded 1 record into table \"\" (key: id"), "{told:?}");
    }
    assert!(!place.path("d.maple").exists());
    import("a,b\n", &["d.maple", "-d", "ab"]).fails(2, &["expected one character of ASCII"]);
    import("a,b\n", &["d.maple", "-d", "\""]).fails(2, &["expected one character of ASCII"]);
    import("id\n1\n", &["d.maple", "--key-type", "u8", "--value-type", "str"])
        .fails(1, &["there are the columns id;", "--delimiter and --no-header say how"]);
}

#[test]
fn pairs_that_are_there_already_are_told() {
    let place = Place::new();
    let import = |args: &[&str]| {
        place.feed([&["import", "csv", "-", "a.maple", "--multi"], args].concat(), b"k,v\na,1\na,2\na,1\n")
    };
    let told = import(&[]).fine();
    assert_eq!(told.text(), "loaded 3 records, 2 of them new, into table \"\" (key: k; value: v)\n");
    let told = import(&[]).fine();
    assert_eq!(told.text(), "loaded 3 records, 0 of them new, into table \"\" (key: k; value: v)\n");
    assert_eq!(place.run(["scan", "a.maple", "--count"]).fine().text(), "2\n");
    import(&["-N"]).fails(1, &["3 records were not loaded, for their keys are there"]);
}
