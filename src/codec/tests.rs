//! The vectors of the documentation, order, round trips, and bytes that are no encoding.

use std::cmp::{Ordering, Reverse};
use std::ops::Bound;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn encoded<K: ?Sized, Q: Encode<K> + ?Sized>(value: &Q) -> Vec<u8> {
    value.encode().as_ref().to_vec()
}

fn encoded_part<K: ?Sized, Q: EncodePart<K> + ?Sized>(value: &Q) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode_part(&mut out);
    out
}

fn error_of<T: Codec + ?Sized>(bytes: &[u8]) -> String {
    T::decode(bytes).err().expect("these bytes must not decode").to_string()
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(none)".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Strings that are rich in NULs, prefixes of one another, and bytes around the escape.
fn text() -> impl Strategy<Value = String> {
    vec(select(vec!['\0', '\u{1}', '\u{2}', 'a', '\u{7ff}', '\u{10ffff}']), 0..6).prop_map(String::from_iter)
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0x00, 0x01, 0x02, 0x61, 0xff]), 0..6)
}

/// Around whole seconds, and the extremes.
fn duration() -> impl Strategy<Value = Duration> {
    let seconds = select(vec![0, 1, 2, 255, 256, u64::MAX]);
    let nanos = select(vec![0, 1, 500_000_000, 999_999_999]);
    (seconds, nanos).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

/// Around whole seconds before and after 1970.
fn time() -> impl Strategy<Value = SystemTime> {
    let near = (0..4u64, 0..4u32).prop_map(|(seconds, n)| Duration::new(seconds, n * 333_333_333));
    (near, any::<bool>()).prop_map(|(from, after)| match after {
        true => SystemTime::UNIX_EPOCH + from,
        false => SystemTime::UNIX_EPOCH - from,
    })
}

/// Bytes that are often almost an encoding, since they are rich in tags, escapes and end marks.
fn wild_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(select(vec![0x00, 0x00, 0x00, 0x01, 0x01, 0x61, 0xff]), 0..20)]
}

macro_rules! table_rows {
    ($($T:ty: $value:expr),+ $(,)?) => {
        [$({
            let bytes = encoded::<$T, _>(&$value);
            let view = <$T>::decode(&bytes).expect(stringify!($value));
            assert_eq!(encoded::<$T, _>(&view), bytes, "written back: {}", stringify!($value));
            assert!(<$T>::WIDTH.is_none_or(|width| width == bytes.len()));
            format!("//! | `{}` | `{}` | `{}` |", <$T>::type_name(), stringify!($value), hex(&bytes))
        }),+]
    };
}

#[test]
fn documented_vectors_are_what_the_code_writes() {
    let rows = table_rows![
        u8: 7,
        u16: 258,
        u32: 7,
        u64: 7,
        u128: 7,
        i8: -1,
        i16: -2,
        i32: -1,
        i32: 0,
        i32: 1,
        i64: i64::MIN,
        i128: i128::MAX,
        f32: -0.0,
        f32: 1.0,
        f64: f64::NEG_INFINITY,
        f64: -1.5,
        f64: 0.0,
        f64: 1.5,
        bool: true,
        char: 'é',
        (): (),
        str: "né",
        str: "a\0b",
        [u8]: b"\x00\xff",
        [u8; 4]: [1, 2, 3, 4],
        Option<u16>: None::<u16>,
        Option<u16>: Some(7),
        Option<String>: Some("a\0"),
        Option<Option<bool>>: Some(Some(true)),
        Duration: Duration::from_millis(1500),
        SystemTime: SystemTime::UNIX_EPOCH,
        SystemTime: SystemTime::UNIX_EPOCH - Duration::from_millis(500),
        Ipv4Addr: Ipv4Addr::LOCALHOST,
        Ipv6Addr: Ipv6Addr::LOCALHOST,
        Reverse<u16>: Reverse(258),
        Reverse<String>: Reverse("a"),
        (u8, i16): (7, -1),
        (String, u8): ("ann", 7),
        (String, u8): ("", 7),
        (String, String): ("a\0", "b"),
        (Option<String>, u8): (Some("a"), 7),
        (Option<String>, u8): (None::<&str>, 7),
        (String, Reverse<u16>, String): ("a", Reverse(7), "b"),
        (Vec<u8>, (bool, char), [u8; 2]): (b"\x00", (true, 'a'), [8, 9]),
    ];
    let header = "//! | name | value | bytes |\n//! |---|---|---|\n";
    let (_, below) = include_str!("mod.rs").split_once(header).expect("the table of test vectors");
    let documented: Vec<_> = below.lines().take_while(|line| line.starts_with("//! |")).collect();
    assert_eq!(documented, rows);
}

#[test]
fn type_names_are_those_of_the_encoding() {
    assert_eq!(String::type_name(), str::type_name());
    assert_eq!(Vec::<u8>::type_name(), <[u8]>::type_name());
    assert_eq!(<[u8; 16]>::type_name(), "[u8;16]");
    assert_eq!(<(String, u64)>::type_name(), "(str,u64)");
    assert_eq!(<(u8, (Vec<u8>, Option<f32>))>::type_name(), "(u8,(bytes,option(f32)))");
    assert_eq!(Pod::<[u32; 3]>::type_name(), "pod(12,4)");
}

#[test]
fn tuple_of_fixed_parts_has_a_fixed_width() {
    assert_eq!(<(u8, (u16, char), [u8; 5])>::WIDTH, Some(12));
    assert_eq!(<(u8, String)>::WIDTH, None);
    assert_eq!(<(u8, Option<u8>)>::WIDTH, None);
    assert_eq!(<(u8, u8, u8, u8, u8, u8)>::WIDTH, Some(6));
}

#[test]
fn literals_and_borrowed_forms_are_accepted() {
    fn key<K: Key + ?Sized>(value: &(impl Encode<K> + ?Sized)) -> Vec<u8> {
        encoded::<K, _>(value)
    }
    assert_eq!(key::<u64>(&7), [0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(key::<(String, u64)>(&("ann", 7)), key::<(String, u64)>(&("ann".to_string(), 7)));
    assert_eq!(key::<Option<i8>>(&Some(-1)), [1, 0x7f]);
    for bytes in [key::<str>("ann"), key::<str>(&"ann"), key::<String>(&String::from("ann"))] {
        assert_eq!(bytes, b"ann");
    }
    for bytes in [key::<[u8]>(b"ann"), key::<[u8]>(&b"ann"), key::<Vec<u8>>(&vec![b'a', b'n', b'n'])] {
        assert_eq!(bytes, b"ann");
    }
    assert_eq!(key::<[u8; 2]>(&[1, 2]), key::<[u8; 2]>(&&[1, 2]));
}

#[test]
fn part_without_nul_borrows() {
    assert!(matches!(str::decode_part(b"ann\0\0"), Ok((Cow::Borrowed("ann"), []))));
    assert!(matches!(str::decode_part(b"a\0\x01\0\0"), Ok((Cow::Owned(text), [])) if text == "a\0"));
    assert!(matches!(<[u8]>::decode_part(b"\0\0\0"), Ok((Cow::Borrowed([]), [0]))));
}

#[test]
fn errors_say_what_was_expected_and_found() {
    assert_eq!(error_of::<u64>(&[0; 5]), "u64: expected 8 bytes, found 5");
    assert_eq!(error_of::<i8>(&[]), "i8: expected 1 byte, found 0");
    assert_eq!(error_of::<()>(&[9]), "unit: expected 0 bytes, found 1");
    assert_eq!(error_of::<[u8; 4]>(&[9]), "[u8;4]: expected 4 bytes, found 1");
    assert_eq!(error_of::<bool>(&[2]), "bool: expected 0x00 or 0x01, found 0x02");
    assert_eq!(error_of::<char>(&[0, 0, 0xd8, 0]), "char: expected a Unicode scalar value, found 0xd800");
    assert_eq!(
        error_of::<str>(b"ab\xff"),
        "str: expected UTF-8, found invalid utf-8 sequence of 1 bytes from index 2"
    );
    assert_eq!(error_of::<Option<u8>>(&[]), "option(u8): expected the tag 0x00 or 0x01, found no bytes");
    assert_eq!(error_of::<Option<u8>>(&[2, 0]), "option(u8): expected the tag 0x00 or 0x01, found 0x02");
    assert_eq!(error_of::<Option<u8>>(&[0, 0]), "option(u8): expected the end of the bytes, found 1 more");
    assert_eq!(error_of::<(u8, u16)>(&[1, 2]), "tuple element 1: u16: expected 2 bytes, found 1");
    assert_eq!(error_of::<(u8, u8)>(&[1, 2, 3]), "(u8,u8): expected the end of the bytes, found 1 more");
    assert_eq!(
        error_of::<(String, u8)>(b"ann"),
        "tuple element 0: str: expected the end mark 00 00, found none in 3 bytes"
    );
    assert_eq!(
        error_of::<(String, u8)>(b"ann\0"),
        "tuple element 0: str: expected 00 or 01 after the 00 at offset 3, found the end of the bytes"
    );
    assert_eq!(
        error_of::<(Vec<u8>, u8)>(b"ann\0\x02\0\0"),
        "tuple element 0: bytes: expected 00 or 01 after the 00 at offset 3, found 02"
    );
}

#[test]
fn pod_is_read_in_place_and_checks_size_and_alignment() {
    let stored = [1u64, 2];
    let bytes = encoded_in_place(&stored);
    assert!(std::ptr::eq(Pod::<[u64; 2]>::decode(bytes).unwrap(), &stored));
    assert_eq!((Pod::<[u64; 2]>::WIDTH, Pod::<[u64; 2]>::ALIGN), (Some(16), align_of::<u64>()));
    assert_eq!(error_of::<Pod<u64>>(bytes), "pod(8,8): expected 8 bytes, found 16");
    assert_eq!(
        error_of::<Pod<u64>>(&bytes[3..11]),
        "pod(8,8): expected bytes aligned to 8, found them 3 past a multiple of it"
    );
}

fn encoded_in_place(value: &[u64; 2]) -> &[u8] {
    Encode::<Pod<[u64; 2]>>::encode(value)
}

#[test]
fn every_kind_of_range_gives_its_bounds() {
    use Bound::{Excluded, Included, Unbounded};

    fn bounds<K: ?Sized>(range: impl KeyRange<K>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        range.to_bounds()
    }
    assert_eq!(bounds::<u8>(..), (Unbounded, Unbounded));
    assert_eq!(bounds::<u8>(1..9), (Included(vec![1]), Excluded(vec![9])));
    assert_eq!(bounds::<u8>(1..=9), (Included(vec![1]), Included(vec![9])));
    assert_eq!(bounds::<u8>(1..), (Included(vec![1]), Unbounded));
    assert_eq!(bounds::<str>("a".."c"), (Included(b"a".to_vec()), Excluded(b"c".to_vec())));
    assert_eq!(bounds::<str>(.."x"), (Unbounded, Excluded(b"x".to_vec())));
    assert_eq!(bounds::<str>(..="x"), (Unbounded, Included(b"x".to_vec())));
    assert_eq!(bounds::<[u8]>(b"a"..b"c"), (Included(b"a".to_vec()), Excluded(b"c".to_vec())));
    assert_eq!(bounds::<u8>((Excluded(1), Unbounded)), (Excluded(vec![1]), Unbounded));
    assert_eq!(
        bounds::<(String, u8)>(("a", 1)..("a", 9)),
        (Included(b"a\0\0\x01".to_vec()), Excluded(b"a\0\0\x09".to_vec()))
    );
}

#[test]
fn prefix_end_is_none_only_when_nothing_is_above() {
    assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
    assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
    assert_eq!(prefix_end(b"\xff\xff"), None);
    assert_eq!(prefix_end(b""), None);
}

/// For `Key` types whose values are `Ord`: the plain and the part form have the order of the values.
macro_rules! ordered {
    ($($name:ident: $K:ty, $strategy:expr;)+) => {
        proptest! {$(
            #[test]
            fn $name(a in $strategy, b in $strategy) {
                let order = a.cmp(&b);
                prop_assert_eq!(encoded::<$K, _>(&a).cmp(&encoded::<$K, _>(&b)), order);

                let (mut part_a, mut part_b) = (encoded_part::<$K, _>(&a), encoded_part::<$K, _>(&b));
                prop_assert_eq!(part_a.cmp(&part_b), order);
                prop_assert_eq!(part_a.starts_with(&part_b), order.is_eq());

                // What follows a part decides only between equal parts.
                part_a.push(0xff);
                part_b.push(0x00);
                prop_assert_eq!(part_a.cmp(&part_b), order.then(Ordering::Greater));
            }
        )+}
    };
}

ordered! {
    u8_is_ordered: u8, any::<u8>();
    u16_is_ordered: u16, any::<u16>();
    u32_is_ordered: u32, any::<u32>();
    u64_is_ordered: u64, any::<u64>();
    u128_is_ordered: u128, any::<u128>();
    i8_is_ordered: i8, any::<i8>();
    i16_is_ordered: i16, any::<i16>();
    i32_is_ordered: i32, any::<i32>();
    i64_is_ordered: i64, any::<i64>();
    i128_is_ordered: i128, any::<i128>();
    bool_is_ordered: bool, any::<bool>();
    char_is_ordered: char, any::<char>();
    unit_is_ordered: (), Just(());
    str_is_ordered: String, text();
    bytes_are_ordered: Vec<u8>, blob();
    arrays_are_ordered: [u8; 3], any::<[u8; 3]>();
    option_of_integer_is_ordered: Option<i16>, any::<Option<i16>>();
    option_of_text_is_ordered: Option<String>, proptest::option::of(text());
    option_of_option_is_ordered: Option<Option<u8>>, any::<Option<Option<u8>>>();
    option_of_tuple_is_ordered: Option<(String, u8)>, proptest::option::of((text(), any::<u8>()));
    tuple_of_texts_is_ordered: (String, String), (text(), text());
    tuple_of_bytes_and_number_is_ordered: (Vec<u8>, i8), (blob(), any::<i8>());
    tuple_of_options_is_ordered: (Option<String>, Option<u8>, bool),
        (proptest::option::of(text()), any::<Option<u8>>(), any::<bool>());
    tuple_of_nine_is_ordered: (u8, u8, String, u8, u8, u8, String, u8, u8),
        (0..2u8, 0..2u8, text(), 0..2u8, 0..2u8, 0..2u8, text(), 0..2u8, 0..2u8);
    descending_number_is_ordered: Reverse<u16>, any::<u16>().prop_map(Reverse);
    descending_text_is_ordered: Reverse<String>, text().prop_map(Reverse);
    descending_within_a_tuple_is_ordered: (String, Reverse<Option<String>>, u8),
        (text(), proptest::option::of(text()).prop_map(Reverse), any::<u8>());
    descending_twice_is_ordered: Reverse<(String, Reverse<String>)>,
        (text(), text()).prop_map(|(a, b)| Reverse((a, Reverse(b))));
    durations_are_ordered: Duration, duration();
    times_are_ordered: SystemTime, time();
    addresses_are_ordered: (Ipv4Addr, Ipv6Addr), any::<(Ipv4Addr, Ipv6Addr)>();
    nested_tuple_is_ordered: ((String, u8), String), ((text(), 0..2u8), text());
    tuple_of_six_is_ordered: (String, bool, Vec<u8>, (), char, i128),
        (text(), any::<bool>(), blob(), Just(()), any::<char>(), any::<i128>());
}

/// For types whose view equals the value: both forms give the value back.
macro_rules! round_trips {
    ($($name:ident: $K:ty, $strategy:expr, $same:expr;)+) => {
        proptest! {$(
            #[test]
            fn $name(value in $strategy) {
                let same: fn(&$K, &$K) -> bool = $same;
                let bytes = encoded::<$K, _>(&value);
                prop_assert!(same(&<$K>::decode(&bytes).unwrap().into(), &value));

                let part = encoded_part::<$K, _>(&value);
                let followed = [&part[..], b"\0\x01rest"].concat();
                let (found, rest) = <$K>::decode_part(&followed).unwrap();
                prop_assert!(same(&found.into(), &value));
                prop_assert_eq!(rest, b"\0\x01rest");
            }
        )+}
    };
}

round_trips! {
    u8_round_trips: u8, any::<u8>(), PartialEq::eq;
    u64_round_trips: u64, any::<u64>(), PartialEq::eq;
    u128_round_trips: u128, any::<u128>(), PartialEq::eq;
    i8_round_trips: i8, any::<i8>(), PartialEq::eq;
    i64_round_trips: i64, any::<i64>(), PartialEq::eq;
    i128_round_trips: i128, any::<i128>(), PartialEq::eq;
    f32_round_trips: f32, any::<u32>().prop_map(f32::from_bits), |a, b| a.to_bits() == b.to_bits();
    f64_round_trips: f64, any::<u64>().prop_map(f64::from_bits), |a, b| a.to_bits() == b.to_bits();
    bool_round_trips: bool, any::<bool>(), PartialEq::eq;
    char_round_trips: char, any::<char>(), PartialEq::eq;
    str_round_trips: String, text(), PartialEq::eq;
    bytes_round_trip: Vec<u8>, blob(), PartialEq::eq;
    duration_round_trips: Duration, duration(), PartialEq::eq;
    time_round_trips: SystemTime, time(), PartialEq::eq;
    descending_text_round_trips: Reverse<String>, text().prop_map(Reverse), PartialEq::eq;
    descending_tuple_round_trips: Reverse<(String, Reverse<u16>)>,
        (text(), any::<u16>()).prop_map(|(a, b)| Reverse((a, Reverse(b)))), PartialEq::eq;
    option_round_trips: Option<u16>, any::<Option<u16>>(), PartialEq::eq;
    tuple_round_trips: (Option<u16>, (i32, char)), any::<(Option<u16>, (i32, char))>(), PartialEq::eq;
}

macro_rules! accept_only_what_encode_writes {
    ($bytes:expr; $($T:ty),+) => {$(
        if let Ok(view) = <$T>::decode($bytes) {
            prop_assert_eq!(&encoded::<$T, _>(&view), $bytes);
        }
        if let Ok((part, rest)) = <$T>::decode_part($bytes) {
            prop_assert_eq!(&[&encoded_part::<$T, _>(&part), rest].concat(), $bytes);
        }
    )+};
}

proptest! {
    #[test]
    fn f32_has_total_order(a in any::<u32>(), b in any::<u32>()) {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        prop_assert_eq!(encoded::<f32, _>(&a).cmp(&encoded::<f32, _>(&b)), a.total_cmp(&b));
    }

    #[test]
    fn f64_has_total_order(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
        prop_assert_eq!(encoded::<f64, _>(&a).cmp(&encoded::<f64, _>(&b)), a.total_cmp(&b));
    }

    #[test]
    fn texts_in_a_tuple_come_back(a in text(), b in blob(), c in proptest::option::of(text())) {
        let bytes = encoded::<(String, Vec<u8>, Option<String>), _>(&(&a, &b, c.as_deref()));
        let view = <(String, Vec<u8>, Option<String>)>::decode(&bytes).unwrap();
        prop_assert_eq!(view, (a.into(), b.into(), c.map(Cow::Owned)));
    }

    #[test]
    fn wild_bytes_decode_only_if_they_are_an_encoding(bytes in wild_bytes()) {
        accept_only_what_encode_writes!(
            &bytes; u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, (), str, String, [u8],
            Vec<u8>, [u8; 3], Option<u8>, Option<String>, Option<Option<bool>>, (bool, u8), (String, String),
            (Vec<u8>, Option<Vec<u8>>, ()), (Option<(String, bool)>, [u8; 2], u8, Vec<u8>),
            Duration, SystemTime, Ipv4Addr, Reverse<u16>, Reverse<String>, Reverse<(Option<String>, Reverse<u8>)>,
            (Reverse<String>, String)
        );
        let _ = Pod::<u8>::decode(&bytes);
        let _ = Pod::<[u64; 2]>::decode(&bytes);
        let _ = <[u32]>::decode(&bytes);
        let _ = <[[u8; 3]]>::decode(&bytes);
    }

    #[test]
    fn prefix_end_is_above_the_prefix_and_nothing_between(prefix in blob(), suffix in blob()) {
        if let Some(end) = prefix_end(&prefix) {
            prop_assert!([&prefix[..], &suffix].concat() < end);
            prop_assert!(!end.starts_with(&prefix));
            let outside = [&end[..end.len() - 1], &[end[end.len() - 1] - 1]].concat();
            prop_assert!(prefix.starts_with(&outside));
        }
    }
}

#[test]
fn extreme_times_are_written_and_read() {
    let bytes = |seconds: i64, nanos: u32| {
        let mut bytes = Encode::<i64>::encode(&seconds).to_vec();
        bytes.extend(nanos.to_be_bytes());
        bytes
    };
    for (seconds, nanos) in
        [(i64::MIN, 0), (i64::MIN, 999_999_999), (-1, 999_999_999), (0, 0), (i64::MAX, 999_999_999)]
    {
        let time = SystemTime::decode(&bytes(seconds, nanos)).unwrap();
        assert_eq!(encoded::<SystemTime, _>(&time), bytes(seconds, nanos), "{seconds} {nanos}");
    }
    assert_eq!(
        error_of::<Duration>(&bytes(0, 1_000_000_000)),
        "duration: expected nanoseconds below 10^9, found 1000000000"
    );
}

#[test]
fn elements_are_read_in_place() {
    let stored = [1u32, 2, 3];
    let bytes = Encode::<[u32]>::encode(&stored);
    assert!(std::ptr::eq(<[u32]>::decode(bytes).unwrap(), &stored[..]));
    assert_eq!(<[u32]>::ALIGN, 4);
    assert_eq!(<[u32]>::decode(&[]).unwrap(), [0u32; 0]);
    let order = if cfg!(target_endian = "little") { "le" } else { "be" };
    assert_eq!(<[u32]>::type_name(), format!("[u32{order}]"));
    assert_eq!(<[[u8; 16]]>::type_name(), "[[u8;16]]");
    assert_eq!(<[zerocopy::big_endian::U64]>::type_name(), "[u64be]");
    assert_eq!(
        error_of::<[u32]>(&bytes[..7]),
        format!("[u32{order}]: expected a multiple of 4 bytes, found 7")
    );
    assert_eq!(
        error_of::<[u32]>(&bytes[1..9]),
        format!("[u32{order}]: expected bytes aligned to 4, found them 1 past a multiple of it")
    );
}

#[test]
fn prefix_is_what_longer_keys_begin_with() {
    fn start<K: ?Sized>(range: impl KeyRange<K>) -> Bound<Vec<u8>> {
        range.to_bounds().0
    }
    let included = |bytes: &[u8]| Bound::Included(bytes.to_vec());
    assert_eq!(start::<str>(Prefix("an")), included(b"an"));
    assert_eq!(start::<[u8]>(Prefix(b"an")), included(b"an"));
    assert_eq!(start::<(String, u8)>(Prefix(("an",))), included(b"an\0\0"));
    assert_eq!(start::<(u8, String, u8)>(Prefix((7, "an"))), included(b"\x07an\0\0"));
    assert_eq!(start::<(u8, u8, u8, u8)>(Prefix((1,))), included(&[1]));
    assert_eq!(start::<(u8, u8)>(Prefix((1, 2))), included(&[1, 2]));
    assert_eq!(KeyRange::<(u8, u8)>::to_bounds(&Prefix((0xff,))).1, Bound::Unbounded);
}

#[test]
fn long_names_are_cut_and_differ() {
    let long = |last: char| short_name("ä".repeat(200) + &last.to_string());
    assert_eq!(short_name("u8".into()), "u8");
    assert!(long('a').len() <= LONGEST_NAME, "{}", long('a').len());
    assert_ne!(long('a'), long('b'));
}

#[test]
fn checks_find_what_does_not_hold() {
    /// Little-endian, so without order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Swapped(u16);

    impl Codec for Swapped {
        type View<'a> = Swapped;

        const WIDTH: Option<usize> = Some(2);

        fn type_name() -> Cow<'static, str> {
            "swapped".into()
        }

        fn decode(bytes: &[u8]) -> Result<Swapped, DecodeError> {
            exactly::<Swapped, 2>(bytes).map(|bytes| Swapped(u16::from_le_bytes(*bytes)))
        }
    }

    impl Key for Swapped {}

    impl Encode<Swapped> for Swapped {
        type Bytes<'a> = [u8; 2];

        fn encode(&self) -> [u8; 2] {
            self.0.to_le_bytes()
        }
    }

    assert_key::<Swapped, _>(&[Swapped(1), Swapped(2)]);
    let found =
        std::panic::catch_unwind(|| assert_key::<Swapped, _>(&[Swapped(1), Swapped(256)])).unwrap_err();
    assert_eq!(found.downcast_ref::<String>().unwrap(), "Swapped(1) < Swapped(256), but [01 00] > [00 01]");
    assert_key_part::<(String, Reverse<Option<u8>>), _>(&[
        ("", Reverse(None)),
        ("", Reverse(Some(7))),
        ("a\0", Reverse(Some(0))),
        ("a", Reverse(None)),
    ]);
}
