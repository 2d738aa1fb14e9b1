//! The operations of Box's API, one file a resource. Handlers change the state and return it as JSON.

pub(crate) mod router; // the API host: which resource a request is for
pub(crate) mod uploads; // the upload host
pub(crate) mod upload_sessions; // uploads in parts
pub(crate) mod downloads; // the download host
pub(crate) mod oauth; // the token endpoint
pub(crate) mod token_exchange; // downscoped tokens
pub(crate) mod oauth_errors; // what both refuse
pub(crate) mod authentication; // the user of a token
pub(crate) mod users;
pub(crate) mod search;
pub(crate) mod files;
pub(crate) mod folders;
pub(crate) mod web_links;
pub(crate) mod trash; // deleted files, folders and web links
pub(crate) mod shared_links;
pub(crate) mod comments;
pub(crate) mod collaborations;
pub(crate) mod metadata;
pub(crate) mod webhooks;
pub(crate) mod ai; // Box AI, canned
pub(crate) mod ai_request; // parsing of requests to Box AI
pub(crate) mod zip_downloads;
pub(crate) mod thumbnails;
pub(crate) mod representations;
pub(crate) mod events; // events and the long poll
pub(crate) mod request; // requests as handlers read them
pub(crate) mod fields; // JSON fields that several operations share
pub(crate) mod json; // items and users as Box writes them
pub(crate) mod refusals; // Box's errors for errors of the state
