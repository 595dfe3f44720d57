//! Workloads that several tests run.
//!
//! Owns: lists of actions. For the log to be full soon, records have some KiB: the first extent of the
//! log holds three of [`record`] with 20 entries.

use crate::operations::*;
use crate::script::{Action, Step, delete, put};
use mapleaf::Durability;

pub fn single_puts() -> Vec<Action> {
    (0..12).map(|i| Action::Commit(vec![put("words", i * 7 % 12, 20, i as u8)])).collect()
}

pub fn mixed() -> Vec<Action> {
    let mut actions = vec![Action::Commit((0..200).map(|i| put("words", i, 60, 1)).collect())];
    actions.push(Action::Commit(vec![put("large", 1, 100_000, 2), put("words", 900, 10, 3)]));
    actions.push(Action::Commit((0..60).map(|i| delete("words", i * 3)).collect()));
    actions.push(Action::Commit(vec![put("large", 1, 9000, 4), put("large", 2, 30_000, 5)]));
    actions.push(Action::Commit(vec![put("third", 1, 1, 1), put("words", 5, 3000, 6)]));
    actions.push(Action::Commit(vec![Step::DropTable("words"), put("third", 2, 2, 2)]));
    actions.push(Action::Commit(vec![Step::DropTable("large"), put("words", 1, 5, 7)]));
    actions.push(Action::Commit(vec![put("words", 2, 50_000, 8), delete("third", 1), delete("third", 2)]));
    actions
}

pub fn growing() -> Vec<Action> {
    let grow = |i: u32| Action::Commit((0..10).map(|j| put("words", i * 10 + j, 4000, i as u8)).collect());
    (0..8).map(grow).chain([Action::Commit(vec![put("words", 1, 400, 77)])]).collect()
}

/// Commits that change some leaves far apart: eight to ten pages.
pub fn scattered() -> Vec<Action> {
    let change = |i: u32| {
        let keys = (0..4 + i % 2).map(|j| (j * 80 + i * 7) % 400);
        Action::Commit(keys.map(|key| put("words", key, 90, 100 + i as u8)).collect())
    };
    let fill = Action::Commit((0..400).map(|i| put("words", i, 100, 1)).collect());
    [fill].into_iter().chain((0..4).map(change)).collect()
}

/// More changes than the smallest dirty limit, so that pages are written before the commit.
pub fn spilling(seed: u8) -> Vec<Step> {
    (0..420).map(|i| put("bulk", i * 193 % 420, 3000, seed)).collect()
}

pub fn pinned() -> Vec<Action> {
    let change = |i: u32| Action::Commit(vec![put("words", i % 5, 900, i as u8), put("words", 40 + i, 9, 1)]);
    let mut actions: Vec<Action> = (0..3).map(change).collect();
    actions.push(Action::Pin);
    actions.extend((3..9).map(change));
    actions.push(Action::Pin);
    actions.extend((9..13).map(change));
    actions.push(Action::Unpin);
    actions.extend((13..19).map(change));
    actions
}

/// Steps of a txn whose redo record has `entries` times 900 bytes.
pub fn record(number: u32, entries: u32) -> Vec<Step> {
    (0..entries).map(|j| put("words", (number * 5 + j) % 60, 900, number as u8)).collect()
}

/// Through the log four times: of 64 KiB, then twice as long each time, up to the limit of 256 KiB.
pub fn rounds() -> Vec<Action> {
    (0..42).map(|i| Action::Commit(record(i, if i < 3 { 2 } else { 20 - i % 3 }))).collect()
}

/// Two small commits, of which the second one gives the store its log.
pub fn beginning() -> Vec<Action> {
    (0..2).map(|i| Action::Commit(record(i, 20))).collect()
}

/// Everything that a logged txn may do to tables.
pub fn tables() -> Vec<Action> {
    let mut actions = beginning();
    actions.push(Action::Commit(vec![put("one", 1, 100, 1), put("two", 1, 100, 2)]));
    actions.push(Action::Commit(vec![Step::Rename("one", "three"), put("one", 1, 50, 3)]));
    let undone = vec![put("four", 1, 10, 1), Step::DropTable("two"), delete("words", 3), put("one", 1, 7, 7)];
    actions.push(Action::Commit(vec![put("three", 2, 30, 4), Step::Undone(undone), put("two", 2, 20, 5)]));
    actions.push(Action::Commit((0..20).map(|i| delete("words", i * 2)).collect()));
    actions.push(Action::Hand(vec![Step::DropTable("three"), Step::Rename("two", "three")]));
    actions.push(Action::Hand(vec![put("three", 9, 90, 9), delete("one", 1)]));
    actions.push(Action::Wait);
    actions.push(Action::CommitAs(Durability::Eventual, vec![Step::DropTable("one"), put("one", 5, 5, 5)]));
    actions.push(Action::Commit(vec![Step::DropTable("words"), put("words", 1, 500, 6)]));
    actions
}

/// Every durability, and tickets, in one store.
pub fn blend() -> Vec<Action> {
    let mut actions = beginning();
    for i in 0..3 {
        let eventual = |j: u32| Action::CommitAs(Durability::Eventual, record(i * 20 + j, 5));
        let hand = |j: u32| Action::Hand(record(i * 20 + j, 5 + j % 2));
        actions.extend([eventual(2), eventual(3), Action::Commit(record(i * 20 + 4, 3))]);
        actions.extend([hand(5), hand(6), hand(7), Action::Wait, eventual(8), hand(9), eventual(10)]);
        actions.push(Action::CommitAs(Durability::Ordered, record(i * 20 + 11, 3)));
        actions.extend([hand(12), hand(13), Action::Wait, eventual(14), Action::Checkpoint]);
        actions.extend([Action::Abort(record(i, 30)), hand(15), Action::Reopen]);
    }
    actions
}

/// Logged txns that grow the file.
pub fn logged_growth() -> Vec<Action> {
    let grow = |i: u32| Action::Commit((0..14).map(|j| put("more", i * 14 + j, 900, i as u8)).collect());
    beginning().into_iter().chain((0..12).map(grow)).collect()
}

/// Readers that stay over checkpoints of logged txns.
pub fn logged_pins() -> Vec<Action> {
    let mut actions = beginning();
    for i in 0..4 {
        actions.extend((0..3).map(|j| Action::Commit(record(i * 7 + j, 6))));
        actions.push(Action::Pin);
        actions.extend((3..5).map(|j| Action::Commit(record(i * 7 + j, 6))));
        actions.push(Action::Checkpoint);
        actions.extend((5..7).map(|j| Action::CommitAs(Durability::Eventual, record(i * 7 + j, 6))));
    }
    actions.extend([Action::Unpin, Action::Commit(record(90, 9)), Action::Commit(record(91, 9))]);
    actions
}

/// Readers of all ages, up to some dozens at a time, which end in any order while pages are replaced, logged and in
/// place.
pub fn many_pins() -> Vec<Action> {
    let mut actions = beginning();
    for i in 0..70u32 {
        let steps = record(i * 3, 1 + i % 4);
        actions.push(match i % 11 {
            3 => Action::CommitAs(Durability::Eventual, steps),
            5 => Action::CommitAs(Durability::Ordered, steps),
            7 => Action::Hand(steps),
            8 => Action::Wait,
            _ => Action::Commit(steps),
        });
        let is_growing = i % 40 < 30;
        if is_growing || i % 3 == 0 {
            actions.push(Action::PinAnother);
        }
        // A prime that no number of readers is a multiple of.
        actions.extend(
            (0..if is_growing { i % 2 } else { 4 }).map(|j| Action::UnpinOne((i * 7919 + j) as usize)),
        );
        if i % 25 == 24 {
            actions.push(Action::Checkpoint);
        }
    }
    actions
}

/// A checkpoint behind logged commits, twice.
pub fn checkpoints() -> Vec<Action> {
    let mut actions = beginning();
    for i in 0..2 {
        actions.extend((0..3).map(|j| Action::Commit(record(2 + i * 5 + j, 6))));
        actions.push(Action::Checkpoint);
        actions.extend((3..5).map(|j| Action::Commit(record(2 + i * 5 + j, 6))));
    }
    actions
}

/// Logged txns in a store that has nearly no free pages: they fill holes.
pub fn refilling(first: u32, count: u32) -> impl Iterator<Item = Action> {
    let grow = |i: u32| Action::Commit((0..14).map(|j| put("more", i * 14 + j, 900, i as u8)).collect());
    (first..first + count).map(grow)
}

/// Free space that goes back to the system, and is filled by logged txns and in place, with and without a reader.
pub fn trimmed() -> Vec<Action> {
    let large = |seed: u8| Action::Commit((0..90).map(|j| put("large", j, 2500, seed)).collect());
    let few = |i: u32| Action::Commit(record(i, 8));
    let mut actions = beginning();
    actions.extend([large(1), Action::Commit(vec![Step::DropTable("large")]), Action::Trim, few(2)]);
    actions.extend(refilling(0, 7));
    actions.extend([Action::Pin, few(3), Action::Commit(vec![delete_range("more", 0..60)]), Action::Trim]);
    actions.extend([few(4), Action::CommitAs(Durability::Eventual, record(5, 6)), Action::Pin, few(6)]);
    actions.extend(refilling(0, 5));
    actions.extend([Action::Checkpoint, large(2), Action::Unpin, few(7), Action::Hand(record(8, 6))]);
    actions.extend([Action::Trim, Action::Commit(vec![Step::DropTable("large"), put("words", 1, 9, 9)])]);
    actions.extend([Action::Trim, few(9), Action::Trim, large(3), few(10)]);
    actions
}

/// Snapshots that are stored and dropped while pages of all kinds are replaced, logged and in place.
pub fn stored() -> Vec<Action> {
    let with = |number: u32, entries: u32, last: Step| {
        Action::Commit(record(number, entries).into_iter().chain([last]).collect())
    };
    let mut actions = beginning();
    actions.extend([with(2, 4, Step::Store("one")), Action::Commit(record(3, 20))]);
    actions.extend((4..8).map(|i| Action::Commit(record(i, 8))));
    actions.push(Action::Commit(vec![put("large", 1, 40_000, 1), Step::Store("two")]));
    actions.push(Action::CommitAs(Durability::Eventual, vec![Step::DropTable("large")]));
    actions.push(Action::Pin);
    actions.extend([Action::Checkpoint, Action::Commit(vec![Step::Forget("one")])]);
    actions.extend((8..12).map(|i| Action::CommitAs(Durability::Eventual, record(i, 8))));
    actions.extend([Action::Reopen, Action::Commit(vec![Step::Store("three"), Step::Forget("two")])]);
    actions.extend((12..20).map(|i| Action::Commit(record(i, 8))));
    actions.extend([Action::Abort(vec![Step::Forget("three")]), Action::Hand(vec![Step::Store("four")])]);
    actions.extend([Action::Wait, Action::Commit(vec![Step::Forget("three"), Step::Forget("four")])]);
    actions.extend((20..24).map(|i| Action::Commit(record(i, 8))));
    actions
}

/// The larger operations, each in txns small enough for the log: what follows the last checkpoint is replayed.
pub fn operations() -> Vec<Action> {
    let mut actions = beginning();
    actions.push(Action::Commit(vec![put_values("tags", 1, 0..5, 60), put_values("tags", 2, 0..45, 70)]));
    actions.push(Action::Commit(vec![
        delete_range("words", 10..40),
        put("words", 20, 300, 3),
        delete_range("words", 2..5),
        put("words", 3, 20, 4),
    ]));
    actions.push(Action::Checkpoint);
    // From a tree into the leaf, and the other way.
    actions.push(Action::Commit(vec![delete_values("tags", 2, 3..42, 70)]));
    let undone = vec![delete_range("words", 0..99), put_values("tags", 1, 0..60, 60), delete_key("tags", 2)];
    actions.push(Action::Commit(vec![
        put_values("tags", 1, 3..50, 60),
        dropped(undone),
        put_half("words", 1, 9000),
    ]));
    actions.push(Action::Hand(vec![load("words", 0..60, 4, 500, 5), append("rows", 0..12, 400, 1)]));
    actions.push(Action::Hand(vec![delete_range("rows", 3..11), append("rows", 40..43, 99, 2)]));
    actions.push(Action::Wait);
    let inner = vec![put_values("tags", 3, 0..5, 500), dropped(vec![edit("words", 4, 9)])];
    actions.push(Action::Commit(vec![edit("words", 8, 7), kept(inner), edit("words", 12, 1)]));
    let eventual = vec![delete_key("tags", 1), put_values("tags", 1, 7..9, 60), delete_range("tags", 2..3)];
    actions.push(Action::CommitAs(Durability::Eventual, eventual));
    actions.push(Action::Commit(vec![Step::Rename("tags", "labels"), put_values("labels", 2, 0..40, 70)]));
    actions.push(Action::Abort(vec![delete_range("labels", 0..9), load("words", 0..60, 5, 500, 8)]));
    actions.push(Action::Commit(vec![delete_range("labels", 1..3), delete_range("words", 5..99)]));
    actions
}

/// The same in txns that are too large for it, and values whose chunks have checksums of their own.
pub fn large_operations() -> Vec<Action> {
    let mut actions = vec![Action::Commit(vec![put("words", 1, 10, 1)])];
    actions.push(Action::Commit(vec![load("words", 0..80, 2, 1900, 2), put_from("large", 1, 140_000, 3)]));
    actions.push(Action::Commit(vec![reserve("large", 2, 66_000, 4), load("words", 1..80, 3, 2500, 5)]));
    let nested = vec![put_from("large", 3, 70_000, 6), dropped(vec![delete_range("large", 0..9)])];
    let undone = vec![reserve("large", 1, 80_000, 7), delete_range("words", 0..99), edit("large", 2, 8)];
    actions.push(Action::Commit(vec![kept(nested), dropped(undone), edit("large", 1, 9)]));
    actions.push(Action::CommitAs(Durability::Eventual, vec![delete_range("words", 10..70)]));
    let sets = vec![put_values("tags", 1, 0..60, 900), put_values("tags", 2, 0..40, 900)];
    actions.push(Action::Commit(sets));
    actions.push(Action::Abort(vec![delete_range("tags", 0..9), put_from("large", 1, 90_000, 2)]));
    let few = delete_values("tags", 1, 1..60, 900);
    actions.push(Action::Commit(vec![append("words", 200..240, 1900, 1), few]));
    actions.push(Action::Commit(vec![delete_range("large", 1..3), delete_key("tags", 2)]));
    actions.push(Action::Commit(vec![put("words", 5, 100, 9), put_values("tags", 2, 0..3, 100)]));
    actions
}

/// Values that go to the file while they are read, kept, taken back and replaced.
pub fn streamed() -> Vec<Action> {
    const LONG: usize = 1 << 20;
    let undone = vec![put_from("large", 2, LONG + 9, 3), put_half("large", 1, LONG)];
    let twice = vec![put_from("large", 1, LONG, 2), dropped(undone)];
    vec![
        Action::Commit(vec![put("words", 1, 10, 1)]),
        Action::Commit(twice),
        Action::Abort(vec![put_from("large", 1, LONG + 4096, 4)]),
        Action::Commit(vec![put("words", 2, 10, 2)]),
        Action::Commit(vec![kept(vec![put_half("large", 2, LONG + 1), put_from("large", 1, LONG + 1, 5)])]),
        Action::Commit(vec![delete_range("words", 0..2), put_half("words", 3, 3 * LONG)]),
        Action::Commit(vec![put("words", 3, 10, 3)]),
    ]
}

/// Snapshots that keep what ranges, keys with sets, and loads have taken away.
pub fn stored_operations() -> Vec<Action> {
    let mut actions = beginning();
    let sets = vec![put_values("tags", 1, 0..40, 90), put_values("tags", 2, 0..3, 90)];
    actions.push(Action::Commit([sets, vec![put_from("large", 1, 70_000, 1)]].concat()));
    actions.push(Action::Commit(vec![append("words", 100..110, 1700, 1), Step::Store("one")]));
    actions.push(Action::Commit(vec![delete_range("words", 5..105), delete_key("tags", 1)]));
    actions.push(Action::Commit(vec![put_values("tags", 1, 30..60, 90), delete_range("large", 0..9)]));
    actions.push(Action::Commit(vec![load("words", 0..200, 8, 800, 2)]));
    actions.push(Action::Commit(vec![dropped(vec![Step::Forget("one")]), kept(vec![Step::Store("two")])]));
    actions.extend((4..6).map(|i| Action::Commit(record(i, 12))));
    actions.push(Action::Commit(vec![delete_values("tags", 1, 31..60, 90), delete_range("words", 0..50)]));
    actions.extend([Action::Reopen, Action::Commit(vec![Step::Forget("one")])]);
    actions.extend((8..12).map(|i| Action::Commit(record(i, 14))));
    actions.push(Action::Commit(vec![delete_range("tags", 0..9), Step::Forget("two")]));
    actions.extend((14..16).map(|i| Action::Commit(record(i, 14))));
    actions
}

/// A store that shrinks in steps, with commits of every kind and readers between them.
pub fn compacting() -> Vec<Action> {
    let mut actions = beginning();
    actions.push(Action::Commit((0..60).map(|i| put("more", i, 1800, 1)).collect()));
    let sets = vec![put_values("tags", 1, 0..50, 90), put("large", 1, 30_000, 1), put("large", 2, 9000, 2)];
    actions.push(Action::Commit([sets, vec![Step::Store("one")]].concat()));
    actions.push(Action::Commit((60..90).map(|i| put("more", i, 1800, 2)).collect()));
    actions.push(Action::Commit(vec![delete_range("more", 3..80), put("large", 3, 20_000, 3)]));
    actions.extend([Action::Compact(4), Action::Commit(record(2, 4)), Action::Compact(9), Action::Pin]);
    actions.push(Action::Commit(vec![Step::Forget("one"), delete_range("large", 2..3)]));
    actions.extend([Action::Hand(record(3, 4)), Action::Compact(20), Action::Compact(20)]);
    actions.extend([Action::Unpin, Action::Compact(50), Action::Checkpoint, Action::Commit(record(4, 4))]);
    actions.extend((0..5).map(|_| Action::Compact(50)));
    actions.extend([Action::Commit(record(5, 6)), Action::Commit(record(6, 20)), Action::Reopen]);
    actions.push(Action::Commit((0..40).map(|i| put("more", i, 1800, 5)).collect()));
    actions
}

/// More than the smallest dirty limit, so that what is cut, merged, taken apart and undone was written early.
pub fn spilled_operations() -> Vec<Action> {
    let sets = |seed: u32| (0..5).map(move |key| put_values("tags", key, seed..seed + 90, 1000));
    let undone =
        vec![delete_range("bulk", 0..900), load("bulk", 100..600, 2, 2500, 4), delete_range("tags", 0..4)];
    vec![
        Action::Commit(vec![put("words", 1, 10, 1)]),
        Action::Commit([vec![load("bulk", 0..400, 1, 3000, 2)], sets(0).collect()].concat()),
        Action::Commit(vec![
            load("bulk", 0..500, 3, 2500, 3),
            delete_range("bulk", 40..350),
            put_values("tags", 1, 200..300, 1000),
            delete_values("tags", 1, 3..300, 1000),
            dropped(undone.clone()),
            delete_key("tags", 0),
        ]),
        Action::Commit(vec![put("words", 2, 10, 2)]),
        Action::Abort([undone.clone(), sets(300).collect()].concat()),
        Action::Commit(vec![kept(undone), put_values("tags", 9, 0..9, 700)]),
        Action::Commit(vec![put("words", 3, 10, 3), delete_range("bulk", 0..300)]),
    ]
}
