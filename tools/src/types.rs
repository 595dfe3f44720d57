//! The stored types of keys and values: their names read, their bytes turned into JSON and back.
//!
//! Owns: the grammar of the names that `mapleaf::codec` gives its types, and both directions of every encoding there but pod and
//! serde, which only the program that wrote them knows. Promises: [`Type::bytes`] of [`Type::json`] is what there was (test
//! `json_and_back_is_the_same`); a name and bytes of any kind, as a file may have them, give an answer without much memory or
//! stack. Leaves to others: how a terminal shows it ([`crate::formats`]).
//!
//! In JSON a number of up to 64 bits is a number, a larger one a string; floats that JSON has no number for are strings; bytes are
//! text in which `\xx` is a byte and `\\` a backslash; `None` is null; a tuple and an array are a list; a struct is an object; a
//! variant of an enum is its name, with fields `{"Name": [fields]}`.

use crate::dump_text::{escaped, parse_escaped, parse_hex, write_hex};
use serde_json::{Map, Value};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

/// A stored type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    /// Nothing.
    Unit,
    /// Any bytes.
    Bytes,
    /// UTF-8.
    Str,
    /// So many bytes, in hex.
    Array(usize),
    /// A number whose bytes are in its order.
    Number(Kind, usize),
    /// `00` or `01`.
    Bool,
    /// A scalar value as a big-endian u32.
    Char,
    /// Seconds and nanoseconds.
    Duration,
    /// The same since 1970.
    Time,
    /// An address.
    Ipv4,
    /// An address.
    Ipv6,
    /// Perhaps none.
    Option(Box<Type>),
    /// In descending order.
    Reverse(Box<Type>),
    /// One after the other.
    Tuple(Vec<Type>),
    /// One of several variants: tag, name, fields.
    Enum(Vec<(u8, String, Vec<Type>)>),
    /// A value as it is in memory.
    Memory(Layout),
    /// Any number of them.
    Slice(Layout),
}

/// What numbers there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// From 0 on.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE 754.
    Float,
}

/// What a value of plain memory consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Kind, bytes, and whether the lowest comes first.
    Number(Kind, usize, bool),
    /// So many of one.
    Array(Box<Layout>, usize),
    /// Names and fields.
    Struct(Vec<(String, Layout)>),
}

impl Type {
    /// The type of this name; `None` where this tool cannot spell it.
    pub fn of(name: &str) -> Option<Self> {
        let mut parser = Parser { rest: name, depth: 0 };
        parser.whole().filter(|_| parser.rest.is_empty())
    }

    /// How many bytes every encoding has, where they have as many.
    pub fn width(&self) -> Option<usize> {
        match self {
            Type::Unit => Some(0),
            Type::Bool => Some(1),
            Type::Char | Type::Ipv4 => Some(4),
            Type::Duration | Type::Time => Some(12),
            Type::Ipv6 => Some(16),
            Type::Array(len) | Type::Number(_, len) => Some(*len),
            Type::Reverse(of) => of.width(),
            Type::Tuple(parts) => parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.width()?)),
            Type::Memory(layout) => layout.len(),
            Type::Bytes | Type::Str | Type::Option(_) | Type::Enum(_) | Type::Slice(_) => None,
        }
    }

    /// Whether JSON has a list or an object for it, which on a command line is typed as JSON too.
    pub fn is_compound(&self) -> bool {
        match self {
            Type::Option(of) | Type::Reverse(of) => of.is_compound(),
            Type::Tuple(_) | Type::Enum(_) | Type::Slice(_) => true,
            Type::Memory(layout) => !layout.is_bytes(),
            _ => false,
        }
    }

    fn has_null(&self) -> bool {
        match self {
            Type::Option(_) => true,
            Type::Reverse(of) => of.has_null(),
            _ => false,
        }
    }

    /// What these bytes stand for; `None` where no value has them.
    pub fn json(&self, bytes: &[u8]) -> Option<Value> {
        let mut rest = bytes;
        self.take(&mut rest, false).filter(|_| rest.is_empty())
    }

    /// The bytes that stand for this.
    ///
    /// # Errors
    /// Expected, and where in a list or an object.
    pub fn bytes(&self, value: &Value) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.put(value, false, &mut bytes)?;
        Ok(bytes)
    }

    /// What the bytes of all values begin with that begin with these elements; of what is no tuple, its bytes.
    ///
    /// # Errors
    /// Expected and found.
    pub fn prefix(&self, value: &Value) -> Result<Vec<u8>, String> {
        let (Type::Tuple(parts), Some(items)) = (self, value.as_array()) else { return self.bytes(value) };
        let mut bytes = Vec::new();
        // With more elements than there are the error is that of the whole.
        put_parts(parts.get(..items.len()).unwrap_or(parts), value, &mut bytes)?;
        Ok(bytes)
    }

    /// Takes one from the front; in its part form all but the last of a tuple's elements, and that too.
    /// Of bytes that a tuple begins with: the elements that are whole, and the bytes that are left. Of anything else no
    /// element is.
    pub fn beginning<'b>(&self, bytes: &'b [u8]) -> (Vec<Value>, &'b [u8]) {
        let Type::Tuple(parts) = self else { return (Vec::new(), bytes) };
        let (mut items, mut left) = (Vec::new(), bytes);
        for part in parts {
            let mut rest = left;
            let Some(item) = part.take(&mut rest, true) else { break };
            items.push(item);
            left = rest;
        }
        (items, left)
    }

    fn take(&self, rest: &mut &[u8], is_part: bool) -> Option<Value> {
        match self {
            Type::Bytes => Some(Value::String(escaped(&take_run(rest, is_part)?))),
            Type::Str => String::from_utf8(take_run(rest, is_part)?).ok().map(Value::String),
            Type::Option(of) => match take(rest, 1)?[0] {
                0 => Some(Value::Null),
                1 => of.take(rest, is_part),
                _ => None,
            },
            Type::Reverse(of) => {
                let flipped: Vec<u8> = rest.iter().map(|byte| !byte).collect();
                let mut left = &flipped[..];
                let value = of.take(&mut left, true)?;
                *rest = &rest[flipped.len() - left.len()..];
                Some(value)
            }
            Type::Tuple(parts) => take_parts(parts, rest),
            Type::Enum(variants) => {
                let tag = take(rest, 1)?[0];
                let (_, name, fields) = variants.iter().find(|(of, ..)| *of == tag)?;
                match fields.is_empty() {
                    true => Some(Value::String(name.clone())),
                    false => Some(Value::from(Map::from_iter([(name.clone(), take_parts(fields, rest)?)]))),
                }
            }
            Type::Memory(layout) => layout.json(take(rest, layout.len()?)?),
            Type::Slice(layout) => {
                let len = layout.len()?;
                let all = take(rest, rest.len())?;
                let items = all.chunks(len).map(|item| layout.json(item).filter(|_| item.len() == len));
                items.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            _ => self.of_fixed_width(take(rest, self.width()?)?),
        }
    }

    fn of_fixed_width(&self, bytes: &[u8]) -> Option<Value> {
        match self {
            Type::Unit => Some(Value::Array(Vec::new())),
            Type::Array(_) => Some(Value::String(hex(bytes))),
            Type::Number(kind, _) => number_of(*kind, &ordered(*kind, bytes, false)),
            Type::Bool => match bytes {
                [0] => Some(Value::Bool(false)),
                [1] => Some(Value::Bool(true)),
                _ => None,
            },
            Type::Char => {
                let scalar = char::from_u32(u32::from_be_bytes(bytes.try_into().ok()?))?;
                Some(Value::String(scalar.to_string()))
            }
            Type::Duration | Type::Time => {
                let seconds = i128::from(u64::from_be_bytes(bytes[..8].try_into().ok()?));
                let nanos = u32::from_be_bytes(bytes[8..].try_into().ok()?);
                let nanos = Some(nanos).filter(|nanos| *nanos < 1_000_000_000)?;
                let text = match self {
                    Type::Duration => seconds_text(seconds, nanos),
                    _ => time_text(seconds - (1 << 63), nanos),
                };
                Some(Value::String(text))
            }
            Type::Ipv4 => Some(Value::String(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string())),
            Type::Ipv6 => Some(Value::String(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string())),
            _ => None,
        }
    }

    fn put(&self, value: &Value, is_part: bool, bytes: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Type::Bytes => put_run(&parse_escaped(text_of(value)?.as_bytes())?, is_part, bytes),
            Type::Str => put_run(text_of(value)?.as_bytes(), is_part, bytes),
            Type::Option(_) if value.is_null() => bytes.push(0),
            Type::Option(of) => {
                bytes.push(1);
                of.put(value, is_part, bytes)?;
            }
            Type::Reverse(of) => {
                let start = bytes.len();
                of.put(value, true, bytes)?;
                bytes[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
            Type::Tuple(parts) => put_parts(parts, value, bytes)?,
            Type::Enum(variants) => put_variant(variants, value, bytes)?,
            Type::Memory(layout) => layout.put(value, bytes)?,
            Type::Slice(layout) => {
                let items = value.as_array().ok_or_else(|| expected("a list", value))?;
                items.iter().try_for_each(|item| layout.put(item, bytes))?;
            }
            Type::Unit => match value.as_array() {
                Some(items) if items.is_empty() => {}
                _ => return Err(expected("[]", value)),
            },
            Type::Array(len) => put_hex(value, *len, bytes)?,
            Type::Number(kind, width) => {
                bytes.extend(ordered(*kind, &number_from(*kind, *width, value)?, true));
            }
            Type::Bool => match (value, value.as_str()) {
                (Value::Bool(true), _) | (_, Some("true")) => bytes.push(1),
                (Value::Bool(false), _) | (_, Some("false")) => bytes.push(0),
                _ => return Err("expected true or false".into()),
            },
            Type::Char => {
                let mut characters = text_of(value)?.chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => bytes.extend(u32::from(one).to_be_bytes()),
                    _ => return Err("expected one character".into()),
                }
            }
            Type::Duration => {
                let (seconds, nanos) = seconds_from(value)?;
                let seconds =
                    u64::try_from(seconds).map_err(|_| expected("seconds from 0 to 2^64-1", value))?;
                bytes.extend(seconds.to_be_bytes());
                bytes.extend(nanos.to_be_bytes());
            }
            Type::Time => {
                let (seconds, nanos) = time_from(value)?;
                bytes.extend(((seconds as u64) ^ (1 << 63)).to_be_bytes());
                bytes.extend(nanos.to_be_bytes());
            }
            Type::Ipv4 => {
                let address = text_of(value)?.parse::<Ipv4Addr>();
                bytes.extend(address.map_err(|_| expected("an address such as 192.0.2.1", value))?.octets());
            }
            Type::Ipv6 => {
                let address = text_of(value)?.parse::<Ipv6Addr>();
                bytes
                    .extend(address.map_err(|_| expected("an address such as 2001:db8::1", value))?.octets());
            }
        }
        Ok(())
    }
}

impl Layout {
    /// `None` where it has no bytes, or more than there can be.
    fn len(&self) -> Option<usize> {
        let len = match self {
            Layout::Number(_, width, _) => *width,
            Layout::Array(of, count) => of.len()?.checked_mul(*count)?,
            Layout::Struct(fields) => {
                fields.iter().try_fold(0_usize, |sum, (_, field)| sum.checked_add(field.len()?))?
            }
        };
        Some(len).filter(|len| *len > 0)
    }

    fn is_bytes(&self) -> bool {
        matches!(self, Layout::Array(of, _) if **of == Layout::Number(Kind::Unsigned, 1, true))
    }

    /// Of as many bytes as it has.
    fn json(&self, bytes: &[u8]) -> Option<Value> {
        match self {
            _ if self.is_bytes() => Some(Value::String(hex(bytes))),
            Layout::Number(kind, _, little) => number_of(*kind, &in_order(bytes, *little)),
            Layout::Array(of, _) => bytes
                .chunks(of.len()?)
                .map(|item| of.json(item))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array),
            Layout::Struct(fields) => {
                let mut rest = bytes;
                let field = |(name, field): &(String, Layout)| {
                    Some((name.clone(), field.json(take(&mut rest, field.len()?)?)?))
                };
                fields.iter().map(field).collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }

    fn put(&self, value: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Layout::Array(_, len) if self.is_bytes() => put_hex(value, *len, bytes),
            Layout::Number(kind, width, little) => {
                bytes.extend(in_order(&number_from(*kind, *width, value)?, *little));
                Ok(())
            }
            Layout::Array(of, len) => {
                let items = value.as_array().filter(|items| items.len() == *len);
                let items = items.ok_or_else(|| expected(&format!("a list of {len}"), value))?;
                items.iter().try_for_each(|item| of.put(item, bytes))
            }
            Layout::Struct(fields) => {
                let names = || fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                let object = value.as_object().filter(|object| object.len() == fields.len());
                let object = object.ok_or_else(|| expected(&format!("an object with {}", names()), value))?;
                fields.iter().try_for_each(|(name, field)| {
                    let value =
                        object.get(name).ok_or_else(|| expected(&format!("a field {name:?}"), value))?;
                    field.put(value, bytes).map_err(|wrong| format!("{name}: {wrong}"))
                })
            }
        }
    }
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// All that is left, or, as a part, up to the end mark, its escapes undone.
fn take_run(rest: &mut &[u8], is_part: bool) -> Option<Vec<u8>> {
    if !is_part {
        return take(rest, rest.len()).map(<[u8]>::to_vec);
    }
    let mut bytes = Vec::new();
    loop {
        match take(rest, 1)?[0] {
            0 => match take(rest, 1)?[0] {
                0 => return Some(bytes),
                1 => bytes.push(0),
                _ => return None,
            },
            byte => bytes.push(byte),
        }
    }
}

/// The bytes, or as a part with an end mark.
pub fn put_run(run: &[u8], is_part: bool, bytes: &mut Vec<u8>) {
    if !is_part {
        return bytes.extend(run);
    }
    for byte in run {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(1);
        }
    }
    bytes.extend([0, 0]);
}

fn take_parts(parts: &[Type], rest: &mut &[u8]) -> Option<Value> {
    parts.iter().map(|part| part.take(rest, true)).collect::<Option<Vec<_>>>().map(Value::Array)
}

fn put_parts(parts: &[Type], value: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    let items = value.as_array().filter(|items| items.len() == parts.len());
    let items = items.ok_or_else(|| expected(&format!("a list of {}", parts.len()), value))?;
    parts.iter().zip(items).enumerate().try_for_each(|(index, (part, item))| {
        part.put(item, true, bytes).map_err(|wrong| format!("element {index}: {wrong}"))
    })
}

fn put_variant(
    variants: &[(u8, String, Vec<Type>)],
    value: &Value,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let none = Value::Array(Vec::new());
    let (name, fields) = match value {
        Value::String(name) => (name, &none),
        Value::Object(object) if object.len() == 1 => {
            object.iter().next().ok_or_else(|| expected("a variant", value))?
        }
        _ => return Err(expected("a variant's name, or {name: [fields]}", value)),
    };
    let found = variants.iter().find(|(_, of, _)| of == name);
    let (tag, _, parts) = found.ok_or_else(|| {
        let names: Vec<&str> = variants.iter().map(|(_, name, _)| name.as_str()).collect();
        expected(&format!("one of {}", names.join(", ")), value)
    })?;
    bytes.push(*tag);
    put_parts(parts, fields, bytes)
}

fn put_hex(value: &Value, len: usize, bytes: &mut Vec<u8>) -> Result<(), String> {
    let parsed = parse_hex(text_of(value)?.as_bytes())?;
    if parsed.len() != len {
        return Err(format!("expected {len} bytes in hex, found {}", parsed.len()));
    }
    bytes.extend(parsed);
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_hex(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

fn text_of(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| expected("a text", value))
}

fn expected(what: &str, found: &Value) -> String {
    let found = found.to_string();
    match found.char_indices().nth(40) {
        None => format!("expected {what}, found {found}"),
        Some((end, _)) => format!("expected {what}, found {}…", &found[..end]),
    }
}

/// Big-endian bytes from those of memory, and back.
fn in_order(bytes: &[u8], little: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if little {
        bytes.reverse();
    }
    bytes
}

/// Between big-endian bytes of a number and those whose order is its own: the sign bit is flipped; of a negative float all are.
pub fn ordered(kind: Kind, bytes: &[u8], to_order: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let Some(first) = bytes.first().copied() else { return bytes };
    match kind {
        Kind::Unsigned => {}
        Kind::Float if (first >> 7 == 1) == to_order => bytes.iter_mut().for_each(|byte| *byte = !*byte),
        Kind::Signed | Kind::Float => bytes[0] ^= 0x80,
    }
    bytes
}

/// Of big-endian bytes.
fn number_of(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let width = Some(bytes.len()).filter(|width| (1..=16).contains(width))?;
    let mut wide = [0; 16];
    wide[16 - width..].copy_from_slice(bytes);
    let (number, shift) = (u128::from_be_bytes(wide), 128 - 8 * width);
    Some(match (kind, width) {
        (Kind::Unsigned, 16) => Value::String(number.to_string()),
        (Kind::Unsigned, _) => Value::from(number as u64),
        (Kind::Signed, 16) => Value::String(number.cast_signed().to_string()),
        (Kind::Signed, _) => Value::from(((number << shift).cast_signed() >> shift) as i64),
        (Kind::Float, 4) => {
            let float = f32::from_bits(number as u32);
            match float.is_finite() {
                true => Value::from(float.to_string().parse::<f64>().ok()?),
                false => Value::String(special(float.to_string(), bytes, &f32::NAN.to_be_bytes())),
            }
        }
        (Kind::Float, _) => {
            let float = f64::from_bits(number as u64);
            match float.is_finite() {
                true => Value::from(float),
                false => Value::String(special(float.to_string(), bytes, &f64::NAN.to_be_bytes())),
            }
        }
    })
}

/// What is not a number and not the usual one of these is told by its bits.
fn special(text: String, bytes: &[u8], usual: &[u8]) -> String {
    if text == "NaN" && bytes != usual { format!("NaN:{}", hex(bytes)) } else { text }
}

/// Big-endian bytes of a number, or of a text that is one.
fn number_from(kind: Kind, width: usize, value: &Value) -> Result<Vec<u8>, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return Err(expected("a number", value)),
    };
    let bits = width * 8;
    match kind {
        Kind::Unsigned => {
            let limit = u128::MAX >> (128 - bits);
            let number = text.parse::<u128>().ok().filter(|number| *number <= limit);
            let number = number.ok_or_else(|| format!("expected a number from 0 to {limit}"))?;
            Ok(number.to_be_bytes()[16 - width..].to_vec())
        }
        Kind::Signed => {
            let max = i128::MAX >> (128 - bits);
            let number = text.parse::<i128>().ok().filter(|number| (-max - 1..=max).contains(number));
            let number = number.ok_or_else(|| format!("expected a number from {} to {max}", -max - 1))?;
            Ok(number.to_be_bytes()[16 - width..].to_vec())
        }
        Kind::Float => {
            if let Some(bytes) = text.strip_prefix("NaN:").and_then(|bits| parse_hex(bits.as_bytes()).ok()) {
                return Some(bytes)
                    .filter(|bytes| bytes.len() == width)
                    .ok_or_else(|| expected("a number", value));
            }
            let bad = |_| "expected a number".to_owned();
            Ok(match width {
                4 => text.parse::<f32>().map_err(bad)?.to_be_bytes().to_vec(),
                _ => text.parse::<f64>().map_err(bad)?.to_be_bytes().to_vec(),
            })
        }
    }
}

fn seconds_text(seconds: i128, nanos: u32) -> String {
    match nanos {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{nanos:09}").trim_end_matches('0').to_owned(),
    }
}

/// Whole seconds, rounded down, and nanoseconds from there.
fn seconds_from(value: &Value) -> Result<(i128, u32), String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        _ => text_of(value)?.to_owned(),
    };
    let wrong = || expected("seconds, with up to nine decimals", value);
    let (sign, digits) = text.strip_prefix('-').map_or((1, &text[..]), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(decimals) || decimals.len() > 9 {
        return Err(wrong());
    }
    let whole = whole.parse::<u64>().map_err(|_| wrong())?;
    let nanos = format!("{decimals:0<9}").parse::<i128>().map_err(|_| wrong())?;
    let nanos = sign * (i128::from(whole) * 1_000_000_000 + nanos);
    Ok((nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u32))
}

/// As RFC 3339 has it, where that has it.
fn time_text(seconds: i128, nanos: u32) -> String {
    const YEAR_10000: i128 = 253_402_300_800;
    match u64::try_from(seconds).ok().filter(|_| seconds < YEAR_10000) {
        Some(seconds) => {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            humantime::format_rfc3339(time).to_string()
        }
        None => {
            let whole = if seconds < 0 && nanos > 0 { seconds + 1 } else { seconds };
            let nanos = if seconds < 0 && nanos > 0 { 1_000_000_000 - nanos } else { nanos };
            let sign = if seconds < 0 && whole == 0 { "-" } else { "" };
            format!("{sign}{}", seconds_text(whole, nanos))
        }
    }
}

fn time_from(value: &Value) -> Result<(i64, u32), String> {
    let wrong = || expected("a time such as 2030-01-31T12:00:00Z, or seconds since 1970", value);
    if let Some(time) = value.as_str().and_then(|text| humantime::parse_rfc3339_weak(text).ok()) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| wrong())?;
        return Ok((i64::try_from(since.as_secs()).map_err(|_| wrong())?, since.subsec_nanos()));
    }
    let (seconds, nanos) = seconds_from(value).map_err(|_| wrong())?;
    Ok((i64::try_from(seconds).map_err(|_| wrong())?, nanos))
}

/// Reads names of types.
struct Parser<'n> {
    rest: &'n str,
    depth: u32,
}

/// Deeper than any program nests them.
const DEEPEST: u32 = 24;

impl<'n> Parser<'n> {
    /// What a table can have: a type of keys, or one of values only.
    fn whole(&mut self) -> Option<Type> {
        let is_list = self.rest.starts_with('[') && !self.rest.starts_with("[u8;");
        if is_list {
            return self.list();
        }
        let before = self.rest;
        match self.name() {
            _ if self.rest.starts_with('{') && !has_tags(self.rest) => {
                let layout = self.fields()?;
                layout.len()?;
                Some(Type::Memory(layout))
            }
            _ => {
                self.rest = before;
                self.key()
            }
        }
    }

    fn list(&mut self) -> Option<Type> {
        self.expect("[")?;
        let layout = self.layout()?;
        layout.len()?;
        if self.expect("]").is_some() {
            return Some(Type::Slice(layout));
        }
        let array = Layout::Array(Box::new(layout), self.count()?);
        array.len()?;
        Some(Type::Memory(array))
    }

    fn key(&mut self) -> Option<Type> {
        self.deeper(Parser::key_of)
    }

    fn key_of(&mut self) -> Option<Type> {
        if self.rest.starts_with("[u8;") {
            self.expect("[u8")?;
            return self.count().map(Type::Array);
        }
        let name = self.name();
        if self.rest.starts_with('{') {
            return self.variants();
        }
        if self.rest.starts_with('(') {
            let mut parts = self.parts()?;
            return Some(match (name, parts.len()) {
                // Of some null could mean two things.
                ("option", 1) => Type::Option(Box::new(parts.pop().filter(|of| !of.has_null())?)),
                ("reverse", 1) => Type::Reverse(Box::new(parts.pop()?)),
                ("pod", _) => return None,
                // A struct of one field is as that.
                (_, 1) => parts.pop()?,
                _ => Type::Tuple(parts),
            });
        }
        Some(match name {
            "unit" => Type::Unit,
            "bytes" => Type::Bytes,
            "str" => Type::Str,
            "bool" => Type::Bool,
            "char" => Type::Char,
            "duration" => Type::Duration,
            "time" => Type::Time,
            "ipv4" => Type::Ipv4,
            "ipv6" => Type::Ipv6,
            _ => {
                let (kind, width) = number(name)?;
                Type::Number(kind, width)
            }
        })
    }

    fn parts(&mut self) -> Option<Vec<Type>> {
        self.expect("(")?;
        let mut parts = vec![self.key()?];
        while self.expect(",").is_some() {
            parts.push(self.key()?);
        }
        self.expect(")").map(|()| parts)
    }

    fn variants(&mut self) -> Option<Type> {
        self.expect("{")?;
        let mut variants = Vec::new();
        loop {
            let tag = self.digits()?.parse().ok()?;
            self.expect(":")?;
            let name = self.name().to_owned();
            let fields = if self.rest.starts_with('(') { self.parts()? } else { Vec::new() };
            variants.push((tag, name, fields));
            if self.expect(",").is_none() {
                return self.expect("}").map(|()| Type::Enum(variants));
            }
        }
    }

    fn layout(&mut self) -> Option<Layout> {
        self.deeper(Parser::layout_of)
    }

    fn layout_of(&mut self) -> Option<Layout> {
        if self.expect("[").is_some() {
            let of = self.layout()?;
            return Some(Layout::Array(Box::new(of), self.count()?));
        }
        let name = self.name();
        if self.rest.starts_with('{') {
            return self.fields();
        }
        if let "u8" | "i8" = name {
            let (kind, width) = number(name)?;
            return Some(Layout::Number(kind, width, true));
        }
        let little = name.ends_with("le");
        let (kind, width) = number(name.strip_suffix("le").or_else(|| name.strip_suffix("be"))?)?;
        Some(Layout::Number(kind, width, little))
    }

    fn fields(&mut self) -> Option<Layout> {
        self.expect("{")?;
        let mut fields = Vec::new();
        loop {
            let name = self.name().to_owned();
            self.expect(":")?;
            fields.push((name, self.layout()?));
            if self.expect(",").is_none() {
                return self.expect("}").map(|()| Layout::Struct(fields));
            }
        }
    }

    /// `;N]`.
    fn count(&mut self) -> Option<usize> {
        self.expect(";")?;
        let count = self.digits()?.parse().ok()?;
        self.expect("]").map(|()| count)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let read = if self.depth > DEEPEST { None } else { read(self) };
        self.depth -= 1;
        read
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn digits(&mut self) -> Option<&'n str> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(digits).filter(|digits| !digits.is_empty())
    }

    /// Up to what separates; it may be empty.
    fn name(&mut self) -> &'n str {
        let end = self.rest.find(['(', ')', '{', '}', '[', ']', ',', ':', ';']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }
}

/// `{0:…`: variants, not fields.
fn has_tags(text: &str) -> bool {
    text.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

fn number(name: &str) -> Option<(Kind, usize)> {
    let (kind, bits) = match name.split_at_checked(1)? {
        ("u", bits) => (Kind::Unsigned, bits),
        ("i", bits) => (Kind::Signed, bits),
        ("f", bits @ ("32" | "64")) => (Kind::Float, bits),
        _ => return None,
    };
    let width = match bits {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        "128" => 16,
        _ => return None,
    };
    Some((kind, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapleaf::codec::{Codec, Encode};
    use proptest::prelude::*;
    use serde_json::json;
    use std::cmp::Reverse;

    /// The bytes are those of the library.
    #[track_caller]
    fn same<T: Codec + ?Sized>(value: &(impl Encode<T> + ?Sized), shown: Value) {
        let name = T::type_name();
        let known = Type::of(&name).unwrap_or_else(|| panic!("{name}"));
        let bytes = value.encode().as_ref().to_vec();
        assert_eq!(known.json(&bytes), Some(shown.clone()), "{name}");
        assert_eq!(known.bytes(&shown), Ok(bytes), "{name}");
        assert_eq!(known.width(), T::WIDTH, "{name}");
    }

    #[test]
    fn the_bytes_are_those_of_the_library() {
        same::<u8>(&7, json!(7));
        same::<u16>(&258, json!(258));
        same::<u64>(&u64::MAX, json!(u64::MAX));
        same::<u128>(&u128::MAX, json!(u128::MAX.to_string()));
        same::<i8>(&-1, json!(-1));
        same::<i64>(&i64::MIN, json!(i64::MIN));
        same::<i128>(&i128::MIN, json!(i128::MIN.to_string()));
        same::<f32>(&-0.1, json!(-0.1));
        same::<f64>(&1e300, json!(1e300));
        same::<f64>(&f64::NEG_INFINITY, json!("-inf"));
        same::<f64>(&f64::NAN, json!("NaN"));
        same::<f64>(&f64::from_bits(f64::NAN.to_bits() | 1), json!("NaN:7ff8000000000001"));
        same::<bool>(&true, json!(true));
        same::<char>(&'é', json!("é"));
        same::<()>(&(), json!([]));
        same::<str>("a\0b", json!("a\0b"));
        same::<[u8]>(&b"a\0\\"[..], json!("a\\00\\\\"));
        same::<[u8; 3]>(&[1, 2, 255], json!("0102ff"));
        same::<(String, u8, Vec<u8>)>(&("a\0b", 7, &[0, 1][..]), json!(["a\0b", 7, "\\00\\01"]));
        same::<(u32, (bool, String))>(&(1, (false, "x")), json!([1, [false, "x"]]));
        same::<Option<String>>(&None::<&str>, Value::Null);
        same::<Option<String>>(&Some("x"), json!("x"));
        same::<(Option<String>, Reverse<String>)>(&(Some("x"), Reverse("ab")), json!(["x", "ab"]));
        same::<Reverse<u64>>(&Reverse(5), json!(5));
        same::<Duration>(&Duration::new(5, 30_000_000), json!("5.03"));
        let time = SystemTime::UNIX_EPOCH + Duration::new(1, 5);
        same::<SystemTime>(&time, json!("1970-01-01T00:00:01.000000005Z"));
        for (before, text) in [
            (Duration::new(1, 500_000_000), "-1.5"),
            (Duration::new(0, 1), "-0.000000001"),
            (Duration::new(3, 0), "-3"),
        ] {
            same::<SystemTime>(&(SystemTime::UNIX_EPOCH - before), json!(text));
        }
        same::<Ipv4Addr>(&Ipv4Addr::LOCALHOST, json!("127.0.0.1"));
        same::<Ipv6Addr>(&Ipv6Addr::LOCALHOST, json!("::1"));
        same::<[u32]>(&[1, 2][..], json!([1, 2]));
        same::<[[i16; 2]]>(&[[-1, 2]][..], json!([[-1, 2]]));
    }

    #[derive(mapleaf::Key)]
    struct Place {
        country: String,
        number: u32,
    }

    #[derive(mapleaf::Key)]
    enum Event {
        Came { who: String, when: u64 },
        Left(u8),
        Nothing,
    }

    #[derive(
        mapleaf::Value, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
    )]
    #[repr(C)]
    struct Point {
        x: f32,
        y: i32,
        id: [u8; 4],
    }

    #[test]
    fn derived_types_are_known() {
        same::<Place>(&Place { country: "at".into(), number: 7 }, json!(["at", 7]));
        same::<Event>(&Event::Came { who: "ann".into(), when: 7 }, json!({ "Came": ["ann", 7] }));
        same::<Event>(&Event::Left(3), json!({ "Left": [3] }));
        same::<Event>(&Event::Nothing, json!("Nothing"));
        same::<Point>(
            &Point { x: 0.5, y: -1, id: [1, 2, 3, 4] },
            json!({ "x": 0.5, "y": -1, "id": "01020304" }),
        );
    }

    #[test]
    fn what_does_not_fit_says_where() {
        let wrong = |name: &str, value: Value| Type::of(name).unwrap().bytes(&value).unwrap_err();
        assert_eq!(wrong("u8", json!(256)), "expected a number from 0 to 255");
        assert_eq!(wrong("(str,u8)", json!(["a"])), "expected a list of 2, found [\"a\"]");
        assert_eq!(
            wrong("(str,(u8,i8))", json!(["a", [1, 200]])),
            "element 1: element 1: expected a number from -128 to 127"
        );
        assert_eq!(wrong("{x:u8}", json!({ "y": 1 })), "expected a field \"x\", found {\"y\":1}");
        assert_eq!(
            wrong("time", json!("soon")),
            "expected a time such as 2030-01-31T12:00:00Z, or seconds since 1970, found \"soon\""
        );
        assert_eq!(wrong("enum{0:A,1:B}", json!("C")), "expected one of A, B, found \"C\"");
        assert!(wrong("[u8;2]", json!("00")).contains("expected 2 bytes"));
    }

    #[test]
    fn bytes_that_are_no_value_are_none() {
        for (name, bytes) in [
            ("u64", &[1][..]),
            ("u8", &[1, 2]),
            ("str", &[0xff]),
            ("bool", &[2]),
            ("char", &[0, 0x11, 0, 0]),
            ("(str,u8)", b"a\0\x02b\0\0\x01"),
            ("(str,u8)", b"a"),
            ("option(u8)", &[2, 0]),
            ("option(u8)", &[0, 0]),
            ("duration", &[255; 12]),
            ("[u32le]", &[1, 2, 3]),
            ("enum{0:A}", &[1]),
        ] {
            assert_eq!(Type::of(name).unwrap().json(bytes), None, "{name} {bytes:?}");
        }
    }

    /// A file can have any name for a type.
    #[test]
    fn names_that_are_none_are_refused() {
        for name in [
            "",
            "(",
            "u7",
            "(u8",
            "(u8,)",
            "option(option(u8))",
            "option(reverse(option(u8)))",
            "pod(8,4)",
            "postcard:user{id}",
            "u8 ",
            "[;3]",
            "{}",
            "[{x:[u8;0]};9999999999]",
            "[[u8;99999999999];99999999999]",
            "enum{300:A}",
            "[u8;99999999999999999999]",
            "é",
        ] {
            assert_eq!(Type::of(name), None, "{name}");
        }
        assert_eq!(Type::of(&"(".repeat(1 << 20)), None);
        assert_eq!(Type::of(&"[".repeat(1 << 20)), None);
        assert_eq!(Type::of("[u64le;99999999999]").unwrap().json(&[0; 64]), None);
    }

    proptest! {
        #[test]
        fn json_and_back_is_the_same(bytes in prop::collection::vec(any::<u8>(), 0..40), which in 0..12usize) {
            let name = ["u128", "i64", "f64", "f32", "bytes", "(bytes,u8)", "(option(bytes),i16)", "[u8;16]", "time",
                "reverse(bytes)", "{a:f32le,b:[u16be;2]}", "[i8]"][which];
            let known = Type::of(name).unwrap();
            let bytes = match known.width() {
                Some(width) => bytes.into_iter().chain([0; 40]).take(width).collect(),
                None => bytes,
            };
            if let Some(value) = known.json(&bytes) {
                let text = value.to_string();
                let value: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(known.bytes(&value), Ok(bytes), "{} {}", name, text);
            }
        }

        #[test]
        fn no_name_is_a_panic(name in "[(){}\\[\\],:;ubi8064a-z]{0,30}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(known) = Type::of(&name) {
                let _ = known.json(&bytes);
            }
        }
    }
}
