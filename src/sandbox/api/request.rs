//! An authenticated request, with parsed path and query.

use http::{HeaderName, request::Parts};

use super::authentication::caller;
use crate::sandbox::{
    http::{form::Form, response::Refusal},
    model::{
        restriction::Restriction,
        scopes::{self, Privilege},
        state::State,
        tokens::Grant,
        view::View,
    },
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
    token: &'a str,
    /// What its token is restricted to; `None`: a full token.
    restriction: Option<Restriction>,
}

impl<'a> ApiRequest<'a> {
    /// A request whose token is valid and has a scope for the operation.
    pub(crate) fn admit(state: &'a State, head: &'a Parts) -> Result<Self, Refusal> {
        let (token, Grant { subject, restriction }) = caller(state, head)?;
        if let Some(restriction) = &restriction {
            let path = head.uri.path();
            let path = path.strip_prefix("/api/2.0/").or_else(|| path.strip_prefix("/2.0/"));
            let segments: Vec<&str> = path.unwrap_or_default().split('/').collect();
            // Before its item is looked for. Box has two answers to a missing scope, this one and a 403 with a body that
            // also stands for a missing permission; this one leaves no doubt.
            if !restriction.satisfies(scopes::needed(head.method.as_str(), &segments)) {
                return Err(Refusal::InsufficientScope);
            }
        }
        let query = Form::parse(head.uri.query().unwrap_or_default());
        Ok(Self { state, head, query, user_id: subject, token, restriction })
    }

    /// The items that its token reaches.
    pub(crate) fn store(&self) -> View<'a> {
        View::new(self.state.store(), self.top())
    }

    /// The item to which its token is restricted.
    pub(crate) fn top(&self) -> Option<u64> {
        Some(self.restriction.as_ref()?.resource?.id)
    }

    /// Whether its token has a scope for this.
    pub(crate) fn may(&self, privilege: Privilege) -> bool {
        self.restriction.as_ref().is_none_or(|restriction| restriction.permits(privilege))
    }

    pub(crate) fn require(&self, privilege: Privilege) -> Result<(), Refusal> {
        if self.may(privilege) { Ok(()) } else { Err(Refusal::InsufficientScope) }
    }

    /// A token inside an answer, which may do no more than its own, and how many seconds it lives.
    pub(crate) fn issue_token(&self) -> (String, u64) {
        let mut tokens = self.state.tokens();
        match &self.restriction {
            None => tokens.issue(&self.user_id),
            Some(restriction) => tokens.downscope(self.token, &self.user_id, restriction.clone()),
        }
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
