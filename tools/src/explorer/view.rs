//! How the explorer looks: where one is, the list, and at the right space and readers.

use super::{Explorer, Place, ROW, Value, What, between};
use crate::cli::Codecs;
use crate::drawing::Color as Rgb;
use crate::output::counted;
use crate::space_map::{SpaceMap, bytes, nearest, shorten};
use crate::store::shown;
use crate::terminal::Colors;
use crate::tree_sketch::{fill_color, range};
use indicatif::HumanCount;
use mapleaf::{PageRef, Reader, TreeItems, TreeValue};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

/// Columns of the panels at the right.
const SIDE: u16 = 40;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, explorer: &mut Explorer, colors: Colors) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    let is_wide = frame.area().width >= 2 * SIDE + 10;
    let side = if is_wide { SIDE } else { 0 };
    let [list, side] = Layout::horizontal([Constraint::Min(20), Constraint::Length(side)]).areas(body);
    frame.render_widget(Paragraph::new(heading(explorer)), head);
    draw_list(frame, explorer, colors, list);
    if is_wide {
        let [space, readers] = Layout::vertical([Constraint::Min(8), Constraint::Length(9)]).areas(side);
        draw_space(frame, explorer, colors, space);
        draw_readers(frame, &explorer.live.readers, readers);
    }
    let keys = "arrows move   Enter in   Esc out   b bytes of the page   r newest state   q quit";
    let words = explorer.message.clone().map_or(Line::from(keys), |message| {
        Line::styled(
            shorten(&message, usize::from(foot.width)),
            Style::new().add_modifier(Modifier::REVERSED),
        )
    });
    frame.render_widget(Paragraph::new(words), foot);
}

fn heading(explorer: &Explorer) -> Line<'static> {
    let (shown, newest) = (explorer.txn.txn_id(), explorer.live.newest);
    let all = bytes(explorer.txn.page_count() * explorer.db.page_size() as u64);
    let file = Span::styled(explorer.file.clone(), Style::new().add_modifier(Modifier::BOLD));
    let txn = format!("  {all}  txn {shown}");
    let newer = if newest > shown { format!(", the newest is {newest}: r shows it") } else { String::new() };
    Line::from(vec![file, Span::raw(txn), Span::raw(newer)])
}

fn draw_list(frame: &mut Frame<'_>, explorer: &mut Explorer, colors: Colors, area: Rect) {
    let block = Block::bordered().title(title(explorer));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let (notes, height) = (notes(explorer), usize::from(inside.height));
    let room = height.saturating_sub(notes.len() + 1);
    explorer.height = room;
    let last = explorer.lines();
    let top = explorer.place().scroll(room);
    let mut lines: Vec<Line<'_>> = notes.into_iter().map(Line::from).collect();
    lines.push(Line::from(""));
    let selected = explorer.here().selected;
    for (i, line) in (top..last.min(top + room as u64)).zip(rows(explorer, colors, top, room as u64)) {
        lines.push(if i == selected { reversed(line, usize::from(inside.width)) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inside);
}

/// A selected line, as wide as the list. What is only colour stays as it is.
fn reversed(mut line: Line<'static>, width: usize) -> Line<'static> {
    line.push_span(" ".repeat(width.saturating_sub(line.width())));
    for span in line.spans.iter_mut().filter(|span| !span.content.starts_with('█')) {
        span.style = span.style.add_modifier(Modifier::REVERSED);
    }
    line
}

/// The way here.
fn title(explorer: &Explorer) -> String {
    let mut steps = Vec::new();
    for place in &explorer.path {
        match &place.what {
            What::Tables => steps.push("tables".to_owned()),
            What::Page { page, table, .. } => {
                if steps.len() == 1 {
                    let name = explorer.tables.get(*table).map_or("", |table| &table.name);
                    steps.push(shorten(&shown(name), 24));
                }
                steps.push(format!("page {}", page.reference.page));
            }
            What::Values { key, codecs, .. } | What::Value { key, codecs, .. } => {
                steps.push(shorten(&codecs.key.bound(key), 24));
            }
            What::Bytes { .. } => steps.push("bytes".to_owned()),
        }
    }
    format!(" {} ", steps.join(" > "))
}

/// What is said above the list.
fn notes(explorer: &Explorer) -> Vec<String> {
    match &explorer.here().what {
        What::Tables => {
            vec![format!("{:24} {:>12} {:>6}  {}", "table", "entries", "levels", "key -> value")]
        }
        What::Page { page, codecs, from, to, .. } => {
            let (reference, keys) = (page.reference, range(codecs, from, to.as_deref()));
            let kind = match reference.level {
                0 => "leaf".into(),
                level => format!("branch of level {level}"),
            };
            let full = 100 * page.used_bytes / page.bytes.len().max(1) as u64;
            vec![
                format!(
                    "{kind}, written by txn {}, {full} % full ({} bytes)",
                    reference.birth, page.used_bytes
                ),
                format!("{}; keys: {keys}", counted(reference.entries, "entry", "entries")),
            ]
        }
        What::Values { values, .. } => vec![counted(values.len() as u64, "value", "values")],
        What::Value { value, codecs, .. } => value_notes(value, codecs),
        What::Bytes { page, kind, .. } => vec![format!("page {page}: {kind}")],
    }
}

fn value_notes(value: &Value, codecs: &Codecs) -> Vec<String> {
    let len = counted(value.len(), "byte", "bytes");
    match value {
        Value::Large(_) => vec![format!("large value of {len}")],
        Value::Here(bytes) => {
            let text = codecs.value.text(bytes).map(|text| shorten(&text, 200)).unwrap_or_default();
            vec![format!("value of {len}"), text]
        }
    }
}

/// Lines of the list, from `top` on.
fn rows(explorer: &Explorer, colors: Colors, top: u64, most: u64) -> Vec<Line<'static>> {
    let (from, to) = (top as usize, (top + most) as usize);
    let Place { what, .. } = explorer.here();
    match what {
        What::Tables => {
            let tables = explorer.tables.iter().skip(from).take(to - from);
            let row = |table: &mapleaf::TableInfo| {
                let (len, name) = (HumanCount(table.len).to_string(), shorten(&shown(&table.name), 24));
                Line::from(format!("{name:24} {len:>12} {:>6}  {}", table.levels, table.schema))
            };
            tables.map(row).collect()
        }
        What::Page { page, codecs, from: first, to: last, .. } => match &page.items {
            TreeItems::Children(children) => {
                let keys = |i| {
                    let (first, last) = between(children, i, first, last.as_deref());
                    range(codecs, first, last)
                };
                let to = to.min(children.len());
                let shown: Vec<&PageRef> =
                    children[from.min(to)..to].iter().map(|(_, child)| child).collect();
                let rows = child_rows(explorer, &shown, colors).into_iter();
                rows.zip(from..to)
                    .map(|(mut row, i)| {
                        row.push_span(keys(i));
                        row
                    })
                    .collect()
            }
            TreeItems::Entries(entries) => {
                let entries = &entries[from.min(entries.len())..to.min(entries.len())];
                let keys: Vec<String> =
                    entries.iter().map(|(key, _)| shorten(&codecs.key.bound(key), 32)).collect();
                let width = keys.iter().map(|key| key.chars().count()).max().unwrap_or(0);
                let row = |(key, (_, value)): (&String, &(Vec<u8>, TreeValue))| {
                    Line::from(format!("{key:width$}  {}", entry_value(codecs, value)))
                };
                keys.iter().zip(entries).map(row).collect()
            }
        },
        What::Values { values, codecs, .. } => {
            let values = values.iter().skip(from).take(to - from);
            values.map(|value| Line::from(preview(codecs, value))).collect()
        }
        What::Value { table, key, value, .. } => {
            match explorer.part(*table, key, value, top * ROW, most * ROW) {
                Ok(part) => hex_rows(top * ROW, &part),
                Err(failure) => vec![Line::from(failure.message())],
            }
        }
        What::Bytes { lines, .. } => {
            let lines = lines.iter().skip(from).take(to - from);
            lines.map(|line| Line::from(shorten(line, 400))).collect()
        }
    }
}

/// What references say, in columns as wide as what is in them; and how full the pages are.
fn child_rows(explorer: &Explorer, children: &[&PageRef], colors: Colors) -> Vec<Line<'static>> {
    let entries = |child: &PageRef| counted(child.entries, "entry  ", "entries");
    let width =
        |text: &dyn Fn(&PageRef) -> String| children.iter().map(|child| text(child).len()).max().unwrap_or(0);
    let (pages, txns) = (width(&|child| child.page.to_string()), width(&|child| child.birth.to_string()));
    let counts = width(&entries);
    let row = |child: &&PageRef| {
        let fill = explorer.fill_of(child);
        let color = fill.map_or(Style::new(), |full| style(fill_color(full), colors));
        let full = fill.map_or("  ?".into(), |full| format!("{full:3.0}"));
        let words = format!(
            "page {:<pages$}  {full} % full  {:>counts$}  txn {:<txns$}  ",
            child.page,
            entries(child),
            child.birth
        );
        Line::from(vec![Span::styled("█", color), Span::raw(" "), Span::raw(words)])
    };
    children.iter().map(row).collect()
}

fn entry_value(codecs: &Codecs, value: &TreeValue) -> String {
    match value {
        TreeValue::Here(value) => preview(codecs, value),
        TreeValue::Values(values) => {
            let first: Vec<String> = values.iter().take(8).map(|value| preview(codecs, value)).collect();
            format!("{}: {}", counted(values.len() as u64, "value", "values"), first.join(", "))
        }
        TreeValue::Large { first, pages, len, .. } => {
            format!("{} on {} from page {first} on", bytes(*len), counted(*pages, "page", "pages"))
        }
        TreeValue::Set(root) => {
            format!("{} in a tree, page {}", counted(root.entries, "value", "values"), root.page)
        }
        _ => String::new(),
    }
}

fn preview(codecs: &Codecs, value: &[u8]) -> String {
    codecs.value.text(value).map(|text| shorten(&text, 120)).unwrap_or_else(|wrong| wrong)
}

fn hex_rows(start: u64, part: &[u8]) -> Vec<Line<'static>> {
    let row = |(i, bytes): (usize, &[u8])| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let letter = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '·' };
        let letters: String = bytes.iter().map(letter).collect();
        let at = start + i as u64 * ROW;
        Line::from(format!("{at:08x}  {:47}  {letters}", hex.join(" ")))
    };
    part.chunks(ROW as usize).enumerate().map(row).collect()
}

fn draw_space(frame: &mut Frame<'_>, explorer: &mut Explorer, colors: Colors, area: Rect) {
    let block = Block::bordered().title(" space now ");
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let map = &explorer.live.space;
    let columns = usize::from(inside.width);
    let legend = map.legend.len() + 1;
    let height = usize::from(inside.height).saturating_sub(legend);
    let rows = if colors == Colors::No { height } else { 2 * height };
    explorer.map_cells = (columns * rows).max(1) as u64;
    let mut lines = match colors {
        Colors::No => letter_rows(map, columns),
        _ => block_rows(map, columns, colors),
    };
    lines.truncate(height);
    lines.push(Line::from(""));
    for entry in &map.legend {
        let mark = match colors {
            Colors::No => Span::raw(format!("{} ", entry.letter)),
            _ => Span::styled("█ ", style(entry.color, colors)),
        };
        let amount = bytes(entry.pages * map.whole.page_size);
        lines.push(Line::from(vec![mark, Span::raw(format!("{:<24.24}{amount:>12}", entry.name))]));
    }
    frame.render_widget(Paragraph::new(lines), inside);
}

fn letter_rows(map: &SpaceMap, columns: usize) -> Vec<Line<'static>> {
    let letter = |row, column| map.cell_at(columns, row, column).map_or(' ', |cell| map.letter(cell));
    let row = |row| Line::from((0..columns).map(|column| letter(row, column)).collect::<String>());
    (0..map.rows(columns)).map(row).collect()
}

fn block_rows(map: &SpaceMap, columns: usize, colors: Colors) -> Vec<Line<'static>> {
    let color = |row, column| {
        map.cell_at(columns, row, column).map_or(Color::Reset, |cell| tint(map.color(cell), colors))
    };
    let block = |row: usize, column: usize| {
        let (upper, lower) = (color(row, column), color(row + 1, column));
        match upper {
            Color::Reset => Span::styled("▄", Style::new().fg(lower)),
            upper => Span::styled("▀", Style::new().fg(upper).bg(lower)),
        }
    };
    let line = |row| {
        let is_there = |column: &usize| {
            map.cell_at(columns, row, *column).is_some() || map.cell_at(columns, row + 1, *column).is_some()
        };
        let span = |column| if is_there(&column) { block(row, column) } else { Span::raw(" ") };
        Line::from((0..columns).map(span).collect::<Vec<_>>())
    };
    (0..map.rows(columns)).step_by(2).map(line).collect()
}

fn draw_readers(frame: &mut Frame<'_>, readers: &[Reader], area: Rect) {
    let block =
        Block::bordered().title(format!(" {} now ", counted(readers.len() as u64, "reader", "readers")));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = vec![Line::from(format!("{:>8} {:>6} {:>7} {}", "txn", "age", "pages", "who"))];
    for reader in readers.iter().take(usize::from(inside.height).saturating_sub(1)) {
        let age = humantime_short(reader.age.as_secs());
        let who = shorten(&reader.label, 13);
        let dead = if reader.is_dead { " (dead)" } else { "" };
        lines
            .push(Line::from(format!("{:>8} {age:>6} {:>7} {who}{dead}", reader.txn, reader.pages_retained)));
    }
    frame.render_widget(Paragraph::new(lines), inside);
}

/// In its largest unit.
fn humantime_short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

fn style(color: Rgb, colors: Colors) -> Style {
    match colors {
        Colors::No => Style::new(),
        _ => Style::new().fg(tint(color, colors)),
    }
}

fn tint(color: Rgb, colors: Colors) -> Color {
    let Rgb(red, green, blue) = color;
    match colors {
        Colors::All => Color::Rgb(red, green, blue),
        _ => Color::Indexed(nearest(color)),
    }
}

impl Explorer {
    /// How full a page is, in percent; `None` where it cannot be read.
    fn fill_of(&self, page: &PageRef) -> Option<f64> {
        let page = self.txn.tree_page(page).ok()?;
        Some(100.0 * page.used_bytes as f64 / page.bytes.len().max(1) as f64)
    }
}
