//! What fuzz targets cannot reach from outside: pages and the log, as bytes. Only there with `--cfg fuzzing`, which
//! cargo-fuzz sets, and in unit tests.
//!
//! Each function takes any bytes. It returns, or panics where something that stands above it is not true.

use crate::descriptor;
use crate::disk::{Disk, Mapped};
use crate::error::{Error, Result};
use crate::format::{ChildRef, HEADER_LEN, Layout, Meta, OverflowRef, PageKind, header, header_mut};
use crate::log::Log;
use crate::page::set::Set;
use crate::page::{
    Branch, BranchEntries, Entries, Inserted, LeafView, SplitAt, Stored, branch, init_leaf, leaf_insert,
    leaf_overwrite, leaf_remove, leaf_splice,
};
use crate::redo::{Change, next_change};
use crate::snapshot::PageSource;
use crate::space::record::{PART_AT, Record, narrate};
use std::path::Path;
use std::sync::OnceLock;

const LOG_PAGES: [(u64, u64); 2] = [(2, 8), (20, 3)];

/// A page of any kind. The first byte chooses the page size, the second a layout; the front half of the rest stands at
/// the page's beginning, the other half at its end.
///
/// What is in a page is found by searching if the page is in order; a page that may be edited is one afterwards, with
/// what was put; a branch that is written anew has the same entries; parts of records lie inside their pages.
pub fn page(bytes: &[u8]) {
    let [size, layout, rest @ ..] = bytes else { return };
    let page_size = [4096, 4096, 8192, 65536][usize::from(size % 4)];
    let mut page = vec![0; page_size];
    let rest = &rest[..rest.len().min(page_size)];
    let (front, back) = rest.split_at(rest.len() / 2);
    page[..front.len()].copy_from_slice(front);
    page[page_size - back.len()..].copy_from_slice(back);
    if let Ok(leaf) = LeafView::new(&page) {
        read_leaf(&leaf);
        let fixed = match leaf {
            LeafView::Fixed(leaf) => Some(leaf.widths()),
            LeafView::Slotted(_) => None,
        };
        let align = 1 << (layout % 5);
        let is_possible = |(key, value): (usize, usize)| key + value <= (page_size - HEADER_LEN) / 8;
        let layout_of = Layout { page_size, fixed, align, set: None };
        if fixed.is_none_or(is_possible) && leaf.validate(&layout_of).is_ok() {
            edit_leaf(&page, &layout_of, *layout);
        }
    }
    edit_sets(&page);
    if let Ok(branch) = Branch::new(&page, header(&page).level) {
        read_branch(&branch);
        rewrite_branch(&page, *layout);
        edit_branch(&page, *layout);
    }
    space_record(&page);
}

fn entries<'p>(leaf: &LeafView<'p>) -> Result<Vec<(&'p [u8], Stored<'p>)>> {
    (0..leaf.count()).map(|i| leaf.entry(i)).collect()
}

fn read_leaf(leaf: &LeafView<'_>) {
    let is_ordered = leaf.validate_order().is_ok();
    for i in 0..leaf.count() {
        let stepped = Entries::new(leaf, i).next().unwrap();
        assert_eq!(stepped.ok(), leaf.entry(i).ok(), "a step to entry {i} gives another");
        let (Ok(key), Ok(stored)) = (leaf.key(i), leaf.stored(i)) else {
            assert!(leaf.entry(i).is_err() || leaf.key(i).is_ok());
            continue;
        };
        assert_eq!(leaf.entry(i).unwrap(), (key, stored));
        let found = leaf.search(key);
        assert!(!is_ordered || matches!(found, Ok(Ok(at)) if at == i), "entry {i} is found at {found:?}");
    }
    assert!(leaf.entry(leaf.count()).is_err());
    for probe in [&b""[..], b"some/prefix/", &[0; 8], &[0xff; 40], &[b'k'; 1200]] {
        if let Ok(Err(at)) = leaf.search(probe) {
            assert!(at <= leaf.count());
            let around = (at.checked_sub(1).map(|i| leaf.key(i)), leaf.key(at));
            let is_between = !matches!(around.0, Some(Ok(below)) if below >= probe)
                && !matches!(around.1, Ok(above) if above <= probe);
            assert!(!is_ordered || is_between, "{probe:?} does not go to {at}");
        }
    }
}

/// Edits that a page must take that has passed `validate`.
fn edit_leaf(page: &[u8], layout: &Layout, choice: u8) {
    let before = LeafView::new(page).unwrap();
    let is_ordered = before.validate_order().is_ok();
    let (key_len, value_len) =
        layout.fixed.unwrap_or(([0, 1, 9, 300][usize::from(choice % 4)], 17 * usize::from(choice % 7)));
    let (key, value) = (vec![choice; key_len], vec![7; value_len]);
    let value = Stored::Inline(&value);
    let Ok(found) = before.search(&key) else { return };
    let mut edited = page.to_vec();
    let at = match found {
        Ok(at) => {
            leaf_overwrite(&mut edited, layout, at, value);
            at
        }
        Err(at) if leaf_insert(&mut edited, layout, at, &key, value, 0) => {
            let after = entries(&LeafView::new(&edited).unwrap()).unwrap().len();
            assert_eq!(after, before.count() + 1);
            assert_eq!(LeafView::new(&edited).unwrap().entry(at).unwrap(), (&key[..], value));
            at
        }
        Err(at) => return split_leaf(&before, layout, at, (&key, value), is_ordered),
    };
    judge_leaf(&edited, layout, is_ordered);
    let count = LeafView::new(&edited).unwrap().count();
    if count > 0 {
        leaf_remove(&mut edited, layout, (at + usize::from(choice)) % count);
        judge_leaf(&edited, layout, is_ordered);
    }
}

/// The sets of a multimap's leaf are searched, and one value is put into each or taken out.
fn edit_sets(page: &[u8]) {
    let Ok(leaf @ LeafView::Slotted(_)) = LeafView::new(page) else { return };
    let is_ordered = leaf.validate_order().is_ok();
    for i in 0..leaf.count() {
        let Ok(Stored::Inline(bytes)) = leaf.stored(i) else { continue };
        let Some(set) = Set::read_any(bytes) else { continue };
        let layout = Layout { page_size: page.len(), fixed: None, align: 1, set: Some(set.width()) };
        let probe = vec![b'5'; set.width().clamp(1, page.len())];
        if !set.is_ordered() {
            let _ = (set.search(&probe), set.with(0, &probe), set.without(0), set.place(set.count()));
            continue;
        }
        for (at, value) in set.values().enumerate() {
            assert_eq!(set.search(value.unwrap()), Some(Ok(at)));
        }
        let edited = match set.search(&probe).unwrap() {
            Ok(at) if set.count() > 1 => set.without(at).unwrap(),
            Ok(_) => continue,
            Err(at) => set.with(at, &probe).unwrap(),
        };
        let after = Set::read(&edited, set.width()).unwrap();
        assert!(after.is_ordered() && after.count().abs_diff(set.count()) == 1);
        let mut copy = page.to_vec();
        if leaf.validate(&layout).is_ok() && leaf_splice(&mut copy, i, 0, bytes.len(), &edited) {
            assert_eq!(LeafView::new(&copy).unwrap().stored(i).unwrap(), Stored::Inline(&edited[..]));
            judge_leaf(&copy, &layout, is_ordered);
        }
    }
}

fn judge_leaf(page: &[u8], layout: &Layout, is_ordered: bool) {
    let leaf = LeafView::new(page).unwrap();
    leaf.validate(layout).unwrap();
    entries(&leaf).unwrap();
    assert!(!is_ordered || leaf.validate_order().is_ok(), "{:?}", leaf.validate_order());
}

fn split_leaf(
    leaf: &LeafView<'_>,
    layout: &Layout,
    at: usize,
    (key, value): (&[u8], Stored<'_>),
    is_ordered: bool,
) {
    let fresh = || {
        let mut page = vec![0; layout.page_size];
        init_leaf(&mut page, layout, 9);
        page
    };
    let (mut left, mut right, split) = (fresh(), fresh(), Inserted::new(*leaf, at, key, value));
    let border = split.border(layout, SplitAt::Middle).unwrap();
    split.build(&mut left, layout, 0..border).unwrap();
    split.build(&mut right, layout, border..split.count()).unwrap();
    let between = split.separator(border).unwrap();
    let (left, right) = (LeafView::new(&left).unwrap(), LeafView::new(&right).unwrap());
    let mut all = entries(leaf).unwrap();
    all.insert(at, (key, value));
    assert_eq!(border, left.count());
    assert!([entries(&left).unwrap(), entries(&right).unwrap()].concat() == all, "a split loses entries");
    assert!(!is_ordered || (all[border - 1].0 < between && between <= all[border].0));
}

fn read_branch(branch: &Branch<'_>) {
    let is_ordered = branch.validate_order().is_ok();
    let mut separator = Vec::new();
    for i in 0..branch.count() {
        branch.child(i).unwrap();
        branch.count_before(i).unwrap();
        if branch.separator(i, &mut separator).is_ok() && is_ordered && i > 0 {
            assert_eq!(branch.search(&separator).unwrap(), i, "separator {i} leads elsewhere");
        }
    }
    assert!(branch.child(branch.count()).is_err());
    for probe in [&b""[..], b"some/prefix/", &[0; 8], &[0xff; 40]] {
        assert!(branch.search(probe).is_ok_and(|at| at < branch.count()) || !is_ordered);
    }
}

/// Writes a branch anew: as it is, and with one entry more, in two pages if need be.
fn rewrite_branch(page: &[u8], choice: u8) {
    let level = header(page).level;
    let branch = Branch::new(page, level).unwrap();
    let Ok(mut read) = BranchEntries::read(&branch) else { return };
    if read.check_order().is_err() {
        return;
    }
    let count = read.count();
    let mut again = vec![0; page.len()];
    read.write(&mut again, level, 9, 0, count);
    let written = Branch::new(&again, level).unwrap();
    written.validate_order().unwrap();
    let same = |read: &BranchEntries, from: usize, branch: &Branch<'_>| {
        let mut separator = Vec::new();
        for i in 0..branch.count() {
            branch.separator(i, &mut separator).unwrap();
            let right = if i == 0 { &[][..] } else { read.key(from + i) };
            assert!(
                separator == right && branch.child(i).unwrap() == read.child(from + i),
                "entry {i} is another"
            );
        }
    };
    same(&read, 0, &written);
    let key = vec![choice; [1, 9, 60, 700][usize::from(choice % 4)]];
    let at = 1 + (1..count).take_while(|i| read.key(*i) < &key[..]).count();
    if (at < count && read.key(at) == key) || key.len() > crate::page::max_key_len(page.len()) {
        return;
    }
    read.insert(at, &key, ChildRef { page: 5, birth: 6, count: 7 });
    let border = match read.page_len(0, count + 1) <= page.len() {
        true => count + 1,
        false => read.border(page.len(), choice.is_multiple_of(2)),
    };
    for (from, to) in [(0, border), (border, count + 1)] {
        if from < to {
            read.write(&mut again, level, 9, from, to);
            same(&read, from, &Branch::new(&again, level).unwrap());
        }
    }
    read.remove(usize::from(choice) % (count + 1));
    assert_eq!(read.count(), count);
}

/// Edits in place, each beside what the same does to the entries.
fn edit_branch(page: &[u8], choice: u8) {
    let level = header(page).level;
    let view = Branch::new(page, level).unwrap();
    if view.validate_order().is_err() {
        return;
    }
    let (count, key) = (view.count(), vec![choice; [1, 9, 60, 700][usize::from(choice % 4)]]);
    let at = 1 + usize::from(choice) % count;
    let read = |page: &[u8]| BranchEntries::read(&Branch::new(page, level).unwrap()).unwrap();
    let judge = |edited: &[u8], expected: &BranchEntries| {
        Branch::new(edited, level).unwrap().validate_order().unwrap();
        let found = read(edited);
        let all = |entries: &BranchEntries| -> Vec<_> {
            (0..entries.count()).map(|i| (entries.key(i).to_vec(), entries.child(i))).collect()
        };
        assert_eq!(all(&found), all(expected));
    };
    let (child, mut expected, mut edited) =
        (ChildRef { page: 5, birth: 6, count: 7 }, read(page), page.to_vec());
    expected.insert(at, &key, child);
    match branch::insert(&mut edited, level, at, &key, child) {
        Ok(true) => judge(&edited, &expected),
        Ok(false) => assert!(edited == page),
        Err(_) => assert!(expected.check_order().is_err()),
    }
    if at == count {
        return;
    }
    let (mut expected, mut edited) = (read(page), page.to_vec());
    let below = expected.child(at);
    expected.remove(at);
    branch::remove(&mut edited, level, at).unwrap();
    judge(&edited, &expected);
    expected.insert(at, &key, below);
    edited.copy_from_slice(page);
    match branch::set_separator(&mut edited, level, at, &key) {
        Ok(true) => judge(&edited, &expected),
        Ok(false) => assert!(edited == page),
        Err(_) => assert!(expected.check_order().is_err()),
    }
}

struct OnePage<'p>(&'p [u8]);

impl PageSource for OnePage<'_> {
    fn page(&self, _: u64, _: u64) -> Result<&[u8]> {
        Ok(self.0)
    }

    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
        Err(Error::corrupt(run.page, "there is none"))
    }
}

fn space_record(page: &[u8]) {
    for (offset, len, ..) in narrate(&page[PART_AT..]) {
        assert!(PART_AT + offset + len <= page.len());
    }
    if let Some(record) = Record::parse(&page[PART_AT..]) {
        let mut space = page.to_vec();
        header_mut(&mut space).kind = PageKind::Space as u8;
        let read = Record::read(&OnePage(&space), (3, record.txn, 1), page.len());
        let len = u32::from_le_bytes(*page[PART_AT..].first_chunk().unwrap()) as usize;
        let is_alone =
            page[HEADER_LEN..PART_AT] == [0; 8] && page[PART_AT + 4 + len..].iter().all(|byte| *byte == 0);
        match read {
            Ok(read) => assert!(read[0].chunk == record.chunk),
            Err(error) => assert!(!is_alone, "{error}"),
        }
        for (run, _) in &record.chunk {
            assert!(run.start.checked_add(run.len).is_some());
        }
    }
}

/// A log. The first byte says what the rest is: changes; the bytes of a log; or changes of records that are framed.
///
/// What is found are whole records in their order, and those that were framed are found.
pub fn log(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => changes(rest),
        1 => drop(read_log(rest)),
        _ => framed(rest),
    }
}

fn changes(bytes: &[u8]) {
    let parse = |bytes: &[u8], each: &mut dyn FnMut(Change<'_>)| {
        let mut input = bytes;
        while let Some(Ok(change)) = next_change(&mut input) {
            each(change);
        }
    };
    let mut again = Vec::new();
    parse(bytes, &mut |change| change.put_into(&mut again));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    parse(bytes, &mut |change| first.push(format!("{change:?}")));
    parse(&again, &mut |change| second.push(format!("{change:?}")));
    assert_eq!(first, second);
}

fn place() -> &'static (Log, Disk) {
    static PLACE: OnceLock<(Log, Disk)> = OnceLock::new();
    PLACE.get_or_init(|| {
        let mut meta = Meta::new(4096, 64, [7; 16]);
        meta.log_seed.set(99);
        for (extent, (page, pages)) in meta.log.iter_mut().zip(LOG_PAGES) {
            extent.page.set(page);
            extent.pages.set(pages);
        }
        let len = 64 * 4096;
        let file = descriptor::in_memory("mapleaf-fuzz").unwrap();
        file.set_len(len).unwrap();
        let mapped = Mapped::new(&file, len).unwrap();
        (Log::of(&meta), Disk::new(file, mapped, Path::new("(memory)"), None, len).unwrap())
    })
}

/// The txns and changes that a log with these bytes has.
fn read_log(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (log, disk) = place();
    let mut whole = vec![0; log.capacity() as usize];
    let len = bytes.len().min(whole.len());
    whole[..len].copy_from_slice(&bytes[..len]);
    log.write(disk, 0, &whole).unwrap();
    let records = log.records(disk).unwrap();
    let mut last = (log.checkpoint, 0);
    for record in records.found() {
        assert!(record.txn > last.0 && record.end.offset > last.1 && record.end.offset <= log.capacity());
        last = (record.txn, record.end.offset);
    }
    records.found().iter().map(|record| (record.txn, records.changes(record).to_vec())).collect()
}

/// Records of up to 255 bytes each: a length, then so many bytes of changes.
fn framed(mut rest: &[u8]) {
    let (log, _) = place();
    let (mut bytes, mut tail, mut expected) = (Vec::new(), log.start(), Vec::new());
    while let Some((len, more)) = rest.split_first() {
        let (changes, more) = more.split_at(more.len().min(usize::from(*len)));
        let txn = log.checkpoint + 1 + expected.len() as u64;
        let (record, end) = log.frame(tail, txn, txn - 1, txn - 1, changes);
        if end.offset > log.capacity() {
            break;
        }
        bytes.extend(record);
        expected.push((txn, changes.to_vec()));
        (tail, rest) = (end, more);
    }
    let found = read_log(&bytes);
    assert_eq!(found.len(), expected.len());
    for ((txn, changes), (right_txn, right)) in found.iter().zip(&expected) {
        assert!(
            txn == right_txn
                && changes.starts_with(right)
                && changes[right.len()..].iter().all(|byte| *byte == 0)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found, and what finding starts from (`fuzz/`): the other targets' are in `tests/fuzz_finds.rs`.
    fn each(target: &str, check: impl Fn(&[u8])) {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for kind in ["seeds", "finds"] {
            let Ok(entries) = std::fs::read_dir(home.join(kind).join(target)) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                check(&std::fs::read(&path).unwrap());
            }
        }
    }

    #[test]
    fn pages_that_a_fuzzer_starts_from_and_has_found_are_read_and_edited() {
        each("page", page);
    }

    #[test]
    fn logs_that_a_fuzzer_starts_from_and_has_found_are_read() {
        each("log", |bytes| {
            if let Some((flags, rest)) = bytes.split_first().filter(|(flags, _)| **flags & 7 == 7) {
                println!("kind {flags}");
                log(rest);
            }
        });
    }
}
