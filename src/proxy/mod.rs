//! One request, from its head to the last byte of the response.

pub(crate) mod handler; // the whole path of a request, on one screen
pub(crate) mod decision; // what its head alone decides
pub(crate) mod process; // state that outlives a configuration
pub(crate) mod gateway; // everything built from one configuration
pub(crate) mod worker; // the state of one worker thread
pub(crate) mod drain; // how requests learn that the process stops
pub(crate) mod connect; // may this tunnel be opened?
pub(crate) mod forward_proxy; // what all tunnels share
pub(crate) mod blind_tunnel; // tunnels to hosts that are not Box's
pub(crate) mod local_response; // responses of the gateway's own
pub(crate) mod front_page; // what a person sees at `/`
pub(crate) mod upstream_request; // the request as it goes to Box
pub(crate) mod forward; // sends, repeats, and renews the token after a 401
pub(crate) mod follow_redirect; // follows redirects of downloads
pub(crate) mod error_answer; // blanks secrets in Box's errors
pub(crate) mod box_error; // their code and request id
pub(crate) mod rewrite; // edits URLs and tokens in responses
pub(crate) mod response_body; // streams the response
pub(crate) mod request_record; // counts and logs the request
pub(crate) mod request_trace; // its spans
pub(crate) mod access_line; // the forms of its line
pub(crate) mod audit_line; // what the audit log says of it
pub(crate) mod answer_ids; // the ids in Box's answer, for the audit log
pub(crate) mod missing_scope; // tells operators that the app at Box lacks a scope
pub(crate) mod refused_origin; // tells operators which web page was refused
