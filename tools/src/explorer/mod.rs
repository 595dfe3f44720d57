//! Walking through a store page by page: tables, branches, leaves, entries, bytes.
//!
//! Owns: [`Explorer`], where one is and what a key does. What is walked through is one snapshot, held until a newer one is
//! asked for; beside it [`Live`] says, about once a second, how the store does now. Leaves to others: how that looks
//! ([`view`]), and the terminal ([`crate::commands::explore`]).

pub mod view;

use crate::cli::{Codecs, FormatArgs};
use crate::commands::map::whole;
use crate::failure::Result;
use crate::formats::Codec;
use crate::space_map::{Plot, SpaceMap};
use mapleaf::{Database, PageDetail, PageRef, ReadTxn, Reader, TableInfo, TreeItems, TreePage, TreeValue};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where one is in a store.
pub struct Explorer {
    db: Database,
    file: String,
    formats: FormatArgs,
    txn: ReadTxn,
    tables: Vec<TableInfo>,
    /// From the tables down to what is shown.
    path: Vec<Place>,
    live: Live,
    /// What the last key could not do.
    message: Option<String>,
    /// Lines of the list that were shown last.
    height: usize,
    /// Cells for which the small map of space had room then.
    map_cells: u64,
}

/// How the store does now.
struct Live {
    newest: u64,
    readers: Vec<Reader>,
    space: SpaceMap,
}

/// Something that is shown, and which line of it is selected.
struct Place {
    what: What,
    selected: u64,
    /// The first line that is shown.
    top: u64,
}

enum What {
    Tables,
    /// With `is_set` of the values of a key of a multimap, which are its keys.
    Page {
        codecs: Codecs,
        table: usize,
        is_set: bool,
        page: Box<TreePage>,
        /// Its keys are these bytes or after them, and before these.
        from: Vec<u8>,
        to: Option<Vec<u8>>,
    },
    Values {
        codecs: Codecs,
        table: usize,
        key: Vec<u8>,
        values: Vec<Vec<u8>>,
    },
    Value {
        codecs: Codecs,
        table: usize,
        key: Vec<u8>,
        value: Value,
    },
    Bytes {
        page: u64,
        kind: String,
        lines: Vec<String>,
    },
}

/// A value to be shown in bytes.
enum Value {
    Here(Vec<u8>),
    /// A large one, of this length.
    Large(u64),
}

/// Bytes of a line of a value.
const ROW: u64 = 16;

/// What to do after a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Go on.
    On,
    /// It is enough.
    Quit,
}

impl Explorer {
    /// At the tables of the newest state.
    ///
    /// # Errors
    /// Those of reading the catalog and the space records.
    pub fn new(db: Database, file: String, formats: FormatArgs) -> Result<Self> {
        let txn = snapshot(&db)?;
        let map_cells = 32 * 16;
        let (tables, live) = (txn.tables()?, Live::of(&db, map_cells)?);
        let path = vec![Place::at(What::Tables)];
        Ok(Explorer { db, file, formats, txn, tables, path, live, message: None, height: 20, map_cells })
    }

    /// Looks at how the store does now.
    pub fn refresh(&mut self) {
        match Live::of(&self.db, self.map_cells) {
            Ok(live) => self.live = live,
            Err(failure) => self.message = Some(failure.message()),
        }
    }

    /// Does what a key asks for.
    pub fn press(&mut self, key: KeyEvent) -> Next {
        self.message = None;
        let (page, last) = (self.height.max(1) as u64, self.lines().saturating_sub(1));
        let place = self.place();
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::Quit,
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Up | KeyCode::Char('k') => place.selected = place.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => place.selected = (place.selected + 1).min(last),
            KeyCode::PageUp => place.selected = place.selected.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                place.selected = place.selected.saturating_add(page).min(last);
            }
            KeyCode::Home | KeyCode::Char('g') => place.selected = 0,
            KeyCode::End | KeyCode::Char('G') => place.selected = last,
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.go(Self::below),
            // The tables are never left.
            KeyCode::Left | KeyCode::Backspace | KeyCode::Esc | KeyCode::Char('h') => {
                self.path.truncate((self.path.len() - 1).max(1));
            }
            KeyCode::Char('b') => self.go(Self::bytes),
            KeyCode::Char('r') => self.renew(),
            _ => {}
        }
        Next::On
    }

    fn place(&mut self) -> &mut Place {
        self.path.last_mut().expect("the tables are never left")
    }

    fn here(&self) -> &Place {
        self.path.last().expect("the tables are never left")
    }

    /// How many lines there are.
    fn lines(&self) -> u64 {
        match &self.here().what {
            What::Tables => self.tables.len() as u64,
            What::Page { page, .. } => match &page.items {
                TreeItems::Children(children) => children.len() as u64,
                TreeItems::Entries(entries) => entries.len() as u64,
            },
            What::Values { values, .. } => values.len() as u64,
            What::Value { value, .. } => value.len().div_ceil(ROW).max(1),
            What::Bytes { lines, .. } => lines.len() as u64,
        }
    }

    /// Goes to a place, if there is one; damage is said.
    fn go(&mut self, find: impl FnOnce(&Self) -> Result<Option<What>>) {
        match find(self) {
            Ok(Some(what)) => self.path.push(Place::at(what)),
            Ok(None) => {}
            Err(failure) => self.message = Some(failure.message()),
        }
    }

    /// What is below the selected line.
    fn below(&self) -> Result<Option<What>> {
        let Place { what, selected, .. } = self.here();
        let selected = *selected as usize;
        match what {
            What::Tables => {
                let Some(table) = self.tables.get(selected) else { return Ok(None) };
                let root = self.txn.root_page(&table.name)?;
                root.map(|root| self.page((selected, false), root, (&[], None))).transpose()
            }
            What::Page { table, page, is_set, from, to, .. } => match &page.items {
                TreeItems::Children(children) => {
                    let Some((_, child)) = children.get(selected) else { return Ok(None) };
                    let keys = between(children, selected, from, to.as_deref());
                    self.page((*table, *is_set), *child, keys).map(Some)
                }
                TreeItems::Entries(entries) => {
                    let Some((key, value)) = entries.get(selected) else { return Ok(None) };
                    self.entry(*table, key, value).map(Some)
                }
            },
            What::Values { values, key, table, .. } => {
                let Some(value) = values.get(selected) else { return Ok(None) };
                let (codecs, key) = (self.codecs(*table), key.clone());
                Ok(Some(What::Value { codecs, table: *table, key, value: Value::Here(value.clone()) }))
            }
            What::Value { .. } | What::Bytes { .. } => Ok(None),
        }
    }

    fn page(
        &self,
        (table, is_set): (usize, bool),
        reference: PageRef,
        (from, to): (&[u8], Option<&[u8]>),
    ) -> Result<What> {
        let mut codecs = self.codecs(table);
        if is_set {
            codecs = Codecs { key: codecs.value, value: Codec::Plain };
        }
        let page = Box::new(self.txn.tree_page(&reference)?);
        let (from, to) = (from.to_vec(), to.map(<[u8]>::to_vec));
        Ok(What::Page { codecs, table, is_set, page, from, to })
    }

    fn entry(&self, table: usize, key: &[u8], value: &TreeValue) -> Result<What> {
        let (codecs, key) = (self.codecs(table), key.to_vec());
        let value = match value {
            TreeValue::Values(values) => {
                return Ok(What::Values { codecs, table, key, values: values.clone() });
            }
            TreeValue::Set(root) => return self.page((table, true), *root, (&[], None)),
            TreeValue::Here(value) => Value::Here(value.clone()),
            TreeValue::Large { len, .. } => Value::Large(*len),
            _ => Value::Here(Vec::new()),
        };
        Ok(What::Value { codecs, table, key, value })
    }

    /// The page that is shown, byte by byte.
    fn bytes(&self) -> Result<Option<What>> {
        let pages = self.path.iter().rev().find_map(|place| match &place.what {
            What::Page { page, .. } => Some(page.reference.page),
            _ => None,
        });
        let Some(page) = pages else { return Ok(None) };
        let dump = self.db.page(page)?;
        let lines = crate::commands::page::lines(&dump.bytes, &dump.fields);
        Ok(Some(What::Bytes { page, kind: dump.kind, lines }))
    }

    /// Lets the snapshot go for the newest one, at its tables.
    fn renew(&mut self) {
        let renewed = snapshot(&self.db).and_then(|txn| Ok((txn.tables()?, txn)));
        match renewed {
            Ok((tables, txn)) => {
                (self.txn, self.tables) = (txn, tables);
                self.path.truncate(1);
                let last = self.lines().saturating_sub(1);
                let place = self.place();
                place.selected = place.selected.min(last);
                self.refresh();
            }
            Err(failure) => self.message = Some(failure.message()),
        }
    }

    fn codecs(&self, table: usize) -> Codecs {
        self.formats.codecs(self.tables.get(table))
    }

    /// Bytes of a value from `from` on, at most so many.
    fn part(&self, table: usize, key: &[u8], value: &Value, from: u64, most: u64) -> Result<Vec<u8>> {
        let end = (from + most).min(value.len());
        match value {
            Value::Here(bytes) => Ok(bytes[from as usize..end as usize].to_vec()),
            Value::Large(_) => {
                let name = self.tables.get(table).map_or("", |table| &table.name);
                let Some(table) = self.txn.raw_table(name)? else { return Ok(Vec::new()) };
                Ok(table.get_part(key, from..end)?.unwrap_or_default().to_vec())
            }
        }
    }
}

impl Place {
    fn at(what: What) -> Self {
        Place { what, selected: 0, top: 0 }
    }

    /// The first line that is shown of so many, so that the selected one is.
    fn scroll(&mut self, height: usize) -> u64 {
        let height = height.max(1) as u64;
        self.top = self.top.clamp(self.selected.saturating_sub(height - 1), self.selected);
        self.top
    }
}

impl Value {
    fn len(&self) -> u64 {
        match self {
            Value::Here(bytes) => bytes.len() as u64,
            Value::Large(len) => *len,
        }
    }
}

impl Live {
    fn of(db: &Database, map_cells: u64) -> Result<Self> {
        let readers = db.readers()?;
        let txn = db.begin_read()?;
        let mut plot = Plot::of_space(whole(db, &txn), map_cells);
        txn.visit_pages(PageDetail::Space, &mut |run| plot.add(run))?;
        Ok(Live { newest: txn.txn_id(), readers, space: plot.finish() })
    }
}

/// The keys of a child of a branch whose keys are between `from` and `to`.
fn between<'c>(
    children: &'c [(Vec<u8>, PageRef)],
    at: usize,
    from: &'c [u8],
    to: Option<&'c [u8]>,
) -> (&'c [u8], Option<&'c [u8]>) {
    let from = if at == 0 { from } else { &children[at].0 };
    (from, children.get(at + 1).map(|(next, _)| &next[..]).or(to))
}

fn snapshot(db: &Database) -> Result<ReadTxn> {
    let mut txn = db.begin_read()?;
    txn.set_label("explore");
    Ok(txn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::Command;
    use crate::terminal::Colors;
    use clap::Parser;
    use mapleaf::{MultiTable, Table};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    const WORDS: Table<str, str> = Table::new("words");
    const SQUARES: Table<u64, u64> = Table::new("squares");
    const FILES: Table<str, [u8]> = Table::new("files");
    const TAGS: MultiTable<str, u32> = MultiTable::new("tags");

    fn formats() -> FormatArgs {
        let Command::Explore(args) = Cli::parse_from(["mapleaf", "explore", "x"]).command else {
            panic!("another command")
        };
        args.formats
    }

    fn store() -> Database {
        let db = Database::in_memory().unwrap();
        db.write(|w| {
            (0..2000u64).try_for_each(|i| w.put(SQUARES, &i, &(i * i)).map(drop))?;
            w.put(WORDS, "leaf", "of a tree,\u{1b}[31m or of paper")?;
            w.put(WORDS, "maple", "a tree")?;
            w.put(FILES, "text", &b"sixteen letters, and as many more".repeat(3000))?;
            (0..3000).try_for_each(|i| w.put_value(TAGS, "many", &i).map(drop))?;
            (0..3).try_for_each(|i| w.put_value(TAGS, "few", &i).map(drop))
        })
        .unwrap();
        db
    }

    fn explorer(db: &Database) -> Explorer {
        Explorer::new(db.clone(), "app.maple".into(), formats()).unwrap()
    }

    fn press(explorer: &mut Explorer, keys: &[KeyCode]) {
        for key in keys {
            assert_eq!(explorer.press(KeyEvent::new(*key, KeyModifiers::NONE)), Next::On);
        }
    }

    fn drawn(explorer: &mut Explorer, (width, height): (u16, u16), colors: Colors) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(frame, explorer, colors)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// What is on a narrow screen, without page numbers and sizes at the top.
    fn screen(explorer: &mut Explorer) -> Vec<String> {
        let buffer = drawn(explorer, (78, 14), Colors::No);
        let cells = buffer.content.chunks(78);
        cells
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn from_the_tables_to_the_bytes() {
        let db = store();
        let mut explorer = explorer(&db);
        let tables = screen(&mut explorer);
        let wanted = [
            "│\"files\"                             1      1  str -> bytes                  │",
            "│\"squares\"                       2,000      2  u64 -> u64                    │",
            "│\"tags\"                          3,003      1  str -> many u32               │",
            "│\"words\"                             2      1  str -> str                    │",
        ];
        assert!(tables[1].starts_with("┌ tables ──") && tables[13].starts_with("arrows"), "{tables:#?}");
        assert_eq!(tables[4..8], wanted);
        press(&mut explorer, &[KeyCode::Down, KeyCode::Enter]);
        let branch = screen(&mut explorer);
        assert!(branch[2].contains("branch of level 1, written by txn 2, "), "{branch:#?}");
        assert!(branch[3].contains("2,000 entries; keys: all keys"), "{branch:#?}");
        press(&mut explorer, &[KeyCode::End, KeyCode::Enter, KeyCode::End]);
        let leaf = screen(&mut explorer);
        assert!(leaf[11].contains("│1999 ") && leaf[11].contains("  3996001"), "{leaf:#?}");
        press(&mut explorer, &[KeyCode::Enter]);
        let value = screen(&mut explorer);
        assert!(value[1].contains("> 1999 ") && value[2].contains("value of 8 bytes"), "{value:#?}");
        assert!(value[3].contains("3996001"), "{value:#?}");
        assert!(value[5].contains("00000000  00 00 00 00 00 3c f9 61"), "{value:#?}");
        press(&mut explorer, &[KeyCode::Esc, KeyCode::Char('b')]);
        let bytes = screen(&mut explorer);
        assert!(bytes[4].contains("0000  ") && bytes[4].contains("checksum: "), "{bytes:#?}");
        press(&mut explorer, &[KeyCode::Esc; 9]);
        assert_eq!(screen(&mut explorer)[1..], tables[1..]);
    }

    #[test]
    fn large_values_are_read_where_they_are_shown() {
        let db = store();
        let mut explorer = explorer(&db);
        press(&mut explorer, &[KeyCode::Enter, KeyCode::Enter]);
        let start = screen(&mut explorer);
        assert!(start[2].contains("large value of 99,000 bytes"), "{start:#?}");
        assert!(
            start[4].contains("00000000  73 69 78") && start[4].contains("sixteen letters,"),
            "{start:#?}"
        );
        press(&mut explorer, &[KeyCode::End]);
        let end = screen(&mut explorer);
        // 99,000 bytes: the last line has eight.
        assert!(end[11].contains("000182b0  ") && end[11].contains("any more"), "{end:#?}");
    }

    #[test]
    fn the_values_of_a_key_beside_it_or_in_a_tree() {
        let db = store();
        let mut explorer = explorer(&db);
        press(&mut explorer, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
        let leaf = screen(&mut explorer);
        assert!(leaf[5].contains("few ") && leaf[5].contains("3 values: 0, 1, 2"), "{leaf:#?}");
        assert!(leaf[6].contains("many ") && leaf[6].contains("3,000 values in a tree, page"), "{leaf:#?}");
        press(&mut explorer, &[KeyCode::Enter]);
        assert!(screen(&mut explorer)[4].starts_with("│0 "));
        press(&mut explorer, &[KeyCode::Esc, KeyCode::End, KeyCode::Enter]);
        let set = screen(&mut explorer);
        assert!(set[3].contains("3,000 entries"), "{set:#?}");
        press(&mut explorer, &[KeyCode::Enter]);
        // Values are shown as what they are.
        assert!(screen(&mut explorer)[6].starts_with("│1 "), "{:#?}", screen(&mut explorer));
    }

    #[test]
    fn what_would_steer_the_terminal_is_not_shown_as_it_is() {
        let db = store();
        let mut explorer = explorer(&db);
        press(&mut explorer, &[KeyCode::End, KeyCode::Enter]);
        let leaf = screen(&mut explorer);
        assert!(leaf[5].contains("of a tree,") && !leaf[5].contains('\u{1b}'), "{leaf:#?}");
    }

    #[test]
    fn the_panels_show_the_store_as_it_is_now() {
        let db = store();
        let mut explorer = explorer(&db);
        let shown = |explorer: &mut Explorer| {
            let buffer = drawn(explorer, (120, 30), Colors::No);
            let rows = buffer.content.chunks(120);
            rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let before = shown(&mut explorer);
        assert!(before.contains(" space now ") && before.contains(" 1 reader now "), "{before}");
        assert!(before.contains(" explore ") && !before.contains("r shows it"), "{before}");
        db.write(|w| w.put(WORDS, "acer", "maple")).unwrap();
        let _another = db.begin_read().unwrap();
        explorer.refresh();
        let after = shown(&mut explorer);
        assert!(
            after.contains("txn 2, the newest is 3: r shows it") && after.contains(" 2 readers now "),
            "{after}"
        );
        // The list is still that of the snapshot.
        press(&mut explorer, &[KeyCode::End, KeyCode::Enter]);
        assert!(!shown(&mut explorer).contains("acer"));
        press(&mut explorer, &[KeyCode::Char('r'), KeyCode::End, KeyCode::Enter]);
        assert!(shown(&mut explorer).contains("acer"));
    }

    #[test]
    fn it_fits_into_any_screen() {
        let db = store();
        let mut explorer = explorer(&db);
        for keys in [
            &[][..],
            &[KeyCode::Down, KeyCode::Enter],
            &[KeyCode::Enter],
            &[KeyCode::Enter],
            &[KeyCode::Char('b')],
        ] {
            press(&mut explorer, keys);
            for size in [(1, 1), (5, 3), (20, 4), (81, 5), (82, 9), (300, 100)] {
                for colors in [Colors::No, Colors::Few, Colors::All] {
                    drawn(&mut explorer, size, colors);
                }
            }
        }
    }

    #[test]
    fn damage_is_said_and_one_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.maple");
        let root = {
            #[allow(unsafe_code)]
            // SAFETY: the file is the test's own.
            let db = unsafe { Database::open(&path).unwrap() };
            db.write(|w| w.put(WORDS, "maple", "a tree")).unwrap();
            db.begin_read().unwrap().root_page("words").unwrap().unwrap().page
        };
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[root as usize * 4096 + 100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let db = crate::store::open_to_read(&path, crate::cli::LogArg { ignore_log: false }).unwrap();
        let mut explorer = explorer(&db);
        press(&mut explorer, &[KeyCode::Enter]);
        let tables = screen(&mut explorer);
        assert!(tables[13].contains(&format!("page {root}: its checksum is")), "{tables:#?}");
        assert!(tables[4].contains("words"), "{tables:#?}");
        press(&mut explorer, &[KeyCode::Up]);
        assert!(screen(&mut explorer)[13].starts_with("arrows"));
    }

    #[test]
    fn q_and_control_c_end_it() {
        let db = store();
        for key in [
            KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE),
            KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(explorer(&db).press(key), Next::Quit);
        }
    }
}
