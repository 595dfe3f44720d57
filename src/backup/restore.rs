//! From backups to a store.
//!
//! Owns: [`Restore`]: that the backups follow one another, and building a store of their pages. Promises: the
//! store is there whole or not at all; before it gets its name all that its state refers to was judged as
//! `verify` does. Its pages have the numbers and births that they had; its id is new, so that no backup of
//! the store before can follow one of its own. Leaves to others: the form of a backup ([`super::stream`]).

use super::place::{NewFile, exists};
use super::stream::{Header, Source};
use super::{BackupInfo, named, open};
use crate::catalog::{catalog_tree, list_tables};
use crate::copies::{Copies, Kept};
use crate::create::{directory_of, refuse_network};
use crate::disk::{Disk, Mapped, within_limit};
use crate::error::{Error, Result};
use crate::format::{ChildRef, META_OFFSETS, Meta, header_mut, meta_pages, page_checksum};
use crate::lineage::{self, Checkpoint};
use crate::log::{Log, Tail};
use crate::options::Config;
use crate::shared::State;
use crate::snapshot::PageSource;
use crate::space::{Chunk, Run, RunSet, Space};
use crate::tree::check::{Findings, check_tree};
use crate::verify::Progress;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Zeros are written in pieces of this size.
const PIECE: u64 = 1 << 20;

/// Backups of one store that follow one another: a full one, then any number of incremental ones, each made
/// since the one before.
///
/// ```
/// # fn main() -> mapleaf::Result<()> {
/// # use mapleaf::{BackupInfo, Database, Error, Restore, Table};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = |name: &str| directory.path().join(name);
/// # const STOCK: Table<str, u64> = Table::new("stock");
/// # let db = Database::temporary()?;
/// db.write(|w| w.put(STOCK, "tea", &5))?;
/// db.backup()?.write_to(path("monday"), &mut |_| {})?;
/// db.write(|w| w.put(STOCK, "tea", &3))?;
/// db.backup()?.since(&BackupInfo::read(path("monday"))?)?.write_to(path("tuesday"), &mut |_| {})?;
///
/// Restore::of([path("monday"), path("tuesday")])?.write_to(path("restored.maple"), &mut |_| {})?;
/// # // SAFETY: only mapleaf changes the file.
/// let restored = unsafe { Database::open(path("restored.maple"))? };
/// assert_eq!(restored.begin_read()?.get(STOCK, "tea")?, Some(3));
///
/// assert!(matches!(Restore::of([path("tuesday")]), Err(Error::Backup { .. })), "monday is missing");
/// # Ok(()) }
/// ```
pub struct Restore<'r> {
    links: Vec<Link<'r>>,
}

/// A backup of the chain.
struct Link<'r> {
    name: String,
    header: Header,
    from: Given<'r>,
}

enum Given<'r> {
    /// Opened when it is its turn.
    Path(PathBuf),
    Stream(Box<Source<'r>>),
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The txn whose state it is; the new store goes on from there.
    pub txn_id: u64,
    /// Pages of the new file.
    pub page_count: u64,
    /// Pages that were read from the backups.
    pub pages: u64,
    /// Number of tables.
    pub tables: u64,
    /// Number of entries in all of them.
    pub entries: u64,
}

impl Restore<'static> {
    /// The backups in these files, in the order in which they were made. Reads their headers.
    ///
    /// # Errors
    /// `Backup` where one is not a backup, is damaged, or does not follow the one before; `InvalidArgument`
    /// where there are none; `Io`.
    pub fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let link = |path: P| {
            let path = path.as_ref();
            let source = open(path)?;
            // Of a file the rest is read when it is its turn, so that no more than one is open; a pipe is
            // read once.
            let is_file = path.metadata().is_ok_and(|there| there.is_file());
            let header = source.header;
            let from = if is_file { Given::Path(path.to_owned()) } else { Given::Stream(Box::new(source)) };
            Ok(Link { name: named(path), header, from })
        };
        Restore::of_links(paths.into_iter().map(link).collect::<Result<_>>()?)
    }
}

impl<'r> Restore<'r> {
    /// The backups that these streams give, each with the name by which errors call it. Reads their headers.
    ///
    /// # Errors
    /// Those of [`Restore::of`].
    pub fn of_streams(streams: impl IntoIterator<Item = (String, Box<dyn Read + 'r>)>) -> Result<Self> {
        let link = |(name, from): (String, _)| {
            let source = Source::open(name.clone(), from)?;
            Ok(Link { name, header: source.header, from: Given::Stream(Box::new(source)) })
        };
        Restore::of_links(streams.into_iter().map(link).collect::<Result<_>>()?)
    }

    fn of_links(links: Vec<Link<'r>>) -> Result<Self> {
        let first = links.first().ok_or_else(|| Error::invalid("no backups were given to restore from"))?;
        if first.header.base.get() != 0 {
            let base = first.header.base;
            let detail = format!(
                "has only what was changed behind txn {base}: give the backup of txn {base} before it, and those that it \
                 needs, from a full one on"
            );
            return Err(Error::backup(&first.name, detail));
        }
        links.windows(2).try_for_each(|pair| expect_next(&pair[0], &pair[1], &links))?;
        Ok(Restore { links })
    }

    /// What each of the backups is, in order.
    pub fn backups(&self) -> Vec<BackupInfo> {
        self.links.iter().map(|link| BackupInfo::new(link.name.clone(), &link.header)).collect()
    }

    /// Restores the state of this txn, and not the newest: one of those that were backed up. Backups behind
    /// it are not read.
    ///
    /// # Errors
    /// `InvalidArgument` where none of the backups is of this txn.
    pub fn up_to(mut self, txn: u64) -> Result<Self> {
        let txns: Vec<u64> = self.links.iter().map(|link| link.header.txn.get()).collect();
        let Some(place) = txns.iter().position(|it| *it == txn) else {
            return Err(Error::invalid(format!(
                "no backup of txn {txn} was given; there are those of {txns:?}"
            )));
        };
        self.links.truncate(place + 1);
        Ok(self)
    }

    /// Reads all of it and writes nothing: whether every backup is whole. (Whether the pages fit together is
    /// seen when they are restored.) Returns how many pages they have.
    ///
    /// # Errors
    /// `Backup`, which names the first that is not whole; `Io`.
    pub fn check(self, progress: &mut dyn FnMut(Progress)) -> Result<u64> {
        let page_count = self.links.last().expect("never empty").header.page_count.get();
        let mut pages = 0;
        for link in self.links {
            link.read(&mut |_, bytes, page_size| {
                pages += (bytes.len() / page_size) as u64;
                progress(Progress { pages, page_count });
                Ok(())
            })?;
        }
        Ok(pages)
    }

    /// Builds the store in a new file, which gets its name when it is on the disk: until then, and after any
    /// error, nothing is there. It has the txn ids that it had, and an id of its own: its first backup is a
    /// full one. What the state does not refer to is free; stored snapshots are not part of a backup.
    ///
    /// Reads each backup once and what was written once more. `progress` counts pages, of twice those of the
    /// file.
    ///
    /// # Errors
    /// `InvalidArgument` where there is a file of this name; `Backup` where a backup is damaged, or the pages
    /// do not make a whole state, as of a store whose file was copied, and then written to in two places;
    /// `NetworkFileSystem`; `Io`, also where there is no room.
    pub fn write_to(
        self,
        path: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<RestoreReport> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let directory = directory_of(path);
        let opened =
            File::open(directory).map_err(|error| Error::io(format!("create {}", path.display()), error))?;
        refuse_network(&opened, path, &Config::default())?;
        let new = NewFile::beside(path)?;
        let (name, header) =
            self.links.last().map(|link| (link.name.clone(), link.header)).expect("never empty");
        let write = |bytes: &[u8], offset: u64| {
            let written = within_limit(offset + bytes.len() as u64)
                .and_then(|()| new.file().write_all_at(bytes, offset));
            written.map_err(|error| Error::io(format!("write {}", path.display()), error))
        };
        let (mut pages, total) = (0, 2 * header.page_count.get());
        let mut end = meta_pages(header.page_size.get() as usize);
        let mut checkpoints = Vec::new();
        for link in self.links {
            checkpoints = link.read(&mut |page, bytes, page_size| {
                write(bytes, page * page_size as u64)?;
                let count = (bytes.len() / page_size) as u64;
                (pages, end) = (pages + count, end.max(page + count));
                progress(Progress { pages: pages.min(total / 2), page_count: total });
                Ok(())
            })?;
        }
        let len = end * u64::from(header.page_size.get());
        expect_room(new.file(), len)
            .map_err(|error| Error::io(format!("write {len} bytes of {}", path.display()), error))?;
        let half = pages.min(total / 2);
        let mut judged = |seen| progress(Progress { pages: half + seen, page_count: total });
        let built = Built::of(new.file(), path, &header, &checkpoints, end, &mut judged);
        let built = built.map_err(|error| match error {
            Error::Corrupt { .. } => Error::backup(&name, not_whole(&error)),
            other => other,
        })?;
        let len = built.report.page_count * built.page_size;
        let sized = within_limit(len).and_then(|()| new.file().set_len(len));
        sized.map_err(|error| Error::io(format!("write {}", path.display()), error))?;
        built.write(&write)?;
        let flushed = new.file().sync_all();
        flushed.map_err(|error| Error::io(format!("flush {}", path.display()), error))?;
        // The second slot first, as in a new store.
        let slot = [built.meta.as_bytes(), &built.list].concat();
        META_OFFSETS.into_iter().rev().try_for_each(|offset| write(&slot, offset))?;
        new.finish(false)?;
        Ok(RestoreReport { pages, ..built.report })
    }
}

/// What to do where all pages came, and do not fit together.
fn not_whole(error: &Error) -> String {
    let Error::Corrupt { page, detail } = error else { return error.to_string() };
    format!(
        "and those before it do not make a whole state (page {page}: {detail}): was the store's file copied, and both \
         written to? Then backups of the one do not follow those of the other; restore up to an earlier txn"
    )
}

/// Whether a backup can follow another; `all` are those that were given.
fn expect_next(before: &Link<'_>, next: &Link<'_>, all: &[Link<'_>]) -> Result<()> {
    let (last, header) = (&before.header, &next.header);
    let fail = |detail: String| Err(Error::backup(&next.name, detail));
    let (base, txn) = (header.base.get(), last.txn.get());
    if header.store_id != last.store_id || header.page_size != last.page_size {
        let [found, expected] = [header, last].map(|header| shown_id(&header.store_id));
        return fail(format!(
            "is of the store {found}, and {} before it of {expected}: restore each from its own backups",
            before.name
        ));
    }
    if base == 0 {
        return fail(
            "is a full backup, and not the first that was given: begin with it, or leave it out".into(),
        );
    }
    if base == txn {
        return Ok(());
    }
    let what = format!("was made since txn {base}, and {} before it is of txn {txn}", before.name);
    match all.iter().find(|link| link.header.txn.get() == base) {
        Some(other) => fail(format!("{what}: give {} directly before it", other.name)),
        None => fail(format!("{what}: the backup of txn {base} is missing")),
    }
}

/// A store's id as it is shown.
pub fn shown_id(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is done with pages that lie side by side: the number of the first, their bytes, and how long one is.
type Take<'t> = dyn FnMut(u64, &[u8], usize) -> Result<()> + 't;

impl Link<'_> {
    /// Gives all of its pages to `take`. Returns the checkpoints that its state came through.
    fn read(self, take: &mut Take<'_>) -> Result<Vec<Checkpoint>> {
        let mut source = match self.from {
            Given::Stream(source) => *source,
            Given::Path(path) => open(&path)?,
        };
        if source.header.as_bytes() != self.header.as_bytes() {
            return Err(source.error("was replaced by another backup meanwhile"));
        }
        let page_size = self.header.page_size.get() as usize;
        while let Some((page, bytes)) = source.next()? {
            take(page, bytes, page_size)?;
        }
        Ok(source.checkpoints())
    }
}

/// What a new file needs besides the pages.
struct Built {
    page_size: u64,
    meta: Meta,
    /// What stands behind it.
    list: Vec<u8>,
    /// The pages of the space record, and where they go.
    record: Vec<u8>,
    own: Vec<Run>,
    free: Vec<Run>,
    report: RestoreReport,
}

impl Built {
    /// Judges what the state refers to, in a file whose last page of a backup is that before `end`, and
    /// describes the rest as free.
    fn of(
        file: &File,
        path: &Path,
        header: &Header,
        checkpoints: &[Checkpoint],
        end: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let page_size = header.page_size.get() as usize;
        let state = state_of(header, end);
        reserve_memory(end)?;
        let file = file.try_clone().map_err(|error| Error::io(format!("read {}", path.display()), error))?;
        let len = end * page_size as u64;
        file.set_len(len).map_err(|error| Error::io(format!("write {}", path.display()), error))?;
        let mapped = Mapped::new(&file, 1)?;
        let disk = Disk::new(file, mapped, path, None, 0)?;
        let copies = Copies { disk: &disk, page_size, page_count: end, mapped: None };
        let mut findings = Findings::new(end, progress);
        findings.mark(0, meta_pages(page_size), "the meta area");
        let (tables, entries) = judge(&copies, &state, &mut findings)?;
        if let Some(problem) = findings.problems.first() {
            return Err(Error::corrupt(problem.page.unwrap_or(0), problem.detail.clone()));
        }
        // What was only in states before may have been behind it.
        let last = (0..end).rev().find(|page| findings.is_marked(*page)).unwrap_or(0);
        let state = State { page_count: last + 1, ..state };
        Built::with(&state, header, checkpoints, &findings)
            .map(|built| Built { report: RestoreReport { tables, entries, ..built.report }, ..built })
    }

    fn with(
        state: &State,
        header: &Header,
        checkpoints: &[Checkpoint],
        findings: &Findings<'_>,
    ) -> Result<Self> {
        let page_size = header.page_size.get() as usize;
        let nothing = RunSet::default();
        let mut state = *state;
        // The number of pages of the record depends on the extents, and where it goes on that number.
        let (mut space, pages) = loop {
            let space = space_around(&state, findings, page_size)?;
            let pages = space.record_pages(&nothing, &nothing, &[], Chunk::Page);
            if space.free_pages() >= pages {
                break (space, pages);
            }
            state.page_count += pages - space.free_pages();
        };
        let own = space.allocate(pages);
        let empty: (&RunSet, &RunSet, &[_]) = (&nothing, &nothing, &[]);
        let mut record = space.encode_record(state.txn, &own, (0, 0, 0), empty, Chunk::Page);
        for page in record.chunks_mut(page_size) {
            let checksum = page_checksum(page);
            header_mut(page).checksum.set(checksum);
        }
        state.space = (own[0].start, state.txn, pages);
        let mut id = [0; 16];
        rustix::io::retry_on_intr(|| getrandom(&mut id, GetRandomFlags::empty()))
            .map_err(|error| Error::io("get random numbers", error.into()))?;
        let mut template = Meta::new(page_size, state.page_count, id);
        template.write_features = header.write_features;
        // Its pages are those of the checkpoint that was backed up: it came through that one.
        let itself = checkpoints.last().filter(|(txn, _)| *txn == state.txn);
        template.log_seed.set(itself.map_or(0, |(_, seed)| *seed));
        let meta = state.to_meta(&template, &Log::of(&template));
        let list = lineage::list(checkpoints.to_vec(), &meta);
        if let Err(problem) = Meta::parse(meta.as_bytes()) {
            return Err(Error::corrupt(0, problem.unwrap_or_default()));
        }
        let report = RestoreReport {
            txn_id: state.txn,
            page_count: state.page_count,
            pages: 0,
            tables: 0,
            entries: 0,
        };
        let free = space.free_from(0);
        Ok(Built { page_size: page_size as u64, meta, list, record, own, free, report })
    }

    /// Writes all of it but the meta slots: every page of the file is written before it is used.
    fn write(&self, write: &dyn Fn(&[u8], u64) -> Result<()>) -> Result<()> {
        let zeros = vec![0; PIECE as usize];
        let meta_area = Run { start: 0, len: meta_pages(self.page_size as usize) };
        for run in self.free.iter().chain([&meta_area]) {
            let (mut at, end) = (run.start * self.page_size, run.end() * self.page_size);
            while at < end {
                let len = PIECE.min(end - at);
                write(&zeros[..len as usize], at)?;
                at += len;
            }
        }
        let numbers = self.own.iter().flat_map(|run| run.start..run.end());
        let mut images = self.record.chunks(self.page_size as usize).zip(numbers);
        images.try_for_each(|(image, page)| write(image, page * self.page_size))
    }
}

/// All pages free but those that were marked; the state's file is no shorter than a store is.
fn space_around(state: &State, findings: &Findings<'_>, page_size: usize) -> Result<Space> {
    let mut space = Space::load(&NoPages, state, page_size)?;
    let mut used: Option<Run> = None;
    for page in meta_pages(page_size)..state.page_count {
        match (findings.is_marked(page), &mut used) {
            (true, Some(run)) => run.len += 1,
            (true, none) => *none = Some(Run { start: page, len: 1 }),
            (false, run) => {
                run.take().into_iter().for_each(|run| space.clear(run));
            }
        }
    }
    used.into_iter().for_each(|run| space.clear(run));
    Ok(space)
}

/// The state in a file of so many pages, without space records, log and snapshots.
fn state_of(header: &Header, page_count: u64) -> State {
    State {
        txn: header.txn.get(),
        page_count,
        catalog: header.catalog(),
        catalog_level: header.catalog_level,
        next_table: header.next_table.get(),
        space: (0, 0, 0),
        user_version: header.user_version.get(),
        log: Tail::default(),
        held: 0,
        snapshots: ChildRef::default(),
        snapshots_level: 0,
    }
}

/// Judges all trees of the state. Returns how many tables and entries there are.
fn judge(copies: &Copies<'_>, state: &State, findings: &mut Findings<'_>) -> Result<(u64, u64)> {
    let catalog = catalog_tree(state, copies.page_size);
    check_tree(copies, &catalog, findings, &mut |_| {});
    if !findings.problems.is_empty() {
        return Ok((0, 0));
    }
    let (mut tables, mut entries) = (0, 0u64);
    for (_, _, tree) in list_tables(&Kept::new(*copies), &catalog)? {
        if tree.root.birth > state.txn {
            let detail = format!("is of txn {}, behind the state of txn {}", tree.root.birth, state.txn);
            findings.report(Some(tree.root.page), detail);
        }
        if tree.table >= state.next_table {
            findings.report(
                None,
                format!("the next table would get id {}, there is {}", state.next_table, tree.table),
            );
        }
        check_tree(copies, &tree, findings, &mut |_| {});
        (tables, entries) = (tables + 1, entries.saturating_add(tree.len()));
    }
    Ok((tables, entries))
}

/// Whether the disk has room for a file of so many bytes, all of which will be written: known before time and memory
/// are spent on the pages that are free. File systems that do not say have it.
fn expect_room(file: &File, len: u64) -> std::io::Result<()> {
    let (there, disk) = (file.metadata()?.blocks().saturating_mul(512), rustix::fs::fstatvfs(file)?);
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    match disk.f_blocks == 0 || len <= there.saturating_add(available) {
        true => Ok(()),
        false => Err(rustix::io::Errno::NOSPC.into()),
    }
}

/// Whether there is memory for a bit a page: the number comes from outside.
fn reserve_memory(page_count: u64) -> Result<()> {
    let tried = Vec::<u64>::new().try_reserve_exact((page_count as usize).div_ceil(64));
    tried.map_err(|_| Error::io("remember which pages are used", std::io::ErrorKind::OutOfMemory.into()))
}

/// For a state without space records.
struct NoPages;

impl PageSource for NoPages {
    fn page(&self, page: u64, _: u64) -> Result<&[u8]> {
        Err(Error::corrupt(page, "there are no space records yet"))
    }

    fn overflow(&self, run: &crate::format::OverflowRef) -> Result<&[u8]> {
        Err(Error::corrupt(run.page, "there are no space records yet"))
    }
}
