//! `mapleaf snapshot`, and reading at a stored snapshot.

mod common;

use common::Place;

/// A store with a pair that has changed since the snapshot "before".
fn store() -> Place {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "color", "green"]).fine();
    place.run(["snapshot", "create", "s.maple", "before"]).fine();
    place.run(["put", "s.maple", "color", "red"]).fine();
    place
}

#[test]
fn a_snapshot_is_read_until_it_is_dropped() {
    let place = store();
    let at_before = |command: &[&str]| {
        let run = place.run([command, &["--snapshot", "before"]].concat()).fine();
        run.text().to_owned()
    };
    assert_eq!(at_before(&["get", "s.maple", "color"]), "green\n");
    assert_eq!(at_before(&["scan", "s.maple"]), "color\tgreen\n");
    assert!(at_before(&["dump", "-p", "s.maple"]).contains(" color\n green\n"));
    assert!(at_before(&["tables", "s.maple"]).contains(" 1 entry "));
    assert_eq!(place.run(["get", "s.maple", "color"]).fine().text(), "red\n");
    place.run(["verify", "s.maple"]).fine();

    place.run(["snapshot", "drop", "s.maple", "before"]).fine();
    let gone = place.run(["get", "s.maple", "color", "--snapshot", "before"]);
    gone.fails(1, &["s.maple", "no snapshot \"before\"", "the store has none"]);
    assert_eq!(place.run(["snapshot", "list", "s.maple"]).fine().text(), "no snapshots\n");
}

#[test]
fn the_list_says_what_each_snapshot_costs() {
    let place = store();
    let listed = place.run(["snapshot", "list", "s.maple"]).fine();
    let lines: Vec<&str> = listed.text().lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["txn", "created", "tables", "retained", "alone", "name"]
    );
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((lines.len(), cells[2], cells[5]), (2, "1", "\"before\""));
    assert!(cells[1].starts_with("20") && cells[1].ends_with('Z'), "{cells:?}");

    let listed = place.run(["snapshot", "list", "--json", "s.maple"]).fine().json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["name"], &listed[0]["tables"]), (&"before".into(), &1.into()));
    // The leaf, the page of the catalog, and the space record of that state.
    assert_eq!((&listed[0]["pages_retained"], &listed[0]["pages_alone"]), (&3.into(), &3.into()));
    assert!(listed[0]["created"].as_u64().unwrap() > 1_700_000_000);
    place.run(["snapshot", "create", "s.maple", "after"]).fine();
    let listed = place.run(["snapshot", "list", "--json", "s.maple"]).fine().json();
    assert_eq!((&listed[0]["name"], &listed[0]["pages_retained"]), (&"after".into(), &0.into()));
}

#[test]
fn a_name_that_is_taken_or_missing_is_said() {
    let place = store();
    let taken = place.run(["snapshot", "create", "s.maple", "before"]);
    taken.fails(1, &["there is a snapshot \"before\" already"]);
    let missing = place.run(["snapshot", "drop", "s.maple", "monday"]);
    missing.fails(1, &["no snapshot \"monday\"", "[\"before\"]"]);
    place.run(["scan", "s.maple", "--snapshot", "x"]).fails(1, &["no snapshot \"x\"", "[\"before\"]"]);
    place.run(["snapshot", "drop", "missing.maple", "before"]).fails(1, &["missing.maple", "no such file"]);
    place.run(["snapshot", "create", "s.maple"]).fails(2, &["<NAME>"]);
    let long = "x".repeat(600);
    place.run(["snapshot", "create", "s.maple", &long]).fails(1, &["512"]);
}
