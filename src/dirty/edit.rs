//! Changing a large value where it lies: in the txn's memory, to which it is copied first if need be.

use super::large::WRITE_AT_ONCE;
use super::{Dirty, heap_slot};
use crate::chunks::{self, Chunks};
use crate::error::Result;
use crate::format::OverflowRef;
use crate::snapshot::PageSource;

impl Dirty {
    /// Lets `edit` change the bytes of a value, which keeps its length. Returns where it is now. One copy at most,
    /// and none of a value that is in the txn's memory already.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read, `Io` or `Full` when it is written at once and cannot be.
    pub fn edit_value<R>(
        &mut self,
        run: &OverflowRef,
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<(OverflowRef, R)> {
        let (chunks, len) = (Chunks::of(run.len, self.page_size()), run.len as usize);
        if let Some(slot) = heap_slot(run.page).filter(|_| self.value_is_current(run.page))
            && let Some(value) = &mut self.values[slot as usize]
        {
            let (bytes, sums) = value.bytes.split_at_mut(len);
            let result = edit(bytes);
            let (table, checksum) = chunks::sum(chunks, bytes);
            sums.copy_from_slice(&table);
            return Ok((OverflowRef { checksum, ..*run }, result));
        }
        let found = self.overflow(run)?;
        let mut bytes = Vec::with_capacity(chunks.stored_len() as usize);
        bytes.extend_from_slice(found);
        let result = edit(&mut bytes);
        self.drop_value(run)?;
        let run = if len < WRITE_AT_ONCE { self.keep_value(bytes) } else { self.write_value(&bytes)? };
        Ok((run, result))
    }
}
