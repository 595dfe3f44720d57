//! Filling a leaf with entries that come in order: they are gathered as they will stand in the page, which is written once.

use super::leaf::{self, Cell};
use super::{Stored, entry_len, fixed, init_leaf, leaf_room};
use crate::format::{Layout, header_mut};

/// The entries of a leaf that is being filled.
pub struct Filling {
    layout: Layout,
    /// Cells as they stand in a leaf with slots; the keys of a fixed-width leaf.
    cells: Vec<u8>,
    slots: Vec<Cell>,
    /// The values of a fixed-width leaf.
    values: Vec<u8>,
    count: usize,
    used: usize,
}

impl Filling {
    /// No entries.
    pub fn new(layout: Layout) -> Self {
        Filling { layout, cells: Vec::new(), slots: Vec::new(), values: Vec::new(), count: 0, used: 0 }
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The last key.
    pub fn last_key(&self) -> Option<&[u8]> {
        match (self.layout.fixed, self.slots.last()) {
            (Some((width, _)), _) => self.cells.len().checked_sub(width).map(|start| &self.cells[start..]),
            (None, Some(last)) => {
                let start = last.start + last.value_len;
                Some(&self.cells[start..start + last.key_len])
            }
            (None, None) => None,
        }
    }

    /// Whether there is room for another entry, whose value takes so many bytes in the leaf.
    #[inline]
    pub fn has_room(&self, key_len: usize, value_len: usize) -> bool {
        self.used + entry_len(&self.layout, key_len, value_len) <= leaf_room(&self.layout)
    }

    /// Adds an entry behind the last one.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: Stored<'_>) {
        self.used += entry_len(&self.layout, key.len(), value.cell_len());
        self.count += 1;
        let (start, value_len, is_overflow) = (self.cells.len(), value.cell_len(), value.is_apart());
        match (self.layout.fixed, value) {
            (Some(_), Stored::Inline(value)) => {
                self.values.extend_from_slice(value);
                return self.cells.extend_from_slice(key);
            }
            (Some(_), _) => unreachable!("fixed-width values are never apart"),
            (None, Stored::Inline(value)) => self.cells.extend_from_slice(value),
            (None, Stored::Overflow(run)) => self.cells.extend_from_slice(&run.to_bytes()),
            (None, Stored::Set(set)) => self.cells.extend_from_slice(&set.to_bytes()),
        }
        self.cells.extend_from_slice(key);
        self.cells.resize(self.cells.len().next_multiple_of(self.layout.align), 0);
        self.slots.push(Cell { start, key_len: key.len(), value_len, is_overflow });
    }

    /// Writes the entries as a leaf. None are left.
    pub fn write(&mut self, page: &mut [u8], table: u32) {
        init_leaf(page, &self.layout, table);
        match self.layout.fixed {
            Some(_) => {
                fixed::fill(page, &self.cells, &self.values);
                header_mut(page).count.set(self.count as u16);
            }
            None => leaf::fill(page, &self.cells, &self.slots),
        }
        self.cells.clear();
        self.slots.clear();
        self.values.clear();
        (self.count, self.used) = (0, 0);
    }
}
