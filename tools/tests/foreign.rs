//! Import of the stores of others, each made here by its own library.

#![cfg(all(feature = "redb", feature = "sqlite"))]
#![allow(unsafe_code, reason = "opening mapleaf")]

mod common;

use common::Place;
use mapleaf::{Database, MultiTable, Table};
use rusqlite::Connection;

fn open(place: &Place, name: &str) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path(name)) }.unwrap()
}

#[test]
fn redb_becomes_tables_of_the_same_types() {
    use redb::{MultimapTableDefinition, TableDefinition};
    const NUMBERS: TableDefinition<'_, i64, &str> = TableDefinition::new("numbers");
    const PAIRS: TableDefinition<'_, (u32, &str, bool), (&[u8], f64)> = TableDefinition::new("pairs");
    const FIXED: TableDefinition<'_, (u8, u64), [u8; 3]> = TableDefinition::new("fixed");
    const CHARS: TableDefinition<'_, char, ()> = TableDefinition::new("chars");
    type Row<'a> = (Option<u16>, (u8, &'a str));
    const OPTION: TableDefinition<'_, Option<&str>, Row<'_>> = TableDefinition::new("option");
    const LIST: TableDefinition<'_, &[u8], Vec<u16>> = TableDefinition::new("list");
    const TAGS: MultimapTableDefinition<'_, String, u64> = MultimapTableDefinition::new("tags");
    let place = Place::new();
    let long = "x".repeat(70_000);
    {
        let db = redb::Database::create(place.path("old.redb")).unwrap();
        let txn = db.begin_write().unwrap();
        for number in [i64::MIN, -1, 0, 300] {
            txn.open_table(NUMBERS).unwrap().insert(number, &*number.to_string()).unwrap();
        }
        let mut pairs = txn.open_table(PAIRS).unwrap();
        pairs.insert((7, "a\0b", true), (&[0, 1][..], -0.5)).unwrap();
        pairs.insert((7, "", false), (&[][..], f64::INFINITY)).unwrap();
        pairs.insert((8, &"l".repeat(300)[..], false), (long.as_bytes(), 1.0)).unwrap();
        drop(pairs);
        txn.open_table(FIXED).unwrap().insert((1, 2), [1, 2, 3]).unwrap();
        txn.open_table(CHARS).unwrap().insert('é', ()).unwrap();
        let mut options = txn.open_table(OPTION).unwrap();
        options.insert(Some("k"), (Some(7), (1, "x"))).unwrap();
        options.insert(None, (None, (2, ""))).unwrap();
        drop(options);
        txn.open_table(LIST).unwrap().insert(&b"k"[..], vec![7]).unwrap();
        for value in [70_000, 5] {
            txn.open_multimap_table(TAGS).unwrap().insert("t".to_owned(), value).unwrap();
        }
        txn.commit().unwrap();
        // While a program has it open.
        place.run(["import", "redb", "old.redb", "x.maple"]).fails(1, &["old.redb: a program has it open"]);
    }
    let said = place.run(["import", "redb", "old.redb", "new.maple"]);
    assert_eq!((said.code, said.text()), (Some(0), "loaded 14 records into 7 tables\n"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert!(
        said.err.contains("table \"list\": values of the type ") && said.err.contains("kept as bytes"),
        "{}",
        said.err
    );
    place.run(["verify", "new.maple"]).fine();
    let db = open(&place, "new.maple");
    let r = db.begin_read().unwrap();
    let numbers: Vec<(i64, &str)> =
        r.iter(Table::<i64, str>::new("numbers")).unwrap().map(Result::unwrap).collect();
    assert_eq!(numbers[..2], [(i64::MIN, "-9223372036854775808"), (-1, "-1")]);
    let pairs: Table<(u32, String, bool), (Vec<u8>, f64)> = Table::new("pairs");
    let (bytes, float) = r.get(pairs, &(7, "a\0b", true)).unwrap().unwrap();
    assert_eq!((&*bytes, float), (&[0, 1][..], -0.5));
    let (bytes, _) = r.get(pairs, &(8, &*"l".repeat(300), false)).unwrap().unwrap();
    assert!(*bytes == *long.as_bytes());
    assert_eq!(r.get(Table::<(u8, u64), [u8; 3]>::new("fixed"), &(1, 2)).unwrap(), Some(&[1, 2, 3]));
    assert_eq!(r.get(Table::<char, ()>::new("chars"), &'é').unwrap(), Some(()));
    type OwnRow = (Option<u16>, (u8, String));
    let options: Table<Option<String>, OwnRow> = Table::new("option");
    let rows: Vec<_> = r.iter(options).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [(None, (None, (2, "".into()))), (Some("k"), (Some(7), (1, "x".into())))]);
    let tags: Vec<u64> =
        r.values(MultiTable::<str, u64>::new("tags"), "t").unwrap().map(Result::unwrap).collect();
    assert_eq!(tags, [5, 70_000]);
    drop((r, db));

    place
        .run(["import", "redb", "old.redb", "new.maple", "-s", "none"])
        .fails(1, &["no table \"none\"; it has "]);
    place.write("text", "It was a dark and stormy night.".repeat(1000));
    place.run(["import", "redb", "text", "x.maple"]).fails(1, &["mapleaf: text: "]);
    place.run(["import", "redb", "none", "x.maple"]).fails(1, &["mapleaf: none: "]);
    // Damage is an error, whatever redb makes of it.
    let whole = place.read("old.redb");
    for page in (1..whole.len() / 4096).step_by(1 + whole.len() / 4096 / 40) {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].iter_mut().step_by(3).for_each(|byte| *byte ^= 0xff);
        place.write("damaged", &damaged);
        let run = place.run(["import", "redb", "damaged", "damaged.maple"]);
        assert!(matches!(run.code, Some(0 | 1)) && !run.err.contains("panicked"), "{page}: {run:?}");
        let _ = std::fs::remove_file(place.path("damaged.maple"));
    }
    assert!(!place.path("x.maple").exists());
}

#[test]
fn each_thing_that_sqlite_has_beside_rows_is_told() {
    let place = Place::new();
    let db = Connection::open(place.path("old.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, twice AS (id * 2), thrice AS (id * 3) STORED);
         INSERT INTO users (id, name) VALUES (7, 'ann');
         CREATE TABLE other (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TRIGGER watch AFTER INSERT ON users BEGIN DELETE FROM other; END;",
    )
    .unwrap();
    drop(db);
    let told = place.run(["import", "sqlite", "old.db", "a.maple"]);
    let now = "of table \"users\" is taken as it is now: nothing computes it any more";
    let beside = format!(
        "mapleaf: old.db: trigger \"watch\" of table \"users\" is left out\n\
         mapleaf: old.db: generated column \"thrice\" {now}\nmapleaf: old.db: generated column \"twice\" {now}\n"
    );
    assert_eq!((told.code, told.err), (Some(0), beside));
    assert_eq!(place.run(["scan", "a.maple", "-s", "users"]).fine().text(), "7\t[\"ann\",14,21]\n");
    place.run(["import", "sqlite", "old.db", "b.maple", "-s", "other"]).fine();
}

#[test]
fn sqlite_rows_become_tuples() {
    let place = Place::new();
    let db = Connection::open(place.path("old.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT, photo BLOB);
         INSERT INTO users VALUES (7, 'ann', 30, x'00ff'), (-8, 'b''o', NULL, NULL);
         CREATE TABLE \"odd \"\"name\"\"\" (a TEXT NOT NULL, b INT NOT NULL, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO \"odd \"\"name\"\"\" VALUES ('x', 2), ('y', 1);
         CREATE TABLE nokey (rowid TEXT NOT NULL, any);
         INSERT INTO nokey VALUES ('one', 1), ('two', 2.5), ('three', 'x'), ('four', x'01'), ('five', NULL);
         CREATE TABLE empty (k TEXT PRIMARY KEY, v REAL NOT NULL, w VARCHAR(3), x);
         CREATE VIEW view AS SELECT * FROM users;
         CREATE INDEX ages ON users (age);",
    )
    .unwrap();
    // Others have it open, and write.
    db.execute_batch("BEGIN IMMEDIATE; INSERT INTO users VALUES (9, 'later', 1, NULL)").unwrap();
    let told = place.run(["import", "sqlite", "old.db", "new.maple"]);
    assert_eq!((told.code, told.text()), (Some(0), "loaded 9 records into 4 tables\n"));
    let beside = "mapleaf: old.db: view \"view\" is left out\n\
                  mapleaf: old.db: index \"ages\" of table \"users\" is left out\n";
    assert_eq!(told.err, beside);
    db.execute_batch("ROLLBACK").unwrap();
    place.run(["verify", "new.maple"]).fine();
    let tables = place.run(["tables", "new.maple"]).fine();
    let types: Vec<&str> = tables.text().lines().map(|line| line.rsplit_once("  ").unwrap().1).collect();
    let any = "enum{0:Integer(i64),1:Real(f64),2:Text(str),3:Blob(bytes)}";
    assert_eq!(
        types,
        [
            "str -> (f64,option(str),option(bytes))",
            &format!("i64 -> (str,option({any}))"),
            "(i64,str) -> unit",
            "i64 -> (str,option(i64),option(bytes))",
        ]
    );
    let scan = |table: &str| place.run(["scan", "new.maple", "-s", table]).fine().text().to_owned();
    assert_eq!(scan("users"), "-8\t[\"b'o\",null,null]\n7\t[\"ann\",30,\"\\\\00\\\\ff\"]\n");
    assert_eq!(scan("odd \"name\""), "[1,\"y\"]\n[2,\"x\"]\n");
    assert_eq!(
        scan("nokey"),
        "1\t[\"one\",{\"Integer\":[1]}]\n2\t[\"two\",{\"Real\":[2.5]}]\n3\t[\"three\",{\"Text\":[\"x\"]}]\n\
         4\t[\"four\",{\"Blob\":[\"\\\\01\"]}]\n5\t[\"five\",null]\n"
    );
    let store = open(&place, "new.maple");
    let r = store.begin_read().unwrap();
    type User = (String, Option<i64>, Option<Vec<u8>>);
    let users: Table<i64, User> = Table::new("users");
    let (name, age, photo) = r.get(users, &7).unwrap().unwrap();
    assert_eq!((&*name, age, photo.as_deref()), ("ann", Some(30), Some(&[0, 255][..])));
    drop((r, store));

    place
        .run(["import", "sqlite", "old.db", "x.maple", "-s", "view"])
        .fails(1, &["no table \"view\"; it has \"empty\""]);
    db.execute_batch(
        "CREATE TABLE bad (id INTEGER PRIMARY KEY, t TEXT); INSERT INTO bad VALUES (1, CAST(x'ff' AS TEXT))",
    )
    .unwrap();
    place.run(["import", "sqlite", "old.db", "x.maple", "-s", "bad"]).fails(
        1,
        &["old.db: row 1 of table \"bad\": column \"t\": a text that is not UTF-8", "nothing was loaded"],
    );
    for name in ["text", "empty"] {
        place.write(name, if name == "text" { "It was a dark and stormy night. " } else { "" });
        place
            .run(["import", "sqlite", name, "x.maple"])
            .fails(1, &[&format!("mapleaf: {name}: expected a database of SQLite 3")]);
    }
    place.run(["import", "sqlite", "none", "x.maple"]).fails(1, &["mapleaf: none: cannot read"]);
    let whole = place.read("old.db");
    for page in 1..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].iter_mut().step_by(3).for_each(|byte| *byte ^= 0xff);
        place.write("damaged", &damaged);
        let run = place.run(["import", "sqlite", "damaged", "damaged.maple"]);
        assert!(matches!(run.code, Some(0 | 1)) && !run.err.contains("panicked"), "{page}: {run:?}");
        let _ = std::fs::remove_file(place.path("damaged.maple"));
    }
    assert!(!place.path("x.maple").exists());
}
