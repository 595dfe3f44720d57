//! Text and bytes. The owned types are other names for the unsized ones.

use super::*;

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

        impl<Q: Encode<str> + ?Sized> EncodePrefix<$T> for Q {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.encode().as_ref());
            }
        }
    )+};
}

strings!(str, String, Cow<'static, str>);

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

impl<Q: Encode<str> + ?Sized> Encode<Cow<'static, str>> for Q {
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

        impl<Q: Encode<[u8]> + ?Sized> EncodePrefix<$T> for Q {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.encode().as_ref());
            }
        }
    )+};
}

byte_strings!([u8], Vec<u8>, Cow<'static, [u8]>);

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

impl<Q: Encode<[u8]> + ?Sized> Encode<Cow<'static, [u8]>> for Q {
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

macro_rules! owned_parts {
    ($($T:ty, $Owned:ty);+) => {$(
        impl FromPart<Cow<'_, $T>> for $Owned {
            fn from_part(part: Cow<'_, $T>) -> Self {
                part.into_owned()
            }
        }

        impl FromPart<&$T> for $Owned {
            fn from_part(part: &$T) -> Self {
                part.to_owned()
            }
        }

        impl<'a> FromPart<Cow<'a, $T>> for Cow<'a, $T> {
            fn from_part(part: Cow<'a, $T>) -> Self {
                part
            }
        }

        impl<'a> FromPart<&'a $T> for Cow<'a, $T> {
            fn from_part(part: &'a $T) -> Self {
                Cow::Borrowed(part)
            }
        }
    )+};
}

owned_parts!(str, String; [u8], Vec<u8>);
