//! `mapleaf diff`.

mod common;

use common::{Place, screen::Screen};
use mapleaf::{Database, MultiTable, Table};
use serde_json::{Value, json};

/// A store with three tables, changed since the snapshot "one" and again since the snapshot "two".
fn store() -> Place {
    let place = Place::new();
    let run = |args: &[&str]| drop(place.run(args).fine());
    run(&["put", "--create", "s.maple", "-s", "colors", "sky", "blue"]);
    run(&["put", "s.maple", "-s", "colors", "grass", "green"]);
    run(&["put", "--create", "s.maple", "-s", "old", "a", "1"]);
    run(&["put", "--create", "s.maple", "-s", "same", "b", "2"]);
    run(&["snapshot", "create", "s.maple", "one"]);
    run(&["put", "s.maple", "-s", "colors", "sky", "grey"]);
    run(&["del", "s.maple", "-s", "colors", "grass"]);
    run(&["put", "--create", "s.maple", "-s", "new", "tab\tand\nline", "3"]);
    run(&["snapshot", "create", "s.maple", "two"]);
    run(&["put", "s.maple", "-s", "same", "c", "4"]);
    place
}

#[test]
fn what_was_changed_is_printed_with_signs() {
    let place = store();
    let text = |args: &[&str]| {
        place.run([&["diff", "s.maple", "--from", "one"][..], args].concat()).fine().text().to_owned()
    };
    assert_eq!(text(&["-s", "colors"]), "-\tgrass\tgreen\n-\tsky\tblue\n+\tsky\tgrey\n");
    assert_eq!(
        text(&["--to", "two"]),
        "-\t\"colors\"\tgrass\tgreen\n-\t\"colors\"\tsky\tblue\n+\t\"colors\"\tsky\tgrey\n\
         +\t\"new\"\ttab\\09and\\0aline\t3\n"
    );
    assert_eq!(text(&["-s", "same"]), "+\tc\t4\n");
    assert_eq!(text(&["-s", "same", "--to", "two"]), "");
    assert_eq!(text(&["-s", "same", "--hex"]), "+\t63\t34\n");
    assert_eq!(text(&["--tables"]), "~\t\"colors\"\n+\t\"new\"\n~\t\"same\"\n");
    let back = place.run(["diff", "s.maple", "--from", "two", "--to", "one", "--tables"]).fine();
    assert_eq!(back.text(), "~\t\"colors\"\n-\t\"new\"\n");
}

#[test]
fn the_same_as_json_is_an_object_a_line() {
    let place = store();
    let lines = |args: &[&str]| -> Vec<Value> {
        let run = place.run([&["diff", "s.maple", "--json", "--from", "one"][..], args].concat()).fine();
        run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let colors = lines(&["-s", "colors"]);
    assert_eq!(
        colors,
        [
            json!({ "table": "colors", "change": "deleted", "key": "grass", "value": "green" }),
            json!({ "table": "colors", "change": "changed", "key": "sky", "old": "blue", "new": "grey" }),
        ]
    );
    assert_eq!(
        lines(&["-s", "same"]),
        [json!({ "table": "same", "change": "inserted", "key": "c", "value": "4" })]
    );
    let tables = lines(&["--tables"]);
    assert_eq!(tables[1], json!({ "table": "new", "change": "created" }));
}

#[test]
fn what_is_not_there_is_named() {
    let place = store();
    place.run(["diff", "s.maple", "--from", "three"]).fails(1, &["no snapshot \"three\"", "one"]);
    place.run(["diff", "s.maple", "--from", "one", "--to", "three"]).fails(1, &["no snapshot \"three\""]);
    let said = ["no table \"color\"", "\"colors\", \"new\", \"old\", \"same\""];
    place.run(["diff", "s.maple", "--from", "one", "-s", "color"]).fails(1, &said);
    place.run(["diff", "s.maple"]).fails(2, &["--from"]);
    place.run(["diff", "s.maple", "--from", "one", "--tables", "-s", "same"]).fails(2, &["--tables"]);
}

#[test]
fn tables_of_other_types_and_multimaps_are_compared_too() {
    const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    let place = Place::new();
    // SAFETY: only mapleaf changes this file while it is open.
    #[allow(unsafe_code)]
    let db = unsafe { Database::open(place.path("s.maple")) }.unwrap();
    db.write(|w| {
        w.put(Table::<str, u64>::new("kinds"), "one", &1)?;
        (1..3).try_for_each(|id| w.put_value(TAGS, "a", &id).map(drop))?;
        w.create_snapshot("before")
    })
    .unwrap();
    db.write(|w| {
        w.drop_table("kinds")?;
        w.put_value(MultiTable::<u64, str>::new("kinds"), &1, "one")?;
        w.put_value(MultiTable::<u64, str>::new("kinds"), &1, "two")?;
        w.delete_value(TAGS, "a", &1)?;
        w.put_value(TAGS, "c", &1)
    })
    .unwrap();
    db.close().unwrap();
    let text = |args: &[&str]| {
        place.run([&["diff", "s.maple", "--from", "before"][..], args].concat()).fine().text().to_owned()
    };
    assert_eq!(text(&["-s", "tags"]), "-\ta\t1\n+\tc\t1\n");
    assert_eq!(text(&["-s", "kinds"]), "-\tone\t1\n+\t1\tone\n+\t1\ttwo\n");
}

/// Signs have colours on a terminal, unless NO_COLOR is set.
#[test]
fn signs_have_colours_on_a_terminal_only() {
    let place = Place::new();
    place.run(["put", "--create", "a.maple", "k", "1"]).fine();
    place.run(["snapshot", "create", "a.maple", "before"]).fine();
    place.run(["put", "a.maple", "k", "2"]).fine();
    let shown = |environment: &[(&str, &str)]| {
        let screen = Screen::open(&place, &["diff", "a.maple", "--from", "before"], environment);
        let shown = screen.rest();
        assert_eq!(screen.end(), Some(0));
        shown
    };
    assert_eq!(shown(&[]), "\x1b[31m-\x1b[0m\t\"\"\tk\t1\r\n\x1b[32m+\x1b[0m\t\"\"\tk\t2\r\n");
    for quiet in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(shown(&[quiet]), "-\t\"\"\tk\t1\r\n+\t\"\"\tk\t2\r\n");
    }
    let screen = Screen::open(&place, &["diff", "a.maple", "--from", "never"], &[]);
    assert!(screen.rest().starts_with("\x1b[1m\x1b[31mmapleaf:\x1b[0m a.maple: "));
}
