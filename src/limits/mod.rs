//! May it go now?

pub mod limiter; // all that can hold a request back
pub mod concurrency; // how many at once
pub mod retry_after; // what Box asked to wait for
pub mod rate; // how often
pub mod budget; // how often in a month
pub mod redis; // how often, all replicas together
