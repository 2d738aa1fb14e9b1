//! Metrics of the process as Prometheus text: its start, and on Linux its memory, CPU time and descriptors.

use std::time::SystemTime;

use rlimit::Resource;

use crate::telemetry::exposition::Exposition;

/// Adds the metrics of this process. `started`: when it began to serve.
pub(super) fn process(text: &mut Exposition, started: SystemTime) {
    let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let help = "When the process began to serve, in seconds since 1970.";
    text.head("process_start_time_seconds", "gauge", help);
    text.plain("process_start_time_seconds", since_1970.as_secs_f64());
    // Another system than Linux has no such file, and no metrics of it here.
    if let Some(usage) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| Usage::parse(&stat))
    {
        let help = "Time on CPUs, of the user and of the system, in seconds.";
        text.head("process_cpu_seconds_total", "counter", help);
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        text.plain("process_cpu_seconds_total", usage.cpu_ticks as f64 / ticks_per_second);
        let bytes = usage.resident_pages.saturating_mul(rustix::param::page_size() as u64);
        text.simple("process_resident_memory_bytes", "gauge", "Memory in use, in bytes.", bytes);
    }
    // One of them is the folder itself, which is open while it is read.
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let count = open.count().saturating_sub(1) as u64;
        text.simple("process_open_fds", "gauge", "Open file descriptors.", count);
    }
    if let Ok(most) = Resource::NOFILE.get_soft() {
        text.simple("process_max_fds", "gauge", "How many file descriptors may be open.", most);
    }
}

/// What `/proc/self/stat` says (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    /// Of the user and of the system, in clock ticks.
    cpu_ticks: u64,
    resident_pages: u64,
}

impl Usage {
    /// Field 2 is the name of the program, in parentheses; it may have spaces and parentheses in it. Fields 14 and 15 are the
    /// CPU time of the user and of the system, field 24 is the resident set.
    fn parse(stat: &str) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = behind_name.split(' ').collect();
        // The first of them is field 3.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)?.checked_add(field(15)?)?, resident_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (box) gate (1)) S 1 4242 4242 0 -1 4194560 2411 0 3 0 17 5 0 0 20 0 9 0 8041771 1217654784 3051 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 1088 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn fields_are_counted_behind_a_name_with_parentheses() {
        assert_eq!(Usage::parse(STAT), Some(Usage { cpu_ticks: 22, resident_pages: 3051 }));
    }

    #[test]
    fn what_has_another_form_gives_nothing() {
        for text in ["", "4242 (boxgate", "4242 (boxgate) S 1 2 3"] {
            assert_eq!(Usage::parse(text), None, "{text}");
        }
    }
}
