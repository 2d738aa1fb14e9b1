//! May a request go to Box now?

pub(crate) mod limiter; // combines everything that can delay or refuse a request
pub(crate) mod concurrency; // requests in flight
pub(crate) mod pauses; // pauses that Box asked for
pub(crate) mod pause_counts; // how often it asked
pub mod selector; // to which operations a limit or budget applies
pub mod rate; // rate limits
pub mod budget; // calls in a day or month
pub mod redis; // limits, pauses and budgets shared by replicas
