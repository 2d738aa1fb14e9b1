//! W3C Trace Context: who decides, and what goes to Box.

use http::HeaderMap;

use super::collector::{Collector, Does};
use crate::harness::Bench;

const ME: &str = "/2.0/users/me";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Sends a request with these fields; returns those that reached Box.
async fn sent(bench: &Bench, id: &str, fields: &[(&str, &str)]) -> HeaderMap {
    let mut request = bench.client.get(bench.url(ME)).header("x-request-id", id);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    bench.sandbox.last_seen().unwrap().headers
}

#[tokio::test]
async fn a_sampled_trace_of_the_caller_goes_on_whatever_the_sample() {
    for sample in ["0", "1.0"] {
        let collector = Collector::start(Does::Take).await;
        let bench = Bench::with(&format!("{}sample = {sample}\n", collector.table())).await;
        let state = [("tracestate", "vendor=1,other=2"), ("tracestate", "third=3")];
        let to_box = sent(&bench, "mine-1", &[&[("traceparent", SAMPLED)], &state[..]].concat()).await;
        let trace = collector.trace_of("mine-1").await;
        assert_eq!(trace.root.trace_id(), TRACE);
        assert_eq!(trace.root.parent_id(), "00f067aa0ba902b7");
        assert_eq!(trace.root.0.trace_state, "vendor=1,other=2,third=3");
        assert_eq!(trace.root.0.flags, 0x301, "sampled, and the parent is remote");
        let attempt = trace.attempts()[0];
        assert_eq!(to_box["traceparent"], format!("00-{TRACE}-{}-01", attempt.id()));
        assert_eq!(attempt.parent_id(), trace.root.id());
        let kept: Vec<_> = to_box.get_all("tracestate").iter().collect();
        assert_eq!(kept, ["vendor=1,other=2", "third=3"]);
    }
}

#[tokio::test]
async fn what_the_caller_does_not_sample_is_not_traced_and_passes_as_it_came() {
    let collector = Collector::start(Does::Take).await;
    let bench = Bench::with(&collector.table()).await;
    let fields = [("traceparent", NOT_SAMPLED), ("tracestate", "vendor=1")];
    let to_box = sent(&bench, "mine-1", &fields).await;
    for (name, value) in fields {
        assert_eq!(to_box[name], value);
    }
    sent(&bench, "mine-2", &[]).await;
    // Spans arrive in the order of the requests.
    collector.trace_of("mine-2").await;
    assert!(collector.taken().iter().all(|span| span.text("boxgate.request_id") != Some("mine-1")));
    assert!(collector.taken().iter().all(|span| span.trace_id() != TRACE));
}

#[tokio::test]
async fn a_malformed_field_begins_a_new_trace_without_the_callers_state() {
    let collector = Collector::start(Does::Take).await;
    let bench = Bench::with(&collector.table()).await;
    let bad = [
        vec![("traceparent", "garbage")],
        vec![("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")],
        vec![("traceparent", SAMPLED), ("traceparent", SAMPLED)],
        vec![],
    ];
    for (nth, fields) in bad.iter().enumerate() {
        let id = format!("mine-{nth}");
        let to_box = sent(&bench, &id, &[&fields[..], &[("tracestate", "vendor=1")]].concat()).await;
        let trace = collector.trace_of(&id).await;
        assert_ne!(trace.root.trace_id(), TRACE);
        assert_eq!((trace.root.parent_id(), &*trace.root.0.trace_state), (String::new(), ""));
        assert_eq!(trace.root.0.flags, 0x101, "sampled, and there is no remote parent");
        let parents: Vec<_> = to_box.get_all("traceparent").iter().collect();
        assert_eq!(parents, [&format!("00-{}-{}-01", trace.root.trace_id(), trace.attempts()[0].id())]);
        assert!(!to_box.contains_key("tracestate"), "{fields:?}");
    }
}

#[tokio::test]
async fn with_a_sample_of_zero_only_callers_begin_traces() {
    let collector = Collector::start(Does::Take).await;
    let bench = Bench::with(&format!("{}sample = 0.0\n", collector.table())).await;
    assert!(!sent(&bench, "mine-1", &[]).await.contains_key("traceparent"));
    sent(&bench, "mine-2", &[("traceparent", SAMPLED)]).await;
    let trace = collector.trace_of("mine-2").await;
    // The token call has no caller, and is not traced either.
    let of_trace = 1 + trace.children.len();
    assert_eq!(collector.taken().len(), of_trace, "{:#?}", collector.taken());
}

#[tokio::test]
async fn without_the_table_both_fields_pass_as_they_came() {
    let bench = Bench::start().await;
    let fields = [("traceparent", SAMPLED), ("tracestate", "vendor=1")];
    let to_box = sent(&bench, "mine-1", &fields).await;
    for (name, value) in fields {
        assert_eq!(to_box[name], value);
    }
    assert!(!sent(&bench, "mine-2", &[]).await.contains_key("traceparent"));
}
