//! The one error type.
//!
//! Owns: [`Error`], its messages, and the helpers that build `Corrupt`.
//! Promises: a message says where, what was expected, what was found, and what to do next.

use std::fmt;
use std::io;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, by what a caller would do about it.
///
/// `{:?}`, which `unwrap` and a `main` that returns a [`Result`] print, is the variant's name and the text.
#[non_exhaustive]
pub enum Error {
    /// A system call failed. The transaction in which it happened cannot be committed; the store
    /// stays readable, and writable as soon as the cause is gone.
    Io {
        /// What was being done, with the file it was done to.
        context: String,
        /// The system's own error.
        source: io::Error,
    },
    /// Bytes in the file are not what they must be. Reading other pages may still work;
    /// `mapleaf verify` on a copy lists all the damage.
    Corrupt {
        /// The page (its byte offset in the file is `page * page_size`).
        page: u64,
        /// Expected and found.
        detail: String,
    },
    /// The file is not a mapleaf store, or was written by a version that this one cannot read.
    NotAStore {
        /// Expected and found.
        detail: String,
    },
    /// A backup cannot be used: it is damaged or was cut, is of another store, or does not follow the one before.
    Backup {
        /// Its file.
        name: String,
        /// Expected, found, and what to do.
        detail: String,
    },
    /// The stored schema of a table differs from the one it was opened with. Its text says both, and what differs.
    /// [`WriteTxn::convert_table`](crate::WriteTxn::convert_table) rewrites a table under another schema.
    SchemaMismatch {
        /// The table.
        table: String,
        /// The schema in the file: `u64 -> str`.
        stored: String,
        /// The schema of the caller's table definition.
        requested: String,
    },
    /// More migration steps were done to the store than this program knows: a newer one has used it. Use that one.
    NewerVersion {
        /// The store's user version: the steps it has had.
        stored: u64,
        /// The steps that this program knows.
        known: u64,
    },
    /// No table has this name.
    TableNotFound {
        /// The name that was asked for.
        table: String,
    },
    /// A table with this name exists already.
    TableExists {
        /// The name that was asked for.
        table: String,
    },
    /// No snapshot has this name; another process may just have dropped it.
    SnapshotNotFound {
        /// The name that was asked for.
        name: String,
        /// Those that there are, in order.
        known: Vec<String>,
    },
    /// A snapshot with this name exists already.
    SnapshotExists {
        /// The name that was asked for.
        name: String,
    },
    /// Stored bytes are not an encoding of the table's type.
    Decode {
        /// Expected and found.
        detail: String,
    },
    /// The key is longer than the page size allows.
    KeyTooLong {
        /// Length of the key in bytes.
        len: usize,
        /// The longest key that this table can hold.
        max: usize,
    },
    /// The value is longer than a value can be.
    ValueTooLong {
        /// Length of the value in bytes.
        len: u64,
        /// The longest value that can be stored.
        max: u64,
    },
    /// A key or value has another length than the table's fixed width.
    WrongWidth {
        /// "key" or "value".
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The table's width in bytes.
        width: usize,
    },
    /// Committing would make the file larger than [`Options::max_size`](crate::Options::max_size).
    /// The transaction can be aborted and the store goes on.
    Full {
        /// The size the file would need, in bytes.
        needed: u64,
        /// The quota in bytes.
        quota: u64,
    },
    /// Another process holds what is needed, or the store is in a state that forbids the call.
    Busy {
        /// What is held, and by whom as far as known.
        detail: String,
    },
    /// The txn or snapshot was begun in the process that this one was forked from. Its write txn is the
    /// parent's to finish; begin one anew. (A snapshot of the parent can be read in the child, unless another
    /// thread was just beginning it, or the child was made by a bare system call.)
    Forked,
    /// The file is on a network file system, where other machines see neither locks nor what is mapped. Copy it to
    /// a local one; or see [`Options::immutable`](crate::Options::immutable) and
    /// [`Options::any_file_system`](crate::Options::any_file_system).
    NetworkFileSystem {
        /// The file.
        path: std::path::PathBuf,
        /// The file system.
        name: &'static str,
    },
    /// The file was removed, or another was put in its place, while it was open. What is committed now would be lost with
    /// the last handle, so nothing is; reading goes on. Copy what is needed out of this handle, then open the file anew.
    FileRemoved {
        /// Where it was.
        path: std::path::PathBuf,
    },
    /// An earlier call on this transaction failed half-way; it can only be aborted, or rolled back to a savepoint.
    Poisoned,
    /// The savepoint belongs to another transaction, or was undone by an earlier rollback.
    UnknownSavepoint,
    /// An option or argument is outside its limits.
    InvalidArgument {
        /// Which, expected, found.
        detail: String,
    },
    /// The store was opened read-only.
    ReadOnly,
    /// The store was not closed, and nobody has it open who could replay its redo log. Open it once to
    /// write; or set [`Options::ignore_log`](crate::Options::ignore_log) and see the last checkpoint.
    LogToReplay {
        /// Txns in the log.
        txns: usize,
    },
    /// An error of the caller's own, from a closure or an iterator that was passed in: [`Error::other`] wraps it,
    /// and matching on this, then `downcast_ref`, gets it back.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error of the caller's own, to end a closure with.
    ///
    /// ```
    /// use mapleaf::{Database, Error, Table};
    /// const STOCK: Table<str, u32> = Table::new("stock");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// let sold = db.write(|w| {
    ///     let left = w.get(STOCK, "pears")?.unwrap_or(0).checked_sub(1);
    ///     w.put(STOCK, "pears", &left.ok_or_else(|| Error::other("sold out"))?)
    /// });
    /// assert_eq!(sold.unwrap_err().to_string(), "sold out");
    /// # Ok(()) }
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Other(error.into())
    }

    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Error::Io { context: context.into(), source }
    }

    #[cold]
    pub(crate) fn corrupt(page: u64, detail: impl Into<String>) -> Self {
        Error::Corrupt { page, detail: detail.into() }
    }

    /// What is wrong, without the page, which stands beside it.
    pub(crate) fn detail(&self) -> String {
        match self {
            Error::Corrupt { detail, .. } => detail.clone(),
            other => other.to_string(),
        }
    }

    /// The name of the variant.
    fn variant(&self) -> &'static str {
        match self {
            Error::Io { .. } => "Io",
            Error::Corrupt { .. } => "Corrupt",
            Error::NotAStore { .. } => "NotAStore",
            Error::Backup { .. } => "Backup",
            Error::SchemaMismatch { .. } => "SchemaMismatch",
            Error::NewerVersion { .. } => "NewerVersion",
            Error::TableNotFound { .. } => "TableNotFound",
            Error::TableExists { .. } => "TableExists",
            Error::SnapshotNotFound { .. } => "SnapshotNotFound",
            Error::SnapshotExists { .. } => "SnapshotExists",
            Error::Decode { .. } => "Decode",
            Error::KeyTooLong { .. } => "KeyTooLong",
            Error::ValueTooLong { .. } => "ValueTooLong",
            Error::WrongWidth { .. } => "WrongWidth",
            Error::Full { .. } => "Full",
            Error::Busy { .. } => "Busy",
            Error::Forked => "Forked",
            Error::NetworkFileSystem { .. } => "NetworkFileSystem",
            Error::FileRemoved { .. } => "FileRemoved",
            Error::Poisoned => "Poisoned",
            Error::UnknownSavepoint => "UnknownSavepoint",
            Error::InvalidArgument { .. } => "InvalidArgument",
            Error::ReadOnly => "ReadOnly",
            Error::LogToReplay { .. } => "LogToReplay",
            Error::Other(_) => "Other",
        }
    }

    pub(crate) fn backup(name: &str, detail: impl Into<String>) -> Self {
        Error::Backup { name: name.to_owned(), detail: detail.into() }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Error::InvalidArgument { detail: detail.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { context, source } => write!(f, "{context}: {source}"),
            Error::Corrupt { page, detail } => {
                write!(f, "page {page}: {detail}; run \"mapleaf verify\" on a copy of the file")
            }
            Error::NotAStore { detail } => write!(f, "not a mapleaf store: {detail}"),
            Error::Backup { name, detail } => write!(f, "{name} {detail}"),
            Error::SchemaMismatch { table, stored, requested } => write!(
                f,
                "table {table:?} is stored as {stored}, and was opened as {requested}: {}; open it with the \
                 stored types, or rewrite it (WriteTxn::convert_table, or retype_table where the bytes are the same)",
                what_differs(stored, requested)
            ),
            Error::NewerVersion { stored, known } => write!(
                f,
                "the store has user version {stored}, and this program knows of {known} migration steps: a newer program \
                 has migrated it; use that one, or a copy of the store from before"
            ),
            Error::TableNotFound { table } => {
                write!(f, "no table {table:?}; \"mapleaf tables\" lists those there are")
            }
            Error::TableExists { table } => {
                write!(f, "there is a table {table:?} already; drop or rename it first")
            }
            Error::SnapshotNotFound { name, known } if known.is_empty() => {
                write!(f, "no snapshot {name:?}; the store has none")
            }
            Error::SnapshotNotFound { name, known } => {
                write!(f, "no snapshot {name:?}; there are {known:?}")
            }
            Error::SnapshotExists { name } => {
                write!(f, "there is a snapshot {name:?} already; drop it first, or take another name")
            }
            Error::Decode { detail } => {
                write!(
                    f,
                    "{detail}; the entry was written with another type: open the table as raw bytes to see it"
                )
            }
            Error::KeyTooLong { len, max } => write!(
                f,
                "key of {len} bytes, at most {max} fit; shorten it or create the store with larger pages"
            ),
            Error::ValueTooLong { len, max } => {
                write!(f, "value of {len} bytes, at most {max} can be stored; split it")
            }
            Error::WrongWidth { what, len, width } => {
                write!(f, "{what} of {len} bytes in a table whose {what}s have exactly {width}")
            }
            Error::Full { needed, quota } => write!(
                f,
                "the file would need {needed} bytes, the quota is {quota}; \
                 abort, delete in smaller transactions, or raise max_size"
            ),
            Error::Busy { detail } => f.write_str(detail),
            Error::Forked => f.write_str(
                "this transaction was begun in another process, from which this one was forked; begin a new one here",
            ),
            Error::NetworkFileSystem { path, name } => write!(
                f,
                "{} is on a network file system ({name}), where other machines see neither its locks nor what is mapped; \
                 copy it to a local one, open it as immutable to read it, or allow any file system if only this machine \
                 uses it",
                path.display()
            ),
            Error::FileRemoved { path } => write!(
                f,
                "{} was removed or replaced while it was open, and what is committed now would be lost with the \
                 last process that has it open: copy what is needed out of this handle, and open the file anew",
                path.display()
            ),
            Error::Poisoned => {
                f.write_str("an earlier error left this transaction half-done; abort it, or roll back to a savepoint")
            }
            Error::UnknownSavepoint => {
                f.write_str("the savepoint is of another transaction or was undone by an earlier rollback")
            }
            Error::InvalidArgument { detail } => f.write_str(detail),
            Error::ReadOnly => f.write_str("the store was opened read-only; open it for writing"),
            Error::LogToReplay { txns } => write!(
                f,
                "the store was not closed, and its log holds {} not in the tables yet; open it \
                 once for writing, or ask for the last checkpoint without them",
                match txns {
                    1 => "1 txn that is".to_owned(),
                    txns => format!("{txns} txns that are"),
                }
            ),
            Error::Other(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.variant())
    }
}

/// Of two schemas, as they print themselves.
fn what_differs(stored: &str, requested: &str) -> &'static str {
    let (Some((old_key, old_value)), Some((new_key, new_value))) =
        (stored.split_once(" -> "), requested.split_once(" -> "))
    else {
        return "they differ";
    };
    let type_of = |value: &str| value.split_once(" aligned to ").map_or(value, |(name, _)| name).to_owned();
    match (old_key == new_key, old_value == new_value) {
        (false, true) => "the keys differ",
        (false, false) => "keys and values differ",
        (true, false) if type_of(old_value) == type_of(new_value) => "the alignment of the values differs",
        (true, false) if old_value.starts_with("many ") != new_value.starts_with("many ") => {
            "one of them is a multimap, with many values to a key"
        }
        (true, false) if old_value.contains(" (keys of ") => {
            "the widths differ, and the names of the types do not"
        }
        _ => "the values differ",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Other(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_name_and_the_text() {
        let schema = Error::SchemaMismatch {
            table: "users".into(),
            stored: "u64 -> str".into(),
            requested: "u32 -> str".into(),
        };
        assert_eq!(format!("{schema:?}"), format!("SchemaMismatch: {schema}"));
        assert!(schema.to_string().contains("open it with the stored types"), "{schema}");
        for (error, expected) in [
            (Error::ReadOnly, "ReadOnly: the store was opened read-only"),
            (Error::other("sold out"), "Other: sold out"),
            (
                Error::LogToReplay { txns: 1 },
                "LogToReplay: the store was not closed, and its log holds 1 txn that is",
            ),
            (
                Error::LogToReplay { txns: 2 },
                "LogToReplay: the store was not closed, and its log holds 2 txns that are",
            ),
        ] {
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        }
    }
}
