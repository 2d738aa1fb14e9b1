//! The state of one sandbox: data and its changes. `api` renders it as JSON.

pub(crate) mod state; // the whole state
pub(crate) mod options;
pub(crate) mod urls; // host names in URLs of responses
pub(crate) mod users;
pub(crate) mod tokens;
pub(crate) mod restriction; // of downscoped tokens
pub(crate) mod scopes; // what each permits
pub(crate) mod tickets; // tickets of pre-signed URLs
pub(crate) mod item; // a folder, a file or a web link
pub(crate) mod items; // the tree of items
pub(crate) mod trash; // deleted items
pub(crate) mod view; // the items that a token reaches
pub(crate) mod content;
pub(crate) mod shared_link;
pub(crate) mod objects; // comments, collaborations, webhooks
pub(crate) mod metadata;
pub(crate) mod events;
pub(crate) mod upload_sessions;
pub(crate) mod zips;
pub(crate) mod zip_writer; // the format of zips
