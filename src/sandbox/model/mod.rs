//! The state of one sandbox: data, and what changes it. How Box writes it in JSON is the business of `api`.

pub(crate) mod state; // all of it
pub(crate) mod options;
pub(crate) mod urls; // what URLs in answers call the hosts
pub(crate) mod users;
pub(crate) mod tokens;
pub(crate) mod tickets; // for pre-signed URLs
pub(crate) mod item; // a folder, a file or a web link
pub(crate) mod items; // the tree of them
pub(crate) mod trash; // those that were deleted
pub(crate) mod content;
pub(crate) mod shared_link;
pub(crate) mod objects; // comments, collaborations, webhooks
pub(crate) mod metadata;
pub(crate) mod events;
pub(crate) mod upload_sessions;
pub(crate) mod zips;
pub(crate) mod zip_writer; // the format of zips
