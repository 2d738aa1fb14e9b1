//! The state of one sandbox: data, and what changes it. How Box writes it in JSON is known elsewhere.

pub(crate) mod options;
pub(crate) mod shared_link;
pub(crate) mod events;
pub(crate) mod metadata;
pub(crate) mod upload_sessions;
pub(crate) mod zips;
