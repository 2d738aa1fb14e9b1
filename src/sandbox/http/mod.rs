//! Reading of requests and writing of responses, independent of the operation.

pub(crate) mod recorder; // records what arrived
pub(crate) mod request_body;
pub(crate) mod form;
pub(crate) mod response;
pub(crate) mod response_body;
pub(crate) mod host; // the three hosts
pub(crate) mod random;
pub(crate) mod lock;
