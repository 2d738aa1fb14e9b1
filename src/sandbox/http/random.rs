//! Random texts: identifiers, tokens, tickets.

/// Random letters and digits.
pub(crate) fn random_text(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
