//! Short tasks, each as a program that runs: the code, why it is written so, and what it costs.
//!
//! Every example begins with `use mapleaf::*;` and a store, `let db = Database::temporary()?;`, and is run by
//! the tests of this crate as it stands. O(log n) is one page a level of the tree: three for a million
//! entries, four for a billion.
//!
//! | Changing | Finding | Keys and values | The store as a whole |
//! |---|---|---|---|
//! | [Counters](#counters) | [The next page, by key](#the-next-page-by-key) | [Keys of several parts](#keys-of-several-parts) | [Migrations](#migrations) |
//! | [Put once](#put-once) | [Page 50,000, by number](#page-50000-by-number) | [Keys from structs and enums](#keys-from-structs-and-enums) | [A table gets other types](#a-table-gets-other-types) |
//! | [Numbers for names](#numbers-for-names) | [Leaderboard](#leaderboard) | [Newest first](#newest-first) | [Backup into another store](#backup-into-another-store) |
//! | [Secondary index](#secondary-index) | [Median and percentiles](#median-and-percentiles) | [Structs without a copy](#structs-without-a-copy) | [Readers in other processes](#readers-in-other-processes) |
//! | [Unique index](#unique-index) | [Random sample](#random-sample) | [Serde values](#serde-values) | [Change listener](#change-listener) |
//! | [Sessions that expire](#sessions-that-expire) | [Scan on all cores](#scan-on-all-cores) | [A codec of your own](#a-codec-of-your-own) | [Change feed](#change-feed) |
//! | [Queue](#queue) | [Join](#join) | [Values that may not be wanted](#values-that-may-not-be-wanted) | [A follower that comes back](#a-follower-that-comes-back) |
//! | [Priority queue](#priority-queue) | [Names of large things](#names-of-large-things) | [Blobs](#blobs) | [Stores for tests](#stores-for-tests) |
//! | [Bounded cache](#bounded-cache) | [Autocomplete](#autocomplete) | [Tables of keys only](#tables-of-keys-only) | [Any store, without its types](#any-store-without-its-types) |
//! | [Optimistic edit](#optimistic-edit) | [Full-text search](#full-text-search) | | [A quota](#a-quota) |
//! | [Undo a part](#undo-a-part) | [What was valid at a time](#what-was-valid-at-a-time) | | [A report beside writers](#a-report-beside-writers) |
//! | [Load a million rows](#load-a-million-rows) | [Time series](#time-series) | | [A snapshot a day](#a-snapshot-a-day) |
//! | [A txn larger than memory](#a-txn-larger-than-memory) | [Graph](#graph) | | [Back to how it was](#back-to-how-it-was) |
//! | [Many small commits](#many-small-commits) | [Near a place](#near-a-place) | | [A backup a day](#a-backup-a-day) |
//! | [Commits that may be lost](#commits-that-may-be-lost) | [Two tables in step](#two-tables-in-step) | | |
//! | [Remove what matches](#remove-what-matches) | | | [A file that becomes shorter](#a-file-that-becomes-shorter) |
//!
//! # Changing
//!
//! ## Counters
//!
//! [`update`](crate::WriteTxn::update) makes a new value of the old one. It returns what it put, so the same
//! call hands out ids. O(log n).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const HITS: Table<str, u64> = Table::new("hits");
//!
//! let mut w = db.begin_write()?;
//! for page in ["/", "/about", "/"] {
//!     w.update(HITS, page, |hits| hits.unwrap_or(0) + 1)?;
//! }
//! w.commit()?;
//! assert_eq!(db.begin_read()?.get(HITS, "/")?, Some(2));
//! # Ok(()) }
//! ```
//!
//! ## Put once
//!
//! [`put_new`](crate::WriteTxn::put_new) leaves what is there and says whether it put; it is the lock of a
//! name, the seal of a request that must not run twice. O(log n).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const DONE: Table<[u8; 16], str> = Table::new("requests done");
//!
//! let request = [7; 16];
//! let first = db.write(|w| w.put_new(DONE, &request, "paid"))?;
//! let second = db.write(|w| w.put_new(DONE, &request, "paid twice"))?;
//! assert!(first && !second);
//! assert_eq!(db.begin_read()?.get(DONE, &request)?, Some("paid"));
//! # Ok(()) }
//! ```
//!
//! ## Numbers for names
//!
//! [`entry`](crate::WriteTxn::entry) looks once, and puts where there is nothing: every name gets a number,
//! and keeps it. (Where names are deleted too the next number comes from a counter.)
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const NUMBERS: Table<str, u32> = Table::new("numbers of names");
//!
//! fn number(w: &mut WriteTxn, name: &str) -> Result<u32> {
//!     let next = w.len(NUMBERS)? as u32;
//!     w.entry(NUMBERS, name)?.or_insert(&next)
//! }
//!
//! let mut w = db.begin_write()?;
//! assert_eq!((number(&mut w, "ann")?, number(&mut w, "bob")?, number(&mut w, "ann")?), (0, 1, 0));
//! # Ok(()) }
//! ```
//!
//! ## Secondary index
//!
//! A second table in the same txn: both change or neither does. The key of the index ends in the key of the
//! row, so that rows of one city stand together, each once. One more O(log n) a change.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const USERS: Table<u64, (String, String)> = Table::new("users"); // name, city
//! const BY_CITY: Table<(String, u64), ()> = Table::new("users by city");
//!
//! fn put_user(w: &mut WriteTxn, id: u64, name: &str, city: &str) -> Result<()> {
//!     if let Some(old) = w.remove(USERS, &id)? {
//!         w.delete(BY_CITY, &(old.value().1, id))?;
//!     }
//!     w.put(BY_CITY, &(city, id), &())?;
//!     w.put(USERS, &id, &(name, city))?;
//!     Ok(())
//! }
//!
//! db.write(|w| put_user(w, 7, "ann", "Oslo"))?;
//! db.write(|w| put_user(w, 8, "bob", "Oslo"))?;
//! db.write(|w| put_user(w, 7, "ann", "Rome"))?;
//! let r = db.begin_read()?;
//! let in_oslo = r.range(BY_CITY, Prefix(("Oslo",)))?.keys().map(|key| Ok(key?.1));
//! assert_eq!(in_oslo.collect::<Result<Vec<u64>>>()?, [8]);
//! # Ok(()) }
//! ```
//!
//! ## Unique index
//!
//! The key of the index is the column alone, and [`put_new`](crate::WriteTxn::put_new) is the constraint.
//! Where a txn does not end in `commit`, as where `?` leaves the function here, none of it has happened.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const USERS: Table<u64, str> = Table::new("users");
//! const BY_EMAIL: Table<str, u64> = Table::new("users by e-mail");
//! const LAST: Table<str, u64> = Table::new("last numbers");
//!
//! fn register(db: &Database, email: &str, name: &str) -> Result<Option<u64>> {
//!     let mut w = db.begin_write()?;
//!     let id = w.update(LAST, "user", |last| last.unwrap_or(0) + 1)?;
//!     if !w.put_new(BY_EMAIL, email, &id)? {
//!         return Ok(None);
//!     }
//!     w.put(USERS, &id, name)?;
//!     w.commit()?;
//!     Ok(Some(id))
//! }
//!
//! assert_eq!(register(&db, "ann@example.org", "Ann")?, Some(1));
//! assert_eq!(register(&db, "ann@example.org", "Another Ann")?, None);
//! assert_eq!(db.begin_read()?.len(USERS)?, 1);
//! # Ok(()) }
//! ```
//!
//! ## Sessions that expire
//!
//! A second table has the moment of expiry first in its key, so what has expired is a range at its start, and
//! the sweep costs what it removes; nothing is scanned. A session that is renewed has moved in it.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const SESSIONS: Table<[u8; 16], (u64, String)> = Table::new("sessions"); // expires, user
//! const EXPIRY: Table<(u64, [u8; 16]), ()> = Table::new("sessions by expiry");
//!
//! fn touch(w: &mut WriteTxn, id: [u8; 16], user: &str, expires: u64) -> Result<()> {
//!     if let Some((before, _)) = w.get(SESSIONS, &id)? {
//!         w.delete(EXPIRY, &(before, id))?;
//!     }
//!     w.put(EXPIRY, &(expires, id), &())?;
//!     w.put(SESSIONS, &id, &(expires, user))?;
//!     Ok(())
//! }
//!
//! fn sweep(w: &mut WriteTxn, now: u64) -> Result<u64> {
//!     let expired = ..(now + 1, [0; 16]);
//!     let ids = w.range(EXPIRY, expired)?.keys().map(|key| Ok(*key?.1)).collect::<Result<Vec<_>>>()?;
//!     for id in ids {
//!         w.delete(SESSIONS, &id)?;
//!     }
//!     w.delete_range(EXPIRY, expired)
//! }
//!
//! db.write(|w| touch(w, [1; 16], "ann", 1000))?;
//! db.write(|w| touch(w, [2; 16], "bob", 2000))?;
//! db.write(|w| touch(w, [1; 16], "ann", 3000))?; // renewed
//! assert_eq!(db.write(|w| sweep(w, 2500))?, 1);
//! assert!(db.begin_read()?.contains(SESSIONS, &[1; 16])?);
//! # Ok(()) }
//! ```
//!
//! ## Queue
//!
//! Numbers from a counter keep the order of arrival. [`pop_first`](crate::WriteTxn::pop_first) takes the
//! oldest, in O(log n), and a txn that is dropped puts it back. With several workers, in threads or
//! processes, a job must not keep the turn to write while it is being done: so taking it moves it to a second
//! table, under the time by which it must be done. Jobs of workers that died go back to where they were.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const LAST: Table<str, u64> = Table::new("last numbers");
//! const WAITING: Table<u64, str> = Table::new("jobs waiting");
//! const TAKEN: Table<(u64, u64), str> = Table::new("jobs taken"); // (deadline, number)
//!
//! fn push(w: &mut WriteTxn, job: &str) -> Result<bool> {
//!     let number = w.update(LAST, "job", |last| last.unwrap_or(0) + 1)?;
//!     w.put(WAITING, &number, job)
//! }
//!
//! fn take(w: &mut WriteTxn, now: u64) -> Result<Option<Removed<u64, str>>> {
//!     for late in w.extract_if(TAKEN, ..(now, 0), |_, _| true)?.collect::<Result<Vec<_>>>()? {
//!         w.put(WAITING, &late.key().1, late.value())?;
//!     }
//!     let job = w.pop_first(WAITING)?;
//!     if let Some(job) = &job {
//!         w.put(TAKEN, &(now + 60, job.key()), job.value())?;
//!     }
//!     Ok(job)
//! }
//!
//! db.write(|w| push(w, "resize cat.jpg"))?;
//! db.write(|w| push(w, "resize dog.jpg"))?;
//! let job = db.write(|w| take(w, 1000))?.expect("two wait");
//! assert_eq!(job.value(), "resize cat.jpg");
//! db.write(|w| w.delete(TAKEN, &(1060, job.key())))?; // it is done
//! assert_eq!(db.write(|w| take(w, 1000))?.expect("one waits").value(), "resize dog.jpg");
//! assert_eq!(db.write(|w| take(w, 1100))?.expect("one is late").value(), "resize dog.jpg");
//! # Ok(()) }
//! ```
//!
//! ## Priority queue
//!
//! The priority comes first in the key; what arrived first wins among equals. Both ends are O(log n).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const TASKS: Table<(u8, u64), str> = Table::new("tasks"); // (priority, number), 0 is the most urgent
//!
//! let mut w = db.begin_write()?;
//! w.put(TASKS, &(5, 0), "sweep")?;
//! w.put(TASKS, &(0, 1), "put out fire")?;
//! w.put(TASKS, &(5, 2), "dust")?;
//! let mut done = Vec::new();
//! while let Some(task) = w.pop_first(TASKS)? {
//!     done.push(task.value().to_owned());
//! }
//! assert_eq!(done, ["put out fire", "sweep", "dust"]);
//! # Ok(()) }
//! ```
//!
//! ## Bounded cache
//!
//! The value carries when it was last used; a second table orders by that, and its first entry is the next to
//! go. A hit is put again, so that it counts as used. What a crash may lose of a cache does not matter, so
//! its commits wait for no disk.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const CACHE: Table<str, (u64, String)> = Table::new("cache"); // last use, value
//! const BY_USE: Table<u64, str> = Table::new("cache by use");
//!
//! fn put(w: &mut WriteTxn, key: &str, value: &str, bound: u64) -> Result<()> {
//!     w.set_durability(Durability::Eventual);
//!     if let Some((last_use, _)) = w.get(CACHE, key)? {
//!         w.delete(BY_USE, &last_use)?;
//!     }
//!     let now = w.last(BY_USE)?.map_or(0, |(used, _)| used + 1);
//!     w.put(BY_USE, &now, key)?;
//!     w.put(CACHE, key, &(now, value))?;
//!     while w.len(CACHE)? > bound {
//!         let oldest = w.pop_first(BY_USE)?.expect("as many as in the cache");
//!         w.delete(CACHE, oldest.value())?;
//!     }
//!     Ok(())
//! }
//!
//! for key in ["a", "b", "a", "c"] {
//!     db.write(|w| put(w, key, "…", 2))?;
//! }
//! let r = db.begin_read()?;
//! assert_eq!((r.contains(CACHE, "a")?, r.contains(CACHE, "b")?), (true, false));
//! # Ok(()) }
//! ```
//!
//! ## Optimistic edit
//!
//! Think without holding the turn to write, then swap if nobody else has: for edits that take long, such as a
//! person's. Bytes are compared, in O(log n).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const PAGES: Table<str, str> = Table::new("wiki");
//!
//! fn edit(db: &Database, page: &str, edit: impl Fn(&str) -> String) -> Result<()> {
//!     loop {
//!         let r = db.begin_read()?;
//!         let old = r.get(PAGES, page)?;
//!         let new = edit(old.unwrap_or_default());
//!         if db.write(|w| w.compare_and_swap(PAGES, page, old, Some(&new[..])))? {
//!             return Ok(());
//!         }
//!     }
//! }
//!
//! edit(&db, "Oslo", |text| format!("{text}A city."))?;
//! edit(&db, "Oslo", |text| format!("{text} On a fjord."))?;
//! assert_eq!(db.begin_read()?.get(PAGES, "Oslo")?, Some("A city. On a fjord."));
//! # Ok(()) }
//! ```
//!
//! ## Undo a part
//!
//! [`nested`](crate::WriteTxn::nested) undoes its changes when it returns an error, and the txn around it
//! goes on; a [savepoint](crate::WriteTxn::savepoint) can be returned to many times. Both cost O(1) to make,
//! and a second copy of the pages that are changed before and after.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const STOCK: Table<str, u64> = Table::new("stock");
//!
//! fn take(w: &mut WriteTxn, what: &str) -> Result<bool> {
//!     let left = w.get(STOCK, what)?.unwrap_or(0).checked_sub(1);
//!     w.put(STOCK, what, &left.ok_or_else(|| Error::other("sold out"))?)
//! }
//!
//! let mut w = db.begin_write()?;
//! w.put(STOCK, "cup", &5)?;
//! for order in [&["cup", "pot"][..], &["cup"]] {
//!     let filled = w.nested(|w| order.iter().map(|what| take(w, what)).collect::<Result<Vec<_>>>());
//!     assert_eq!(filled.is_ok(), order == ["cup"]); // there is no pot, so the first order takes nothing
//! }
//! w.commit()?;
//! assert_eq!(db.begin_read()?.get(STOCK, "cup")?, Some(4));
//! # Ok(()) }
//! ```
//!
//! ## Load a million rows
//!
//! [`bulk_load`](crate::WriteTxn::bulk_load) takes rows in any order, sorts them, outside of memory where
//! they are many, and writes full pages once each; of equal keys the last one stays. Rows that are known to
//! ascend need no sorting: [`append`](crate::WriteTxn::append).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const WORDS: Table<str, u64> = Table::new("words");
//! const LINES: Table<u64, str> = Table::new("lines");
//!
//! let text = "the quick brown fox jumps over the lazy dog";
//! let mut w = db.begin_write()?;
//! w.bulk_load(WORDS, text.split(' ').map(|word| (word, word.len() as u64)))?;
//! for (number, line) in text.split("the").enumerate() {
//!     w.append(LINES, &(number as u64), line)?;
//! }
//! w.commit()?;
//! let r = db.begin_read()?;
//! assert_eq!((r.len(WORDS)?, r.len(LINES)?), (8, 3)); // "the" is there once
//! # Ok(()) }
//! ```
//!
//! ## A txn larger than memory
//!
//! A txn may change as much as the disk holds. Beyond [`dirty_limit`](crate::Options::dirty_limit) it writes
//! changed pages early, to places that nobody reads before the commit; undone, it leaves nothing.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! const ROWS: Table<u64, [u8]> = Table::new("rows");
//! let db = Options::new().dirty_limit(1 << 20).temporary_in(std::env::temp_dir())?;
//!
//! let mut w = db.begin_write()?;
//! for id in 0..5000 {
//!     w.put(ROWS, &id, &[7; 1000])?; // 5 MB in all, of which 1 MiB stays in memory
//! }
//! drop(w); // or commit
//! assert!(db.begin_read()?.is_empty(ROWS)?);
//! # Ok(()) }
//! ```
//!
//! ## Many small commits
//!
//! Threads that commit at the same time share a flush by themselves. [`batch`](crate::Database::batch) lets
//! them share the txn too, for updates so small that the commit is most of the work. An update that fails
//! undoes itself alone.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const VOTES: Table<str, u64> = Table::new("votes");
//!
//! std::thread::scope(|threads| {
//!     for voter in 0..8 {
//!         let (db, choice) = (&db, ["tea", "coffee"][voter % 2]);
//!         threads.spawn(move || db.batch(|w| w.update(VOTES, choice, |votes| votes.unwrap_or(0) + 1)));
//!     }
//! });
//! assert_eq!(db.begin_read()?.get(VOTES, "tea")?, Some(4));
//! # Ok(()) }
//! ```
//!
//! ## Commits that may be lost
//!
//! Each txn says what its commit promises. [`Durability::Eventual`](crate::Durability::Eventual) waits for no
//! disk: it survives the death of the process but perhaps not a power cut, and it can never damage the store
//! or leave half a txn. The next durable commit makes the ones before it durable too, with its one flush.
//! With a [ticket](crate::WriteTxn::commit_ticket) the wait for that can be later, or elsewhere.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const POSITIONS: Table<u64, (f64, f64)> = Table::new("positions");
//! const ORDERS: Table<u64, str> = Table::new("orders");
//!
//! let mut w = db.begin_write()?;
//! w.set_durability(Durability::Eventual);
//! w.put(POSITIONS, &7, &(59.9, 10.7))?;
//! w.commit()?;                                    // in the log, not flushed
//!
//! let mut w = db.begin_write()?;
//! w.put(ORDERS, &1, "two cups")?;
//! let ticket = w.commit_ticket()?;                // the next txn can begin
//! ticket.wait()?;                                 // on the disk, with all before it
//! # Ok(()) }
//! ```
//!
//! ## Remove what matches
//!
//! [`delete_range`](crate::WriteTxn::delete_range) takes whole subtrees and reads no leaf that lies inside
//! the range; [`retain`](crate::WriteTxn::retain) looks at each entry;
//! [`extract_if`](crate::WriteTxn::extract_if) also hands out what it removes.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const LOG: Table<u64, str> = Table::new("log");
//!
//! let mut w = db.begin_write()?;
//! w.bulk_load(LOG, (0..1000).map(|second| (second, if second % 100 == 0 { "error" } else { "debug" })))?;
//! assert_eq!(w.delete_range(LOG, ..500)?, 500);
//! assert_eq!(w.retain(LOG, .., |_, level| level != "debug")?, 495);
//! for error in w.extract_if(LOG, 600.., |_, level| level == "error")? {
//!     println!("error in second {}", error?.key());
//! }
//! assert_eq!(w.len(LOG)?, 1); // that of second 500
//! # Ok(()) }
//! ```
//!
//! # Finding
//!
//! ## The next page, by key
//!
//! The last key of one page is where the next begins, after it. O(log n + page), wherever it is, and rows
//! that come and go elsewhere move nothing.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use std::ops::Bound::{Excluded, Unbounded};
//! const POSTS: Table<u64, str> = Table::new("posts");
//!
//! fn page(r: &ReadTxn, after: Option<u64>) -> Result<Vec<(u64, &str)>> {
//!     let start = after.map_or(Unbounded, Excluded);
//!     r.range(POSTS, (start, Unbounded))?.take(20).collect()
//! }
//!
//! db.write(|w| w.bulk_load(POSTS, (0..50).map(|id| (id, "…"))))?;
//! let r = db.begin_read()?;
//! let first = page(&r, None)?;
//! let second = page(&r, first.last().map(|(id, _)| *id))?;
//! assert_eq!((second[0].0, second.len()), (20, 20));
//! # Ok(()) }
//! ```
//!
//! ## Page 50,000, by number
//!
//! Branches know how many entries are below them, so skipping a million costs O(log n), in ranges too. SQL's
//! OFFSET reads what it skips.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const POSTS: Table<u64, str> = Table::new("posts");
//!
//! db.write(|w| w.bulk_load(POSTS, (0..5000).map(|id| (id * 7, "…"))))?;
//! let r = db.begin_read()?;
//! let page: Vec<_> = r.range(POSTS, 700..)?.skip(50 * 20).take(20).collect::<Result<_>>()?;
//! assert_eq!(page[0], (7700, "…"));
//! let pages = r.count(POSTS, 700..)?.div_ceil(20);
//! assert_eq!(pages, 245);
//! # Ok(()) }
//! ```
//!
//! ## Leaderboard
//!
//! A table ordered by score answers both questions in O(log n): who is at a place, and at which place
//! somebody is. [`Reverse`](std::cmp::Reverse) puts the highest first, and names still ascend among equals.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use std::cmp::Reverse;
//! const SCORES: Table<str, u64> = Table::new("scores");
//! const BOARD: Table<(Reverse<u64>, String), ()> = Table::new("leaderboard");
//!
//! fn set_score(w: &mut WriteTxn, name: &str, score: u64) -> Result<bool> {
//!     if let Some(old) = w.get(SCORES, name)? {
//!         w.delete(BOARD, &(Reverse(old), name))?;
//!     }
//!     w.put(SCORES, name, &score)?;
//!     w.put(BOARD, &(Reverse(score), name), &())
//! }
//!
//! for (name, score) in [("ann", 50), ("bob", 80), ("eve", 80), ("ann", 95)] {
//!     db.write(|w| set_score(w, name, score))?;
//! }
//! let r = db.begin_read()?;
//! let score = r.get(SCORES, "eve")?.expect("she has played");
//! assert_eq!(r.rank(BOARD, &(Reverse(score), "eve"))?, 2); // behind two others
//! assert_eq!(r.nth(BOARD, 0)?, Some(((Reverse(95), "ann".into()), ())));
//! # Ok(()) }
//! ```
//!
//! ## Median and percentiles
//!
//! The entry at a rank, exact, in O(log n): of the whole table, or of a range of it.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const TIMES: Table<(u32, u64), ()> = Table::new("response times"); // (microseconds, request)
//!
//! let times = (0..1000).map(|request| ((request as u32 * 7919 % 1000, request), ()));
//! db.write(|w| w.bulk_load(TIMES, times))?;
//! let r = db.begin_read()?;
//! let median = r.nth(TIMES, r.len(TIMES)? / 2)?.map(|((micros, _), ())| micros);
//! let slow = r.nth(TIMES, r.len(TIMES)? * 99 / 100)?.map(|((micros, _), ())| micros);
//! assert_eq!((median, slow), (Some(500), Some(990)));
//! assert_eq!(r.count(TIMES, (900, 0)..)?, 100); // 900 µs or more
//! # Ok(()) }
//! ```
//!
//! ## Random sample
//!
//! Entries drawn by rank, each as likely as any other, with a source of chance of your own. O(log n) each.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use rand::Rng;
//! const USERS: Table<u64, str> = Table::new("users");
//!
//! db.write(|w| w.bulk_load(USERS, (0..1000).map(|id| (id, "…"))))?;
//! let r = db.begin_read()?;
//! let mut chance = rand::rng();
//! let drawn = r.table(USERS)?.sample(5, |below| chance.random_range(0..below))?;
//! assert_eq!(drawn.len(), 5);
//! # Ok(()) }
//! ```
//!
//! ## Scan on all cores
//!
//! [`split`](crate::TableView::split) cuts a range into parts of equal count, in O(parts × log n). A
//! snapshot, and an uncommitted txn too, can be read by any number of threads; here they are rayon's.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use rayon::prelude::*;
//! const SALES: Table<u64, u64> = Table::new("sales");
//!
//! db.write(|w| w.bulk_load(SALES, (0..10_000).map(|id| (id, id % 10))))?;
//! let r = db.begin_read()?;
//! let parts = r.table(SALES)?.split(.., 16)?;
//! let sum = |part: Range<'_, u64, u64>| part.map(|sale| Ok(sale?.1)).sum::<Result<u64>>();
//! let total: u64 = parts.into_par_iter().map(sum).sum::<Result<_>>()?;
//! assert_eq!(total, 45_000);
//! # Ok(()) }
//! ```
//!
//! ## Join
//!
//! [`get_many`](crate::ReadTxn::get_many) searches for all keys at once: the searches wait for memory
//! together, which makes it several times as fast as one after another where the table is larger than the
//! processor's caches.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const ORDERS: Table<u64, u64> = Table::new("orders"); // order to customer
//! const CUSTOMERS: Table<u64, str> = Table::new("customers");
//!
//! # db.write(|w| w.bulk_load(CUSTOMERS, [(1, "ann"), (2, "bob")]))?;
//! # db.write(|w| w.bulk_load(ORDERS, [(10, 2), (11, 1), (12, 3)]))?;
//! let r = db.begin_read()?;
//! let orders: Vec<(u64, u64)> = r.iter(ORDERS)?.collect::<Result<_>>()?;
//! let customers: Vec<u64> = orders.iter().map(|order| order.1).collect();
//! let joined: Vec<_> = orders.iter().zip(r.get_many(CUSTOMERS, &customers)?).collect();
//! assert_eq!(joined, [(&(10, 2), Some("bob")), (&(11, 1), Some("ann")), (&(12, 3), None)]);
//! # Ok(()) }
//! ```
//!
//! ## Names of large things
//!
//! [`keys`](crate::Range::keys) reads no large value: a listing of a terabyte of images costs what the names
//! cost.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const IMAGES: Table<str, [u8]> = Table::new("images");
//!
//! # for name in ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"] {
//! #     db.write(|w| w.put(IMAGES, name, &[7; 100_000]))?;
//! # }
//! let r = db.begin_read()?;
//! let cats: Vec<&str> = r.range(IMAGES, Prefix("cats/"))?.keys().collect::<Result<_>>()?;
//! assert_eq!(cats, ["cats/1.jpg", "cats/2.jpg"]);
//! # Ok(()) }
//! ```
//!
//! ## Autocomplete
//!
//! Keys that begin alike stand together: O(log n) to the first, then one after another.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const TERMS: Table<str, u64> = Table::new("terms"); // how often each was searched for
//!
//! # db.write(|w| w.bulk_load(TERMS, [("apple", 3), ("apply", 9), ("apricot", 2), ("banana", 5)]))?;
//! let r = db.begin_read()?;
//! let mut terms: Vec<(&str, u64)> = r.range(TERMS, Prefix("app"))?.collect::<Result<_>>()?;
//! terms.sort_by_key(|term| std::cmp::Reverse(term.1));
//! assert_eq!(terms, [("apply", 9), ("apple", 3)]);
//! # Ok(()) }
//! ```
//!
//! ## Full-text search
//!
//! A multimap has, for each word, the documents it occurs in, in order; small values lie side by side. Begin
//! with the rarest word ([`count_values`](crate::MultiView::count_values) is O(log n)) and look its documents
//! up in the other lists.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const POSTINGS: MultiTable<str, u64> = MultiTable::new("postings");
//!
//! let mut w = db.begin_write()?;
//! for (document, text) in [(1, "the quick fox"), (2, "the lazy dog"), (3, "the quick dog")] {
//!     for word in text.split(' ') {
//!         w.put_value(POSTINGS, word, &document)?;
//!     }
//! }
//! w.commit()?;
//!
//! let r = db.begin_read()?;
//! let (postings, mut found) = (r.multi(POSTINGS)?, Vec::new());
//! for document in postings.values("quick")? {
//!     let document = document?;
//!     if postings.contains("dog", &document)? && postings.contains("the", &document)? {
//!         found.push(document);
//!     }
//! }
//! assert_eq!(found, [3]);
//! # Ok(()) }
//! ```
//!
//! ## What was valid at a time
//!
//! The nearest entry at or below: the price of a day, the network of an address, the version of a key. O(log
//! n).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const PRICES: Table<(String, u32), u64> = Table::new("prices"); // (what, valid from)
//!
//! # let prices = [(("cup", 20250101), 10), (("cup", 20260101), 12), (("pot", 20250101), 30)];
//! # db.write(|w| w.bulk_load(PRICES, prices))?;
//! let r = db.begin_read()?;
//! let price = r.range(PRICES, ("cup", 0)..=("cup", 20250615))?.next_back().transpose()?;
//! assert_eq!(price, Some((("cup".into(), 20250101), 10)));
//! # Ok(()) }
//! ```
//!
//! ## Time series
//!
//! The series first and the time second: a series lies together, in order, and a span of it is a range, also
//! for `count`. Deleting the old reads no leaf inside the range. (All series at a time, with the time first,
//! would be another table.)
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const POINTS: Table<(String, u64), f64> = Table::new("points");
//!
//! let mut w = db.begin_write()?;
//! for series in ["cpu", "memory"] {
//!     w.bulk_load(POINTS, (0..100).map(|second| ((series, second), second as f64 / 100.0)))?;
//! }
//! for series in ["cpu", "memory"] {
//!     w.delete_range(POINTS, (series, 0)..(series, 60))?;
//! }
//! w.commit()?;
//! let r = db.begin_read()?;
//! let mut highest = 0.0_f64;
//! for point in r.range(POINTS, ("cpu", 70)..("cpu", 90))? {
//!     highest = highest.max(point?.1);
//! }
//! assert_eq!((highest, r.count(POINTS, Prefix(("memory",)))?), (0.89, 40));
//! # Ok(()) }
//! ```
//!
//! ## Graph
//!
//! Two multimaps, one each way, changed in the same txn. The degree of a node is O(log n); its neighbours lie
//! together.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const FOLLOWS: MultiTable<u64, u64> = MultiTable::new("follows");
//! const FOLLOWED_BY: MultiTable<u64, u64> = MultiTable::new("followed by");
//!
//! fn follow(w: &mut WriteTxn, who: u64, whom: u64) -> Result<bool> {
//!     w.put_value(FOLLOWS, &who, &whom)?;
//!     w.put_value(FOLLOWED_BY, &whom, &who)
//! }
//!
//! for (who, whom) in [(1, 2), (1, 3), (2, 4), (3, 4)] {
//!     db.write(|w| follow(w, who, whom))?;
//! }
//! let r = db.begin_read()?;
//! let mut within_two_steps = std::collections::BTreeSet::new();
//! for friend in r.values(FOLLOWS, &1)? {
//!     for next in r.values(FOLLOWS, &friend?)? {
//!         within_two_steps.insert(next?);
//!     }
//! }
//! assert_eq!(within_two_steps.into_iter().collect::<Vec<_>>(), [4]);
//! assert_eq!(r.values(FOLLOWED_BY, &4)?.len(), 2);
//! # Ok(()) }
//! ```
//!
//! ## Near a place
//!
//! The bits of x and y in turn (Morton's order) make one number in which a square cell is a range: a few
//! ranges cover any rectangle, and what lies just outside is filtered. The same goes for geohash text and
//! [`Prefix`](crate::Prefix).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const PLACES: Table<(u64, u64), str> = Table::new("places"); // (cell, id)
//!
//! fn cell(x: u32, y: u32) -> u64 {
//!     let bit = |number: u32, bit: u32| u64::from(number >> bit & 1);
//!     (0..32).fold(0, |cell, i| cell | bit(x, i) << (2 * i) | bit(y, i) << (2 * i + 1))
//! }
//!
//! let mut w = db.begin_write()?;
//! w.put(PLACES, &(cell(1000, 1000), 1), "mill")?;
//! w.put(PLACES, &(cell(1003, 1001), 2), "inn")?;
//! w.put(PLACES, &(cell(5000, 900), 3), "port")?;
//! let square = cell(1001, 1001) & !0xff; // 16 by 16
//! let near = w.range(PLACES, (square, 0)..(square + 0x100, 0))?;
//! let near: Vec<&str> = near.map(|place| Ok(place?.1)).collect::<Result<_>>()?;
//! assert_eq!(near, ["mill", "inn"]);
//! # Ok(()) }
//! ```
//!
//! ## Two tables in step
//!
//! Cursors move where they are told; [`seek_ge`](crate::Cursor::seek_ge) skips what the other table does not
//! have. Each seek is O(log n), so the smaller table sets the cost.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const STOCK: Table<u64, u64> = Table::new("stock");
//! const WANTED: Table<u64, u64> = Table::new("wanted");
//!
//! # db.write(|w| w.bulk_load(STOCK, (0..1000).map(|id| (id * 3, 1))))?;
//! # db.write(|w| w.bulk_load(WANTED, [(6, 1), (7, 1), (2000, 1), (2001, 1)]))?;
//! let r = db.begin_read()?;
//! let (mut stock, mut wanted, mut both) = (r.cursor(STOCK)?, r.cursor(WANTED)?, Vec::new());
//! let mut next = wanted.first()?;
//! while let Some((id, _)) = next {
//!     let Some((found, _)) = stock.seek_ge(&id)? else { break };
//!     if found == id {
//!         both.push(id);
//!     }
//!     next = wanted.seek_ge(&found.max(id + 1))?;
//! }
//! assert_eq!(both, [6, 2001]);
//! # Ok(()) }
//! ```
//!
//! # Keys and values
//!
//! ## Keys of several parts
//!
//! Tuples sort by their first element, then the second, and so on, text and all: byte for byte as
//! [`codec`](crate::codec) says. All that begins with some first elements is a [`Prefix`](crate::Prefix).
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const FILES: Table<(String, String), u64> = Table::new("files"); // (directory, name) to length
//!
//! let mut w = db.begin_write()?;
//! for (directory, name) in [("a", "x"), ("a", "y"), ("ab", "x"), ("b", "x")] {
//!     w.put(FILES, &(directory, name), &1)?;
//! }
//! assert_eq!(w.count(FILES, Prefix(("a",)))?, 2);
//! assert_eq!(w.delete_range(FILES, Prefix(("a",)))?, 2);
//! assert_eq!(w.range(FILES, ("ab", "x")..)?.count(), 2);
//! # Ok(()) }
//! ```
//!
//! ## Keys from structs and enums
//!
//! With the feature `derive` (a default one) a struct is stored as the tuple of its fields, an enum as one
//! byte for the variant and the fields of that. The order of fields and variants is the order of keys, and
//! part of the schema. Reading gives the struct; a tuple will do to look one up.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! #[derive(Key, Debug, PartialEq)]
//! struct Event {
//!     device: u32,
//!     level: Level,
//!     at: u64,
//! }
//! #[derive(Key, Debug, PartialEq)]
//! enum Level {
//!     Error,
//!     Warning { code: u16 },
//! }
//! const EVENTS: Table<Event, str> = Table::new("events");
//!
//! let mut w = db.begin_write()?;
//! w.put(EVENTS, &Event { device: 7, level: Level::Warning { code: 3 }, at: 20 }, "warm")?;
//! w.put(EVENTS, &Event { device: 7, level: Level::Error, at: 30 }, "fire")?;
//! let first = w.range(EVENTS, Prefix((7,)))?.next().transpose()?;
//! assert_eq!(first, Some((Event { device: 7, level: Level::Error, at: 30 }, "fire")));
//! assert_eq!(w.get(EVENTS, &(7, Level::Error, 30))?, Some("fire"));
//! # Ok(()) }
//! ```
//!
//! ## Newest first
//!
//! Any range can be read from its end. Where one part is to descend among others that ascend, it is
//! [`Reverse`](std::cmp::Reverse) in the key.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use std::cmp::Reverse;
//! const MESSAGES: Table<(String, Reverse<u64>), str> = Table::new("messages"); // (room, time)
//!
//! # for (room, at) in [("attic", 1), ("attic", 2), ("cellar", 1), ("cellar", 3)] {
//! #     db.write(|w| w.put(MESSAGES, &(room, Reverse(at)), "…"))?;
//! # }
//! let r = db.begin_read()?;
//! let newest = r.range(MESSAGES, Prefix(("attic",)))?.next().transpose()?;
//! assert_eq!(newest, Some((("attic".into(), Reverse(2)), "…")));
//! let last_room = r.iter(MESSAGES)?.next_back().transpose()?;
//! assert_eq!(last_room, Some((("cellar".into(), Reverse(1)), "…")));
//! # Ok(()) }
//! ```
//!
//! ## Structs without a copy
//!
//! What reading gives is a `&Point` into the mapping, aligned. One that is there can be changed in place in a
//! txn.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
//!
//! #[derive(Value, FromBytes, IntoBytes, KnownLayout, Immutable)]
//! #[repr(C)]
//! struct Point {
//!     x: f64,
//!     y: f64,
//! }
//! const POINTS: Table<u64, Point> = Table::new("points");
//!
//! let mut w = db.begin_write()?;
//! w.put(POINTS, &7, &Point { x: 1.0, y: 2.0 })?;
//! w.update_in_place(POINTS, &7, |bytes| bytes[..8].copy_from_slice(&5_f64.to_ne_bytes()))?;
//! w.commit()?;
//! let r = db.begin_read()?;
//! let point: &Point = r.get(POINTS, &7)?.expect("it was put");
//! assert_eq!((point.x, point.y), (5.0, 2.0));
//! # Ok(()) }
//! ```
//!
//! ## Serde values
//!
//! With the feature `serde` a value is any type that serde can read and write. It costs what decoding costs
//! at every read; text, bytes, numbers, tuples and zero-copy structs cost nothing.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use mapleaf::codec::Serde;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct User {
//!     name: String,
//!     tags: Vec<String>,
//! }
//! const USERS: Table<u64, Serde<User>> = Table::new("users");
//!
//! let ann = User { name: "Ann".into(), tags: vec!["admin".into()] };
//! db.write(|w| w.put(USERS, &7, &ann))?;
//! assert_eq!(db.begin_read()?.get(USERS, &7)?, Some(ann));
//! # Ok(()) }
//! ```
//!
//! ## A codec of your own
//!
//! A marker type says how bytes are read; [`Encode`](crate::codec::Encode) for what is written says how they
//! come about. The name is stored with the table, and opening it with another one is an error that prints
//! both.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use mapleaf::codec::{Codec, DecodeError, Encode, Key};
//! use std::{borrow::Cow, net::Ipv4Addr};
//!
//! struct Address;
//! impl Key for Address {}
//! impl Codec for Address {
//!     type View<'a> = Ipv4Addr;
//!     const WIDTH: Option<usize> = Some(4);
//!     fn type_name() -> Cow<'static, str> {
//!         "ipv4".into()
//!     }
//!     fn decode(bytes: &[u8]) -> Result<Ipv4Addr, DecodeError> {
//!         u32::decode(bytes).map(Ipv4Addr::from)
//!     }
//! }
//! impl Encode<Address> for Ipv4Addr {
//!     type Bytes<'a> = [u8; 4];
//!     fn encode(&self) -> [u8; 4] {
//!         self.octets()
//!     }
//! }
//! const HOSTS: Table<Address, str> = Table::new("hosts");
//!
//! db.write(|w| w.put(HOSTS, &Ipv4Addr::new(192, 0, 2, 7), "printer"))?;
//! let net = Ipv4Addr::new(192, 0, 2, 0)..=Ipv4Addr::new(192, 0, 2, 255);
//! assert_eq!(db.begin_read()?.count(HOSTS, net)?, 1);
//! # Ok(()) }
//! ```
//!
//! ## Values that may not be wanted
//!
//! Where decoding costs, [`Lazy`](crate::codec::Lazy) reads the same table and decodes what is asked for.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! use mapleaf::codec::Lazy;
//! const NOTES: Table<u64, (String, String)> = Table::new("notes");
//! const LAZY_NOTES: Table<u64, Lazy<(String, String)>> = Table::new("notes");
//!
//! db.write(|w| w.bulk_load(NOTES, (0..100).map(|id| (id, ("title", "text")))))?;
//! for note in db.begin_read()?.iter(LAZY_NOTES)? {
//!     let (id, note) = note?;
//!     if id == 43 {
//!         let (title, _) = note.decode()?;
//!         println!("{title}");
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! ## Blobs
//!
//! A large value is one run of pages in the file. It is written from a reader without being in memory as a
//! whole, read as one slice, or in parts: a part touches only its pages.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const FILES: Table<str, [u8]> = Table::new("files");
//!
//! let mut w = db.begin_write()?;
//! let len = 1_000_000;
//! w.put_from(FILES, "zeros", len, std::io::repeat(0))?;          // from a file: its length, and the file
//! w.reserve(FILES, "sevens", 5000, |buffer| buffer.fill(7))?;    // or made where it will lie
//! w.commit()?;
//! let r = db.begin_read()?;
//! assert_eq!(r.value_len(FILES, "zeros")?, Some(len));
//! assert_eq!(r.get_part(FILES, "sevens", 4990..5000)?, Some(&[7; 10][..]));
//! # Ok(()) }
//! ```
//!
//! ## Tables of keys only
//!
//! The value of a set is `()`, which takes no bytes.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const SEEN: Table<str, ()> = Table::new("seen");
//!
//! let mut w = db.begin_write()?;
//! let new: Vec<bool> =
//!     ["a.org", "b.org", "a.org"].iter().map(|url| w.put_new(SEEN, url, &())).collect::<Result<_>>()?;
//! assert_eq!(new, [true, true, false]);
//! assert!(w.contains(SEEN, "b.org")?);
//! # Ok(()) }
//! ```
//!
//! # The store as a whole
//!
//! ## Migrations
//!
//! The store carries a number of the application's own. [`migrate`](crate::Database::migrate) does the steps
//! that are missing and raises it, all in one txn: a step that fails leaves the store as it was, and of
//! several processes that start at once one does the work.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const NAMES: Table<u64, str> = Table::new("names");
//! const BY_NAME: Table<(String, u64), ()> = Table::new("by name");
//!
//! fn index_names(w: &mut WriteTxn) -> Result<()> {
//!     let names: Vec<(u64, String)> =
//!         w.iter(NAMES)?.map(|entry| entry.map(|(id, name)| (id, name.into()))).collect::<Result<_>>()?;
//!     for (id, name) in names {
//!         w.put(BY_NAME, &(name, id), &())?;
//!     }
//!     Ok(())
//! }
//!
//! db.write(|w| w.put(NAMES, &7, "ann"))?;
//! db.migrate(&[|_| Ok(()), index_names])?;        // from version 0 to 1, from 1 to 2
//! let r = db.begin_read()?;
//! assert_eq!((r.user_version(), r.len(BY_NAME)?), (2, 1));
//! # Ok(()) }
//! ```
//!
//! ## A table gets other types
//!
//! Opening a table with other types than it is stored with is an error. This rewrites it, in one txn.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const OLD: Table<u32, str> = Table::new("users");
//! const NEW: Table<u64, (String, bool)> = Table::new("users");
//!
//! db.write(|w| w.put(OLD, &7, "ann"))?;
//! assert!(matches!(db.begin_read()?.get(NEW, &7), Err(Error::SchemaMismatch { .. })));
//! db.write(|w| w.convert_table(OLD, NEW, |id, name, new| new.put(&u64::from(id), &(name, true))))?;
//! assert_eq!(db.begin_read()?.get(NEW, &7)?, Some(("ann".into(), true)));
//! # Ok(()) }
//! ```
//!
//! ## Backup into another store
//!
//! A snapshot does not change while it is copied, and writers do not wait for it. The copy has no free space.
//! [`copy_table`](crate::WriteTxn::copy_table) asks for no types.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let (db, backup) = (Database::temporary()?, Database::temporary()?);
//! # db.write(|w| w.put(Table::<u64, str>::new("users"), &7, "ann"))?;
//! let (r, mut w) = (db.begin_read()?, backup.begin_write()?);
//! for table in r.tables()? {
//!     w.copy_table(&r, &table.name)?;
//! }
//! w.set_user_version(r.user_version());
//! w.commit()?;
//! assert_eq!(backup.begin_read()?.tables()?.len(), 1);
//! # Ok(()) }
//! ```
//!
//! ## Readers in other processes
//!
//! Any number of processes open the same file, and share what is in memory of it. A reader that is told to
//! does not need the right to write; the kernel wakes it when there is something new.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.maple");
//! const PRICES: Table<str, u64> = Table::new("prices");
//!
//! // SAFETY: only mapleaf changes this file while it is open.
//! let writer = unsafe { Database::open(&path)? };
//! writer.write(|w| w.put(PRICES, "cup", &10))?;
//!
//! // In another process:
//! // SAFETY: as above.
//! let reader = unsafe { Options::new().read_only(true).open(&path)? };
//! let seen = reader.begin_read()?.txn_id();
//! # let elsewhere = std::thread::spawn(move || writer.write(|w| w.put(PRICES, "cup", &12)));
//! reader.wait_for_commit(seen, None)?;            // the writer puts 12, and this returns
//! assert_eq!(reader.begin_read()?.get(PRICES, "cup")?, Some(12));
//! # elsewhere.join().expect("no panic")?;
//! # Ok(()) }
//! ```
//!
//! ## Change listener
//!
//! The table is its own journal: who follows remembers the last key it has read, waits for a commit, and
//! reads what came after. Nothing is missed, however many commits lie between, and nothing is asked again and
//! again.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const MESSAGES: Table<u64, str> = Table::new("messages");
//!
//! let (mut next, mut heard) = (0, Vec::new());
//! # std::thread::scope(|threads| {
//! # threads.spawn(|| (0..3).try_for_each(|id| db.write(|w| w.put(MESSAGES, &id, "…")).map(|_| ())));
//! while heard.len() < 3 {
//!     let r = db.begin_read()?;
//!     for message in r.range(MESSAGES, next..)? {
//!         let (id, text) = message?;
//!         heard.push(text.to_owned());
//!         next = id + 1;
//!     }
//!     if heard.len() < 3 {
//!         db.wait_for_commit(r.txn_id(), None)?; // one after the snapshot that was just read
//!     }
//! }
//! # Ok::<_, Error>(()) })?;
//! # Ok(()) }
//! ```
//!
//! ## Change feed
//!
//! Where rows are changed and deleted as well, hold the snapshot that was seen last, and ask what
//! [differs](crate::ReadTxn::diff) between it and the next one: each key once, whatever the commits between did
//! to it. The cost follows the changes, not the table, and the writer does nothing for it. Who follows may be in
//! another process, and keep a copy in another store, an index in memory, a screen.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.maple");
//! use std::collections::{BTreeSet, HashMap};
//! const USERS: Table<u64, str> = Table::new("users"); // the city of each
//!
//! /// What `change` says, carried over into an index.
//! fn follow(by_city: &mut HashMap<String, BTreeSet<u64>>, change: &Change<u64, &str>) {
//!     if let Some(city) = change.before() {
//!         by_city.get_mut(*city).map(|ids| ids.remove(change.key()));
//!     }
//!     if let Some(city) = change.after() {
//!         by_city.entry(city.to_string()).or_default().insert(*change.key());
//!     }
//! }
//!
//! // SAFETY: only mapleaf changes this file while it is open.
//! let writer = unsafe { Database::open(&path)? };
//! // In another process:
//! // SAFETY: as above.
//! let reader = unsafe { Options::new().read_only(true).open(&path)? };
//! let (mut by_city, mut seen) = (HashMap::new(), reader.begin_read()?);
//! # writer.write(|w| w.bulk_load(USERS, [(1, "Oslo"), (2, "Oslo"), (3, "Rome")]))?;
//! # for round in 0..2 {
//! reader.wait_for_commit(seen.txn_id(), None)?; // and so on, in a loop
//! let now = reader.begin_read()?;
//! for change in seen.diff(&now, USERS)? {
//!     follow(&mut by_city, &change?);
//! }
//! seen = now; // lets go of the older one, whose pages can be used again
//! # if round == 0 {
//! #     writer.write(|w| { w.put(USERS, &1, "Rome")?; w.delete(USERS, &3) })?;
//! # }
//! # }
//! assert_eq!((&by_city["Oslo"], &by_city["Rome"]), (&[2].into(), &[1].into()));
//! # Ok(()) }
//! ```
//!
//! What is held keeps the pages that were replaced since: a follower that sleeps for long costs as much space as the changes
//! meanwhile. [`changed_tables`](crate::ReadTxn::changed_tables) says which tables need be looked at.
//!
//! ## A follower that comes back
//!
//! A stored snapshot is the place where one stopped that outlives the process. There are two, in turn; the copy
//! says in the same txn which of them it has reached. So each change arrives exactly once, wherever either side is
//! killed.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let (store, copy) = (Database::temporary()?, Database::temporary()?);
//! const USERS: Table<u64, str> = Table::new("users");
//!
//! fn catch_up(store: &Database, copy: &Database) -> Result<()> {
//!     let reached = copy.begin_read()?.user_version();
//!     let [from, to] = [reached, reached + 1].map(|turn| format!("follower {}", turn % 2));
//!     store.write(|w| {
//!         w.drop_snapshot(&to)?; // of the turn before; or of this one, if it was killed
//!         w.create_snapshot(&to)
//!     })?;
//!     let (old, new) = (store.read_snapshot(&from)?, store.read_snapshot(&to)?);
//!     copy.write(|w| {
//!         w.set_user_version(reached + 1);
//!         old.diff(&new, USERS)?.try_for_each(|change| {
//!             let change = change?;
//!             match change.after() {
//!                 Some(user) => w.put(USERS, change.key(), *user).map(drop),
//!                 None => w.delete(USERS, change.key()).map(drop),
//!             }
//!         })
//!     })
//! }
//!
//! // Once, before there is anything: store.write(|w| w.create_snapshot("follower 0"))
//! # store.write(|w| w.create_snapshot("follower 0"))?;
//! # store.write(|w| w.bulk_load(USERS, [(1, "ann"), (2, "bob")]))?;
//! catch_up(&store, &copy)?;
//! # store.write(|w| { w.put(USERS, &1, "anna")?; w.delete(USERS, &2) })?;
//! # catch_up(&store, &copy)?;
//! # assert_eq!(copy.begin_read()?.iter(USERS)?.collect::<Result<Vec<_>>>()?, [(1, "anna")]);
//! # store.write(|w| w.put(USERS, &3, "eve"))?;
//! # catch_up(&store, &copy)?;
//! # assert_eq!(copy.begin_read()?.len(USERS)?, 2);
//! # assert_eq!(store.begin_read()?.snapshots()?.len(), 2);
//! # Ok(()) }
//! ```
//!
//! ## Stores for tests
//!
//! A temporary store has no name and is gone with its last handle. One in memory never touches a disk. Both
//! do all that a file does.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! const USERS: Table<u64, str> = Table::new("users");
//!
//! for db in [Database::temporary()?, Database::in_memory()?] {
//!     db.write(|w| w.put(USERS, &7, "ann"))?;
//!     assert!(db.verify(&mut |_| {})?.is_clean()); // at the end of a test: every page is as it should be
//! }
//! # Ok(()) }
//! ```
//!
//! ## Any store, without its types
//!
//! Names and schemas are in the file; entries are readable as bytes, and [`codec`](crate::codec) says which.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! # db.write(|w| w.put(Table::<u64, str>::new("users"), &7, "ann"))?;
//! let r = db.begin_read()?;
//! for table in r.tables()?.iter().filter(|table| !table.schema.multi) {
//!     println!("{}: {} entries of {}", table.name, table.len, table.schema);
//!     for entry in r.raw_table(&table.name)?.expect("it is listed").iter() {
//!         let (key, value) = entry?;
//!         println!("  {key:02x?}: {value:02x?}");
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! ## A quota
//!
//! A store has no preset size. With one, the txn that would exceed it fails and leaves nothing; the store
//! goes on, and a later opening may allow more.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.maple");
//! const LINES: Table<u64, [u8]> = Table::new("lines");
//!
//! for (max_size, fits) in [(1 << 20, false), (1 << 24, true)] {
//!     // SAFETY: only mapleaf changes this file while it is open.
//!     let db = unsafe { Options::new().max_size(max_size).open(&path)? };
//!     let put = db.write(|w| (0..1000).try_for_each(|id| w.put(LINES, &id, &[0; 4000]).map(|_| ())));
//!     assert_eq!(matches!(put, Err(Error::Full { .. })), !fits);
//! }
//! # Ok(()) }
//! ```
//!
//! ## A report beside writers
//!
//! A snapshot is what one commit left, over all tables, for as long as it is held. It costs the pages that
//! change meanwhile, which are reused when it is dropped; [`readers`](crate::Database::readers) says who
//! holds which.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const ACCOUNTS: Table<u64, i64> = Table::new("accounts");
//!
//! db.write(|w| w.bulk_load(ACCOUNTS, (0..100).map(|id| (id, 10))))?;
//! let report = db.begin_read()?;
//! db.write(|w| w.put(ACCOUNTS, &1, &-990))?;
//! let sum = report.iter(ACCOUNTS)?.map(|account| Ok(account?.1)).sum::<Result<i64>>()?;
//! assert_eq!(sum, 1000);
//! # Ok(()) }
//! ```
//!
//! ## A snapshot a day
//!
//! A snapshot with a name stays, over restarts too, until it is dropped. It costs what has changed since it
//! was made ([`snapshots`](crate::Database::snapshots) says how much); the newest seven are kept here.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const STOCK: Table<str, u64> = Table::new("stock");
//!
//! fn keep(w: &mut WriteTxn, day: &str) -> Result<()> {
//!     w.create_snapshot(day)?;
//!     for old in w.snapshots()?.iter().rev().skip(7) {
//!         w.drop_snapshot(&old.name)?;
//!     }
//!     Ok(())
//! }
//!
//! for day in 1..=20 {
//!     db.write(|w| {
//!         w.put(STOCK, "tea", &day)?;
//!         keep(w, &format!("2026-11-{day:02}"))
//!     })?;
//! }
//! assert_eq!(db.read_snapshot("2026-11-14")?.get(STOCK, "tea")?, Some(14));
//! assert!(matches!(db.read_snapshot("2026-11-13"), Err(Error::SnapshotNotFound { .. })));
//! # Ok(()) }
//! ```
//!
//! ## Back to how it was
//!
//! A table of a snapshot is put back by copying it, within one txn; the other tables stay as they are.
//!
//! ```
//! # use mapleaf::*;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const STOCK: Table<str, u64> = Table::new("stock");
//!
//! db.write(|w| {
//!     w.put(STOCK, "tea", &5)?;
//!     w.create_snapshot("before the sale")
//! })?;
//! db.write(|w| w.delete(STOCK, "tea"))?;
//!
//! let before = db.read_snapshot("before the sale")?;
//! db.write(|w| {
//!     w.drop_table("stock")?;
//!     w.copy_table(&before, "stock")
//! })?;
//! assert_eq!(db.begin_read()?.get(STOCK, "tea")?, Some(5));
//! # Ok(()) }
//! ```
//!
//! ## A backup a day
//!
//! A [full backup](crate::Database::backup) on the first day, then what was changed since the day before, at a
//! cost that follows the change. Others write meanwhile. A crash in the middle leaves the files of the days
//! before; what is restored is the state of any of the days, or nothing and an error that names the file.
//!
//! ```
//! # use mapleaf::*;
//! # use std::path::Path;
//! # fn main() -> Result<()> {
//! # let (db, place) = (Database::temporary()?, tempfile::tempdir().unwrap());
//! # let directory = place.path();
//! const STOCK: Table<str, u64> = Table::new("stock");
//!
//! fn back_up(db: &Database, directory: &Path, day: u32) -> Result<()> {
//!     let file = |day: u32| directory.join(format!("{day}.backup"));
//!     let mut backup = db.backup()?.throttle(50 << 20); // bytes a second
//!     if day > 1 {
//!         backup = backup.since(&BackupInfo::read(file(day - 1))?)?;
//!     }
//!     backup.write_to(file(day), &mut |_| {}).map(drop)
//! }
//!
//! for day in 1..=5 {
//!     db.write(|w| w.put(STOCK, "tea", &day))?;
//!     back_up(&db, directory, day as u32)?;
//! }
//!
//! let path = directory.join("as of day 4.maple");
//! Restore::of((1..=4).map(|day| directory.join(format!("{day}.backup"))))?.write_to(&path, &mut |_| {})?;
//! # // SAFETY: only mapleaf changes this file while it is open.
//! let then = unsafe { Database::open(&path)? };
//! assert_eq!(then.begin_read()?.get(STOCK, "tea")?, Some(4));
//! # Ok(()) }
//! ```
//!
//! ## A file that becomes shorter
//!
//! After a large deletion the file is as long as it was. [`compact`](crate::Database::compact) moves what lies at
//! its end to the front, a few milliseconds at a time, when the program has nothing better to do; others read and
//! write between the steps. A snapshot that is held for long holds its pages where they are; that is said, and
//! the next call goes on.
//!
//! ```
//! # use mapleaf::*;
//! # use std::time::Duration;
//! # fn main() -> Result<()> {
//! # let db = Database::temporary()?;
//! const EVENTS: Table<u64, [u8]> = Table::new("events");
//!
//! db.write(|w| (0..5000).try_for_each(|i| w.put(EVENTS, &i, &[7; 500]).map(drop)))?;
//! db.write(|w| w.delete_range(EVENTS, ..4900))?;
//! let before = db.file_usage()?.len;
//! loop {
//!     let done = db.compact(Budget::time(Duration::from_millis(5)))?;
//!     if let Some(txn) = done.held_by {
//!         println!("the snapshot of txn {txn} keeps the file long");
//!     }
//!     if done.is_done {
//!         break;
//!     }
//! }
//! assert!(db.file_usage()?.len < before / 4);
//! # Ok(()) }
//! ```
