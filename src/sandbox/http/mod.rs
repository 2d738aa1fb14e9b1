//! Requests and responses as the sandbox reads and writes them, whatever is asked for.

pub(crate) mod recorder; // what arrived
pub(crate) mod request_body;
pub(crate) mod form;
pub(crate) mod response;
pub(crate) mod response_body;
pub(crate) mod host; // the three hosts
pub(crate) mod random;
pub(crate) mod lock;
