//! One request, from its head to the last byte of the answer.

pub mod handler; // the whole way, on one screen
pub mod process; // what outlives a configuration
pub mod gateway; // what is made from one
pub mod worker; // what a thread holds
pub mod drain; // what requests are told when the process stops
pub mod connect; // may this tunnel be opened?
pub mod forward_proxy; // what all tunnels share
pub mod blind_tunnel; // to hosts that are not Box's
pub mod local_response; // what the gateway answers itself
pub mod upstream_request; // what goes to Box
pub mod forward; // again, and with a fresh token
pub mod follow_redirect; // on to where Box keeps the content
pub mod rewrite; // URLs and tokens in the answer
pub mod response_body; // the answer on its way
pub mod request_record; // what is counted and logged
