//! `sources`, `trusted_proxies` and `proxy_protocol`: lists of networks, and of users on Unix sockets.

use ipnet::IpNet;
use toml::de::DeValue;

use super::super::diagnostics::{Location, Notes};
use super::super::raw::Entry;
use super::{is_empty_list, reader};
use crate::access::admission::Listen;
use crate::net::address::Address;
use crate::net::networks::Networks;
use crate::net::user_id;

/// An example of a list of networks, for messages.
const AN_EXAMPLE: &str = "[\"loopback\", \"10.1.0.0/16\"]";

/// Reads the networks of proxies.
pub(super) fn proxies(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Networks {
    let mut networks = Networks::default();
    for item in reader::list(entry, AN_EXAMPLE, notes).unwrap_or_default() {
        let added = match item.text.starts_with(user_id::PREFIX) {
            false => networks.add(item.text),
            true => Err(format!("{:?}: only sources list users; a proxy is named by its address", item.text)),
        };
        notes.take(&item.location, added);
    }
    networks
}

/// Reads a list of sources that must not be empty; `nobody` describes the effect of an empty list. Adds the locations of
/// users to `users`.
pub(super) fn list(
    entry: &Entry<'_>,
    nobody: &str,
    users: &mut Vec<Location>,
    notes: &mut Notes<'_>,
) -> Networks {
    if is_empty_list(entry) {
        notes.problem(&entry.location, format_args!("an empty list: {nobody}"));
    }
    let mut sources = Networks::default();
    for item in reader::list(Some(entry), AN_EXAMPLE, notes).unwrap_or_default() {
        let added = match item.text.strip_prefix(user_id::PREFIX) {
            Some(user) => user_id::parse(user)
                .map(|uid| {
                    sources.add_user(uid);
                    users.push(item.location.clone());
                })
                .map_err(|why| format!("{:?}: {why}", item.text)),
            None => sources
                .add(item.text)
                .map_err(|why| format!("{why}; for a Unix socket also a user, such as \"uid:1000\"")),
        };
        notes.take(&item.location, added);
    }
    sources
}

/// Warns of users in the sources of a listener that has no Unix socket, over which alone they are known. `table`: its own.
pub(super) fn judge_users(users: &[Location], table: &str, listen: &Listen, notes: &mut Notes<'_>) {
    if listen.addresses.iter().any(|address| matches!(address, Address::Unix(_))) {
        return;
    }
    for location in users {
        notes.warning(
            location,
            format_args!(
                "it admits no one: a user is known over a Unix socket only, and no address of {table} is one"
            ),
        );
    }
}

/// Reads `sources` of a listener, by default loopback and private networks.
pub(super) fn of_listener(
    entry: Option<&Entry<'_>>,
    users: &mut Vec<Location>,
    notes: &mut Notes<'_>,
) -> Networks {
    if let Some(entry) = entry {
        let nobody = "no one could connect; leave the key out for its default, [\"loopback\", \"private\"]";
        return list(entry, nobody, users, notes);
    }
    let mut networks = Networks::default();
    for named in ["loopback", "private"] {
        notes.take(&Location::unwritten("sources"), networks.add(named));
    }
    networks
}

/// Warns if the networks contain every address: since callers need no credential, anyone who reaches the port could use
/// the account. `then` describes the consequence.
pub(super) fn warn_of_everybody(networks: Option<&Entry<'_>>, then: &str, notes: &mut Notes<'_>) {
    let Some(Entry { location, value: DeValue::Array(items) }) = networks else { return };
    let texts = || items.iter().filter_map(|item| item.get_ref().as_str());
    let written: Vec<IpNet> = texts().filter_map(|text| text.parse().ok()).collect();
    // Two halves (such as 0.0.0.0/1 and 128.0.0.0/1) cover everything too.
    let is_everything = |networks: &Vec<IpNet>| networks.iter().any(|network| network.prefix_len() == 0);
    if texts().any(|text| text == "any") || is_everything(&IpNet::aggregate(&written)) {
        notes.warning(location, format_args!("it contains every address: {then}"));
    }
}
