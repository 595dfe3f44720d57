//! Values that are decoded when asked for.
//!
//! Owns: [`Lazy`] and what reading it gives, [`LazyValue`]. It has the schema of the codec that it stands
//! for, so both open the same table. (The idea is heed's `lazily_decode_data`.)

use super::Codec;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::marker::PhantomData;

/// The codec `V`, for reading values that may not all be wanted: `Table<str, Lazy<V>>` is the table
/// `Table<str, V>` of the same name, and reading it gives a [`LazyValue`]. For codecs that build what they
/// give; text, bytes, numbers and zero-copy structs cost nothing to decode. A key that is skipped costs its
/// step and nothing more, but a value of many pages is still found, and checked at its first touch.
///
/// ```
/// use mapleaf::codec::Lazy;
/// use mapleaf::{Database, Table};
/// const NOTES: Table<u64, (String, String)> = Table::new("notes");
/// const LAZY_NOTES: Table<u64, Lazy<(String, String)>> = Table::new("notes");
/// # let db = Database::temporary()?;
/// db.write(|w| w.put(NOTES, &7, &("title", "text")))?;
/// let r = db.begin_read()?;
/// for note in r.iter(LAZY_NOTES)? {
///     let (id, note) = note?;
///     if id == 7 {
///         assert_eq!(note.decode()?.1, "text");
///     }
/// }
/// # Ok::<_, mapleaf::Error>(())
/// ```
pub struct Lazy<V: ?Sized>(PhantomData<fn(&V)>);

/// A value as it is stored, which [`LazyValue::decode`] decodes.
pub struct LazyValue<'t, V: ?Sized> {
    bytes: &'t [u8],
    codec: PhantomData<fn(&V)>,
}

impl<V: ?Sized> Clone for LazyValue<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for LazyValue<'_, V> {}

impl<V: ?Sized> std::fmt::Debug for LazyValue<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LazyValue of {} bytes", self.bytes.len())
    }
}

impl<'t, V: Codec + ?Sized> LazyValue<'t, V> {
    /// What reading a `V` gives; as often as it is asked for.
    ///
    /// # Errors
    /// `Decode` where the bytes are not a `V`.
    pub fn decode(&self) -> Result<V::View<'t>> {
        V::decode(self.bytes).map_err(|error| Error::Decode { detail: format!("value: {error}") })
    }

    /// The bytes as they are stored.
    pub fn bytes(&self) -> &'t [u8] {
        self.bytes
    }
}

impl<V: Codec + ?Sized> Codec for Lazy<V> {
    type View<'a> = LazyValue<'a, V>;

    const WIDTH: Option<usize> = V::WIDTH;

    const ALIGN: usize = V::ALIGN;

    fn type_name() -> Cow<'static, str> {
        V::type_name()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<LazyValue<'_, V>, super::DecodeError> {
        Ok(LazyValue { bytes, codec: PhantomData })
    }
}
