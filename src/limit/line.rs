//! Lines: who waits for a limit, and whose turn is it? Time is handed in; [`super::queue`] sleeps and wakes.
//!
//! Where a limit refuses and has a `wait`, a request stands in line for that limit and key. Each app has its own
//! order of arrival there, and the apps take turns: one with a thousand requests in line holds up one with two for
//! one call each. Whoever is first in the first app's order looks again when the limit's next call is due; all
//! others sleep until they are first. Only a request that passes all its limits moves its app to the back.
//!
//! Nobody overtakes: a newcomer joins the line of any of its limits that has one, even where the count would let it
//! pass. Who is first but is held up by another limit goes to the line of that one, to its place by arrival. Once in
//! its time a request that is first also lets those pass who came earlier and stand in line for another of its
//! limits; only once, so that two lines cannot send each other back and forth.
//!
//! Who could not be served in time is refused at once, with the time after which all who are in line are served.
//! Should others push it back beyond its time later, the last one of the longest order goes.

use std::collections::{HashMap, VecDeque};

use super::table::{Counted, Keys, Passed, Refused, Rules, Table, WAIT_MAX};

/// At most so many requests wait for one limit, under all its keys.
pub const QUEUED_MAX: usize = 1024;

/// What becomes of a newcomer.
#[derive(Debug)]
pub enum Arrival {
    /// It passed and is charged.
    Passed(Passed),
    /// It is refused and charged to none.
    Refused(Refused),
    /// It stands in line under this number: [`Desk::look`] tells for how long.
    Waits(u64),
}

/// What becomes of one in line.
#[derive(Debug)]
pub enum Look {
    /// It passed and is charged.
    Passed(Passed),
    /// It is refused and charged to none.
    Refused(Refused),
    /// Look again then, or when woken.
    Until(u64),
}

/// The counts and the lines of all limits. Kept behind one lock by its owner.
#[derive(Debug)]
pub struct Desk {
    table: Table,
    lines: HashMap<Counted, Line>,
    places: HashMap<u64, Place>,
    /// By limits.
    queued: Vec<usize>,
    next: u64,
    now: u64,
    woken: Vec<u64>,
}

/// Where a waiting request is.
#[derive(Debug)]
enum Place {
    InLine(Counted, usize),
    /// It does not know yet.
    Evicted(Refused),
}

/// Apps in the order of their turns, each with its requests in the order of arrival. No app without a request.
#[derive(Debug, Default)]
struct Line {
    apps: VecDeque<(usize, VecDeque<Waiter>)>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Waiter {
    /// Numbers grow with arrival.
    number: u64,
    keys: Keys,
    /// In this line it waits until then …
    by: u64,
    /// … in all until then.
    last: u64,
    /// It has let earlier ones pass.
    yielded: bool,
}

impl Desk {
    /// Nobody in line.
    pub fn new(rules: &Rules) -> Self {
        Self {
            table: Table::new(rules),
            lines: HashMap::new(),
            places: HashMap::new(),
            queued: vec![0; rules.iter().count()],
            next: 0,
            now: 0,
            woken: Vec::new(),
        }
    }

    /// A request comes.
    pub fn arrive(&mut self, keys: Keys, app: usize, now: u64) -> Arrival {
        let now = self.later(now);
        self.table.stage(&keys, now);
        let lined = !self.lines.is_empty() && keys.iter().any(|counted| self.lines.contains_key(&counted));
        if !lined && self.table.passes() {
            return Arrival::Passed(self.table.charge(now));
        }
        let mut retry = 0;
        let mut refused_by = None;
        let mut join: Option<(Counted, u64)> = None;
        let mut longest_wait = 0;
        for staged in self.table.staged() {
            let counted = staged.counted;
            let wait = self.table.wait(counted.rule);
            longest_wait = longest_wait.max(wait);
            let (ahead, all) = match self.lines.get(&counted) {
                None if staged.left() == 0 => continue,
                None => (0, 0),
                Some(line) => (line.ahead_of(app), line.len),
            };
            let interval = self.table.interval(counted.rule);
            let after = |calls: usize| staged.left().saturating_add(interval.saturating_mul(calls as u64));
            retry = retry.max(after(all));
            if wait == 0 || after(ahead) > wait || !self.has_room(counted, app) {
                refused_by = refused_by.or(Some(counted));
            } else if join.is_none_or(|(_, longest)| after(ahead) > longest) {
                join = Some((counted, after(ahead)));
            }
        }
        match (refused_by, join) {
            (None, Some((line, _))) => {
                let number = self.next;
                self.next += 1;
                let last = now.saturating_add(longest_wait.min(WAIT_MAX.as_nanos() as u64));
                let waiter = Waiter { number, keys, by: last, last, yielded: false };
                self.displace_for(line, app, now);
                self.join(line, app, waiter, now);
                self.displace_late(line, number, now);
                Arrival::Waits(number)
            }
            (by, _) => Arrival::Refused(self.table.refusal(by.unwrap_or_default(), retry)),
        }
    }

    /// One in line looks whether it may go.
    pub fn look(&mut self, number: u64, now: u64) -> Look {
        let now = self.later(now);
        // Each round moves it to another line, for which there are few reasons.
        loop {
            let (line, app) = match self.places.get(&number) {
                Some(Place::InLine(line, app)) => (*line, *app),
                _ => return Look::Refused(self.evicted(number)),
            };
            let Some((waiter, first)) = self.lines.get(&line).and_then(|there| there.find(app, number))
            else {
                return Look::Refused(self.evicted(number));
            };
            if !first {
                if now < waiter.by {
                    return Look::Until(waiter.by);
                }
                return Look::Refused(self.refuse(number, line, now));
            }
            let earlier = if waiter.yielded { None } else { self.earlier_elsewhere(waiter, line) };
            let (keys, by, last) = (waiter.keys.clone(), waiter.by, waiter.last);
            self.table.stage(&keys, now);
            let next = match earlier {
                Some(other) => other,
                None if self.table.passes() => {
                    self.remove(number, true);
                    return Look::Passed(self.table.charge(now));
                }
                None => {
                    let mut longest = (line, 0);
                    let mut refused_by = None;
                    for staged in self.table.staged().filter(|staged| staged.left() > 0) {
                        let (counted, wait) = (staged.counted, self.table.wait(staged.counted.rule));
                        let by = if counted == line { by } else { last.min(now.saturating_add(wait)) };
                        if wait == 0 || now.saturating_add(staged.left()) > by {
                            refused_by = refused_by.or(Some(counted));
                        }
                        if staged.left() > longest.1 {
                            longest = (counted, staged.left());
                        }
                    }
                    if let Some(by) = refused_by {
                        return Look::Refused(self.refuse(number, by, now));
                    }
                    if longest.0 == line {
                        return Look::Until(now.saturating_add(longest.1));
                    }
                    longest.0
                }
            };
            if now >= by || !self.has_room(next, app) {
                return Look::Refused(self.refuse(number, next, now));
            }
            if let Some(mut waiter) = self.remove(number, false) {
                waiter.yielded |= earlier.is_some();
                self.displace_for(next, app, now);
                self.join(next, app, waiter, now);
            }
        }
    }

    /// One in line goes away; the next one is woken.
    pub fn leave(&mut self, number: u64) {
        if self.remove(number, false).is_none() {
            self.places.remove(&number);
        }
    }

    /// Who has to look now: first in line, or refused.
    pub fn woken(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.woken.drain(..)
    }

    /// How many are in line for each limit.
    pub fn queued(&self) -> &[usize] {
        &self.queued
    }

    /// Threads read the clock before they get the lock.
    fn later(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    fn earlier_elsewhere(&self, waiter: &Waiter, here: Counted) -> Option<Counted> {
        if self.lines.len() < 2 {
            return None;
        }
        waiter.keys.iter().find(|counted| {
            let line = self.lines.get(counted).filter(|_| *counted != here);
            line.and_then(Line::earliest).is_some_and(|earliest| earliest < waiter.number)
        })
    }

    /// Whether one more request of this app finds a place for this limit, if need be that of one of an app with more.
    fn has_room(&self, line: Counted, app: usize) -> bool {
        self.queued_for(line) < QUEUED_MAX || self.greedier(line, app).is_some()
    }

    fn queued_for(&self, line: Counted) -> usize {
        self.queued.get(line.rule as usize).copied().unwrap_or(0)
    }

    /// Who is last in the longest order, if that is longer than this app's would be.
    fn greedier(&self, line: Counted, app: usize) -> Option<u64> {
        let line = self.lines.get(&line)?;
        let own = line.apps.iter().find(|(name, _)| *name == app).map_or(0, |(_, order)| order.len());
        let (_, longest) = line.apps.iter().max_by_key(|(_, order)| order.len())?;
        longest.back().filter(|_| longest.len() > own + 1).map(|waiter| waiter.number)
    }

    fn displace_for(&mut self, line: Counted, app: usize, now: u64) {
        if self.queued_for(line) >= QUEUED_MAX
            && let Some(number) = self.greedier(line, app)
        {
            self.evict(number, line, now);
        }
    }

    /// A newcomer pushes others back by one call: the last one may have lost its chance.
    fn displace_late(&mut self, line: Counted, newcomer: u64, now: u64) {
        let Some(there) = self.lines.get(&line) else { return };
        let longest = there.apps.iter().max_by_key(|(_, order)| order.len());
        let Some(last) = longest.filter(|(_, order)| order.len() > 1).and_then(|(_, order)| order.back())
        else {
            return;
        };
        let before = there.len.saturating_sub(1) as u64;
        let served = now
            .saturating_add(self.table.left(line, now))
            .saturating_add(self.table.interval(line.rule).saturating_mul(before));
        let (number, late) = (last.number, served > last.by);
        if late && number != newcomer {
            self.evict(number, line, now);
        }
    }

    fn evict(&mut self, number: u64, line: Counted, now: u64) {
        let refusal = self.refuse(number, line, now);
        self.places.insert(number, Place::Evicted(refusal));
        self.woken.push(number);
    }

    fn evicted(&mut self, number: u64) -> Refused {
        match self.places.remove(&number) {
            Some(Place::Evicted(refused)) => refused,
            // Nobody looks for a number that has gone.
            _ => self.table.refusal(Counted::default(), 0),
        }
    }

    /// Takes one out of its line; it is refused by `by`.
    fn refuse(&mut self, number: u64, by: Counted, now: u64) -> Refused {
        let keys = self.remove(number, false).map(|waiter| waiter.keys).unwrap_or_default();
        let mut retry = 0;
        for counted in keys.iter() {
            let in_line = self.lines.get(&counted).map_or(0, |line| line.len as u64);
            let all = self.table.interval(counted.rule).saturating_mul(in_line);
            retry = retry.max(self.table.left(counted, now).saturating_add(all));
        }
        self.table.refusal(by, retry)
    }

    fn join(&mut self, at: Counted, app: usize, mut waiter: Waiter, now: u64) {
        waiter.by = waiter.last.min(now.saturating_add(self.table.wait(at.rule)));
        self.places.insert(waiter.number, Place::InLine(at, app));
        if let Some(queued) = self.queued.get_mut(at.rule as usize) {
            *queued += 1;
        }
        let line = self.lines.entry(at).or_default();
        line.len += 1;
        match line.apps.iter_mut().find(|(name, _)| *name == app) {
            Some((_, order)) => {
                let place = order.partition_point(|other| other.number < waiter.number);
                order.insert(place, waiter);
            }
            None => line.apps.push_back((app, VecDeque::from([waiter]))),
        }
    }

    fn remove(&mut self, number: u64, served: bool) -> Option<Waiter> {
        let Some(Place::InLine(at, app)) = self.places.get(&number) else { return None };
        let (at, app) = (*at, *app);
        self.places.remove(&number);
        let line = self.lines.get_mut(&at)?;
        let was_first = line.first() == Some(number);
        let turn = line.apps.iter().position(|(name, _)| *name == app)?;
        let (_, order) = line.apps.get_mut(turn)?;
        let place = order.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        let waiter = order.remove(place)?;
        if order.is_empty() {
            line.apps.remove(turn);
        } else if served && let Some(app) = line.apps.remove(turn) {
            line.apps.push_back(app);
        }
        line.len -= 1;
        if let Some(queued) = self.queued.get_mut(at.rule as usize) {
            *queued -= 1;
        }
        match line.first() {
            Some(first) if was_first => self.woken.push(first),
            Some(_) => {}
            None => {
                self.lines.remove(&at);
                give_back(&mut self.lines);
            }
        }
        give_back(&mut self.places);
        Some(waiter)
    }
}

/// After a rush.
fn give_back<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.is_empty() && map.capacity() > 64 {
        map.shrink_to_fit();
    }
}

impl Line {
    fn first(&self) -> Option<u64> {
        self.apps.front()?.1.front().map(|waiter| waiter.number)
    }

    fn earliest(&self) -> Option<u64> {
        self.apps.iter().filter_map(|(_, order)| order.front()).map(|waiter| waiter.number).min()
    }

    /// The request, and whether it is first.
    fn find(&self, app: usize, number: u64) -> Option<(&Waiter, bool)> {
        let (_, order) = self.apps.iter().find(|(name, _)| *name == app)?;
        let place = order.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        Some((order.get(place)?, self.first() == Some(number)))
    }

    /// How many are served before one more request of this app.
    fn ahead_of(&self, app: usize) -> usize {
        let turn = self.apps.iter().position(|(name, _)| *name == app);
        let own = turn.and_then(|turn| self.apps.get(turn)).map_or(0, |(_, order)| order.len());
        let turn = turn.unwrap_or(self.apps.len());
        let others = self.apps.iter().enumerate().filter(|(place, _)| *place != turn);
        let ahead = others.map(|(place, (_, order))| order.len().min(own + usize::from(place < turn)));
        own + ahead.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Asking, User};
    use super::super::{Key, Limit};
    use super::*;
    use crate::class::Class;
    use crate::operation::Operation;
    use http::Method;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn limit(key: Key, interval_ms: u64, burst: u32, wait_ms: u64) -> Limit {
        Limit {
            name: format!("{key:?}").into(),
            key,
            on: vec![],
            interval: Duration::from_millis(interval_ms),
            burst: NonZeroU32::new(burst).unwrap(),
            wait: Duration::from_millis(wait_ms),
            enforce: true,
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum End {
        Passed,
        Refused(u64),
    }

    /// Callers, and the sleepers and wakers of the real thing.
    struct Sim {
        rules: Rules,
        desk: Desk,
        now: u64,
        /// By numbers: which call, and when it looks.
        waiting: BTreeMap<u64, (usize, u64)>,
        calls: Vec<Call>,
        ended: usize,
        looks: usize,
    }

    #[derive(Debug, Clone, Copy)]
    struct Call {
        app: usize,
        user: usize,
        came: u64,
        end: Option<(u64, End)>,
        /// Its number, if it was in line.
        number: Option<u64>,
        /// Among those that ended.
        place: usize,
    }

    impl Sim {
        fn new(limits: Vec<Limit>) -> Self {
            let rules = Rules::new(limits, vec![]);
            let desk = Desk::new(&rules);
            Self { rules, desk, now: 0, waiting: BTreeMap::new(), calls: vec![], ended: 0, looks: 0 }
        }

        fn call(&mut self, app: usize, user: usize) -> usize {
            let keys = self.rules.applying(&Asking {
                operation: Operation { method: &Method::GET, path: "/2.0/users/me" },
                class: Class::General,
                client: [10, 0, 0, 1].into(),
                app,
                identity: 0,
                user: User::Id(&user.to_string()),
                enterprise: 0,
                counted_by_box: true,
            });
            let call = self.calls.len();
            self.calls.push(Call { app, user, came: self.now, end: None, number: None, place: 0 });
            match self.desk.arrive(keys, app, self.now) {
                Arrival::Passed(_) => self.ends(call, End::Passed),
                Arrival::Refused(refused) => self.ends(call, refusal(&refused)),
                Arrival::Waits(number) => {
                    self.calls[call].number = Some(number);
                    self.waiting.insert(number, (call, self.now));
                    self.look(number);
                }
            }
            self.wake();
            call
        }

        fn ends(&mut self, call: usize, end: End) {
            self.ended += 1;
            self.calls[call].place = self.ended;
            self.calls[call].end = Some((self.now, end));
        }

        fn look(&mut self, number: u64) {
            let Some((call, _)) = self.waiting.get(&number).copied() else { return };
            self.looks += 1;
            match self.desk.look(number, self.now) {
                Look::Until(until) => {
                    assert!(until > self.now, "it would look for ever");
                    self.waiting.insert(number, (call, until));
                    return;
                }
                Look::Passed(_) => self.ends(call, End::Passed),
                Look::Refused(refused) => self.ends(call, refusal(&refused)),
            }
            self.waiting.remove(&number);
            self.desk.leave(number);
        }

        fn wake(&mut self) {
            loop {
                let woken: Vec<u64> = self.desk.woken().collect();
                if woken.is_empty() {
                    return;
                }
                for number in woken {
                    self.look(number);
                }
            }
        }

        fn hang_up(&mut self, call: usize) {
            if let Some(number) =
                self.calls[call].number.filter(|number| self.waiting.remove(number).is_some())
            {
                self.desk.leave(number);
                self.wake();
            }
        }

        fn run_until(&mut self, then: u64) {
            while let Some((at, number)) = self.waiting.iter().map(|(n, (_, at))| (*at, *n)).min() {
                if at > then {
                    break;
                }
                self.now = self.now.max(at);
                self.look(number);
                self.wake();
            }
            self.now = self.now.max(then);
        }

        fn run(&mut self) {
            self.run_until(self.now + 100_000 * MS);
            assert!(self.waiting.is_empty());
            assert!(self.desk.lines.is_empty() && self.desk.places.is_empty());
            assert!(self.desk.queued().iter().all(|queued| *queued == 0));
        }

        fn passed(&self) -> Vec<Call> {
            let mut passed: Vec<Call> =
                self.calls.iter().copied().filter(|c| matches!(c.end, Some((_, End::Passed)))).collect();
            passed.sort_by_key(|call| call.place);
            passed
        }

        /// When a call passed.
        fn at(&self, call: usize) -> Option<u64> {
            self.calls[call].end.and_then(|(at, end)| (end == End::Passed).then_some(at / MS))
        }
    }

    fn refusal(refused: &Refused) -> End {
        End::Refused(u64::try_from(refused.retry_after.as_nanos()).unwrap())
    }

    /// 1 where all have the same; 1/n where one has all.
    fn jain(shares: &[f64]) -> f64 {
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        sum * sum / (shares.len() as f64 * squares)
    }

    #[test]
    fn calls_are_spaced_at_the_limits_pace_in_their_order() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 100, 2, 1000)]);
        let calls: Vec<usize> = (0..6).map(|_| sim.call(0, 0)).collect();
        sim.run();
        let at: Vec<_> = calls.iter().map(|call| sim.at(*call)).collect();
        assert_eq!(at, [Some(0), Some(0), Some(100), Some(200), Some(300), Some(400)]);
    }

    #[test]
    fn who_cannot_be_served_in_time_is_refused_at_once_and_told_when() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 250)]);
        let calls: Vec<usize> = (0..4).map(|_| sim.call(0, 0)).collect();
        assert_eq!(sim.calls[calls[3]].end, Some((0, End::Refused(300 * MS))));
        sim.run_until(300 * MS);
        let late = sim.call(0, 0);
        assert_eq!(sim.at(late), Some(300));
    }

    #[test]
    fn a_newcomer_does_not_overtake_even_where_a_call_is_free() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 1000)]);
        sim.call(0, 0);
        let waiting = sim.call(0, 0);
        // The sleeper is late.
        sim.now = 150 * MS;
        let newcomer = sim.call(1, 0);
        assert_eq!((sim.at(waiting), sim.at(newcomer)), (None, None));
        sim.run();
        assert!(sim.calls[waiting].place < sim.calls[newcomer].place);
    }

    #[test]
    fn a_caller_that_hangs_up_hands_its_turn_on() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 1000)]);
        let calls: Vec<usize> = (0..5).map(|_| sim.call(0, 0)).collect();
        sim.hang_up(calls[1]); // the first in line
        sim.hang_up(calls[3]); // one in the middle
        sim.run();
        assert_eq!([2, 4].map(|i| sim.at(calls[i])), [Some(100), Some(200)]);
        assert_eq!(sim.passed().len(), 3);
    }

    #[test]
    fn only_the_first_looks_when_a_call_becomes_free() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 10, 1, 10_000)]);
        for _ in 0..900 {
            sim.call(0, 0);
        }
        sim.looks = 0;
        sim.run();
        assert!(sim.looks <= 2 * 900, "{}", sim.looks);
    }

    #[test]
    fn no_app_waits_for_another_ones_thousand() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 20, 1, 30_000)]);
        sim.call(0, 0);
        let greedy: Vec<usize> = (0..1000).map(|_| sim.call(0, 0)).collect();
        // More than there is room for: theirs are taken in, the last of the greedy one's have to go.
        let modest: Vec<[usize; 2]> = (1..50).map(|app| [sim.call(app, 0), sim.call(app, 0)]).collect();
        assert_eq!(sim.desk.queued(), [QUEUED_MAX]);
        let evicted = greedy.iter().filter(|call| sim.calls[**call].end.is_some()).count();
        assert_eq!(evicted, 1000 + 98 - QUEUED_MAX);
        sim.run();
        // Each round serves each app once: fifty calls of 20 ms.
        for [first, second] in &modest {
            assert!(sim.at(*first).unwrap() <= 1000 && sim.at(*second).unwrap() <= 2000);
        }
        let mut shares = [0.0; 50];
        for call in &sim.passed()[1..=100] {
            shares[call.app] += 1.0;
        }
        assert!(jain(&shares) > 0.999, "{}", jain(&shares));
        // And no time was lost: the greedy one's last is served when all are.
        assert_eq!(sim.passed().last().unwrap().end.unwrap().0, QUEUED_MAX as u64 * 20 * MS);
    }

    #[test]
    fn fifty_apps_of_different_greed_get_the_same() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 10, 5, 20_000)]);
        // Each keeps between two and eleven requests in line.
        let mut in_line = [0_usize; 50];
        for tick in 0..750_u64 {
            sim.run_until(tick * 10 * MS);
            in_line.fill(0);
            for (call, _) in sim.waiting.values() {
                in_line[sim.calls[*call].app] += 1;
            }
            for (app, in_line) in in_line.iter().enumerate() {
                for _ in *in_line..app % 10 + 2 {
                    sim.call(app, 0);
                }
            }
        }
        let mut shares = [0.0; 50];
        for call in sim.passed() {
            shares[call.app] += 1.0;
        }

        assert!(jain(&shares) > 0.99, "{} {shares:?}", jain(&shares));
    }

    #[test]
    fn who_is_pushed_back_beyond_its_time_is_told_at_once() {
        let mut sim = Sim::new(vec![limit(Key::Identity, 100, 1, 300)]);
        sim.call(0, 0);
        let greedy: Vec<usize> = (0..3).map(|_| sim.call(0, 0)).collect();
        let modest = sim.call(1, 0);
        assert!(matches!(sim.calls[greedy[2]].end, Some((0, End::Refused(_)))));
        sim.run();
        assert_eq!(sim.at(modest), Some(200));
        assert_eq!([0, 1].map(|i| sim.at(greedy[i])), [Some(100), Some(300)]);
    }

    #[test]
    fn one_limits_line_does_not_hold_up_another_keys() {
        let mut sim = Sim::new(vec![limit(Key::User, 100, 1, 1000), limit(Key::Identity, 1, 50, 1000)]);
        for _ in 0..5 {
            sim.call(0, 1);
        }
        let other = sim.call(0, 2);
        assert_eq!(sim.at(other), Some(0));
        sim.run();
        assert_eq!(sim.passed().len(), 6);
    }

    #[test]
    fn a_limit_that_does_not_wait_refuses_those_in_line_for_another() {
        let mut sim = Sim::new(vec![limit(Key::User, 1000, 1, 0), limit(Key::Identity, 100, 1, 1000)]);
        sim.call(0, 1);
        let waits = sim.call(0, 2);
        let also = sim.call(1, 2);
        sim.run();
        assert_eq!((sim.at(waits), sim.at(also)), (Some(100), None));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Call { app: usize, user: usize },
        HangUp(usize),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..4_usize, 0..3_usize).prop_map(|(app, user)| Step::Call { app, user }),
            1 => any::<usize>().prop_map(Step::HangUp),
            2 => (0..200_u64).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 1..150)
    }

    fn play(sim: &mut Sim, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Call { app, user } => {
                    sim.call(app, user);
                }
                Step::HangUp(any) if !sim.calls.is_empty() => sim.hang_up(any % sim.calls.len()),
                Step::HangUp(_) => {}
                Step::Pass(ms) => sim.run_until(sim.now + ms * MS),
            }
        }
        sim.run();
    }

    fn keeps_to(at: &[u64], burst: u64, interval: u64) -> bool {
        at.iter().enumerate().all(|(i, from)| {
            at[i..].iter().zip(1..).all(|(to, calls)| calls <= burst + (to - from) / interval)
        })
    }

    proptest! {
        #[test]
        fn one_limit_serves_in_order_at_its_pace(steps in steps(), interval in 1..80_u64, burst in 1..4_u32, wait in 0..500_u64) {
            let mut sim = Sim::new(vec![limit(Key::Identity, interval, burst, wait)]);
            play(&mut sim, steps);
            let at: Vec<u64> = sim.passed().iter().map(|call| call.end.unwrap().0).collect();
            prop_assert!(keeps_to(&at, u64::from(burst), interval * MS));
            for app in 0..4 {
                let came: Vec<u64> = sim.passed().iter().filter(|c| c.app == app).map(|c| c.came).collect();
                prop_assert!(came.is_sorted(), "first come, first served");
            }
            for call in &sim.calls {
                if let Some((at, _)) = call.end {
                    prop_assert!(at - call.came <= wait * MS);
                }
            }
        }

        #[test]
        fn several_limits_end_every_call_in_its_time(
            steps in steps(),
            intervals in [1..80_u64, 1..80_u64, 1..80_u64],
            bursts in [1..4_u32, 1..4_u32, 1..4_u32],
            waits in [0..500_u64, 0..500_u64, 0..500_u64],
        ) {
            let keys = [Key::App, Key::User, Key::Identity];
            let mut sim = Sim::new((0..3).map(|i| limit(keys[i], intervals[i], bursts[i], waits[i])).collect());
            play(&mut sim, steps);
            let longest = waits.iter().max().unwrap() * MS;
            for call in &sim.calls {
                if let Some((at, _)) = call.end {
                    prop_assert!(at - call.came <= longest);
                }
            }
            let passed = sim.passed();
            let at = |wanted: &dyn Fn(&Call) -> bool| -> Vec<u64> {
                passed.iter().filter(|call| wanted(call)).map(|call| call.end.unwrap().0).collect()
            };
            prop_assert!(keeps_to(&at(&|_| true), bursts[2].into(), intervals[2] * MS));
            for one in 0..4 {
                prop_assert!(keeps_to(&at(&|call| call.app == one), bursts[0].into(), intervals[0] * MS));
                prop_assert!(keeps_to(&at(&|call| call.user == one), bursts[1].into(), intervals[1] * MS));
                for user in 0..3 {
                    // Under the same keys in all limits: in the order of arrival.
                    let same = |call: &&Call| call.app == one && call.user == user;
                    let came: Vec<u64> = passed.iter().filter(same).map(|call| call.came).collect();
                    prop_assert!(came.is_sorted(), "{came:?}");
                }
            }
        }
    }
}
