//! What to do about a reason why the gateway is not ready, and about notes: for `boxgate status` and the operators' page.

/// What to do about a reason of `/readyz`, which names an identity or says that the gateway stops. `identities`: the name and
/// the state of each, as in `/status.json`.
pub(crate) fn of_reason<'a>(
    reason: &str,
    identities: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> &'static str {
    if reason == "draining" {
        return "it ends once the requests in flight have; start it again, or ask the gateway that replaces it";
    }
    let is_named = |name: &str| {
        let rest = reason.strip_prefix("identity ").and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    match identities.into_iter().find(|(name, _)| is_named(name)).map(|(_, state)| state) {
        Some("refused") => "boxgate check says what to change, and where in Box's consoles",
        Some("waiting") => "the answer of Box's token endpoint is awaited",
        Some("unavailable") => "boxgate check finds what fails on the way to Box",
        _ => "the gateway's log says more",
    }
}

/// What to do about the notes of `/readyz`. `is_refused`: the last reload was; `is_alone`: Redis is not usable.
pub(crate) fn of_notes(is_refused: bool, is_alone: bool) -> Option<&'static str> {
    match (is_refused, is_alone) {
        (true, true) => Some("boxgate check shows every problem of the file, and tries Redis"),
        (true, false) => Some("boxgate check shows every problem of the file"),
        (false, true) => Some("boxgate check tries Redis"),
        (false, false) => None,
    }
}
