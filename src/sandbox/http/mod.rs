//! Requests and responses as the sandbox reads and writes them, whatever is asked for.

pub(crate) mod lock;
pub(crate) mod random;
pub(crate) mod response_body;
