//! May it go now?

pub(crate) mod limiter; // all that can hold a request back
pub(crate) mod concurrency; // how many at once
pub(crate) mod pauses; // what Box asked to wait for
pub mod selector; // what a limit or a budget is about
pub mod rate; // how often
pub mod budget; // how often in a month
pub mod redis; // how often, all replicas together
