//! `As-User`: as whom may an app act?

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::http::error::Refusal;
use crate::http::headers::{self, AS_USER};
use crate::oauth::login_lookup::LoginLookup;
use crate::oauth::user::{Login, User, is_id};

/// Which users an app's `As-User` header may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsUser {
    /// These users. Empty: the header is refused.
    Only(Vec<User>),
    /// Any one user, by id.
    Any,
}

/// More users are only counted.
const SHOWN_USERS: usize = 5;

/// For people: `no user`, the ids and logins, or `any user`.
impl fmt::Display for AsUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any user"),
            Self::Only(users) if users.is_empty() => f.write_str("no user"),
            Self::Only(users) => {
                let named: Vec<String> = users.iter().take(SHOWN_USERS).map(User::to_string).collect();
                f.write_str(&named.join(", "))?;
                match users.len().saturating_sub(SHOWN_USERS) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

/// What is known of the logins that an app lists.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Logins<'a> {
    /// Box is not asked: where a request is only explained.
    NotAsked,
    /// The lookups of these logins.
    Asked(&'a [Arc<LoginLookup>]),
}

impl<'a> Logins<'a> {
    /// The id behind a login that the app lists.
    fn id_of(self, login: &'a str) -> Result<&'a str, Refusal> {
        match self {
            Self::NotAsked => Ok(login),
            Self::Asked(lookups) => {
                let lookup = lookups.iter().find(|lookup| lookup.login().is(login));
                let lookup = lookup.ok_or(Refusal::AsUserNotAllowed)?;
                lookup.id().ok_or_else(|| lookup.refusal())
            }
        }
    }

    /// Passes an id that belongs to a login. While Box has not answered for all of them, it cannot be refused for good.
    fn known_id(self, id: &'a str) -> Result<&'a str, Refusal> {
        let Self::Asked(lookups) = self else { return Err(Refusal::AsUserNotAllowed) };
        if lookups.iter().any(|lookup| lookup.id() == Some(id)) {
            return Ok(id);
        }
        let waiting = lookups.iter().find(|lookup| lookup.is_waiting());
        Err(waiting.map_or(Refusal::AsUserNotAllowed, |lookup| lookup.refusal()))
    }
}

impl AsUser {
    /// As whom a request asks Box to act: the id of a user, `None` for the identity itself.
    ///
    /// Only one spelling of an id is accepted (`is_id`): in another, Box could act for a user whom limits and pauses took
    /// for somebody else. A listed login becomes the id that Box has for it, and that id may be named too. With
    /// [`Logins::NotAsked`] a listed login stands for its id.
    ///
    /// # Errors
    /// The app may not name this user, or it is not known yet who that is.
    pub(crate) fn check<'a>(
        &self,
        headers: &'a HeaderMap,
        logins: Logins<'a>,
    ) -> Result<Option<&'a str>, Refusal> {
        let Some(named) = headers::find(headers, &AS_USER) else { return Ok(None) };
        let named = HeaderValue::to_str(named).map_err(|_| Refusal::AsUserNotAllowed)?;
        let lists =
            |is_it: &dyn Fn(&User) -> bool| matches!(self, Self::Only(users) if users.iter().any(is_it));
        let user = if is_id(named) {
            let is_listed = *self == Self::Any || lists(&|user| matches!(user, User::Id(id) if id == named));
            if is_listed { named } else { logins.known_id(named)? }
        } else if lists(&|user| matches!(user, User::Login(login) if login.is(named))) {
            logins.id_of(named)?
        } else {
            return Err(Refusal::AsUserNotAllowed);
        };
        Ok(Some(user))
    }

    /// The logins that it lists.
    pub(crate) fn logins(&self) -> impl Iterator<Item = &Login> {
        let users = match self {
            Self::Only(users) => users.as_slice(),
            Self::Any => &[],
        };
        users.iter().filter_map(|user| match user {
            User::Login(login) => Some(login),
            User::Id(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(users: &[&str]) -> AsUser {
        let user = |text: &&str| match Login::parse(text) {
            Some(login) => User::Login(login),
            None => User::Id((*text).to_owned()),
        };
        AsUser::Only(users.iter().map(user).collect())
    }

    /// What is decided about a value of the header.
    fn decided(users: &AsUser, named: &str, logins: Logins<'_>) -> Result<Option<String>, Refusal> {
        let headers = HeaderMap::from_iter([(AS_USER, HeaderValue::from_str(named).unwrap())]);
        users.check(&headers, logins).map(|user| user.map(str::to_owned))
    }

    #[test]
    fn without_the_header_the_identity_acts_for_itself() {
        for users in [only(&[]), only(&["1", "ann@corp.com"]), AsUser::Any] {
            assert_eq!(users.check(&HeaderMap::new(), Logins::Asked(&[])), Ok(None));
        }
    }

    #[test]
    fn the_list_decides_who_may_be_named() {
        let (ids, both, any, none) = (only(&["1"]), only(&["1", "ann@corp.com"]), AsUser::Any, only(&[]));
        let (passes, refused) = (true, false);
        for (users, named, is_allowed) in [
            (&ids, "1", passes),
            (&ids, "2", refused),
            (&ids, "ann@corp.com", refused),
            (&both, "1", passes),
            (&both, "2", refused),
            (&both, "ann@corp.com", passes),
            (&both, "ANN@Corp.com", passes),
            (&both, "ann@corp.com.evil", refused),
            (&both, "ann@corp.co", refused),
            (&both, "ann", refused),
            (&both, "1,ann@corp.com", refused),
            (&both, "01", refused),
            (&both, "", refused),
            (&any, "2", passes),
            (&any, "ann@corp.com", refused),
            (&any, "*", refused),
            (&none, "1", refused),
            (&none, "ann@corp.com", refused),
        ] {
            let expected =
                if is_allowed { Ok(Some(named.to_owned())) } else { Err(Refusal::AsUserNotAllowed) };
            assert_eq!(decided(users, named, Logins::NotAsked), expected, "{named} in {users}");
        }
        // With no lookup of it, a login leads to no id.
        let refused = Err(Refusal::AsUserNotAllowed);
        assert_eq!(decided(&both, "ann@corp.com", Logins::Asked(&[])), refused);
    }

    #[test]
    fn users_are_shown_as_they_are_written() {
        assert_eq!(only(&["1", "Ann@corp.com"]).to_string(), "1, ann@corp.com");
        assert_eq!(only(&["1", "2", "3", "4", "5", "6", "7"]).to_string(), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!((only(&[]).to_string(), AsUser::Any.to_string()), ("no user".into(), "any user".into()));
    }
}
