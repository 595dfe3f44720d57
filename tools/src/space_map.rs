//! A map of a store's pages: cells of so many pages each, and what they are, by one of several colourings.
//!
//! Owns: [`SpaceMap`], what its legend says, and how it is shown: as text, with or without colours, and as a picture. A cell
//! of several kinds of pages is shown as a mix: in a picture in parts, in coloured text in the mean colour, in letters as a
//! small letter of what most of it is.
//!
//! Cells go to and fro, row by row: pages that are neighbours are neighbours in the picture too, so a run of pages is one
//! shape whatever the width, as along Hilbert's curve; but here a row is a stretch of the file, and the place of what one
//! sees can be read at the left.

use crate::drawing::{Anchor, Color, Drawing, GREY, INK, LETTER, LINE};
use crate::store::shown;
use crate::terminal::Colors;
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

/// How each of them is shown, in the same order.
const KINDS: [(&str, char, Color); 18] = [
    ("branch", 'B', Color(0x1b, 0x4f, 0x8f)),
    ("leaf", 'L', Color(0x5b, 0xa3, 0xd9)),
    ("large value", 'V', Color(0xe8, 0xa3, 0x3d)),
    ("values of a key", 'S', Color(0x8e, 0x6b, 0xb8)),
    ("large values, values of a key", 'U', Color(0xf0, 0xd3, 0xa0)),
    ("in use", 'U', Color(0x5b, 0xa3, 0xd9)),
    ("meta", 'M', Color(0x11, 0x11, 0x11)),
    ("catalog", 'C', Color(0x6b, 0x4a, 0x2f)),
    ("list of snapshots", 'N', Color(0xa8, 0x7b, 0x55)),
    ("space record", 'R', Color(0x1f, 0x7a, 0x6d)),
    ("redo log", 'G', Color(0x6f, 0xb5, 0x4f)),
    ("pending", 'P', Color(0xd9, 0x7f, 0x9b)),
    ("kept by stored snapshots", 'K', Color(0xa3, 0x2d, 0x5c)),
    ("free", '.', Color(0xe3, 0xe3, 0xe3)),
    ("free, given back", ' ', Color(0xf6, 0xf6, 0xf6)),
    ("damaged", 'X', Color(0xff, 0x10, 0x10)),
    ("bookkeeping", 'Z', Color(0x55, 0x55, 0x55)),
    ("not known", 'Q', Color(0xc9, 0xb8, 0x8a)),
];
/// Paler, where the colours are about something else.
const BESIDE_COLORS: [(Kind, Color); 2] =
    [(Kind::Pending, Color(0xcd, 0xc3, 0xcf)), (Kind::Kept, Color(0xa2, 0x95, 0xab))];

/// Tables that have a colour of their own: those of most pages.
const TABLES: [Color; 10] = [
    Color(0x2f, 0x6d, 0xb5),
    Color(0xe0, 0x8a, 0x1e),
    Color(0x3c, 0x9a, 0x4e),
    Color(0xc2, 0x3b, 0x3b),
    Color(0x7e, 0x57, 0xa8),
    Color(0x8a, 0x5a, 0x3c),
    Color(0xd6, 0x6f, 0xb0),
    Color(0x3a, 0xae, 0xb0),
    Color(0xb5, 0xa8, 0x2a),
    Color(0x7d, 0xa7, 0xdf),
];
const OTHER_TABLES: (char, Color) = ('O', Color(0xa6, 0xa6, 0x8c));

const FILLS: [(u64, &str, char, Color); 5] = [
    (90, "90 to 100 % full", 'A', Color(0x1a, 0x3f, 0x78)),
    (75, "75 to 90 %", 'B', Color(0x2f, 0x7f, 0xa8)),
    (50, "50 to 75 %", 'C', Color(0x4f, 0xb5, 0x8a)),
    (25, "25 to 50 %", 'D', Color(0xe6, 0xc2, 0x3c)),
    (0, "below 25 %", 'E', Color(0xd9, 0x5f, 0x30)),
];

/// From the newest to the oldest; each is ten times as old as the one before.
const AGES: [Color; 8] = [
    Color(0xb3, 0x12, 0x2c),
    Color(0xe2, 0x55, 0x2d),
    Color(0xf2, 0x9b, 0x3f),
    Color(0xf3, 0xcf, 0x6b),
    Color(0xb7, 0xd8, 0xa0),
    Color(0x6f, 0xb9, 0xb5),
    Color(0x3f, 0x7f, 0xb0),
    Color(0x2c, 0x3f, 0x7f),
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
            Class::Kind(kind) => {
                let (name, letter, color) = KINDS[kind as usize];
                (name.into(), letter, color)
            }
            Class::Beside(kind) => {
                let (name, letter, color) = KINDS[kind as usize];
                let pale = BESIDE_COLORS.iter().find(|(pale, _)| *pale == kind);
                (name.into(), letter, pale.map_or(color, |(_, pale)| *pale))
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
        let (pages, of) = (counted(page_count, "page"), bytes(page_size));
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
                counted(self.pages_per_cell, "page")
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
            format!("{mark} {:width$}  {}\n", entry.name, self.amount(entry))
        };
        let lines: String = self.legend.iter().map(line).collect();
        let is_mixed = self.cells.iter().any(|cell| cell.len() > 1);
        match colors {
            Colors::No if is_mixed => format!("{lines}  small letters: most of the cell, not all\n"),
            _ => lines,
        }
    }

    /// Of an entry of the legend: pages, bytes, share.
    fn amount(&self, entry: &Entry) -> String {
        let bytes = bytes(entry.pages * self.whole.page_size);
        let share = 100.0 * entry.pages as f64 / self.whole.page_count.max(1) as f64;
        let pages = if entry.pages == 1 { "page " } else { "pages" };
        format!("{:>13} {pages}  {bytes:>10}  {share:5.1} %", HumanCount(entry.pages).to_string())
    }

    /// A picture.
    pub fn draw(&self, name: &str, columns: Option<usize>) -> Drawing {
        let columns = columns.unwrap_or_else(|| picture_columns(self.cells.len()));
        let side = (PICTURE / columns as f32).floor().clamp(2.0, 24.0);
        let rows = self.rows(columns);
        let (left, top) = (90.0, 20.0 + 3.0 * LINE);
        let below = top + rows as f32 * side + LINE;
        let [title, reading] = self.heading(name);
        let least = [title.chars().count(), reading.chars().count(), 76];
        let words = 30.0 + LETTER * least.into_iter().max().unwrap_or(0) as f32;
        let width = (left + columns as f32 * side + 20.0).max(words);
        let height = below + LINE * (self.legend.len() as f32 + 0.5);
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
        for (i, entry) in self.legend.iter().enumerate() {
            let y = below + i as f32 * LINE;
            drawing.rect((15.0, y), (22.0, 12.0), entry.color);
            drawing.text((46.0, y + 10.0), Anchor::Start, INK, entry.name.clone());
            drawing.text((46.0 + 33.0 * LETTER, y + 10.0), Anchor::Start, INK, self.amount(entry));
        }
        drawing
    }

    /// A cell in parts; damage is always wide enough to be seen.
    fn draw_cell(&self, drawing: &mut Drawing, cell: usize, (x, y): (f32, f32), side: f32) {
        let gap = if side >= 12.0 { 1.0 } else { 0.0 };
        let (parts, side) = (&self.cells[cell], side - gap);
        let all: u64 = parts.iter().map(|(_, pages)| pages).sum();
        let share = |entry: &usize, pages: &u64| {
            let least = if self.legend[*entry].color == KINDS[Kind::Damaged as usize].2 { 0.2 } else { 0.0 };
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

/// Rows of a picture grow with the file, until cells have to stand for more pages.
fn picture_columns(cells: usize) -> usize {
    match cells {
        0..=512 => 42,
        513..=2048 => 64,
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

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", HumanCount(count))
}

/// The text on one line, and the first of its characters, if there are more: what would steer a terminal is replaced.
pub fn shorten(text: &str, most: usize) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter });
    match text.chars().count() > most {
        true => plain.take(most.saturating_sub(2)).chain("..".chars()).collect(),
        false => plain.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(text.contains("\x1b[38;2;17;17;17m\x1b[48;2;163;45;92m▀"), "{text:?}");
        assert!(text.contains("\x1b[38;2;91;163;217m██\x1b[0m leaf "), "{text:?}");
        let few = map.text("s", 10, Colors::Few);
        assert!(few.contains("\x1b[38;5;233m") && !few.contains(";2;"), "{few:?}");
        assert_eq!([Color(255, 0, 0), Color(0, 0, 0), Color(95, 135, 255)].map(nearest), [196, 16, 69]);
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
        let mut plot = Plot::new(large(By::Kind).whole, By::Kind, 96 * 40);
        let map = large(By::Kind);
        for (i, cell) in map.cells.iter().enumerate() {
            let mut at = i as u64 * map.pages_per_cell;
            for (entry, pages) in cell {
                let what = match map.legend[*entry].letter {
                    'L' => PageUse::Table { table: 3, level: 0 },
                    'V' => PageUse::Value { table: 3 },
                    _ => PageUse::Free,
                };
                plot.add(&run(at, *pages, what, None, None));
                at += pages;
            }
        }
        let text = plot.finish().text("large.maple", 96, Colors::All).replace('\n', "\r\n");
        let mut parser = vt100::Parser::new(40, 112, 0);
        parser.process(text.as_bytes());
        let rgb = |color| match color {
            vt100::Color::Rgb(red, green, blue) => Some(Color(red, green, blue)),
            _ => None,
        };
        let drawing = crate::drawing::screens::drawing(112, 40, |column, line| {
            let cell = parser.screen().cell(line, column).unwrap();
            (cell.contents().into(), rgb(cell.fgcolor()), rgb(cell.bgcolor()))
        });
        drawing.save(&directory.join("map-in-terminal.png")).unwrap();
    }
}
