//! Users of this machine as sources: `uid:1000` or `uid:www-data`, whose processes connect over a Unix socket.

use nix::unistd::User;

/// How such an entry begins; then comes the user's number or name.
pub(crate) const PREFIX: &str = "uid:";

/// Parses what follows [`PREFIX`]: a number, or a name in the system's user database. The error says what is wrong.
pub(crate) fn parse(user: &str) -> Result<u32, String> {
    if !user.is_empty() && user.bytes().all(|digit| digit.is_ascii_digit()) {
        // The greatest number means "no user" to the kernel.
        let number = user.parse().ok().filter(|number| *number != u32::MAX);
        return number.ok_or_else(|| format!("{user} is too large for a user's number"));
    }
    if user.is_empty() || user.contains('\0') {
        return Err(
            "the user has neither number nor name; allowed: \"uid:1000\" or \"uid:www-data\"".to_owned()
        );
    }
    match User::from_name(user) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("no user of this machine is named {user:?}; getent passwd lists them")),
        Err(error) => Err(format!("the user {user:?} cannot be looked up: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_a_name_of_this_machine() {
        let own = User::from_uid(nix::unistd::getuid()).unwrap().expect("the own user has a name");
        assert_eq!(parse(&own.name), Ok(own.uid.as_raw()));
        assert_eq!((parse("0"), parse("1000")), (Ok(0), Ok(1000)));
        for (user, why) in [
            ("", "neither number nor name"),
            ("\0", "neither number nor name"),
            ("4294967295", "too large"),
            ("99999999999", "too large"),
            ("-1", "no user of this machine is named"),
            ("no-such-user-here", "no user of this machine is named"),
        ] {
            let said = parse(user).unwrap_err();
            assert!(said.contains(why), "{user:?}: {said}");
        }
    }
}
