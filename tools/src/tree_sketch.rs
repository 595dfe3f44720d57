//! A table's tree, abridged where it is wide, as text and as a picture.
//!
//! Owns: [`Sketch`], the pages that are shown, and both ways of showing them. Only those are read, so it costs the same
//! whatever the size of the table: for text the first and last few children of every branch, for a picture a page for
//! each column of each level.

use crate::cli::Codecs;
use crate::drawing::{Anchor, Color, Drawing, GREY, INK, LETTER, LINE};
use crate::failure::Result;
use crate::output::counted;
use crate::space_map::{FILLS, bytes, ending, shorten};
use crate::store::shown;
use indicatif::HumanCount;
use mapleaf::{Error, PageRef, ReadTxn, TableInfo, TreeItems, TreePage, TreeValue};

/// Which children of a branch are shown.
#[derive(Clone, Debug)]
pub enum Pick {
    /// This many, the last one among them.
    Ends(usize),
    /// One for each of this many columns; where the last one of each level, leaves first, ended.
    Columns(usize, Vec<f64>),
}

/// A page that is shown, with those below it.
#[derive(Debug)]
pub struct Node {
    /// The reference to it.
    pub reference: PageRef,
    /// Its keys are these bytes, or after them.
    pub from: Vec<u8>,
    /// And before these.
    pub to: Option<Vec<u8>>,
    /// Which part of the table's entries is in it, from 0 to 1; with it the pages before it that are not shown.
    pub span: (f64, f64),
    /// How many pages of its level it stands for.
    pub stands_for: u64,
    /// What is in it.
    pub found: Found,
    /// Those below it that are shown, with how many are left out before each.
    pub children: Vec<(u64, Node)>,
}

/// What is in a page.
#[derive(Debug)]
pub enum Found {
    /// A branch or a leaf.
    Page {
        /// Bytes in use.
        used_bytes: u64,
        /// Children, or keys.
        items: u64,
        /// Values that are elsewhere: large ones, and sets of a multimap's keys.
        apart: u64,
    },
    /// It cannot be read, or is not what it must be.
    Damaged(String),
}

/// A table's tree.
pub struct Sketch {
    /// The table.
    pub table: TableInfo,
    /// The txn whose state is shown.
    pub txn: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// `None` where the table is empty.
    pub root: Option<Node>,
}

impl Sketch {
    /// Reads the pages that are to be shown.
    ///
    /// # Errors
    /// Those of finding the table; damage below is shown.
    pub fn of(txn: &ReadTxn, table: TableInfo, page_size: u64, mut pick: Pick) -> Result<Self> {
        let root = txn.root_page(&table.name)?;
        if let (Pick::Columns(_, ends), Some(root)) = (&mut pick, &root) {
            ends.resize(usize::from(root.level) + 1, 0.0);
        }
        let root = root.map(|root| look(txn, root, (Vec::new(), None), (0.0, 1.0), &mut pick)).transpose()?;
        Ok(Sketch { txn: txn.txn_id(), table, page_size, root })
    }

    /// Damaged pages among those that are shown.
    pub fn damaged(&self) -> Vec<u64> {
        let mut damaged = Vec::new();
        each(self.root.as_ref(), &mut |node| {
            if matches!(node.found, Found::Damaged(_)) {
                damaged.push(node.reference.page);
            }
        });
        damaged
    }

    /// How full a page is, in percent.
    pub fn full(&self, used_bytes: u64) -> f64 {
        100.0 * used_bytes as f64 / self.page_size as f64
    }

    fn title(&self, file: &str) -> String {
        let TableInfo { name, len, levels, .. } = &self.table;
        let entries = if self.table.schema.multi { "values" } else { "entries" };
        let (len, txn) = (HumanCount(*len), self.txn);
        let levels = counted(u64::from(*levels), "level", "levels");
        format!("{file}, table {}, txn {txn}: {len} {entries} on {levels}", shorten(&shown(name), 40))
    }

    /// Lines of text.
    pub fn text(&self, file: &str, codecs: &Codecs) -> String {
        let mut text = format!("{}\n", self.title(file));
        if let Some(root) = &self.root {
            text.push('\n');
            self.lines(root, codecs, "", "", &mut text);
        }
        text
    }

    fn lines(&self, node: &Node, codecs: &Codecs, first: &str, rest: &str, text: &mut String) {
        text.push_str(&format!("{first}{}\n", self.line(node, codecs)));
        let last = node.children.len().wrapping_sub(1);
        for (i, (omitted, child)) in node.children.iter().enumerate() {
            if *omitted > 0 {
                text.push_str(&format!("{rest}┊  {} more\n", HumanCount(*omitted)));
            }
            let (first, below) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.lines(child, codecs, &format!("{rest}{first}"), &format!("{rest}{below}"), text);
        }
    }

    fn line(&self, node: &Node, codecs: &Codecs) -> String {
        let PageRef { page, level, birth, entries, .. } = node.reference;
        let keys = range(codecs, &node.from, node.to.as_deref());
        let kind = if level == 0 { "leaf".into() } else { format!("level {level}") };
        match &node.found {
            Found::Damaged(why) => format!("page {page}  {kind}, damaged: {why}; {keys}"),
            Found::Page { used_bytes, items, apart } => {
                let full = self.full(*used_bytes);
                let mut counts = match level {
                    0 => counted(*items, "key", "keys"),
                    _ => counted(*items, "child", "children"),
                };
                if entries != *items {
                    counts.push_str(&format!(", {}", counted(entries, "entry", "entries")));
                }
                if *apart > 0 {
                    counts.push_str(&format!(", {} apart", HumanCount(*apart)));
                }
                format!("page {page}  {kind}, txn {birth}, {full:.0} % full, {counts}; {keys}")
            }
        }
    }

    /// A picture: a row for each level, as wide as the table; each page as wide as its share of the entries.
    pub fn draw(&self, file: &str, codecs: &Codecs) -> Drawing {
        let levels = self.root.as_ref().map_or(0, |root| usize::from(root.reference.level) + 1);
        let (left, top) = (90.0, 24.0 + 3.0 * LINE);
        let below = top + levels as f32 * ROW + LINE;
        let mut drawing = Drawing::new(left + WIDTH + 20.0, below + 5.5 * LINE);
        drawing.title((15.0, 12.0 + LINE), self.title(file));
        let reading = format!(
            "pages of {}, each as wide as its share of the entries; the colour says how full it is",
            bytes(self.page_size)
        );
        drawing.text((15.0, 12.0 + 2.0 * LINE), Anchor::Start, INK, reading);
        for level in 0..levels {
            let y = top + (levels - 1 - level) as f32 * ROW;
            let name = if level == 0 { "leaves".into() } else { format!("level {level}") };
            drawing.text((left - 8.0, y + 16.0), Anchor::End, INK, name);
            let (pages, is_all) = self.pages_of(level as u8);
            let about = if is_all { "" } else { "~" };
            drawing.text((left - 8.0, y + 32.0), Anchor::End, GREY, format!("{about}{}", HumanCount(pages)));
        }
        each(self.root.as_ref(), &mut |node| {
            let y = top + (levels - 1 - usize::from(node.reference.level)) as f32 * ROW;
            self.draw_page(&mut drawing, node, codecs, left, y);
        });
        for (i, (_, name, _, color)) in FILLS.iter().enumerate() {
            let x = 15.0 + i as f32 * 200.0;
            drawing.rect((x, below), (22.0, 12.0), *color);
            drawing.text((x + 30.0, below + 10.0), Anchor::Start, INK, *name);
        }
        let TableInfo { overflow_pages, set_trees, .. } = self.table;
        let beside = [
            (overflow_pages > 0)
                .then(|| counted(overflow_pages, "page of large values", "pages of large values")),
            (set_trees > 0)
                .then(|| counted(set_trees, "tree of values of a key", "trees of values of a key")),
        ];
        let beside: Vec<String> = beside.into_iter().flatten().collect();
        let mut notes = vec![
            "At the left: pages of the level (~: as far as what is shown tells).".to_owned(),
            "A box narrower than a letter stands for its neighbours too.".to_owned(),
        ];
        if !beside.is_empty() {
            notes.push(format!("Beside the tree: {}.", beside.join(", ")));
        }
        for (i, note) in notes.into_iter().enumerate() {
            let y = below + (i as f32 + 2.0) * LINE;
            drawing.text((15.0, y + 10.0), Anchor::Start, GREY, note);
        }
        drawing
    }

    fn draw_page(&self, drawing: &mut Drawing, node: &Node, codecs: &Codecs, left: f32, y: f32) {
        // At whole pixels, so that gaps are alike.
        let at = |share: f64| left + (share as f32 * WIDTH * 2.0).round() / 2.0;
        let x = at(node.span.0);
        let width = (at(node.span.1) - x).max(0.5);
        let gap = if width > 3.0 { 1.0 } else { 0.0 };
        let (color, used) = match &node.found {
            Found::Damaged(_) => (Color(0xff, 0x10, 0x10), "damaged".into()),
            Found::Page { used_bytes, .. } => {
                let full = self.full(*used_bytes);
                (fill_color(full), format!("{full:.0} % full"))
            }
        };
        drawing.rect((x, y), (width - gap, ROW - 8.0), color);
        if node.stands_for > 1 {
            return;
        }
        let room = ((width - 8.0) / LETTER).max(0.0) as usize;
        let ink = if color.is_light() { INK } else { Color(255, 255, 255) };
        let page = node.reference.page;
        let words = [format!("page {page}, {used}"), format!("page {page}"), page.to_string()];
        if let Some(word) = words.into_iter().find(|word| word.chars().count() <= room) {
            drawing.text((x + 4.0, y + 15.0), Anchor::Start, ink, word);
            if !node.from.is_empty() && room >= 4 {
                let key = ending(&codecs.key.bound(&node.from), room);
                drawing.text((x + 4.0, y + 31.0), Anchor::Start, ink, key);
            }
        }
    }

    /// How many pages a level has, and whether all of the level above it were seen.
    fn pages_of(&self, level: u8) -> (u64, bool) {
        let Some(root) = self.root.as_ref().filter(|root| root.reference.level > level) else {
            return (1, true);
        };
        let (above, is_all) = self.pages_of(level + 1);
        let (mut seen, mut children) = (0, 0);
        each(Some(root), &mut |node| {
            if let (true, Found::Page { items, .. }) = (node.reference.level == level + 1, &node.found) {
                (seen, children) = (seen + 1, children + items);
            }
        });
        let estimate = children as f64 / (seen as f64).max(1.0) * above as f64;
        (estimate.round() as u64, is_all && seen == above)
    }
}

/// Reads a page, and those below it that are to be shown.
fn look(
    txn: &ReadTxn,
    reference: PageRef,
    (from, to): (Vec<u8>, Option<Vec<u8>>),
    span: (f64, f64),
    pick: &mut Pick,
) -> Result<Node> {
    let node = |found| Node {
        reference,
        from: from.clone(),
        to: to.clone(),
        span,
        stands_for: 1,
        found,
        children: Vec::new(),
    };
    let page = match txn.tree_page(&reference) {
        Ok(page) => page,
        Err(Error::Corrupt { detail, .. }) => return Ok(node(Found::Damaged(detail))),
        Err(Error::Io { context, source }) => {
            return Ok(node(Found::Damaged(format!("{context}: {source}"))));
        }
        Err(other) => return Err(other.into()),
    };
    let mut node = node(found(&page));
    let TreeItems::Children(children) = page.items else { return Ok(node) };
    let all = children.iter().fold(0u64, |sum, (_, child)| sum.saturating_add(child.entries)).max(1) as f64;
    let (count, mut omitted, mut before, mut start) = (children.len(), 0, 0u64, None);
    for (i, (from, child)) in children.iter().enumerate() {
        let at = |entries: u64| span.0 + (span.1 - span.0) * entries as f64 / all;
        let begin = start.unwrap_or(at(before));
        before = before.saturating_add(child.entries);
        let end = at(before);
        if !pick.takes(child.level, i, count, end) {
            (omitted, start) = (omitted + 1, Some(begin));
            continue;
        }
        let to = children.get(i + 1).map(|(next, _)| next.clone()).or_else(|| node.to.clone());
        let from = if i == 0 { node.from.clone() } else { from.clone() };
        let mut below = look(txn, *child, (from, to), (begin, end), pick)?;
        below.stands_for = omitted + 1;
        node.children.push((omitted, below));
        (omitted, start) = (0, None);
    }
    Ok(node)
}

impl Pick {
    fn takes(&mut self, level: u8, i: usize, count: usize, end: f64) -> bool {
        match self {
            Pick::Ends(most) => i + 1 < *most || i + 1 == count || count <= *most,
            Pick::Columns(columns, ends) => {
                let last = &mut ends[usize::from(level)];
                let is_wide = (end - *last) * *columns as f64 >= 1.0 || i + 1 == count;
                *last = if is_wide { end } else { *last };
                is_wide
            }
        }
    }
}

fn found(page: &TreePage) -> Found {
    let (items, apart) = match &page.items {
        TreeItems::Children(children) => (children.len(), 0),
        TreeItems::Entries(entries) => {
            let is_apart =
                |value: &TreeValue| matches!(value, TreeValue::Large { .. } | TreeValue::Set { .. });
            (entries.len(), entries.iter().filter(|(_, value)| is_apart(value)).count())
        }
    };
    Found::Page { used_bytes: page.used_bytes, items: items as u64, apart: apart as u64 }
}

fn each<'n>(node: Option<&'n Node>, visit: &mut dyn FnMut(&'n Node)) {
    if let Some(node) = node {
        visit(node);
        node.children.iter().for_each(|(_, child)| each(Some(child), visit));
    }
}

/// The keys between two separators.
pub fn range(codecs: &Codecs, from: &[u8], to: Option<&[u8]>) -> String {
    let bound = |key: &[u8]| shorten(&codecs.key.bound(key), 40);
    match (from, to) {
        ([], None) => "all keys".into(),
        ([], Some(to)) => format!("below {}", bound(to)),
        (from, None) => format!("from {}", bound(from)),
        (from, Some(to)) => format!("from {} to {}", bound(from), bound(to)),
    }
}

/// Units of a row of a picture, from left to right and down.
const WIDTH: f32 = 1024.0;
const ROW: f32 = 48.0;

/// Columns of a picture: pages of each level that are read at most, beside the last child of each branch.
pub const COLUMNS: usize = 512;

/// The colour that says how full a page is, in percent.
pub fn fill_color(full: f64) -> Color {
    FILLS.iter().find(|(least, ..)| full >= *least as f64).map_or(GREY, |(.., color)| *color)
}
