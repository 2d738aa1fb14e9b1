//! `[admin]`: the TLS and the key of the operators' listener, and whether it is open without one.

use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use super::super::diagnostics::{Location, Notes, Problems};
use super::super::raw::{self, Entry, Table as _};
use super::secret::{self, Surroundings};
use super::{OPERATORS, addresses, listen_tls, read, reader};
use crate::net::address::Address;
use crate::net::secret::Secret;
use crate::net::tls_server::{self, Tls};
use crate::routing::app_key::AppKeys;
use rustls::pki_types::CertificateDer;

/// What this listener speaks: its requests are few, and need no HTTP/2.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Reads `[admin] tls`; `None` if it is missing or wrong.
pub(super) fn tls(entry: Option<&Entry<'_>>, folder: &Path, notes: &mut Notes<'_>) -> Option<Arc<Tls>> {
    listen_tls::read(entry, &PROTOCOLS, folder, notes)
}

/// Reads `[admin] key`: one secret or a list of secrets; `None` if it is missing.
pub(super) fn keys(
    entry: Option<&Entry<'_>>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Option<AppKeys> {
    Some(secret::keys(entry?, "no operator could ask anything but the probes", around, notes))
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

/// How the operators' listener of a file is reached, for the commands that ask a running gateway.
#[derive(Debug)]
pub(crate) struct AdminAccess {
    pub(crate) addresses: Vec<Address>,
    /// The key, or why this user cannot read it; `None`: none is asked for.
    pub(crate) key: Option<Result<Secret, String>>,
    /// The listener's certificate, its own first, or why it cannot be read; `None`: plain HTTP.
    pub(crate) certificates: Option<Result<Vec<CertificateDer<'static>>, String>>,
    /// Whether its TCP addresses ask for client certificates.
    pub(crate) wants_certificates: bool,
}

/// Reads `[admin]` of a file, whatever else is wrong with it: the gateway runs, and perhaps not with this file as it is now. Where
/// the file says nothing, the default. `variable` looks up environment variables.
///
/// # Errors
/// The file cannot be read, or `[admin] address` is none.
pub(crate) fn admin_access(
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<AdminAccess, Problems> {
    let text = read(path)?;
    let (document, _) = DeTable::parse_recoverable(&text);
    // Of no interest here.
    let mut elsewhere = Notes::new(path, &text);
    let written = raw::File::of(document.get_ref(), "", &mut elsewhere);
    let operators: raw::Admin<'_> = raw::read(written.admin.as_ref(), &mut elsewhere);
    let mut notes = Notes::new(path, &text);
    let found = addresses(operators.address.as_ref(), None, &OPERATORS, &mut notes);
    notes.conclude()?;

    let folder = path.parent().unwrap_or(Path::new(""));
    let around = Surroundings { file: Some(path), folder, variable, allows_unread: false };
    let key = operators.key.as_ref().map(|entry| {
        let mut notes = Notes::new(path, &text);
        let keys = keys(Some(entry), &around, &mut notes);
        notes.conclude().map_err(|problems| problems.to_string())?;
        keys.and_then(|keys| keys.first().cloned()).ok_or_else(|| "there is none".to_owned())
    });
    let mut notes = Notes::new(path, &text);
    let tls: raw::Tls<'_> = raw::read(operators.tls.as_ref(), &mut notes);
    let chain = reader::pem_file(tls.cert.as_ref(), folder, tls_server::chain, &mut notes);
    let certificates = operators.tls.as_ref().map(|_| {
        notes.conclude().map_err(|problems| problems.to_string())?;
        chain.ok_or_else(|| "tls.cert is missing".to_owned())
    });
    Ok(AdminAccess {
        addresses: found.into_iter().map(|(_, address)| address).collect(),
        key,
        certificates,
        wants_certificates: tls.client_ca.is_some(),
    })
}
