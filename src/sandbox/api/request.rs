//! A request that may be answered, with its query and path taken apart.

use http::{HeaderName, request::Parts};

use crate::sandbox::{
    http::{form::Form, response::Refusal},
    model::state::World,
};

/// Which part of a list the caller wants.
pub(crate) struct Page {
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

/// One request by a known user.
pub(crate) struct Call<'a> {
    pub(crate) world: &'a World,
    pub(crate) head: &'a Parts,
    pub(crate) query: Form,
    /// The id of the user who asks.
    pub(crate) who: String,
}

impl<'a> Call<'a> {
    pub(crate) fn new(world: &'a World, head: &'a Parts, who: String) -> Self {
        Self { world, head, query: Form::parse(head.uri.query().unwrap_or_default()), who }
    }

    /// The fields that the caller wants instead of the usual ones.
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
    pub(crate) fn page(&self) -> Result<Page, Refusal> {
        let limit = self.number("limit", 100)?.min(1000);
        Ok(Page { limit, offset: self.number("offset", 0)? })
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
