//! The twin of `derive_key_of_what_has_no_order`, which compiles.
#![allow(dead_code)]
use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use mapleaf::{Key, Value};
use std::borrow::Cow;

#[derive(Key)]
struct Borrowed<'a> {
    name: Cow<'a, str>,
}

#[derive(Key)]
struct Indexed {
    place: u64,
}

#[derive(Key)]
struct Mapped {
    of: (u8, u8),
}

#[derive(Key)]
struct Generic(u8, String);

#[derive(Key)]
struct OneLifetime<'a>(Cow<'a, str>, Cow<'a, str>);

#[derive(Key)]
enum Once {
    A,
}

#[derive(Key)]
enum Ascending {
    #[mapleaf(tag = 1)]
    A,
    #[mapleaf(tag = 2)]
    B,
}

#[derive(Key)]
enum Narrow {
    A = 255,
}

#[derive(Key)]
enum Swapped {
    #[mapleaf(name = "B")]
    A,
    #[mapleaf(name = "A")]
    B,
}

#[derive(Key)]
#[mapleaf(name = "a.b")]
struct Named(u8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Value)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[repr(C)]
struct Ordered {
    x: f32,
}

fn main() {}
