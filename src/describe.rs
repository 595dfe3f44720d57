//! One page in words: every byte that means something, labelled as in `docs/format.md`.
//!
//! Owns: [`PageDump`]. It reads with a system call, believes nothing, and describes as much of a
//! damaged page as can be made out.

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::{
    ChildRef, HEADER_LEN, LOG_EXTENTS, META_LEN, META_OFFSETS, Meta, OverflowRef, PageKind, REF_REST_LEN,
    SET_BIT, SHORT_REF_LEN, SetRef, header, meta_pages,
};
use crate::lineage;
use crate::page::set::Set;
use crate::page::{Branch, LEAF_SLOT_LEN, LeafView, Stored, fixed};
use crate::snapshot::check_page;
use crate::space::record::{PART_AT, narrate};
use crate::store::Store;

/// A labelled stretch of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// First byte within the page.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
    /// What it is.
    pub label: String,
    /// What it says.
    pub value: String,
}

/// A page in words.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageDump {
    /// Its number.
    pub page: u64,
    /// What it is.
    pub kind: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they mean, in order of their offsets.
    pub fields: Vec<Field>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl PageDump {
    fn field(&mut self, offset: usize, len: usize, label: impl Into<String>, value: impl Into<String>) {
        self.fields.push(Field { offset, len, label: label.into(), value: value.into() });
    }

    fn problem(&mut self, error: &Error) {
        self.problems.push(error.detail());
    }
}

/// Describes page `page` as it is in the file now.
pub(crate) fn describe(store: &Store, page: u64) -> Result<PageDump> {
    let page_size = store.pages.page_size;
    let len = store.pages.disk.len()?;
    let fits = |offset: &u64| offset.checked_add(page_size as u64).is_some_and(|end| end <= len);
    let offset = page.checked_mul(page_size as u64).filter(fits);
    let Some(offset) = offset else {
        return Err(Error::invalid(format!("page {page}: the file has {} pages", len / page_size as u64)));
    };
    let mut bytes = vec![0; page_size];
    store.pages.disk.read_page(offset, &mut bytes)?;
    let mut dump = PageDump { page, kind: String::new(), bytes, fields: Vec::new(), problems: Vec::new() };
    if page < meta_pages(page_size) {
        describe_meta(&mut dump, offset);
    } else if store.log()?.extents().iter().any(|(first, pages)| (*first..first + pages).contains(&page)) {
        dump.kind = "redo log".into();
    } else if header(&dump.bytes).page.get() == page {
        describe_page(&mut dump);
    } else if dump.bytes.iter().all(|byte| *byte == 0) {
        dump.kind = "zeros: a page that was never used, a hole, or part of a large value".into();
    } else {
        dump.kind = "no page header: part of a large value, or free".into();
    }
    dump.fields.sort_by_key(|field| field.offset);
    Ok(dump)
}

fn describe_meta(dump: &mut PageDump, offset: u64) {
    dump.kind = "meta".into();
    for (slot, at) in META_OFFSETS.into_iter().enumerate() {
        let Some(at) =
            at.checked_sub(offset).map(|at| at as usize).filter(|at| at + META_LEN <= dump.bytes.len())
        else {
            continue;
        };
        match Meta::parse(&dump.bytes[at..at + META_LEN]) {
            Ok(meta) => describe_slot(dump, at, slot, &meta),
            Err(None) => dump.field(at, META_LEN, format!("slot {slot}"), "zeros"),
            Err(Some(reason)) => {
                dump.field(at, META_LEN, format!("slot {slot}"), "damaged");
                dump.problems.push(format!("meta slot {slot}: {reason}"));
            }
        }
    }
}

fn describe_slot(dump: &mut PageDump, at: usize, slot: usize, meta: &Meta) {
    let id: String = meta.store_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let fields = [
        (0, 8, "magic", String::from_utf8_lossy(&meta.magic).escape_debug().to_string()),
        (8, 4, "checksum", format!("{:08x}", meta.checksum)),
        (12, 4, "version", meta.version.to_string()),
        (16, 4, "page size", meta.page_size.to_string()),
        (20, 4, "next table id", meta.next_table.to_string()),
        (24, 8, "features", format!("{:#x}", meta.features)),
        (32, 8, "write features", format!("{:#x}", meta.write_features)),
        (40, 16, "store id", id),
        (56, 8, "txn", meta.txn.to_string()),
        (64, 8, "page count", meta.page_count.to_string()),
        (72, 8, "catalog root page", meta.catalog_page.to_string()),
        (80, 8, "catalog root birth", meta.catalog_birth.to_string()),
        (88, 8, "tables", meta.catalog_count.to_string()),
        (96, 8, "space record page", meta.space_page.to_string()),
        (104, 8, "space record birth", meta.space_birth.to_string()),
        (112, 4, "space record pages", meta.space_pages.to_string()),
        (116, 1, "catalog root level", meta.catalog_level.to_string()),
        (117, 1, "snapshots root level", meta.snapshots_level.to_string()),
        (118, 2, "reserved", "0".into()),
        (120, 8, "user version", meta.user_version.to_string()),
        (128, 8, "log seed", format!("{:016x}", meta.log_seed)),
        (392, 8, "snapshots root page", meta.snapshots_page.to_string()),
        (400, 8, "snapshots root birth", meta.snapshots_birth.to_string()),
        (408, 8, "snapshots", meta.snapshots_count.to_string()),
        (416, 96, "reserved", "0".into()),
    ];
    for (offset, len, label, value) in fields {
        dump.field(at + offset, len, format!("slot {slot} {label}"), value);
    }
    let extents = meta.log_extents();
    for (i, (page, pages)) in extents.iter().enumerate() {
        let value = format!("{pages} pages from page {page}");
        dump.field(at + 136 + 16 * i, 16, format!("slot {slot} log extent {i}"), value);
    }
    if extents.len() < LOG_EXTENTS {
        let (used, unused) = (16 * extents.len(), 16 * (LOG_EXTENTS - extents.len()));
        dump.field(at + 136 + used, unused, format!("slot {slot} unused log extents"), "0");
    }
    let behind = at + META_LEN;
    if let Some(list) = lineage::listed(&dump.bytes[behind..], meta) {
        let checksum: String =
            dump.bytes[behind..behind + 4].iter().rev().map(|byte| format!("{byte:02x}")).collect();
        dump.field(behind, 4, format!("slot {slot} earlier checkpoints: checksum"), checksum);
        dump.field(behind + 4, 4, format!("slot {slot} earlier checkpoints"), list.len().to_string());
        for (i, (txn, seed)) in list.iter().enumerate() {
            let label = format!("slot {slot} earlier checkpoint {i}");
            dump.field(behind + 8 + 16 * i, 16, label, format!("txn {txn}, seed {seed:016x}"));
        }
    }
}

fn describe_page(dump: &mut PageDump) {
    let bytes = std::mem::take(&mut dump.bytes);
    if let Err(error) = check_page(&bytes, dump.page) {
        dump.problem(&error);
    }
    let head = *header(&bytes);
    let names = match head.kind {
        kind if kind == PageKind::FixedLeaf as u8 => ["key width", "value width"],
        _ => ["cell bytes", "prefix length"],
    };
    let fields = [
        (0, 4, "checksum", format!("{:08x}", head.checksum)),
        (4, 1, "kind", head.kind.to_string()),
        (5, 1, "level", head.level.to_string()),
        (6, 2, "count", head.count.to_string()),
        (8, 8, "page", head.page.to_string()),
        (16, 8, "birth", head.birth.to_string()),
        (24, 4, "table", table(head.table.get())),
        (28, 2, names[0], head.cell_bytes.to_string()),
        (30, 2, names[1], head.prefix_len.to_string()),
    ];
    for (offset, len, label, value) in fields {
        dump.field(offset, len, label, value);
    }
    let described = match head.kind {
        kind if kind == PageKind::Branch as u8 => describe_branch(dump, &bytes, head.level),
        kind if kind == PageKind::Leaf as u8 => describe_leaf(dump, &bytes, "leaf"),
        kind if kind == PageKind::SetLeaf as u8 => describe_leaf(dump, &bytes, "leaf of a multimap"),
        kind if kind == PageKind::FixedLeaf as u8 => describe_fixed(dump, &bytes),
        kind if kind == PageKind::Space as u8 => {
            dump.kind = "space record".into();
            describe_record(dump, &bytes);
            Ok(())
        }
        kind => Err(Error::corrupt(dump.page, format!("unknown kind {kind}"))),
    };
    if let Err(error) = described {
        dump.problem(&error);
    }
    dump.bytes = bytes;
}

fn describe_record(dump: &mut PageDump, bytes: &[u8]) {
    let next = bytes[HEADER_LEN..].first_chunk().map_or(0, |next| u64::from_le_bytes(*next));
    dump.field(HEADER_LEN, 8, "next page of the record", next.to_string());
    if next != 0 || header(bytes).count.get() != 0 {
        return dump.field(PART_AT, bytes.len() - PART_AT, "part of a record", "it goes on in other pages");
    }
    for (offset, len, label, value) in narrate(&bytes[PART_AT..]) {
        dump.field(PART_AT + offset, len, label, value.to_string());
    }
}

fn describe_branch(dump: &mut PageDump, bytes: &[u8], level: u8) -> Result<()> {
    dump.kind = format!("branch of level {level}");
    let branch = Branch::new(bytes, level)?;
    let (count, prefix_len) = (branch.count(), usize::from(header(bytes).prefix_len.get()));
    if prefix_len > 0 {
        dump.field(HEADER_LEN, prefix_len, "prefix", text(&bytes[HEADER_LEN..HEADER_LEN + prefix_len]));
    }
    let (heads, references) = (HEADER_LEN + prefix_len, HEADER_LEN + prefix_len + count * 4);
    let rests = references + count * SHORT_REF_LEN;
    let offsets = rests + count * REF_REST_LEN;
    let cells = bytes.len() - usize::from(header(bytes).cell_bytes.get());
    let mut separator = Vec::new();
    let mut cell = cells;
    for i in 0..count {
        branch.separator(i, &mut separator)?;
        let ChildRef { page, birth, count: entries } = branch.child(i)?;
        dump.field(heads + i * 4, 4, format!("head {i}"), hex_head(bytes, heads + i * 4));
        let child = format!("page {page}, born at txn {birth}");
        dump.field(references + i * SHORT_REF_LEN, SHORT_REF_LEN, format!("child {i}"), child);
        let rest = format!("high bits of the birth, {entries} entries");
        dump.field(rests + i * REF_REST_LEN, REF_REST_LEN, format!("child {i}"), rest);
        dump.field(offsets + i * 2, 2, format!("offset {i}"), number(bytes, offsets + i * 2));
        let suffix = separator.len().saturating_sub(prefix_len);
        if i > 0 {
            dump.field(cell, suffix, format!("separator {i}"), text(&separator));
            cell += suffix;
        }
    }
    branch.validate_order()
}

/// A table's id, and whether the page holds values of its keys.
fn table(id: u32) -> String {
    match id & SET_BIT {
        0 => id.to_string(),
        _ => format!("{}, values of a key", id & !SET_BIT),
    }
}

fn describe_leaf(dump: &mut PageDump, bytes: &[u8], kind: &str) -> Result<()> {
    dump.kind = kind.into();
    let is_multi = header(bytes).kind == PageKind::SetLeaf as u8;
    let leaf = LeafView::new(bytes)?;
    let slots = HEADER_LEN + leaf.count() * 4;
    for i in 0..leaf.count() {
        let (key, stored) = leaf.entry(i)?;
        let slot = slots + i * (LEAF_SLOT_LEN - 4);
        let distance = usize::from(u16::from_le_bytes([bytes[slot], bytes[slot + 1]]));
        let cell = bytes.len() - distance;
        dump.field(HEADER_LEN + i * 4, 4, format!("head {i}"), hex_head(bytes, HEADER_LEN + i * 4));
        let lengths = format!("cell at {cell}, key of {} bytes, value of {}", key.len(), stored.cell_len());
        dump.field(slot, LEAF_SLOT_LEN - 4, format!("slot {i}"), lengths);
        let value = match stored {
            Stored::Inline(set) if is_multi => {
                describe_set(dump, cell, i, set);
                dump.field(cell + set.len(), key.len(), format!("key {i}"), text(key));
                continue;
            }
            Stored::Inline(value) => text(value),
            Stored::Overflow(OverflowRef { page, birth, len, checksum }) => {
                let of = match Chunks::of(len, bytes.len()) {
                    chunks if chunks.table_len() > 0 => format!(" of its table of {}", chunks.count()),
                    _ => String::new(),
                };
                format!("{len} bytes from page {page} on, born at txn {birth}, checksum {checksum:08x}{of}")
            }
            Stored::Set(SetRef { root: ChildRef { page, birth, count }, level }) => {
                format!("{count} values below page {page} of level {level}, born at txn {birth}")
            }
        };
        dump.field(cell, stored.cell_len(), format!("value {i}"), value);
        dump.field(cell + stored.cell_len(), key.len(), format!("key {i}"), text(key));
    }
    leaf.validate_order()
}

/// The values of entry `i`, which stand at `at`.
fn describe_set(dump: &mut PageDump, at: usize, i: usize, bytes: &[u8]) {
    let Some(set) = Set::read_any(bytes) else {
        dump.field(at, bytes.len(), format!("values {i}"), text(bytes));
        return dump.problems.push(format!("entry {i}: not a set of values"));
    };
    match set.width() {
        0 => {
            dump.field(at, 2, format!("values {i}: width"), "any");
            dump.field(at + 2, 2, format!("values {i}: count"), set.count().to_string());
            dump.field(at + 4, 2 * set.count(), format!("values {i}: ends"), "");
        }
        width => dump.field(at, 2, format!("values {i}: width"), width.to_string()),
    }
    for (j, value) in set.values().enumerate() {
        match value.zip(set.place(j)) {
            Some((value, place)) => {
                dump.field(at + place, value.len(), format!("value {i}.{j}"), text(value));
            }
            None => dump.problems.push(format!("entry {i}: value {j} does not lie in the set")),
        }
    }
}

fn describe_fixed(dump: &mut PageDump, bytes: &[u8]) -> Result<()> {
    dump.kind = "fixed-width leaf".into();
    let leaf = LeafView::new(bytes)?;
    let (key_width, value_width) =
        (usize::from(header(bytes).cell_bytes.get()), usize::from(header(bytes).prefix_len.get()));
    let values = bytes.len() - fixed::capacity(bytes.len(), key_width, value_width) * value_width;
    for i in 0..leaf.count() {
        let (key, stored) = leaf.entry(i)?;
        dump.field(HEADER_LEN + i * key_width, key_width, format!("key {i}"), text(key));
        if let Stored::Inline(value) = stored {
            dump.field(values + i * value_width, value_width, format!("value {i}"), text(value));
        }
    }
    leaf.validate_order()
}

fn hex_head(bytes: &[u8], at: usize) -> String {
    let mut head = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    head.reverse();
    text(&head)
}

fn number(bytes: &[u8], at: usize) -> String {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).to_string()
}

/// Printable ASCII as it is, anything else escaped; cut after 64 bytes.
fn text(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(64)].escape_ascii().to_string();
    if bytes.len() > 64 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}
