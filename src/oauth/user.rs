//! Users of Box, as the configuration and `As-User` name them.

use std::fmt;

/// The most characters of a login: those of an e-mail address (RFC 5321 §4.5.3.1.3).
pub(crate) const LONGEST_LOGIN: usize = 254;

/// A user whom an app may act as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The id: 1 to 20 ASCII digits, not beginning with 0.
    Id(String),
    /// The login, for which Box knows the id.
    Login(Login),
}

/// As it is written, a login in lower case.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Login(login) => login.fmt(f),
        }
    }
}

/// A user's login, an e-mail address, in lower case: Box compares logins without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Login(String);

impl Login {
    /// `None`: not a login as a header field can carry it, which has one `@` between visible ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        is_login(text).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Whether this text is the same login.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the text has the form of a login; see [`Login::parse`].
pub(crate) fn is_login(text: &str) -> bool {
    let sides = text.split_once('@');
    text.len() <= LONGEST_LOGIN
        && text.bytes().all(|b| b.is_ascii_graphic())
        && sides.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

/// Whether the text is an id of a Box user or enterprise in its only spelling: 1 to 20 ASCII digits, not beginning with
/// 0 (`docs/box-api.md#hosts-and-paths`).
pub(crate) fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_one_at_sign_and_no_spaces() {
        let longest = format!("{}@b.example", "a".repeat(LONGEST_LOGIN - 10));
        for text in ["ann@corp.com", "Ann.O'Neil+box@Corp.COM", "a@b", &longest] {
            assert_eq!(Login::parse(text).unwrap().as_str(), text.to_ascii_lowercase());
        }
        let too_long = format!("a{longest}");
        for text in [
            "",
            "@",
            "ann",
            "ann@",
            "@corp.com",
            "a@b@c",
            "a b@c",
            "a@b\t",
            "a@b\u{e4}.example",
            "a@b\n",
            &too_long,
        ] {
            assert_eq!(Login::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn logins_are_compared_whole_and_without_case() {
        let ann = Login::parse("ann@corp.com").unwrap();
        assert!(ann.is("ANN@Corp.com"));
        for other in ["ann@corp.com.evil", "ann@corp.co", "ann", "", "xann@corp.com", "ann@corp.com "] {
            assert!(!ann.is(other), "{other:?}");
        }
    }
}
