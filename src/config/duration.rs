//! The JSON form of a `google.protobuf.Duration`.

use std::time::Duration;

/// Parses a duration in seconds: `"300s"`, `"0.5s"`.
///
/// # Errors
/// The value is negative, lacks the unit, has more than nine fraction digits, or exceeds 10,000 years.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "must be a duration in seconds such as \"300s\" or \"0.5s\"";
    const TOO_LONG: &str = "must be at most 315576000000s";
    const MAX_SECONDS: u64 = 315_576_000_000;

    let number = text.strip_suffix('s').ok_or(SHAPE)?;
    if number.starts_with('-') {
        return Err("must not be negative");
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(SHAPE);
    }
    let seconds: u64 = whole.parse().map_err(|_| TOO_LONG)?;
    if seconds > MAX_SECONDS {
        return Err(TOO_LONG);
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().map_err(|_| SHAPE)?;
    Ok(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_proto_json() {
        assert_eq!(parse("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("0.000000001s"), Ok(Duration::from_nanos(1)));
        for bad in ["", "s", "300", "5m", "-1s", "1.s", ".5s", "1.0000000001s", "1e3s", "+1s", "99999999999999999999s"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
