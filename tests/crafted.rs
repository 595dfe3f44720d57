//! Files whose pages have right checksums and say what cannot be: an error, for whoever reads and for whoever writes.

mod common;
mod oracle;

use mapleaf::{Database, Error, Options, Table, WriteTxn};
use oracle::{Image, Live, number};
use std::ops::Range;

const BYTES: Table<[u8], [u8]> = Table::new("bytes");
const OTHER: Table<[u8], [u8]> = Table::new("other");
/// What a reference to a page in memory has set.
const IN_MEMORY: u64 = 1 << 39;

fn key(i: u64) -> [u8; 8] {
    (i + 1).to_be_bytes()
}

/// A closed store of two such tables; of the first some keys are deleted again.
fn image(count: u64, value_len: usize, is_deleted: impl Fn(u64) -> bool) -> (Image, Live) {
    let mut scribe = oracle::Scribe::new(4096);
    scribe.write(true, |w| {
        for i in 0..count {
            w.put(BYTES, &key(i), &vec![i as u8; value_len])?;
            w.put(OTHER, &key(i), &[i as u8; 100])?;
        }
        (0..count).filter(|i| is_deleted(*i)).try_for_each(|i| w.delete(BYTES, &key(i)).map(drop))
    });
    let fixture = scribe.close();
    (fixture.image, fixture.live)
}

fn leaves(live: &Live) -> Vec<u64> {
    live.on_level(live.table_named("bytes").0, 0)
}

/// Opens the file and does it, after a put to the other table.
fn write<T>(image: &Image, change: impl FnOnce(&mut WriteTxn) -> mapleaf::Result<T>) -> mapleaf::Result<T> {
    let directory = oracle::memory_directory();
    let path = directory.path().join("crafted.maple");
    std::fs::write(&path, &image.bytes).unwrap();
    let db: Database = common::open(&Options::new(), &path);
    let mut w = db.begin_write().unwrap();
    w.put(OTHER, &key(5), b"another").unwrap();
    change(&mut w)
}

fn expect_corrupt<T: std::fmt::Debug>(outcome: mapleaf::Result<T>, detail: &str) {
    match outcome {
        Err(Error::Corrupt { detail: found, .. }) if found.contains(detail) => {}
        other => panic!("{other:?}"),
    }
}

/// Overwrites key `i` of a leaf, so that leaf's order, heads and prefix are right if the key fits between its neighbours.
fn set_key(image: &mut Image, page: u64, i: usize, key: &[u8; 8]) {
    let keys = image.entries(page);
    let bytes = image.page_mut(page);
    let count = keys.len();
    bytes[30..32].fill(0);
    for j in 0..count {
        let key = if i == j { &key[..] } else { &keys[j].key };
        let head: Vec<u8> = key[..4].iter().rev().copied().collect();
        bytes[32 + 4 * j..][..4].copy_from_slice(&head);
    }
    let slot = 32 + 4 * count + 6 * i;
    let start = 4096 - number(bytes, slot, 2) as usize + number(bytes, slot + 4, 2) as usize;
    bytes[start..start + 8].copy_from_slice(key);
    image.seal_page(page);
}

const LOWEST: [u8; 8] = [0; 8];
const HIGHEST: [u8; 8] = [0xff; 8];

/// Leaves, with one of their keys below or above the separators; what is left of their keys is in the range.
fn each_stray(image: &Image, live: &Live, mut judge: impl FnMut(usize, &Image, Range<usize>)) {
    let leaves = leaves(live);
    for (at, page) in leaves.iter().enumerate() {
        let count = image.entries(*page).len();
        if at > 0 {
            let mut crafted = image.clone();
            set_key(&mut crafted, *page, 0, &LOWEST);
            judge(at, &crafted, 1..count);
        }
        if at + 1 < leaves.len() {
            let mut crafted = image.clone();
            set_key(&mut crafted, *page, count - 1, &HIGHEST);
            judge(at, &crafted, 0..count - 1);
        }
    }
}

#[test]
fn a_leaf_with_a_key_outside_the_separators_above_it_is_not_written_to() {
    let (image, live) = image(800, 1500, |_| false);
    assert!(live.nodes.values().any(|node| node.level == 2), "separators of more than one level");
    let leaves = leaves(&live);
    each_stray(&image, &live, |at, crafted, left| {
        let key = image.entries(leaves[at])[left.start].key.clone();
        let put = write(crafted, |w| w.put(BYTES, &key, b"new"));
        expect_corrupt(put, "outside the separators");
        let delete = write(crafted, |w| w.delete(BYTES, &key));
        expect_corrupt(delete, "outside the separators");
    });
}

#[test]
fn a_leaf_with_a_key_outside_the_separators_above_it_is_not_joined_with_its_neighbour() {
    let (image, live) = image(1000, 100, |i| i % 3 > 0);
    let leaves = leaves(&live);
    let mut tried = 0;
    each_stray(&image, &live, |at, crafted, _| {
        // The left neighbour is tried first.
        for beside in [at.checked_sub(1).filter(|beside| *beside == 0), Some(at + 1)].into_iter().flatten() {
            let Some(beside) = leaves.get(beside) else { continue };
            let keys = image.entries(*beside).into_iter().skip(1);
            let outcome = write(crafted, |w| {
                keys.map(|entry| w.delete(BYTES, &entry.key)).collect::<mapleaf::Result<Vec<_>>>()
            });
            expect_corrupt(outcome, "outside the separators");
            tried += 1;
        }
    });
    assert!(tried > 20, "{tried}");
}

#[test]
fn references_of_a_page_that_was_born_before_the_first_txn_are_judged() {
    for slot in [0, 1, 5000] {
        let (mut image, live) = image(400, 100, |_| false);
        let root = live.table_named("bytes").1.root;
        let (catalog, record) = Live::record_of(&image, &live, "bytes");
        image.page_mut(catalog)[record + 16..record + 24].fill(0);
        image.page_mut(root)[16..24].fill(0);
        let (count, prefix) =
            (number(image.page(root), 6, 2) as usize, number(image.page(root), 30, 2) as usize);
        let reference = 32 + prefix + 4 * count + 8 * 3;
        image.page_mut(root)[reference..reference + 5]
            .copy_from_slice(&(IN_MEMORY | slot).to_le_bytes()[..5]);
        image.seal_page(root);
        image.seal_page(catalog);
        let key = image.entries(leaves(&live)[3])[1].key.clone();
        expect_corrupt(write(&image, |w| w.put(BYTES, &key, b"new")), "refers to page");
    }
}

/// The root's first and last references change places, so that branches stand where their separators do not belong.
fn swap_branches(image: &mut Image, live: &Live) {
    let root = live.table_named("bytes").1.root;
    let bytes = image.page_mut(root);
    let (count, prefix) = (number(bytes, 6, 2) as usize, number(bytes, 30, 2) as usize);
    let shorts = 32 + prefix + 4 * count;
    for (start, len) in [(shorts, 8), (shorts + 8 * count, 9)] {
        let (front, back) = bytes[start..].split_at_mut(len * (count - 1));
        front[..len].swap_with_slice(&mut back[..len]);
    }
    image.seal_page(root);
}

#[test]
fn branches_that_stand_at_wrong_places_do_not_give_their_parents_separators_out_of_order() {
    for count in [500, 800, 1200] {
        let (mut image, live) = image(count, 1500, |_| false);
        let root = live.table_named("bytes").1.root;
        let branches = image.children(root).len();
        assert!(live.nodes[&root].level == 2 && branches >= 2);
        swap_branches(&mut image, &live);
        // Keys between those that are there, from either end, until a branch must be divided.
        for is_descending in [false, true] {
            let between = |i: u64| [&key(if is_descending { count - i } else { i })[..], &[7]].concat();
            let put = write(&image, |w| {
                (0..count).try_for_each(|i| w.put(BYTES, &between(i), &[1; 1500]).map(drop))
            });
            expect_corrupt(put, "out of order");
        }
    }
}

#[test]
fn a_branch_is_not_joined_with_one_that_stands_at_a_wrong_place() {
    let mut refused = 0;
    for count in (600..760).step_by(20) {
        let (mut image, live) = image(count, 1500, |_| false);
        swap_branches(&mut image, &live);
        let deleted = write(&image, |w| (0..count).try_for_each(|i| w.delete(BYTES, &key(i)).map(drop)));
        if deleted.is_err() {
            expect_corrupt(deleted, "out of order");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_slot_that_says_what_cannot_be_is_an_error_of_every_walk() {
    let (image, live) = image(400, 100, |_| false);
    let leaf = leaves(&live)[1];
    let before = image.entries(leaves(&live)[0]).len();
    let count = image.entries(leaf).len();
    // Distance, key length, value length; 0x8000 says that the value is elsewhere.
    for (at, wrong) in
        [(0, 0u16), (0, 50), (0, 4065), (0, 0xffff), (2, 0x7fff), (2, 0x8008), (4, 0xffff), (4, 4000)]
    {
        for i in [0, 3, count - 1] {
            let mut crafted = image.clone();
            let slot = 32 + 4 * count + 6 * i + at;
            crafted.page_mut(leaf)[slot..slot + 2].copy_from_slice(&wrong.to_le_bytes());
            if wrong == 0x8008 {
                // Too short for a reference.
                crafted.page_mut(leaf)[slot + 2..slot + 4].copy_from_slice(&[3, 0]);
            }
            crafted.seal_page(leaf);
            let (forwards, both) = write(&crafted, |w| {
                let forwards: Vec<_> = w.iter(BYTES)?.map(|entry| entry.map(drop)).collect();
                let mut range = w.iter(BYTES)?;
                drop(range.next_back());
                let both: Vec<_> = range.map(|entry| entry.map(drop)).collect();
                Ok((forwards, both))
            })
            .unwrap();
            for walk in [forwards, both] {
                assert_eq!(walk.len(), before + i + 1, "{at} {wrong} {i}");
                expect_corrupt(walk.into_iter().next_back().unwrap(), "");
            }
            let key = &image.entries(leaf)[i].key;
            expect_corrupt(write(&crafted, |w| w.get(BYTES, key).map(|value| value.map(<[u8]>::to_vec))), "");
            expect_corrupt(write(&crafted, |w| w.put(BYTES, key, b"new")), "");
        }
    }
}

#[test]
fn a_leaf_without_entries_is_an_error_of_every_walk() {
    let (mut image, live) = image(400, 100, |_| false);
    let leaf = leaves(&live)[1];
    image.page_mut(leaf)[6..8].fill(0);
    image.page_mut(leaf)[28..32].fill(0);
    image.seal_page(leaf);
    let walks = write(&image, |w| {
        let forwards: Vec<_> = w.iter(BYTES)?.map(|entry| entry.map(drop)).collect();
        Ok([forwards, w.iter(BYTES)?.rev().map(|entry| entry.map(drop)).collect()])
    });
    for walk in walks.unwrap() {
        expect_corrupt(walk.into_iter().next_back().unwrap(), "leaf without entries");
    }
}

#[test]
fn a_range_that_ends_within_a_leaf_does_not_touch_the_next() {
    let (mut image, live) = image(400, 100, |_| false);
    let leaves = leaves(&live);
    let keys: Vec<Vec<u8>> = image.entries(leaves[5]).into_iter().map(|entry| entry.key).collect();
    for damaged in [4, 6] {
        image.page_mut(leaves[damaged])[100] ^= 1;
    }
    let (low, high) = (&keys[2][..], &keys[keys.len() - 2][..]);
    let steps = write(&image, |w| {
        let range = || w.range(BYTES, (std::ops::Bound::Included(low), std::ops::Bound::Excluded(high)));
        let forwards: mapleaf::Result<Vec<_>> = range()?.collect();
        let backwards: mapleaf::Result<Vec<_>> = range()?.rev().collect();
        Ok([forwards?.len(), backwards?.len()])
    });
    assert_eq!(steps.unwrap(), [keys.len() - 4; 2]);
}
