//! This machine's clock, compared with that of a host of Box.

use std::time::{Duration, SystemTime};

use super::findings::{About, Row};
use crate::telemetry::words::short;

/// `Date` has whole seconds, and answers take a while.
const TOLERATED: Duration = Duration::from_secs(30);

/// `clocks`: the host's time and this machine's at the same moment.
pub(super) fn row(clocks: Option<(SystemTime, SystemTime)>) -> Option<Row> {
    let (host, here) = clocks?;
    let about = About::new("clock", "clock");
    let (off, which) = match here.duration_since(host) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    Some(if off <= TOLERATED {
        about.ok("agrees with Box's")
    } else {
        about.warning(
            format!("{} {which} Box's", short(off)),
            "set this machine's clock (NTP): certificates, tokens and budgets depend on it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::findings::State;
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_a_warning_in_either_direction() {
        let box_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let found = |here| row(Some((box_time, here))).unwrap();
        assert_eq!(found(box_time + Duration::from_secs(29)).state(), State::Ok);
        let ahead = found(box_time + Duration::from_secs(252));
        assert!(ahead.state() == State::Warning && ahead.text().starts_with("4m12s ahead of Box's"));
        let behind = found(box_time - Duration::from_secs(252));
        assert!(behind.state() == State::Warning && behind.text().starts_with("4m12s behind Box's"));
        assert!(row(None).is_none());
    }
}
