//! The stores that are damaged: which there are, how each makes a file, and who judges it.

use crate::engine::damages::Good;
use crate::engine::judge::{Suspect, judge};
use crate::engine::shapes::{Contents, Shape};
use crate::engine::{Mode, Outcome};
use crate::peers::{self, Lmdb};
use std::path::Path;

/// A store, and for mapleaf how it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Mapleaf(Mode),
    Lmdb,
    #[cfg(feature = "redb")]
    Redb,
}

impl Subject {
    /// All that this program was built with.
    pub fn all() -> Vec<Subject> {
        let mut all = Mode::ALL.map(Subject::Mapleaf).to_vec();
        all.push(Subject::Lmdb);
        #[cfg(feature = "redb")]
        all.push(Subject::Redb);
        all
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Mapleaf(mode) => mode.name(),
            Subject::Lmdb => "lmdb",
            #[cfg(feature = "redb")]
            Subject::Redb => "redb",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Subject {
        Subject::all().into_iter().find(|subject| subject.name() == name).expect("rot, unverified, …")
    }

    /// Whether it is mapleaf.
    pub fn is_mapleaf(self) -> bool {
        matches!(self, Subject::Mapleaf(_))
    }

    /// Bytes of heap that it takes for itself.
    pub fn extra_heap(self) -> usize {
        if self.is_mapleaf() { 0 } else { 192 << 20 }
    }

    /// Makes a file; its bytes at several moments, the last when it is done.
    pub fn make(self, shape: &Shape, directory: &Path) -> Vec<Vec<u8>> {
        match self {
            Subject::Mapleaf(_) => shape.make(&directory.join("good.maple")),
            Subject::Lmdb => peers::make::<Lmdb>(shape, directory),
            #[cfg(feature = "redb")]
            Subject::Redb => peers::make::<peers::Redb>(shape, directory),
        }
    }

    /// What is known of a good file.
    pub fn good(self, shape: &Shape, mut stages: Vec<Vec<u8>>) -> Good {
        if self.is_mapleaf() {
            return Good::mapleaf(shape.page_size, stages);
        }
        let bytes = stages.pop().expect("the good file");
        // LMDB has two meta pages, redb a header with two slots.
        let slots = match self {
            Subject::Lmdb => vec![0..4096, 4096..8192],
            _ => vec![0..64, 64..192, 192..320],
        };
        Good { page_size: 4096, bytes, stages, slots, log: Vec::new() }
    }

    /// Judges a damaged file.
    pub fn judge(self, good: &Good, damaged: &[u8], states: &[Contents], seed: u64, work: &Path) -> Outcome {
        match self {
            Subject::Mapleaf(mode) => {
                judge(&Suspect { good, damaged, states, mode, seed }, &work.join("store.maple"))
            }
            Subject::Lmdb => peers::judge::<Lmdb>(good, damaged, states, work),
            #[cfg(feature = "redb")]
            Subject::Redb => match peers::judge::<peers::Redb>(good, damaged, states, work) {
                Outcome::Failed(wrong) => {
                    Outcome::Failed(format!("{wrong}; {}", peers::check_integrity(damaged, work)))
                }
                other => other,
            },
        }
    }
}
