//! Kinds of tables that models try: how their keys and values are made from numbers, and are seen as bytes.
#![allow(dead_code, missing_docs)]

use mapleaf::codec::{Codec, Encode, Key, Pod};
use mapleaf::{KeyValue, Table};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

pub trait Kind: 'static {
    type K: Key + ?Sized;
    type V: Codec + ?Sized;
    type Q: Encode<Self::K>;
    type W: Encode<Self::V>;
    const TABLE: Table<Self::K, Self::V>;
    fn key(number: u16) -> Self::Q;
    fn value(len: u16, fill: u8) -> Self::W;
    fn bytes(entry: KeyValue<'_, Self::K, Self::V>) -> Pair;
    /// A key that is refused.
    fn too_long() -> Option<Self::Q> {
        None
    }
}

pub type Pair = (Vec<u8>, Vec<u8>);
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys so long, and differing so early and so late, that branches have few children; values in the leaf and outside.
pub struct Long;

impl Kind for Long {
    type K = [u8];
    type V = [u8];
    type Q = Vec<u8>;
    type W = Vec<u8>;
    const TABLE: Table<[u8], [u8]> = Table::new("long");

    fn key(number: u16) -> Vec<u8> {
        let [high, low] = (number << 6).to_be_bytes();
        let filler = if number.is_multiple_of(7) { 20 } else { 700 };
        [&[high][..], &vec![b'-'; filler], &[low]].concat()
    }

    fn value(len: u16, fill: u8) -> Vec<u8> {
        // Some so long that they have a table of checksums.
        vec![fill; usize::from(len) * if len > 15_000 { 9 } else { 1 }]
    }

    fn bytes((key, value): (&[u8], &[u8])) -> Pair {
        (key.to_vec(), value.to_vec())
    }

    fn too_long() -> Option<Vec<u8>> {
        Some(vec![9; 3000])
    }
}

/// Short keys and values: many entries a leaf.
pub struct Short;

impl Kind for Short {
    type K = str;
    type V = str;
    type Q = String;
    type W = String;
    const TABLE: Table<str, str> = Table::new("short");

    fn key(number: u16) -> String {
        number.to_string()
    }

    fn value(len: u16, fill: u8) -> String {
        char::from(fill % 128).to_string().repeat(usize::from(len) / 64)
    }

    fn bytes((key, value): (&str, &str)) -> Pair {
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    }
}

/// The fixed-width form, aligned, eight entries a leaf.
pub struct Fixed;

pub type Wide = [u128; 30];

impl Kind for Fixed {
    type K = u16;
    type V = Pod<Wide>;
    type Q = u16;
    type W = Wide;
    const TABLE: Table<u16, Pod<Wide>> = Table::new("fixed");

    fn key(number: u16) -> u16 {
        number
    }

    fn value(len: u16, fill: u8) -> Wide {
        [u128::from(len) << 8 | u128::from(fill); 30]
    }

    fn bytes((key, value): (u16, &Wide)) -> Pair {
        (key.to_be_bytes().to_vec(), value.as_bytes().to_vec())
    }
}

/// Fixed widths, and values that are accepted where their type is: for comparing and swapping.
pub struct Plain;

impl Kind for Plain {
    type K = u16;
    type V = [u8; 100];
    type Q = u16;
    type W = [u8; 100];
    const TABLE: Table<u16, [u8; 100]> = Table::new("plain");

    fn key(number: u16) -> u16 {
        number
    }

    fn value(len: u16, fill: u8) -> [u8; 100] {
        let mut value = [fill; 100];
        value[..2].copy_from_slice(&len.to_le_bytes());
        value
    }

    fn bytes((key, value): (u16, &[u8; 100])) -> Pair {
        (key.to_be_bytes().to_vec(), value.to_vec())
    }
}

pub fn encoded<T: ?Sized>(value: &impl Encode<T>) -> Vec<u8> {
    value.encode().as_ref().to_vec()
}
