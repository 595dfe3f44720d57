//! Import of LMDB environments: of each data version, damaged, and while another program writes.

#![allow(unsafe_code, reason = "opening LMDB and mapleaf")]
#![allow(deprecated, reason = "files of programs that use LMDB's own integers")]

mod common;

use common::{Place, Run};
use flate2::read::GzDecoder;
use heed::types::Bytes;
use heed::{DatabaseFlags, Env, EnvFlags, EnvOpenOptions};
use mapleaf::{Database, MultiTable, Table};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

type Record = (Vec<u8>, Vec<u8>);

/// The tables of every environment but that of `make.mjs`; see `fixtures/lmdb/make.c`. Integers are as LMDB has them.
fn contents() -> Vec<(Option<&'static str>, DatabaseFlags, Vec<Record>)> {
    let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut words: Vec<Record> =
        (0..300).map(|i| record(&format!("key {i:03}"), &format!("value {i}"))).collect();
    words.extend([record("a", ""), record("odd", "xyz"), (b"long".to_vec(), vec![9; 20_000])]);
    let numbers = [1, 256, 70_000, u64::MAX].map(|number| number.to_ne_bytes().to_vec());
    let ids = [3_u32, 1 << 30].map(|id| id.to_ne_bytes().to_vec());
    let mut tags: Vec<Record> = (0..200).map(|i| record("many", &format!("value {i:03}"))).collect();
    tags.extend([record("t", "2"), record("t", "1"), record("u", "0")]);
    let mut index: Vec<Record> =
        (0..300_u64).map(|i| (b"many".to_vec(), (i * 7).to_ne_bytes().to_vec())).collect();
    index.extend(numbers[1..].iter().map(|number| (b"k".to_vec(), number.clone())));
    let plain = DatabaseFlags::empty();
    let (multi, fixed) = (DatabaseFlags::DUP_SORT, DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED);
    vec![
        // A record as long as that of a named database.
        (None, plain, vec![(b"plain".to_vec(), vec![7; 48]), record("p", "x")]),
        (Some("words"), plain, words),
        (Some("empty"), plain, vec![]),
        (Some("numbers"), DatabaseFlags::INTEGER_KEY, numbers.map(|number| (number, b"v".to_vec())).into()),
        (Some("ids"), DatabaseFlags::INTEGER_KEY, ids.map(|id| (id, b"x".to_vec())).into()),
        (Some("tags"), multi, tags),
        (Some("index"), fixed | DatabaseFlags::INTEGER_DUP, index),
        (Some("fixed"), fixed, vec![record("k", "bbb"), record("k", "aaa"), record("l", "ccc")]),
        (Some("reverse"), DatabaseFlags::REVERSE_KEY, vec![record("ab", "1"), record("ba", "2")]),
        (Some("ends"), multi | DatabaseFlags::REVERSE_DUP, vec![record("k", "ab"), record("k", "ba")]),
    ]
}

const TOLD: &str =
    "table \"ends\": values that were in reverse order are kept as they are, their order becomes bytewise
table \"reverse\": keys that were in reverse order are kept as they are, their order becomes bytewise
";

fn open_lmdb(path: &Path, flags: EnvFlags) -> Env {
    let mut options = EnvOpenOptions::new();
    options.max_dbs(20).map_size(256 << 20);
    // SAFETY: the flags break none of LMDB's rules here: what the machine loses nobody reads.
    unsafe { options.flags(flags | EnvFlags::NO_SUB_DIR) };
    // SAFETY: nobody but LMDB changes the file meanwhile.
    unsafe { options.open(path) }.unwrap()
}

fn put(env: &Env, txn: &mut heed::RwTxn<'_>, name: Option<&str>, flags: DatabaseFlags, records: &[Record]) {
    let mut options = env.database_options().types::<Bytes, Bytes>();
    options.flags(flags);
    if let Some(name) = name {
        options.name(name);
    }
    let table = options.create(txn).unwrap();
    records.iter().for_each(|(key, value)| table.put(txn, key, value).unwrap());
}

/// Writes an environment of LMDB 0.9 to `old.mdb`.
fn make(place: &Place) {
    let env = open_lmdb(&place.path("old.mdb"), EnvFlags::empty());
    let mut txn = env.write_txn().unwrap();
    for (name, flags, records) in contents() {
        put(&env, &mut txn, name, flags, &records);
    }
    txn.commit().unwrap();
    env.prepare_for_closing().wait();
}

/// An environment of LMDB 0.9 with one table.
fn make_one(place: &Place, name: &str, records: &[Record]) {
    let env = open_lmdb(&place.path("old.mdb"), EnvFlags::empty());
    let mut txn = env.write_txn().unwrap();
    put(&env, &mut txn, Some(name), DatabaseFlags::empty(), records);
    txn.commit().unwrap();
    env.prepare_for_closing().wait();
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/lmdb/{name}.mdb.gz", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

const FIXTURES: [&str; 4] = ["lmdb-0.9-16384", "lmdb-js-1024", "lmdb-1.0-512", "lmdb-1.0-65536"];

fn open(place: &Place, name: &str) -> Database {
    // SAFETY: only mapleaf changes this file while it is open.
    unsafe { Database::open(place.path(name)) }.unwrap()
}

/// Sees that a store has what `contents` says, integers as numbers.
fn check(place: &Place, store: &str) {
    place.run(["verify", store]).fine();
    let tables = place.run(["tables", store]).fine();
    let shown: Vec<String> = tables
        .text()
        .lines()
        .map(|line| {
            line.split_whitespace().filter(|word| !word.starts_with("level")).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "\"\" 2 entries 1 bytes -> bytes",
            "\"empty\" 0 entries 0 bytes -> bytes",
            "\"ends\" 2 entries 1 bytes -> many bytes",
            "\"fixed\" 3 entries 1 bytes -> many bytes",
            "\"ids\" 2 entries 1 u32 -> bytes",
            "\"index\" 303 entries 1 bytes -> many u64",
            "\"numbers\" 4 entries 1 u64 -> bytes",
            "\"reverse\" 2 entries 1 bytes -> bytes",
            "\"tags\" 203 entries 1 bytes -> many bytes",
            "\"words\" 303 entries 2 bytes -> bytes",
        ]
    );
    let db = open(place, store);
    let r = db.begin_read().unwrap();
    for (name, flags, mut records) in contents() {
        let integer = |bytes: &mut Vec<u8>, flag| {
            if flags.contains(flag) && cfg!(target_endian = "little") {
                bytes.reverse();
            }
        };
        for (key, value) in &mut records {
            integer(key, DatabaseFlags::INTEGER_KEY);
            integer(value, DatabaseFlags::INTEGER_DUP);
        }
        records.sort();
        let name = name.unwrap_or("");
        let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        let found: Vec<Record> = match flags.contains(DatabaseFlags::DUP_SORT) {
            true => r.raw_multi(name).unwrap().unwrap().iter().map(|pair| owned(pair.unwrap())).collect(),
            false => r.raw_table(name).unwrap().unwrap().iter().map(|pair| owned(pair.unwrap())).collect(),
        };
        assert!(found == records, "{name}: {found:?}");
    }
    // As a program reads them.
    let keys: Vec<u64> =
        r.iter(Table::<u64, [u8]>::new("numbers")).unwrap().map(|pair| pair.unwrap().0).collect();
    assert_eq!(keys, [1, 256, 70_000, u64::MAX]);
    let values: Vec<u64> =
        r.values(MultiTable::<[u8], u64>::new("index"), &b"k"[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(values, [256, 70_000, u64::MAX]);
}

#[test]
fn every_data_version_and_page_size_becomes_the_same_tables() {
    let place = Place::new();
    make(&place);
    for name in FIXTURES {
        place.write(&format!("{name}.mdb"), fixture(name));
    }
    for name in FIXTURES.into_iter().chain(["old"]) {
        let (file, store) = (format!("{name}.mdb"), format!("{name}.maple"));
        let before = place.read(&file);
        let said = place.run(["import", "lmdb", &file, &store, "--json"]);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        assert_eq!(said.err.replace(&format!("mapleaf: {file}: "), ""), TOLD, "{name}");
        assert_eq!(said.json()["loaded"], 824, "{name}");
        check(&place, &store);
        assert!(place.read(&file) == before, "{name} was written to");
    }
    // Of lock files there are those of heed and ours.
    assert!(!place.files().iter().any(|name| name.starts_with("lmdb-") && name.ends_with(".mdb-lock")));
}

/// What its programs made of keys and values stays as it is.
#[test]
fn lmdb_js_keeps_its_bytes() {
    let place = Place::new();
    place.write("js.mdb", fixture("lmdb-js"));
    place.run(["import", "lmdb", "js.mdb", "js.maple"]).fine();
    place.run(["verify", "js.maple"]).fine();
    let scan = |table: &str| place.run(["scan", "js.maple", "-s", table]).fine().text().to_owned();
    assert_eq!(scan(""), "plain\tmain\n");
    assert_eq!(scan("users"), "\\14\\01\\c0\\00\t[true,null]\nann\t{\"age\":30}\n");
    assert_eq!(scan("ids"), "1\tv\n256\tv\n70000\tv\n");
    let tags = scan("tags");
    let tags: Vec<&str> = tags.lines().collect();
    assert_eq!(tags.len(), 302);
    assert_eq!(
        (tags[0], tags[2], &tags[300..]),
        ("many\t\\10\\00\\00\\00", "many\t\\14\\00\\00\\00", &["t\ta", "t\tb"][..])
    );
    let words = scan("words");
    assert_eq!(words.lines().count(), 301);
    assert!(
        words.starts_with("key 000\tvalue 0\nkey 001\tvalue 1\n")
            && words.ends_with(&format!("long\t{}\n", "9".repeat(20_000)))
    );
}

#[test]
fn some_tables_into_a_store_that_has_others() {
    let place = Place::new();
    make(&place);
    let import = |args: &[&str]| place.run(["import", "lmdb", "old.mdb", "one.maple"].iter().chain(args));
    assert_eq!(import(&["-s", "tags"]).fine().text(), "loaded 203 records into table \"tags\"\n");
    import(&["-s", "nmaes"]).fails(1, &["old.mdb: no table \"nmaes\"; it has ", "\"words\"", "\"\""]);
    place.run(["put", "--create", "one.maple", "-s", "numbers", "k", "v"]).fine();
    import(&["-s", "numbers"]).fails(
        1,
        &[
            "table \"numbers\" is stored as bytes -> bytes, in old.mdb it is u64 -> bytes",
            "nothing was loaded",
        ],
    );
    assert_eq!(
        import(&["-s", "words", "--batch", "100"]).fine().text(),
        "loaded 303 records into table \"words\"\n"
    );
    place.run(["put", "one.maple", "-s", "words", "odd", "here"]).fine();
    place.run(["del", "one.maple", "-s", "words", "long"]).fine();
    assert_eq!(
        import(&["-s", "words", "-N"]).fails(1, &["302 records were not loaded"]).text(),
        "loaded 1 record into table \"words\", 302 skipped that were there\n"
    );
    assert_eq!(place.run(["get", "one.maple", "-s", "words", "odd"]).fine().text(), "here\n");
}

/// The directory form, the real dump of the same, and what is no LMDB.
#[test]
fn directories_and_what_is_not_read() {
    let place = Place::new();
    let records: Vec<Record> = (0..3000).map(|i| (format!("key {i}").into(), b"value".to_vec())).collect();
    make_one(&place, "t", &records);
    std::fs::create_dir(place.path("old")).unwrap();
    std::fs::rename(place.path("old.mdb"), place.path("old/data.mdb")).unwrap();
    place.run(["import", "lmdb", "old", "new.maple"]).fine();
    assert_eq!(place.run(["scan", "new.maple", "--count"]).fine().text(), "3000\n");
    if Path::new("/usr/bin/mdb_dump").exists() {
        let dump = place.feed_program("/usr/bin/mdb_dump", ["-a", "old"], b"").fine();
        place.feed(["load", "dumped.maple"], &dump.out).fine();
        let all = |store: &str| place.run(["dump", "-a", store]).fine().out;
        assert!(all("new.maple") == all("dumped.maple"));
    } else {
        eprintln!("skipped: mdb_dump not installed (package lmdb-utils)");
    }
    let import = |name: &str| place.run(["import", "lmdb", name, "x.maple"]);
    for (name, bytes) in
        [("text", &b"It was a dark and stormy night."[..]), ("empty", b""), ("zeros", &[0; 20_000])]
    {
        place.write(name, bytes);
        import(name).fails(
            1,
            &[&format!("mapleaf: {name}: expected the file or the directory of an LMDB environment")],
        );
    }
    import("none").fails(1, &["mapleaf: none: cannot read"]);
    import("/dev/null").fails(1, &["mapleaf: /dev/null: cannot read: expected a file"]);
    let whole = place.read("old/data.mdb");
    let with = |changes: &[(usize, &[u8])]| {
        let mut bytes = whole.clone();
        changes.iter().for_each(|(at, new)| bytes[*at..at + new.len()].copy_from_slice(new));
        bytes
    };
    let magic = &[0xde, 0xc0, 0xef, 0xbe][..];
    let at_both: fn(usize) -> [usize; 2] = |at| [at, at + 4096];
    let both = |at: usize, new: &'static [u8]| at_both(at).map(|at| (at, new));
    for (what, bytes, said) in [
        (
            "version",
            with(&both(20, &[4])),
            "LMDB data version 4; 1 (LMDB 0.9), 2 (lmdb-js) and 3 (LMDB 1.0) are read",
        ),
        ("devel", with(&both(20, &[0xe7, 3])), "LMDB data version 999; 1"),
        (
            "narrow",
            with(&[(12, magic), (16, &[1, 0, 0, 0]), (4108, magic), (4112, &[1, 0, 0, 0])]),
            "LMDB as 32-bit programs write it",
        ),
        ("narrow2", with(&both(20, &[2])), "LMDB as 32-bit programs write it"),
        ("big", with(&both(16, &[0xbe, 0xef, 0xc0, 0xde])), "LMDB as big-endian machines write it"),
    ] {
        place.write(what, bytes);
        import(what).fails(1, &[&format!("mapleaf: {what}: {said}")]);
    }
    let mut sealed = fixture("lmdb-1.0-512");
    [0, 512].iter().for_each(|page| sealed[page + 24 + 28 + 1] |= 0x20);
    place.write("sealed", sealed);
    import("sealed").fails(1, &["mapleaf: sealed: the environment is encrypted"]);
    assert!(!place.path("x.maple").exists());
    // Nothing was ever written to it.
    drop(open_lmdb(&place.path("fresh.mdb"), EnvFlags::empty()));
    assert_eq!(import("fresh.mdb").fine().text(), "loaded 0 records into 0 tables\n");
}

#[test]
fn long_values_come_part_by_part() {
    let place = Place::new();
    let long: Vec<u8> = (0..5_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
    make_one(&place, "files", &[(b"a".to_vec(), long.clone()), (b"b".to_vec(), vec![1; 2 << 20])]);
    place.run(["import", "lmdb", "old.mdb", "new.maple"]).fine();
    place.run(["verify", "new.maple"]).fine();
    let files = Table::<[u8], [u8]>::new("files");
    let db = open(&place, "new.maple");
    assert!(db.begin_read().unwrap().get(files, &b"a"[..]).unwrap().unwrap() == long);
    db.write(|w| w.put(files, &b"b"[..], &b"mine"[..])).unwrap();
    db.write(|w| w.delete(files, &b"a"[..])).unwrap();
    drop(db);
    place.run(["import", "lmdb", "old.mdb", "new.maple", "-N"]).fails(1, &["1 record was not loaded"]);
    let db = open(&place, "new.maple");
    let r = db.begin_read().unwrap();
    assert!(r.get(files, &b"a"[..]).unwrap().unwrap() == long);
    assert_eq!(r.get(files, &b"b"[..]).unwrap(), Some(&b"mine"[..]));
}

/// Where a meta is in a file with pages of this size and headers of that.
fn meta(bytes: &[u8]) -> (usize, usize) {
    let header = if bytes[16..20] == [0xde, 0xc0, 0xef, 0xbe] { 16 } else { 24 };
    let size = u32::from_le_bytes(bytes[header + 24..][..4].try_into().unwrap());
    (header, size as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The page of the newest meta.
fn newest(bytes: &[u8]) -> usize {
    let (header, size) = meta(bytes);
    let txn = |page: usize| u64_at(bytes, page * size + header + 128);
    usize::from(txn(1) > txn(0))
}

/// A meta that cannot be one: the state before is imported, and told, with exit code 1.
#[test]
fn the_older_meta_holds_where_the_newer_is_damaged() {
    for name in FIXTURES.into_iter().chain(["lmdb-js"]) {
        let place = Place::new();
        let mut bytes = fixture(name);
        let (header, size) = meta(&bytes);
        let newer = newest(&bytes);
        let txn = u64_at(&bytes, newer * size + header + 128);
        // A root behind the end.
        bytes[newer * size + header + 112..][..8].fill(0x11);
        place.write("old.mdb", &bytes);
        place.run(["import", "lmdb", "old.mdb", "new.maple", "-s", "words"]).fails(
            1,
            &[
                &format!("old.mdb: the meta in page {newer} is damaged (page {newer}: root: expected 2 to "),
                &format!("importing the state of txn {}, which the other has", txn - 1),
            ],
        );
        // That has what the last txn deleted.
        let gone = place.run(["scan", "new.maple", "-s", "words", "--prefix", "gone", "--count"]).fine();
        assert_eq!(gone.text(), "300\n", "{name}");
        bytes[(1 - newer) * size + header + 112..][..8].fill(0x11);
        place.write("old.mdb", &bytes);
        place
            .run(["import", "lmdb", "old.mdb", "x.maple"])
            .fails(1, &["old.mdb: page 0: root: expected 2 to ", "the file is damaged"]);
        assert!(!place.path("x.maple").exists());
    }
}

/// After a restart what lmdb-js had not flushed may be missing in the file: its third meta says what is there.
#[test]
fn lmdb_js_goes_back_to_what_was_flushed() {
    let place = Place::new();
    let mut bytes = fixture("lmdb-js");
    let (header, size) = meta(&bytes);
    let (newer, third) = (newest(&bytes) * size + header, size / 2 + header);
    let txn = u64_at(&bytes, newer + 128);
    bytes[newer + 29] |= 0x10;
    bytes[newer + 136] ^= 1;
    let older = if newer > size { header } else { size + header };
    bytes.copy_within(older + 16..older + 136, third + 16);
    place.write("old.mdb", &bytes);
    let run = place.run(["import", "lmdb", "old.mdb", "new.maple", "-s", "words"]);
    assert_eq!(
        (run.code, &*run.err),
        (
            Some(0),
            &*format!(
                "mapleaf: old.mdb: importing the state of txn {}, the last that was flushed before the machine was restarted\n",
                txn - 1
            )
        )
    );
    assert_eq!(
        place.run(["scan", "new.maple", "-s", "words", "--prefix", "gone", "--count"]).fine().text(),
        "300\n"
    );
}

/// Imports damaged bytes. Whatever they are it ends, by itself; what it takes for whole has as many records as were there.
fn survives(place: &Place, number: usize, bytes: &[u8], what: &str) -> Run {
    let (file, store) = (format!("{number}.mdb"), format!("{number}.maple"));
    place.write(&file, bytes);
    let run = place.run(["import", "lmdb", &file, &store]);
    let told = [
        "page ",
        "table ",
        "record ",
        "LMDB data version",
        "LMDB as ",
        "the environment is encrypted",
        "expected the file or the directory",
        "a database whose name is not UTF-8",
    ];
    let told = told.iter().any(|what| run.err.contains(&format!("mapleaf: {file}: {what}")));
    assert!(!run.err.contains("panicked"), "{what}: {run:?}");
    match run.code {
        Some(0) => assert!(run.text().starts_with("loaded "), "{what}: {run:?}"),
        // Imported, but not what the newest meta had.
        Some(1) if run.text().starts_with("loaded ") => {
            assert!(run.err.contains("is damaged"), "{what}: {run:?}")
        }
        Some(1) => {
            assert!(told, "{what}: {run:?}");
            assert!(!place.path(&store).exists(), "{what}");
        }
        _ => panic!("{what}: {run:?}"),
    }
    for name in [&file, &store, &format!("{store}-lock")] {
        let _ = std::fs::remove_file(place.path(name));
    }
    run
}

/// The same for many, by two threads.
fn all_survive(damages: Vec<(String, Vec<u8>)>, judge: impl Fn(&str, &Run) + Sync) {
    let place = Place::new();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((what, bytes)) = damages.get(number) else { return };
                    judge(what, &survives(&place, number, bytes, what));
                }
            });
        }
    });
}

/// What damaged files are made of: one of each data version, with few pages.
fn victims() -> Vec<(&'static str, Vec<u8>)> {
    let place = Place::new();
    make(&place);
    let mut victims = vec![("lmdb-0.9-4096", place.read("old.mdb"))];
    victims.extend(["lmdb-js-1024", "lmdb-1.0-512"].map(|name| (name, fixture(name))));
    victims
}

/// Numbers that look random; the same for each seed.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mixed = (*seed ^ *seed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

#[test]
fn damaged_pages_are_found() {
    let mut seed = 1;
    for (name, whole) in victims() {
        let (_, size) = meta(&whole);
        let count = whole.len() / size;
        let mut damages = Vec::new();
        for page in 0..count {
            let mut with = |what: &str, new: &[u8]| {
                let mut bytes = whole.clone();
                bytes[page * size..][..size].copy_from_slice(new);
                damages.push((format!("{name}: page {page}: {what}"), bytes));
            };
            with("zeros", &vec![0; size]);
            with("random", &(0..size).map(|_| random(&mut seed) as u8).collect::<Vec<_>>());
            let other = (page + 1 + random(&mut seed) as usize % (count - 1)) % count;
            with("another", &whole[other * size..][..size]);
        }
        all_survive(damages, |what, run| {
            // Pages that are free, and those within a long value, which have no header: nothing to see.
            if run.code == Some(0) {
                assert_eq!(run.text(), "loaded 824 records into 10 tables\n", "{what}");
            }
        });
    }
}

#[test]
fn cut_files_are_found() {
    for (name, whole) in victims() {
        let (_, size) = meta(&whole);
        let cuts = (0..whole.len() / size).flat_map(|page| [page * size, page * size + 100]);
        let damages = cuts.map(|len| (format!("{name}: {len} bytes"), whole[..len].to_vec())).collect();
        all_survive(damages, |what, run| {
            if run.code == Some(0) {
                assert_eq!(run.text(), "loaded 824 records into 10 tables\n", "{what}");
            }
        });
    }
}

#[test]
fn every_byte_of_the_metas_may_be_wrong() {
    for (name, whole) in
        victims().into_iter().filter(|(name, _)| name.starts_with("lmdb-0.9") || name.starts_with("lmdb-1.0"))
    {
        let (header, size) = meta(&whole);
        let mut damages = Vec::new();
        for at in (0..header + 144).flat_map(|at| [at, size + at]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            damages.push((format!("{name}: byte {at}"), bytes));
        }
        all_survive(damages, |_, _| {});
    }
}

#[test]
fn random_bytes_may_be_wrong() {
    let first: u64 = std::env::var("MAPLEAF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    for (name, whole) in victims() {
        let (header, size) = meta(&whole);
        let damages = (first..first + 60)
            .map(|start| {
                let (mut seed, mut bytes) = (start, whole.clone());
                for _ in 0..=random(&mut seed) % 8 {
                    // Half of them where the structure is.
                    let page = random(&mut seed) as usize % (bytes.len() / size) * size;
                    let within = match random(&mut seed) % 2 {
                        0 => random(&mut seed) as usize % size,
                        _ => random(&mut seed) as usize % (header + 40),
                    };
                    bytes[page + within] = random(&mut seed) as u8;
                }
                (format!("{name}: MAPLEAF_SEED={start}"), bytes)
            })
            .collect();
        all_survive(damages, |_, _| {});
    }
}

/// The newest tree's root, and a branch: the one of "words".
fn branch(bytes: &[u8]) -> usize {
    let (header, size) = meta(bytes);
    (2..bytes.len() / size)
        .rev()
        .find(|page| u64_at(bytes, page * size) == *page as u64 && bytes[page * size + header - 6] == 1)
        .unwrap()
}

#[test]
fn a_file_may_be_much_longer_than_what_is_in_it() {
    for (name, mut whole) in victims() {
        let place = Place::new();
        let (header, size) = meta(&whole);
        let at = newest(&whole) * size + header + 120;
        whole[at..at + 8].copy_from_slice(&((1_u64 << 43) / size as u64 - 1).to_le_bytes());
        place.write("old.mdb", &whole);
        let file = std::fs::File::options().write(true).open(place.path("old.mdb")).unwrap();
        if let Err(error) = file.set_len(1 << 43) {
            return eprintln!("skipped: no files of 8 TiB here: {error}");
        }
        let run = place.run(["import", "lmdb", "old.mdb", "new.maple"]);
        assert_eq!(
            (run.code, run.text()),
            (Some(0), "loaded 824 records into 10 tables\n"),
            "{name}: {run:?}"
        );
        check(&place, "new.maple");
    }
}

/// Changes a file.
type Craft<'c> = &'c dyn Fn(&mut Vec<u8>);

#[test]
fn trees_with_loops_end() {
    for (name, whole) in victims() {
        let place = Place::new();
        let (header, size) = meta(&whole);
        let base = if header == 24 { header } else { 0 };
        let page = branch(&whole) * size;
        let child = |bytes: &mut Vec<u8>, index: usize, number: u64| {
            let node = page
                + base
                + usize::from(u16::from_le_bytes([
                    bytes[page + header + 2 * index],
                    bytes[page + header + 2 * index + 1],
                ]));
            bytes[node..node + 6].copy_from_slice(&number.to_le_bytes()[..6]);
        };
        let main = newest(&whole) * size + header + 72;
        let root = u64_at(&whole, main + 40);
        let number = (page / size) as u64;
        let crafted: [(&str, Craft<'_>, String); 5] = [
            (
                "itself",
                &|bytes| child(bytes, 0, number),
                format!(
                    "page {number}: a page that it refers to: expected one that is used once, found {number} again"
                ),
            ),
            (
                "the root",
                &|bytes| child(bytes, 0, root),
                format!(
                    "page {number}: a page that it refers to: expected one that is used once, found {root} again"
                ),
            ),
            (
                "a meta",
                &|bytes| child(bytes, 0, 1),
                format!("page {number}: a page that it refers to: expected 2 to "),
            ),
            (
                "behind the end",
                &|bytes| child(bytes, 0, 1 << 40),
                format!("page {number}: a page that it refers to: expected 2 to "),
            ),
            // Levels that are not there.
            ("depth", &|bytes| bytes[main + 6] += 1, "page ".to_owned()),
        ];
        for (what, craft, said) in crafted {
            let mut bytes = whole.clone();
            craft(&mut bytes);
            place.write("old.mdb", &bytes);
            let run = place.run(["import", "lmdb", "old.mdb", "x.maple"]);
            run.fails(
                1,
                &[&format!("mapleaf: old.mdb: {said}"), "the file is damaged", "nothing was loaded"],
            );
            assert!(!place.path("x.maple").exists(), "{name}: {what}");
        }
    }
}

/// A count that is not that of the records: some are missing, or too many. Of multimaps it is told: old versions of LMDB
/// count them wrongly.
#[test]
fn records_are_counted() {
    for (_, whole) in victims() {
        let place = Place::new();
        let (header, size) = meta(&whole);
        let page = newest(&whole);
        let mut bytes = whole.clone();
        let entries = page * size + header + 72 + 32;
        let is = u64_at(&bytes, entries);
        bytes[entries] += 1;
        place.write("old.mdb", &bytes);
        let said = format!("old.mdb: page {page}: a tree's entries: expected {}, found {is}", is + 1);
        place.run(["import", "lmdb", "old.mdb", "x.maple"]).fails(1, &[&said, "nothing was loaded"]);

        let mut bytes = whole.clone();
        // Behind the name, and what ends it or fills up, stand 8 bytes and the count is 32 bytes on.
        let names = (0..bytes.len() - 100).filter(|at| bytes[*at..].starts_with(b"tags"));
        let records: Vec<usize> = names
            .filter_map(|at| (at + 4..at + 8).find(|record| u64_at(&bytes, record + 32) == 203))
            .collect();
        records.into_iter().for_each(|record| bytes[record + 32] = 204);
        place.write("old.mdb", &bytes);
        let run = place.run(["import", "lmdb", "old.mdb", "x.maple", "-s", "tags"]);
        assert_eq!(run.text(), "loaded 203 records into table \"tags\"\n", "{run:?}");
        run.fails(1, &["a tree's entries: expected 204, found 203; LMDB before 0.9.12 counts so"]);
    }
}

/// Another program commits all the time: the import has one txn of it, or says what to do.
#[test]
fn beside_a_writer_it_is_one_txn_or_an_error() {
    const KEYS: u64 = 3000;
    let place = Place::new();
    let env = open_lmdb(&place.path("old.mdb"), EnvFlags::NO_SYNC);
    let write = |count: u64| {
        let mut txn = env.write_txn().unwrap();
        let value = count.to_be_bytes().to_vec();
        let records: Vec<Record> = (0..KEYS).map(|key| (key.to_be_bytes().to_vec(), value.clone())).collect();
        put(&env, &mut txn, Some("t"), DatabaseFlags::empty(), &records);
        txn.commit().unwrap();
    };
    // What all values were when it was imported; nothing where it was not.
    let import = |store: &str| -> Option<u64> {
        let run = place.run(["import", "lmdb", "old.mdb", store]);
        if run.code != Some(0) {
            let moved = "old.mdb: programs that write to it have written pages anew before they were read";
            let long = "of old.mdb: read a value of 83886080 bytes";
            let said = if run.err.contains(long) { moved.split_once(": ").unwrap().1 } else { moved };
            run.fails(1, &[said, "stop them, or import what mdb_copy makes of it; nothing was loaded"]);
            assert!(!place.path(store).exists());
            return None;
        }
        place.run(["verify", store]).fine();
        let db = open(&place, store);
        let r = db.begin_read().unwrap();
        let table = r.raw_table("t").unwrap().unwrap();
        let mut counts: Vec<u64> =
            table.iter().map(|pair| u64::from_be_bytes(pair.unwrap().1.try_into().unwrap())).collect();
        assert_eq!(counts.len() as u64, KEYS);
        counts.dedup();
        assert_eq!(counts.len(), 1, "of several txns: {counts:?}");
        Some(counts[0])
    };
    write(0);
    /// Also where an assertion ends this.
    struct Done<'d>(&'d AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0;
            while !is_done.load(Ordering::Relaxed) {
                count += 1;
                write(count);
            }
            count
        });
        let done = Done(&is_done);
        // So small that it is read at once.
        for number in 0..10 {
            import(&format!("{number}.maple"));
        }
        // And larger: between what is read first and last there are commits.
        let mut txn = env.write_txn().unwrap();
        put(&env, &mut txn, Some("blob"), DatabaseFlags::empty(), &[(b"k".to_vec(), vec![1; 80 << 20])]);
        txn.commit().unwrap();
        for number in 10..12 {
            import(&format!("{number}.maple"));
        }
        drop(done);
        let last = writer.join().unwrap();
        assert_eq!(import("last.maple"), Some(last));
    });
}
