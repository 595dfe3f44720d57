//! Keys and values as people write them on a command line and read them on a terminal.
//!
//! Owns: the formats of `--key-format` and `--value-format`, and which of them `auto` means for a stored type. Promises: what
//! [`Codec::text`] shows, [`Codec::parse`] reads back (test `what_is_shown_can_be_typed`), but for text that has a backslash in
//! a table of plain bytes: there, a backslash typed is a backslash, and shown it is `\\`. The byte forms of the types are those
//! of `mapleaf::codec`.

use crate::dump_text::{escaped, parse_escaped, parse_hex, write_hex};
use clap::ValueEnum;
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What the command line can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// By the table's stored types: numbers, bool, char, text; text as typed for plain bytes, shown with \xx where it is not printable
    #[default]
    Auto,
    /// Text as typed
    Utf8,
    /// Two hex digits for every byte
    Hex,
    /// Text in which \xx is a byte and \\ a backslash
    Escaped,
    /// A number of 0 to 2^64-1, stored as 8 bytes, big-endian
    U64,
    /// A number of -2^63 to 2^63-1, stored as 8 bytes, big-endian, the sign bit flipped
    I64,
}

/// One way to turn bytes into text and back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Codec {
    /// As typed; shown as it is where that is printable, else escaped.
    Plain,
    /// UTF-8, shown as it is.
    Utf8,
    /// Hex digits.
    Hex,
    /// `\xx` and `\\`.
    Escaped,
    /// Big-endian, of this many bytes.
    Unsigned(usize),
    /// Big-endian with the sign bit flipped, of this many bytes.
    Signed(usize),
    /// IEEE 754 in total order, 4 or 8 bytes.
    Float(usize),
    /// `00` or `01`.
    Bool,
    /// A scalar value as a big-endian u32.
    Char,
    /// A type that this tool cannot spell; shown escaped.
    Opaque(String),
}

impl Format {
    /// What this means in a table whose stored type is `type_name`.
    pub fn codec(self, type_name: &str) -> Codec {
        match self {
            Format::Auto => Codec::of_type(type_name),
            Format::Utf8 => Codec::Utf8,
            Format::Hex => Codec::Hex,
            Format::Escaped => Codec::Escaped,
            Format::U64 => Codec::Unsigned(8),
            Format::I64 => Codec::Signed(8),
        }
    }
}

impl Codec {
    fn of_type(type_name: &str) -> Self {
        let width = |bits: &str| match bits {
            "8" => Some(1),
            "16" => Some(2),
            "32" => Some(4),
            "64" => Some(8),
            "128" => Some(16),
            _ => None,
        };
        let opaque = || Codec::Opaque(type_name.to_owned());
        match type_name {
            "bytes" | "str" => Codec::Plain,
            "bool" => Codec::Bool,
            "char" => Codec::Char,
            "f32" => Codec::Float(4),
            "f64" => Codec::Float(8),
            name if name.starts_with("[u8;") => Codec::Hex,
            name if name.starts_with('u') => width(&name[1..]).map_or_else(opaque, Codec::Unsigned),
            name if name.starts_with('i') => width(&name[1..]).map_or_else(opaque, Codec::Signed),
            _ => opaque(),
        }
    }

    /// The bytes that a typed text stands for.
    ///
    /// # Errors
    /// Expected and found.
    pub fn parse(&self, typed: &OsStr) -> Result<Vec<u8>, String> {
        let bytes = typed.as_bytes();
        let text =
            || std::str::from_utf8(bytes).map_err(|_| "expected UTF-8; give the bytes in hex".to_owned());
        match self {
            Codec::Plain => Ok(bytes.to_vec()),
            Codec::Utf8 => Ok(text()?.as_bytes().to_vec()),
            Codec::Hex => parse_hex(bytes),
            Codec::Escaped => parse_escaped(bytes),
            Codec::Unsigned(width) => parse_unsigned(text()?, *width),
            Codec::Signed(width) => parse_signed(text()?, *width),
            Codec::Float(width) => parse_float(text()?, *width),
            Codec::Bool => match bytes {
                b"false" => Ok(vec![0]),
                b"true" => Ok(vec![1]),
                _ => Err("expected true or false".into()),
            },
            Codec::Char => parse_char(text()?),
            Codec::Opaque(name) => {
                Err(format!("the stored type is {name}; give its bytes with a format of hex or escaped"))
            }
        }
    }

    /// The text that shows these bytes.
    ///
    /// # Errors
    /// Where the command line asked for a format that the bytes do not have.
    pub fn text(&self, bytes: &[u8]) -> Result<String, String> {
        let bad = |what: &str| {
            format!("{} bytes that are not {what}; show them with a format of hex or escaped", bytes.len())
        };
        match self {
            Codec::Plain => Ok(printable(bytes).map_or_else(|| escaped(bytes), str::to_owned)),
            Codec::Utf8 => std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad("UTF-8")),
            Codec::Hex => Ok(hex(bytes)),
            Codec::Escaped | Codec::Opaque(_) => Ok(escaped(bytes)),
            Codec::Unsigned(width) => {
                Ok(unsigned(bytes, *width).ok_or_else(|| bad("such a number"))?.to_string())
            }
            Codec::Signed(width) => {
                Ok(signed(bytes, *width).ok_or_else(|| bad("such a number"))?.to_string())
            }
            Codec::Float(4) => Ok(f32_of(bytes).ok_or_else(|| bad("an f32"))?.to_string()),
            Codec::Float(_) => Ok(f64_of(bytes).ok_or_else(|| bad("an f64"))?.to_string()),
            Codec::Bool => match bytes {
                [0] => Ok("false".into()),
                [1] => Ok("true".into()),
                _ => Err(bad("a bool")),
            },
            Codec::Char => Ok(char_of(bytes).ok_or_else(|| bad("a char"))?.to_string()),
        }
    }

    /// The text that shows these bytes as a bound of keys. Bounds are as short as they can be: what a number lacks is zeros.
    pub fn bound(&self, bytes: &[u8]) -> String {
        let mut padded = bytes.to_vec();
        if let Codec::Unsigned(width) | Codec::Signed(width) | Codec::Float(width) = self {
            padded.resize(bytes.len().max(*width), 0);
        }
        self.text(&padded).unwrap_or_else(|_| escaped(bytes))
    }

    /// The words for a range of keys: from `from` on, and before `to` where there is such a bound.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> String {
        match (from, to) {
            (key, Some([rest @ .., 0])) if rest == key => format!("the key {}", self.bound(key)),
            ([], None) => "all keys".into(),
            ([], Some(to)) => format!("the keys before {}", self.bound(to)),
            (from, None) => format!("the keys from {} on", self.bound(from)),
            (from, Some(to)) => format!("the keys from {} up to {}", self.bound(from), self.bound(to)),
        }
    }

    /// What stands for these bytes in JSON: a number for integers of up to 64 bits and finite floats, true and false for bool, a
    /// string with [`text`](Self::text) for everything else.
    ///
    /// # Errors
    /// As `text`.
    pub fn json(&self, bytes: &[u8]) -> Result<Value, String> {
        let text = self.text(bytes)?;
        let number = match self {
            Codec::Unsigned(1..=8) => text.parse::<u64>().ok().map(Value::from),
            Codec::Signed(1..=8) => text.parse::<i64>().ok().map(Value::from),
            Codec::Float(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
            Codec::Bool => Some(Value::Bool(text == "true")),
            _ => None,
        };
        Ok(number.unwrap_or(Value::String(text)))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_hex(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

/// UTF-8 without control characters and without a backslash, so that it cannot be taken for an escape.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = |character: char| !character.is_control() && character != '\\' && character != '\u{feff}';
    text.chars().all(plain).then_some(text)
}

fn parse_unsigned(text: &str, width: usize) -> Result<Vec<u8>, String> {
    let bits = width * 8;
    let limit = u128::MAX >> (128 - bits);
    let number = text.parse::<u128>().ok().filter(|number| *number <= limit);
    let number = number.ok_or_else(|| format!("expected a number from 0 to {limit}"))?;
    Ok(number.to_be_bytes()[16 - width..].to_vec())
}

fn parse_signed(text: &str, width: usize) -> Result<Vec<u8>, String> {
    let max = i128::MAX >> (128 - width * 8);
    let number = text.parse::<i128>().ok().filter(|number| (-max - 1..=max).contains(number));
    let number = number.ok_or_else(|| format!("expected a number from {} to {max}", -max - 1))?;
    let mut bytes = number.to_be_bytes()[16 - width..].to_vec();
    bytes[0] ^= 0x80;
    Ok(bytes)
}

fn unsigned(bytes: &[u8], width: usize) -> Option<u128> {
    let mut wide = [0; 16];
    wide[16 - width..].copy_from_slice(Some(bytes).filter(|bytes| bytes.len() == width)?);
    Some(u128::from_be_bytes(wide))
}

fn signed(bytes: &[u8], width: usize) -> Option<i128> {
    let shift = 128 - width * 8;
    let flipped = unsigned(bytes, width)? ^ (1 << (width * 8 - 1));
    Some((flipped << shift).cast_signed() >> shift)
}

/// Between IEEE bits and bits whose unsigned order is the total order of the floats.
fn parse_float(text: &str, width: usize) -> Result<Vec<u8>, String> {
    let bad = |_| "expected a number".to_owned();
    Ok(match width {
        4 => {
            let bits = text.parse::<f32>().map_err(bad)?.to_bits();
            let flip = if bits >> 31 == 1 { u32::MAX } else { 1 << 31 };
            (bits ^ flip).to_be_bytes().to_vec()
        }
        _ => {
            let bits = text.parse::<f64>().map_err(bad)?.to_bits();
            let flip = if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
            (bits ^ flip).to_be_bytes().to_vec()
        }
    })
}

fn f32_of(bytes: &[u8]) -> Option<f32> {
    let bits = u32::from_be_bytes(bytes.try_into().ok()?);
    Some(f32::from_bits(bits ^ if bits >> 31 == 0 { u32::MAX } else { 1 << 31 }))
}

fn f64_of(bytes: &[u8]) -> Option<f64> {
    let bits = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(f64::from_bits(bits ^ if bits >> 63 == 0 { u64::MAX } else { 1 << 63 }))
}

fn parse_char(text: &str) -> Result<Vec<u8>, String> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(u32::from(character).to_be_bytes().to_vec()),
        _ => Err("expected one character".into()),
    }
}

fn char_of(bytes: &[u8]) -> Option<char> {
    char::from_u32(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(type_name: &str, typed: &str, wanted: &[u8]) {
        let codec = Format::Auto.codec(type_name);
        assert_eq!(codec.parse(OsStr::new(typed)).as_deref(), Ok(wanted), "{type_name} {typed}");
        assert_eq!(codec.text(wanted).as_deref(), Ok(typed), "{type_name} {typed}");
    }

    #[test]
    fn stored_types_have_the_bytes_of_the_codec_table() {
        round_trip("u8", "7", &[7]);
        round_trip("u16", "258", &[1, 2]);
        round_trip("u128", &u128::MAX.to_string(), &[255; 16]);
        round_trip("i8", "-1", &[0x7f]);
        round_trip("i16", "-2", &[0x7f, 0xfe]);
        round_trip("i64", &i64::MIN.to_string(), &[0; 8]);
        round_trip("i128", &i128::MAX.to_string(), &[255; 16]);
        round_trip("f32", "1", &[0xbf, 0x80, 0, 0]);
        round_trip("f64", "-1.5", &[0x40, 7, 255, 255, 255, 255, 255, 255]);
        round_trip("bool", "true", &[1]);
        round_trip("char", "é", &[0, 0, 0, 0xe9]);
        round_trip("str", "né", "né".as_bytes());
        round_trip("[u8;4]", "01020304", &[1, 2, 3, 4]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (type_name, typed) in
            [("u8", "256"), ("u8", "-1"), ("i8", "128"), ("i8", "-129"), ("u64", "x"), ("(str,u8)", "a")]
        {
            assert!(Format::Auto.codec(type_name).parse(OsStr::new(typed)).is_err(), "{type_name} {typed}");
        }
        assert!(Codec::Unsigned(8).text(&[1]).is_err());
        assert!(Codec::Utf8.text(&[0xff]).is_err());
        assert_eq!(
            Codec::Hex.parse(OsStr::new("abc")),
            Err("expected another hex digit, since bytes have two, found the end of the line".into())
        );
    }

    #[test]
    fn plain_bytes_are_shown_so_that_terminals_survive() {
        assert_eq!(Codec::Plain.text(b"a b").unwrap(), "a b");
        assert_eq!(Codec::Plain.text("né".as_bytes()).unwrap(), "né");
        assert_eq!(Codec::Plain.text(b"a\x1b[0m\tb\\").unwrap(), "a\\1b[0m\\09b\\\\");
        assert_eq!(Codec::Plain.text(&[0xff]).unwrap(), "\\ff");
    }

    #[test]
    fn numbers_are_numbers_in_json() {
        assert_eq!(Codec::Unsigned(8).json(&[255; 8]).unwrap(), Value::from(u64::MAX));
        assert_eq!(Codec::Signed(2).json(&[0x7f, 0xff]).unwrap(), Value::from(-1));
        assert_eq!(Codec::Unsigned(16).json(&[0; 16]).unwrap(), Value::from("0"));
        assert_eq!(Codec::Bool.json(&[1]).unwrap(), Value::Bool(true));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(bytes in prop::collection::vec(any::<u8>(), 16)) {
            for name in ["u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "[u8;16]"] {
                let codec = Format::Auto.codec(name);
                let bytes = match &codec {
                    Codec::Unsigned(width) | Codec::Signed(width) => &bytes[..*width],
                    _ => &bytes[..],
                };
                let text = codec.text(bytes).unwrap();
                prop_assert_eq!(codec.parse(OsStr::new(&text)).unwrap(), bytes);
            }
            for codec in [Codec::Hex, Codec::Escaped] {
                prop_assert_eq!(codec.parse(OsStr::new(&codec.text(&bytes).unwrap())).unwrap(), &bytes[..]);
            }
            // What is shown of plain bytes is also their escaped form.
            let shown = Codec::Plain.text(&bytes).unwrap();
            prop_assert_eq!(Codec::Escaped.parse(OsStr::new(&shown)).unwrap(), &bytes[..]);
        }

        #[test]
        fn floats_survive(number: f64) {
            let bytes = Codec::Float(8).parse(OsStr::new(&number.to_string())).unwrap();
            prop_assert_eq!(f64_of(&bytes).unwrap().to_bits(), number.to_bits());
        }
    }
}
