//! Values of plain memory, read in place.

use super::*;
use std::marker::PhantomData;
use zerocopy::{BE, ConvertError, FromBytes, Immutable, IntoBytes, KnownLayout, LE};

/// Plain memory whose layout has a name: numbers, arrays of them, and structs that derive [`Value`](crate::Value).
///
/// The name says every field with its type, and its byte order, so that a table stored with other fields is noticed:
/// `u8`, `f64le`, `[u8;16]`, `{x:f32le,y:f32le}`.
#[diagnostic::on_unimplemented(
    message = "the memory of `{Self}` has no name, so a stored value cannot hold it",
    note = "numbers, those of `zerocopy::byteorder`, arrays and structs with `#[derive(mapleaf::Value)]` have one"
)]
pub trait Plain: FromBytes + IntoBytes + KnownLayout + Immutable + 'static {
    /// The name of the layout. The same memory has the same name.
    fn layout() -> Cow<'static, str>;
}

/// [`Plain`] memory that can be a value, read as `&T`, or an element of one: `Table<u64, [T]>` is read as `&[T]`.
///
/// Derive it ([`mapleaf::Value`](crate::Value)) for structs of your own. Numbers of more than one byte, and arrays,
/// have it for the sake of slices: a table of `[u32]` or `[[u8; 16]]` is read in place too.
///
/// ```
/// use mapleaf::{Database, Table};
///
/// const POSTINGS: Table<str, [u32]> = Table::new("postings");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| w.put(POSTINGS, "leaf", &[3, 5, 8]))?;
/// let r = db.begin_read()?;
/// let documents: &[u32] = r.get(POSTINGS, "leaf")?.unwrap_or_default();
/// assert_eq!(documents, [3, 5, 8]);
/// # Ok(()) }
/// ```
pub trait Value: Plain {}

macro_rules! numbers {
    ($($T:ident)+) => {$(
        impl Plain for $T {
            fn layout() -> Cow<'static, str> {
                concat!(stringify!($T), native!()).into()
            }
        }

        impl Value for $T {}
    )+};
}

#[cfg(target_endian = "little")]
macro_rules! native {
    () => {
        "le"
    };
}
#[cfg(target_endian = "big")]
macro_rules! native {
    () => {
        "be"
    };
}

numbers!(u16 u32 u64 u128 i16 i32 i64 i128 f32 f64);

macro_rules! numbers_of_an_order {
    ($($T:ident $name:literal),+) => {$(
        impl Plain for zerocopy::byteorder::$T<LE> {
            fn layout() -> Cow<'static, str> {
                concat!($name, "le").into()
            }
        }

        impl Plain for zerocopy::byteorder::$T<BE> {
            fn layout() -> Cow<'static, str> {
                concat!($name, "be").into()
            }
        }

        impl Value for zerocopy::byteorder::$T<LE> {}
        impl Value for zerocopy::byteorder::$T<BE> {}
    )+};
}

numbers_of_an_order!(
    U16 "u16", U32 "u32", U64 "u64", U128 "u128", I16 "i16", I32 "i32", I64 "i64", I128 "i128", F32 "f32", F64 "f64"
);

macro_rules! bytes {
    ($($T:ident)+) => {$(
        impl Plain for $T {
            fn layout() -> Cow<'static, str> {
                stringify!($T).into()
            }
        }
    )+};
}

bytes!(u8 i8);

impl<T: Plain, const N: usize> Plain for [T; N] {
    fn layout() -> Cow<'static, str> {
        format!("[{};{N}]", T::layout()).into()
    }
}

impl<T: Plain, const N: usize> Value for [T; N] {}

/// The alignment of `T`, which a table can give.
pub const fn align_of_value<T>() -> usize {
    assert!(align_of::<T>() <= 16, "a value may be aligned to at most 16 bytes");
    align_of::<T>()
}

impl<T: Value> Codec for [T] {
    type View<'a> = &'a [T];

    const WIDTH: Option<usize> = None;

    const ALIGN: usize = align_of_value::<T>();

    fn type_name() -> Cow<'static, str> {
        format!("[{}]", T::layout()).into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[T], DecodeError> {
        if bytes.is_empty() {
            // Wherever it is.
            return Ok(&[]);
        }
        <[T]>::ref_from_bytes(bytes).map_err(|error| match error {
            ConvertError::Size(_) => not_elements::<T>(bytes.len()),
            _ => off_alignment(&Self::type_name(), Self::ALIGN, bytes),
        })
    }
}

#[cold]
fn not_elements<T: Value>(len: usize) -> DecodeError {
    let (name, size) = (<[T]>::type_name(), size_of::<T>());
    DecodeError::new(format!("{name}: expected a multiple of {size} bytes, found {len}"))
}

macro_rules! encode_as_elements {
    ($($Q:ty $(, $N:ident)?);+) => {$(
        impl<T: Value $(, const $N: usize)?> Encode<[T]> for $Q {
            type Bytes<'a> = &'a [u8] where Self: 'a;

            fn encode(&self) -> &[u8] {
                self[..].as_bytes()
            }
        }
    )+};
}

encode_as_elements!([T]; Vec<T>; [T; N], N);

impl<T: Value, Q: Encode<[T]> + ?Sized> Encode<[T]> for &Q {
    type Bytes<'a>
        = Q::Bytes<'a>
    where
        Self: 'a;

    fn encode(&self) -> Self::Bytes<'_> {
        (**self).encode()
    }
}

/// The value of these bytes, in place.
///
/// # Errors
/// When they are of another size, or lie elsewhere than `T` may.
#[inline]
pub fn in_place<T: FromBytes + KnownLayout + Immutable>(
    bytes: &[u8],
    name: impl FnOnce() -> Cow<'static, str>,
) -> Result<&T, DecodeError> {
    T::ref_from_bytes(bytes).map_err(|error| match error {
        ConvertError::Size(_) => wrong_len(&name(), size_of::<T>(), bytes.len()),
        _ => off_alignment(&name(), align_of::<T>(), bytes),
    })
}

/// What a derived [`Value`](crate::Value) needs of zerocopy's derives. Where a type has them, these are found; where it
/// lacks one, those of [`NotInPlace`] are: so that the lack is one error, and not one wherever it is felt.
pub struct InPlace<T>(PhantomData<T>);

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> InPlace<T> {
    /// Whether it has them.
    pub const IS: bool = true;

    /// The value of these bytes, in place.
    ///
    /// # Errors
    /// When they are of another size, or lie elsewhere than `T` may.
    #[inline]
    pub fn decode(bytes: &[u8], name: fn() -> Cow<'static, str>) -> Result<&T, DecodeError> {
        in_place(bytes, name)
    }

    /// The memory of a value.
    #[inline]
    pub fn bytes(value: &T) -> &[u8] {
        value.as_bytes()
    }
}

/// See [`InPlace`]. A program that calls these does not compile.
pub trait NotInPlace<T> {
    /// Whether it has the derives.
    const IS: bool = false;

    /// Never called.
    fn decode(_: &[u8], _: fn() -> Cow<'static, str>) -> Result<&T, DecodeError> {
        unreachable!("refused when it was compiled")
    }

    /// Never called.
    fn bytes(_: &T) -> &[u8] {
        unreachable!("refused when it was compiled")
    }
}

impl<T> NotInPlace<T> for InPlace<T> {}

/// Values read in place as `&T`, without a copy: `Table<u64, Pod<Point>>`.
///
/// The bytes are the memory of `T`, `size_of::<T>()` of them. Its numbers are in the byte order of the
/// machine, unless they are those of `zerocopy::byteorder`. [`ALIGN`](Codec::ALIGN) is `align_of::<T>()`;
/// more than 16 does not compile. The schema holds size and alignment only, so a change of the fields that
/// keeps both goes unnoticed: for a struct of your own derive [`Value`](crate::Value), which names the fields. This
/// is for the types of others.
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

    const ALIGN: usize = align_of_value::<T>();

    fn type_name() -> Cow<'static, str> {
        format!("pod({},{})", size_of::<T>(), Self::ALIGN).into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&T, DecodeError> {
        in_place(bytes, Self::type_name)
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

#[cold]
fn off_alignment(name: &str, align: usize, bytes: &[u8]) -> DecodeError {
    let off = bytes.as_ptr().addr() % align;
    DecodeError::new(format!(
        "{name}: expected bytes aligned to {align}, found them {off} past a multiple of it"
    ))
}
