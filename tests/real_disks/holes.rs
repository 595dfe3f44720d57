//! Space that goes back to a real file system, is taken by somebody else, and is missing when the store needs it again.

use super::ledger::{assert_clean, try_open};
use super::mounts::{Foreign, Kind, Mounted, in_own_mounts, power_cut, tmpfs};
use super::tried;
use mapleaf::{Database, Durability, Error, Options, Table};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
/// Entries of a page each.
const MANY: u64 = 6000;

#[test]
fn space_that_was_given_back_is_an_error_on_a_full_ext4_until_it_is_there_again() {
    on_disk(Kind::Ext4, "space_that_was_given_back_is_an_error_on_a_full_ext4_until_it_is_there_again");
}

#[test]
fn space_that_was_given_back_is_an_error_on_a_full_xfs_until_it_is_there_again() {
    on_disk(Kind::Xfs, "space_that_was_given_back_is_an_error_on_a_full_xfs_until_it_is_there_again");
}

fn on_disk(kind: Kind, test: &str) {
    in_own_mounts(&format!("holes::{test}"), |at| {
        let images = tmpfs(3 * kind.small(), at.join("images"))?;
        let (image, copy) = (images.join("image"), images.join("copy"));
        let disk = kind.fresh(&image, kind.small(), at.join("disk"))?;
        taken_by_a_stranger(&disk, || power_cut(&image, &copy));
        drop(disk);
        // What the power cut has left when the disk was full.
        let mounted = kind.mount(&copy, at.join("copy"))?;
        let db = try_open(&Options::new(), &mounted.join("a.maple")).unwrap();
        assert_holds(&db, 0..200, 1);
        assert_clean(&db);
        tried("F10", test, 2);
        Ok(())
    });
}

#[test]
fn space_that_was_given_back_is_an_error_on_a_full_tmpfs_until_it_is_there_again() {
    let test = "space_that_was_given_back_is_an_error_on_a_full_tmpfs_until_it_is_there_again";
    in_own_mounts(&format!("holes::{test}"), |at| {
        taken_by_a_stranger(&tmpfs(64 << 20, at.join("disk"))?, || ());
        tried("F10", test, 1);
        Ok(())
    });
}

fn put(db: &Database, keys: std::ops::Range<u64>, byte: u8) -> mapleaf::Result<()> {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[byte; 3000]).map(drop)))
}

fn assert_holds(db: &Database, keys: std::ops::Range<u64>, byte: u8) {
    let r = db.begin_read().unwrap();
    keys.for_each(|key| assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[byte; 3000][..]), "key {key}"));
}

fn assert_no_space(ended: mapleaf::Result<()>) {
    match ended {
        Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(libc::ENOSPC)),
        other => panic!("{other:?}"),
    }
}

fn taken_by_a_stranger(disk: &Mounted, when_full: impl FnOnce()) {
    let db = try_open(&Options::new(), &disk.join("a.maple")).unwrap();
    put(&db, 0..MANY, 1).unwrap();
    db.checkpoint().unwrap();
    let before = disk.free();
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        w.delete_range(BLOBS, 200..).map(drop)
    })
    .unwrap();
    let trimmed = db.trim().unwrap();
    assert!(trimmed.is_supported && trimmed.bytes > 20 << 20, "{trimmed:?}");
    let now = disk.free();
    assert!(now > before + (16 << 20), "{before} bytes were free, now {now}");
    let mut stranger = Foreign::create(disk.join("foreign"));
    stranger.fill();
    // Too much for what is free, and the file cannot grow either.
    assert_no_space(put(&db, 1000..3000, 2));
    assert_holds(&db, 0..200, 1);
    assert_clean(&db);
    // Deletes, and small txns in what they leave, go on.
    for key in 200..230 {
        db.write(|w| w.put(BLOBS, &(key % 20), &[1; 3000])).unwrap();
    }
    assert_no_space(put(&db, 1000..3000, 2));
    when_full();
    stranger.remove();
    put(&db, 1000..3000, 3).unwrap();
    assert_holds(&db, 1000..3000, 3);
    assert_holds(&db, 0..200, 1);
    assert_clean(&db);
    assert!(db.counters().filled_bytes > 4 << 20, "{:?}", db.counters());
}
