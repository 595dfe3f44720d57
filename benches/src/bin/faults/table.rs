//! The tables of `docs/reliability.md`: everything is run, and what was counted is printed as Markdown.

use crate::engine::damages::Class;
use crate::mutations::{self, Tallies, Tally, kind_of};
use crate::own_tests::{self, Results, Said};
use crate::rows::{ROWS, Row};
use crate::{Settings, full_disk, kills};
use std::collections::{BTreeMap, BTreeSet};

/// What a run did not count.
const UNKNOWN: &str = "…";

/// Runs everything, with so many damages of mapleaf's files in each mode, of each peer's, and so many kills; of what
/// is 0, nothing is run and the cells are left open. Prints the tables; whether mapleaf did nothing wrong.
pub fn run(settings: &Settings, damages: u64, peers: u64, rounds: u64) -> bool {
    let tallies = mutations::run(settings, damages, peers);
    let kills = (rounds > 0).then(|| kills::run(settings, rounds));
    let disks = if rounds > 0 { full_disk::run(settings) } else { None };
    let results = if rounds > 0 { own_tests::run(&[]) } else { Results::default() };
    println!("\n## Faults\n");
    faults(&results, &tallies);
    println!("\n## The same damage, beside LMDB and redb\n");
    beside(&tallies);
    let mut is_sound = tallies.is_sound() && results.0.values().all(|said| said.is_ok != Some(false));
    if let Some(disks) = disks {
        println!("\n## A full disk");
        is_sound &= disks.print();
    }
    if let Some(kills) = kills {
        println!("\n## Killed writers");
        is_sound &= kills.print();
    }
    is_sound
}

fn faults(results: &Results, tallies: &Tallies) {
    println!("| | fault | owed | tests | what they would miss | cases | failures |");
    println!("|---|---|---|---|---|---:|---:|");
    for row in ROWS {
        let found = results.of(row.ids, row.tests);
        let mut names: Vec<String> = row.tests.iter().map(|name| format!("`{name}`")).collect();
        names.extend(row.others(&found));
        let campaign = campaign_of(row, tallies);
        if campaign.is_some() {
            names.push("`faults mutations`".into());
        }
        let failed = found.iter().filter(|(_, said)| said.is_ok == Some(false)).count() as u64;
        let cases: u64 = found.iter().map(|(_, said)| said.cases.max(1)).sum();
        let (more, wrong) = campaign.unwrap_or((0, 0));
        let (cases, failures) = match cases + more {
            0 => (UNKNOWN.to_owned(), UNKNOWN.to_owned()),
            cases => (cases.to_string(), (failed + wrong).to_string()),
        };
        println!(
            "| {} | {} | {} | {} | {} | {cases} | {failures} |",
            row.ids.join(", "),
            row.fault,
            row.owed,
            names.join(", "),
            row.guard
        );
    }
}

impl Row {
    fn covers(&self, name: &str) -> bool {
        self.tests.iter().any(|pattern| name.starts_with(pattern.trim_end_matches('*')))
    }

    /// Tests that say that they tried this and that the row does not name, by the file that they stand in.
    fn others(&self, found: &[(&String, &Said)]) -> Vec<String> {
        let mut files = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (name, said) in found {
            let test = name.split(',').next().expect("a part");
            if !said.classes.is_empty() && !self.covers(test) {
                files.entry(test.rsplit_once("::").map_or(test, |(file, _)| file)).or_default().insert(test);
            }
        }
        files.iter().map(|(file, tests)| format!("{} of `{file}`", tests.len())).collect()
    }
}

/// Damages of the campaign that belong to a row, and how many went wrong. `None`: there are none of its kind.
fn campaign_of(row: &Row, tallies: &Tallies) -> Option<(u64, u64)> {
    let of = |name: &str| tallies.0.iter().find(|tally| tally.subject.name() == name);
    let count = |tally: Option<&Tally>, class: Option<Class>| {
        let count = |outcome| tally.map_or(0, |tally| tally.count(class, outcome));
        (count(None), count(Some("failed")))
    };
    let add = |(a, b): (u64, u64), (c, d): (u64, u64)| (a + c, b + d);
    match row.ids[0] {
        "F13" => Some(add(count(of("rot"), None), count(of("unverified"), None))),
        "F14" => Some(add(count(of("rot"), Some(Class::Meta)), count(of("rot"), Some(Class::StaleMeta)))),
        "F28" => Some(count(of("crafted"), None)),
        _ => None,
    }
}

/// One line a store, then one a class.
fn beside(tallies: &Tallies) {
    println!("| store | damages | right | errors | an older txn | wrong | panic | died | hang |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let shown: Vec<&Tally> =
        tallies.0.iter().filter(|it| !it.subject.is_mapleaf() || it.subject.name() == "rot").collect();
    for tally in &shown {
        let sum = |names: &[&str]| names.iter().map(|name| tally.count(None, Some(name))).sum::<u64>();
        let failed = |kind: &str| match tally.subject.is_mapleaf() {
            true => tally.failures.iter().filter(|detail| kind_of(detail) == kind).count() as u64,
            false => sum(&[kind]),
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            name(tally),
            tally.count(None, None),
            sum(&["right"]),
            sum(&["partly", "refused"]),
            sum(&["older-reported", "older-stale-slot", "older-log-end", "blank"]),
            failed("wrong"),
            failed("panic"),
            failed("died"),
            failed("hang")
        );
    }
    if shown.is_empty() {
        for store in ["mapleaf", "LMDB", "redb"] {
            println!("| {store} |{}", format!(" {UNKNOWN} |").repeat(8));
        }
        return;
    }
    println!("\nWrong, panic, died and hang together, by what was damaged:\n");
    println!("| damage | {} |", shown.iter().map(|it| name(it)).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---:|".repeat(shown.len()));
    for class in Class::ALL {
        let bad = |tally: &Tally| {
            let kinds = ["failed", "wrong", "panic", "died", "hang"];
            let bad: u64 = kinds.iter().map(|kind| tally.count(Some(class), Some(kind))).sum();
            match tally.count(Some(class), None) {
                0 => "–".to_owned(),
                cases => format!("{bad} of {cases}"),
            }
        };
        let cells: Vec<String> = shown.iter().map(|tally| bad(tally)).collect();
        println!("| {} | {} |", class.name(), cells.join(" | "));
    }
    checked(&shown);
}

/// What redb's own check says where reading gave wrong answers.
fn checked(shown: &[&Tally]) {
    let details = || shown.iter().filter(|it| !it.subject.is_mapleaf()).flat_map(|it| &it.failures);
    let says = |what: &str| details().filter(|detail| detail.ends_with(what)).count();
    let asked = details().filter(|detail| detail.contains("check_integrity: ")).count();
    if asked > 0 {
        println!(
            "\nOf the {asked} damages with wrong answers from redb, its `check_integrity` found {}, repaired {}, called {} \
             clean; {} it did not open.",
            says("noticed"),
            says("repaired"),
            says("clean"),
            says("not opened")
        );
    }
}

fn name(tally: &Tally) -> &'static str {
    match tally.subject.name() {
        "rot" => "mapleaf",
        "lmdb" => "LMDB",
        other => other,
    }
}
