//! `mapleaf map` and `mapleaf tree`: as text, as JSON, as pictures, and of what is no store or damaged.

mod common;

use common::Place;
use mapleaf::{Database, MultiTable, Table};
use std::path::Path;

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
    }
}
