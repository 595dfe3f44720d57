//! Jumping within a range: counts in branches tell where the entries are that lie so many steps ahead.
//!
//! Owns: what [`Range`] does other than step by step. Promises: the same entries as stepping gives. Leaves that are
//! jumped over are not read, so damage in them is not noticed.

use super::{Range, Steps, confine_back, confine_front, high_place, low_place};
use crate::codec::{Codec, Key};
use crate::error::{Error, Result};
use crate::tree::cursor::{Cursor, Place, rank};
use crate::tree::search::SourceObject;

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Range<'t, K, V> {
    /// How many entries are left, between both ends. O(log n).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// # db.write(|w| (0..100).try_for_each(|id| w.put(USERS, &id, "someone").map(drop)))?;
    /// let r = db.begin_read()?;
    /// let mut users = r.range(USERS, 10..)?;
    /// users.next();
    /// assert_eq!(users.remaining()?, 89);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` where a page on the way to an end is damaged.
    pub fn remaining(&self) -> Result<u64> {
        if let Some(error) = &self.again {
            return Err(copy_of(error));
        }
        let rank_of = |place| rank(self.view.source, &self.view.tree, place);
        let (low, high) = match self.steps {
            Steps::None => (rank_of(low_place(&self.low))?, rank_of(high_place(&self.high))?),
            Steps::Forwards => (self.front.rank()?, rank_of(high_place(&self.high))?),
            Steps::Backwards => (rank_of(low_place(&self.low))?, self.back.rank()?),
            Steps::Both(left) => (0, left),
            Steps::Done => (0, 0),
        };
        Ok(high.saturating_sub(low))
    }

    /// At most so many steps are left; known without reading anything.
    pub(super) fn at_most(&self) -> u64 {
        match self.steps {
            Steps::Both(left) => left,
            Steps::Done => 0,
            _ => self.view.tree.len(),
        }
    }

    /// See [`Iterator::nth`]; `next` takes the entry.
    pub(super) fn jump<T>(
        &mut self,
        n: usize,
        next: impl FnOnce(&mut Self) -> Option<Result<T>>,
    ) -> Option<Result<T>> {
        self.jump_over(next, |range| range.pass(n as u64))
    }

    /// See [`DoubleEndedIterator::nth_back`].
    pub(super) fn jump_back<T>(
        &mut self,
        n: usize,
        next: impl FnOnce(&mut Self) -> Option<Result<T>>,
    ) -> Option<Result<T>> {
        self.jump_over(next, |range| range.pass_back(n as u64))
    }

    /// `skip` drops what `nth` gives; an error that it meets must not be lost with it.
    fn jump_over<T>(
        &mut self,
        next: impl FnOnce(&mut Self) -> Option<Result<T>>,
        pass: impl FnOnce(&mut Self) -> Result<bool>,
    ) -> Option<Result<T>> {
        if self.again.is_some() {
            return next(self);
        }
        let found = match pass(self) {
            Ok(true) => next(self),
            passed => {
                self.end();
                passed.err().map(Err)
            }
        };
        if let Some(Err(error)) = &found {
            self.again = Some(Box::new(copy_of(error)));
        }
        found
    }

    /// See [`Iterator::count`].
    pub(super) fn count_all(self) -> usize {
        match self.remaining() {
            Ok(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Err(_) => self.fold(0, |count, _| count + 1),
        }
    }

    /// Passes over `n` entries at the front. False where there are fewer.
    fn pass(&mut self, n: u64) -> Result<bool> {
        match self.steps {
            Steps::None => {
                self.front = self.cursor(low_place(&self.low))?;
                self.steps = Steps::Forwards;
                confine_front(&mut self.front.entries, &self.high)?;
            }
            Steps::Backwards => {
                self.front = self.cursor(low_place(&self.low))?;
                self.count_steps()?;
            }
            Steps::Forwards | Steps::Both(_) | Steps::Done => {}
        }
        match self.steps {
            Steps::Both(left) if n < left => {
                self.front = self.cursor(Place::Rank(self.front.rank()?.saturating_add(n)))?;
                self.front.entries.hold();
                self.steps = Steps::Both(left - n);
                Ok(true)
            }
            Steps::Forwards => self.pass_leaves(n),
            _ => Ok(false),
        }
    }

    /// Leaf by leaf as long as it may be the next one; then by rank.
    fn pass_leaves(&mut self, mut n: u64) -> Result<bool> {
        loop {
            n = self.front.entries.pass(n);
            if n == 0 {
                return Ok(true);
            }
            if self.front.entries.ends_early() {
                return Ok(false);
            }
            if n > self.front.entries.count() as u64 {
                let rank = self.front.rank()?.saturating_add(n);
                if rank >= self.view.tree.len() {
                    return Ok(false);
                }
                self.front = self.cursor(Place::Rank(rank))?;
                n = 0;
            } else if !self.front.move_to_leaf(true)? {
                return Ok(false);
            }
            confine_front(&mut self.front.entries, &self.high)?;
        }
    }

    /// Passes over `n` entries at the back. False where there are fewer.
    fn pass_back(&mut self, n: u64) -> Result<bool> {
        match self.steps {
            Steps::None => {
                self.back = self.cursor(high_place(&self.high))?;
                self.steps = Steps::Backwards;
                confine_back(&mut self.back.entries, &self.low)?;
            }
            Steps::Forwards => {
                self.back = self.cursor(high_place(&self.high))?;
                self.count_steps()?;
            }
            Steps::Backwards | Steps::Both(_) | Steps::Done => {}
        }
        match self.steps {
            Steps::Both(left) if n < left => {
                self.back = self.cursor_behind(self.back.rank()?, n)?;
                self.back.entries.hold();
                self.steps = Steps::Both(left - n);
                Ok(true)
            }
            Steps::Backwards => self.pass_leaves_back(n),
            _ => Ok(false),
        }
    }

    fn pass_leaves_back(&mut self, mut n: u64) -> Result<bool> {
        loop {
            n = self.back.entries.pass_back(n);
            if n == 0 {
                return Ok(true);
            }
            if self.back.entries.starts_late() {
                return Ok(false);
            }
            if n > self.back.entries.count() as u64 {
                let rank = self.back.rank()?;
                if rank <= n {
                    return Ok(false);
                }
                self.back = self.cursor_behind(rank, n)?;
                n = 0;
            } else if !self.back.move_to_leaf(false)? {
                return Ok(false);
            }
            confine_back(&mut self.back.entries, &self.low)?;
        }
    }

    fn cursor(&self, place: Place<'_>) -> Result<Cursor<'t, SourceObject<'t>>> {
        self.view.walk(place)
    }

    /// A cursor `n` entries before `rank`, in the leaf of the entry before it.
    fn cursor_behind(&self, rank: u64, n: u64) -> Result<Cursor<'t, SourceObject<'t>>> {
        let before = rank.checked_sub(n).and_then(|rank| rank.checked_sub(1));
        let before = before.ok_or_else(|| self.view.miscounted())?;
        let mut cursor = self.cursor(Place::Rank(before))?;
        cursor.entries.forward();
        Ok(cursor)
    }
}

/// Of an error that reading can give.
fn copy_of(error: &Error) -> Error {
    match error {
        Error::Corrupt { page, detail } => Error::corrupt(*page, detail.clone()),
        Error::Decode { detail } => Error::Decode { detail: detail.clone() },
        Error::Io { context, source } => {
            let again = || std::io::Error::new(source.kind(), source.to_string());
            let source = source.raw_os_error().map_or_else(again, std::io::Error::from_raw_os_error);
            Error::io(context.clone(), source)
        }
        Error::Forked => Error::Forked,
        other => Error::invalid(other.to_string()),
    }
}
