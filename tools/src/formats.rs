//! Keys and values as people write them on a command line, read them on a terminal, and keep them in files of text.
//!
//! Owns: the formats of `--key-format` and `--value-format`, and which of them `auto` means for a stored type. Promises: what
//! [`Codec::text`] shows, [`Codec::parse`] reads back (test `what_is_shown_can_be_typed`), but for text that has a backslash in
//! a table of plain bytes: there, a backslash typed is a backslash, and shown it is `\\`. What [`Codec::json`] and
//! [`Codec::field`] give, [`Codec::of_json`] and [`Codec::of_field`] read back, whatever it is. Leaves to others: the types
//! ([`crate::types`]).

use crate::dump_text::{escaped, parse_escaped, parse_hex, write_hex};
use crate::types::Type;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// What the command line can ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// By the table's stored types; text as typed for plain bytes, shown with \xx where it is not printable
    #[default]
    Auto,
    /// One for all tables.
    Of(Codec),
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
    /// RFC 4648.
    Base64,
    /// A stored type.
    Typed(Type, String),
    /// A type that this tool cannot spell; shown escaped.
    Opaque(String),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Format::Auto,
            "utf8" => Format::Of(Codec::Utf8),
            "hex" => Format::Of(Codec::Hex),
            "escaped" => Format::Of(Codec::Escaped),
            "base64" => Format::Of(Codec::Base64),
            name => {
                match Codec::of_type(&type_name(name)) {
                    Codec::Opaque(_) => {
                        return Err("expected auto, utf8, hex, escaped, base64, or a type such as u64, str or (str,u8)".into());
                    }
                    codec => Format::Of(codec),
                }
            }
        })
    }
}

/// A type's name without the spaces that people put into it.
pub fn type_name(typed: &str) -> String {
    typed.chars().filter(|character| *character != ' ').collect()
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Auto => "auto",
            Format::Of(Codec::Utf8) => "utf8",
            Format::Of(Codec::Hex) => "hex",
            Format::Of(Codec::Escaped) => "escaped",
            Format::Of(Codec::Base64) => "base64",
            Format::Of(Codec::Plain) => "bytes",
            Format::Of(Codec::Typed(_, name) | Codec::Opaque(name)) => name,
        })
    }
}

impl Format {
    /// What this means in a table whose stored type is `type_name`.
    pub fn codec(&self, type_name: &str) -> Codec {
        match self {
            Format::Auto => Codec::of_type(type_name),
            Format::Of(codec) => codec.clone(),
        }
    }
}

impl Codec {
    /// That of a stored type.
    pub fn of_type(type_name: &str) -> Self {
        match Type::of(type_name) {
            Some(Type::Bytes) => Codec::Plain,
            Some(known) => Codec::Typed(known, type_name.to_owned()),
            None => Codec::Opaque(type_name.to_owned()),
        }
    }

    /// Whether there is nothing to show.
    pub fn is_unit(&self) -> bool {
        matches!(self, Codec::Typed(Type::Unit, _))
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
            Codec::Plain | Codec::Typed(Type::Str, _) => Ok(bytes.to_vec()),
            Codec::Opaque(name) => {
                Err(format!("the stored type is {name}; give its bytes with a format of hex or escaped"))
            }
            _ => self.of_field(text()?),
        }
    }

    /// The same of what keys begin with: of a tuple the first elements will do.
    ///
    /// # Errors
    /// Expected and found.
    pub fn parse_prefix(&self, typed: &OsStr) -> Result<Vec<u8>, String> {
        match (self, typed.to_str()) {
            (Codec::Typed(known, _), Some(text)) if *known != Type::Str => {
                known.prefix(&known.of_field(text)?)
            }
            _ => self.parse(typed),
        }
    }

    /// The text that shows these bytes on a terminal.
    ///
    /// # Errors
    /// Where the bytes are none that the format has.
    pub fn text(&self, bytes: &[u8]) -> Result<String, String> {
        match self {
            Codec::Plain | Codec::Typed(Type::Str, _) => {
                Ok(printable(bytes).map_or_else(|| escaped(bytes), str::to_owned))
            }
            Codec::Typed(known, _) => {
                let shown = self.field(bytes)?;
                Ok(match shown.chars().all(is_harmless) {
                    true => shown,
                    false if known.is_compound() => spelled(&shown),
                    false => spelled(&Value::String(shown).to_string()),
                })
            }
            _ => self.field(bytes),
        }
    }

    /// The text that shows these bytes as a bound of keys. Bounds are as short as they can be: what a number lacks is zeros.
    pub fn bound(&self, bytes: &[u8]) -> String {
        let mut padded = bytes.to_vec();
        if let Codec::Typed(known, _) = self
            && let Some(width) = known.width()
        {
            padded.resize(bytes.len().max(width.min(1 << 10)), 0);
        }
        self.text(&padded).unwrap_or_else(|_| self.begun(bytes))
    }

    /// What is no whole value: the elements of a tuple that are whole, and bytes.
    fn begun(&self, bytes: &[u8]) -> String {
        let Codec::Typed(known, _) = self else { return escaped(bytes) };
        let (items, left) = known.beginning(bytes);
        let mut words: Vec<String> = items.iter().map(|item| spelled(&item.to_string())).collect();
        if words.is_empty() {
            return escaped(bytes);
        }
        words.push(escaped(left));
        format!("[{}…", words.join(","))
    }

    /// The same in a sentence: text in quotes.
    pub fn quoted(&self, bytes: &[u8]) -> String {
        match self {
            Codec::Plain | Codec::Typed(Type::Str, _) => format!("\"{}\"", self.bound(bytes)),
            _ => self.bound(bytes),
        }
    }

    /// The words for a range of keys: from `from` on, and before `to` where there is such a bound.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> String {
        match (from, to) {
            (key, Some([rest @ .., 0])) if rest == key => format!("the key {}", self.quoted(key)),
            ([], None) => "all keys".into(),
            ([], Some(to)) => format!("the keys before {}", self.quoted(to)),
            (from, None) => format!("the keys from {} on", self.quoted(from)),
            (from, Some(to)) => format!("the keys from {} up to {}", self.quoted(from), self.quoted(to)),
        }
    }

    /// What stands for these bytes in JSON: what [`crate::types`] says of stored types, and a string for everything else; of
    /// plain bytes the text that [`text`](Self::text) shows, which is also their escaped form.
    ///
    /// # Errors
    /// Where the bytes are none that the format has.
    pub fn json(&self, bytes: &[u8]) -> Result<Value, String> {
        let bad = |what: &str| {
            format!("{} bytes that are not {what}; show them with a format of hex or escaped", bytes.len())
        };
        Ok(Value::String(match self {
            Codec::Plain => printable(bytes).map_or_else(|| escaped(bytes), str::to_owned),
            Codec::Utf8 => std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad("UTF-8"))?,
            Codec::Hex => hex(bytes),
            Codec::Escaped | Codec::Opaque(_) => escaped(bytes),
            Codec::Base64 => BASE64_STANDARD.encode(bytes),
            Codec::Typed(known, name) => {
                return known.json(bytes).ok_or_else(|| bad(&format!("of the type {name}")));
            }
        }))
    }

    /// The bytes of what [`json`](Self::json) gives.
    ///
    /// # Errors
    /// Expected and found.
    pub fn of_json(&self, value: &Value) -> Result<Vec<u8>, String> {
        let text = || value.as_str().ok_or_else(|| format!("expected a text, found {value}"));
        match self {
            Codec::Plain | Codec::Escaped | Codec::Opaque(_) => parse_escaped(text()?.as_bytes()),
            Codec::Utf8 => Ok(text()?.as_bytes().to_vec()),
            Codec::Hex => parse_hex(text()?.as_bytes()),
            Codec::Base64 => {
                BASE64_STANDARD.decode(text()?).map_err(|error| format!("expected base64: {error}"))
            }
            Codec::Typed(known, _) => known.bytes(value),
        }
    }

    /// What stands for these bytes in a column of text: a string without quotes, anything else as JSON has it; nothing for
    /// `None`.
    ///
    /// # Errors
    /// Those of [`json`](Self::json).
    pub fn field(&self, bytes: &[u8]) -> Result<String, String> {
        Ok(field_of(self.json(bytes)?, matches!(self, Codec::Typed(Type::Option(_), _))))
    }

    /// The bytes of what [`field`](Self::field) gives.
    ///
    /// # Errors
    /// Those of [`of_json`](Self::of_json).
    pub fn of_field(&self, text: &str) -> Result<Vec<u8>, String> {
        match self {
            Codec::Typed(known, _) => known.bytes(&known.of_field(text)?),
            _ => self.of_json(&Value::String(text.to_owned())),
        }
    }
}

/// A column of what JSON says. Where nothing means `None`, texts that are empty or begin with a quote are in quotes.
pub fn field_of(value: Value, nothing_is_none: bool) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if nothing_is_none && (text.is_empty() || text.starts_with('"')) => {
            Value::String(text).to_string()
        }
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl Type {
    /// What a column says.
    ///
    /// # Errors
    /// Expected and found.
    pub fn of_field(&self, text: &str) -> Result<Value, String> {
        let json = || {
            serde_json::from_str(text).map_err(|error| match text.starts_with(['[', '{', '"']) {
                true => format!("expected JSON, such as [\"a\",1] for a tuple: {error}"),
                false => "expected JSON, such as [\"a\",1] for a tuple".to_owned(),
            })
        };
        match self {
            Type::Option(_) if text.is_empty() => Ok(Value::Null),
            Type::Option(of) if text.starts_with('"') && !of.is_compound() => json(),
            Type::Option(of) | Type::Reverse(of) => of.of_field(text),
            Type::Unit => json(),
            Type::Char if text.starts_with('"') && text.len() > 1 => json(),
            Type::Enum(_) if !text.starts_with('{') => Ok(Value::String(text.to_owned())),
            _ if self.is_compound() => json(),
            _ => Ok(Value::String(text.to_owned())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_hex(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

/// JSON whose control characters are spelled out, for terminals.
fn spelled(json: &str) -> String {
    json.chars()
        .map(|character| match is_harmless(character) {
            true => character.to_string(),
            false => format!("\\u{:04x}", u32::from(character)),
        })
        .collect()
}

pub fn is_harmless(character: char) -> bool {
    !character.is_control() && character != '\u{feff}'
}

/// UTF-8 without control characters and without a backslash, so that it cannot be taken for an escape.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars().all(|character| is_harmless(character) && character != '\\').then_some(text)
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
        round_trip("f32", "1.0", &[0xbf, 0x80, 0, 0]);
        round_trip("f64", "-1.5", &[0x40, 7, 255, 255, 255, 255, 255, 255]);
        round_trip("bool", "true", &[1]);
        round_trip("char", "é", &[0, 0, 0, 0xe9]);
        round_trip("str", "né", "né".as_bytes());
        round_trip("[u8;4]", "01020304", &[1, 2, 3, 4]);
        round_trip("(str,u8)", r#"["a\u001b\u009b",7]"#, b"a\x1b\xc2\x9b\0\0\x07");
        round_trip("option(str)", "", &[0]);
        round_trip("option(str)", r#""""#, &[1]);
        round_trip("option(str)", "x", b"\x01x");
        round_trip("option(u8)", "7", &[1, 7]);
        round_trip("char", r#""\u001b""#, &[0, 0, 0, 0x1b]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (type_name, typed) in
            [("u8", "256"), ("u8", "-1"), ("i8", "128"), ("i8", "-129"), ("u64", "x"), ("(str,u8)", "a")]
        {
            assert!(Format::Auto.codec(type_name).parse(OsStr::new(typed)).is_err(), "{type_name} {typed}");
        }
        assert!(Codec::of_type("u64").text(&[1]).is_err());
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
        assert_eq!(Codec::of_type("u64").json(&[255; 8]).unwrap(), Value::from(u64::MAX));
        assert_eq!(Codec::of_type("i16").json(&[0x7f, 0xff]).unwrap(), Value::from(-1));
        assert_eq!(Codec::of_type("u128").json(&[0; 16]).unwrap(), Value::from("0"));
        assert_eq!(Codec::of_type("bool").json(&[1]).unwrap(), Value::Bool(true));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(bytes in prop::collection::vec(any::<u8>(), 16)) {
            for name in ["u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "[u8;16]"] {
                let codec = Format::Auto.codec(name);
                let bytes = match &codec {
                    Codec::Typed(known, _) => &bytes[..known.width().unwrap()],
                    _ => &bytes[..],
                };
                let text = codec.text(bytes).unwrap();
                prop_assert_eq!(codec.parse(OsStr::new(&text)).unwrap(), bytes);
            }
            for codec in [Codec::Hex, Codec::Escaped, Codec::Base64] {
                prop_assert_eq!(codec.parse(OsStr::new(&codec.text(&bytes).unwrap())).unwrap(), &bytes[..]);
            }
            // What is shown of plain bytes is also their escaped form.
            let shown = Codec::Plain.text(&bytes).unwrap();
            prop_assert_eq!(Codec::Escaped.parse(OsStr::new(&shown)).unwrap(), &bytes[..]);
        }

        #[test]
        fn floats_survive(number: f64) {
            let codec = Codec::of_type("f64");
            let bytes = codec.parse(OsStr::new(&number.to_string())).unwrap();
            let again = codec.parse(OsStr::new(&codec.text(&bytes).unwrap())).unwrap();
            let Some(Value::Number(shown)) = codec.json(&bytes).ok() else { panic!("{number}") };
            prop_assert_eq!((again, shown.as_f64().unwrap().to_bits()), (bytes, number.to_bits()));
        }

        /// What a column holds comes back, whatever it is.
        #[test]
        fn columns_survive(bytes in prop::collection::vec(any::<u8>(), 0..20), text: String, number: u8) {
            let texts = Value::from(vec![text.clone()]);
            for (name, value) in [
                ("str", &texts[0]), ("option(str)", &texts[0]), ("option(str)", &Value::Null),
                ("(str,u8)", &Value::from(vec![texts[0].clone(), number.into()])), ("option(u8)", &number.into()),
            ] {
                let codec = Codec::of_type(name);
                let bytes = codec.of_json(value).unwrap();
                prop_assert_eq!(codec.of_field(&codec.field(&bytes).unwrap()).unwrap(), bytes, "{}", name);
            }
            for codec in [Codec::Plain, Codec::Hex, Codec::Escaped, Codec::Base64, Codec::of_type("pod(8,4)")] {
                prop_assert_eq!(codec.of_field(&codec.field(&bytes).unwrap()).unwrap(), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_bound_that_is_cut_shows_the_elements_that_are_whole() {
        let whole = |name: &str, value: serde_json::Value| Codec::of_type(name).of_json(&value).unwrap();
        let pair = whole("(i64,str)", serde_json::json!([61, "t20"]));
        for (name, bytes, bound) in [
            ("(i64,str)", &pair[..], "[61,\"t20\"]"),
            ("(i64,str)", &pair[..10], "[61,t2…"),
            ("(i64,str)", &pair[..8], "[61,…"),
            ("(i64,str)", &pair[..3], "\\80\\00\\00"),
            ("(str,u64)", b"ann\0\0\0\0\x01", "[\"ann\",\\00\\00\\01…"),
            ("(u8,u16)", b"\x07", "[7,0]"),
            ("str", b"pic", "pic"),
        ] {
            assert_eq!(Codec::of_type(name).bound(bytes), bound, "{name}");
        }
        assert_eq!(Codec::of_type("str").range(b"pic", Some(b"pic\0")), "the key \"pic\"");
        assert_eq!(Codec::of_type("u8").range(&[7], None), "the keys from 7 on");
    }
}
