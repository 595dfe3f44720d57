//! A map of a store's pages: cells of so many pages each, and what they are, by one of several colourings.
//!
//! Owns: [`SpaceMap`], what its legend says, and how it is shown: as text, with or without colours, and as a picture. A cell
//! of several kinds of pages is shown as a mix: in a picture in parts, in coloured text in the mean colour, in letters as a
//! small letter of what most of it is.
//!
//! Cells go to and fro, row by row: pages that are neighbours are neighbours in the picture too, so a run of pages is one
//! shape whatever the width, as along Hilbert's curve; but here a row is a stretch of the file, and the place of what one
//! sees can be read at the left.

use crate::drawing::{Anchor, Color, Drawing, GREY, GROUND, INK, LETTER, LINE};
use crate::output::counted;
use crate::store::shown;
use crate::terminal::{self, Colors};
use clap::ValueEnum;
use indicatif::{BinaryBytes, HumanCount};
use mapleaf::{PageDetail, PageRun, PageUse, TableInfo};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the colours say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// What pages are: branches, leaves, large values, free, pending, log, …
    Kind,
    /// Which table they belong to
    Table,
    /// How full they are; reads every page of every table
    Fill,
    /// How many txns ago they were written
    Age,
}

impl By {
    /// What has to be looked at.
    pub fn detail(self) -> PageDetail {
        match self {
            By::Fill => PageDetail::Leaves,
            _ => PageDetail::Branches,
        }
    }
}

/// What a store is as a whole.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The txn whose state is shown.
    pub txn: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the file.
    pub page_count: u64,
    /// Its tables.
    pub tables: Vec<TableInfo>,
    /// The txns of stored snapshots.
    pub snapshots: Vec<u64>,
}

/// A line of the legend.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// What it is.
    pub name: String,
    /// How it is shown.
    pub color: Color,
    /// How it is shown without colours.
    pub letter: char,
    /// How many pages are such.
    pub pages: u64,
}

/// Of a cell: how many pages of each entry of the legend.
pub type Cell = Vec<(usize, u64)>;

/// What the pages of a file are, cell by cell.
#[derive(Clone, Debug)]
pub struct SpaceMap {
    /// The store.
    pub whole: Whole,
    /// What the colours say.
    pub by: By,
    /// A power of two.
    pub pages_per_cell: u64,
    /// What there is, each of at least one page.
    pub legend: Vec<Entry>,
    /// From the start of the file to its end.
    pub cells: Vec<Cell>,
}

/// What the colours tell apart, in the order of the legend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    Table(u32),
    OtherTables,
    Fill(usize),
    Age(u32),
    Kind(Kind),
    /// Behind what the colours are about.
    Beside(Kind),
}

/// What pages are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Branch,
    Leaf,
    Value,
    Set,
    Unread,
    Used,
    Meta,
    Catalog,
    List,
    Space,
    Log,
    Pending,
    Kept,
    Free,
    Hole,
    Damaged,
    Books,
    Other,
}

/// How each of them is shown, in the same order. These colours, and the others below, are apart on white and on dark grounds,
/// for all eyes: a test measures them as they look to the colour-blind.
const KINDS: [(&str, char, Color); 18] = [
    ("branch", 'B', Color(0x37, 0x4c, 0xaf)),
    ("leaf", 'L', Color(0x64, 0xba, 0xfd)),
    ("large value", 'V', Color(0xf9, 0xac, 0x00)),
    ("values of a key", 'S', Color(0x8d, 0x5e, 0xff)),
    ("large values, values of a key", 'U', Color(0xf4, 0xcc, 0xa0)),
    ("in use", 'U', Color(0x64, 0xba, 0xfd)),
    ("meta", 'M', Color(0x60, 0x62, 0x6b)),
    ("catalog", 'C', Color(0x7c, 0x2a, 0x08)),
    ("list of snapshots", 'N', Color(0xb2, 0x99, 0x4c)),
    ("space record", 'R', Color(0x29, 0x80, 0x4e)),
    ("redo log", 'G', Color(0x98, 0xee, 0x70)),
    ("pending", 'P', Color(0xf6, 0xac, 0xe8)),
    ("kept by stored snapshots", 'K', Color(0x56, 0x08, 0x64)),
    ("free", '.', Color(0x9d, 0x9d, 0xa3)),
    ("free, given back", ' ', Color(0xcd, 0xcd, 0xd2)),
    ("damaged", 'X', Color(0xe6, 0x00, 0x1e)),
    ("bookkeeping", 'Z', Color(0x6c, 0x61, 0x6d)),
    ("not known", 'Q', Color(0xc9, 0xb8, 0x8a)),
];
/// Tables that have a colour of their own: those of most pages.
const TABLES: [Color; 10] = [
    Color(0x1f, 0x86, 0xf2),
    Color(0xf0, 0x86, 0x2a),
    Color(0x5f, 0xe8, 0x75),
    Color(0xf6, 0xe0, 0x50),
    Color(0x81, 0x3e, 0x86),
    Color(0x12, 0x38, 0xb8),
    Color(0xc4, 0x7e, 0xd0),
    Color(0x76, 0x20, 0x00),
    Color(0x86, 0xc3, 0x8b),
    Color(0xc3, 0x63, 0x45),
];
const OTHER_TABLES: (char, Color) = ('O', Color(0x4a, 0x13, 0x00));

/// Names, letters and colours of how full pages are, each from so many percent on.
pub const FILLS: [(u64, &str, char, Color); 5] = [
    (90, "90 to 100 % full", 'A', Color(0x2a, 0x50, 0x9a)),
    (75, "75 to 90 %", 'B', Color(0x2f, 0x7f, 0xa8)),
    (50, "50 to 75 %", 'C', Color(0x4f, 0xb5, 0x8a)),
    (25, "25 to 50 %", 'D', Color(0xe6, 0xc2, 0x3c)),
    (0, "below 25 %", 'E', Color(0xea, 0x7a, 0x3a)),
];

/// From the newest to the oldest; each is ten times as old as the one before.
const AGES: [Color; 8] = [
    Color(0xa2, 0x1a, 0x48),
    Color(0xe6, 0x6e, 0x3c),
    Color(0xf8, 0xae, 0x48),
    Color(0xf6, 0xe4, 0x86),
    Color(0xb7, 0xd8, 0xa0),
    Color(0x5c, 0xb8, 0xc8),
    Color(0x3f, 0x7f, 0xb0),
    Color(0x3a, 0x48, 0x98),
];

/// A map in the making: see [`Plot::add`].
pub struct Plot {
    whole: Whole,
    by: By,
    pages_per_cell: u64,
    cells: Vec<BTreeMap<Class, u64>>,
    /// What pages are that were not looked at.
    unread: Kind,
}

impl Plot {
    /// Of at most so many cells.
    pub fn new(whole: Whole, by: By, most_cells: u64) -> Self {
        let pages_per_cell = whole.page_count.div_ceil(most_cells.max(1)).next_power_of_two();
        let cells = vec![BTreeMap::new(); whole.page_count.div_ceil(pages_per_cell) as usize];
        Plot { whole, by, pages_per_cell, cells, unread: Kind::Unread }
    }

    /// Of what [`PageDetail::Space`] tells.
    pub fn of_space(whole: Whole, most_cells: u64) -> Self {
        Plot { unread: Kind::Used, ..Plot::new(whole, By::Kind, most_cells) }
    }

    /// Takes in what some pages are.
    pub fn add(&mut self, run: &PageRun) {
        let class = self.class(run);
        let (mut at, end) = (run.first, run.first + run.pages);
        while at < end {
            let cell = at / self.pages_per_cell;
            let next = end.min((cell + 1) * self.pages_per_cell);
            *self.cells[cell as usize].entry(class).or_default() += next - at;
            at = next;
        }
    }

    fn class(&self, run: &PageRun) -> Class {
        let kind = match run.what {
            PageUse::Table { level, .. } => [Kind::Leaf, Kind::Branch][usize::from(level > 0)],
            PageUse::Set { .. } => Kind::Set,
            PageUse::Value { .. } => Kind::Value,
            PageUse::Meta => Kind::Meta,
            PageUse::Catalog { .. } => Kind::Catalog,
            PageUse::Snapshots { .. } => Kind::List,
            PageUse::Space => Kind::Space,
            PageUse::Log => Kind::Log,
            PageUse::Pending { birth, death } => {
                let is_kept = self.whole.snapshots.iter().any(|txn| (birth..death).contains(txn));
                [Kind::Pending, Kind::Kept][usize::from(is_kept)]
            }
            PageUse::Free => Kind::Free,
            PageUse::Hole => Kind::Hole,
            PageUse::Damaged => Kind::Damaged,
            PageUse::Unread { .. } => self.unread,
            _ => Kind::Other,
        };
        match (self.by, run.what) {
            (By::Kind, _) => Class::Kind(kind),
            (
                By::Table,
                PageUse::Table { table, .. }
                | PageUse::Set { table, .. }
                | PageUse::Value { table }
                | PageUse::Unread { table: Some(table) },
            ) => Class::Table(table),
            (By::Fill, PageUse::Table { .. } | PageUse::Set { .. } | PageUse::Value { .. }) => {
                let full = run.used_bytes.unwrap_or(0) * 100 / (run.pages * self.whole.page_size).max(1);
                Class::Fill(FILLS.iter().position(|(least, ..)| full >= *least).unwrap_or(0))
            }
            (By::Age, PageUse::Table { .. } | PageUse::Set { .. } | PageUse::Value { .. }) => {
                let age = self.whole.txn.saturating_sub(run.birth.unwrap_or(0));
                Class::Age(age.checked_ilog10().map_or(0, |digits| (digits + 1).min(AGES.len() as u32 - 1)))
            }
            (_, PageUse::Unread { .. }) => Class::Kind(Kind::Unread),
            _ if matches!(kind, Kind::Meta | Kind::Catalog | Kind::List | Kind::Space | Kind::Log) => {
                Class::Beside(Kind::Books)
            }
            _ => Class::Beside(kind),
        }
    }

    /// The map of what was added.
    pub fn finish(mut self) -> SpaceMap {
        let ranks = self.gather_tables();
        let mut pages: BTreeMap<Class, u64> = BTreeMap::new();
        for (class, count) in self.cells.iter().flatten() {
            *pages.entry(*class).or_default() += count;
        }
        let mut order: Vec<(Class, u64)> = pages.into_iter().collect();
        let rank = |class: &Class| match class {
            Class::Table(table) => (Class::Table(0), ranks.iter().position(|ranked| ranked == table)),
            other => (*other, None),
        };
        order.sort_by_key(|(class, _)| rank(class));
        let mut legend: Vec<Entry> =
            order.iter().map(|(class, pages)| self.entry(*class, *pages, &ranks)).collect();
        let is_damaged = |(class, _): &(Class, u64)| {
            matches!(class, Class::Kind(Kind::Damaged) | Class::Beside(Kind::Damaged))
        };
        if order.iter().any(is_damaged) {
            let unread = KINDS[Kind::Unread as usize].0;
            legend
                .iter_mut()
                .filter(|entry| entry.name == unread)
                .for_each(|entry| entry.name = "behind damage, or large values".into());
        }
        let index: BTreeMap<Class, usize> =
            order.iter().enumerate().map(|(i, (class, _))| (*class, i)).collect();
        let cell = |cell: &BTreeMap<Class, u64>| {
            let mut parts: Cell = cell.iter().map(|(class, pages)| (index[class], *pages)).collect();
            parts.sort_unstable();
            parts
        };
        let cells = self.cells.iter().map(cell).collect();
        SpaceMap { whole: self.whole, by: self.by, pages_per_cell: self.pages_per_cell, legend, cells }
    }

    /// The tables of most pages, the largest first; all others become one class.
    fn gather_tables(&mut self) -> Vec<u32> {
        let mut pages: BTreeMap<u32, u64> = BTreeMap::new();
        for (class, count) in self.cells.iter().flatten() {
            if let Class::Table(table) = class {
                *pages.entry(*table).or_default() += count;
            }
        }
        let mut ranks: Vec<u32> = pages.keys().copied().collect();
        ranks.sort_by_key(|table| std::cmp::Reverse(pages[table]));
        let others = ranks.split_off(ranks.len().min(TABLES.len()));
        for cell in self.cells.iter_mut().filter(|_| !others.is_empty()) {
            let is_other = |class: &Class| matches!(class, Class::Table(table) if !ranks.contains(table));
            let sum: u64 = cell.iter().filter(|(class, _)| is_other(class)).map(|(_, count)| count).sum();
            cell.retain(|class, _| !is_other(class));
            if sum > 0 {
                cell.insert(Class::OtherTables, sum);
            }
        }
        ranks
    }

    fn entry(&self, class: Class, pages: u64, ranks: &[u32]) -> Entry {
        let (name, letter, color) = match class {
            Class::Kind(kind) | Class::Beside(kind) => {
                let (name, letter, color) = KINDS[kind as usize];
                (name.into(), letter, color)
            }
            Class::Table(table) => {
                let info = self.whole.tables.iter().find(|info| info.id == table);
                let name = info.map_or(format!("table {table}"), |info| shorten(&shown(&info.name), 32));
                let rank = ranks.iter().position(|ranked| *ranked == table).unwrap_or(0);
                (name, (b'A' + rank as u8) as char, TABLES[rank])
            }
            Class::OtherTables => ("other tables".into(), OTHER_TABLES.0, OTHER_TABLES.1),
            Class::Fill(fill) => {
                let (_, name, letter, color) = FILLS[fill];
                (name.into(), letter, color)
            }
            Class::Age(age) => {
                (age_name(self.whole.txn, age), (b'A' + age as u8) as char, AGES[age as usize])
            }
        };
        Entry { name, letter, color, pages }
    }
}

/// The txns of an age: 0 is the newest alone, each further one ten times as far back.
fn age_name(newest: u64, age: u32) -> String {
    let back = |txns: u64| HumanCount(newest.saturating_sub(txns).max(1)).to_string();
    match age {
        0 => format!("txn {}", back(0)),
        1 => format!("txns {} to {}", back(9), back(1)),
        age if age as usize == AGES.len() - 1 => format!("up to txn {}", back(10u64.pow(age - 1))),
        age => format!("txns {} to {}", back(10u64.pow(age) - 1), back(10u64.pow(age - 1))),
    }
}

impl SpaceMap {
    /// What it is a map of, and how it is to be read.
    pub fn heading(&self, name: &str) -> [String; 2] {
        let Whole { txn, page_size, page_count, .. } = self.whole;
        let (pages, of) = (counted(page_count, "page", "pages"), bytes(page_size));
        let all = bytes(page_count * page_size);
        let by = match self.by {
            By::Kind => "what pages are",
            By::Table => "whose pages are",
            By::Fill => "how full pages are",
            By::Age => "which txns wrote the pages",
        };
        let cell = bytes(self.pages_per_cell * page_size);
        [
            format!("{name}, txn {txn}: {pages} of {of}, {all}"),
            format!(
                "{by}; a cell is {}, {cell}; rows run right, then left",
                counted(self.pages_per_cell, "page", "pages")
            ),
        ]
    }

    /// How many pages are damaged, if any is.
    pub fn damaged(&self) -> Option<u64> {
        let (name, ..) = KINDS[Kind::Damaged as usize];
        self.legend.iter().find(|entry| entry.name == name).map(|entry| entry.pages)
    }

    /// The colour of a cell.
    pub fn color(&self, cell: usize) -> Color {
        let parts = self.cells[cell].iter();
        Color::mixed(parts.map(|(entry, pages)| (self.legend[*entry].color, *pages as f64)))
    }

    /// The letter of what most of a cell is; a small one where it is not all of it.
    pub fn letter(&self, cell: usize) -> char {
        let parts = &self.cells[cell];
        let Some((entry, _)) = parts.iter().max_by_key(|(_, pages)| *pages) else { return ' ' };
        match (self.legend[*entry].letter, parts.len()) {
            (letter, 1) => letter,
            ('.', _) => ',',
            (letter, _) => letter.to_ascii_lowercase(),
        }
    }

    /// Which cell is where, in rows of `columns`.
    pub fn cell_at(&self, columns: usize, row: usize, column: usize) -> Option<usize> {
        let along = if row.is_multiple_of(2) { column } else { columns - 1 - column };
        Some(row * columns + along).filter(|cell| *cell < self.cells.len())
    }

    /// How many rows of `columns` there are.
    pub fn rows(&self, columns: usize) -> usize {
        self.cells.len().div_ceil(columns)
    }

    /// Where a row begins in the file.
    fn offset(&self, columns: usize, row: usize) -> String {
        bytes((row * columns) as u64 * self.pages_per_cell * self.whole.page_size)
    }

    /// Lines of text, in rows of `columns` cells: with colours two rows a line.
    pub fn text(&self, name: &str, columns: usize, colors: Colors) -> String {
        let [title, reading] = self.heading(name);
        let mut text = format!("{title}\n{reading}\n\n");
        let rows_per_line = if colors == Colors::No { 1 } else { 2 };
        for row in (0..self.rows(columns)).step_by(rows_per_line) {
            text.push_str(&format!("{:>LABEL$}  ", self.offset(columns, row)));
            for column in 0..columns {
                let upper = self.cell_at(columns, row, column);
                match colors {
                    Colors::No => text.push(upper.map_or(' ', |cell| self.letter(cell))),
                    _ => {
                        let lower = self.cell_at(columns, row + 1, column);
                        text.push_str(&half_blocks(
                            upper.map(|cell| self.color(cell)),
                            lower.map(|cell| self.color(cell)),
                            colors,
                        ));
                    }
                }
            }
            let line = text.trim_end_matches(' ').len();
            text.truncate(line);
            text.push_str(if colors == Colors::No { "\n" } else { "\x1b[0m\n" });
        }
        text.push('\n');
        text.push_str(&self.legend_text(colors));
        text
    }

    fn legend_text(&self, colors: Colors) -> String {
        let width = self.legend.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
        let line = |entry: &Entry| {
            let mark = match colors {
                Colors::No => entry.letter.to_string(),
                _ => format!("{}██\x1b[0m", foreground(entry.color, colors)),
            };
            let [pages, bytes, share] = self.amounts(entry);
            format!("{mark} {:width$}  {pages:>19}  {bytes:>10}  {share:>7}\n", entry.name)
        };
        let lines: String = self.legend.iter().map(line).collect();
        let is_mixed = self.cells.iter().any(|cell| cell.len() > 1);
        match colors {
            Colors::No if is_mixed => format!("{lines}  small letters: most of the cell, not all\n"),
            _ => lines,
        }
    }

    /// Of an entry of the legend: pages, bytes, share.
    fn amounts(&self, entry: &Entry) -> [String; 3] {
        let share = 100.0 * entry.pages as f64 / self.whole.page_count.max(1) as f64;
        let share = if share < 0.05 { "<0.1 %".into() } else { format!("{share:.1} %") };
        let pages = if entry.pages == 1 { "page " } else { "pages" };
        let count = HumanCount(entry.pages);
        [format!("{count} {pages}"), bytes(entry.pages * self.whole.page_size), share]
    }

    /// A picture.
    pub fn draw(&self, name: &str, columns: Option<usize>) -> Drawing {
        let columns = columns.unwrap_or_else(|| picture_columns(self.cells.len()));
        let side = (PICTURE / columns as f32).floor().clamp(2.0, 32.0);
        let rows = self.rows(columns);
        let (left, top) = (90.0, 20.0 + 3.0 * LINE);
        let below = top + rows as f32 * side + LINE;
        let [title, reading] = self.heading(name);
        let words = 30.0 + LETTER * title.chars().count().max(reading.chars().count()) as f32;
        let width = (left + columns as f32 * side + 20.0).max(words).max(LEGEND);
        let legend_columns = if width >= 2.0 * LEGEND { 2 } else { 1 };
        let legend_rows = self.legend.len().div_ceil(legend_columns);
        let height = below + LINE * (legend_rows as f32 + 0.5);
        let mut drawing = Drawing::new(width, height);
        drawing.title((15.0, 12.0 + LINE), title);
        drawing.text((15.0, 12.0 + 2.0 * LINE), Anchor::Start, INK, reading);
        let labels = (LINE / side).ceil() as usize;
        for row in 0..rows {
            let y = top + row as f32 * side;
            if row.is_multiple_of(labels) {
                let middle = y + side.min(LINE) / 2.0 + 4.0;
                drawing.text((left - 8.0, middle), Anchor::End, GREY, self.offset(columns, row));
            }
            for column in 0..columns {
                if let Some(cell) = self.cell_at(columns, row, column) {
                    self.draw_cell(&mut drawing, cell, (left + column as f32 * side, y), side);
                }
            }
        }
        // Where there is room, a grid over it.
        if side >= 12.0 {
            let (width, height) = (columns as f32 * side, rows as f32 * side);
            (1..=columns)
                .for_each(|i| drawing.rect((left + i as f32 * side - 1.0, top), (1.0, height), GROUND));
            (1..=rows).for_each(|i| drawing.rect((left, top + i as f32 * side - 1.0), (width, 1.0), GROUND));
        }
        for (i, entry) in self.legend.iter().enumerate() {
            let x = 15.0 + (i / legend_rows) as f32 * (width / legend_columns as f32);
            let y = below + (i % legend_rows) as f32 * LINE;
            drawing.rect((x, y), (22.0, 12.0), entry.color);
            drawing.text((x + 31.0, y + 10.0), Anchor::Start, INK, entry.name.clone());
            for (amount, end) in self.amounts(entry).into_iter().zip([365.0, 445.0, LEGEND - 20.0]) {
                drawing.text((x + end, y + 10.0), Anchor::End, INK, amount.trim_end());
            }
        }
        drawing
    }

    /// A cell in parts; damage is always wide enough to be seen.
    fn draw_cell(&self, drawing: &mut Drawing, cell: usize, (x, y): (f32, f32), side: f32) {
        let parts = &self.cells[cell];
        let all: u64 = parts.iter().map(|(_, pages)| pages).sum();
        let share = |entry: &usize, pages: &u64| {
            let is_damage = self.legend[*entry].name == KINDS[Kind::Damaged as usize].0;
            let least = if is_damage { 0.2 } else { 0.0 };
            (*pages as f32 / all.max(1) as f32).max(least)
        };
        let shares: f32 = parts.iter().map(|(entry, pages)| share(entry, pages)).sum();
        let mut at = x;
        for (entry, pages) in parts {
            let width = side * share(entry, pages) / shares;
            drawing.rect((at, y), (width, side), self.legend[*entry].color);
            at += width;
        }
    }
}

/// Characters of what stands before a row.
const LABEL: usize = 11;

/// Characters beside the cells of a row of text.
pub const BESIDE: usize = LABEL + 2;

/// Units of a row of a picture.
const PICTURE: f32 = 1024.0;

/// Units of a column of the legend of a picture.
const LEGEND: f32 = 530.0;

/// Rows of a picture grow with the file, until cells have to stand for more pages. Powers of two, so that rows begin at round
/// places.
fn picture_columns(cells: usize) -> usize {
    match cells {
        0..=128 => 16,
        129..=640 => 32,
        641..=2560 => 64,
        _ => 128,
    }
}

/// Cells that a picture has at most.
pub const PICTURE_CELLS: u64 = 128 * 64;

fn half_blocks(upper: Option<Color>, lower: Option<Color>, colors: Colors) -> String {
    match (upper, lower) {
        (Some(upper), Some(lower)) => {
            format!("{}{}▀", foreground(upper, colors), background(lower, colors))
        }
        (Some(upper), None) => format!("\x1b[0m{}▀", foreground(upper, colors)),
        (None, Some(lower)) => format!("\x1b[0m{}▄", foreground(lower, colors)),
        (None, None) => "\x1b[0m ".into(),
    }
}

fn foreground(color: Color, colors: Colors) -> String {
    format!("\x1b[38;{}m", code(color, colors))
}

fn background(color: Color, colors: Colors) -> String {
    format!("\x1b[48;{}m", code(color, colors))
}

fn code(color: Color, colors: Colors) -> String {
    let Color(red, green, blue) = color;
    match colors {
        Colors::All => format!("2;{red};{green};{blue}"),
        _ => format!("5;{}", nearest(color)),
    }
}

/// About the nearest of the 216 colours and 24 greys of a terminal of 256.
pub fn nearest(Color(red, green, blue): Color) -> u8 {
    let step = |part: u8| if part < 48 { 0 } else { (u16::from(part) - 35) as u8 / 40 };
    match red.abs_diff(green).max(green.abs_diff(blue)) {
        0..10 if (8..=238).contains(&red) => 232 + (red - 3) / 10,
        _ => 16 + 36 * step(red) + 6 * step(green) + step(blue),
    }
}

/// As KiB, MiB, …, with a point only where something stands behind it.
pub fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string().replace(".00 ", " ")
}

/// The text on one line, or what of it fits into so many columns: what would steer a terminal is replaced.
pub fn shorten(text: &str, most: usize) -> String {
    let plain = plain(text);
    match terminal::width(&plain) > most {
        true => format!("{}..", terminal::beginning(&plain, most.saturating_sub(2))),
        false => plain,
    }
}

/// The end of the text where it does not fit: what neighbours differ in.
pub fn ending(text: &str, most: usize) -> String {
    let plain = plain(text);
    match terminal::width(&plain) > most {
        true => format!("..{}", terminal::end(&plain, most.saturating_sub(2))),
        false => plain,
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::eyes::distance;

    #[test]
    fn text_is_cut_to_columns() {
        assert_eq!(
            (shorten("日本語の表", 10), shorten("日本語の表", 9)),
            ("日本語の表".into(), "日本語..".into())
        );
        assert_eq!((ending("日本語の表", 7), ending("a\tb", 3)), ("..の表".into(), "a\u{fffd}b".into()));
    }

    fn whole(page_count: u64) -> Whole {
        Whole { txn: 1200, page_size: 4096, page_count, tables: Vec::new(), snapshots: vec![7] }
    }

    fn run(first: u64, pages: u64, what: PageUse, birth: Option<u64>, used_bytes: Option<u64>) -> PageRun {
        PageRun::new(first, pages, what, birth, used_bytes)
    }

    fn small(by: By, most_cells: u64) -> SpaceMap {
        let mut plot = Plot::new(whole(24), by, most_cells);
        let leaf = |table| PageUse::Table { table, level: 0 };
        for run in [
            run(0, 2, PageUse::Meta, None, None),
            run(2, 1, PageUse::Table { table: 3, level: 1 }, Some(1200), Some(4000)),
            run(3, 5, leaf(3), Some(1195), Some(5 * 2100)),
            run(8, 4, leaf(4), Some(1), Some(4 * 800)),
            run(12, 6, PageUse::Value { table: 4 }, Some(1100), Some(6 * 4096)),
            run(18, 2, PageUse::Pending { birth: 6, death: 8 }, Some(6), None),
            run(20, 1, PageUse::Pending { birth: 8, death: 9 }, Some(8), None),
            run(21, 3, PageUse::Free, None, None),
        ] {
            plot.add(&run);
        }
        plot.finish()
    }

    #[test]
    fn letters_say_what_pages_are() {
        let wanted = "\
s.maple, txn 1200: 24 pages of 4 KiB, 96 KiB
what pages are; a cell is 1 page, 4 KiB; rows run right, then left

        0 B  MMBLLLLLLL
     40 KiB  KKVVVVVVLL
     80 KiB  P...

B branch                                1 page        4 KiB    4.2 %
L leaf                                  9 pages      36 KiB   37.5 %
V large value                           6 pages      24 KiB   25.0 %
M meta                                  2 pages       8 KiB    8.3 %
P pending                               1 page        4 KiB    4.2 %
K kept by stored snapshots              2 pages       8 KiB    8.3 %
. free                                  3 pages      12 KiB   12.5 %
";
        assert_eq!(small(By::Kind, 100).text("s.maple", 10, Colors::No), wanted);
        assert!(include_str!("../../docs/looking-inside.md").contains(wanted), "the document shows the same");
    }

    #[test]
    fn a_cell_of_several_kinds_is_a_mix() {
        let map = small(By::Kind, 6);
        assert_eq!(map.pages_per_cell, 4);
        let text = map.text("s.maple", 10, Colors::No);
        assert!(text.contains("  mLLVk,\n") && text.contains("small letters"), "{text}");
        let parts: u64 = map.cells.iter().flatten().map(|(_, pages)| pages).sum();
        assert_eq!((parts, map.cells[0].len()), (24, 3));
    }

    #[test]
    fn the_other_colourings() {
        let row = |by| small(by, 100).text("s", 24, Colors::No).lines().nth(3).unwrap().trim().to_owned();
        // The table of most pages comes first.
        assert_eq!(row(By::Table), "0 B  ZZBBBBBBAAAAAAAAAAKKP...");
        assert_eq!(row(By::Fill), "0 B  ZZACCCCCEEEEAAAAAAKKP...");
        assert_eq!(row(By::Age), "0 B  ZZABBBBBEEEEDDDDDDKKP...");
        let ages: Vec<String> = small(By::Age, 9).legend.into_iter().map(|entry| entry.name).collect();
        assert_eq!(ages[..4], ["txn 1,200", "txns 1,191 to 1,199", "txns 201 to 1,100", "txns 1 to 200"]);
    }

    #[test]
    fn colours_are_those_that_the_terminal_has() {
        let map = small(By::Kind, 100);
        let text = map.text("s", 10, Colors::All);
        assert!(text.contains("\x1b[38;2;96;98;107m\x1b[48;2;86;8;100m▀"), "{text:?}");
        assert!(text.contains("\x1b[38;2;100;186;253m██\x1b[0m leaf "), "{text:?}");
        let few = map.text("s", 10, Colors::Few);
        assert!(few.contains("\x1b[38;5;75m") && !few.contains(";2;"), "{few:?}");
        assert_eq!([Color(255, 0, 0), Color(0, 0, 0), Color(95, 135, 255)].map(nearest), [196, 16, 69]);
    }

    #[test]
    fn colours_are_apart_for_the_colour_blind_too() {
        let kind = |kind: Kind| KINDS[kind as usize].2;
        let of_kinds = KINDS[..=Kind::Damaged as usize].iter().filter(|(name, ..)| *name != "in use");
        let beside =
            [Kind::Pending, Kind::Kept, Kind::Free, Kind::Hole, Kind::Damaged, Kind::Books].map(kind);
        let with_those = |colors: &[Color]| [colors, &beside].concat();
        for (name, palette) in [
            ("kind", of_kinds.map(|(.., color)| *color).collect()),
            ("table", with_those(&[&TABLES[..], &[OTHER_TABLES.1]].concat())),
            ("fill", with_those(&FILLS.map(|(.., color)| color))),
            ("age", with_those(&AGES)),
        ] {
            for (i, one) in palette.iter().enumerate() {
                for other in &palette[i + 1..] {
                    let apart = distance(*one, *other);
                    assert!(apart >= 10.0, "{name}: {one:?} and {other:?} are {apart:.1} apart");
                }
                // The grounds of pictures and of dark terminals.
                for ground in [Color(255, 255, 255), Color(0x1e, 0x1e, 0x24)] {
                    let apart = distance(*one, ground);
                    assert!(apart >= 15.0, "{name}: {one:?} is {apart:.1} apart from {ground:?}");
                }
            }
        }
        assert!(distance(Color(0x3c, 0x9a, 0x4e), Color(0xc2, 0x3b, 0x3b)) < 20.0, "a green and a red");
    }

    /// 100 GB in extents of all sizes, as a store has them that was changed for long.
    fn large(by: By) -> SpaceMap {
        let mut whole = whole(100_000_000_000 / 4096);
        let schema = mapleaf::Database::in_memory().unwrap();
        schema.write(|w| w.put(mapleaf::Table::<u64, u64>::new("events"), &1, &1)).unwrap();
        whole.tables = schema.begin_read().unwrap().tables().unwrap();
        let (page_count, mut plot) = (whole.page_count, Plot::new(whole, by, PICTURE_CELLS));
        let (mut at, mut seed) = (0u64, 1u64);
        while at < page_count {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let random = seed >> 33;
            let place = at as f64 / page_count as f64;
            let len = (1 + random % 300 * (1 + (random / 100) % 700 / 695 * 500)).min(page_count - at);
            let birth = Some(1200 - (1200.0 * (1.0 - place) * ((random % 97) as f64 / 97.0)) as u64);
            let table = 2 + (place * 5.0) as u32 + (random % 11 / 10) as u32;
            let what = match random % 100 {
                0..70 => PageUse::Table { table, level: 0 },
                70 => PageUse::Table { table, level: 1 },
                71..85 => PageUse::Value { table },
                85..88 => PageUse::Pending { birth: random % 20, death: random % 20 + 5 },
                88 => PageUse::Space,
                _ => PageUse::Free,
            };
            plot.add(&run(at, len, what, birth, Some(len * (1500 + random % 2500))));
            at += len;
        }
        plot.finish()
    }

    #[test]
    fn a_hundred_gigabytes_fit_into_a_picture() {
        let map = large(By::Kind);
        assert!(map.cells.len() as u64 <= PICTURE_CELLS && map.pages_per_cell == 4096);
        let sum: u64 = map.legend.iter().map(|entry| entry.pages).sum();
        assert_eq!(sum, map.whole.page_count);
        let svg = map.draw("large.maple", None).svg();
        assert!(svg.len() < 4 << 20, "{} bytes", svg.len());
        assert!(svg.contains(">93.13 GiB") || svg.contains(", 93.13 GiB"), "its size is in the title");
    }

    #[test]
    #[ignore = "draws pictures to look at, into target/pictures"]
    fn pictures_of_a_hundred_gigabytes() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
        std::fs::create_dir_all(&directory).unwrap();
        for (by, name) in [(By::Kind, "kind"), (By::Table, "table"), (By::Fill, "fill"), (By::Age, "age")] {
            let path = directory.join(format!("{name}-100gb.png"));
            large(by).draw("large.maple", None).save(&path).unwrap();
        }
    }
}
