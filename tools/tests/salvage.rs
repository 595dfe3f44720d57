//! `verify` and `salvage` on damaged stores: what they name, what comes out, and how they end.

mod common;

use common::Place;
use mapleaf::{Database, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, str> = Table::new("words");
const PAGE: usize = 4096;

fn store() -> Place {
    let place = Place::new();
    // SAFETY: only mapleaf changes this file while it is open.
    #[allow(unsafe_code)]
    let db = unsafe { Database::open(place.path("t.maple")) }.unwrap();
    let fill = |txn: &mut mapleaf::WriteTxn| {
        (0..5000).try_for_each(|i| txn.put(NUMBERS, &i, &(i * i)).map(drop))?;
        (0..500).try_for_each(|i| txn.put(WORDS, &format!("word {i:03}"), &"x".repeat(100)).map(drop))?;
        Ok(())
    };
    db.write(fill).unwrap();
    db.close().unwrap();
    place
}

/// A page of this kind and level; one that is in use.
fn page_of(place: &Place, kind: &str) -> usize {
    let found = (2..place.read("t.maple").len() / PAGE)
        .find(|page| place.run(["page", "t.maple", &page.to_string()]).text().contains(kind));
    found.expect("there is one")
}

fn damage(place: &Place, page: usize) {
    let mut file = place.read("t.maple");
    file[page * PAGE + 1000] ^= 1;
    place.write("d.maple", &file);
}

#[test]
fn verify_names_the_page_and_the_keys_behind_it_in_the_table_s_own_types() {
    let place = store();
    let leaf = page_of(&place, "fixed-width leaf");
    damage(&place, leaf);
    let run = place.run(["verify", "d.maple"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let line =
        run.text().lines().find(|line| line.starts_with(&format!("page {leaf}: "))).unwrap().to_owned();
    assert!(line.contains("table \"numbers\": its checksum is"), "{line}");
    let lost: Vec<u64> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [entries, rest @ ..] = &lost[lost.len() - 3..] else { unreachable!() };
    assert!(line.contains("entries behind it: the keys "), "{line}");
    assert!(rest[1] - rest[0] == *entries || line.contains("before") || line.contains(" on)"), "{line}");
    assert!(run.err.contains("mapleaf salvage"), "{run:?}");
    let problem = &place.run(["verify", "d.maple", "--json"]).json()["problems"][0].clone();
    assert_eq!((&problem["page"], &problem["table"]), (&leaf.into(), &"numbers".into()), "{problem}");
    assert!(problem["behind"]["entries"].as_u64().unwrap() > 0, "{problem}");
}

#[test]
fn a_store_without_meta_slots_is_judged_page_by_page_and_salvaged_whole() {
    let place = store();
    let before = place.run(["dump", "-a", "t.maple"]).fine().out;
    let mut file = place.read("t.maple");
    file[..2 * PAGE].fill(0);
    place.write("d.maple", &file);
    let run = place.run(["verify", "d.maple"]);
    run.fails(1, &["not a mapleaf store", "mapleaf salvage"]);
    let run = place.run(["salvage", "d.maple", "--output", "new.maple"]);
    assert_eq!(run.code, Some(1), "the last checkpoint is not known: {run:?}");
    assert!(run.text().contains("table \"numbers\": 5,000 of 5,000 entries"), "{}", run.text());
    assert!(run.text().contains("table \"words\": 500 of 500 entries"), "{}", run.text());
    let judgement =
        "\nrescued 5,500 of 5,500 entries; whether that is the last that was committed is not certain\n";
    assert!(run.text().ends_with(judgement), "{}", run.text());
    place.run(["verify", "new.maple"]).fine();
    assert_eq!(place.run(["dump", "-a", "new.maple"]).fine().out, before);
    assert_eq!(place.read("d.maple"), file, "the damaged file is only read");
}

#[test]
fn salvage_says_which_keys_are_lost() {
    let place = store();
    let leaf = page_of(&place, "fixed-width leaf");
    damage(&place, leaf);
    let run = place.run(["salvage", "d.maple", "-o", "new.maple", "--json"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let report = run.json();
    assert_eq!(report["complete"], false);
    let tables = report["tables"].as_array().unwrap();
    let [numbers, words] = &tables[..] else { panic!("{report}") };
    assert_eq!((&words["entries"], &words["lost"]), (&500.into(), &serde_json::json!([])));
    let lost = &numbers["lost"][0];
    assert_eq!(lost["page"], leaf);
    let kept = numbers["entries"].as_u64().unwrap();
    assert_eq!(kept + lost["entries"].as_u64().unwrap(), 5000, "{report}");
    let told = place.run(["salvage", "d.maple", "--dry-run"]);
    let judgement = told.text().lines().last().unwrap().replace(',', "");
    assert_eq!(judgement, format!("rescued {} of 5500 entries; 1 of 2 tables is not whole", kept + 500));
    let count = place.run(["scan", "new.maple", "-s", "numbers"]).fine().text().lines().count();
    assert_eq!(count as u64, kept);
}

#[test]
fn salvage_of_a_whole_store_is_complete_and_a_second_one_does_not_overwrite_it() {
    let place = store();
    let run = place.run(["salvage", "t.maple", "-o", "new.maple"]).fine();
    assert!(run.text().ends_with("complete: 2 tables, 5,500 entries\n"), "{}", run.text());
    place.run(["salvage", "t.maple", "-o", "new.maple"]).fails(1, &["new.maple: exists already"]);
    place.run(["salvage", "t.maple"]).fails(2, &["--output"]);
    place.run(["salvage", "t.maple", "--dry-run"]).fine();
    place.write("noise", [0x5a; 50_000]);
    place.run(["salvage", "noise", "--dry-run"]).fails(1, &["nothing to recover"]);
    place.run(["salvage", "missing", "--dry-run"]).fails(1, &["missing: no such file"]);
}
