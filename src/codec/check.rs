//! What a codec must keep, tried on values: for the tests of those who write one.

use super::*;
use std::cmp::Ordering;
use std::fmt::Debug;

/// Panics unless, for these values, `K` is what a [`Key`] must be: byte order is the order of the values, every
/// encoding decodes, what was decoded is written back as the same bytes, widths are what [`Codec::WIDTH`] says, and
/// decoding what is no encoding (cut short, lengthened, a byte changed) gives an error or another value's, not a panic.
///
/// For a test of a codec of your own; give it values that are close to each other, and the extremes. Takes
/// O(n² · length) time: some hundred values, or two at a time from a property test.
///
/// ```
/// use mapleaf::codec;
///
/// codec::assert_key::<i32, _>(&[i32::MIN, -256, -1, 0, 1, 255, 256, i32::MAX]);
/// codec::assert_key::<(String, bool), _>(&[("", true), ("a", false), ("a\0", false), ("a\0b", true)]);
/// ```
///
/// # Panics
/// With the values, their bytes, and what does not hold.
#[track_caller]
pub fn assert_key<K, Q>(values: &[Q])
where
    K: Key + ?Sized,
    Q: Encode<K> + Ord + Debug,
    for<'a> K::View<'a>: Encode<K>,
{
    let encodings: Vec<Vec<u8>> = values.iter().map(|value| value.encode().as_ref().to_vec()).collect();
    for (value, bytes) in values.iter().zip(&encodings) {
        assert!(
            K::WIDTH.is_none_or(|width| width == bytes.len()),
            "{value:?} is written as {}, but WIDTH is {:?}",
            hex(bytes),
            K::WIDTH
        );
        if let Err(wrong) = written_back::<K>(bytes) {
            panic!("{value:?} is written as {}: {wrong}", hex(bytes));
        }
        for altered in alterations(bytes) {
            let Ok(view) = K::decode(&altered) else { continue };
            let again = view.encode().as_ref().to_vec();
            assert!(again == altered, "{} decodes, and is written back as {}", hex(&altered), hex(&again));
        }
    }
    assert_order(values, &encodings);
}

/// Panics unless, for these values, `K` is what a [`KeyPart`] must be, and a [`Key`] ([`assert_key`]): the part form
/// also has the order of the values, none begins with that of another, and reading one gives back the bytes behind it.
///
/// # Panics
/// With the values, their bytes, and what does not hold.
#[track_caller]
pub fn assert_key_part<K, Q>(values: &[Q])
where
    K: KeyPart + ?Sized,
    Q: Encode<K> + EncodePart<K> + Ord + Debug,
    for<'a> K::View<'a>: Encode<K>,
    for<'a> K::Part<'a>: EncodePart<K>,
{
    assert_key::<K, Q>(values);
    let parts: Vec<Vec<u8>> = values.iter().map(part_of::<K, Q>).collect();
    assert_order(values, &parts);
    for (i, (value, part)) in values.iter().zip(&parts).enumerate() {
        for (other, longer) in values.iter().zip(&parts).skip(i + 1) {
            let is_prefix = longer.starts_with(part) || part.starts_with(longer);
            assert!(
                part == longer || !is_prefix,
                "as parts, {value:?} ({}) and {other:?} ({}) do not say where they end",
                hex(part),
                hex(longer)
            );
        }
        for behind in [&[][..], &[0], &[0xff; 9]] {
            let bytes = [part, behind].concat();
            let (view, rest) = K::decode_part(&bytes).unwrap_or_else(|error| {
                panic!("{value:?} is the part {}, which is refused: {error}", hex(part))
            });
            assert!(rest == behind, "{value:?} is the part {}, of which {} are left", hex(part), hex(rest));
            assert!(
                part_of::<K, _>(&view) == *part,
                "{value:?} is the part {}, and not written back so",
                hex(part)
            );
        }
        for altered in alterations(part) {
            let _ = K::decode_part(&altered);
        }
    }
}

fn part_of<K: ?Sized, Q: EncodePart<K>>(value: &Q) -> Vec<u8> {
    let mut part = Vec::new();
    value.encode_part(&mut part);
    part
}

fn written_back<K>(bytes: &[u8]) -> Result<(), String>
where
    K: Key + ?Sized,
    for<'a> K::View<'a>: Encode<K>,
{
    let view = K::decode(bytes).map_err(|error| format!("which is refused: {error}"))?;
    let again = view.encode();
    match again.as_ref() == bytes {
        true => Ok(()),
        false => Err(format!("which is read, and written back as {}", hex(again.as_ref()))),
    }
}

#[track_caller]
fn assert_order<Q: Ord + Debug>(values: &[Q], encodings: &[Vec<u8>]) {
    for (a, bytes_a) in values.iter().zip(encodings) {
        for (b, bytes_b) in values.iter().zip(encodings) {
            assert!(
                a.cmp(b) == bytes_a.cmp(bytes_b),
                "{a:?} {} {b:?}, but {} {} {}",
                sign(a.cmp(b)),
                hex(bytes_a),
                sign(bytes_a.cmp(bytes_b)),
                hex(bytes_b)
            );
        }
    }
}

fn sign(order: Ordering) -> char {
    match order {
        Ordering::Less => '<',
        Ordering::Equal => '=',
        Ordering::Greater => '>',
    }
}

/// These bytes cut short, lengthened, and with one of them changed.
fn alterations(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut altered: Vec<Vec<u8>> = (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect();
    altered.extend([0, 1, 0xff].map(|byte| [bytes, &[byte]].concat()));
    for index in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut other = bytes.to_vec();
            other[index] ^= change;
            altered.push(other);
        }
    }
    altered
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[{}]", bytes.join(" "))
}
