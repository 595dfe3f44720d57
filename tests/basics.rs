//! What a user meets in the first hour.

mod common;
use common::TestDb;
use mapleaf::{Database, Error, Options, Prefix, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");

#[test]
fn what_was_put_is_there_after_reopening() {
    let mut db = TestDb::new();
    db.write(|w| {
        for i in 0..5000u64 {
            w.put(NUMBERS, &i, &(i * i))?;
            w.put(WORDS, &format!("word {i}")[..], &vec![7u8; (i % 3000) as usize])?;
        }
        Ok(())
    })
    .unwrap();
    db.reopen();
    let r = db.begin_read().unwrap();
    for i in 0..5000u64 {
        assert_eq!(r.get(NUMBERS, &i).unwrap(), Some(i * i));
        assert_eq!(
            r.get(WORDS, &format!("word {i}")[..]).unwrap().map(<[u8]>::len),
            Some((i % 3000) as usize)
        );
    }
    assert_eq!(r.get(NUMBERS, &5000).unwrap(), None);
    assert_eq!(r.len(NUMBERS).unwrap(), 5000);
    assert_eq!(r.count(NUMBERS, 100..200).unwrap(), 100);
    assert_eq!(r.nth(NUMBERS, 77).unwrap(), Some((77, 77 * 77)));
    assert_eq!(r.rank(NUMBERS, &4000).unwrap(), 4000);
    assert_eq!(r.first(NUMBERS).unwrap(), Some((0, 0)));
    assert_eq!(r.last(NUMBERS).unwrap().map(|e| e.0), Some(4999));
    assert_eq!(r.range(WORDS, Prefix("word 49")).unwrap().count(), 111);
    let both: Vec<u64> = r.range(NUMBERS, 10..15).unwrap().map(|e| e.unwrap().0).collect();
    assert_eq!(both, [10, 11, 12, 13, 14]);
}

#[test]
fn a_reader_keeps_its_snapshot_across_commits() {
    let db = TestDb::new();
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    let before = db.begin_read().unwrap();
    for i in 2..200u64 {
        db.write(|w| {
            w.put(NUMBERS, &1, &i)?;
            w.put(NUMBERS, &i, &i)
        })
        .unwrap();
    }
    assert_eq!(before.get(NUMBERS, &1).unwrap(), Some(1));
    assert_eq!(before.len(NUMBERS).unwrap(), 1);
    assert_eq!(db.begin_read().unwrap().get(NUMBERS, &1).unwrap(), Some(199));
}

#[test]
fn an_aborted_txn_leaves_nothing() {
    let db = TestDb::new();
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    let len = db.file_len();
    let mut w = db.begin_write().unwrap();
    for i in 0..100_000u64 {
        w.put(NUMBERS, &i, &i).unwrap();
    }
    w.abort();
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 1);
    assert_eq!(db.file_len(), len);
}

#[test]
fn a_txn_larger_than_its_memory_is_written_early() {
    let db = TestDb::with(Options::new().dirty_limit(1 << 20));
    let mut w = db.begin_write().unwrap();
    for i in 0..200_000u64 {
        let key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        w.put(NUMBERS, &key, &i).unwrap();
        if i % 1000 == 0 {
            w.put(WORDS, &format!("{i}")[..], &vec![i as u8; 5000]).unwrap();
        }
    }
    for i in 0..1000u64 {
        assert_eq!(w.get(NUMBERS, &i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap(), Some(i));
    }
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.len(NUMBERS).unwrap(), 200_000);
    assert_eq!(r.get(WORDS, "199000").unwrap().unwrap()[..], vec![199000u64 as u8; 5000][..]);
}

#[test]
fn deleting_everything_leaves_an_empty_table() {
    let db = TestDb::new();
    for round in 0..3 {
        db.write(|w| {
            for i in 0..20_000u64 {
                w.put(WORDS, &format!("{round}/{:05}", i * 7919 % 20_000)[..], &i.to_le_bytes())?;
            }
            Ok(())
        })
        .unwrap();
        db.write(|w| {
            for i in 0..20_000u64 {
                assert!(w.delete(WORDS, &format!("{round}/{i:05}")[..])?);
                assert!(!w.delete(WORDS, &format!("{round}/{i:05}")[..])?);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(db.begin_read().unwrap().len(WORDS).unwrap(), 0);
        assert_eq!(db.begin_read().unwrap().iter(WORDS).unwrap().count(), 0);
    }
}

#[test]
fn large_values_are_whole_and_page_aligned() {
    let db = TestDb::new();
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i / 3) as u8).collect();
    db.write(|w| w.put(WORDS, "large", &large[..])).unwrap();
    db.write(|w| w.put(WORDS, "medium", &large[..100_000])).unwrap();
    let r = db.begin_read().unwrap();
    for (key, len) in [("large", 3_000_000), ("medium", 100_000)] {
        let value = r.get(WORDS, key).unwrap().unwrap();
        assert_eq!(value, &large[..len]);
        assert_eq!(value.as_ptr() as usize % 4096, 0);
    }
    db.write(|w| w.delete(WORDS, "large")).unwrap();
}

#[test]
fn tables_are_created_listed_renamed_and_dropped() {
    let db = TestDb::new();
    db.write(|w| {
        w.put(NUMBERS, &1, &2)?;
        w.put(WORDS, "a", b"b")?;
        w.rename_table("words", "texts")?;
        assert!(matches!(w.rename_table("words", "other"), Err(Error::TableNotFound { .. })));
        assert!(matches!(w.rename_table("texts", "numbers"), Err(Error::TableExists { .. })));
        Ok(())
    })
    .unwrap();
    let names = |db: &Database| -> Vec<String> {
        db.begin_read().unwrap().tables().unwrap().into_iter().map(|table| table.name).collect()
    };
    assert_eq!(names(&db), ["numbers", "texts"]);
    let r = db.begin_read().unwrap();
    assert_eq!(r.raw_table("texts").unwrap().unwrap().get(&b"a"[..]).unwrap(), Some(&b"b"[..]));
    assert!(r.raw_table("words").unwrap().is_none());
    db.write(|w| w.drop_table("numbers")).unwrap();
    assert_eq!(names(&db), ["texts"]);
    assert_eq!(r.get(NUMBERS, &1).unwrap(), Some(2), "the snapshot still has it");
}

#[test]
fn other_types_than_the_stored_ones_are_refused_with_both_sides() {
    let db = TestDb::new();
    db.write(|w| w.put(NUMBERS, &1, &2)).unwrap();
    const WRONG: Table<u64, str> = Table::new("numbers");
    let error = db.begin_read().unwrap().get(WRONG, &1).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("u64 -> u64") && text.contains("u64 -> str"), "{text}");
    assert!(db.write(|w| w.put(WRONG, &1, "x")).is_err());
}

#[test]
fn savepoints_undo_what_came_after_them() {
    let db = TestDb::with(Options::new().dirty_limit(1 << 20));
    let mut w = db.begin_write().unwrap();
    for i in 0..50_000u64 {
        w.put(NUMBERS, &i, &i).unwrap();
    }
    let first = w.savepoint();
    for i in 0..50_000u64 {
        w.put(NUMBERS, &(i * 3), &0).unwrap();
    }
    w.put(WORDS, "new table", b"x").unwrap();
    let second = w.savepoint();
    for i in 0..50_000u64 {
        w.delete(NUMBERS, &(i * 3)).unwrap();
    }
    w.rollback_to(second).unwrap();
    assert_eq!(w.get(NUMBERS, &3).unwrap(), Some(0));
    w.rollback_to(first).unwrap();
    assert!(matches!(w.rollback_to(second), Err(Error::UnknownSavepoint)));
    assert_eq!(w.len(NUMBERS).unwrap(), 50_000);
    assert_eq!(w.get(NUMBERS, &3).unwrap(), Some(3));
    assert_eq!(w.tables().unwrap().len(), 1);
    w.put(NUMBERS, &1_000_000, &1).unwrap();
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 50_001);
}

#[test]
fn the_limits_of_keys_and_widths_are_errors_that_change_nothing() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    let longest = "k".repeat(2000);
    for last in ["a", "b", "c", "d", "e"] {
        w.put(WORDS, &format!("{}{last}", &longest[1..])[..], &[1; 3000]).unwrap();
    }
    w.put(WORDS, "", b"").unwrap();
    assert!(matches!(
        w.put(WORDS, &"k".repeat(2001)[..], b""),
        Err(Error::KeyTooLong { len: 2001, max: 2000 })
    ));
    w.put(NUMBERS, &1, &1).unwrap();
    assert!(matches!(w.raw_put("numbers", b"short", &[0; 8]), Err(Error::WrongWidth { width: 8, .. })));
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(WORDS, "").unwrap(), Some(&b""[..]));
    assert_eq!(r.len(WORDS).unwrap(), 6);
}

#[test]
fn a_quota_is_an_error_and_the_store_goes_on() {
    let db = TestDb::with(Options::new().max_size(1 << 20).dirty_limit(1 << 20));
    let fill = |w: &mut mapleaf::WriteTxn| -> mapleaf::Result<()> {
        for i in 0..1000u64 {
            w.put(WORDS, &i.to_string()[..], &[0; 3000])?;
        }
        Ok(())
    };
    assert!(matches!(db.write(fill), Err(Error::Full { .. })));
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    assert!(db.file_len() <= 1 << 20);
}

#[test]
fn the_writers_turn_can_be_tried_and_waited_for() {
    let db = TestDb::new();
    let w = db.begin_write().unwrap();
    assert!(db.try_begin_write().unwrap().is_none());
    let soon = std::time::Instant::now() + std::time::Duration::from_millis(20);
    assert!(db.begin_write_deadline(soon).unwrap().is_none());
    drop(w);
    assert!(db.try_begin_write().unwrap().is_some());
}

#[test]
fn transactions_cross_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<mapleaf::ReadTxn>();
    sync::<mapleaf::ReadTxn>();
    send::<mapleaf::WriteTxn>();
    send::<Database>();
    sync::<Database>();
    send::<mapleaf::Range<'_, u64, str>>();
}

#[test]
fn a_file_opened_twice_is_one_store() {
    let db = TestDb::new();
    let link = db.path().with_extension("link");
    std::fs::hard_link(db.path(), &link).unwrap();
    let again = common::open(&Options::new(), &link);
    let w = again.begin_write().unwrap();
    assert!(db.try_begin_write().unwrap().is_none());
    drop(w);
    again.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    assert_eq!(db.begin_read().unwrap().get(NUMBERS, &1).unwrap(), Some(1));
}

#[test]
fn preloading_changes_nothing_for_whoever_reads_meanwhile() {
    let db = TestDb::new();
    db.write(|w| (0..2000u64).try_for_each(|i| w.put(BLOBS, &i, &[i as u8; 1000][..]).map(drop))).unwrap();
    let r = db.begin_read().unwrap();
    let held = r.get(BLOBS, &77).unwrap().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| (0..5).for_each(|_| db.preload().unwrap()));
        for i in (0..2000).cycle().take(20_000) {
            assert_eq!(r.get(BLOBS, &i).unwrap().unwrap(), [i as u8; 1000]);
        }
    });
    assert_eq!(held, [77; 1000]);
    Database::in_memory().unwrap().preload().unwrap();
}
