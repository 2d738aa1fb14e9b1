//! The cost of an app's rules for a request, by the length of its path. It must grow at most linearly, for any path.

use boxgate::routing::operation::Operation;
use boxgate::routing::operation_pattern::Pattern;
use boxgate::routing::operation_policy::{OperationPolicy, Rule};
use criterion::{BenchmarkId, Criterion, Throughput};
use http::Method;

/// The longest path that fits into `max_header_size` is a little longer.
const LENGTHS: [usize; 4] = [100, 1_000, 9_000, 27_000];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    usual(&mut criterion);
    for (name, piece) in [
        ("fits but for its end", "/a"),
        ("one long segment", "a"),
        ("percent-encoded", "/%61"),
        ("with parameters", "/a;b"),
        ("empty segments at the end", "/"),
    ] {
        hostile(&mut criterion, name, piece);
    }
    criterion.final_summary();
}

/// Typical rules of an app, and a typical path.
fn usual(criterion: &mut Criterion) {
    let rules = rules(&["GET /2.0/**", "POST /2.0/files/content"], &["* /2.0/users/**", "DELETE /2.0/**"]);
    criterion.bench_function("usual", |bench| bench.iter(|| check(&rules, "/2.0/files/12345/comments")));
}

/// Rules with several `**`, which match the beginning of these paths many times and never their end.
fn hostile(criterion: &mut Criterion, name: &str, piece: &str) {
    let deny = ["* /2.0/**/a/**/secret", "* /2.0/**/a/**/a/**/*/secret"];
    let rules = rules(&["* /2.0/**/a/**/public", "* /2.0/**"], &deny);
    let mut group = criterion.benchmark_group(name);
    for length in LENGTHS {
        let path = format!("/2.0{}", piece.repeat(length / piece.len()));
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bench| {
            bench.iter(|| check(&rules, &path));
        });
    }
    group.finish();
}

fn rules(allow: &[&str], deny: &[&str]) -> OperationPolicy {
    let read = |list: &[&str]| {
        list.iter()
            .map(|text| {
                Pattern::parse(text).map(Rule::Pattern).expect("patterns of a benchmark are well formed")
            })
            .collect()
    };
    OperationPolicy::new(read(allow), read(deny))
}

fn check(rules: &OperationPolicy, path: &str) -> bool {
    rules.check(Operation { method: &Method::GET, path }).is_ok()
}
