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
//! Each is asserted by a test at the end of this file. An implementation of these traits for a type of your
//! own must keep them too, or its table will miss keys that it holds.
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
//! | `Option<T>` | `option(T)` | `None`: `00`; `Some`: `01`, then the plain form of `T` |
//! | `(A, B, …)`, 2 to 6 elements | `(A,B,…)` | the part form of every element in turn, the last one too |
//! | [`Pod<T>`](Pod) | `pod(size,align)` | the memory of `T`; a value only, since its bytes have no useful order |
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
//! | tuples | the plain form, so tuples nest |
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
//! | `(u8,i16)` | `(7, -1)` | `07 7f ff` |
//! | `(str,u8)` | `("ann", 7)` | `61 6e 6e 00 00 07` |
//! | `(str,u8)` | `("", 7)` | `00 00 07` |
//! | `(str,str)` | `("a\0", "b")` | `61 00 01 00 00 62 00 00` |
//! | `(option(str),u8)` | `(Some("a"), 7)` | `01 61 00 00 07` |
//! | `(option(str),u8)` | `(None::<&str>, 7)` | `00 07` |
//! | `(bytes,(bool,char),[u8;2])` | `(b"\x00", (true, 'a'), [8, 9])` | `00 01 00 00 01 00 00 00 61 08 09` |

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use zerocopy::{ConvertError, FromBytes, Immutable, IntoBytes, KnownLayout};

mod lazy;
mod prefix;

pub use lazy::{Lazy, LazyValue};
pub use prefix::Prefix;

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

    fn in_element(self, index: usize) -> Self {
        Self::new(format!("tuple element {index}: {self}"))
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
    note = "wrap a `zerocopy` type as `Pod<T>`, or implement `Codec` for a marker type of your own"
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
#[diagnostic::on_unimplemented(message = "`{Self}` has no order-preserving encoding, so it cannot be a key")]
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

/// A range of keys of type `K`: `..`, `a..b`, `a..=b`, `a..`, `..b`, `..=b` or `(Bound<Q>, Bound<Q>)`, whose
/// ends are any `Q` that implements [`Encode<K>`](Encode).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a range of `{K}` keys",
    note = "expected `..`, `a..b`, `a..=b`, `a..`, `..b`, `..=b` or `(Bound, Bound)` of what can be stored as `{K}`"
)]
pub trait KeyRange<K: ?Sized> {
    /// The ends, encoded. A start after the end is passed on as it is; such a range holds no key.
    ///
    /// ```
    /// use mapleaf::codec::KeyRange;
    /// use std::ops::Bound::{Excluded, Included};
    ///
    /// let bounds = KeyRange::<u16>::to_bounds(&(1..9));
    /// assert_eq!(bounds, (Included(vec![0, 1]), Excluded(vec![0, 9])));
    /// ```
    fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>);
}

/// Values read in place as `&T`, without a copy: `Table<u64, Pod<Point>>`.
///
/// The bytes are the memory of `T`, `size_of::<T>()` of them. Its numbers are in the byte order of the
/// machine, unless they are those of `zerocopy::byteorder`. [`ALIGN`](Codec::ALIGN) is `align_of::<T>()`;
/// more than 16 does not compile. The schema holds size and alignment only, so a change of the fields that
/// keeps both goes unnoticed: raise the table's user version.
///
/// ```
/// use mapleaf::codec::{Codec, Encode, Pod};
/// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(Debug, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable)]
/// #[repr(C)]
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// let point = Point { x: 1.0, y: 2.0 };
/// let bytes = Encode::<Pod<Point>>::encode(&point);
/// assert_eq!(Pod::<Point>::decode(bytes)?, &point);
/// assert_eq!(Pod::<Point>::type_name(), "pod(8,4)");
/// # Ok::<(), mapleaf::codec::DecodeError>(())
/// ```
pub struct Pod<T>(PhantomData<T>);

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + 'static> Codec for Pod<T> {
    type View<'a> = &'a T;

    const WIDTH: Option<usize> = Some(size_of::<T>());

    const ALIGN: usize = {
        assert!(align_of::<T>() <= 16, "a Pod type may be aligned to at most 16 bytes");
        align_of::<T>()
    };

    fn type_name() -> Cow<'static, str> {
        format!("pod({},{})", size_of::<T>(), Self::ALIGN).into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&T, DecodeError> {
        T::ref_from_bytes(bytes).map_err(|error| match error {
            ConvertError::Size(_) => wrong_width::<Self>(size_of::<T>(), bytes.len()),
            _ => misaligned::<Self>(bytes),
        })
    }
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Encode<Pod<T>> for T {
    type Bytes<'a>
        = &'a [u8]
    where
        Self: 'a;

    fn encode(&self) -> &[u8] {
        self.as_bytes()
    }
}

// Types of fixed width.

/// The integer types. `MIN` has just the sign bit set if the type is signed and is 0 if not.
macro_rules! integers {
    ($($T:ident)+) => {$(
        impl Codec for $T {
            type View<'a> = $T;

            const WIDTH: Option<usize> = Some(size_of::<$T>());

            fn type_name() -> Cow<'static, str> {
                stringify!($T).into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<$T, DecodeError> {
                Ok($T::from_be_bytes(*exactly::<$T, _>(bytes)?) ^ $T::MIN)
            }
        }

        impl Encode<$T> for $T {
            type Bytes<'a> = [u8; size_of::<$T>()];

            fn encode(&self) -> Self::Bytes<'_> {
                (self ^ $T::MIN).to_be_bytes()
            }
        }
    )+};
}

integers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

macro_rules! floats {
    ($($T:ident in $Bits:ident)+) => {$(
        impl Codec for $T {
            type View<'a> = $T;

            const WIDTH: Option<usize> = Some(size_of::<$T>());

            fn type_name() -> Cow<'static, str> {
                stringify!($T).into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<$T, DecodeError> {
                let bits = $Bits::from_be_bytes(*exactly::<$T, _>(bytes)?);
                let sign = $Bits::MAX ^ ($Bits::MAX >> 1);
                let flipped = if bits & sign == 0 { $Bits::MAX } else { sign };
                Ok($T::from_bits(bits ^ flipped))
            }
        }

        impl Encode<$T> for $T {
            type Bytes<'a> = [u8; size_of::<$T>()];

            fn encode(&self) -> Self::Bytes<'_> {
                let bits = self.to_bits();
                let sign = $Bits::MAX ^ ($Bits::MAX >> 1);
                let flipped = if bits & sign != 0 { $Bits::MAX } else { sign };
                (bits ^ flipped).to_be_bytes()
            }
        }
    )+};
}

floats!(f32 in u32 f64 in u64);

impl Codec for bool {
    type View<'a> = bool;

    const WIDTH: Option<usize> = Some(1);

    fn type_name() -> Cow<'static, str> {
        "bool".into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<bool, DecodeError> {
        match exactly::<bool, 1>(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(DecodeError::new(format!("bool: expected 0x00 or 0x01, found {other:#04x}"))),
        }
    }
}

impl Encode<bool> for bool {
    type Bytes<'a> = [u8; 1];

    fn encode(&self) -> [u8; 1] {
        [u8::from(*self)]
    }
}

impl Codec for char {
    type View<'a> = char;

    const WIDTH: Option<usize> = Some(4);

    fn type_name() -> Cow<'static, str> {
        "char".into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<char, DecodeError> {
        let scalar = u32::from_be_bytes(*exactly::<char, 4>(bytes)?);
        char::from_u32(scalar).ok_or_else(|| {
            DecodeError::new(format!("char: expected a Unicode scalar value, found {scalar:#x}"))
        })
    }
}

impl Encode<char> for char {
    type Bytes<'a> = [u8; 4];

    fn encode(&self) -> [u8; 4] {
        u32::from(*self).to_be_bytes()
    }
}

impl Codec for () {
    type View<'a> = ();

    const WIDTH: Option<usize> = Some(0);

    fn type_name() -> Cow<'static, str> {
        "unit".into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<(), DecodeError> {
        exactly::<(), 0>(bytes).map(|[]| ())
    }
}

impl Encode<()> for () {
    type Bytes<'a> = [u8; 0];

    fn encode(&self) -> [u8; 0] {
        []
    }
}

impl<const N: usize> Codec for [u8; N] {
    type View<'a> = &'a [u8; N];

    const WIDTH: Option<usize> = Some(N);

    fn type_name() -> Cow<'static, str> {
        format!("[u8;{N}]").into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
        exactly::<[u8; N], N>(bytes)
    }
}

impl<const N: usize> Encode<[u8; N]> for [u8; N] {
    type Bytes<'a> = &'a [u8];

    fn encode(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> Encode<[u8; N]> for &[u8; N] {
    type Bytes<'a>
        = &'a [u8]
    where
        Self: 'a;

    fn encode(&self) -> &[u8] {
        *self
    }
}

/// Keys whose part form is the plain form.
macro_rules! fixed_width_parts {
    ($($T:ty),+) => {$(
        impl Key for $T {}

        impl KeyPart for $T {
            type Part<'a> = $T;

            fn decode_part(bytes: &[u8]) -> Result<($T, &[u8]), DecodeError> {
                let (part, rest) = split_width(bytes, size_of::<$T>());
                Ok((Self::decode(part)?, rest))
            }
        }

        impl EncodePart<$T> for $T {
            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&Encode::<$T>::encode(self));
            }
        }
    )+};
}

fixed_width_parts!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, ());

impl<const N: usize> Key for [u8; N] {}

impl<const N: usize> KeyPart for [u8; N] {
    type Part<'a> = &'a [u8; N];

    fn decode_part(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), DecodeError> {
        let (part, rest) = split_width(bytes, N);
        Ok((Self::decode(part)?, rest))
    }
}

impl<const N: usize> EncodePart<[u8; N]> for [u8; N] {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> EncodePart<[u8; N]> for &[u8; N] {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(*self);
    }
}

/// The first `width` bytes and the rest. If there are fewer, all of them: `decode` then says what is missing.
fn split_width(bytes: &[u8], width: usize) -> (&[u8], &[u8]) {
    bytes.split_at(width.min(bytes.len()))
}

/// `bytes` as an array, if it has the length that the plain form of `T` must have.
fn exactly<T: Codec + ?Sized, const N: usize>(bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| wrong_width::<T>(N, bytes.len()))
}

#[cold]
fn wrong_width<T: Codec + ?Sized>(expected: usize, found: usize) -> DecodeError {
    let unit = if expected == 1 { "byte" } else { "bytes" };
    DecodeError::new(format!("{}: expected {expected} {unit}, found {found}", T::type_name()))
}

#[cold]
fn misaligned<T: Codec + ?Sized>(bytes: &[u8]) -> DecodeError {
    let (name, align) = (T::type_name(), T::ALIGN);
    let off = bytes.as_ptr().addr() % align;
    DecodeError::new(format!(
        "{name}: expected bytes aligned to {align}, found them {off} past a multiple of it"
    ))
}

// Text and bytes. The owned type is another name for the unsized one.

macro_rules! strings {
    ($($T:ty),+) => {$(
        impl Codec for $T {
            type View<'a> = &'a str;

            const WIDTH: Option<usize> = None;

            fn type_name() -> Cow<'static, str> {
                "str".into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<&str, DecodeError> {
                std::str::from_utf8(bytes).map_err(not_utf8)
            }
        }

        impl Key for $T {}

        impl KeyPart for $T {
            type Part<'a> = Cow<'a, str>;

            fn decode_part(bytes: &[u8]) -> Result<(Cow<'_, str>, &[u8]), DecodeError> {
                let (content, rest) = split_escaped("str", bytes)?;
                Ok((into_text(content)?, rest))
            }
        }

        impl<Q: Encode<str> + ?Sized> EncodePart<$T> for Q {
            fn encode_part(&self, out: &mut Vec<u8>) {
                push_escaped(self.encode().as_ref(), out);
            }
        }
    )+};
}

strings!(str, String);

macro_rules! encode_as_str {
    ($($Q:ty),+) => {$(
        impl Encode<str> for $Q {
            type Bytes<'a> = &'a [u8] where Self: 'a;

            fn encode(&self) -> &[u8] {
                self.as_bytes()
            }
        }
    )+};
}

encode_as_str!(str, String, Cow<'_, str>);

impl<Q: Encode<str> + ?Sized> Encode<str> for &Q {
    type Bytes<'a>
        = Q::Bytes<'a>
    where
        Self: 'a;

    fn encode(&self) -> Self::Bytes<'_> {
        (**self).encode()
    }
}

impl<Q: Encode<str> + ?Sized> Encode<String> for Q {
    type Bytes<'a>
        = Q::Bytes<'a>
    where
        Self: 'a;

    fn encode(&self) -> Self::Bytes<'_> {
        Encode::<str>::encode(self)
    }
}

macro_rules! byte_strings {
    ($($T:ty),+) => {$(
        impl Codec for $T {
            type View<'a> = &'a [u8];

            const WIDTH: Option<usize> = None;

            fn type_name() -> Cow<'static, str> {
                "bytes".into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<&[u8], DecodeError> {
                Ok(bytes)
            }
        }

        impl Key for $T {}

        impl KeyPart for $T {
            type Part<'a> = Cow<'a, [u8]>;

            fn decode_part(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), DecodeError> {
                split_escaped("bytes", bytes)
            }
        }

        impl<Q: Encode<[u8]> + ?Sized> EncodePart<$T> for Q {
            fn encode_part(&self, out: &mut Vec<u8>) {
                push_escaped(self.encode().as_ref(), out);
            }
        }
    )+};
}

byte_strings!([u8], Vec<u8>);

macro_rules! encode_as_bytes {
    ($($Q:ty),+) => {$(
        impl Encode<[u8]> for $Q {
            type Bytes<'a> = &'a [u8] where Self: 'a;

            fn encode(&self) -> &[u8] {
                self
            }
        }
    )+};
}

encode_as_bytes!([u8], Vec<u8>, Cow<'_, [u8]>);

impl<const N: usize> Encode<[u8]> for [u8; N] {
    type Bytes<'a> = &'a [u8];

    fn encode(&self) -> &[u8] {
        self
    }
}

impl<Q: Encode<[u8]> + ?Sized> Encode<[u8]> for &Q {
    type Bytes<'a>
        = Q::Bytes<'a>
    where
        Self: 'a;

    fn encode(&self) -> Self::Bytes<'_> {
        (**self).encode()
    }
}

impl<Q: Encode<[u8]> + ?Sized> Encode<Vec<u8>> for Q {
    type Bytes<'a>
        = Q::Bytes<'a>
    where
        Self: 'a;

    fn encode(&self) -> Self::Bytes<'_> {
        Encode::<[u8]>::encode(self)
    }
}

const ESCAPED_NUL: [u8; 2] = [0x00, 0x01];
const END_MARK: [u8; 2] = [0x00, 0x00];

/// Appends the part form of a string of bytes.
fn push_escaped(content: &[u8], out: &mut Vec<u8>) {
    for (index, piece) in content.split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            out.extend_from_slice(&ESCAPED_NUL);
        }
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&END_MARK);
}

/// Undoes [`push_escaped`]: the string, borrowed if it has no NUL, and the bytes after its end mark.
fn split_escaped<'a>(name: &str, bytes: &'a [u8]) -> Result<(Cow<'a, [u8]>, &'a [u8]), DecodeError> {
    let end = end_mark_offset(name, bytes)?;
    let (escaped, rest) = (&bytes[..end], &bytes[end + END_MARK.len()..]);
    let content = if escaped.contains(&0) { Cow::Owned(unescape(escaped)) } else { Cow::Borrowed(escaped) };
    Ok((content, rest))
}

/// The offset of the first [`END_MARK`], having checked that every `00` before it starts an [`ESCAPED_NUL`].
fn end_mark_offset(name: &str, bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut offset = 0;
    while let Some(nul) = bytes[offset..].iter().position(|byte| *byte == 0) {
        offset += nul;
        match bytes.get(offset + 1) {
            Some(0x00) => return Ok(offset),
            Some(0x01) => offset += ESCAPED_NUL.len(),
            found => return Err(bad_escape(name, offset, found)),
        }
    }
    Err(DecodeError::new(format!("{name}: expected the end mark 00 00, found none in {} bytes", bytes.len())))
}

/// The string that was escaped, given what [`end_mark_offset`] has checked.
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(escaped.len());
    for (index, piece) in escaped.split(|byte| *byte == 0).enumerate() {
        if index == 0 {
            content.extend_from_slice(piece);
        } else {
            content.push(0);
            content.extend_from_slice(&piece[1..]);
        }
    }
    content
}

#[cold]
fn bad_escape(name: &str, offset: usize, found: Option<&u8>) -> DecodeError {
    let found = found.map_or("the end of the bytes".into(), |byte| format!("{byte:02x}"));
    DecodeError::new(format!("{name}: expected 00 or 01 after the 00 at offset {offset}, found {found}"))
}

fn into_text(content: Cow<'_, [u8]>) -> Result<Cow<'_, str>, DecodeError> {
    match content {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(not_utf8),
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map(Cow::Owned).map_err(|error| not_utf8(error.utf8_error()))
        }
    }
}

#[cold]
fn not_utf8(error: std::str::Utf8Error) -> DecodeError {
    DecodeError::new(format!("str: expected UTF-8, found {error}"))
}

// Options.

impl<T: KeyPart> Codec for Option<T> {
    type View<'a> = Option<T::View<'a>>;

    const WIDTH: Option<usize> = None;

    fn type_name() -> Cow<'static, str> {
        format!("option({})", T::type_name()).into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self::View<'_>, DecodeError> {
        match bytes {
            [0] => Ok(None),
            [0, rest @ ..] => Err(trailing::<Self>(rest)),
            [1, value @ ..] => T::decode(value).map(Some),
            _ => Err(bad_tag::<T>(bytes)),
        }
    }
}

impl<T: KeyPart> Key for Option<T> {}

impl<T: KeyPart> KeyPart for Option<T> {
    type Part<'a> = Option<T::Part<'a>>;

    fn decode_part(bytes: &[u8]) -> Result<(Self::Part<'_>, &[u8]), DecodeError> {
        match bytes {
            [0, rest @ ..] => Ok((None, rest)),
            [1, part @ ..] => T::decode_part(part).map(|(part, rest)| (Some(part), rest)),
            _ => Err(bad_tag::<T>(bytes)),
        }
    }
}

impl<T: KeyPart, Q: Encode<T>> Encode<Option<T>> for Option<Q> {
    type Bytes<'a>
        = Vec<u8>
    where
        Self: 'a;

    fn encode(&self) -> Vec<u8> {
        match self {
            None => vec![0],
            Some(value) => [&[1], value.encode().as_ref()].concat(),
        }
    }
}

impl<T: KeyPart, Q: EncodePart<T>> EncodePart<Option<T>> for Option<Q> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(part) = self {
            part.encode_part(out);
        }
    }
}

#[cold]
fn bad_tag<T: KeyPart>(bytes: &[u8]) -> DecodeError {
    let found = bytes.first().map_or("no bytes".into(), |tag| format!("{tag:#04x}"));
    DecodeError::new(format!("{}: expected the tag 0x00 or 0x01, found {found}", Option::<T>::type_name()))
}

// Tuples.

macro_rules! tuple {
    ($($T:ident $Q:ident $index:tt),+) => {
        impl<$($T: KeyPart),+> Codec for ($($T,)+) {
            type View<'a> = ($($T::Part<'a>,)+);

            const WIDTH: Option<usize> = sum(&[$($T::WIDTH),+]);

            fn type_name() -> Cow<'static, str> {
                format!("({})", [$($T::type_name()),+].join(",")).into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self::View<'_>, DecodeError> {
                match Self::decode_part(bytes)? {
                    (view, []) => Ok(view),
                    (_, rest) => Err(trailing::<Self>(rest)),
                }
            }
        }

        impl<$($T: KeyPart),+> Key for ($($T,)+) {}

        impl<$($T: KeyPart),+> KeyPart for ($($T,)+) {
            type Part<'a> = Self::View<'a>;

            fn decode_part(bytes: &[u8]) -> Result<(Self::Part<'_>, &[u8]), DecodeError> {
                let mut rest = bytes;
                let parts = ($({
                    let (part, tail) = $T::decode_part(rest).map_err(|error| error.in_element($index))?;
                    rest = tail;
                    part
                },)+);
                Ok((parts, rest))
            }
        }

        impl<$($T: KeyPart, $Q: EncodePart<$T>),+> Encode<($($T,)+)> for ($($Q,)+) {
            type Bytes<'a> = Vec<u8> where Self: 'a;

            fn encode(&self) -> Vec<u8> {
                let mut out = Vec::with_capacity(<($($T,)+)>::WIDTH.unwrap_or(TUPLE_CAPACITY));
                self.encode_part(&mut out);
                out
            }
        }

        impl<$($T: KeyPart, $Q: EncodePart<$T>),+> EncodePart<($($T,)+)> for ($($Q,)+) {
            fn encode_part(&self, out: &mut Vec<u8>) {
                $(self.$index.encode_part(out);)+
            }
        }
    };
}

tuple!(A QA 0, B QB 1);
tuple!(A QA 0, B QB 1, C QC 2);
tuple!(A QA 0, B QB 1, C QC 2, D QD 3);
tuple!(A QA 0, B QB 1, C QC 2, D QD 3, E QE 4);
tuple!(A QA 0, B QB 1, C QC 2, D QD 3, E QE 4, F QF 5);

/// What is reserved for a tuple whose width is not known; it grows if its text is longer.
const TUPLE_CAPACITY: usize = 48;

/// The sum, if every width is fixed.
const fn sum(widths: &[Option<usize>]) -> Option<usize> {
    let (mut total, mut index) = (0, 0);
    while index < widths.len() {
        match widths[index] {
            Some(width) => total += width,
            None => return None,
        }
        index += 1;
    }
    Some(total)
}

#[cold]
fn trailing<T: Codec>(rest: &[u8]) -> DecodeError {
    DecodeError::new(format!("{}: expected the end of the bytes, found {} more", T::type_name(), rest.len()))
}

// Ranges.

impl<K: ?Sized> KeyRange<K> for RangeFull {
    fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! ranges {
    ($($Range:ty),+) => {$(
        impl<K: ?Sized, Q: Encode<K>> KeyRange<K> for $Range {
            fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
                (encode_bound(self.start_bound()), encode_bound(self.end_bound()))
            }
        }
    )+};
}

ranges!(Range<Q>, RangeInclusive<Q>, RangeFrom<Q>, RangeTo<Q>, RangeToInclusive<Q>, (Bound<Q>, Bound<Q>));

fn encode_bound<K: ?Sized, Q: Encode<K>>(bound: Bound<&Q>) -> Bound<Vec<u8>> {
    bound.map(|key| key.encode().as_ref().to_vec())
}

/// The smallest string of bytes above every string that starts with `prefix`; `None` if there is none, which
/// is when `prefix` is empty or all `ff`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn encoded<K: ?Sized, Q: Encode<K> + ?Sized>(value: &Q) -> Vec<u8> {
        value.encode().as_ref().to_vec()
    }

    fn encoded_part<K: ?Sized, Q: EncodePart<K> + ?Sized>(value: &Q) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode_part(&mut out);
        out
    }

    fn error_of<T: Codec + ?Sized>(bytes: &[u8]) -> String {
        T::decode(bytes).err().expect("these bytes must not decode").to_string()
    }

    fn hex(bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return "(none)".into();
        }
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }

    /// Strings that are rich in NULs, prefixes of one another, and bytes around the escape.
    fn text() -> impl Strategy<Value = String> {
        vec(select(vec!['\0', '\u{1}', '\u{2}', 'a', '\u{7ff}', '\u{10ffff}']), 0..6)
            .prop_map(String::from_iter)
    }

    fn blob() -> impl Strategy<Value = Vec<u8>> {
        vec(select(vec![0x00, 0x01, 0x02, 0x61, 0xff]), 0..6)
    }

    /// Bytes that are often almost an encoding, since they are rich in tags, escapes and end marks.
    fn wild_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..40),
            vec(select(vec![0x00, 0x00, 0x00, 0x01, 0x01, 0x61, 0xff]), 0..20)
        ]
    }

    macro_rules! table_rows {
        ($($T:ty: $value:expr),+ $(,)?) => {
            [$({
                let bytes = encoded::<$T, _>(&$value);
                let view = <$T>::decode(&bytes).expect(stringify!($value));
                assert_eq!(encoded::<$T, _>(&view), bytes, "written back: {}", stringify!($value));
                assert!(<$T>::WIDTH.is_none_or(|width| width == bytes.len()));
                format!("//! | `{}` | `{}` | `{}` |", <$T>::type_name(), stringify!($value), hex(&bytes))
            }),+]
        };
    }

    #[test]
    fn documented_vectors_are_what_the_code_writes() {
        let rows = table_rows![
            u8: 7,
            u16: 258,
            u32: 7,
            u64: 7,
            u128: 7,
            i8: -1,
            i16: -2,
            i32: -1,
            i32: 0,
            i32: 1,
            i64: i64::MIN,
            i128: i128::MAX,
            f32: -0.0,
            f32: 1.0,
            f64: f64::NEG_INFINITY,
            f64: -1.5,
            f64: 0.0,
            f64: 1.5,
            bool: true,
            char: 'é',
            (): (),
            str: "né",
            str: "a\0b",
            [u8]: b"\x00\xff",
            [u8; 4]: [1, 2, 3, 4],
            Option<u16>: None::<u16>,
            Option<u16>: Some(7),
            Option<String>: Some("a\0"),
            Option<Option<bool>>: Some(Some(true)),
            (u8, i16): (7, -1),
            (String, u8): ("ann", 7),
            (String, u8): ("", 7),
            (String, String): ("a\0", "b"),
            (Option<String>, u8): (Some("a"), 7),
            (Option<String>, u8): (None::<&str>, 7),
            (Vec<u8>, (bool, char), [u8; 2]): (b"\x00", (true, 'a'), [8, 9]),
        ];
        let header = "//! | name | value | bytes |\n//! |---|---|---|\n";
        let (_, below) = include_str!("codec.rs").split_once(header).expect("the table of test vectors");
        let documented: Vec<_> = below.lines().take_while(|line| line.starts_with("//! |")).collect();
        assert_eq!(documented, rows);
    }

    #[test]
    fn type_names_are_those_of_the_encoding() {
        assert_eq!(String::type_name(), str::type_name());
        assert_eq!(Vec::<u8>::type_name(), <[u8]>::type_name());
        assert_eq!(<[u8; 16]>::type_name(), "[u8;16]");
        assert_eq!(<(String, u64)>::type_name(), "(str,u64)");
        assert_eq!(<(u8, (Vec<u8>, Option<f32>))>::type_name(), "(u8,(bytes,option(f32)))");
        assert_eq!(Pod::<[u32; 3]>::type_name(), "pod(12,4)");
    }

    #[test]
    fn tuple_of_fixed_parts_has_a_fixed_width() {
        assert_eq!(<(u8, (u16, char), [u8; 5])>::WIDTH, Some(12));
        assert_eq!(<(u8, String)>::WIDTH, None);
        assert_eq!(<(u8, Option<u8>)>::WIDTH, None);
        assert_eq!(<(u8, u8, u8, u8, u8, u8)>::WIDTH, Some(6));
    }

    #[test]
    fn literals_and_borrowed_forms_are_accepted() {
        fn key<K: Key + ?Sized>(value: &(impl Encode<K> + ?Sized)) -> Vec<u8> {
            encoded::<K, _>(value)
        }
        assert_eq!(key::<u64>(&7), [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(key::<(String, u64)>(&("ann", 7)), key::<(String, u64)>(&("ann".to_string(), 7)));
        assert_eq!(key::<Option<i8>>(&Some(-1)), [1, 0x7f]);
        for bytes in [key::<str>("ann"), key::<str>(&"ann"), key::<String>(&String::from("ann"))] {
            assert_eq!(bytes, b"ann");
        }
        for bytes in [key::<[u8]>(b"ann"), key::<[u8]>(&b"ann"), key::<Vec<u8>>(&vec![b'a', b'n', b'n'])] {
            assert_eq!(bytes, b"ann");
        }
        assert_eq!(key::<[u8; 2]>(&[1, 2]), key::<[u8; 2]>(&&[1, 2]));
    }

    #[test]
    fn part_without_nul_borrows() {
        assert!(matches!(str::decode_part(b"ann\0\0"), Ok((Cow::Borrowed("ann"), []))));
        assert!(matches!(str::decode_part(b"a\0\x01\0\0"), Ok((Cow::Owned(text), [])) if text == "a\0"));
        assert!(matches!(<[u8]>::decode_part(b"\0\0\0"), Ok((Cow::Borrowed([]), [0]))));
    }

    #[test]
    fn errors_say_what_was_expected_and_found() {
        assert_eq!(error_of::<u64>(&[0; 5]), "u64: expected 8 bytes, found 5");
        assert_eq!(error_of::<i8>(&[]), "i8: expected 1 byte, found 0");
        assert_eq!(error_of::<()>(&[9]), "unit: expected 0 bytes, found 1");
        assert_eq!(error_of::<[u8; 4]>(&[9]), "[u8;4]: expected 4 bytes, found 1");
        assert_eq!(error_of::<bool>(&[2]), "bool: expected 0x00 or 0x01, found 0x02");
        assert_eq!(error_of::<char>(&[0, 0, 0xd8, 0]), "char: expected a Unicode scalar value, found 0xd800");
        assert_eq!(
            error_of::<str>(b"ab\xff"),
            "str: expected UTF-8, found invalid utf-8 sequence of 1 bytes from index 2"
        );
        assert_eq!(error_of::<Option<u8>>(&[]), "option(u8): expected the tag 0x00 or 0x01, found no bytes");
        assert_eq!(error_of::<Option<u8>>(&[2, 0]), "option(u8): expected the tag 0x00 or 0x01, found 0x02");
        assert_eq!(
            error_of::<Option<u8>>(&[0, 0]),
            "option(u8): expected the end of the bytes, found 1 more"
        );
        assert_eq!(error_of::<(u8, u16)>(&[1, 2]), "tuple element 1: u16: expected 2 bytes, found 1");
        assert_eq!(error_of::<(u8, u8)>(&[1, 2, 3]), "(u8,u8): expected the end of the bytes, found 1 more");
        assert_eq!(
            error_of::<(String, u8)>(b"ann"),
            "tuple element 0: str: expected the end mark 00 00, found none in 3 bytes"
        );
        assert_eq!(
            error_of::<(String, u8)>(b"ann\0"),
            "tuple element 0: str: expected 00 or 01 after the 00 at offset 3, found the end of the bytes"
        );
        assert_eq!(
            error_of::<(Vec<u8>, u8)>(b"ann\0\x02\0\0"),
            "tuple element 0: bytes: expected 00 or 01 after the 00 at offset 3, found 02"
        );
    }

    #[test]
    fn pod_is_read_in_place_and_checks_size_and_alignment() {
        let stored = [1u64, 2];
        let bytes = encoded_in_place(&stored);
        assert!(std::ptr::eq(Pod::<[u64; 2]>::decode(bytes).unwrap(), &stored));
        assert_eq!((Pod::<[u64; 2]>::WIDTH, Pod::<[u64; 2]>::ALIGN), (Some(16), align_of::<u64>()));
        assert_eq!(error_of::<Pod<u64>>(bytes), "pod(8,8): expected 8 bytes, found 16");
        assert_eq!(
            error_of::<Pod<u64>>(&bytes[3..11]),
            "pod(8,8): expected bytes aligned to 8, found them 3 past a multiple of it"
        );
    }

    fn encoded_in_place(value: &[u64; 2]) -> &[u8] {
        Encode::<Pod<[u64; 2]>>::encode(value)
    }

    #[test]
    fn every_kind_of_range_gives_its_bounds() {
        use Bound::{Excluded, Included, Unbounded};

        fn bounds<K: ?Sized>(range: impl KeyRange<K>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
            range.to_bounds()
        }
        assert_eq!(bounds::<u8>(..), (Unbounded, Unbounded));
        assert_eq!(bounds::<u8>(1..9), (Included(vec![1]), Excluded(vec![9])));
        assert_eq!(bounds::<u8>(1..=9), (Included(vec![1]), Included(vec![9])));
        assert_eq!(bounds::<u8>(1..), (Included(vec![1]), Unbounded));
        assert_eq!(bounds::<str>("a".."c"), (Included(b"a".to_vec()), Excluded(b"c".to_vec())));
        assert_eq!(bounds::<str>(.."x"), (Unbounded, Excluded(b"x".to_vec())));
        assert_eq!(bounds::<str>(..="x"), (Unbounded, Included(b"x".to_vec())));
        assert_eq!(bounds::<[u8]>(b"a"..b"c"), (Included(b"a".to_vec()), Excluded(b"c".to_vec())));
        assert_eq!(bounds::<u8>((Excluded(1), Unbounded)), (Excluded(vec![1]), Unbounded));
        assert_eq!(
            bounds::<(String, u8)>(("a", 1)..("a", 9)),
            (Included(b"a\0\0\x01".to_vec()), Excluded(b"a\0\0\x09".to_vec()))
        );
    }

    #[test]
    fn prefix_end_is_none_only_when_nothing_is_above() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    /// For `Key` types whose values are `Ord`: the plain and the part form have the order of the values.
    macro_rules! ordered {
        ($($name:ident: $K:ty, $strategy:expr;)+) => {
            proptest! {$(
                #[test]
                fn $name(a in $strategy, b in $strategy) {
                    let order = a.cmp(&b);
                    prop_assert_eq!(encoded::<$K, _>(&a).cmp(&encoded::<$K, _>(&b)), order);

                    let (mut part_a, mut part_b) = (encoded_part::<$K, _>(&a), encoded_part::<$K, _>(&b));
                    prop_assert_eq!(part_a.cmp(&part_b), order);
                    prop_assert_eq!(part_a.starts_with(&part_b), order.is_eq());

                    // What follows a part decides only between equal parts.
                    part_a.push(0xff);
                    part_b.push(0x00);
                    prop_assert_eq!(part_a.cmp(&part_b), order.then(Ordering::Greater));
                }
            )+}
        };
    }

    ordered! {
        u8_is_ordered: u8, any::<u8>();
        u16_is_ordered: u16, any::<u16>();
        u32_is_ordered: u32, any::<u32>();
        u64_is_ordered: u64, any::<u64>();
        u128_is_ordered: u128, any::<u128>();
        i8_is_ordered: i8, any::<i8>();
        i16_is_ordered: i16, any::<i16>();
        i32_is_ordered: i32, any::<i32>();
        i64_is_ordered: i64, any::<i64>();
        i128_is_ordered: i128, any::<i128>();
        bool_is_ordered: bool, any::<bool>();
        char_is_ordered: char, any::<char>();
        unit_is_ordered: (), Just(());
        str_is_ordered: String, text();
        bytes_are_ordered: Vec<u8>, blob();
        arrays_are_ordered: [u8; 3], any::<[u8; 3]>();
        option_of_integer_is_ordered: Option<i16>, any::<Option<i16>>();
        option_of_text_is_ordered: Option<String>, proptest::option::of(text());
        option_of_option_is_ordered: Option<Option<u8>>, any::<Option<Option<u8>>>();
        option_of_tuple_is_ordered: Option<(String, u8)>, proptest::option::of((text(), any::<u8>()));
        tuple_of_texts_is_ordered: (String, String), (text(), text());
        tuple_of_bytes_and_number_is_ordered: (Vec<u8>, i8), (blob(), any::<i8>());
        tuple_of_options_is_ordered: (Option<String>, Option<u8>, bool),
            (proptest::option::of(text()), any::<Option<u8>>(), any::<bool>());
        nested_tuple_is_ordered: ((String, u8), String), ((text(), 0..2u8), text());
        tuple_of_six_is_ordered: (String, bool, Vec<u8>, (), char, i128),
            (text(), any::<bool>(), blob(), Just(()), any::<char>(), any::<i128>());
    }

    /// For types whose view equals the value: both forms give the value back.
    macro_rules! round_trips {
        ($($name:ident: $K:ty, $strategy:expr, $same:expr;)+) => {
            proptest! {$(
                #[test]
                fn $name(value in $strategy) {
                    let same: fn(&$K, &$K) -> bool = $same;
                    let bytes = encoded::<$K, _>(&value);
                    prop_assert!(same(&<$K>::decode(&bytes).unwrap().into(), &value));

                    let part = encoded_part::<$K, _>(&value);
                    let followed = [&part[..], b"\0\x01rest"].concat();
                    let (found, rest) = <$K>::decode_part(&followed).unwrap();
                    prop_assert!(same(&found.into(), &value));
                    prop_assert_eq!(rest, b"\0\x01rest");
                }
            )+}
        };
    }

    round_trips! {
        u8_round_trips: u8, any::<u8>(), PartialEq::eq;
        u64_round_trips: u64, any::<u64>(), PartialEq::eq;
        u128_round_trips: u128, any::<u128>(), PartialEq::eq;
        i8_round_trips: i8, any::<i8>(), PartialEq::eq;
        i64_round_trips: i64, any::<i64>(), PartialEq::eq;
        i128_round_trips: i128, any::<i128>(), PartialEq::eq;
        f32_round_trips: f32, any::<u32>().prop_map(f32::from_bits), |a, b| a.to_bits() == b.to_bits();
        f64_round_trips: f64, any::<u64>().prop_map(f64::from_bits), |a, b| a.to_bits() == b.to_bits();
        bool_round_trips: bool, any::<bool>(), PartialEq::eq;
        char_round_trips: char, any::<char>(), PartialEq::eq;
        str_round_trips: String, text(), PartialEq::eq;
        bytes_round_trip: Vec<u8>, blob(), PartialEq::eq;
        option_round_trips: Option<u16>, any::<Option<u16>>(), PartialEq::eq;
        tuple_round_trips: (Option<u16>, (i32, char)), any::<(Option<u16>, (i32, char))>(), PartialEq::eq;
    }

    macro_rules! accept_only_what_encode_writes {
        ($bytes:expr; $($T:ty),+) => {$(
            if let Ok(view) = <$T>::decode($bytes) {
                prop_assert_eq!(&encoded::<$T, _>(&view), $bytes);
            }
            if let Ok((part, rest)) = <$T>::decode_part($bytes) {
                prop_assert_eq!(&[&encoded_part::<$T, _>(&part), rest].concat(), $bytes);
            }
        )+};
    }

    proptest! {
        #[test]
        fn f32_has_total_order(a in any::<u32>(), b in any::<u32>()) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            prop_assert_eq!(encoded::<f32, _>(&a).cmp(&encoded::<f32, _>(&b)), a.total_cmp(&b));
        }

        #[test]
        fn f64_has_total_order(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
            prop_assert_eq!(encoded::<f64, _>(&a).cmp(&encoded::<f64, _>(&b)), a.total_cmp(&b));
        }

        #[test]
        fn texts_in_a_tuple_come_back(a in text(), b in blob(), c in proptest::option::of(text())) {
            let bytes = encoded::<(String, Vec<u8>, Option<String>), _>(&(&a, &b, c.as_deref()));
            let view = <(String, Vec<u8>, Option<String>)>::decode(&bytes).unwrap();
            prop_assert_eq!(view, (a.into(), b.into(), c.map(Cow::Owned)));
        }

        #[test]
        fn wild_bytes_decode_only_if_they_are_an_encoding(bytes in wild_bytes()) {
            accept_only_what_encode_writes!(
                &bytes; u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, (), str, String, [u8],
                Vec<u8>, [u8; 3], Option<u8>, Option<String>, Option<Option<bool>>, (bool, u8), (String, String),
                (Vec<u8>, Option<Vec<u8>>, ()), (Option<(String, bool)>, [u8; 2], u8, Vec<u8>)
            );
            let _ = Pod::<u8>::decode(&bytes);
            let _ = Pod::<[u64; 2]>::decode(&bytes);
        }

        #[test]
        fn prefix_end_is_above_the_prefix_and_nothing_between(prefix in blob(), suffix in blob()) {
            if let Some(end) = prefix_end(&prefix) {
                prop_assert!([&prefix[..], &suffix].concat() < end);
                prop_assert!(!end.starts_with(&prefix));
                let outside = [&end[..end.len() - 1], &[end[end.len() - 1] - 1]].concat();
                prop_assert!(prefix.starts_with(&outside));
            }
        }
    }
}
