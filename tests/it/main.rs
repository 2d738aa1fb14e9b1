//! Tests over real sockets: a sandbox Box, the real gateway, a caller. One binary, one module for each theme.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails stops, and nobody reads its documentation elsewhere"
)]

mod harness;
mod bodies; // uploads, downloads, early answers, hang-ups
mod balancers; // proxies in front, and what they say of the client
mod browser; // web pages, in Chromium
mod budgets; // calls in a month
mod callers; // hosts, sources, apps, pages
mod clients; // Box's own SDKs
mod documents; // what documents say is so
mod downloads; // redirects, ranges, pre-signed URLs
mod error_pages; // where help_url of an error leads
mod evasions; // other spellings of what rules judge
mod faults; // the caller's, Box's, or the stop's
mod layers; // what imports what
mod limits; // rates, waiting, pauses, what is in flight
mod operations; // every operation of Box's documents
mod pages; // what web pages may do
mod program; // the binary as a process
mod raw; // peers that break off where a test says
mod recipes; // what documents and the justfile tell people to type
mod redis; // what replicas share, in a real Redis
mod rewriting; // URLs and tokens in answers
mod secrets; // what Box and others repeat
mod sessions; // uploads in parts, the long poll
mod stalled; // callers that hold things up
mod tokens; // single flight, 401s, refusals, back-off
mod tools; // other programs, unchanged
mod tunnels; // programs that have Box's hosts built in
mod whole; // what broke off never passes for whole
mod wire; // targets, headers, routing, protocols
