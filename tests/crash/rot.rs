//! Rot in a meta slot: any byte of it may be wrong. The store is opened at the other slot's state, at the right one, or
//! not at all; it never answers wrong.

use crate::judge::{Judge, guarded};
use crate::lies::{Answer, ask};
use crate::script::{Action, put};
use crate::{record as run, tried};
use mapleaf::{Durability, Options};
use mapleaf_crash::Disk;

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
