//! `[admin]`: the key of the operators' listener, and whether it is open without one.

use super::super::diagnostics::{Location, Notes};
use super::super::raw::Entry;
use super::secret::{self, Surroundings};
use crate::net::address::Address;
use crate::routing::app_key::AppKeys;

/// A shorter key can be guessed.
const SHORTEST_KEY: usize = 16;

/// Reads `[admin] key`: one secret or a list of secrets; `None` if it is missing.
pub(super) fn keys(
    entry: Option<&Entry<'_>>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Option<AppKeys> {
    let entry = entry?;
    let keys = secret::keys(entry, "no operator could ask anything but the probes", around, notes);
    if keys.shortest().is_some_and(|length| length < SHORTEST_KEY) {
        notes.warning(
            &entry.location,
            format_args!("a key of fewer than {SHORTEST_KEY} characters can be guessed; make one with: openssl rand -hex 32"),
        );
    }
    Some(keys)
}

/// Warns of a listener that other machines reach and that asks for no key.
pub(super) fn judge_exposure(addresses: &[(Location, Address)], has_key: bool, notes: &mut Notes<'_>) {
    let open = addresses.iter().find_map(|(location, address)| match address {
        Address::Tcp(tcp) if !tcp.ip().is_loopback() => Some((location, tcp)),
        Address::Tcp(_) | Address::Unix(_) => None,
    });
    if let Some((location, address)) = open.filter(|_| !has_key) {
        notes.warning(
            location,
            format_args!(
                "{address} is reachable beyond loopback, and no key is asked for: everyone in [admin] sources can read the status, the metrics and who spent Box's calls; set [admin] key. Until then, other machines can change nothing and do not see single requests"
            ),
        );
    }
}
