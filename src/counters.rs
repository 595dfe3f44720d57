//! Counters: what the store did in this process since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the store did in this process since it was opened. Reading them costs a load each.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters as they are being counted.
        #[derive(Default)]
        pub struct Counting {
            $(pub $name: Counter,)*
        }

        impl Counting {
            /// As they stand now.
            pub fn read(&self) -> Counters {
                Counters { $($name: self.$name.read(),)* }
            }
        }

        impl Counters {
            /// Each of them with its name, for whoever tells a monitor of them. All only grow while the store is open.
            ///
            /// ```
            /// # use mapleaf::{Database, Error, Table};
            /// # let db = Database::temporary()?;
            /// # db.write(|w| w.put(Table::<str, u64>::new("t"), "one", &1))?;
            /// // What Prometheus reads.
            /// for (name, count) in db.counters().iter() {
            ///     println!("# TYPE mapleaf_{name}_total counter\nmapleaf_{name}_total {count}");
            /// }
            /// # let all: Vec<_> = db.counters().iter().collect();
            /// # assert!(all.contains(&("commits", 1)) && all.contains(&("aborted_txns", 0)));
            /// # Ok::<_, Error>(())
            /// ```
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Write txns that were begun. Those that are not among the commits or the aborted ones have changed nothing, or
    /// are under way. (Snapshots are not counted: readers would have to share a counter, and wait for each other.)
    begun_txns,
    /// Write txns that were dropped with changes in them, or whose commit failed before it was handed over.
    aborted_txns,
    /// Txns handed over, those included whose flush failed afterwards.
    commits,
    /// Those of them that went to the redo log.
    logged_commits,
    /// Bytes of redo records.
    log_bytes,
    /// Flushes of the log. Where threads commit at the same time, one serves several txns.
    log_flushes,
    /// Checkpoints, for whatever reason.
    checkpoints,
    /// Checkpoints because the log was full, or there was none yet.
    log_full_checkpoints,
    /// Checkpoints because too many pages were held back for the one before.
    held_checkpoints,
    /// Checkpoints because the txn had more to log than a checkpoint writes, or large values.
    large_checkpoints,
    /// Checkpoints that were asked for: [`Durability::Ordered`](crate::Durability::Ordered) and
    /// [`Database::checkpoint`](crate::Database::checkpoint).
    asked_checkpoints,
    /// Runs of pages out of use that were looked at to see whether a snapshot still needs them: each once when it
    /// was given up, and again when the snapshot ended for which it waited. What others wait for costs nothing.
    judged_runs,
    /// Flushes of anything that failed.
    failed_flushes,
    /// Flushes of the data file that were begun.
    flushes,
    /// Bytes that were written to the data file, pages and log.
    written_bytes,
    /// Bytes that were given back to the system: punched out of the data file.
    punched_bytes,
    /// Bytes of holes that were given blocks again, before they were used.
    filled_bytes,
    /// How often the log was looked at for txns to replay: at opening, after a failed flush, and after the
    /// death of whoever flushed.
    recoveries,
    /// Txns that recoveries replayed from the log.
    replayed_txns,
}

/// One number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
