//! A plain proxied request, and its access line, allocate memory at most so many times.

use std::fs::File;

use crate::harness::{Caller, Counting, Gateway, Sandbox, start_gateway};

/// Requests before counting: the first ones open the connection to Box, and buffers grow to their size.
const WARM_UP: usize = 50;
/// The requests of a round; those of all rounds are fewer than Box allows one user in a minute.
const HUNDRED: usize = 100;
/// The smallest count of these rounds is taken: a task that runs once a second may allocate during some.
const ROUNDS: usize = 5;

/// The most allocations of a hundred requests: 24 of each, of which two thirds are those of hyper, h2 and rustls, and
/// those that are not made in each request, such as for a buffer that grows. One more in each would exceed it.
const MOST: u64 = 2490;
/// The most that a hundred access lines add: two of each, and what their writer allocates to write, which it does for one
/// line or for many as it gets to run.
const MOST_LOGGED: u64 = 450;

/// How many times a hundred requests allocate.
fn allocations(caller: &mut Caller) -> u64 {
    (0..WARM_UP).for_each(|_| caller.ask());
    let round = |caller: &mut Caller| {
        let before = dhat::HeapStats::get().total_blocks;
        (0..HUNDRED).for_each(|_| caller.ask());
        dhat::HeapStats::get().total_blocks - before
    };
    (0..ROUNDS).map(|_| round(caller)).min().unwrap()
}

/// With the shipped settings: a limit, JSON rewriting, Box's own limits; the access log off, then on.
#[test]
fn a_plain_request_allocates_at_most_so_many_times() {
    let _counting = Counting::begin();
    let sandbox = Sandbox::start();
    let text = format!(
        "{}\n[[limit]]\nname = \"per-caller\"\nkey = \"client\"\nrate = \"1000000/s\"\n",
        sandbox.config()
    );
    let of = |gateway: &Gateway| allocations(&mut Caller::connect(&gateway.callers));
    let quiet = of(&start_gateway(text.clone(), None));
    let null = File::options().write(true).open("/dev/null").unwrap();
    let logged = of(&start_gateway(text, Some(null)));
    eprintln!("a hundred requests allocate {quiet} times, {logged} with access lines");
    assert!(quiet <= MOST, "a hundred requests allocate {quiet} times, at most {MOST} are allowed");
    assert!(logged <= quiet + MOST_LOGGED, "a hundred access lines allocate {logged} - {quiet} times");
}
