//! `Retry-After`: how long a server asks to be left alone, in seconds or as a date (RFC 9110 §10.2.3).
//!
//! WNS has only been seen to send seconds (field observation); a date is read all the same, in the three forms of RFC 9110 §5.6.7.
//! The wait found is the server's word: the caller clamps it.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const DAY_SHORT_LEN: usize = 3;

/// Reads a `Retry-After` value; a date in the past is a wait of zero, anything that is no value of the header is `None`.
#[must_use]
pub fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_ascii();
    if let Some(seconds) = seconds(value) {
        return Some(seconds);
    }
    let wait = http_date(value, now)?.duration_since(now);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// Reads a whole number of seconds, as `Retry-After` and `X-WNS-CONTINUE-AFTER` carry it; too many digits saturate.
#[must_use]
pub fn seconds(value: &str) -> Option<Duration> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)))
}

/// Reads the three date forms; `now` decides the century of a two-digit year.
fn http_date(value: &str, now: Timestamp) -> Option<Timestamp> {
    let parts: Vec<&str> = value.split_ascii_whitespace().take(7).collect();
    let (year, month, day, time) = match parts.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [name, day, month, year, time, "GMT"] if is_day(name.strip_suffix(',')?, DAY_SHORT_LEN) => {
            (four_digits(year)?, *month, *day, *time)
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        [name, date, time, "GMT"] if is_day(name.strip_suffix(',')?, usize::MAX) => {
            let mut fields = date.splitn(3, '-');
            let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
            (full_year(digits(year, 2)?, now), month, day, *time)
        }
        // Sun Nov  6 08:49:37 1994
        [name, month, day, time, year] if is_day(name, DAY_SHORT_LEN) => {
            (four_digits(year)?, *month, *day, *time)
        }
        [..] => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let mut clock = time.splitn(3, ':').map(|field| digits(field, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let date = DateTime::new(
        year,
        i8::try_from(month + 1).ok()?,
        small(day_digits(day)?)?,
        small(hour)?,
        small(minute)?,
        // A leap second is a valid HTTP date and no valid civil time.
        small(if second == 60 { 59 } else { second })?,
        0,
    );
    TimeZone::UTC.to_timestamp(date.ok()?).ok()
}

/// True for the name of a day of the week, cut to `len` letters. Whether it is the right day is nobody's business here.
fn is_day(name: &str, len: usize) -> bool {
    DAYS.iter().any(|day| name == &day[..day.len().min(len)])
}

fn digits(text: &str, count: usize) -> Option<u16> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn four_digits(text: &str) -> Option<i16> {
    digits(text, 4).and_then(|year| i16::try_from(year).ok())
}

/// `asctime` pads the day with a space, the others with a zero.
fn day_digits(text: &str) -> Option<u16> {
    digits(text, 2).or_else(|| digits(text, 1))
}

fn small(number: u16) -> Option<i8> {
    i8::try_from(number).ok()
}

/// More than 50 years ahead means the century before (RFC 9110 §5.6.7).
fn full_year(two_digits: u16, now: Timestamp) -> i16 {
    let this_year = now.to_zoned(TimeZone::UTC).year();
    let two_digits = i16::try_from(two_digits).expect("two digits fit");
    let year = this_year - this_year.rem_euclid(100) + two_digits;
    if year > this_year + 50 {
        year - 100
    } else {
        year
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "1994-11-06T08:49:07Z".parse().unwrap()
    }

    fn wait(value: &str) -> Option<u64> {
        parse(value, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_all_three_date_forms_are_read() {
        for (value, seconds) in [
            ("900", 900),
            ("0", 0),
            (" 15 ", 15),
            ("0000000000000000000000001", 1),
            ("99999999999999999999999999", u64::MAX),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 30),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 30),
            ("Sun Nov  6 08:49:37 1994", 30),
            ("Sun Nov 16 08:49:07 1994", 864_000),
            ("Sat, 31 Dec 1994 23:59:60 GMT", 4_806_652),
            ("Sun, 06 Nov 1994 08:49:07 GMT", 0),
            ("Fri, 04 Nov 1994 08:49:37 GMT", 0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ] {
            assert_eq!(wait(value), Some(seconds), "{value}");
        }
    }

    #[test]
    fn a_two_digit_year_is_never_more_than_fifty_years_ahead() {
        let at = |now: &str| parse("Sunday, 06-Nov-76 08:49:37 GMT", now.parse().unwrap()).unwrap();

        assert_eq!(at("2026-11-06T08:49:37Z").as_secs() / 86_400, 18_263);
        assert_eq!(at("2025-11-06T08:49:37Z"), Duration::ZERO);
    }

    #[test]
    fn garbage_is_no_wait() {
        for value in [
            "",
            " ",
            "soon",
            "-1",
            "+5",
            "1.5",
            "9e9",
            "900s",
            "0x10",
            "٣",
            "900, 900",
            "Sun",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov 08:49:37 GMT",
            "Sun Nov 006 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(wait(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_second_of_four_centuries_is_read_back(at in -5_000_000_000_i64..8_000_000_000) {
            let at = Timestamp::from_second(at).unwrap();
            let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(http_date(&text, now()), Some(at));
            let text = at.strftime("%a %b %e %H:%M:%S %Y").to_string();
            prop_assert_eq!(http_date(&text, now()), Some(at));
        }

        #[test]
        fn any_text_is_answered(value in "\\PC{0,40}|[A-Z][a-z]{2,8},? [0-9A-Za-z: -]{0,30}( GMT)?") {
            let wait = parse(&value, now());
            prop_assert!(wait.is_none() || value.contains(|c: char| c.is_ascii_digit()));
        }
    }
}
