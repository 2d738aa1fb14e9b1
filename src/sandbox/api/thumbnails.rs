//! Thumbnails, and placeholders for missing ones.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};

use super::request::ApiRequest;
use crate::sandbox::{
    control::faults::Thumbnail,
    http::response::{self, Answer, Refusal},
};

/// One grey pixel.
const PICTURE: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00,
    0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81,
    0xda, 0x45, 0x08, 0x3b, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

pub(crate) fn get(request: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    request.store().file(id)?;
    let mut answer = match request.state.control.thumbnail() {
        Thumbnail::Ready => return Ok(picture()),
        Thumbnail::Pending => response::later(),
        Thumbnail::Impossible => response::empty(StatusCode::FOUND),
    };
    let placeholder = format!("{}/placeholder/1.png", request.state.hosts.download);
    if let Ok(placeholder) = HeaderValue::from_str(&placeholder) {
        answer.headers_mut().insert(LOCATION, placeholder);
    }
    Ok(answer)
}

/// Serves as thumbnail and as placeholder.
pub(crate) fn picture() -> Answer {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("image/png"))]);
    response::raw(StatusCode::OK, headers, PICTURE.to_vec().into())
}
