//! How often, all replicas together?

pub mod replicas; // what they share
mod connection; // to Redis
mod keys; // under which
mod protocol; // questions and answers
mod scripts; // what Redis runs
