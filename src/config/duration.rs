//! The JSON form of a `google.protobuf.Duration`.

use std::time::Duration;

const NEGATIVE: &str = "must not be negative";
const TOO_LONG: &str = "must be at most 315576000000s";
const MAX_SECONDS: u64 = 315_576_000_000;

/// The duration of so many seconds and nanoseconds.
///
/// # Errors
/// The value is negative, exceeds 10,000 years, or has a second or more of nanoseconds.
pub(super) fn of(seconds: i64, nanos: u32) -> Result<Duration, &'static str> {
    let seconds = u64::try_from(seconds).map_err(|_| NEGATIVE)?;
    if seconds > MAX_SECONDS {
        return Err(TOO_LONG);
    }
    if nanos >= 1_000_000_000 {
        return Err("must have less than 1000000000 nanos");
    }
    Ok(Duration::new(seconds, nanos))
}

/// Parses a duration in seconds: `"300s"`, `"0.5s"`.
///
/// # Errors
/// The value is negative, lacks the unit, has more than nine fraction digits, or exceeds 10,000 years.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "must be a duration in seconds such as \"300s\" or \"0.5s\"";

    let number = text.strip_suffix('s').ok_or(SHAPE)?;
    if number.starts_with('-') {
        return Err(NEGATIVE);
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(SHAPE);
    }
    let seconds = whole.parse().map_err(|_| TOO_LONG)?;
    of(seconds, format!("{fraction:0<9}").parse().map_err(|_| SHAPE)?)
}

/// The duration in seconds, as [`parse`] reads it.
pub(super) fn text(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_proto_json() {
        assert_eq!(parse("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("0.000000001s"), Ok(Duration::from_nanos(1)));
        for good in ["0s", "10s", "0.5s", "300.000000001s"] {
            assert_eq!(parse(good).map(text).as_deref(), Ok(good));
        }
        for bad in ["", "s", "300", "5m", "-1s", "1.s", ".5s", "1.0000000001s", "1e3s", "+1s", "99999999999999999999s"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(of(300, 5), Ok(Duration::new(300, 5)));
        for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (0, 1_000_000_000)] {
            assert!(of(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
