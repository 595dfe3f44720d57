//! `mapleaf compact`, `mapleaf trim` and `mapleaf copy --compact`.

#![allow(unsafe_code)]

mod common;

use common::Place;
use mapleaf::{Database, Table};
use std::path::Path;

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

fn open(path: &Path) -> Database {
    // SAFETY: the file is the test's own.
    unsafe { Database::open(path) }.unwrap()
}

/// A store of which one part in twenty is left, at its end.
fn store() -> Place {
    let place = Place::new();
    let db = open(&place.path("s.maple"));
    db.write(|w| (0..2000).try_for_each(|key| w.put(BLOBS, &key, &[key as u8; 1000]).map(drop))).unwrap();
    db.write(|w| w.delete_range(BLOBS, ..1900)).unwrap();
    place
}

fn len(place: &Place, name: &str) -> u64 {
    std::fs::metadata(place.path(name)).unwrap().len()
}

#[test]
fn a_store_becomes_as_short_as_what_is_in_it() {
    let place = store();
    let dump = place.run(["dump", "-a", "s.maple"]).fine().out;
    let before = len(&place, "s.maple");
    let said = place.run(["compact", "--step", "10", "--json", "s.maple"]).fine().json();
    let after = len(&place, "s.maple");
    assert!(after < before / 4, "{before} {after} {said}");
    assert_eq!(
        (said["freed_bytes"].as_u64(), said["file_bytes"].as_u64()),
        (Some(before - after), Some(after))
    );
    assert!(said["moved_pages"].as_u64() > Some(20) && said["steps"].as_u64() > Some(3), "{said}");
    assert!(said["held_by"].is_null());
    assert_eq!(place.run(["dump", "-a", "s.maple"]).fine().out, dump);
    place.run(["verify", "s.maple"]).fine();
    let again = place.run(["compact", "s.maple"]).fine();
    let nothing = format!("0 pages moved in 0 commits; 0 bytes shorter; {after} bytes now\n");
    assert_eq!(again.text().replace(", ", "; ").replace(',', ""), nothing);
}

#[test]
fn a_store_that_is_open_elsewhere_is_compacted_and_what_holds_it_is_said() {
    let place = store();
    let db = open(&place.path("s.maple"));
    let held = db.begin_read().unwrap();
    db.write(|w| w.delete_range(BLOBS, ..1990)).unwrap();
    let said = place.run(["compact", "s.maple"]);
    assert!(said.code == Some(0) && said.err.contains(&format!("txn {}", held.txn_id())), "{said:?}");
    assert_eq!(held.len(BLOBS).unwrap(), 100);
    drop(held);
    let before = len(&place, "s.maple");
    place.run(["compact", "s.maple"]).fine();
    assert!(len(&place, "s.maple") < before / 4);
    assert_eq!(db.begin_read().unwrap().get(BLOBS, &1995).unwrap(), Some(&[1995u64 as u8; 1000][..]));
}

#[test]
fn a_copy_is_a_store_of_its_own_with_full_pages() {
    let place = store();
    place.run(["snapshot", "create", "s.maple", "now"]).fine();
    open(&place.path("s.maple")).write(|w| w.delete(BLOBS, &1950)).unwrap();
    let said = place.run(["copy", "--compact", "--json", "s.maple", "new.maple"]).fine().json();
    assert_eq!(
        (said["entries"].as_u64(), said["file_bytes"].as_u64()),
        (Some(99), Some(len(&place, "new.maple")))
    );
    assert!(len(&place, "new.maple") < len(&place, "s.maple") / 4);
    place.run(["verify", "new.maple"]).fine();
    let dump = |name: &str| place.run(["dump", "-a", name]).fine().out;
    assert_eq!(dump("new.maple"), dump("s.maple"));
    place.run(["copy", "--compact", "--snapshot", "now", "s.maple", "then.maple"]).fine();
    assert_eq!(open(&place.path("then.maple")).begin_read().unwrap().len(BLOBS).unwrap(), 100);
    place.run(["copy", "--compact", "s.maple", "new.maple"]).fails(1, &["new.maple", "exists already"]);
    place.run(["copy", "--compact", "missing.maple", "other.maple"]).fails(1, &["no such file"]);
    assert!(!place.files().iter().any(|name| name.contains("other") || name.contains("unfinished")));
}

#[test]
fn free_space_goes_back_and_the_file_keeps_its_length() {
    use std::os::unix::fs::MetadataExt;
    let place = store();
    let on_disk = || std::fs::metadata(place.path("s.maple")).unwrap().blocks() * 512;
    let (before, length) = (on_disk(), len(&place, "s.maple"));
    let said = place.run(["trim", "--json", "s.maple"]).fine().json();
    assert_eq!(said["disk_bytes"].as_u64(), Some(on_disk()));
    assert!(on_disk() < before / 2 && len(&place, "s.maple") == length, "{before}, {said}");
    assert!(said["trimmed_bytes"].as_u64() >= Some(before - on_disk()), "{before}, {said}");
    place.run(["verify", "s.maple"]).fine();
    let again = place.run(["trim", "s.maple"]).fine();
    assert_eq!(again.text(), format!("0 bytes given back, {} bytes on the disk now\n", on_disk()));
    place.run(["trim", "missing.maple"]).fails(1, &["no such file"]);
}
