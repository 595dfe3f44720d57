//! The derive macros of mapleaf. A program uses them as `mapleaf::Key` and `mapleaf::Value`.
//!
//! Owns: what is generated for a type, and the refusals. What is generated calls `mapleaf::codec`, which owns every
//! encoding: a derived key is written as the tuple of its fields is.

mod attributes;
mod key;
mod value;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

/// Makes a struct or an enum a key, ordered as its fields are: the bytes are those of the tuple of the fields.
///
/// Implemented are `Codec`, `Key` and `KeyPart`, so the type can be the key of a table, part of a tuple or of another
/// derived key, and a value; and `Encode`, so it can be put, looked up, and bound a range. Derive `PartialOrd` and `Ord`
/// as well if you compare keys in memory: the order is the same.
///
/// # Structs
/// The fields in order, each in its part form. The stored name is that of the tuple, `(str,u32)`, so a table of a
/// struct can be opened with the tuple, and the other way round. A tuple of what the fields accept can stand for the
/// struct, for a lookup without an allocation; a shorter one for all keys that begin so.
///
/// ```
/// use mapleaf::{Database, Prefix, Table};
///
/// #[derive(Debug, PartialEq, mapleaf::Key)]
/// struct Visit {
///     page: String,
///     minute: u32,
/// }
///
/// const VISITS: Table<Visit, u64> = Table::new("visits");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| w.put(VISITS, &Visit { page: "/".into(), minute: 7 }, &1))?;
///
/// let r = db.begin_read()?;
/// assert_eq!(r.get(VISITS, &("/", 7))?, Some(1));
/// let (visit, _) = r.range(VISITS, Prefix(("/",)))?.next().expect("one")?;
/// assert_eq!(visit, Visit { page: "/".into(), minute: 7 });
/// # Ok(()) }
/// ```
///
/// A struct of one field is written as that field (`(x,)` can stand for it), and one of none as the unit.
///
/// ```
/// use mapleaf::codec::Encode;
///
/// #[derive(mapleaf::Key)]
/// struct UserId(u64);
///
/// assert_eq!(Encode::encode(&UserId(7)), Encode::<u64>::encode(&7));
/// ```
///
/// # Enums
/// First the variant's tag, one byte, then its fields in order. So variants sort by their tags, and keys of one variant
/// by their fields. Tags are those of Rust's discriminants: from 0 upwards in order of declaration, or `#[mapleaf(tag =
/// n)]`, or `= n`, and one more for each variant behind it. They must ascend, so that the order is that of `Ord`; a variant
/// that comes later goes to the end.
///
/// The stored name lists tags and variants: `enum{0:Login(str),1:Logout}`. So a variant put in between is noticed when the
/// table is opened, before keys are misread.
///
/// | value | bytes |
/// |---|---|
/// | `Visit { page: "/", minute: 7 }` | `2f 00 00 00 00 00 07`, as `("/", 7u32)` |
/// | `UserId(7)` | `00 00 00 00 00 00 00 07`, as `7u64` |
/// | `Event::Login("ann")` | `00 61 6e 6e 00 00` |
/// | `Event::Logout` | `01` |
///
/// ```
/// use mapleaf::codec::{Codec, Encode};
///
/// #[derive(mapleaf::Key)]
/// enum Event {
///     Login(String),
///     Logout,
/// }
///
/// assert_eq!(Encode::encode(&Event::Login("ann".into())), b"\0ann\0\0");
/// assert_eq!(Encode::encode(&Event::Logout), [1]);
/// assert_eq!(Event::type_name(), "enum{0:Login(str),1:Logout}");
/// ```
///
/// # Reading
/// Reading gives the type itself, so text in a `String` field is copied. With a lifetime and `Cow<'a, str>` or
/// `Cow<'a, [u8]>` it borrows from the page (unless it holds a NUL, which is written escaped). The table names the type with
/// `'static`.
///
/// ```
/// # use std::borrow::Cow;
/// # use mapleaf::{Database, Table};
/// #[derive(mapleaf::Key)]
/// struct Place<'a> {
///     country: [u8; 2],
///     city: Cow<'a, str>,
/// }
///
/// const PEOPLE: Table<Place<'static>, u64> = Table::new("people");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| w.put(PEOPLE, &Place { country: *b"SE", city: "Lund".into() }, &91_940))?;
/// let r = db.begin_read()?;
/// let (place, _) = r.first(PEOPLE)?.expect("one");
/// assert!(matches!(place.city, Cow::Borrowed("Lund")));
/// # Ok(()) }
/// ```
///
/// # Attributes
/// | attribute | on | says |
/// |---|---|---|
/// | `#[mapleaf(name = "event")]` | the type | the stored name begins so: `event{0:Login(str),1:Logout}`, `visit(str,u32)`; no other type passes for it |
/// | `#[mapleaf(name = "Login")]` | a variant | its stored name, when the one in the program changes |
/// | `#[mapleaf(tag = 7)]` | a variant | its tag, 0 to 255 |
/// | `#[mapleaf(crate = "path")]` | the type | where the crate `mapleaf` is |
///
/// A stored name never has a Rust path in it: types can be moved and renamed. When fields or variants do change, the table is
/// to be rewritten: see `WriteTxn::convert_table`.
///
/// # Refused
/// Type parameters, references, `usize` and `isize` (of another width elsewhere), fields that are no `KeyPart`.
#[proc_macro_derive(Key, attributes(mapleaf))]
pub fn derive_key(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    key::derive(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes a struct of plain data a value that is read in place, as `&T`: no copy, no decoding.
///
/// The bytes are the memory of the struct. It must be `#[repr(C)]` (or `transparent`) and derive zerocopy's `FromBytes`,
/// `IntoBytes`, `KnownLayout` and `Immutable`, which check that it has no padding and that any bytes are a value. The
/// crate is `mapleaf::zerocopy` too, for those who do not depend on it themselves: then say `#[zerocopy(crate =
/// "mapleaf::zerocopy")]`. A table stores such values aligned for `T`, up to 16 bytes.
///
/// ```
/// use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
/// use mapleaf::{Database, Table};
///
/// #[derive(Debug, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable, mapleaf::Value)]
/// #[zerocopy(crate = "mapleaf::zerocopy")]
/// #[repr(C)]
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// const POINTS: Table<u64, Point> = Table::new("points");
/// const PATHS: Table<str, [Point]> = Table::new("paths");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| {
///     w.put(POINTS, &7, &Point { x: 1.0, y: 2.0 })?;
///     w.put(PATHS, "home", &[Point { x: 0.0, y: 0.5 }, Point { x: 1.0, y: 2.0 }])
/// })?;
/// let r = db.begin_read()?;
/// let point: &Point = r.get(POINTS, &7)?.expect("put above");
/// let path: &[Point] = r.get(PATHS, "home")?.expect("put above");
/// assert_eq!(point, &path[1]);
/// assert_eq!(r.tables()?[1].schema.value_type, "{x:f32le,y:f32le}");
/// # Ok(()) }
/// ```
///
/// The stored name lists the fields with their types and byte order, those of structs within it too. So a field that
/// is added, removed, renamed, moved or of another type is noticed when the table is opened, and its values are not
/// misread. Fields can be numbers, those of `zerocopy::byteorder` (whose order does not depend on the machine), arrays,
/// and structs that derive this too. For types of others there is `codec::Pod`.
///
/// # Attributes
/// | attribute | on | says |
/// |---|---|---|
/// | `#[mapleaf(name = "point")]` | the type | the stored name begins so: `point{x:f32le,y:f32le}`; no other type passes for it |
/// | `#[mapleaf(name = "x")]` | a field | its stored name, when the one in the program changes |
/// | `#[mapleaf(crate = "path")]` | the type | where the crate `mapleaf` is |
#[proc_macro_derive(Value, attributes(mapleaf))]
pub fn derive_value(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    value::derive(&input).unwrap_or_else(Error::into_compile_error).into()
}
