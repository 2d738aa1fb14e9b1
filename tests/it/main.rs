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
mod as_user; // users whom an app lists by login
mod audit; // the audit log: which requests, and what it says of them
mod bodies; // uploads, downloads, early answers, callers that leave
mod balancers; // proxies in front, and the client address they give
mod browser; // web pages, in Chromium
mod budgets; // calls in a day or month
mod callers; // hosts, sources, apps, pages
mod clients; // Box's own SDKs
mod documents; // what documents say is so
mod downscope; // identities whose tokens have fewer rights
mod downloads; // redirects, ranges, pre-signed URLs
mod error_pages; // the pages behind help_url
mod evasions; // other spellings that could evade rules
mod front_page; // what a person sees at `/`
mod faults; // attributed to the caller, Box, or the stop
mod layers; // imports between modules
mod limits; // rates, waiting, pauses, requests in flight
mod operators; // who may ask what on the admin listener
mod operations; // every operation of Box's documents
mod operators_page; // the page at / of the admin listener, without a browser
mod metrics; // that tell causes apart
mod parked; // idle connections that hold no memory
mod over_time; // the views "Over time" and "Box calls"
mod packaging; // the image, compose, releases, the Debian package
mod pages; // what web pages may do
mod recent_requests; // what /requests.json says
mod program; // the binary as a process
mod raw; // peers scripted byte by byte
mod recipes; // what documents and the justfile tell people to type
mod redis; // what replicas share, in a real Redis
mod renewals; // tokens at an operator's request
mod rewriting; // URLs and tokens in answers
mod secrets; // secrets that Box and others repeat
mod sessions; // uploads in parts, the long poll
mod status; // what /status.json and /history.json say
mod stalled; // callers that stall
mod tokens; // single flight, 401s, refusals, back-off
mod tools; // other programs, unmodified
mod unread_bodies; // answers that come before the request's body
mod usage; // who spent Box's calls
mod traces; // spans for a collector, and collectors that fail
mod tunnels; // programs that have Box's hosts built in
mod whole; // incomplete messages never end cleanly
mod wire; // targets, headers, routing, protocols
