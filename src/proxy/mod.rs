//! One request, from its head to the last byte of the answer.

pub(crate) mod handler; // the whole way, on one screen
pub(crate) mod process; // what outlives a configuration
pub(crate) mod gateway; // what is made from one
pub(crate) mod worker; // what a thread holds
pub(crate) mod drain; // what requests are told when the process stops
pub(crate) mod connect; // may this tunnel be opened?
pub(crate) mod forward_proxy; // what all tunnels share
pub(crate) mod blind_tunnel; // to hosts that are not Box's
pub(crate) mod local_response; // what the gateway answers itself
pub(crate) mod upstream_request; // what goes to Box
pub(crate) mod forward; // again, and with a fresh token
pub(crate) mod follow_redirect; // on to where Box keeps the content
pub(crate) mod error_answer; // secrets in an error of Box's
pub(crate) mod rewrite; // URLs and tokens in the answer
pub(crate) mod response_body; // the answer on its way
pub(crate) mod request_record; // what is counted and logged
