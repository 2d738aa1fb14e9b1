//! What the rings keep, and what a reader sees of them.

use super::*;
use crate::net::clock::Clock;
use crate::net::secret::Secret;

fn facts(second: u64) -> Facts {
    static START: std::sync::LazyLock<Moment> = std::sync::LazyLock::new(|| Clock::real().now());
    Facts {
        ended: START.after(Duration::from_secs(second)),
        client: ClientAddress::Unknown,
        status: 200,
        answered_by: AnsweredBy::Box,
        code: None,
        end: "complete",
        class: None,
        operation_at: None,
        attempts: 1,
        bytes_in: 0,
        bytes_out: 0,
        total: Duration::ZERO,
        waited_for_limit: Duration::ZERO,
        waited_for_token: Duration::ZERO,
        box_time: None,
        body_time: None,
    }
}

fn write(recorder: &Recorder, second: u64) {
    recorder.write(facts(second), |texts| texts.set(Text::RequestId, second.to_string().as_bytes()));
}

fn ids(requests: &RecentRequests, most: usize) -> Vec<u64> {
    requests.newest(most).map(|entry| entry.text(Text::RequestId).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_ring_keeps_exactly_the_last_requests() {
    for most in [1, 2, 3, 7, 100] {
        let mut requests = RecentRequests::default();
        let recorder = requests.add_worker();
        recorder.resize(most);
        for second in 0..250_u64 {
            write(&recorder, second);
            let wanted: Vec<u64> = (0..=second).rev().take(most).collect();
            assert_eq!(ids(&requests, most), wanted);
        }
    }
}

#[test]
fn workers_are_merged_newest_first_and_the_oldest_are_left_out() {
    let mut requests = RecentRequests::default();
    let recorders = [requests.add_worker(), requests.add_worker(), requests.add_worker()];
    recorders.iter().for_each(|recorder| recorder.resize(100));
    // One worker has the newest of all, one the oldest, and one nothing.
    for second in 0..100 {
        write(&recorders[usize::from(second % 3 == 0 || second > 60)], second);
    }
    assert_eq!(ids(&requests, 100), (0..100).rev().collect::<Vec<_>>());
    assert_eq!(ids(&requests, 50), (50..100).rev().collect::<Vec<_>>());
}

#[test]
fn a_resized_ring_keeps_the_newest_and_goes_on() {
    for filled in [0, 3, 5, 6, 13] {
        for most in [0, 1, 4, 5, 9] {
            let mut requests = RecentRequests::default();
            let recorder = requests.add_worker();
            recorder.resize(5);
            (0..filled).for_each(|second| write(&recorder, second));
            recorder.resize(most);
            let kept = most.min(5);
            assert_eq!(ids(&requests, 100), (0..filled).rev().take(kept).collect::<Vec<_>>());
            let more = filled + 20;
            for second in filled..more {
                write(&recorder, second);
                let known = (0..=second).rev().take(most);
                let known = known.filter(|known| {
                    filled.saturating_sub(kept as u64) <= *known && filled.saturating_sub(5) <= *known
                });
                assert_eq!(ids(&requests, 100), known.collect::<Vec<_>>(), "{filled} {most}");
            }
        }
    }
}

#[test]
fn entries_that_are_written_during_a_read_shift_nothing() {
    let mut requests = RecentRequests::default();
    let recorder = requests.add_worker();
    recorder.resize(100);
    (0..100).for_each(|second| write(&recorder, second));
    let mut seen = Vec::new();
    for entry in requests.newest(100) {
        seen.push(entry.text(Text::RequestId).unwrap().parse::<u64>().unwrap());
        if seen.len() == 10 {
            (100..120).for_each(|second| write(&recorder, second));
        }
    }
    // The 20 oldest were overwritten meanwhile.
    assert_eq!(seen, (20..100).rev().collect::<Vec<_>>());
}

#[test]
fn a_slot_is_used_again_without_texts_of_before() {
    let mut requests = RecentRequests::default();
    let recorder = requests.add_worker();
    recorder.resize(1);
    recorder.write(facts(1), |texts| {
        texts.set(Text::RequestId, b"first");
        texts.set(Text::Path, b"/2.0/a/long/path");
        texts.set(Text::Cause, b"");
        texts.set(Text::Host, b"api.box.com \xff");
    });
    let entry = requests.newest(1).next().unwrap();
    let text = |entry: &RecentRequest, of| entry.text(of).map(str::to_owned);
    assert_eq!(text(&entry, Text::Path).as_deref(), Some("/2.0/a/long/path"));
    assert_eq!(text(&entry, Text::Host).as_deref(), Some("api.box.com \u{fffd}"));
    assert_eq!((text(&entry, Text::TraceId), text(&entry, Text::Cause)), (None, None));
    write(&recorder, 2);
    let entry = requests.newest(1).next().unwrap();
    assert_eq!(text(&entry, Text::RequestId).as_deref(), Some("2"));
    assert_eq!((text(&entry, Text::Path), text(&entry, Text::Host)), (None, None));
}

#[test]
fn a_long_text_is_cut_and_no_part_of_a_secret_is_left() {
    let secret = Secret::new("canary-at-the-end-of-what-is-kept".to_owned());
    let path = format!("{}{}", "é".repeat(LONGEST / 2 - 5), secret.expose());
    let mut requests = RecentRequests::default();
    let recorder = requests.add_worker();
    recorder.resize(1);
    let all = [Text::RequestId, Text::Path, Text::Host];
    recorder.write(facts(1), |texts| all.iter().for_each(|of| texts.set(*of, path.as_bytes())));
    let entry = requests.newest(1).next().unwrap();
    for of in all {
        let kept = entry.text(of).unwrap();
        assert!(kept.starts_with("éé") && !kept.contains("canary") && kept.len() <= LONGEST, "{kept}");
    }
}

#[test]
fn none_is_missing_between_those_that_are_told_after_more_are_kept() {
    // Which worker had a request, from the newest back: each with two of its own, and the third of one worker is gone.
    let mut requests = RecentRequests::default();
    let recorders = [requests.add_worker(), requests.add_worker()];
    recorders.iter().for_each(|recorder| recorder.resize(2));
    for (second, worker) in [1, 1, 0, 0, 0].into_iter().enumerate() {
        write(&recorders[worker], second as u64);
    }
    recorders.iter().for_each(|recorder| recorder.resize(10));
    assert_eq!(ids(&requests, 10), [4, 3], "2 is gone, so that 1 and 0 are not told");
    (5..20).for_each(|second| write(&recorders[usize::from(second % 2 == 0)], second));
    assert_eq!(ids(&requests, 10), (10..20).rev().collect::<Vec<_>>());
}
