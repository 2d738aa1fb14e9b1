use http::Method;

use super::*;
use crate::telemetry::labels::{AnsweredBy, AppLabels, HostLabels, Labels};
use crate::telemetry::metrics::Tally;

/// One worker, and the store at noon of a day.
struct Rig {
    history: History,
    metrics: Metrics,
    tally: Tally,
    apps: AppLabels,
    now: Moment,
}

const NOON: Duration = Duration::from_secs(1_767_268_800);

impl Rig {
    fn new() -> Self {
        let mut metrics = Metrics::default();
        let tally = metrics.add_worker()();
        let now = Moment { wall: UNIX_EPOCH + NOON, mono: Clock::real().mono() };
        Self { history: History::new(now), metrics, tally, apps: AppLabels::default(), now }
    }

    fn request(&self, app: &str, status: u16, millis: u64) {
        let labels = Labels::new(self.apps.label(app), None, &Method::GET, status, AnsweredBy::Box);
        self.tally.request(labels, Duration::from_millis(millis), None);
    }

    fn of(&self, app: &str) -> Of {
        Of::App(self.apps.label(app))
    }

    /// Time goes on, with a sample at its end.
    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        drop(self.history.sample(&self.metrics, self.now));
    }

    fn recent(&self, app: &str) -> u64 {
        self.history.recent(&self.metrics, self.now).of(self.of(app)).requests
    }

    /// The beginnings of the slots in seconds from noon, with the requests in them.
    fn day(&self, of: Of) -> Vec<(i64, u64)> {
        let from_noon = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - NOON.as_secs() as i64
        };
        let day = self.history.day(&self.metrics, of, self.now).into_iter();
        day.map(|(begins, counts)| (from_noon(begins), counts.requests)).collect()
    }

    fn slots(&self) -> usize {
        self.history.0.lock().unwrap().slots.len() + 1
    }

    fn bytes(&self) -> (usize, usize) {
        let state = self.history.0.lock().unwrap();
        let steps = state.steps.iter().map(|step| step.counts.bytes()).sum();
        (steps, state.slots.values().map(Records::bytes).sum())
    }
}

#[test]
fn sums_of_a_stretch_equal_the_slots_in_it() {
    let mut rig = Rig::new();
    let hosts = HostLabels::default();
    let (web, jobs) = (rig.of("web"), rig.of("jobs"));
    // Apps begin and end, so that their keys are in some slots only.
    for slot in 0..30_u64 {
        for _ in 0..slot {
            rig.request("web", 200, 40);
        }
        if slot % 3 == 1 {
            rig.request("jobs", 429, 1);
        }
        if slot == 29 {
            rig.request("late", 500, 1);
            let api = hosts.label("api.box.com");
            rig.tally.box_answered(api, Duration::from_millis(7));
        }
        if slot < 29 {
            rig.pass(300);
        }
    }
    let sums = rig.history.sums(&rig.metrics, rig.now, 12, 4);
    let of = |of: Of| sums.iter().find(|(known, _)| *known == of).map(|(_, sums)| sums.clone());
    let requests = |of: Of| {
        let day = rig.history.day(&rig.metrics, of, rig.now).into_iter();
        let from = slot_beginnings(rig.now.wall, 12)[0];
        let counts = day.filter(|(begins, _)| *begins >= from).map(|(_, counts)| counts);
        counts.fold(Counts::default(), |mut sum, counts| {
            sum.add(&counts);
            sum
        })
    };
    for (key, parts) in [
        (web, vec![18 + 19 + 20, 21 + 22 + 23, 24 + 25 + 26, 27 + 28 + 29]),
        (jobs, vec![1, 1, 1, 1]),
        (rig.of("late"), vec![0, 0, 0, 1]),
        (Of::Host(hosts.label("api.box.com")), vec![0, 0, 0, 1]),
    ] {
        let sums = of(key).unwrap();
        // What is not packed yet has a sum of durations too.
        assert_eq!(sums.counts.durations.buckets(), requests(key).durations.buckets());
        assert_eq!(sums.counts.requests, requests(key).requests);
        assert_eq!(sums.requests, parts, "{key:?}");
    }
    assert_eq!(sums.len(), 4, "{sums:?}");
    assert_eq!(of(Of::All), None);
    // The whole day, and a stretch without requests.
    let day = rig.history.sums(&rig.metrics, rig.now, SLOTS, SLOTS);
    assert_eq!(day.iter().map(|(_, sums)| sums.requests.iter().sum::<u64>()).sum::<u64>(), 435 + 10 + 1 + 1);
    rig.pass(7200);
    assert!(rig.history.sums(&rig.metrics, rig.now, 12, 4).is_empty());
}

#[test]
fn keys_are_of_what_they_were_made_from() {
    let (apps, hosts) = (AppLabels::default(), HostLabels::default());
    let (app, host) = (apps.label("a"), hosts.label("h"));
    for of in [Of::All, Of::App(None), Of::App(app), Of::Host(None), Of::Host(host)] {
        assert_eq!(Of::with_key(of.key()), Some(of));
    }
    assert_eq!((Of::with_key(2 + 65_536), Of::with_key(u32::MAX)), (None, None));
}

#[test]
fn slots_begin_at_whole_five_minutes_of_the_wall_clock() {
    let at = |seconds| UNIX_EPOCH + NOON + Duration::from_secs(seconds);
    assert_eq!(slot_beginnings(at(299), 2), [UNIX_EPOCH + NOON - Duration::from_secs(300), at(0)]);
    assert_eq!(slot_beginnings(at(300), 1), [at(300)]);
}

#[test]
fn the_last_five_minutes_slide_and_are_exact_at_the_moment_of_reading() {
    let mut rig = Rig::new();
    rig.request("web", 200, 1);
    assert_eq!(rig.recent("web"), 1, "no sample was taken since");
    rig.pass(200);
    rig.request("web", 200, 1);
    rig.request("jobs", 200, 1);
    assert_eq!((rig.recent("web"), rig.recent("jobs")), (2, 1));
    rig.pass(99);
    assert_eq!(rig.recent("web"), 2);
    rig.pass(11);
    assert_eq!((rig.recent("web"), rig.recent("jobs")), (1, 1), "the first is 310 s old");
    rig.pass(200);
    assert_eq!((rig.recent("web"), rig.recent("jobs")), (0, 0));
    assert_eq!(rig.history.0.lock().unwrap().steps.len(), 0);
}

#[test]
fn reading_often_keeps_no_more_steps() {
    let mut rig = Rig::new();
    for second in 0..1_000 {
        rig.request("web", 200, second % 40);
        rig.pass(1);
    }
    let steps = rig.history.0.lock().unwrap().steps.len();
    assert!((28..=31).contains(&steps), "{steps}");
    assert!((300..=311).contains(&rig.recent("web")), "{}", rig.recent("web"));
}

#[test]
fn statuses_and_percentiles_are_those_of_the_app() {
    let rig = Rig::new();
    for millis in 1..=100 {
        rig.request("web", 200, millis);
    }
    for status in [404, 429, 429, 499, 502] {
        rig.request("jobs", status, 1_000);
    }
    let recent = rig.history.recent(&rig.metrics, rig.now);
    let (web, jobs) = (recent.of(rig.of("web")), recent.of(rig.of("jobs")));
    assert_eq!((web.requests, web.status_4xx), (100, 0));
    let (p50, p95) = (web.durations.percentile_ms(50).unwrap(), web.durations.percentile_ms(95).unwrap());
    assert!((47.0..53.0).contains(&p50) && (90.0..100.1).contains(&p95), "{p50} {p95}");
    assert_eq!((jobs.requests, jobs.status_4xx, jobs.status_429), (5, 3, 2));
    assert_eq!((jobs.status_5xx, jobs.caller_left), (1, 1));
    assert_eq!(recent.of(Of::All).requests, 105);
}

#[test]
fn hosts_are_apart_from_apps() {
    let rig = Rig::new();
    let hosts = HostLabels::default();
    let api = hosts.label("api.box.com");
    rig.tally.box_answered(api, Duration::from_millis(41));
    rig.tally.box_answered(None, Duration::from_millis(4));
    rig.request("web", 200, 50);
    let recent = rig.history.recent(&rig.metrics, rig.now);
    assert_eq!((recent.of(Of::Host(api)).requests, recent.of(Of::Host(None)).requests), (1, 1));
    assert_eq!((recent.of(Of::All).requests, recent.of(Of::App(None)).requests), (1, 0));
    let p50 = recent.of(Of::Host(api)).durations.percentile_ms(50).unwrap();
    assert!((40.0..50.0).contains(&p50), "{p50}");
}

#[tokio::test]
async fn the_task_takes_the_totals_by_itself() {
    let rig = Rig::new();
    let clock = Clock::adjustable();
    let counted = async {
        for requests in 1..=2 {
            rig.request("web", 200, 1);
            clock.advance(STEP);
            while rig.history.0.lock().unwrap().totals.values().map(|of| of.requests).sum::<u64>() < requests
            {
                tokio::task::yield_now().await;
            }
        }
    };
    let kept = rig.history.keep(&rig.metrics, &clock);
    tokio::select! {
        () = kept => panic!("it goes on as long as the process runs"),
        ended = tokio::time::timeout(Duration::from_secs(30), counted) => ended.expect("it counts"),
    }
}

#[test]
fn slots_begin_at_whole_five_minutes_and_those_without_requests_are_left_out() {
    let mut rig = Rig::new();
    rig.pass(250);
    rig.request("web", 200, 1);
    rig.pass(50);
    rig.request("web", 200, 1);
    rig.request("jobs", 200, 1);
    assert_eq!(rig.day(rig.of("web")), [(0, 1), (300, 1)]);
    rig.pass(900);
    rig.request("web", 200, 1);
    assert_eq!(rig.day(rig.of("web")), [(0, 1), (300, 1), (1200, 1)]);
    assert_eq!(rig.day(rig.of("jobs")), [(300, 1)]);
    assert_eq!(rig.day(Of::All), [(0, 1), (300, 2), (1200, 1)]);
    assert_eq!(rig.slots(), 3);
}

#[test]
fn a_day_is_288_slots() {
    let mut rig = Rig::new();
    for _ in 0..400 {
        rig.request("web", 200, 1);
        rig.pass(300);
    }
    assert_eq!(rig.slots(), SLOTS);
    let day = rig.day(rig.of("web"));
    assert_eq!((day.len(), day[0].0), (SLOTS - 1, 300 * (400 - 287)), "the present one has no requests yet");
    // Of a quiet gateway it may hold older ones, which are not shown.
    let mut quiet = Rig::new();
    quiet.request("web", 200, 1);
    quiet.pass(86_400 - 300);
    assert_eq!(quiet.day(quiet.of("web")), [(0, 1)]);
    quiet.pass(300);
    assert_eq!((quiet.day(quiet.of("web")), quiet.day(Of::All)), (vec![], vec![]));
}

#[test]
fn a_clock_that_is_set_back_continues_its_slots() {
    let mut rig = Rig::new();
    rig.request("web", 200, 1);
    rig.pass(0);
    rig.pass(3_600);
    rig.request("web", 200, 1);
    rig.pass(10);
    rig.now.wall -= Duration::from_secs(3_610);
    rig.pass(0);
    rig.request("web", 200, 1);
    assert_eq!(rig.day(rig.of("web")), [(0, 2)], "later slots are in the future");
    assert_eq!(rig.recent("web"), 2);
    rig.pass(3_600);
    assert_eq!(rig.day(rig.of("web")), [(0, 2), (3_600, 1)]);
    // A year ahead and back again: the day is still there.
    rig.now.wall += Duration::from_secs(365 * 86_400);
    rig.pass(10);
    rig.now.wall -= Duration::from_secs(365 * 86_400);
    rig.pass(10);
    assert_eq!(rig.day(rig.of("web")), [(0, 2), (3_600, 1)]);
}

#[test]
fn slots_of_a_wrong_time_make_room_for_those_of_the_present() {
    let mut rig = Rig::new();
    rig.now.wall += Duration::from_secs(10 * 365 * 86_400);
    for _ in 0..SLOTS {
        rig.pass(300);
        rig.request("web", 200, 1);
    }
    rig.now.wall -= Duration::from_secs(10 * 365 * 86_400) + SLOTS as u32 * Duration::from_secs(300);
    for _ in 0..SLOTS {
        rig.pass(300);
        rig.request("web", 200, 1);
    }
    assert_eq!((rig.slots(), rig.day(rig.of("web")).len()), (SLOTS, SLOTS));
}

#[test]
fn a_suspended_machine_has_a_gap() {
    let mut rig = Rig::new();
    rig.request("web", 200, 1);
    rig.pass(10);
    // The monotonic clock stands still.
    rig.now.wall += Duration::from_secs(7_200);
    rig.pass(0);
    assert_eq!(rig.recent("web"), 0);
    rig.request("web", 200, 1);
    assert_eq!((rig.recent("web"), rig.day(rig.of("web"))), (1, vec![(0, 1), (7_200, 1)]));
}

#[test]
fn times_before_1970_are_in_slots_too() {
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!((slot_of(before), slot_of(UNIX_EPOCH)), (-1, 0));
    assert_eq!(begins(-1), UNIX_EPOCH - Duration::from_secs(300));
    assert_eq!(slot_of(UNIX_EPOCH - Duration::from_secs(301)), -2);
}

/// What the docstring of the module says.
#[test]
fn a_thousand_busy_apps_are_cheap_and_idle_ones_cost_nothing() {
    let mut rig = Rig::new();
    let durations = [2, 3, 4, 5, 7, 9, 11, 14, 18, 22, 28, 36, 45, 57, 71];
    let all: Vec<String> = (0..1_000).map(|number| format!("app-{number}")).collect();
    rig.pass(0);
    for _ in 0..3 {
        for app in &all {
            for millis in durations {
                let labels = Labels::new(rig.apps.label(app), None, &Method::GET, 200, AnsweredBy::Box);
                (0..20).for_each(|_| rig.tally.request(labels, Duration::from_millis(millis), None));
            }
        }
        rig.pass(300);
    }
    let (steps, slots) = rig.bytes();
    assert_eq!(rig.slots(), 4);
    assert!(slots / 3 <= 56 * 1_000, "{}", slots / 3);
    assert!(steps <= 56 * 1_000, "{steps}");
    assert!(size_of::<Counts>() + size_of::<u32>() <= 590);
    // All are idle from here on.
    for _ in 0..10 {
        rig.pass(300);
    }
    assert_eq!(rig.bytes(), (0, slots));
    let state = rig.history.0.lock().unwrap();
    assert!(state.slot.1.is_empty() && state.step.counts.is_empty());
}
