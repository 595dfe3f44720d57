//! `mapleaf backup` and `mapleaf restore`: to files and through pipes, whole and as chains.

mod common;

use common::Place;
use std::process::{Command, Stdio};

/// A store, and three backups of it: one more pair in each, and the txn of each.
fn chain() -> (Place, Vec<u64>) {
    let place = Place::new();
    let mut txns = Vec::new();
    for (key, day, since) in [("a", "1", None), ("b", "2", Some("1")), ("c", "3", Some("2"))] {
        place.run(["put", "--create", "s.maple", key, "x"]).fine();
        let since = since.map(|since| ["--since", since]).into_iter().flatten();
        let args = ["backup", "s.maple", "-o", day, "--json"].into_iter().chain(since);
        let report = place.run(args.collect::<Vec<_>>()).fine().json();
        assert_eq!(report["can_be_continued"], true);
        txns.push(report["txn"].as_u64().unwrap());
    }
    (place, txns)
}

fn keys(place: &Place, store: &str) -> String {
    place.run(["scan", store]).fine().text().replace("\tx\n", "")
}

#[test]
fn a_chain_is_restored_to_any_of_its_txns() {
    let (place, txns) = chain();
    let said = place.run(["restore", "1", "2", "3", "-o", "all.maple"]).fine();
    assert!(said.text().ends_with("1 table, 3 entries\n"), "{}", said.text());
    assert_eq!(keys(&place, "all.maple"), "abc");
    place.run(["verify", "all.maple"]).fine();
    let txn = txns[1].to_string();
    place.run(["restore", "1", "2", "3", "-o", "two.maple", "--to-txn", &txn]).fine();
    assert_eq!(keys(&place, "two.maple"), "ab");
    let report = place.run(["restore", "1", "-o", "one.maple", "--json"]).fine().json();
    assert_eq!((&report["txn"], &report["entries"]), (&txns[0].into(), &1.into()));
    place.run(["restore", "1", "-o", "one.maple"]).fails(1, &["one.maple: exists already"]);
    let missing = place.run(["restore", "1", "2", "-o", "x.maple", "--to-txn", "99"]);
    missing.fails(1, &["no backup of txn 99", &format!("{:?}", &txns[..2])]);
}

#[test]
fn the_chain_is_listed_and_judged() {
    let (place, txns) = chain();
    let said = place.run(["restore", "1", "2", "3", "--dry-run"]).fine();
    let lines: Vec<&str> = said.text().lines().collect();
    assert!(
        lines[0].starts_with(&format!("txn {}, full, 20", txns[0])) && lines[0].ends_with("Z: 1"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with(&format!("txn {}, since txn {}, 20", txns[1], txns[0])), "{lines:?}");
    assert!(lines[3].starts_with("whole: ") && lines[3].ends_with(" pages in 3 backups"), "{lines:?}");
    let listed = place.run(["restore", "1", "2", "--dry-run", "--json"]).fine().json();
    assert_eq!((&listed["whole"], &listed["backups"][1]["since"]), (&true.into(), &txns[0].into()));
}

#[test]
fn what_is_no_chain_is_refused_and_named() {
    let (place, txns) = chain();
    let files = place.files();
    let gap = place.run(["restore", "1", "3", "-o", "x.maple"]);
    gap.fails(1, &["3: was made since txn", &format!("the backup of txn {} is missing", txns[1])]);
    place.run(["restore", "2", "-o", "x.maple"]).fails(1, &["2: has only what was changed behind txn"]);
    let order = place.run(["restore", "1", "3", "2", "-o", "x.maple"]);
    order.fails(1, &["3: was made since", "give 2 directly before it"]);
    place.run(["restore", "s.maple", "-o", "x.maple"]).fails(1, &["s.maple: is a store, and no backup"]);
    place.run(["restore", "nothing", "-o", "x.maple"]).fails(1, &["nothing: cannot read: No such file"]);
    let mut bytes = place.read("2");
    bytes[5000] ^= 1;
    place.write("damaged", &bytes);
    place.run(["restore", "1", "damaged", "-o", "x.maple"]).fails(1, &["damaged: is damaged: the checksum"]);
    place.write("cut", &bytes[..bytes.len() - 1000]);
    place.run(["restore", "1", "cut", "--dry-run"]).fails(1, &["cut: "]);
    place.run(["backup", "s.maple", "--since", "cut", "-o", "4"]).fails(1, &["cut: was cut"]);
    place.run(["backup", "s.maple", "-o", "s.maple"]).fails(1, &["is there and is no backup"]);
    place.run(["backup", "missing.maple", "-o", "4"]).fails(1, &["missing.maple: no such file"]);
    place.run(["put", "--create", "other.maple", "k", "v"]).fine();
    let other = place.run(["backup", "other.maple", "--since", "1", "-o", "4"]);
    other.fails(1, &["1: is of the store ", "begin with a full backup"]);
    let left: Vec<String> =
        place.files().into_iter().filter(|name| !["cut", "damaged"].contains(&&**name)).collect();
    assert!(left.iter().filter(|name| !name.starts_with("other")).eq(&files), "{left:?}");
}

#[test]
fn a_backup_goes_through_pipes() {
    let (place, _) = chain();
    let tool = env!("CARGO_BIN_EXE_mapleaf");
    let piped = format!("{tool} backup s.maple -o - | {tool} restore - -o piped.maple");
    let status =
        Command::new("sh").args(["-c", &piped]).current_dir(place.path("")).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
    assert_eq!(keys(&place, "piped.maple"), "abc");
    let more = place.run(["backup", "s.maple", "-o", "-", "--since", "2", "--throttle", "64K"]).fine();
    place.write("more", &more.out);
    place.run(["restore", "1", "2", "more", "-o", "more.maple"]).fine();
    assert_eq!(keys(&place, "more.maple"), "abc");
    // The first 128 bytes of a backup that was sent away.
    place.write("head", &place.read("3")[..128]);
    place.run(["put", "s.maple", "d", "x"]).fine();
    place.run(["backup", "s.maple", "--since", "head", "-o", "4"]).fine();
    place.run(["restore", "1", "2", "3", "4", "-o", "four.maple"]).fine();
    assert_eq!(keys(&place, "four.maple"), "abcd");
    let full = format!("{tool} backup s.maple -o - > /dev/full");
    let output = Command::new("sh").args(["-c", &full]).current_dir(place.path("")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("what was written is no backup"), "{said}");
}

#[test]
fn a_stored_snapshot_is_backed_up_by_its_name() {
    let (place, _) = chain();
    place.run(["snapshot", "create", "s.maple", "three"]).fine();
    place.run(["put", "s.maple", "d", "x"]).fine();
    let said =
        place.run(["backup", "s.maple", "--snapshot", "three", "--since", "3", "-o", "snapshot"]).fine();
    assert!(said.text().contains(" since txn ") && said.text().ends_with(" bytes\n"), "{}", said.text());
    place.run(["restore", "1", "2", "3", "snapshot", "-o", "three.maple"]).fine();
    assert_eq!(keys(&place, "three.maple"), "abc");
    let missing = place.run(["backup", "s.maple", "--snapshot", "four", "-o", "x"]);
    missing.fails(1, &["no snapshot \"four\""]);
}

#[test]
fn wrong_use_is_said() {
    let (place, _) = chain();
    place.run(["backup", "s.maple"]).fails(2, &["--output"]);
    place.run(["backup", "s.maple", "-o", "-", "--json"]).fails(2, &["--json"]);
    for throttle in ["0", "x", "5T", "-1", "99999999999G"] {
        place
            .run(["backup", "s.maple", "-o", "x", &format!("--throttle={throttle}")])
            .fails(2, &["expected a number"]);
    }
    place.run(["restore", "-o", "x.maple"]).fails(2, &["<BACKUP>"]);
    place.run(["restore", "1"]).fails(2, &["--output"]);
    place.run(["restore", "-", "-", "-o", "x.maple"]).fails(2, &["standard input"]);
}
