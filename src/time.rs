//! Points in time and durations. Nothing here reads a clock: the shell passes `now` in.
//!
//! The host's clock can step, so all arithmetic saturates.

use std::time::Duration;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch, with fractions: the unit of a JWT `NumericDate` (RFC 7519 §2).
    pub fn as_numeric_date(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// `self + duration`, or the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// `self - duration`, or the epoch.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Parses the JSON form of a `google.protobuf.Duration`: `"300s"`, `"0.5s"`.
///
/// # Errors
/// A negative value, a missing unit, more than nine fraction digits, or more than 10,000 years.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "must be a duration in seconds such as \"300s\" or \"0.5s\"";
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
    let seconds: u64 = whole.parse().map_err(|_| "is too long")?;
    if seconds > MAX_SECONDS {
        return Err("is too long");
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().map_err(|_| SHAPE)?;
    Ok(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = UnixTime::from_millis(u64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(UnixTime::default().minus(Duration::MAX), UnixTime::default());
        assert_eq!(UnixTime::default().since(end), Duration::ZERO);
    }

    #[test]
    fn durations_are_proto_json() {
        assert_eq!(parse_duration("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("0.000000001s"), Ok(Duration::from_nanos(1)));
        for bad in ["", "s", "300", "5m", "-1s", "1.s", ".5s", "1.0000000001s", "1e3s", "+1s", "99999999999999999999s"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
