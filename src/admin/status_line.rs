//! What the process does, in one line: for the service manager, which shows it to people (`systemctl status`).

use super::Overview;
use super::readiness::Readiness;

/// Whether it is ready, or why not, what people should know, and the requests that have begun and not ended.
pub(crate) fn status_line(overview: &Overview) -> String {
    let readiness = Readiness::of(overview);
    let in_flight = overview.metrics.in_flight().into_values().sum();
    line(&readiness.reasons, &readiness.notes, in_flight)
}

fn line(reasons: &[String], notes: &[String], in_flight: u64) -> String {
    let mut line = match reasons {
        [] => "ready".to_owned(),
        reasons => format!("not ready: {}", reasons.join("; ")),
    };
    let requests = if in_flight == 1 { "request" } else { "requests" };
    line.push_str(&format!("; {in_flight} {requests} in flight"));
    for note in notes {
        line.push_str("; ");
        line.push_str(note);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_says_whether_it_is_ready_why_not_and_what_to_know() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(line(&[], &[], 0), "ready; 0 requests in flight");
        assert_eq!(
            line(&texts(&["draining", "identity a: no token"]), &texts(&["Redis is gone"]), 1),
            "not ready: draining; identity a: no token; 1 request in flight; Redis is gone"
        );
    }
}
