//! `mapleaf map` and `mapleaf tree`: as text, as JSON, as pictures, and of what is no store or damaged.

mod common;

use common::Place;
use mapleaf::{Database, MultiTable, Table};
use std::path::Path;
use std::process::Stdio;

const EVENTS: Table<u64, [u8]> = Table::new("events");
const USERS: Table<str, str> = Table::new("users");
const PHOTOS: Table<u64, [u8]> = Table::new("photos");
const TAGS: MultiTable<str, u64> = MultiTable::new("tags");

#[allow(unsafe_code)]
fn open(path: &Path) -> Database {
    // SAFETY: the file is the test's own.
    unsafe { Database::open(path).unwrap() }
}

/// Tables of every form, with deletions, a stored snapshot, and txns of different ages. About `scale` MB.
fn fill(path: &Path, scale: u64) {
    let db = open(path);
    let mixed = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let events = |w: &mut mapleaf::WriteTxn, from: u64, to: u64| {
        (from..to).try_for_each(|i| w.put(EVENTS, &i, &[7; 120]).map(drop))
    };
    db.write(|w| events(w, 0, 2000 * scale)).unwrap();
    db.write(|w| {
        (0..1500 * scale)
            .try_for_each(|i| w.put(USERS, &format!("user {:012}", mixed(i)), "somebody").map(drop))
    })
    .unwrap();
    db.write(|w| (0..4 * scale).try_for_each(|i| w.put(PHOTOS, &i, &vec![i as u8; 70_000]).map(drop)))
        .unwrap();
    db.write(|w| {
        w.create_snapshot("before")?;
        (0..2000 * scale).try_for_each(|i| {
            let tag =
                if i % 3 == 0 { "common".to_owned() } else { format!("tag {}", mixed(i) % (20 * scale)) };
            w.put_value(TAGS, &tag[..], &i).map(drop)
        })
    })
    .unwrap();
    db.write(|w| (1..4 * scale).step_by(3).try_for_each(|i| w.delete(PHOTOS, &i).map(drop))).unwrap();
    for round in 0..12 {
        db.write(|w| {
            (0..40 * scale).filter(|i| i % 5 == round % 5).try_for_each(|i| {
                w.put(USERS, &format!("user {:012}", mixed(i * 31)), "somebody else").map(drop)
            })
        })
        .unwrap();
    }
    db.write(|w| events(w, 2000 * scale, 2050 * scale)).unwrap();
    db.close().unwrap();
}

fn store() -> Place {
    let place = Place::new();
    fill(&place.path("s.maple"), 1);
    place
}

#[test]
fn the_map_counts_what_stat_counts() {
    let place = store();
    let stat = place.run(["stat", "--json", "s.maple"]).fine().json();
    for args in [&["--by", "kind"][..], &["--by", "kind", "--leaves"]] {
        let map = place.run([&["map", "--json", "s.maple"][..], args].concat()).fine().json();
        let pages = |name: &str| {
            let legend = map["legend"].as_array().unwrap().iter();
            legend
                .filter(|line| line["name"] == name)
                .map(|line| line["pages"].as_u64().unwrap())
                .sum::<u64>()
        };
        assert_eq!(stat["free_pages"], pages("free"));
        assert_eq!(stat["pending_pages"], pages("pending") + pages("kept by stored snapshots"));
        assert_eq!(stat["snapshots"][0]["pages_retained"], pages("kept by stored snapshots"));
        assert_eq!(stat["log_pages"], pages("redo log"));
        assert_eq!(stat["space_pages"], pages("space record"));
        assert_eq!(stat["catalog_pages"], pages("catalog"));
        let (mut all, mut of_tables) = (0, 0);
        for line in map["legend"].as_array().unwrap() {
            let pages = line["pages"].as_u64().unwrap();
            assert_eq!(line["bytes"].as_u64().unwrap(), pages * 4096);
            all += pages;
        }
        for name in ["branch", "leaf", "large value", "values of a key", "large values, values of a key"] {
            of_tables += pages(name);
        }
        assert_eq!(stat["page_count"], all);
        let tables = stat["tables"].as_array().unwrap().iter();
        assert_eq!(of_tables, tables.map(|table| table["pages"].as_u64().unwrap()).sum::<u64>());
        let cells = map["cells"].as_array().unwrap();
        assert_eq!(cells.len() as u64 * map["pages_per_cell"].as_u64().unwrap(), all);
        // Of several tables with large values or sets, only leaves say whose they are.
        assert_eq!(pages("large value") > 0, args.len() == 3);
    }
}

#[test]
fn by_table_every_table_has_its_pages() {
    let place = store();
    let stat = place.run(["stat", "--json", "s.maple"]).fine().json();
    let map = place.run(["map", "--json", "--by", "table", "--leaves", "s.maple"]).fine().json();
    for table in stat["tables"].as_array().unwrap() {
        let name = format!("{:?}", table["name"].as_str().unwrap());
        let mut legend = map["legend"].as_array().unwrap().iter();
        let line = legend.find(|line| line["name"] == name.as_str()).expect("a line for each table");
        assert_eq!(line["pages"], table["pages"], "{name}");
    }
}

#[test]
fn pictures_are_written_as_their_names_say() {
    let place = store();
    place.run(["map", "s.maple", "-o", "map.svg"]).fine();
    let svg = String::from_utf8(place.read("map.svg")).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("s.maple, txn 19"),
        "{svg}"
    );
    place.run(["map", "s.maple", "--by", "fill", "-o", "map.PNG"]).fine();
    assert!(place.read("map.PNG").starts_with(b"\x89PNG\r\n\x1a\n"));
    place.run(["map", "s.maple", "-o", "map.gif"]).fails(2, &["map.gif", ".svg or .png"]);
    place.run(["map", "s.maple", "-o", "nowhere/map.svg"]).fails(1, &["nowhere/map.svg", "cannot write"]);
    let written = place.run(["map", "s.maple", "--json", "-o", "map.svg"]).fine().json();
    assert_eq!(written, serde_json::json!({ "written": ["map.svg"], "bytes": place.read("map.svg").len() }));
    assert!(!place.path("map.gif").exists());
}

#[test]
fn what_is_no_store_is_an_error() {
    let place = Place::new();
    place.write("text", "not a store".repeat(999));
    for command in ["map", "tree"] {
        place.run([command, "missing.maple"]).fails(1, &["missing.maple: no such file"]);
        place.run([command, "text"]).fails(1, &["text: not a mapleaf store"]);
    }
}

/// The text with `page N` for every page, for where a page is does not matter here.
fn without_pages(text: &str) -> String {
    let mut parts = text.split("page ");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push_str("page N");
        plain.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    plain
}

#[test]
fn a_tree_as_text() {
    let place = store();
    let tags = place.run(["tree", "s.maple", "-s", "tags"]).fine();
    let wanted = "\
s.maple, table \"tags\", txn 19: 2,000 values on 2 levels

page N  level 1, txn 5, 3 % full, 4 children, 2,000 entries; all keys
├─ page N  leaf, txn 5, 55 % full, 5 keys, 931 entries, 1 apart; below tag 12
├─ page N  leaf, txn 5, 96 % full, 7 keys, 471 entries; from tag 12 to tag 19
├─ page N  leaf, txn 5, 68 % full, 5 keys, 331 entries; from tag 19 to tag 6
└─ page N  leaf, txn 5, 55 % full, 4 keys, 267 entries; from tag 6
";
    assert_eq!(without_pages(tags.text()), wanted);
    let document = without_pages(include_str!("../../docs/looking-inside.md"));
    assert!(document.contains(wanted), "the document shows the same");
    let users = place.run(["tree", "s.maple", "-s", "users", "--children", "2"]).fine();
    let lines: Vec<&str> = users.text().lines().collect();
    assert_eq!((lines.len(), lines[4]), (6, "┊  15 more"), "{lines:#?}");
}

#[test]
fn a_tree_as_json_has_all_that_stat_counts() {
    let place = store();
    let stat = place.run(["stat", "--json", "s.maple"]).fine().json();
    for table in stat["tables"].as_array().unwrap() {
        let name = table["name"].as_str().unwrap();
        let tree = place.run(["tree", "--json", "s.maple", "-s", name, "--children", "999"]).fine().json();
        assert_eq!((&tree["table"], &tree["entries"]), (&table["name"], &tree["root"]["entries"]));
        let mut levels = vec![(0, 0, 0); tree["levels"].as_u64().unwrap() as usize];
        fn count(page: &serde_json::Value, levels: &mut Vec<(u64, u64, u64)>) {
            let number = |field: &str| page[field].as_u64().unwrap();
            let level = &mut levels[number("level") as usize];
            *level = (level.0 + 1, level.1 + number("items"), level.2 + number("used_bytes"));
            page["children"].as_array().unwrap().iter().for_each(|child| count(child, levels));
        }
        count(&tree["root"], &mut levels);
        for (counted, stat) in levels.iter().zip(table["level_stats"].as_array().unwrap()) {
            let number = |field: &str| stat[field].as_u64().unwrap();
            assert_eq!(*counted, (number("pages"), number("entries"), number("used_bytes")), "{name}");
        }
    }
}

#[test]
fn a_tree_as_a_picture_and_of_what_is_not_there() {
    let place = store();
    place.run(["tree", "s.maple", "-s", "users", "-o", "users.svg"]).fine();
    let svg = String::from_utf8(place.read("users.svg")).unwrap();
    assert!(svg.contains("1,500 entries on 2 levels") && svg.contains(">leaves</text>"), "{svg}");
    place.run(["tree", "s.maple", "-s", "users", "-o", "users.png"]).fine();
    assert!(place.read("users.png").starts_with(b"\x89PNG"));
    place.run(["tree", "s.maple", "-s", "users", "-o", "users"]).fails(2, &[".svg or .png"]);
    place.run(["tree", "s.maple", "-s", "nobody"]).fails(1, &["no table \"nobody\"", "\"users\""]);
    place.run(["tree", "s.maple"]).fails(1, &["which table? give -s TABLE"]);
    let before = place.run(["tree", "s.maple", "-s", "photos", "--snapshot", "before"]).fine();
    assert!(before.text().contains(": 4 entries on 1 level\n"), "{}", before.text());
}

#[test]
fn a_closed_or_full_output() {
    let place = store();
    for args in [&["map", "s.maple"][..], &["map", "--json", "s.maple"], &["tree", "s.maple", "-s", "users"]]
    {
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{args:?}");
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { continue };
        let output = place.command(env!("CARGO_BIN_EXE_mapleaf")).args(args).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("standard output: cannot write"), "{said}");
    }
}

/// Only a terminal gets colours, unless they are asked for; NO_COLOR is heeded there.
#[test]
fn colours_are_for_terminals() {
    let place = store();
    let has_colours = |args: &[&str]| place.run(args).fine().text().contains("\x1b[");
    assert!(!has_colours(&["map", "s.maple"]));
    assert!(has_colours(&["map", "s.maple", "--color", "always"]));
    assert!(!has_colours(&["map", "s.maple", "--color", "never"]));
}

#[test]
fn a_store_whose_log_waits_is_drawn_with_it_or_without() {
    let place = store();
    let db = open(&place.path("s.maple"));
    db.write(|w| w.put(USERS, "somebody new", "who was not there").map(drop)).unwrap();
    // As a dead process leaves it.
    std::fs::copy(place.path("s.maple"), place.path("dead.maple")).unwrap();
    drop(db);
    let drawn = |args: &[&str]| {
        place.run([&["tree", "dead.maple", "-s", "users"], args].concat()).fine().text().to_owned()
    };
    let (without, with) = (drawn(&["--ignore-log"]), drawn(&[]));
    assert!(with != without && with == drawn(&["--ignore-log"]), "{without}{with}");
}

#[test]
fn damage_is_in_the_tree() {
    let place = store();
    let root = open(&place.path("s.maple")).begin_read().unwrap().root_page("users").unwrap().unwrap();
    let mut bytes = place.read("s.maple");
    bytes[root.page as usize * 4096 + 100] ^= 1;
    place.write("s.maple", bytes);
    let run = place.run(["tree", "s.maple", "-s", "users"]);
    let run = run.fails(1, &[&format!("damaged: page {}", root.page), "mapleaf verify"]);
    assert!(run.text().contains("level 1, damaged: its checksum is "), "{}", run.text());
}

#[test]
fn damage_is_on_the_map() {
    let place = store();
    let root = |table: &str| {
        let r = open(&place.path("s.maple")).begin_read().unwrap();
        r.root_page(table).unwrap().unwrap()
    };
    let (events, users) = (root("events").page, root("users").page);
    let mut bytes = place.read("s.maple");
    for page in [events, users] {
        bytes[page as usize * 4096 + 100] ^= 1;
    }
    place.write("s.maple", bytes);
    let run = place.run(["map", "--json", "s.maple"]).fails(1, &["2 pages are damaged", "mapleaf verify"]);
    let map: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
    let legend = map["legend"].as_array().unwrap();
    assert!(legend.iter().any(|line| line["name"] == "damaged" && line["pages"] == 2));
    let sum: u64 = legend.iter().map(|line| line["pages"].as_u64().unwrap()).sum();
    assert_eq!(map["page_count"], sum);
}

#[test]
fn a_damaged_catalog_leaves_the_rest_of_the_map() {
    let place = store();
    let map = place.run(["map", "--json", "s.maple"]).fine().json();
    let catalog =
        map["legend"].as_array().unwrap().iter().position(|line| line["name"] == "catalog").unwrap();
    let is_catalog = |cell: &serde_json::Value| cell[0][0] == catalog;
    let page = map["cells"].as_array().unwrap().iter().position(is_catalog).unwrap();
    assert_eq!(map["pages_per_cell"], 1);
    let mut bytes = place.read("s.maple");
    bytes[page * 4096 + 100] ^= 1;
    place.write("s.maple", bytes);
    for by in ["kind", "table", "fill", "age"] {
        let run = place.run(["map", "s.maple", "--by", by]).fails(1, &["1 page is damaged"]);
        assert!(run.text().contains("\nX damaged "), "{}", run.text());
        assert!(run.text().contains("\nU behind damage, or large values "), "{}", run.text());
        assert!(run.text().contains("\nK kept by stored snapshots "), "{}", run.text());
    }
}

#[test]
#[ignore = "draws pictures to look at, into target/pictures"]
fn pictures_to_look_at() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
    std::fs::create_dir_all(&directory).unwrap();
    for scale in [1, 100] {
        let place = Place::new();
        fill(&place.path("s.maple"), scale);
        for by in ["kind", "table", "fill", "age"] {
            let picture = directory.join(format!("{by}-{scale}.png"));
            place.run(["map", "s.maple", "--by", by, "-o", picture.to_str().unwrap()]).fine();
        }
        for table in ["events", "users", "photos", "tags"] {
            let picture = directory.join(format!("tree-{table}-{scale}.png"));
            place.run(["tree", "s.maple", "-s", table, "-o", picture.to_str().unwrap()]).fine();
            let text = place.run(["tree", "s.maple", "-s", table]).fine();
            std::fs::write(directory.join(format!("tree-{table}-{scale}.txt")), text.text()).unwrap();
        }
        let text = place.run(["map", "s.maple"]).fine();
        std::fs::write(directory.join(format!("map-{scale}.txt")), text.text()).unwrap();
    }
}

#[test]
#[ignore = "draws the pictures of docs/looking-inside.md anew, into target/pictures"]
fn pictures_of_the_documents() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
    std::fs::create_dir_all(&directory).unwrap();
    let place = Place::new();
    fill(&place.path("app.maple"), 12);
    let to = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    place.run(["map", "app.maple", "--leaves", "-o", &to("map.svg")]).fine();
    place.run(["map", "app.maple", "--leaves", "-o", &to("map.png")]).fine();
    place.run(["map", "app.maple", "--by", "fill", "-o", &to("map-fill.png")]).fine();
    place.run(["tree", "app.maple", "-s", "users", "-o", &to("tree.svg")]).fine();
    place.run(["tree", "app.maple", "-s", "users", "-o", &to("tree.png")]).fine();
    let tree = place.run(["tree", "app.maple", "-s", "users", "--children", "3"]).fine();
    let map = place.run(["map", "app.maple", "--leaves", "--width", "64"]).fine();
    std::fs::write(to("texts.txt"), format!("{}\n{}", tree.text(), map.text())).unwrap();
}
