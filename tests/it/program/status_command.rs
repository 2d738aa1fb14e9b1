//! `boxgate status`: the screen, the document, the refreshed screen, and the exit status.

mod gateway; // a running gateway
mod once; // asked once
mod watched; // asked again and again

/// Documents as a gateway sends them: two apps and nothing wrong, and much that is wrong.
const READY: &str = include_str!("../../../src/cli/status/tests/ready.json");
const NOT_READY: &str = include_str!("../../../src/cli/status/tests/not_ready.json");
