//! What cannot be a derived key, each with what to do about it.
use mapleaf::{Key, Value};
use std::collections::HashMap;

#[derive(Key)]
struct Borrowed<'a> {
    name: &'a str, //~ a key cannot hold a reference
}

#[derive(Key)]
struct Indexed {
    place: usize, //~ this is of another width on other machines
}

#[derive(Key)] //~ E0277
struct Mapped {
    of: HashMap<u8, u8>, //~ E0277
}

#[derive(Key)]
struct Generic<T>(T, T); //~ a key has no parameters

#[derive(Key)]
struct TwoLifetimes<'a, 'b>(std::borrow::Cow<'a, str>, std::borrow::Cow<'b, str>); //~ a key borrows with one lifetime

#[derive(Key)]
enum Never {} //~ an enum without variants has no values

#[derive(Key)]
enum Descending {
    #[mapleaf(tag = 2)]
    B,
    #[mapleaf(tag = 1)] //~ tags must ascend
    A,
}

#[derive(Key)]
enum Wide {
    A = 300, //~ a tag is one byte
}

#[derive(Key)]
enum Computed {
    A = 1 + 1, //~ the tag must be known here
}

#[derive(Key)]
enum Twice {
    #[mapleaf(name = "B")]
    A,
    B, //~ another variant is stored as "B" too
}

#[derive(Key)]
#[mapleaf(label = "x")] //~ expected `name = "…"` or `crate = "…"` here
struct Mislabelled(u8);

#[derive(Key)]
#[mapleaf(name = "a::b")] //~ a stored name has letters
struct Misnamed(u8);

#[derive(Value)]
struct Unordered { //~ add #[repr(C)]
    x: f32,
}

#[derive(Value)]
#[repr(u8)]
enum Choice { //~ a value read in place is a struct
    A,
}

#[derive(Value)]
#[repr(C)]
struct Typed<T>(T); //~ a value read in place has no parameters

fn main() {}
