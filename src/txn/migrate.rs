//! From the store of an older program to that of this one.
//!
//! Owns: [`WriteTxn::migrate`]. Promises: steps run once, in order, in one txn.

use super::WriteTxn;
use crate::error::{Error, Result};

/// One step from a user version to the next: see [`Database::migrate`](crate::Database::migrate).
pub type Migration = fn(&mut WriteTxn) -> Result<()>;

impl WriteTxn {
    /// Runs the steps that this store has not had yet, as part of this txn: what
    /// [`Database::migrate`](crate::Database::migrate) does in one of its own. Returns the user version before.
    ///
    /// # Errors
    /// `NewerVersion` where the store has had more steps than there are; those of the steps: the txn is to be aborted then,
    /// for the steps before have changed it.
    pub fn migrate(&mut self, steps: &[Migration]) -> Result<u64> {
        let from = self.user_version();
        for (version, step) in (1..).zip(steps).skip(steps_done(from, steps)?) {
            step(self)?;
            self.set_user_version(version);
        }
        Ok(from)
    }
}

/// How many of the steps a store of this user version has had.
///
/// # Errors
/// `NewerVersion` where there are not so many.
pub(crate) fn steps_done(version: u64, steps: &[Migration]) -> Result<usize> {
    match usize::try_from(version) {
        Ok(done) if done <= steps.len() => Ok(done),
        _ => Err(Error::NewerVersion { stored: version, known: steps.len() as u64 }),
    }
}
