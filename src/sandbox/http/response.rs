//! Box's responses: its error shape and its common headers.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ALT_SVC, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
        STRICT_TRANSPORT_SECURITY, VARY, VIA, WWW_AUTHENTICATE,
    },
};
use serde_json::{Value, json};

use super::{random::random_text, response_body::ResponseBody};

/// A response.
pub(crate) type Answer = Response<ResponseBody>;

const HELP_URL: &str = "https://developer.box.com/guides/api-calls/permissions-and-errors/common-errors/";
const UNAUTHORIZED: &str = "Bearer realm=\"Service\", error=\"invalid_token\", \
                            error_description=\"The access token provided is invalid.\"";

/// The value of `WWW-Authenticate` where a token lacks a scope (source: box-python-sdk, issue 243).
pub(crate) const INSUFFICIENT_SCOPE: &str = "Bearer realm=\"Service\", error=\"insufficient_scope\", error_description=\"The \
                                             request requires higher privileges than provided by the access token.\"";

/// Headers of Box's front end, for responses that do not set their own.
const USUAL: [(HeaderName, &str); 6] = [
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (CACHE_CONTROL, "no-cache, no-store"),
    (VIA, "1.1 google"),
    (ALT_SVC, "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000"),
    (HeaderName::from_static("x-envoy-upstream-service-time"), "42"),
    (VARY, "Accept-Encoding"),
];

/// An error response.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// 401 with an empty body.
    Unauthorized,
    /// 403 with an empty body: the token lacks a scope.
    InsufficientScope,
    /// Box's error shape.
    Error { status: u16, code: &'static str, message: String, context: Value },
}

impl Refusal {
    pub(crate) fn error(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self::Error { status, code, message: message.into(), context: Value::Null }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::error(400, "bad_request", message)
    }

    /// 400 that names the parameter.
    pub(crate) fn parameter(name: &str, message: &str) -> Self {
        let context =
            json!({ "errors": [{ "reason": "invalid_parameter", "name": name, "message": message }] });
        Self::Error { status: 400, code: "bad_request", message: "Bad Request".to_owned(), context }
    }

    /// An item that does not exist.
    pub(crate) fn no_such_item(id: &str) -> Self {
        let message = format!("Invalid value '{id}'. Item with the given ID was not found");
        let context =
            json!({ "errors": [{ "reason": "invalid_parameter", "name": "item", "message": message }] });
        Self::Error { status: 404, code: "not_found", message: "Not Found".to_owned(), context }
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "not_found", "Not Found")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::error(405, "method_not_allowed", "Method Not Allowed")
    }

    pub(crate) fn denied() -> Self {
        Self::error(403, "access_denied_insufficient_permissions", "Access denied - insufficient permission")
    }

    pub(crate) fn precondition_failed() -> Self {
        let message = "The resource has been modified. Please retrieve the resource again and retry";
        Self::error(412, "precondition_failed", message)
    }

    pub(crate) fn name_in_use(conflicts: Value) -> Self {
        Self::Error {
            status: 409,
            code: "item_name_in_use",
            message: "Item with the same name already exists".to_owned(),
            context: json!({ "conflicts": conflicts }),
        }
    }

    /// Box's usual error for this status.
    pub(crate) fn usual(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => "bad_request",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not_found",
            405 => "method_not_allowed",
            409 => "conflict",
            411 => "length_required",
            412 => "precondition_failed",
            413 => "request_entity_too_large",
            415 => "unsupported_media_type",
            429 => "rate_limit_exceeded",
            502 => "bad_gateway",
            503 => "unavailable",
            _ => "internal_server_error",
        };
        let message = match status {
            StatusCode::TOO_MANY_REQUESTS => "Request rate limit exceeded, please try again later",
            other => other.canonical_reason().unwrap_or("Error"),
        };
        Self::error(status.as_u16(), code, message)
    }

    /// The body in Box's shape.
    pub(crate) fn body(&self, status: StatusCode) -> Bytes {
        let Self::Error { code, message, context, .. } = self else { return Bytes::new() };
        let body = json!({
            "type": "error",
            "status": status.as_u16(),
            "code": code,
            "message": message,
            "context_info": context,
            "help_url": HELP_URL,
            "request_id": random_text(16),
        });
        body.to_string().into()
    }

    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Unauthorized => {
                let mut answer = empty(StatusCode::UNAUTHORIZED);
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(UNAUTHORIZED));
                answer
            }
            Self::InsufficientScope => {
                let mut answer = empty(StatusCode::FORBIDDEN);
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT_SCOPE));
                answer
            }
            Self::Error { status, .. } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                raw(status, json_type(), self.body(status))
            }
        }
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// Not ready: the same again in a second.
pub(crate) fn later() -> Answer {
    let mut answer = empty(StatusCode::ACCEPTED);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// The last answer on its connection, where the protocol has a way to say so.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    raw(status, json_type(), value.to_string().into())
}

/// An answer with just these headers.
pub(crate) fn raw(status: StatusCode, headers: HeaderMap, body: Bytes) -> Answer {
    let mut answer = Answer::new(ResponseBody::bytes(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn json_type() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// Adds Box's usual headers and a length, and removes the body where none is allowed.
pub(crate) fn dress(mut answer: Answer, method: &Method) -> Answer {
    let status = answer.status();
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = (answer.body().is_sized() && !has_none).then(|| answer.body().length());
    let headers = answer.headers_mut();
    for (name, value) in USUAL {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&format!("0{}", random_text(32))) {
        headers.entry(HeaderName::from_static("box-request-id")).or_insert(id);
    }
    if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    if method == Method::HEAD || has_none {
        return answer.map(|_| ResponseBody::default());
    }
    answer
}

/// The name for old clients, and as RFC 6266 wants it.
pub(crate) fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| if letter.is_ascii_graphic() && letter != '"' || letter == ' ' { letter } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment;filename=\"{plain}\";filename*=UTF-8''{encoded}")
}
