//! Days and months in UTC: which one a time is in, when it begins and when it ends.

use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::Offset;

use super::definition::Period;

const DAY: i64 = 24 * 60 * 60;

/// One day or month. Spans of the same period are ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    period: Period,
    first: Date,
}

impl Period {
    /// The span that a time is in.
    pub fn at(self, time: Timestamp) -> Span {
        let day = Offset::UTC.to_datetime(time).date();
        let first = match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
        };
        Span { period: self, first }
    }

    /// The shortest time on which a forecast is based: after less, the calls so far (a batch in the morning, say) say
    /// too little about the rest.
    fn too_little(self) -> Duration {
        match self {
            Self::Day => Duration::from_secs(60 * 60),
            Self::Month => Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Span {
    pub fn period(self) -> Period {
        self.period
    }

    pub fn begins(self) -> Timestamp {
        midnight(self.first)
    }

    /// The first moment of the next span.
    pub fn ends(self) -> Timestamp {
        let next = match self.period {
            Period::Day => self.first.tomorrow(),
            Period::Month => self.first.last_of_month().tomorrow(),
        };
        next.map_or(Timestamp::MAX, midnight)
    }

    /// The previous span; at the beginning of the calendar, the span itself.
    pub fn previous(self) -> Self {
        let before = self.first.yesterday().unwrap_or(self.first);
        match self.period {
            Period::Day => Self { first: before, ..self },
            Period::Month => Self { first: before.first_of_month(), ..self },
        }
    }

    /// The next span; at the end of the calendar, the span itself.
    pub(crate) fn next(self) -> Self {
        let next = match self.period {
            Period::Day => self.first.tomorrow(),
            Period::Month => self.first.last_of_month().tomorrow(),
        };
        next.map_or(self, |first| Self { first, ..self })
    }

    /// The month that it is, or that it is in.
    pub(crate) fn month(self) -> Self {
        Self { period: Period::Month, first: self.first.first_of_month() }
    }

    /// The days of its month, in order.
    pub(crate) fn days(self) -> impl Iterator<Item = Self> {
        let last = self.first.last_of_month();
        let next = move |day: &Date| day.tomorrow().ok().filter(|day| *day <= last);
        std::iter::successors(Some(self.first.first_of_month()), next)
            .map(|first| Self { period: Period::Day, first })
    }

    /// The number of days between the beginnings of the two.
    pub fn days_from(self, other: Self) -> u64 {
        (self.begins().as_second() - other.begins().as_second()).unsigned_abs() / DAY.unsigned_abs()
    }

    /// The number of calls by the end of the span if they continue at the rate so far. `since`: when counting began, if
    /// that was within the span.
    pub fn forecast(self, used: u64, since: Timestamp, now: Timestamp) -> u64 {
        // Ignored if it is in the future: the clock was ahead when counting began.
        let since = if since <= now { since } else { Timestamp::MIN };
        let (begins, ends) = (self.begins().max(since).as_second(), self.ends().as_second());
        let now = now.as_second().clamp(self.begins().as_second(), ends);
        let passed = (now - begins).max(0) as f64;
        let by = passed.max(self.period.too_little().as_secs_f64());
        used.saturating_add((used as f64 / by * (ends - now) as f64).round() as u64)
    }

    /// Parses the format of [`Span`]'s `Display`.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let year = parts.next()?.parse().ok()?;
        let month = parts.next()?.parse().ok()?;
        let (period, day) = match parts.next() {
            None => (Period::Month, 1),
            Some(day) => (Period::Day, day.parse().ok()?),
        };
        Some(Self { period, first: Date::new(year, month, day).ok()? })
    }

    /// Parses a month, in exactly the format `2026-11`.
    pub(crate) fn read_month(text: &str) -> Option<Self> {
        Self::read(text).filter(|span| span.period == Period::Month && span.to_string() == text)
    }
}

/// `2026-11` or `2026-11-25`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())?;
        match self.period {
            Period::Day => write!(f, "-{:02}", self.first.day()),
            Period::Month => Ok(()),
        }
    }
}

/// Converts a time to jiff's type; clamps it to jiff's calendar.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        Timestamp::UNIX_EPOCH
    } else {
        Timestamp::MAX
    })
}

/// Midnight in UTC, where all days have the same length.
fn midnight(day: Date) -> Timestamp {
    let days = date(1970, 1, 1).duration_until(day).as_secs() / DAY;
    Timestamp::from_second(days * DAY).unwrap_or(if days < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_and_months_begin_and_end_at_midnight_of_utc() {
        for (time, period, name, begins, ends) in [
            ("2026-11-25T14:20:00Z", Period::Month, "2026-11", "2026-11-01", "2026-12-01"),
            ("2026-11-25T14:20:00Z", Period::Day, "2026-11-25", "2026-11-25", "2026-11-26"),
            ("2026-11-30T23:59:59.999Z", Period::Month, "2026-11", "2026-11-01", "2026-12-01"),
            ("2026-12-01T00:00:00Z", Period::Month, "2026-12", "2026-12-01", "2027-01-01"),
            ("2026-12-31T23:59:59Z", Period::Day, "2026-12-31", "2026-12-31", "2027-01-01"),
            ("2028-02-29T12:00:00Z", Period::Month, "2028-02", "2028-02-01", "2028-03-01"),
            ("2028-02-28T23:00:00Z", Period::Day, "2028-02-28", "2028-02-28", "2028-02-29"),
            ("2100-02-28T12:00:00Z", Period::Day, "2100-02-28", "2100-02-28", "2100-03-01"),
            ("2000-02-29T00:00:00Z", Period::Day, "2000-02-29", "2000-02-29", "2000-03-01"),
            ("1969-12-31T23:59:59Z", Period::Month, "1969-12", "1969-12-01", "1970-01-01"),
        ] {
            let span = period.at(at(time));
            assert_eq!(span.to_string(), name, "{time}");
            assert_eq!(Span::read(name), Some(span));
            assert_eq!(span.begins().to_string(), format!("{begins}T00:00:00Z"));
            assert_eq!(span.ends().to_string(), format!("{ends}T00:00:00Z"));
        }
    }

    #[test]
    fn every_second_is_in_one_span() {
        let mut day = Period::Day.at(at("2023-12-30T00:00:00Z"));
        for _ in 0..1000 {
            let end = day.ends();
            assert_eq!(Period::Day.at(end - Duration::from_nanos(1)), day);
            let next = Period::Day.at(end);
            assert_eq!((next.previous(), next.begins(), next.days_from(day)), (day, day.ends(), 1));
            let month = Period::Month.at(end);
            assert!(month.begins() <= next.begins() && next.ends() <= month.ends());
            day = next;
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_at_its_end() {
        let far = timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50));
        assert_eq!(far, Timestamp::MAX);
        for period in [Period::Day, Period::Month] {
            let span = period.at(far);
            assert!(span.begins() < span.ends());
            assert!(span.forecast(5, Timestamp::UNIX_EPOCH, far) >= 5);
        }
        assert_eq!(Span::read("2026-13"), None);
        assert_eq!(Span::read("2026-02-30"), None);
        assert_eq!(Span::read("x"), None);
    }

    #[test]
    fn a_month_has_its_days() {
        let february = Span::read_month("2028-02").unwrap();
        let days: Vec<Span> = february.days().collect();
        assert_eq!((days.len(), days[0].to_string().as_str()), (29, "2028-02-01"));
        assert!(days.iter().all(|day| day.month() == february && day.days().eq(days.iter().copied())));
    }

    #[test]
    fn a_month_is_read_in_one_format_only() {
        let february = Span::read_month("2028-02").unwrap();
        for within in ["2028-02", "2028-02-01", "2028-02-29"] {
            assert_eq!(Span::read(within).unwrap().month(), february, "{within}");
        }
        for wrong in ["", "2028", "2028-2", "2028-02-01", "+2028-02", "28-02", "2028-13", "2028-02 ", "last"]
        {
            assert_eq!(Span::read_month(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_forecast_continues_at_the_rate_so_far() {
        let month = Period::Month.at(at("2026-11-01T00:00:00Z"));
        let long_ago = Timestamp::UNIX_EPOCH;
        let forecast = |used, since, now| month.forecast(used, since, at(now));
        assert_eq!(forecast(1000, long_ago, "2026-11-11T00:00:00Z"), 3000);
        assert_eq!(forecast(1000, long_ago, "2026-11-16T00:00:00Z"), 2000);
        assert_eq!(forecast(1000, long_ago, "2026-12-01T00:00:00Z"), 1000);
        assert_eq!(forecast(0, long_ago, "2026-11-11T00:00:00Z"), 0);
        // The first minute's calls count as a day's.
        assert_eq!(forecast(100, long_ago, "2026-11-01T00:00:00Z"), 3100);
        // Counting began on the 11th.
        let since = "2026-11-11T00:00:00Z".parse().unwrap();
        assert_eq!(forecast(1000, since, "2026-11-21T00:00:00Z"), 2000);
        // A clock that was set back.
        assert_eq!(forecast(1000, since, "2026-11-06T00:00:00Z"), 6000);
        let day = Period::Day.at(at("2026-11-01T00:00:00Z"));
        assert_eq!(day.forecast(10, long_ago, at("2026-11-01T12:00:00Z")), 20);
        assert_eq!(day.forecast(u64::MAX, long_ago, at("2026-11-01T12:00:00Z")), u64::MAX);
    }
}
