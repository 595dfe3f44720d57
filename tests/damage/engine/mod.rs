//! The engine of the damage tests: good files of several shapes, ways to damage them, and a judge who calls
//! everything that a user may call.
//!
//! Shared by `tests/damage` (a small campaign, in every run of the tests) and by `faults` in `benches` (the large
//! one, where each damage is judged in a process that may die of it, and the peers get the same damages).
//!
//! **What a damaged file owes.** With the default options: everything that is answered is what one committed txn
//! held, or the call returns a typed error. An older txn than the last is right only where the damage hit
//! a meta slot or the log; where a slot is damaged, `verify` and `stats` must say so. Without verification, and where
//! the checksums were put right after the damage, answers may be wrong; but nothing panics or walks for ever.

#![allow(dead_code)]

pub mod damages;
pub mod judge;
pub mod shapes;

/// How a damaged file is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Default options.
    Rot,
    /// [`mapleaf::Verify::Never`].
    Unverified,
    /// Default options, and the checksums were put right after the damage.
    Crafted,
    /// Without verification, and judged as strictly as with it: so the judge can be seen to find something.
    Control,
}

impl Mode {
    /// Those in which nothing may fail.
    pub const ALL: [Mode; 3] = [Mode::Rot, Mode::Unverified, Mode::Crafted];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Rot => "rot",
            Mode::Unverified => "unverified",
            Mode::Crafted => "crafted",
            Mode::Control => "control",
        }
    }
}

/// What became of a damage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every answer was that of the last txn.
    Right,
    /// Some answers were those of the last txn, the others typed errors.
    Partly,
    /// Opening it was refused.
    Refused,
    /// Answers were those of an older txn (or typed errors): why that is allowed.
    Older(Reason),
    /// Anything else.
    Failed(String),
}

/// Why a store may show an older txn than its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A meta slot is damaged, and `verify` and `stats` say so.
    SlotReported,
    /// A meta slot holds an older meta that was once right: nothing in the file tells.
    SlotStale,
    /// The log ends where its last flush is damaged, which cannot be told from a cut.
    LogEnd,
    /// A file cut down to nothing is a new store.
    Blank,
}

impl Outcome {
    /// In a word, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Right => "right",
            Outcome::Partly => "partly",
            Outcome::Refused => "refused",
            Outcome::Older(Reason::SlotReported) => "older-reported",
            Outcome::Older(Reason::SlotStale) => "older-stale-slot",
            Outcome::Older(Reason::LogEnd) => "older-log-end",
            Outcome::Older(Reason::Blank) => "blank",
            Outcome::Failed(_) => "failed",
        }
    }
}
