//! Options, tuples, and keys in descending order.

use super::*;
use std::cmp::Reverse;

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

impl<P, F: FromPart<P>> FromPart<Option<P>> for Option<F> {
    fn from_part(part: Option<P>) -> Self {
        part.map(F::from_part)
    }
}

#[cold]
fn bad_tag<T: KeyPart>(bytes: &[u8]) -> DecodeError {
    let found = bytes.first().map_or("no bytes".into(), |tag| format!("{tag:#04x}"));
    DecodeError::new(format!("{}: expected the tag 0x00 or 0x01, found {found}", Option::<T>::type_name()))
}

// Descending order.

impl<T: KeyPart + for<'a> FromPart<T::Part<'a>>> Codec for Reverse<T> {
    type View<'a> = Reverse<T>;

    const WIDTH: Option<usize> = T::WIDTH;

    fn type_name() -> Cow<'static, str> {
        format!("reverse({})", T::type_name()).into()
    }

    fn decode(bytes: &[u8]) -> Result<Reverse<T>, DecodeError> {
        match Self::decode_part(bytes)? {
            (view, []) => Ok(view),
            (_, rest) => Err(trailing::<Self>(rest)),
        }
    }
}

impl<T: KeyPart + for<'a> FromPart<T::Part<'a>>> Key for Reverse<T> {}

impl<T: KeyPart + for<'a> FromPart<T::Part<'a>>> KeyPart for Reverse<T> {
    type Part<'a> = Reverse<T>;

    fn decode_part(bytes: &[u8]) -> Result<(Reverse<T>, &[u8]), DecodeError> {
        let (longest, _) = split_width(bytes, T::WIDTH.unwrap_or(bytes.len()));
        let flipped: Vec<u8> = longest.iter().map(|byte| !byte).collect();
        let (part, rest) = T::decode_part(&flipped).map_err(|error| error.within("reversed"))?;
        let len = flipped.len() - rest.len();
        Ok((Reverse(T::from_part(part)), &bytes[len..]))
    }
}

impl<T: KeyPart, Q: EncodePart<T>> Encode<Reverse<T>> for Reverse<Q> {
    type Bytes<'a>
        = Vec<u8>
    where
        Self: 'a;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(T::WIDTH.unwrap_or(TUPLE_CAPACITY));
        EncodePart::<Reverse<T>>::encode_part(self, &mut out);
        out
    }
}

impl<T: KeyPart, Q: EncodePart<T>> EncodePart<Reverse<T>> for Reverse<Q> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.0.encode_part(out);
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

impl<P, F: FromPart<P>> FromPart<Reverse<P>> for Reverse<F> {
    fn from_part(part: Reverse<P>) -> Self {
        Reverse(F::from_part(part.0))
    }
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
                    let (part, tail) = $T::decode_part(rest).map_err(|error| error.within(format_args!("tuple element {}", $index)))?;
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

        impl<$($T, $Q: FromPart<$T>),+> FromPart<($($T,)+)> for ($($Q,)+) {
            fn from_part(part: ($($T,)+)) -> Self {
                ($($Q::from_part(part.$index),)+)
            }
        }
    };
}

/// A tuple and those that are shorter by elements at its end.
macro_rules! prefixes {
    ($($T:ident $Q:ident $index:tt,)+; $($N:ident $M:ident $next:tt,)*) => {
        impl<$($T: KeyPart, $Q: EncodePart<$T>,)+ $($N: KeyPart),*> EncodePrefix<($($T,)+ $($N,)*)> for ($($Q,)+) {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                $(self.$index.encode_part(out);)+
            }
        }

        prefixes!(@longer $($T $Q $index,)+; $($N $M $next,)*);
    };
    (@longer $($T:ident $Q:ident $index:tt,)+; ) => {};
    (@longer $($T:ident $Q:ident $index:tt,)+; $N:ident $M:ident $next:tt, $($rest:tt)*) => {
        prefixes!($($T $Q $index,)+ $N $M $next,; $($rest)*);
    };
}

/// Tuples of the elements before the semicolon, and of those with one more, and so on.
macro_rules! tuples {
    ($A:ident $QA:ident $a:tt, $($T:ident $Q:ident $index:tt,)+; $($next:tt)*) => {
        tuple!($A $QA $a, $($T $Q $index),+);
        prefixes!($A $QA $a,; $($T $Q $index,)+);
        tuples!(@longer $A $QA $a, $($T $Q $index,)+; $($next)*);
    };
    (@longer $($T:ident $Q:ident $index:tt,)+; ) => {};
    (@longer $($T:ident $Q:ident $index:tt,)+; $N:ident $M:ident $next:tt, $($rest:tt)*) => {
        tuples!($($T $Q $index,)+ $N $M $next,; $($rest)*);
    };
}

tuples!(A QA 0, B QB 1,; C QC 2, D QD 3, E QE 4, F QF 5, G QG 6, H QH 7, I QI 8, J QJ 9, K QK 10, L QL 11,);

/// What is reserved for a tuple whose width is not known; it grows if its text is longer.
pub const TUPLE_CAPACITY: usize = 48;

/// The sum, if every width is fixed.
pub const fn sum(widths: &[Option<usize>]) -> Option<usize> {
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

/// The width of all of them, if they have the same.
pub const fn one_width(widths: &[Option<usize>]) -> Option<usize> {
    let mut index = 1;
    while index < widths.len() {
        match (widths[0], widths[index]) {
            (Some(first), Some(other)) if first == other => index += 1,
            _ => return None,
        }
    }
    widths[0]
}

/// The first byte is the tag of no variant.
#[cold]
pub fn unknown_tag<T: Codec>(tags: &str, bytes: &[u8]) -> DecodeError {
    let found = bytes.first().map_or("no bytes".into(), u8::to_string);
    DecodeError::new(format!("{}: expected a tag among {tags}, found {found}", T::type_name()))
}
