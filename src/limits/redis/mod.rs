//! How often, all replicas together?

pub mod replicas; // what they share
pub(crate) mod reservation; // calls in windows, until they are written
mod connection; // to Redis
mod keys; // under which
mod protocol; // questions and answers
mod scripts; // what Redis runs
