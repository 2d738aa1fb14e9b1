//! The response field `Retry-After` (RFC 9110 §10.2.3): a number of seconds, or a date.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// How long Box asks to wait; `None` if it does not ask. A number that overflows becomes `Duration::MAX`: the caller
/// must cap it. Of several fields, the longest counts. A date is relative to the response's own `Date`, so that a wrong
/// clock does no harm; without `Date`, to `now` if given.
pub(crate) fn read(headers: &HeaderMap, now: Option<SystemTime>) -> Option<Duration> {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let now = date.or(now);
    let values = headers.get_all(RETRY_AFTER).iter().filter_map(|value| value.to_str().ok());
    values.filter_map(|value| wait(value.trim(), now)).max()
}

fn wait(value: &str, now: Option<SystemTime>) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    // A date in the past asks for no wait.
    httpdate::parse_http_date(value).ok()?.duration_since(now?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn asked(fields: &[(&'static str, &'static str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        // 1 Nov 2026, 00:00:00.
        read(&headers, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_491_200)))
    }

    #[test]
    fn seconds_of_any_size_and_dates_are_read() {
        const SECOND: Duration = Duration::from_secs(1);
        for (value, wanted) in [
            ("0", Duration::ZERO),
            ("7", SECOND * 7),
            (" 7 ", SECOND * 7),
            ("007", SECOND * 7),
            ("18446744073709551615", Duration::from_secs(u64::MAX)),
            ("18446744073709551616", Duration::MAX),
            ("99999999999999999999999999999999999999999999", Duration::MAX),
            ("Sun, 01 Nov 2026 00:00:05 GMT", SECOND * 5),
            ("Sunday, 01-Nov-26 00:00:05 GMT", SECOND * 5),
            ("Sun Nov  1 00:00:05 2026", SECOND * 5),
        ] {
            assert_eq!(asked(&[("retry-after", value)]), Some(wanted), "{value}");
        }
        let far = asked(&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]);
        assert!(far > Some(SECOND * 1_000_000_000), "{far:?}");
    }

    #[test]
    fn unreadable_values_and_past_dates_are_none() {
        for value in ["", "soon", "-1", "+1", "1.5", "1e9", "0x10", "1, 2", "Sun, 01 Nov 2025 00:00:05 GMT"] {
            assert_eq!(asked(&[("retry-after", value)]), None, "{value}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn the_longest_counts_and_a_date_counts_from_boxs_clock() {
        let both =
            [("retry-after", "3"), ("retry-after", "soon"), ("retry-after", "9"), ("retry-after", "4")];
        assert_eq!(asked(&both), Some(Duration::from_secs(9)));
        // Box's clock is an hour behind the gateway's.
        let date =
            [("date", "Sat, 31 Oct 2026 23:00:00 GMT"), ("retry-after", "Sat, 31 Oct 2026 23:00:10 GMT")];
        assert_eq!(asked(&date), Some(Duration::from_secs(10)));
        let unreadable = [("date", "now"), ("retry-after", "Sun, 01 Nov 2026 00:00:10 GMT")];
        assert_eq!(asked(&unreadable), Some(Duration::from_secs(10)));
    }
}
