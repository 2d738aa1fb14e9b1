//! `unix:PATH`, with `?mode=0660&group=apps` if users other than the process's own connect.

use nix::unistd::Group;

use crate::net::address::UnixAddress;

/// The most bytes of a socket's path on every platform (`sun_path` with its final NUL).
const LONGEST_PATH: usize = 103;

const ALLOWED: &str = "\"unix:/run/boxgate.sock\" or \"unix:/run/boxgate.sock?mode=0660&group=apps\"";

/// Parses what follows `unix:`.
pub(super) fn unix_address(rest: &str) -> Result<UnixAddress, String> {
    let bad = |why: String| format!("\"unix:{}\": {why}; allowed: {ALLOWED}", rest.escape_debug());
    let (path, parameters) = match rest.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (rest, None),
    };
    if path.is_empty() {
        return Err(bad("it has no path".to_owned()));
    }
    if path.len() > LONGEST_PATH || path.contains('\0') {
        return Err(bad(format!("the path of a socket has at most {LONGEST_PATH} bytes and no NUL")));
    }
    let mut address = UnixAddress { path: path.into(), mode: None, group: None };
    for parameter in parameters.into_iter().flat_map(|all| all.split('&')) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_first = match name {
            "mode" => address.mode.replace(mode(value).map_err(bad)?).is_none(),
            "group" => address.group.replace(group(value).map_err(bad)?).is_none(),
            other => return Err(bad(format!("{other:?} is not a parameter of a socket"))),
        };
        if !is_first {
            return Err(bad(format!("{name} occurs twice")));
        }
    }
    Ok(address)
}

/// Parses permission bits in octal. Connecting requires write permission (unix(7)).
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    match mode {
        None => Err(format!(
            "the mode {text:?} must have three octal digits, optionally with a leading 0, such as 0660"
        )),
        Some(mode) if mode & 0o222 == 0 => Err(format!(
            "with the mode {text:?} no one could connect; connecting requires write permission, such as 0660"
        )),
        Some(mode) => Ok(mode),
    }
}

/// Parses a group: its number, or its name in the system's group database.
fn group(text: &str) -> Result<u32, String> {
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // The greatest number means "no change" to chown.
        let number = text.parse().ok().filter(|number| *number != u32::MAX);
        return number.ok_or_else(|| format!("{text} is too large for a group number"));
    }
    if text.is_empty() || text.contains('\0') {
        return Err("the group has no name".to_owned());
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("no group of this machine is named {text:?}; getent group lists them")),
        Err(error) => Err(format!("the group {text:?} cannot be looked up: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_may_have_a_mode_and_a_group() {
        let is = |text: &str, mode, group| {
            let want = UnixAddress { path: "/run/b.sock".into(), mode, group };
            assert_eq!(unix_address(text), Ok(want), "{text}");
        };
        is("/run/b.sock", None, None);
        is("/run/b.sock?mode=0660", Some(0o660), None);
        is("/run/b.sock?mode=666", Some(0o666), None);
        is("/run/b.sock?group=1001&mode=0660", Some(0o660), Some(1001));
        let own = Group::from_gid(nix::unistd::getgid()).unwrap().expect("the own group has a name");
        is(&format!("/run/b.sock?group={}", own.name), None, Some(own.gid.as_raw()));
    }

    #[test]
    fn what_is_no_socket_is_refused_with_what_is_allowed() {
        for (text, why) in [
            ("", "no path"),
            ("?mode=0660", "no path"),
            ("/\0", "no NUL"),
            ("/b?", "\"\" is not a parameter"),
            ("/b?mode=0660&", "\"\" is not a parameter"),
            ("/b?Mode=0660", "\"Mode\" is not a parameter"),
            ("/b?user=root", "\"user\" is not a parameter"),
            ("/b?mode", "the mode \"\""),
            ("/b?mode=", "the mode \"\""),
            ("/b?mode=66", "the mode \"66\""),
            ("/b?mode=0680", "the mode \"0680\""),
            ("/b?mode=+660", "the mode \"+660\""),
            ("/b?mode=4660", "the mode \"4660\""),
            ("/b?mode=00660", "the mode \"00660\""),
            ("/b?mode=0o660", "the mode \"0o660\""),
            ("/b?mode=rw-rw----", "the mode \"rw-rw----\""),
            ("/b?mode=0440", "no one could connect"),
            ("/b?mode=0660&mode=0666", "mode occurs twice"),
            ("/b?group=1&group=1", "group occurs twice"),
            ("/b?group=", "no name"),
            ("/b?group=4294967295", "too large"),
            ("/b?group=no-such-group-here", "no group of this machine is named \"no-such-group-here\""),
            ("/b?mode=0660?group=1", "the mode \"0660?group=1\""),
        ] {
            let said = unix_address(text).unwrap_err();
            assert!(said.contains(why) && said.contains(ALLOWED), "{text:?}: {said}");
        }
        assert!(unix_address(&format!("/{}", "x".repeat(103))).unwrap_err().contains("at most 103 bytes"));
    }
}
