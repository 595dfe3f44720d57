//! Values by serde, in the format of postcard.

use super::*;
use ::serde::de::{DeserializeOwned, Error as _, Visitor};
use ::serde::{Deserializer, Serialize};
use std::marker::PhantomData;

/// Values of any type with serde's traits: `Table<u64, Serde<User>>` takes and gives a `User`.
///
/// The bytes are those of [postcard](https://postcard.jamesmunns.com/wire-format), whose format is written down and
/// fixed since its version 1: small, without the names of fields, and quick to read. Reading makes a `User` of its own,
/// which a value read in place ([`Value`](crate::Value)) does not.
///
/// postcard does not say what the bytes are; the schema does. It holds the name that serde has for the type and those
/// of its fields or variants, in order: `postcard:user{id,name}`. So a table that was stored with other fields is a
/// [`SchemaMismatch`](crate::Error::SchemaMismatch), and not misread: rewrite it with
/// [`convert_table`](crate::WriteTxn::convert_table). Types of fields, and fields of fields, are not in it.
/// `#[serde(rename = "…")]`, on the type or a field, keeps the stored name when that in the program changes.
///
/// ```
/// use mapleaf::codec::Serde;
/// use mapleaf::{Database, Table};
///
/// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// #[serde(rename = "user")]
/// struct User {
///     name: String,
///     mails: Vec<String>,
/// }
///
/// const USERS: Table<u64, Serde<User>> = Table::new("users");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// let ann = User { name: "ann".into(), mails: vec!["ann@example.org".into()] };
/// db.write(|w| w.put(USERS, &7, &ann))?;
/// let r = db.begin_read()?;
/// assert_eq!(r.get(USERS, &7)?, Some(ann));
/// assert_eq!(r.tables()?[0].schema.value_type, "postcard:user{name,mails}");
/// # Ok(()) }
/// ```
///
/// What postcard cannot write, it cannot read either: `#[serde(flatten)]`, `#[serde(untagged)]`,
/// `#[serde(skip_serializing_if)]`, and types that ask what is there, like `serde_json::Value`. A type that holds itself
/// (a tree of boxes) is read by recursion as deep as the bytes say: with files that you do not trust, bound its depth.
///
/// # Panics
/// [`encode`](Encode::encode) does when the type's `Serialize` fails, or gives a sequence without its length.
pub struct Serde<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: Serialize + DeserializeOwned + 'static> Codec for Serde<T> {
    type View<'a> = T;

    const WIDTH: Option<usize> = None;

    fn type_name() -> Cow<'static, str> {
        let mut name = String::from("postcard:");
        // It always fails; what it was asked for is what is wanted.
        let _ = T::deserialize(Asked(&mut name));
        short_name(name).into()
    }

    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        let fail = |found: &dyn fmt::Display| DecodeError::new(format!("{}: {found}", Self::type_name()));
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                Err(fail(&format_args!("expected the end of the bytes, found {} more", rest.len())))
            }
            Err(error) => {
                Err(fail(&format_args!("expected its encoding, found {} bytes: {error}", bytes.len())))
            }
        }
    }
}

impl<T: Serialize> Encode<Serde<T>> for T {
    type Bytes<'a>
        = Vec<u8>
    where
        Self: 'a;

    fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a type that postcard can write")
    }
}

/// Writes down what a type asks a deserializer for, and gives it nothing.
struct Asked<'n>(&'n mut String);

/// That is all.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only asked")
    }
}

impl std::error::Error for Enough {}

impl ::serde::de::Error for Enough {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Enough
    }
}

impl Asked<'_> {
    fn note<T>(self, parts: &[&str]) -> Result<T, Enough> {
        parts.iter().for_each(|part| self.0.push_str(part));
        Err(Enough::custom(""))
    }
}

macro_rules! asked_for {
    ($($method:ident $name:literal),+) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Enough> {
            self.note(&[$name])
        }
    )+};
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Enough;

    asked_for!(
        deserialize_any "any", deserialize_bool "bool", deserialize_char "char", deserialize_unit "unit",
        deserialize_i8 "i8", deserialize_i16 "i16", deserialize_i32 "i32", deserialize_i64 "i64",
        deserialize_i128 "i128", deserialize_u8 "u8", deserialize_u16 "u16", deserialize_u32 "u32",
        deserialize_u64 "u64", deserialize_u128 "u128", deserialize_f32 "f32", deserialize_f64 "f64",
        deserialize_str "str", deserialize_string "str", deserialize_bytes "bytes", deserialize_byte_buf "bytes",
        deserialize_seq "seq", deserialize_map "map", deserialize_identifier "str", deserialize_ignored_any "any"
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        self.0.push_str("option ");
        visitor.visit_some(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Enough> {
        self.note(&["tuple", &len.to_string()])
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, Enough> {
        self.note(&[name])
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(&[name, "(1)"])
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(&[name, "(", &len.to_string(), ")"])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(&[name, "{", &fields.join(","), "}"])
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Enough> {
        self.note(&[name, "<", &variants.join(","), ">"])
    }
}
