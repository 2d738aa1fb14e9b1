//! Limits, pauses and budgets that replicas share through Redis.

pub mod replicas; // the shared state, and whether Redis is in use
pub(crate) mod reservation; // a call counted in windows, until it is sent
pub(crate) mod reachability; // can Redis be used?
mod connection; // connecting to Redis
mod keys; // names of keys
mod protocol; // arguments and replies of the scripts
mod scripts; // the Lua scripts
