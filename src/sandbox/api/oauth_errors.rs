//! The errors of the token endpoint, with the texts that Box has for them.

use http::StatusCode;
use serde_json::json;

use crate::sandbox::http::response::{self, Answer};

/// An OAuth error, its text, and the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

pub(crate) const INVALID_CLIENT: OauthError =
    bad_request("invalid_client", "The client credentials are invalid");
pub(crate) const INVALID_GRANT: OauthError = bad_request("invalid_grant", "Grant credentials are invalid");
pub(crate) const BAD_SUBJECT_TYPE: OauthError =
    bad_request("unauthorized_client", "The \"box_subject_type\" value is unauthorized for this client_id");
pub(crate) const BAD_GRANT_TYPE: OauthError =
    bad_request("invalid_request", "Invalid grant_type parameter or parameter missing");
pub(crate) const BAD_FIELD: OauthError = bad_request("invalid_request", "Missing or invalid parameter");
pub(crate) const INVALID_RESOURCE: OauthError =
    bad_request("invalid_resource", "The target resource is invalid.");
/// Of RFC 6749 §5.2; no document of Box has its text.
pub(crate) const INVALID_SCOPE: OauthError = bad_request("invalid_scope", "The requested scope is invalid.");
/// The one error that is not 400: "the call will error with 401" (OpenAPI, schema `PostOAuth2Token`, `scope`).
pub(crate) const SCOPE_NOT_GRANTED: OauthError = OauthError {
    status: StatusCode::UNAUTHORIZED,
    error: "insufficient_scope",
    description: "Insufficient permissions for the requested scope.",
};

const fn bad_request(error: &'static str, description: &'static str) -> OauthError {
    OauthError { status: StatusCode::BAD_REQUEST, error, description }
}

impl OauthError {
    pub(crate) fn answer(self) -> Answer {
        answer(self.status, self.error, self.description)
    }
}

/// Any error with status 400.
pub(crate) fn refused(error: &str, description: &str) -> Answer {
    answer(StatusCode::BAD_REQUEST, error, description)
}

fn answer(status: StatusCode, error: &str, description: &str) -> Answer {
    response::json(status, &json!({ "error": error, "error_description": description }))
}
