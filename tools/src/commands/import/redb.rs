//! Importing files of redb (file format 3, as redb 3 and 4 write it, and 2.6 where asked).
//!
//! Numbers, bool, char, text, bytes, arrays of bytes, and options and tuples of these become the types of the same names, in the order
//! that they have there. Of other types (vectors, types of a program's own) the bytes are kept, and that is told; keys of such types
//! are then in the order of their bytes.

use super::Foreign;
use crate::failure::{Result, tell};
use crate::intake::Intake;
use crate::progress::Meter;
use crate::store::shown;
use crate::types::{Kind, Type};
use mapleaf::Schema;
use redb::{
    Key, MultimapTableDefinition, MultimapTableHandle, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableMultimapTable, ReadableTable, ReadableTableMetadata, TableDefinition, TableError, TableHandle,
    TypeName, Value,
};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::panic;

/// What redb is told of a type that is only known when the file is read: the name that the file has.
struct Told {
    name: TypeName,
    width: Option<usize>,
}

thread_local! {
    static KEY: RefCell<Option<Told>> = const { RefCell::new(None) };
    static VALUE: RefCell<Option<Told>> = const { RefCell::new(None) };
}

/// The bytes of a key (`true`) or of a value, as they are.
struct Raw<const IS_KEY: bool>;

impl<const IS_KEY: bool> Raw<IS_KEY> {
    fn told<T>(of: impl FnOnce(Option<&Told>) -> T) -> T {
        let place = if IS_KEY { &KEY } else { &VALUE };
        place.with_borrow(|told| of(told.as_ref()))
    }

    fn tell(told: Told) {
        let place = if IS_KEY { &KEY } else { &VALUE };
        place.set(Some(told));
    }
}

impl<const IS_KEY: bool> fmt::Debug for Raw<IS_KEY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
}

impl<const IS_KEY: bool> Value for Raw<IS_KEY> {
    type SelfType<'a> = &'a [u8];
    type AsBytes<'a> = &'a [u8];

    fn fixed_width() -> Option<usize> {
        Self::told(|told| told.and_then(|told| told.width))
    }

    fn from_bytes<'a>(data: &'a [u8]) -> &'a [u8]
    where
        Self: 'a,
    {
        data
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a &'b [u8]) -> &'a [u8]
    where
        Self: 'b,
    {
        value
    }

    fn type_name() -> TypeName {
        Self::told(|told| told.map_or_else(|| TypeName::new("mapleaf::unknown"), |told| told.name.clone()))
    }
}

/// Tables are read from end to end, so nothing is ever compared.
impl<const IS_KEY: bool> Key for Raw<IS_KEY> {
    fn compare(one: &[u8], other: &[u8]) -> Ordering {
        one.cmp(other)
    }
}

type RawKey = Raw<true>;
type RawValue = Raw<false>;

/// Runs it.
pub fn run(args: &Foreign) -> Result {
    let quiet = panic::take_hook();
    // redb takes its own files for sound: a damaged one can make it panic.
    panic::set_hook(Box::new(|_| {}));
    let done = panic::catch_unwind(panic::AssertUnwindSafe(|| import(args)));
    panic::set_hook(quiet);
    done.unwrap_or_else(|_| {
        Err(args.wrong("redb cannot read it: the file is damaged, or of a form that it does not know"))
    })
}

fn import(args: &Foreign) -> Result {
    let db = ReadOnlyDatabase::open(&args.source).map_err(|error| {
        args.wrong(match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                "a program has it open; redb lets no other read it then".into()
            }
            redb::DatabaseError::RepairAborted => {
                "it was not closed; open it once with the program that it belongs to, which repairs it".into()
            }
            redb::DatabaseError::UpgradeRequired(version) => {
                format!(
                    "file format {version}; open it once with redb 2.6 and upgrade it (Database::upgrade)"
                )
            }
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) => format!("cannot read: {error}"),
            other => other.to_string(),
        })
    })?;
    let wrong = |error: redb::Error| args.wrong(error.to_string());
    let txn = db.begin_read().map_err(|error| wrong(error.into()))?;
    let tables: Vec<String> = txn
        .list_tables()
        .map_err(|error| wrong(error.into()))?
        .map(|table| table.name().to_owned())
        .collect();
    let multis: Vec<String> = txn
        .list_multimap_tables()
        .map_err(|error| wrong(error.into()))?
        .map(|table| table.name().to_owned())
        .collect();
    args.expect(tables.iter().chain(&multis).map(String::as_str))?;
    let counts = args.target.fill(|intake| {
        for name in tables.iter().filter(|name| args.wants(name)) {
            put(args, intake, &txn, name)?;
        }
        multis.iter().filter(|name| args.wants(name)).try_for_each(|name| put_multi(args, intake, &txn, name))
    });
    args.target.print(&counts?)
}

/// Opens a table after asking redb what its types are: with wrong ones it says so.
fn open<T>(args: &Foreign, name: &str, try_open: impl Fn() -> Result<T, TableError>) -> Result<T> {
    let unknown = || Told { name: TypeName::new("mapleaf::unknown"), width: None };
    RawKey::tell(unknown());
    RawValue::tell(unknown());
    // The names first, then the widths, which it says of the first that differs.
    for _ in 0..4 {
        match try_open() {
            Ok(table) => return Ok(table),
            Err(TableError::TableTypeMismatch { key, value, .. }) => {
                RawKey::tell(Told { name: key, width: None });
                RawValue::tell(Told { name: value, width: None });
            }
            Err(TableError::TypeDefinitionChanged { name: of, width, .. }) => {
                let is_key = KEY.with_borrow(|told| {
                    told.as_ref().is_some_and(|told| told.name == of && told.width.is_none())
                });
                if is_key {
                    RawKey::tell(Told { name: of, width });
                } else {
                    RawValue::tell(Told { name: of, width });
                }
            }
            Err(error) => return Err(args.wrong(format!("table {}: {error}", shown(name)))),
        }
    }
    Err(args.wrong(format!("table {}: redb does not say what its types are", shown(name))))
}

/// How the bytes of a key or a value become ours.
struct Side {
    spelling: Option<Spelling>,
    type_name: String,
    width: Option<usize>,
}

impl Side {
    fn of(args: &Foreign, table: &str, what: &str, name: &TypeName) -> Self {
        // Before redb 3 tuples that have no fixed width were in another form.
        let is_old = format!("{name:?}").contains("classification: Internal,");
        let is_known = |spelling: &Spelling| {
            !(is_old && spelling.has_loose_tuple()) && Type::of(&spelling.our_name()).is_some()
        };
        let spelling = Spelling::of(name.name()).filter(is_known);
        let Some(spelling) = spelling else {
            tell(&format!(
                "{}: table {}: {what} of the type {} are kept as bytes, in bytewise order",
                args.source.display(),
                shown(table),
                name.name()
            ));
            return Side { spelling: None, type_name: "bytes".into(), width: None };
        };
        let type_name = spelling.our_name();
        let width = Type::of(&type_name).and_then(|known| known.width());
        Side { spelling: Some(spelling), type_name, width }
    }

    fn bytes(&self, theirs: &[u8]) -> Option<Vec<u8>> {
        let Some(spelling) = &self.spelling else { return Some(theirs.to_vec()) };
        let mut ours = Vec::new();
        spelling.respell(theirs, false, &mut ours)?;
        Some(ours)
    }
}

fn sides(args: &Foreign, table: &str, multi: bool) -> (Side, Side, Schema) {
    let key = Side::of(args, table, "keys", &RawKey::type_name());
    let value = Side::of(args, table, "values", &RawValue::type_name());
    let schema = Schema {
        key_type: key.type_name.clone(),
        value_type: value.type_name.clone(),
        key_width: key.width,
        value_width: value.width,
        value_align: 1,
        multi,
    };
    (key, value, schema)
}

fn put(args: &Foreign, intake: &mut Intake<'_>, txn: &ReadTransaction, name: &str) -> Result<()> {
    let table = open(args, name, || txn.open_table(TableDefinition::<RawKey, RawValue>::new(name)))?;
    let wrong = |error: redb::StorageError| args.wrong(format!("table {}: {error}", shown(name)));
    let (key_side, value_side, schema) = sides(args, name, false);
    args.table(intake, name, &schema)?;
    let meter = Meter::new("importing", "records", Some(table.len().map_err(wrong)?));
    for (done, pair) in table.iter().map_err(wrong)?.enumerate() {
        let (key, value) = pair.map_err(wrong)?;
        record(
            args,
            intake,
            name,
            done as u64 + 1,
            false,
            (&key_side, key.value()),
            (&value_side, value.value()),
        )?;
        meter.set(done as u64 + 1);
    }
    Ok(())
}

fn put_multi(args: &Foreign, intake: &mut Intake<'_>, txn: &ReadTransaction, name: &str) -> Result<()> {
    let table =
        open(args, name, || txn.open_multimap_table(MultimapTableDefinition::<RawKey, RawValue>::new(name)))?;
    let wrong = |error: redb::StorageError| args.wrong(format!("table {}: {error}", shown(name)));
    let (key_side, value_side, schema) = sides(args, name, true);
    args.table(intake, name, &schema)?;
    let meter = Meter::new("importing", "records", Some(table.len().map_err(wrong)?));
    let mut done = 0;
    for entry in table.iter().map_err(wrong)? {
        let (key, values) = entry.map_err(wrong)?;
        for value in values {
            let value = value.map_err(wrong)?;
            done += 1;
            record(args, intake, name, done, true, (&key_side, key.value()), (&value_side, value.value()))?;
            meter.set(done);
        }
    }
    Ok(())
}

fn record(
    args: &Foreign,
    intake: &mut Intake<'_>,
    table: &str,
    number: u64,
    multi: bool,
    (key_side, key): (&Side, &[u8]),
    (value_side, value): (&Side, &[u8]),
) -> Result<()> {
    let what = || format!("record {number} of table {}", shown(table));
    let bad = |what_of: &str| args.wrong(format!("{}: the {what_of} is none of its type", what()));
    let key = key_side.bytes(key).ok_or_else(|| bad("key"))?;
    let value = value_side.bytes(value).ok_or_else(|| bad("value"))?;
    intake.put(table, multi, &key, &value, || format!("{} of {}", what(), args.source.display()))
}

/// A type of redb that has one here.
enum Spelling {
    Unit,
    Bool,
    Char,
    Text,
    Bytes,
    Array(usize),
    Number(Kind, usize),
    Option(Box<Spelling>),
    Tuple(Vec<Spelling>),
}

impl Spelling {
    fn of(name: &str) -> Option<Self> {
        // A file can have any name; no program nests so deeply.
        const LONGEST: usize = 300;
        if name.len() > LONGEST {
            return None;
        }
        if let Some(parts) = name.strip_prefix('(').and_then(|name| name.strip_suffix(')')) {
            if parts.is_empty() {
                return Some(Spelling::Unit);
            }
            return split(parts).map(Spelling::of).collect::<Option<Vec<_>>>().map(Spelling::Tuple);
        }
        if let Some(of) = name.strip_prefix("Option<").and_then(|name| name.strip_suffix('>')) {
            return Spelling::of(of).map(|of| Spelling::Option(Box::new(of)));
        }
        if let Some(len) = name.strip_prefix("[u8;").and_then(|name| name.strip_suffix(']')) {
            return len.parse().ok().map(Spelling::Array);
        }
        Some(match name {
            "bool" => Spelling::Bool,
            "char" => Spelling::Char,
            "&str" | "String" => Spelling::Text,
            "&[u8]" => Spelling::Bytes,
            _ => match Type::of(name)? {
                Type::Number(kind, width) => Spelling::Number(kind, width),
                _ => return None,
            },
        })
    }

    fn has_loose_tuple(&self) -> bool {
        match self {
            Spelling::Tuple(_) => self.width().is_none(),
            Spelling::Option(of) => of.has_loose_tuple(),
            _ => false,
        }
    }

    fn our_name(&self) -> String {
        match self {
            Spelling::Unit => "unit".into(),
            Spelling::Bool => "bool".into(),
            Spelling::Char => "char".into(),
            Spelling::Text => "str".into(),
            Spelling::Bytes => "bytes".into(),
            Spelling::Array(len) => format!("[u8;{len}]"),
            Spelling::Number(kind, width) => {
                let letter = match kind {
                    Kind::Unsigned => 'u',
                    Kind::Signed => 'i',
                    Kind::Float => 'f',
                };
                format!("{letter}{}", width * 8)
            }
            Spelling::Option(of) => format!("option({})", of.our_name()),
            Spelling::Tuple(parts) => match &parts[..] {
                [one] => one.our_name(),
                _ => format!("({})", parts.iter().map(Spelling::our_name).collect::<Vec<_>>().join(",")),
            },
        }
    }

    /// Bytes there, where every value has as many.
    fn width(&self) -> Option<usize> {
        match self {
            Spelling::Unit => Some(0),
            Spelling::Bool => Some(1),
            Spelling::Char => Some(3),
            Spelling::Text | Spelling::Bytes => None,
            Spelling::Array(len) | Spelling::Number(_, len) => Some(*len),
            Spelling::Option(of) => of.width()?.checked_add(1),
            Spelling::Tuple(parts) => {
                parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.width()?))
            }
        }
    }

    /// Writes as this store spells it what redb has as `theirs`; `None` where that is no value.
    fn respell(&self, theirs: &[u8], is_part: bool, ours: &mut Vec<u8>) -> Option<()> {
        if self.width().is_some_and(|width| width != theirs.len()) {
            return None;
        }
        match self {
            Spelling::Unit => {}
            Spelling::Bool if theirs[0] > 1 => return None,
            Spelling::Bool | Spelling::Array(_) => ours.extend(theirs),
            Spelling::Char => {
                let scalar = u32::from_le_bytes([theirs[0], theirs[1], theirs[2], 0]);
                ours.extend(u32::from(char::from_u32(scalar)?).to_be_bytes());
            }
            Spelling::Text => {
                std::str::from_utf8(theirs).ok()?;
                crate::types::put_run(theirs, is_part, ours);
            }
            Spelling::Bytes => crate::types::put_run(theirs, is_part, ours),
            Spelling::Number(kind, _) => {
                let big: Vec<u8> = theirs.iter().rev().copied().collect();
                ours.extend(crate::types::ordered(*kind, &big, true));
            }
            // None is as wide as any other, where all have one width.
            Spelling::Option(of) => match theirs.split_first()? {
                (0, rest) if rest.iter().all(|byte| *byte == 0) => ours.push(0),
                (1, rest) => {
                    ours.push(1);
                    of.respell(rest, is_part, ours)?;
                }
                _ => return None,
            },
            Spelling::Tuple(parts) => {
                let lone = parts.len() == 1;
                let mut rest = theirs;
                let mut lens = Vec::new();
                for (index, part) in parts.iter().enumerate() {
                    // In front: how long each is that has no fixed width, but for the last.
                    lens.push(match part.width() {
                        Some(width) => Some(width),
                        None if index + 1 == parts.len() => None,
                        None => Some(take_len(&mut rest)?),
                    });
                }
                for (part, len) in parts.iter().zip(lens) {
                    let (bytes, behind) = rest.split_at_checked(len.unwrap_or(rest.len()))?;
                    part.respell(bytes, is_part || !lone, ours)?;
                    rest = behind;
                }
                if !rest.is_empty() {
                    return None;
                }
            }
        }
        Some(())
    }
}

/// At the commas that are in no brackets.
fn split(parts: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    parts.split(move |character| {
        match character {
            '(' | '<' | '[' => depth += 1,
            ')' | '>' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
}

/// A byte below 254; or 254 and two bytes, or 255 and four.
fn take_len(rest: &mut &[u8]) -> Option<usize> {
    let (first, mut behind) = rest.split_first()?;
    let len = match first {
        254 => {
            let bytes;
            (bytes, behind) = behind.split_at_checked(2)?;
            usize::from(u16::from_le_bytes(bytes.try_into().ok()?))
        }
        255 => {
            let bytes;
            (bytes, behind) = behind.split_at_checked(4)?;
            u32::from_le_bytes(bytes.try_into().ok()?) as usize
        }
        len => usize::from(*len),
    };
    *rest = behind;
    Some(len)
}
