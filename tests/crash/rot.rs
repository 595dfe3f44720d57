//! Rot in a meta slot: any byte of it may be wrong. The store is opened at the other slot's state, at the right one, or
//! not at all; it never answers wrong.

use crate::judge::{Judge, guarded};
use crate::lies::{Answer, ask};
use crate::script::{Action, put};
use crate::workloads::compacting;
use crate::{Recording, record as run, tried};
use mapleaf::{Durability, Options};
use mapleaf_crash::{Disk, Event};

#[test]
fn a_rotten_byte_in_a_meta_slot_is_never_believed() {
    let options = Options::new().durability(Durability::Ordered);
    let actions: Vec<Action> = (0..5).map(|i| Action::Commit(vec![put("words", i, 300, i as u8)])).collect();
    let recording = run(&options, &actions);
    let mut judge = Judge::new(&options);
    let mut disk = Disk::empty();
    recording.log.iter().for_each(|event| disk.apply(event, &mut judge.pool));
    let good = disk.cached();
    let (mut right, mut refused) = (0, 0);
    for at in 0..1024 {
        let (slot, byte) = (at / 512, at % 512);
        let mut bytes = judge.pool.bytes(good.blocks[slot]).to_vec();
        bytes[byte] ^= 1 << (at * 5 % 8);
        let mut image = good.clone();
        image.blocks[slot] = judge.pool.add(&bytes);
        let path = judge.lay_out(&image);
        match guarded(|| ask(&path, &options, &recording.models)) {
            Ok(Answer::Whole(_)) => right += 1,
            Ok(_) => refused += 1,
            Err(wrong) => panic!("byte {byte} of slot {slot}: {wrong}"),
        }
    }
    println!("rot in a meta slot: {right} right, {refused} refused");
    assert!(right > 500, "the other slot is there");
    tried("F14", "rot in a meta slot", 1024);
}

/// What opening finds behind each cut of the file, when the slot of the newest meta is rotten.
fn found_behind_cuts(recording: &Recording, log: &[Event]) -> Vec<Answer> {
    let mut judge = Judge::new(&Options::new());
    let (mut disk, mut answers) = (Disk::empty(), Vec::new());
    for event in log {
        disk.apply(event, &mut judge.pool);
        if !matches!(event, Event::SetLen { len: 1.. }) {
            continue;
        }
        let mut image = disk.cached();
        // Behind magic, version and the like stands the txn.
        let mut metas = [0, 1].map(|slot| judge.pool.bytes(image.blocks[slot]).to_vec());
        let txn = |meta: &[u8]| u64::from_le_bytes(meta[TXN_AT..TXN_AT + 8].try_into().unwrap());
        let newest = usize::from(txn(&metas[1]) > txn(&metas[0]));
        metas[newest][100] ^= 1;
        image.blocks[newest] = judge.pool.add(&metas[newest]);
        let path = judge.lay_out(&image);
        answers.push(guarded(|| ask(&path, &Options::new(), &recording.models)).unwrap());
    }
    answers
}

/// Where the txn stands in a meta slot.
const TXN_AT: usize = 56;

#[test]
fn behind_a_cut_of_the_file_either_meta_slot_opens_it() {
    let recording = run(&Options::new(), &compacting());
    let answers = found_behind_cuts(&recording, &recording.log);
    assert!(answers.len() >= 2 && answers.iter().all(|answer| matches!(answer, Answer::Whole(_))));
    tried("F14", "rot behind a cut of the file", answers.len() as u64);
}

#[test]
fn control_a_file_that_is_cut_behind_one_checkpoint_is_caught() {
    let recording = run(&Options::new(), &compacting());
    let log = &recording.log;
    // The slot is written a second time, and flushed, just before the file is cut.
    let is_repeated = |at: usize| {
        let cut = (at + 1..log.len().min(at + 3)).find(|at| matches!(log[*at], Event::SetLen { len: 1.. }));
        cut.is_some_and(|cut| log[cut - 1].is_meta_flush())
    };
    let less: Vec<Event> = (0..log.len()).filter(|at| !is_repeated(*at)).map(|at| log[at].clone()).collect();
    assert!(log.len() > less.len() && (log.len() - less.len()).is_multiple_of(2), "a write and a flush each");
    let answers = found_behind_cuts(&recording, &less);
    assert!(answers.iter().any(|answer| matches!(answer, Answer::NotOpened)));
}
