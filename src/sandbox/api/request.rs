//! An authenticated request, with parsed path and query.

use http::{HeaderName, request::Parts};

use crate::sandbox::{
    http::{form::Form, response::Refusal},
    model::state::State,
};

/// Which part of a list the caller wants.
pub(crate) struct Paging {
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

/// One request by a known user.
pub(crate) struct ApiRequest<'a> {
    pub(crate) state: &'a State,
    pub(crate) head: &'a Parts,
    pub(crate) query: Form,
    /// The id of the user who asks.
    pub(crate) user_id: String,
}

impl<'a> ApiRequest<'a> {
    pub(crate) fn new(state: &'a State, head: &'a Parts, user_id: String) -> Self {
        Self { state, head, query: Form::parse(head.uri.query().unwrap_or_default()), user_id }
    }

    /// The fields that the caller requests instead of the standard ones.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        let fields = self.query.get("fields").filter(|fields| !fields.is_empty())?;
        Some(fields.split(',').map(str::trim).collect())
    }

    /// A yes or no; Python clients write it with a capital.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn number(&self, name: &str, otherwise: usize) -> Result<usize, Refusal> {
        match self.query.get(name) {
            None | Some("") => Ok(otherwise),
            Some(text) => {
                text.parse().map_err(|_| Refusal::parameter(name, &format!("Invalid value '{text}'.")))
            }
        }
    }

    /// `limit` and `offset`, within what Box allows.
    pub(crate) fn paging(&self) -> Result<Paging, Refusal> {
        let limit = self.number("limit", 100)?.min(1000);
        Ok(Paging { limit, offset: self.number("offset", 0)? })
    }

    /// Whether an `If-Match` or `If-None-Match` header names this etag; `None` without the header.
    pub(crate) fn names_etag(&self, header: HeaderName, etag: u64) -> Option<bool> {
        let value = self.head.headers.get(header)?.to_str().unwrap_or_default();
        let etag = etag.to_string();
        Some(value.split(',').any(|one| {
            let one = one.trim();
            one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag
        }))
    }
}
