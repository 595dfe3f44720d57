//! Derived keys and values, and serde's: as a program writes them, in tables.

#![allow(missing_docs)]

mod common;

use common::TestDb;
use mapleaf::codec::{
    Codec, Encode, EncodePart, FromPart, Key, KeyPart, Pod, Serde, assert_key, assert_key_part,
};
use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, big_endian};
use mapleaf::{Error, Prefix, Table};
use proptest::prelude::*;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Visit {
    page: String,
    minute: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Triple(i16, Option<Vec<u8>>, [u8; 3]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct UserId(u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
#[mapleaf(name = "tag")]
struct Tag {
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
enum Event {
    Login(String),
    Moved {
        from: (i8, i8),
        r#to: Option<UserId>,
    },
    #[mapleaf(tag = 9, name = "Bye")]
    Logout,
    Later(Tag),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
#[mapleaf(name = "colour")]
enum Colour {
    Red,
    Green = 5,
    Blue,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
#[mapleaf(name = "nested")]
struct Nested {
    event: Event,
    who: Tag,
    colour: Reverse<Colour>,
    visit: Visit,
    nothing: Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Place<'p> {
    country: [u8; 2],
    city: Cow<'p, str>,
    house: Option<Cow<'p, [u8]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Label<'l>(Cow<'l, str>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
enum Spot<'s> {
    At(Place<'s>),
    Named { label: Label<'s> },
}

fn bytes_of<K: ?Sized, Q: Encode<K> + ?Sized>(value: &Q) -> Vec<u8> {
    value.encode().as_ref().to_vec()
}

fn part_of<K: ?Sized, Q: EncodePart<K> + ?Sized>(value: &Q) -> Vec<u8> {
    let mut part = Vec::new();
    value.encode_part(&mut part);
    part
}

fn visit(page: &str, minute: u32) -> Visit {
    Visit { page: page.into(), minute }
}

#[test]
fn derived_struct_is_written_as_the_tuple_of_its_fields() {
    assert_eq!(bytes_of::<Visit, _>(&visit("/", 7)), b"/\0\0\0\0\0\x07");
    assert_eq!(bytes_of::<Visit, _>(&visit("/", 7)), bytes_of::<(String, u32), _>(&("/", 7)));
    assert_eq!(bytes_of::<Visit, _>(&("/", 7)), bytes_of::<Visit, _>(&visit("/", 7)));
    assert_eq!(part_of::<Visit, _>(&visit("/", 7)), part_of::<(String, u32), _>(&("/", 7)));
    assert_eq!(
        bytes_of::<Triple, _>(&Triple(-1, Some(vec![0]), [1, 2, 3])),
        bytes_of::<(i16, Option<Vec<u8>>, [u8; 3]), _>(&(-1, Some([0]), [1, 2, 3]))
    );
    assert_eq!(Visit::type_name(), "(str,u32)");
    assert_eq!(Triple::type_name(), "(i16,option(bytes),[u8;3])");
    assert_eq!((Visit::WIDTH, <(UserId, Colour)>::WIDTH), (None, Some(9)));
}

#[test]
fn derived_struct_of_one_field_is_written_as_that() {
    assert_eq!(bytes_of::<UserId, _>(&UserId(7)), [0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!((UserId::type_name().as_ref(), UserId::WIDTH), ("u64", Some(8)));
    assert_eq!(bytes_of::<Tag, _>(&Tag { text: "a\0b".into() }), b"a\0b");
    assert_eq!(part_of::<Tag, _>(&Tag { text: "a\0b".into() }), b"a\0\x01b\0\0");
    assert_eq!(bytes_of::<Tag, _>(&("a\0b",)), b"a\0b");
    assert_eq!(part_of::<(Tag, u8), _>(&(("a",), 7)), b"a\0\0\x07");
    assert_eq!(Tag::type_name(), "tag(str)");
    assert_eq!(bytes_of::<Nothing, _>(&Nothing), b"");
    assert_eq!((Nothing::type_name().as_ref(), Nothing::WIDTH), ("unit", Some(0)));
}

#[test]
fn derived_enum_is_written_as_its_tag_and_fields() {
    assert_eq!(bytes_of::<Event, _>(&Event::Login("ann".into())), b"\0ann\0\0");
    let moved = Event::Moved { from: (0, -1), to: Some(UserId(7)) };
    assert_eq!(bytes_of::<Event, _>(&moved), b"\x01\x80\x7f\x01\0\0\0\0\0\0\0\x07");
    assert_eq!(bytes_of::<Event, _>(&Event::Logout), [9]);
    assert_eq!(bytes_of::<Event, _>(&Event::Later(Tag { text: "x".into() })), b"\x0ax\0\0");
    assert_eq!(
        Event::type_name(),
        "enum{0:Login(str),1:Moved((i8,i8),option(u64)),9:Bye,10:Later(tag(str))}"
    );
    assert_eq!(Colour::type_name(), "colour{0:Red,5:Green,6:Blue}");
    assert_eq!((Event::WIDTH, Colour::WIDTH), (None, Some(1)));
    assert_eq!([Colour::Red, Colour::Green, Colour::Blue].map(|c| bytes_of::<Colour, _>(&c)[0]), [0, 5, 6]);
}

#[test]
fn errors_of_derived_keys_name_the_field() {
    let error = |result: Result<(), mapleaf::codec::DecodeError>| result.unwrap_err().to_string();
    assert_eq!(
        error(Visit::decode(b"/\0\0\x01").map(|_| ())),
        "field minute: u32: expected 4 bytes, found 1"
    );
    assert_eq!(
        error(Event::decode(&[1, 0x80]).map(|_| ())),
        "field Moved.from: tuple element 1: i8: expected 1 byte, found 0"
    );
    assert_eq!(
        error(Colour::decode(&[1]).map(|_| ())),
        "colour{0:Red,5:Green,6:Blue}: expected a tag among 0, 5, 6, found 1"
    );
    assert_eq!(
        error(Colour::decode(&[]).map(|_| ())),
        "colour{0:Red,5:Green,6:Blue}: expected a tag among 0, 5, 6, found no bytes"
    );
    assert_eq!(
        error(Visit::decode(b"/\0\0\0\0\0\x07!").map(|_| ())),
        "(str,u32): expected the end of the bytes, found 1 more"
    );
}

#[test]
fn derived_keys_work_in_tables_ranges_and_prefixes() {
    const VISITS: Table<Visit, u64> = Table::new("visits");
    const EVENTS: Table<(UserId, Event), str> = Table::new("events");
    let db = TestDb::new();
    db.write(|w| {
        for minute in 0..10 {
            w.put(VISITS, &visit("/", minute), &1)?;
            w.put(VISITS, &("/about", minute), &2)?;
        }
        w.put(EVENTS, &(UserId(7), Event::Login("ann".into())), "in")?;
        w.put(EVENTS, &(UserId(7), &Event::Logout), "out")
    })
    .unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(VISITS, &("/", 3)).unwrap(), Some(1));
    assert_eq!(r.count(VISITS, Prefix(("/",))).unwrap(), 10);
    assert_eq!(r.count(VISITS, visit("/", 8)..visit("/about", 2)).unwrap(), 4);
    assert_eq!(r.count(VISITS, ("/", 8)..=("/about", 2)).unwrap(), 5);
    assert_eq!(r.first(VISITS).unwrap().unwrap().0, visit("/", 0));
    let events: Vec<_> = r.range(EVENTS, Prefix((UserId(7),))).unwrap().map(|e| e.unwrap().1).collect();
    assert_eq!(events, ["in", "out"]);

    const PAIRS: Table<(String, u32), u64> = Table::new("visits");
    assert_eq!(r.get(PAIRS, &("/about", 3)).unwrap(), Some(2), "the tuple is the same encoding");
    const OTHER: Table<(Tag, u32), u64> = Table::new("visits");
    assert!(matches!(r.get(OTHER, &(Tag { text: "/".into() }, 3)), Err(Error::SchemaMismatch { .. })));
}

#[test]
fn derived_key_with_a_lifetime_borrows_from_the_page() {
    const PLACES: Table<Place<'static>, u64> = Table::new("places");
    const SPOTS: Table<Spot<'static>, Label<'static>> = Table::new("spots");
    let db = TestDb::new();
    let lund = String::from("Lund");
    db.write(|w| {
        let place = Place { country: *b"SE", city: Cow::Borrowed(&lund), house: Some(b"\0"[..].into()) };
        w.put(PLACES, &place, &91_940)?;
        w.put(SPOTS, &Spot::At(place), &Label("x\0".into()))?;
        w.put(SPOTS, &Spot::Named { label: Label(Cow::Borrowed(&lund)) }, &Label("home".into()))
    })
    .unwrap();
    let r = db.begin_read().unwrap();
    let (place, _) = r.first(PLACES).unwrap().unwrap();
    assert!(matches!(place.city, Cow::Borrowed("Lund")));
    assert!(matches!(place.house, Some(Cow::Owned(_))), "it holds a NUL");
    let (spot, label) = r.last(SPOTS).unwrap().unwrap();
    assert!(matches!(spot, Spot::Named { label: Label(Cow::Borrowed("Lund")) }));
    assert!(matches!(label, Label(Cow::Borrowed("home"))));
    assert_eq!(r.get(PLACES, &(b"SE", "Lund", Some(b"\0"))).unwrap(), Some(91_940));
    assert_eq!(r.count(PLACES, Prefix((b"SE", "Lund"))).unwrap(), 1);
    assert_eq!(Spot::type_name(), "enum{0:At(([u8;2],str,option(bytes))),1:Named(str)}");
}

// ---- order, round trips, bytes that are no encoding ----

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', 'a', 'é']), 0..4)
        .prop_map(String::from_iter)
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 0x61, 0xff]), 0..4)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        text().prop_map(Event::Login),
        (any::<(i8, i8)>(), prop::option::of(0..3u64))
            .prop_map(|(from, to)| Event::Moved { from, to: to.map(UserId) }),
        Just(Event::Logout),
        text().prop_map(|text| Event::Later(Tag { text })),
    ]
}

fn colour() -> impl Strategy<Value = Colour> {
    prop::sample::select(vec![Colour::Red, Colour::Green, Colour::Blue])
}

fn nested() -> impl Strategy<Value = Nested> {
    (event(), text(), colour(), text(), 0..2u32).prop_map(|(event, who, colour, page, minute)| Nested {
        event,
        who: Tag { text: who },
        colour: Reverse(colour),
        visit: Visit { page, minute },
        nothing: Nothing,
    })
}

fn place() -> impl Strategy<Value = Place<'static>> {
    (any::<[u8; 2]>(), text(), prop::option::of(blob())).prop_map(|(country, city, house)| Place {
        country,
        city: city.into(),
        house: house.map(Cow::Owned),
    })
}

fn spot() -> impl Strategy<Value = Spot<'static>> {
    prop_oneof![place().prop_map(Spot::At), text().prop_map(|l| Spot::Named { label: Label(l.into()) })]
}

fn reads_back<K>(value: &K) -> Result<(), TestCaseError>
where
    K: KeyPart + Encode<K> + EncodePart<K> + PartialEq + std::fmt::Debug + FromPart<K::Part<'static>>,
{
    let part = part_of::<K, _>(value);
    let (read, rest) = K::decode_part(part.leak()).unwrap();
    prop_assert!(rest.is_empty());
    prop_assert_eq!(&K::from_part(read), value);
    Ok(())
}

macro_rules! derived_keys_hold {
    ($($name:ident: $K:ty, $values:expr;)+) => {
        proptest! {$(
            #[test]
            fn $name(values in prop::collection::vec($values, 1..5)) {
                assert_key_part::<$K, _>(&values);
                values.iter().try_for_each(reads_back::<$K>)?;
            }
        )+}
    };
}

derived_keys_hold! {
    visits_hold: Visit, (text(), 0..3u32).prop_map(|(page, minute)| Visit { page, minute });
    triples_hold: Triple, (-2..2i16, prop::option::of(blob()), any::<[u8; 3]>()).prop_map(|(a, b, c)| Triple(a, b, c));
    ids_hold: UserId, any::<u64>().prop_map(UserId);
    tags_hold: Tag, text().prop_map(|text| Tag { text });
    units_hold: Nothing, Just(Nothing);
    colours_hold: Colour, colour();
    events_hold: Event, event();
    nested_hold: Nested, nested();
    tuples_of_derived_hold: (Event, Colour, Option<Tag>),
        (event(), colour(), prop::option::of(text().prop_map(|text| Tag { text })));
    places_hold: Place<'static>, place();
    spots_hold: Spot<'static>, spot();
    descending_events_hold: Reverse<Event>, event().prop_map(Reverse);
}

fn wild_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        prop::collection::vec(prop::sample::select(vec![0, 0, 0, 1, 1, 9, 10, 0x61, 0xff]), 0..20)
    ]
}

fn is_refused_or_written_back<K>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    K: KeyPart,
    for<'a> K::View<'a>: Encode<K>,
    for<'a> K::Part<'a>: EncodePart<K>,
{
    if let Ok(view) = K::decode(bytes) {
        prop_assert_eq!(bytes_of::<K, _>(&view), bytes);
    }
    if let Ok((part, rest)) = K::decode_part(bytes) {
        prop_assert_eq!([&part_of::<K, _>(&part), rest].concat(), bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn wild_bytes_are_refused_or_a_derived_key(bytes in wild_bytes()) {
        is_refused_or_written_back::<Visit>(&bytes)?;
        is_refused_or_written_back::<Triple>(&bytes)?;
        is_refused_or_written_back::<UserId>(&bytes)?;
        is_refused_or_written_back::<Tag>(&bytes)?;
        is_refused_or_written_back::<Nothing>(&bytes)?;
        is_refused_or_written_back::<Event>(&bytes)?;
        is_refused_or_written_back::<Colour>(&bytes)?;
        is_refused_or_written_back::<Nested>(&bytes)?;
        is_refused_or_written_back::<Place<'static>>(&bytes)?;
        is_refused_or_written_back::<Spot<'static>>(&bytes)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A table with derived keys gives what a map with the same keys gives.
    #[test]
    fn table_of_derived_keys_is_a_map(entries in prop::collection::btree_map(nested(), any::<u32>(), 0..30), at in nested()) {
        const TABLE: Table<Nested, u32> = Table::new("nested");
        let db = TestDb::new();
        db.write(|w| entries.iter().try_for_each(|(key, value)| w.put(TABLE, key, value).map(|_| ()))).unwrap();
        let r = db.begin_read().unwrap();
        let found: BTreeMap<Nested, u32> = r.iter(TABLE).unwrap().map(|entry| entry.unwrap()).collect();
        prop_assert_eq!(&found, &entries);
        prop_assert_eq!(r.get(TABLE, &at).unwrap(), entries.get(&at).copied());
        let above: Vec<Nested> = r.range(TABLE, at.clone()..).unwrap().map(|entry| entry.unwrap().0).collect();
        prop_assert!(above.iter().eq(entries.range(at..).map(|(key, _)| key)));
    }
}

#[test]
fn keys_by_hand_and_derived_ones_pass_the_same_checks() {
    fn is_key<K: Key>() {}
    is_key::<Nested>();
    assert_key::<Visit, _>(&[visit("", 0), visit("a", 1), visit("a\0", 0), visit("b", 0)]);
}

// ---- values in place ----

#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable, mapleaf::Value)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable, mapleaf::Value)]
#[zerocopy(crate = "mapleaf::zerocopy")]
#[mapleaf(name = "shape")]
#[repr(C)]
struct Shape {
    corners: [Point; 2],
    #[mapleaf(name = "colour")]
    paint: [u8; 4],
    seen: big_endian::U32,
    r#type: u64,
}

#[test]
fn value_is_read_in_place_and_its_schema_says_the_fields() {
    const SHAPES: Table<u64, Shape> = Table::new("shapes");
    const PATHS: Table<str, [Point]> = Table::new("paths");
    let shape = Shape {
        corners: [Point { x: 0.0, y: 1.0 }, Point { x: 2.0, y: 3.0 }],
        paint: [1, 2, 3, 4],
        seen: 7.into(),
        r#type: 9,
    };
    let db = TestDb::new();
    db.write(|w| {
        w.put(SHAPES, &7, &shape)?;
        w.put(PATHS, "none", &[])?;
        w.put(PATHS, "some", &vec![shape.corners[1]; 1000])
    })
    .unwrap();
    let r = db.begin_read().unwrap();
    let found: &Shape = r.get(SHAPES, &7).unwrap().unwrap();
    assert_eq!(found, &shape);
    assert!((&raw const *found).addr().is_multiple_of(8));
    assert_eq!(r.get(PATHS, "none").unwrap(), Some(&[][..]));
    assert_eq!(r.get(PATHS, "some").unwrap(), Some(&[shape.corners[1]; 1000][..]));
    let le = if cfg!(target_endian = "little") { "le" } else { "be" };
    assert_eq!(
        Shape::type_name(),
        format!("shape{{corners:[{{x:f32{le},y:f32{le}}};2],colour:[u8;4],seen:u32be,type:u64{le}}}")
    );
    assert_eq!((Shape::WIDTH, Shape::ALIGN), (Some(32), 8));
}

#[test]
fn changed_field_of_a_value_is_a_mismatch() {
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, mapleaf::Value)]
    #[zerocopy(crate = "mapleaf::zerocopy")]
    #[repr(C)]
    struct Swapped {
        y: f32,
        x: f32,
    }

    const POINTS: Table<u64, Point> = Table::new("points");
    const SWAPPED: Table<u64, Swapped> = Table::new("points");
    const PODS: Table<u64, Pod<Point>> = Table::new("points");
    let db = TestDb::new();
    db.write(|w| w.put(POINTS, &7, &Point { x: 1.0, y: 2.0 })).unwrap();
    let r = db.begin_read().unwrap();
    assert!(matches!(r.get(SWAPPED, &7), Err(Error::SchemaMismatch { .. })));
    assert!(matches!(r.get(PODS, &7), Err(Error::SchemaMismatch { .. })));
}

proptest! {
    #[test]
    fn wild_bytes_are_no_value_or_one(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Shape::decode(&bytes);
        if let Ok(points) = <[Point]>::decode(&bytes) {
            prop_assert_eq!(Encode::<[Point]>::encode(points), &bytes);
        }
    }
}

// ---- serde ----

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename = "user")]
struct User {
    name: String,
    mails: Vec<String>,
    age: Option<u8>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Kind {
    Guest,
    Member { since: u32 },
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wrapped(u64);

fn ann() -> User {
    User {
        name: "ann".into(),
        mails: vec!["a@example.org".into()],
        age: None,
        kind: Kind::Member { since: 1999 },
    }
}

#[test]
fn serde_values_are_written_by_postcard() {
    const USERS: Table<u64, Serde<User>> = Table::new("users");
    let db = TestDb::new();
    db.write(|w| w.put(USERS, &7, &ann())).unwrap();
    assert_eq!(db.begin_read().unwrap().get(USERS, &7).unwrap(), Some(ann()));
    assert_eq!(bytes_of::<Serde<User>, _>(&ann()), b"\x03ann\x01\x0da@example.org\0\x01\xcf\x0f");
    assert_eq!(
        Serde::<Wrapped>::decode(&[7, 7]).unwrap_err().to_string(),
        "postcard:Wrapped(1): expected the end of the bytes, found 1 more"
    );
}

#[test]
fn schema_of_a_serde_value_has_its_name_and_fields() {
    assert_eq!(Serde::<User>::type_name(), "postcard:user{name,mails,age,kind}");
    assert_eq!(Serde::<Kind>::type_name(), "postcard:Kind<Guest,Member>");
    assert_eq!(Serde::<Wrapped>::type_name(), "postcard:Wrapped(1)");
    assert_eq!(Serde::<Vec<String>>::type_name(), "postcard:seq");
    assert_eq!(Serde::<BTreeMap<String, u8>>::type_name(), "postcard:map");
    assert_eq!(Serde::<(u8, String)>::type_name(), "postcard:tuple2");
    assert_eq!(Serde::<Option<u32>>::type_name(), "postcard:option u32");
    assert_eq!(Serde::<String>::type_name(), "postcard:str");
    assert_eq!(Serde::<()>::type_name(), "postcard:unit");
}

proptest! {
    #[test]
    fn wild_bytes_are_no_serde_value_or_one(bytes in wild_bytes()) {
        let _ = Serde::<User>::decode(&bytes);
        let _ = Serde::<Vec<Vec<String>>>::decode(&bytes);
        let _ = Serde::<BTreeMap<String, Option<Wrapped>>>::decode(&bytes);
    }

    #[test]
    fn serde_values_come_back(name in text(), mails in prop::collection::vec(text(), 0..3), age in any::<Option<u8>>(), since in any::<u32>()) {
        let user = User { name, mails, age, kind: Kind::Member { since } };
        prop_assert_eq!(Serde::<User>::decode(&bytes_of::<Serde<User>, _>(&user)).unwrap(), user);
    }
}
