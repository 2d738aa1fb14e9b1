//! A plain proxied request, and its access line, allocate memory at most so many times.

use std::fs::File;

use crate::harness::{Caller, Counting, Gateway, Sandbox, start_gateway};

/// Requests before counting: the first ones open the connection to Box, and buffers grow to their size.
const WARM_UP: usize = 50;
/// The requests that are counted; fewer than Box allows one user in a minute.
const COUNTED: usize = 500;

/// The most allocations of a request. Two thirds are those of hyper, h2 and rustls.
const MOST: u64 = 23;
/// The most that an access line adds: two, and what its writer allocates to write, which it does for one line or for many as
/// it gets to run.
const MOST_LOGGED: u64 = 4;

/// How many times a request allocates at least. In most of them a buffer of a library grows too, in some a task runs that
/// comes now and then, and on a busy machine some come so late that the connection was parked.
fn allocations(caller: &mut Caller) -> u64 {
    (0..WARM_UP).for_each(|_| caller.ask());
    let count = |caller: &mut Caller| {
        let before = dhat::HeapStats::get().total_blocks;
        caller.ask();
        dhat::HeapStats::get().total_blocks - before
    };
    (0..COUNTED).map(|_| count(caller)).min().unwrap()
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
    eprintln!("a request allocates {quiet} times, {logged} with its access line");
    assert!(quiet <= MOST, "a request allocates {quiet} times, at most {MOST} are allowed");
    assert!(logged <= quiet + MOST_LOGGED, "an access line allocates {logged} - {quiet} times");
}
