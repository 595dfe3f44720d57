//! Keys and values: the order of encodings is that of the values, decoding gives back what was encoded, and no bytes
//! make decoding panic. What decodes encodes to the same bytes, but for a float that is a NaN of another pattern.

use super::input::Input;
use mapleaf::codec::{Codec, Encode, EncodePart, Key, KeyPart, Pod};
use std::cmp::{Ordering, Reverse};
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
struct Visit {
    page: String,
    minute: Reverse<u32>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
enum Event {
    Login(Visit),
    #[mapleaf(tag = 7)]
    Moved {
        from: Option<i16>,
        to: Vec<u8>,
    },
    Logout,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 8 {
        0 => numbers(&mut input),
        1 => texts(&mut input),
        2 => tuples(&mut input),
        3 => options(&mut input),
        4 => floats(&mut input),
        5 => derived(&mut input),
        _ => any_bytes(input.rest()),
    }
}

fn encoded<K: ?Sized>(value: &(impl Encode<K> + ?Sized)) -> Vec<u8> {
    value.encode().as_ref().to_vec()
}

fn part<K: ?Sized>(value: &(impl EncodePart<K> + ?Sized)) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode_part(&mut out);
    out
}

/// A pair of values whose views are the values themselves.
fn pair<'b, K>(a: K, b: K, out: &'b mut [Vec<u8>; 4])
where
    K: Key + KeyPart + Encode<K> + EncodePart<K> + Ord + Debug + Codec<View<'b> = K>,
    K: KeyPart<Part<'b> = K>,
{
    let order = a.cmp(&b);
    *out = [encoded::<K>(&a), encoded::<K>(&b), part::<K>(&a), part::<K>(&b)];
    let [plain_a, plain_b, part_a, part_b] = &*out;
    assert_eq!(plain_a.cmp(plain_b), order, "{a:?} and {b:?}");
    assert_eq!(part_a.cmp(part_b), order, "{a:?} and {b:?} as parts");
    assert_eq!(K::decode(plain_a).unwrap(), a);
    let (found, rest) = K::decode_part(part_a).unwrap();
    assert!(found == a && rest.is_empty());
    assert!(K::WIDTH.is_none_or(|width| width == plain_a.len()));
}

fn numbers(input: &mut Input<'_>) {
    let (a, b) = (input.number(), input.number());
    let (c, d) = (input.number(), input.number());
    let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
    pair::<u8>(a as u8, b as u8, &mut Default::default());
    pair::<u16>(a as u16, b as u16, &mut Default::default());
    pair::<u32>(a as u32, b as u32, &mut Default::default());
    pair::<u64>(a, b, &mut Default::default());
    pair::<u128>(wide(a, c), wide(b, d), &mut Default::default());
    pair::<i8>(a as i8, b as i8, &mut Default::default());
    pair::<i16>(a as i16, b as i16, &mut Default::default());
    pair::<i32>(a as i32, b as i32, &mut Default::default());
    pair::<i64>(a as i64, b as i64, &mut Default::default());
    pair::<i128>(wide(a, c) as i128, wide(b, d) as i128, &mut Default::default());
    pair::<bool>(a & 1 == 1, b & 1 == 1, &mut Default::default());
    pair::<()>((), (), &mut Default::default());
    if let (Some(a), Some(b)) = (char::from_u32(a as u32), char::from_u32(b as u32)) {
        pair::<char>(a, b, &mut Default::default());
    }
}

fn floats(input: &mut Input<'_>) {
    let (a, b) = (f64::from_bits(input.u64()), f64::from_bits(input.u64()));
    assert_eq!(encoded::<f64>(&a).cmp(&encoded::<f64>(&b)), a.total_cmp(&b), "{a} and {b}");
    assert_eq!(f64::decode(&encoded::<f64>(&a)).unwrap().to_bits(), a.to_bits());
    let (a, b) = (f32::from_bits(input.u32()), f32::from_bits(input.u32()));
    assert_eq!(encoded::<f32>(&a).cmp(&encoded::<f32>(&b)), a.total_cmp(&b), "{a} and {b}");
    assert_eq!(part::<f32>(&a).cmp(&part::<f32>(&b)), a.total_cmp(&b));
    assert_eq!(f32::decode(&encoded::<f32>(&a)).unwrap().to_bits(), a.to_bits());
}

/// Bytes with NULs and with common beginnings.
fn blob(input: &mut Input<'_>) -> Vec<u8> {
    let len = input.below(12);
    let mut bytes = input.bytes(len).to_vec();
    if input.u8().is_multiple_of(2) {
        bytes.iter_mut().for_each(|byte| *byte %= 3);
    }
    bytes
}

fn text(input: &mut Input<'_>) -> String {
    String::from_utf8_lossy(&blob(input)).into_owned()
}

fn texts(input: &mut Input<'_>) {
    let (a, b) = (blob(input), blob(input));
    let (plain_a, plain_b, part_a, part_b) =
        (encoded::<[u8]>(&a), encoded::<[u8]>(&b), part::<[u8]>(&a), part::<[u8]>(&b));
    assert_eq!((plain_a.cmp(&plain_b), part_a.cmp(&part_b)), (a.cmp(&b), a.cmp(&b)), "{a:?} and {b:?}");
    assert_eq!(<[u8]>::decode(&plain_a).unwrap(), a);
    let joined = [&part_a[..], &plain_b].concat();
    let (found, rest) = <[u8]>::decode_part(&joined).unwrap();
    assert!(found[..] == a && rest == plain_b, "a part says where it ends");
    let (a, b) = (text(input), text(input));
    assert_eq!(encoded::<str>(&a).cmp(&encoded::<str>(&b)), a.cmp(&b));
    assert_eq!(part::<str>(&a).cmp(&part::<str>(&b)), a.cmp(&b));
    assert_eq!(str::decode(&encoded::<str>(&a)).unwrap(), a);
    let four = |input: &mut Input<'_>| input.u32().to_le_bytes();
    let (a, b) = (four(input), four(input));
    assert_eq!(encoded::<[u8; 4]>(&a).cmp(&encoded::<[u8; 4]>(&b)), a.cmp(&b));
    assert_eq!(<[u8; 4]>::decode(&encoded::<[u8; 4]>(&a)).unwrap(), &a);
}

type Row = (String, i32, Vec<u8>);
type Deep = ((String, u8), Option<Vec<u8>>, [u8; 2], i64);

fn tuples(input: &mut Input<'_>) {
    let row = |input: &mut Input<'_>| -> Row { (text(input), input.number() as i32, blob(input)) };
    let (a, b) = (row(input), row(input));
    let (x, y) = (encoded::<Row>(&a), encoded::<Row>(&b));
    assert_eq!(x.cmp(&y), a.cmp(&b), "{a:?} and {b:?}");
    let (s, n, v) = Row::decode(&x).unwrap();
    assert_eq!((&s[..], n, &v[..]), (&a.0[..], a.1, &a.2[..]));
    let deep = |input: &mut Input<'_>| -> Deep {
        let option = (input.u8().is_multiple_of(2)).then(|| blob(input));
        ((text(input), input.u8()), option, [input.u8(), 0], input.number() as i64)
    };
    let (a, b) = (deep(input), deep(input));
    let (x, y) = (encoded::<Deep>(&a), encoded::<Deep>(&b));
    assert_eq!(x.cmp(&y), a.cmp(&b), "{a:?} and {b:?}");
    let ((s, byte), option, two, n) = Deep::decode(&x).unwrap();
    assert_eq!((&s[..], byte, option.as_deref(), two, n), (&a.0.0[..], a.0.1, a.1.as_deref(), &a.2, a.3));
    // A tuple begins with the parts of its beginning.
    assert!(x.starts_with(&part::<(String, u8)>(&a.0)));
}

fn options(input: &mut Input<'_>) {
    let one = |input: &mut Input<'_>| (!input.u8().is_multiple_of(4)).then(|| text(input));
    let (a, b) = (one(input), one(input));
    let (x, y) = (encoded::<Option<String>>(&a), encoded::<Option<String>>(&b));
    assert_eq!(x.cmp(&y), a.cmp(&b), "{a:?} and {b:?}");
    assert_eq!(Option::<String>::decode(&x).unwrap(), a.as_deref());
    let two = |input: &mut Input<'_>| {
        (!input.u8().is_multiple_of(4)).then(|| (!input.u8().is_multiple_of(4)).then(|| input.number()))
    };
    let (a, b) = (two(input), two(input));
    let (x, y) = (encoded::<Option<Option<u64>>>(&a), encoded::<Option<Option<u64>>>(&b));
    assert_eq!(x.cmp(&y), a.cmp(&b), "{a:?} and {b:?}");
    assert_eq!(part::<Option<Option<u64>>>(&a).cmp(&part::<Option<Option<u64>>>(&b)), a.cmp(&b));
    assert_eq!(Option::<Option<u64>>::decode(&x).unwrap(), a);
}

fn derived(input: &mut Input<'_>) {
    let visit = |input: &mut Input<'_>| Visit { page: text(input), minute: Reverse(input.number() as u32) };
    let event = |input: &mut Input<'_>| match input.u8() % 3 {
        0 => Event::Login(visit(input)),
        1 => {
            let from = input.u8().is_multiple_of(2).then(|| input.number() as i16);
            Event::Moved { from, to: blob(input) }
        }
        _ => Event::Logout,
    };
    let moment = |input: &mut Input<'_>| {
        let span = Duration::new(input.number() >> 1, input.u32() % 1_000_000_000);
        let before = input.u8().is_multiple_of(2).then(|| SystemTime::UNIX_EPOCH.checked_sub(span)).flatten();
        before.unwrap_or(SystemTime::UNIX_EPOCH + span / 2)
    };
    pair::<Visit>(visit(input), visit(input), &mut Default::default());
    pair::<Event>(event(input), event(input), &mut Default::default());
    let (a, b) = (Reverse(event(input)), Reverse(event(input)));
    pair::<Reverse<Event>>(a, b, &mut Default::default());
    pair::<SystemTime>(moment(input), moment(input), &mut Default::default());
}

fn any_bytes(bytes: &[u8]) {
    macro_rules! each {
        ($($K:ty),* $(,)?) => {$(
            // What decodes is what would have been written.
            if let Ok(value) = <$K>::decode(bytes) {
                assert_eq!(encoded::<$K>(&value), bytes, "{}", <$K>::type_name());
            }
            if let Ok((_, rest)) = <$K>::decode_part(bytes) {
                assert!(bytes.ends_with(rest));
            }
        )*};
    }
    each!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, (), str, [u8]);
    each!((u8, i16), Option<u64>, Option<Option<bool>>, (f32, char));
    each!(Visit, Event, Reverse<Event>, Reverse<String>, Duration, SystemTime, (Event, Visit));
    macro_rules! views {
        ($($K:ty),* $(,)?) => {$(
            let order = <$K>::decode(bytes).map(drop).is_ok();
            let part = <$K>::decode_part(bytes).map(|(_, rest)| rest.len());
            assert!(part.is_ok_and(|rest| rest <= bytes.len()) || !order || bytes.len() < 2, "{}", <$K>::type_name());
        )*};
    }
    views!((String, u64), ((String, Vec<u8>), Option<String>), ([u8; 3], Vec<u8>), Option<(Vec<u8>, char)>);
    let _ = (<[u8; 3]>::decode(bytes), Pod::<[u64; 2]>::decode(bytes), Pod::<u32>::decode(bytes));
    let _: Ordering = bytes.cmp(b"");
}
