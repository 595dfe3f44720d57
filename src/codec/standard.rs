//! Types of the standard library that are often part of a key: moments, spans of time, network addresses.

use super::numbers::fixed_width_parts;
use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

const NANOS: u32 = 1_000_000_000;

impl Codec for Duration {
    type View<'a> = Duration;

    const WIDTH: Option<usize> = Some(12);

    fn type_name() -> Cow<'static, str> {
        "duration".into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Duration, DecodeError> {
        let (seconds, nanos) = seconds_and_nanos::<Duration>(bytes)?;
        Ok(Duration::new(seconds, nanos))
    }
}

impl Encode<Duration> for Duration {
    type Bytes<'a> = [u8; 12];

    fn encode(&self) -> [u8; 12] {
        joined(self.as_secs(), self.subsec_nanos())
    }
}

impl Codec for SystemTime {
    type View<'a> = SystemTime;

    const WIDTH: Option<usize> = Some(12);

    fn type_name() -> Cow<'static, str> {
        "time".into()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<SystemTime, DecodeError> {
        let (flipped, nanos) = seconds_and_nanos::<SystemTime>(bytes)?;
        let seconds = (flipped as i64) ^ i64::MIN;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
            _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
        };
        second.and_then(|second| second.checked_add(Duration::new(0, nanos))).ok_or_else(|| {
            DecodeError::new(format!("time: expected one that the system has, found {seconds} s"))
        })
    }
}

impl Encode<SystemTime> for SystemTime {
    type Bytes<'a> = [u8; 12];

    fn encode(&self) -> [u8; 12] {
        let (seconds, nanos) = match self.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
            Err(error) => before_the_epoch(error.duration()),
        };
        joined((seconds ^ i64::MIN) as u64, nanos)
    }
}

/// Seconds down to the whole one before, and nanoseconds up from it.
fn before_the_epoch(before: Duration) -> (i64, u32) {
    let seconds = (before.as_secs() as i64).wrapping_neg();
    match before.subsec_nanos() {
        0 => (seconds, 0),
        nanos => (seconds - 1, NANOS - nanos),
    }
}

fn joined(seconds: u64, nanos: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&seconds.to_be_bytes());
    bytes[8..].copy_from_slice(&nanos.to_be_bytes());
    bytes
}

fn seconds_and_nanos<T: Codec>(bytes: &[u8]) -> Result<(u64, u32), DecodeError> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, nanos @ ..] = exactly::<T, 12>(bytes)?;
    let nanos = u32::from_be_bytes(*nanos);
    if nanos >= NANOS {
        let name = T::type_name();
        return Err(DecodeError::new(format!("{name}: expected nanoseconds below 10^9, found {nanos}")));
    }
    Ok((u64::from_be_bytes([*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7]), nanos))
}

macro_rules! addresses {
    ($($T:ident $name:literal $len:literal),+) => {$(
        impl Codec for $T {
            type View<'a> = $T;

            const WIDTH: Option<usize> = Some($len);

            fn type_name() -> Cow<'static, str> {
                $name.into()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<$T, DecodeError> {
                exactly::<$T, $len>(bytes).map(|octets| $T::from(*octets))
            }
        }

        impl Encode<$T> for $T {
            type Bytes<'a> = [u8; $len];

            fn encode(&self) -> [u8; $len] {
                self.octets()
            }
        }
    )+};
}

addresses!(Ipv4Addr "ipv4" 4, Ipv6Addr "ipv6" 16);

fixed_width_parts!(Duration, SystemTime, Ipv4Addr, Ipv6Addr);
