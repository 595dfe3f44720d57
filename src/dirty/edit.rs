//! Changing a large value where it lies: in the txn's memory, to which it is copied first if need be.

use super::{Dirty, heap_slot};
use crate::error::Result;
use crate::format::OverflowRef;
use crate::snapshot::PageSource;

impl Dirty {
    /// Lets `edit` change the bytes of a value, which keeps its length. Returns where it is now.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read, `Io` or `Full` when it is written at once and cannot be.
    pub fn edit_value<R>(
        &mut self,
        run: &OverflowRef,
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<(OverflowRef, R)> {
        if let Some(slot) = heap_slot(run.page).filter(|_| self.value_is_current(run.page))
            && let Some(value) = &mut self.values[slot as usize]
        {
            let result = edit(&mut value.bytes);
            return Ok((OverflowRef { checksum: crc32fast::hash(&value.bytes), ..*run }, result));
        }
        let mut bytes = self.overflow(run)?.to_vec();
        let result = edit(&mut bytes);
        self.drop_value(run)?;
        Ok((self.add_value(&bytes)?, result))
    }
}
