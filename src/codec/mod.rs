//! How keys and values become bytes.
//!
//! This file owns the encodings and their names; nothing here knows of pages or tables. It promises:
//!
//! 1. **Order.** For a [`Key`] type, comparing encodings byte by byte gives the order of the values.
//! 2. **One encoding per value.** `decode` accepts exactly the bytes that `encode` writes and answers
//!    anything else with a [`DecodeError`]; it never panics. ([`Pod`] accepts any bytes of the right length
//!    and alignment.)
//! 3. **Width.** If [`Codec::WIDTH`] is `Some(n)`, every encoding has `n` bytes and the part form is the
//!    plain form.
//! 4. **Self-delimiting parts.** No part form is a proper prefix of another part form of the same type.
//!
//! Each is asserted by the unit tests. An implementation of these traits for a type of your own must keep them
//! too, or its table will miss keys that it holds: [`assert_key`] and [`assert_key_part`] try them on values.
//!
//! # Plain form
//!
//! | types | name | bytes |
//! |---|---|---|
//! | `u8` … `u128` | `u8` … `u128` | big-endian |
//! | `i8` … `i128` | `i8` … `i128` | big-endian, the sign bit flipped |
//! | `f32`, `f64` | `f32`, `f64` | IEEE bits, big-endian; negative: all bits flipped, else: the sign bit flipped |
//! | `bool` | `bool` | `00` or `01` |
//! | `char` | `char` | the scalar value as a big-endian `u32` |
//! | `()` | `unit` | none |
//! | `str`, `String` | `str` | the UTF-8 bytes |
//! | `[u8]`, `Vec<u8>` | `bytes` | the bytes |
//! | `[u8; N]` | `[u8;N]` | the bytes |
//! | `Duration` | `duration` | seconds as `u64`, nanoseconds (below 10⁹) as `u32` |
//! | `SystemTime` | `time` | seconds since 1970 as `i64`, rounded down; nanoseconds from there as `u32` |
//! | `Ipv4Addr`, `Ipv6Addr` | `ipv4`, `ipv6` | the 4 or 16 octets |
//! | `Option<T>` | `option(T)` | `None`: `00`; `Some`: `01`, then the plain form of `T` |
//! | `Reverse<T>` | `reverse(T)` | the part form of `T`, all bits flipped: descending order |
//! | `(A, B, …)`, 2 to 12 elements | `(A,B,…)` | the part form of every element in turn, the last one too |
//! | a struct that derives [`Key`](derive@crate::Key) | as the tuple | as the tuple of its fields; of one field: as that field |
//! | an enum that derives [`Key`](derive@crate::Key) | `enum{0:A(str),1:B}` | the tag of the variant, one byte; then the part form of every field in turn |
//!
//! And values, which are not keys, for their bytes have no useful order:
//!
//! | types | name | bytes |
//! |---|---|---|
//! | a struct that derives [`Value`](derive@crate::Value) | `{x:f32le,y:f32le}` | its memory |
//! | `[T]` of such, of numbers, of arrays | `[u32le]` | the memory of the elements |
//! | [`Pod<T>`](Pod) | `pod(size,align)` | the memory of `T` |
//! | `Serde<T>` | `postcard:user{id,name}` | those of postcard |
//!
//! `String`, `Vec<u8>` and `Cow` are other names for `str` and `[u8]`.
//!
//! Floats follow IEEE 754 `totalOrder`, which is [`f64::total_cmp`]: −NaN < −∞ < … < −0 < +0 < … < +∞ < +NaN.
//! `usize` and `isize` have no encoding, because a file may move to a machine where they are of another
//! width.
//!
//! # Part form
//!
//! Inside a tuple an element must say where it ends, and the mark of its end must sort before any
//! continuation.
//!
//! | types | part form |
//! |---|---|
//! | types of fixed width | the plain form |
//! | `str`, `String`, `[u8]`, `Vec<u8>` | every `00` written as `00 01`, then the end mark `00 00` |
//! | `Option<T>` | `None`: `00`; `Some`: `01`, then the part form of `T` |
//! | `Reverse<T>`, tuples, derived structs and enums | the plain form, so they nest (of a struct of one field: the part form of that) |
//!
//! Why the escape keeps the order: take two different strings and the first place where they differ.
//!
//! * Both have a byte there. If neither is `00`, the encodings differ in these very bytes. If one is `00`, it
//!   is written `00 01` and the other starts with a larger byte, so it sorts first, as it should.
//! * One has ended: its `00 00` meets either a byte above `00` or the `00 01` of an escaped NUL, and is
//!   smaller than both.
//!
//! So `"a"` (`61 00 00`) < `"a\0"` (`61 00 01 00 00`) < `"a\x01"` (`61 01 00 00`), and what follows the
//! string in the tuple is compared only if the strings are equal. The idea is that of FoundationDB's tuple
//! layer, which writes a NUL as `00 ff` and ends with a single `00`.
//!
//! # Own codecs
//!
//! Most types need none: derive [`Key`](derive@crate::Key) or [`Value`](derive@crate::Value), or use `Serde` (feature
//! `serde`). Where the bytes are to be your own, say how a value is read ([`Codec`]), and how it is written
//! ([`Encode`]); [`Key`] adds the promise of order and has no methods. For a `KeyPart`, which can also be part of a
//! tuple, there are `decode_part` and `encode_part` too.
//!
//! ```
//! use mapleaf::codec::{self, Codec, DecodeError, Encode, Key};
//! use std::borrow::Cow;
//!
//! /// A version as people write it, `1.12.3`; three numbers of two bytes each.
//! #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
//! struct Version(u16, u16, u16);
//!
//! impl Codec for Version {
//!     type View<'a> = Version;
//!     const WIDTH: Option<usize> = Some(6);
//!
//!     fn type_name() -> Cow<'static, str> {
//!         "version".into()
//!     }
//!
//!     fn decode(bytes: &[u8]) -> Result<Version, DecodeError> {
//!         let (major, minor, patch) = <(u16, u16, u16)>::decode(bytes).map_err(|e| e.within("version"))?;
//!         Ok(Version(major, minor, patch))
//!     }
//! }
//!
//! impl Key for Version {}
//!
//! impl Encode<Version> for Version {
//!     type Bytes<'a> = Vec<u8>;
//!
//!     fn encode(&self) -> Vec<u8> {
//!         Encode::<(u16, u16, u16)>::encode(&(self.0, self.1, self.2))
//!     }
//! }
//!
//! // In a test: order, round trip, width, and bytes that are no version.
//! codec::assert_key::<Version, _>(&[Version(0, 9, 9), Version(1, 2, 0), Version(1, 12, 0), Version(256, 0, 0)]);
//! ```
//!
//! What must hold is the list at the top. The name is what a table is stored with: choose one that no other encoding has, and
//! another one when the bytes change.
//!
//! # Test vectors
//!
//! | name | value | bytes |
//! |---|---|---|
//! | `u8` | `7` | `07` |
//! | `u16` | `258` | `01 02` |
//! | `u32` | `7` | `00 00 00 07` |
//! | `u64` | `7` | `00 00 00 00 00 00 00 07` |
//! | `u128` | `7` | `00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 07` |
//! | `i8` | `-1` | `7f` |
//! | `i16` | `-2` | `7f fe` |
//! | `i32` | `-1` | `7f ff ff ff` |
//! | `i32` | `0` | `80 00 00 00` |
//! | `i32` | `1` | `80 00 00 01` |
//! | `i64` | `i64::MIN` | `00 00 00 00 00 00 00 00` |
//! | `i128` | `i128::MAX` | `ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff` |
//! | `f32` | `-0.0` | `7f ff ff ff` |
//! | `f32` | `1.0` | `bf 80 00 00` |
//! | `f64` | `f64::NEG_INFINITY` | `00 0f ff ff ff ff ff ff` |
//! | `f64` | `-1.5` | `40 07 ff ff ff ff ff ff` |
//! | `f64` | `0.0` | `80 00 00 00 00 00 00 00` |
//! | `f64` | `1.5` | `bf f8 00 00 00 00 00 00` |
//! | `bool` | `true` | `01` |
//! | `char` | `'é'` | `00 00 00 e9` |
//! | `unit` | `()` | `(none)` |
//! | `str` | `"né"` | `6e c3 a9` |
//! | `str` | `"a\0b"` | `61 00 62` |
//! | `bytes` | `b"\x00\xff"` | `00 ff` |
//! | `[u8;4]` | `[1, 2, 3, 4]` | `01 02 03 04` |
//! | `option(u16)` | `None::<u16>` | `00` |
//! | `option(u16)` | `Some(7)` | `01 00 07` |
//! | `option(str)` | `Some("a\0")` | `01 61 00` |
//! | `option(option(bool))` | `Some(Some(true))` | `01 01 01` |
//! | `duration` | `Duration::from_millis(1500)` | `00 00 00 00 00 00 00 01 1d cd 65 00` |
//! | `time` | `SystemTime::UNIX_EPOCH` | `80 00 00 00 00 00 00 00 00 00 00 00` |
//! | `time` | `SystemTime::UNIX_EPOCH - Duration::from_millis(500)` | `7f ff ff ff ff ff ff ff 1d cd 65 00` |
//! | `ipv4` | `Ipv4Addr::LOCALHOST` | `7f 00 00 01` |
//! | `ipv6` | `Ipv6Addr::LOCALHOST` | `00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01` |
//! | `reverse(u16)` | `Reverse(258)` | `fe fd` |
//! | `reverse(str)` | `Reverse("a")` | `9e ff ff` |
//! | `(u8,i16)` | `(7, -1)` | `07 7f ff` |
//! | `(str,u8)` | `("ann", 7)` | `61 6e 6e 00 00 07` |
//! | `(str,u8)` | `("", 7)` | `00 00 07` |
//! | `(str,str)` | `("a\0", "b")` | `61 00 01 00 00 62 00 00` |
//! | `(option(str),u8)` | `(Some("a"), 7)` | `01 61 00 00 07` |
//! | `(option(str),u8)` | `(None::<&str>, 7)` | `00 07` |
//! | `(str,reverse(u16),str)` | `("a", Reverse(7), "b")` | `61 00 00 ff f8 62 00 00` |
//! | `(bytes,(bool,char),[u8;2])` | `(b"\x00", (true, 'a'), [8, 9])` | `00 01 00 00 01 00 00 00 61 08 09` |

mod check;
mod compound;
mod lazy;
mod numbers;
mod plain;
mod prefix;
mod range;
#[cfg(feature = "serde")]
mod serde;
mod standard;
#[cfg(test)]
mod tests;
mod text;

pub use check::{assert_key, assert_key_part};
pub use lazy::{Lazy, LazyValue};
pub use plain::{Plain, Pod, Value};
pub use prefix::{EncodePrefix, Prefix};
pub use range::KeyRange;
use range::prefix_end;
#[cfg(feature = "serde")]
pub use serde::Serde;

/// What the derive macros call. Not for other uses: it may change with any version.
#[doc(hidden)]
pub mod derived {
    pub use super::compound::{TUPLE_CAPACITY, one_width, sum, unknown_tag};
    pub use super::plain::{InPlace, NotInPlace, align_of_value};
    pub use super::{short_name, trailing};
}

use std::borrow::Cow;
use std::fmt;

/// Bytes that are not an encoding of the type asked for.
///
/// Its text names the type and says what was expected and what was found.
///
/// ```
/// use mapleaf::codec::Codec;
///
/// let error = u64::decode(&[1, 2, 3, 4, 5]).unwrap_err();
/// assert_eq!(error.to_string(), "u64: expected 8 bytes, found 5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Cow<'static, str>);

impl DecodeError {
    /// An error with this text, which should read `type: expected …, found …`.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// The same error, said to be in `place`: `tuple element 1: u16: expected 2 bytes, found 1`.
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self::new(format!("{place}: {self}"))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

/// How values of a type are stored as bytes.
///
/// The implementing type says what a table holds (`Table<str, u64>`); it need not be sized and is never
/// constructed. What reading gives is [`View`](Self::View), what writing accepts is any type that implements
/// [`Encode<Self>`](Encode).
///
/// ```
/// use mapleaf::codec::Codec;
///
/// assert_eq!(u16::decode(&[1, 2])?, 0x0102);
/// assert_eq!(str::decode(b"ann")?, "ann");
/// assert_eq!(<(String, u8)>::decode(b"ann\0\0\x07")?, ("ann".into(), 7));
/// # Ok::<(), mapleaf::codec::DecodeError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no encoding, so a table cannot hold it",
    note = "derive `mapleaf::Key` or `mapleaf::Value` for a type of your own, or implement `Codec`",
    note = "for a type of others there are `Pod<T>` (zerocopy) and `Serde<T>` (serde, with the feature `serde`)"
)]
pub trait Codec: 'static {
    /// What reading gives. It may borrow from the stored bytes: `u64`, `&'a str`, `&'a [u8]`, `&'a T`.
    type View<'a>
    where
        Self: 'a;

    /// `Some(n)` if every encoding has exactly `n` bytes.
    const WIDTH: Option<usize>;

    /// The alignment in bytes that [`decode`](Self::decode) needs: 1, 2, 4, 8 or 16. Only values are stored
    /// aligned; a key type leaves it at 1.
    const ALIGN: usize = 1;

    /// The name of this encoding in the stored schema. Types with the same encoding share it (`str` and
    /// `String`), and it never contains a Rust path, so moving or renaming a type does not change the file.
    fn type_name() -> Cow<'static, str>;

    /// Reads one value from all of `bytes`.
    ///
    /// # Errors
    /// When `bytes` is not an encoding of this type: wrong length, bytes left over, a value out of its
    /// domain.
    fn decode(bytes: &[u8]) -> Result<Self::View<'_>, DecodeError>;
}

/// A [`Codec`] whose encodings, compared byte by byte, have the order of the values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order-preserving encoding, so it cannot be a key",
    note = "derive `mapleaf::Key` for a struct or enum; `usize` and `isize` have none: use `u64` or `i64`"
)]
pub trait Key: Codec {}

/// `Self` can be stored, or looked up, where a table says `T`.
///
/// A number is accepted only as itself, so that literals infer (`get(table, &7)`). Text is accepted as `str`,
/// `String`, `Cow<str>` and references to them; bytes as `[u8]`, `[u8; N]`, `Vec<u8>`, `Cow<[u8]>` and
/// references to them. Tuples and options are accepted if their elements are. Every [`Codec::View`] can be
/// written back as it is.
///
/// ```
/// use mapleaf::codec::Encode;
///
/// assert_eq!(Encode::<u32>::encode(&7), [0, 0, 0, 7]);
/// assert_eq!(Encode::<str>::encode("ann"), b"ann");
/// assert_eq!(Encode::<(String, u8)>::encode(&("ann", 7)), b"ann\0\0\x07");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored where the table says `{T}`",
    label = "has no encoding as `{T}`"
)]
pub trait Encode<T: ?Sized> {
    /// The encoding: an array for numbers, a borrowed slice for text and bytes, a `Vec<u8>` for tuples and
    /// options.
    type Bytes<'a>: AsRef<[u8]>
    where
        Self: 'a;

    /// The plain form of this value.
    fn encode(&self) -> Self::Bytes<'_>;
}

/// A [`Key`] that can be an element of a tuple or an option: it has a part form, which says where it ends and
/// also preserves order.
pub trait KeyPart: Key {
    /// What reading a part gives. Text and bytes are a `Cow`, borrowed unless they contain a NUL.
    type Part<'a>
    where
        Self: 'a;

    /// Reads one part from the start of `bytes` and returns it with the bytes after it.
    ///
    /// # Errors
    /// When `bytes` does not start with a part form of this type.
    ///
    /// ```
    /// use mapleaf::codec::KeyPart;
    ///
    /// let (name, rest) = str::decode_part(b"ann\0\0\x07")?;
    /// assert_eq!((name.as_ref(), rest), ("ann", &[7][..]));
    /// # Ok::<(), mapleaf::codec::DecodeError>(())
    /// ```
    fn decode_part(bytes: &[u8]) -> Result<(Self::Part<'_>, &[u8]), DecodeError>;
}

/// `Self` can be written where a tuple or an option says `T`. Same pairs of types as [`Encode`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored where the tuple says `{T}`",
    label = "has no encoding as `{T}`"
)]
pub trait EncodePart<T: ?Sized> {
    /// Appends the part form of this value to `out`.
    ///
    /// ```
    /// use mapleaf::codec::EncodePart;
    ///
    /// let mut out = Vec::new();
    /// EncodePart::<str>::encode_part("a\0b", &mut out);
    /// assert_eq!(out, b"a\0\x01b\0\0");
    /// ```
    fn encode_part(&self, out: &mut Vec<u8>);
}

/// What a key holds as a value of its own: made of what reading a part, or the whole, gives.
///
/// A struct with a derived [`Key`] takes its fields from the bytes with this, and [`Reverse`](std::cmp::Reverse) its
/// value. Text and bytes that a type owns (`String`, `Vec<u8>`) are copied; a `Cow` goes on borrowing.
///
/// ```
/// use mapleaf::codec::{FromPart, KeyPart};
///
/// let (name, _) = str::decode_part(b"ann\0\0")?;
/// assert_eq!(String::from_part(name), "ann");
/// # Ok::<(), mapleaf::codec::DecodeError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made of `{P}`, which is what reading a part of a key gives",
    note = "implement `FromPart` for it, with what its `KeyPart::Part` is"
)]
pub trait FromPart<P> {
    /// The value that `part` is, or borrows.
    fn from_part(part: P) -> Self;
}

/// The first `width` bytes and the rest. If there are fewer, all of them: `decode` then says what is missing.
fn split_width(bytes: &[u8], width: usize) -> (&[u8], &[u8]) {
    bytes.split_at(width.min(bytes.len()))
}

/// `bytes` as an array, if it has the length that the plain form of `T` must have.
fn exactly<T: Codec + ?Sized, const N: usize>(bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| wrong_len(&T::type_name(), N, bytes.len()))
}

#[cold]
fn wrong_len(name: &str, expected: usize, found: usize) -> DecodeError {
    let unit = if expected == 1 { "byte" } else { "bytes" };
    DecodeError::new(format!("{name}: expected {expected} {unit}, found {found}"))
}

/// Bytes behind the end of an encoding.
#[cold]
pub fn trailing<T: Codec>(rest: &[u8]) -> DecodeError {
    DecodeError::new(format!("{}: expected the end of the bytes, found {} more", T::type_name(), rest.len()))
}

/// Bytes of a type name that are stored as they are.
const LONGEST_NAME: usize = 160;

/// A type name that is not too long for a schema: of a long one the beginning, and a hash of all of it (FNV-1a).
pub fn short_name(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let prime = 0x0000_0100_0000_01b3;
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(prime));
    let end = (0..=LONGEST_NAME - 20).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…#{hash:016x}", &name[..end])
}
