//! Points in time as RFC 3339 writes them, in UTC and in whole seconds.

use crate::time::UnixTime;

const FORM: &str = "0000-00-00T00:00:00Z";

/// Parses a time such as `2026-12-31T00:00:00Z`. `None`: the text has another form, or names no time since 1970. A leap
/// second is none.
pub(super) fn parse(text: &str) -> Option<UnixTime> {
    let fits = |(form, byte): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if text.len() != FORM.len() || !FORM.bytes().zip(text.bytes()).all(fits) {
        return None;
    }
    let mut numbers = text.split(['-', 'T', ':', 'Z']).map(|digits| digits.parse::<u32>().ok());
    let mut within = |first, last| numbers.next().flatten().filter(|number| (first..=last).contains(number));
    let (year, month) = (within(1970, 9999)?, within(1, 12)?);
    let day = within(1, days_in_month(year, month))?;
    let (hour, minute, second) = (within(0, 23)?, within(0, 59)?, within(0, 59)?);
    let clock = [(24, hour), (60, minute), (60, second)];
    let seconds = clock.into_iter().fold(u64::from(days_before(year, month, day)), |total, (unit, number)| {
        total.saturating_mul(unit).saturating_add(number.into())
    });
    Some(UnixTime::from_millis(seconds.saturating_mul(1000)))
}

/// The days from 1970 to this day.
fn days_before(year: u32, month: u32, day: u32) -> u32 {
    let years = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 });
    let months = (1..month).map(|month| days_in_month(year, month));
    years.chain(months).fold(day.saturating_sub(1), u32::saturating_add)
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_one_form_only() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1994-11-06T08:49:37Z", 784_111_777),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-12-31T00:00:00Z", 1_798_675_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(UnixTime::from_millis(seconds * 1000)), "{text}");
        }
        for text in [
            "",
            "2026-12-31",
            "2026-12-31T00:00:00",
            "2026-12-31t00:00:00z",
            "2026-12-31 00:00:00Z",
            "2026-12-31T00:00:00+00:00",
            "2026-12-31T00:00:00.5Z",
            "2026-12-31T00:00:00ZZ",
            " 2026-12-31T00:00:00Z",
            "2026-12-32T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-00T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "2026-12-31T23:60:00Z",
            "2026-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "+026-12-31T00:00:00Z",
            "２026-12-31T00:00:0Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
