//! What Box answers: one file a resource. Handlers change the state and write it in JSON.

pub(crate) mod router; // the API host: which resource a request is for
pub(crate) mod uploads; // the upload host
pub(crate) mod upload_sessions; // in parts
pub(crate) mod downloads; // the download host
pub(crate) mod oauth; // the token endpoint
pub(crate) mod authentication; // whose token it is
pub(crate) mod users;
pub(crate) mod search;
pub(crate) mod files;
pub(crate) mod folders;
pub(crate) mod web_links;
pub(crate) mod trash; // of files, folders and web links
pub(crate) mod shared_links;
pub(crate) mod comments;
pub(crate) mod collaborations;
pub(crate) mod metadata;
pub(crate) mod webhooks;
pub(crate) mod ai; // Box AI, canned
pub(crate) mod ai_request; // what is asked of it
pub(crate) mod zip_downloads;
pub(crate) mod thumbnails;
pub(crate) mod representations;
pub(crate) mod events; // and the long poll
pub(crate) mod request; // what handlers read
pub(crate) mod fields; // what the JSON of several operations has
pub(crate) mod json; // items and users as Box writes them
pub(crate) mod refusals; // what Box says where the state says no
