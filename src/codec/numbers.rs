//! Numbers, `bool`, `char`, unit, and arrays of bytes: what has a fixed width.

use super::*;

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
    ($($T:ty),+ $(,)?) => {$(
        impl Key for $T {}

        impl KeyPart for $T {
            type Part<'a> = $T;

            fn decode_part(bytes: &[u8]) -> Result<($T, &[u8]), DecodeError> {
                let (part, rest) = split_width(bytes, <$T as Codec>::WIDTH.expect("a fixed width"));
                Ok((Self::decode(part)?, rest))
            }
        }

        impl EncodePart<$T> for $T {
            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&Encode::<$T>::encode(self));
            }
        }

        impl FromPart<$T> for $T {
            fn from_part(part: $T) -> Self {
                part
            }
        }
    )+};
}

fixed_width_parts!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, ());
pub(super) use fixed_width_parts;

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

impl<const N: usize> FromPart<&[u8; N]> for [u8; N] {
    fn from_part(part: &[u8; N]) -> Self {
        *part
    }
}
