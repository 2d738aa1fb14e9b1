//! Numbers, durations and times as people read them, in `boxgate status` and on the operators' page.

use jiff::Timestamp;

/// What stands where there is no value.
pub(crate) const NONE: &str = "–";

/// `51,234`; from a hundred million on in millions: `123 M`.
pub(crate) fn count(number: u64) -> String {
    const MILLION: u64 = 1_000_000;
    let (number, unit) = if number >= 100 * MILLION { (number / MILLION, " M") } else { (number, "") };
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 4);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + unit
}

/// A latency: `0.4 ms`, `43 ms`, `1.2 s`, `43 s`, `3 min 20 s`.
pub(crate) fn latency(milliseconds: Option<f64>) -> String {
    let Some(milliseconds) = milliseconds else { return NONE.to_owned() };
    let seconds = milliseconds / 1000.0;
    match milliseconds {
        ..9.95 => format!("{:.1} ms", milliseconds.max(0.0)),
        ..999.5 => format!("{milliseconds:.0} ms"),
        ..9_950.0 => format!("{seconds:.1} s"),
        ..99_500.0 => format!("{seconds:.0} s"),
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float to an integer saturates")]
        _ => duration(seconds as i64),
    }
}

/// The two largest units: `12 s`, `1 min 58 s`, `3 h 12 min`, `4 d 3 h`. Less than nothing is `0 s`.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut text = Vec::new();
    for (length, unit) in units.iter().skip(first).take(2) {
        let number = rest / length;
        rest %= length;
        if number > 0 || text.is_empty() {
            text.push(format!("{number} {unit}"));
        }
    }
    text.join(" ")
}

/// A share of the whole in per cent. Rounded down, so that `100 %` is full; what is more than nothing is at least `1 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = (share * 100.0).floor().max(if share > 0.0 { 1.0 } else { 0.0 });
    format!("{percent:.0} %")
}

/// A share of the whole as a bar of ten cells.
pub(crate) fn bar(share: f64) -> String {
    const CELLS: usize = 10;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 10")]
    let full = (share.clamp(0.0, 1.0) * 10.0).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(CELLS - full))
}

/// In UTC: `09:00:12Z` on the same day as `now`, else `2026-11-24 09:00Z`, or the day alone where it begins then.
pub(crate) fn time(time: Timestamp, now: Option<Timestamp>) -> String {
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let form = match now {
        Some(now) if day(now) == day(time) => "%H:%M:%SZ",
        _ if time.as_second().rem_euclid(86_400) == 0 => "%Y-%m-%d",
        _ => "%Y-%m-%d %H:%MZ",
    };
    time.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (number, want) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (51_234, "51,234"),
            (99_999_999, "99,999,999"),
            (123_456_789, "123 M"),
            (u64::MAX, "18,446,744,073,709 M"),
        ] {
            assert_eq!(count(number), want);
        }
    }

    #[test]
    fn latencies_have_two_or_three_digits() {
        for (milliseconds, want) in [
            (-1.0, "0.0 ms"),
            (0.42, "0.4 ms"),
            (9.94, "9.9 ms"),
            (9.95, "10 ms"),
            (43.1, "43 ms"),
            (999.4, "999 ms"),
            (999.5, "1.0 s"),
            (1_234.0, "1.2 s"),
            (9_960.0, "10 s"),
            (60_000.0, "60 s"),
            (200_000.0, "3 min 20 s"),
            (660_000.0, "11 min"),
            (1e308, "106751991167300 d 15 h"),
        ] {
            assert_eq!(latency(Some(milliseconds)), want);
        }
        assert_eq!(latency(None), "–");
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, want) in [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (118, "1 min 58 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (11_530, "3 h 12 min"),
            (356_400, "4 d 3 h"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn only_what_is_full_is_100_percent() {
        for (share, want, cells) in [
            (0.0, "0 %", "░░░░░░░░░░"),
            (0.001, "1 %", "░░░░░░░░░░"),
            (0.618, "61 %", "██████░░░░"),
            (0.9999, "99 %", "██████████"),
            (1.0, "100 %", "██████████"),
            (1.22, "122 %", "██████████"),
            (-1.0, "0 %", "░░░░░░░░░░"),
        ] {
            assert_eq!((percent(share).as_str(), bar(share).as_str()), (want, cells), "{share}");
        }
    }

    #[test]
    fn another_day_is_named() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = Some(at("2026-11-26T09:10:00Z"));
        assert_eq!(time(at("2026-11-26T09:00:12Z"), now), "09:00:12Z");
        assert_eq!(time(at("2026-11-24T09:00:12Z"), now), "2026-11-24 09:00Z");
        assert_eq!(time(at("2026-12-01T00:00:00Z"), now), "2026-12-01");
        assert_eq!(time(at("2026-11-26T00:00:00Z"), now), "00:00:00Z");
        assert_eq!(time(at("2026-11-26T09:00:12Z"), None), "2026-11-26 09:00Z");
    }
}
