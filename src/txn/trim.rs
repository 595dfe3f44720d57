//! A txn that changes nothing and gives free space back.

use super::WriteTxn;
use crate::commit;
use crate::error::Result;
use crate::options::Durability;
use std::sync::Arc;

/// What [`Database::trim`](crate::Database::trim) has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Trimmed {
    /// Bytes that went back to the system now. Not among them is what was meant to go before, and a crash or an error came in
    /// between: it goes too.
    pub bytes: u64,
    /// Whether the file system can take space back from the middle of a file. Where it cannot nothing was done, and
    /// never is.
    pub is_supported: bool,
}

impl WriteTxn {
    /// Gives back all that is free.
    ///
    /// # Errors
    /// Those of [`WriteTxn::commit`].
    pub(crate) fn trim(mut self) -> Result<Trimmed> {
        let store = Arc::clone(&self.dirty.store);
        if !store.pages.disk.can_punch() {
            return Ok(Trimmed { bytes: 0, is_supported: false });
        }
        self.dirty.free_all()?;
        // The base is a checkpoint, and says that they are holes.
        commit::punch(&self.dirty, self.dirty.space.holes())?;
        let mut pages = 0;
        if commit::has_excess(&self.dirty) {
            self.dirty.gives_back_all = true;
            self.durability = Durability::Ordered;
            self.hand_over()?.wait()?;
            pages = std::mem::replace(&mut self.dirty.punched, Ok(0))?;
        }
        Ok(Trimmed { bytes: pages * store.pages.page_size as u64, is_supported: true })
    }
}
