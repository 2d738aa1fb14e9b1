//! `[forward_proxy]`: certificates for Box's hosts, and the hosts besides Box's that may be reached.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use toml::de::DeValue;

use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry};
use super::super::{ForwardProxy, ProxyCertificate};
use super::reader;
use super::secret::{self, Surroundings};
use crate::net::ca_chain::CaChain;
use crate::net::certificate_authority::{CertificateAuthority, PERMITTED_DOMAINS};
use crate::net::egress_proxy::{Proxy, proxy_matcher};
use crate::net::secret::Secret;
use crate::net::tls_server::{self, Files, Tls};
use crate::routing::box_hosts::{self, BoxHosts};
use crate::routing::tunnel_list::{AN_ENTRY, Entry as Tunnel, TunnelList};

/// The settings that restrict blind tunnels.
pub(super) struct Outward<'a> {
    pub(super) hosts: &'a BoxHosts,
    pub(super) proxy: &'a Proxy,
}

/// Reads `[forward_proxy]`; `None` if the table is missing.
pub(super) fn read(
    entry: Option<&Entry<'_>>,
    around: &Surroundings<'_>,
    outward: &Outward<'_>,
    notes: &mut Notes<'_>,
) -> Option<ForwardProxy> {
    let entry = entry?;
    let written: raw::ForwardProxy<'_> = raw::read(Some(entry), notes);
    let tunnel = tunnels(written.tunnel.as_ref(), outward, notes);
    let certificate = match (&written.cert, &written.key, &written.ca) {
        (None, None, None) => Some(ProxyCertificate::Own),
        (None, None, Some(ca)) => authority(ca, around, notes),
        (Some(cert), Some(key), None) => one(cert, key, around.folder, notes),
        (Some(part), None, None) => {
            notes.problem(&part.location, "needs a key too; write key = \"PATH\", its private key");
            None
        }
        (None, Some(part), None) => {
            notes.problem(
                &part.location,
                "needs a cert too; write cert = \"PATH\", a certificate for Box's hosts",
            );
            None
        }
        (_, _, Some(ca)) => {
            notes.problem(
                &ca.location,
                "cannot be combined with cert or key; allowed: cert with key, or ca, or none of them",
            );
            None
        }
    };
    Some(ForwardProxy { certificate: certificate.unwrap_or(ProxyCertificate::Own), tunnel })
}

/// A certificate for Box's hosts from another CA, with its key.
fn one(cert: &Entry<'_>, key: &Entry<'_>, folder: &Path, notes: &mut Notes<'_>) -> Option<ProxyCertificate> {
    let chain = |path: &Path| Ok((path.to_owned(), tls_server::chain(path)?));
    let chain = reader::pem_file(Some(cert), folder, chain, notes);
    let private = reader::key_file(Some(key), folder, tls_server::key, notes);
    let ((cert_path, chain), (key_path, private)) = (chain?, private?);
    if let Some(advice) = tls_server::out_of_date(&chain) {
        notes.warning(&cert.location, format_args!("{}: {advice}", cert_path.display()));
    }
    for host in ["api.box.com", "upload.box.com", "dl.boxcloud.com"] {
        if !tls_server::is_for(&chain, host) {
            notes.warning(
                &cert.location,
                format_args!(
                    "{} is not valid for {host}: programs will refuse it there",
                    cert_path.display()
                ),
            );
        }
    }
    let files = Files { cert: cert_path, key: key_path, client_ca: None };
    let tls = notes.take(&key.location, Tls::new(files, chain, private, None))?;
    Some(ProxyCertificate::One(Arc::new(tls)))
}

/// A CA that replicas share.
fn authority(ca: &Entry<'_>, around: &Surroundings<'_>, notes: &mut Notes<'_>) -> Option<ProxyCertificate> {
    let written: raw::ProxyCa<'_> = raw::read(Some(ca), notes);
    if !matches!(ca.value, DeValue::Table(_)) {
        return None;
    }
    for (key, part, example) in
        [("cert", &written.cert, "\"PATH\""), ("key", &written.key, "{ file = \"PATH\" }")]
    {
        if part.is_none() {
            notes.problem(&ca.location.below(key), format_args!("is missing; write {key} = {example}"));
        }
    }
    let read =
        |path: &Path| fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
    let certificates = reader::pem_file(written.cert.as_ref(), around.folder, read, notes);
    let key = written.key.as_ref().and_then(|entry| secret::referred(entry, around, notes));
    let (certificates, key, entry) = (certificates?, key?, written.key.as_ref()?);
    if key.is_literal {
        secret::warn_of_literal(&entry.location, around, notes);
    }
    let given = CertificateAuthority::given(&certificates, key.text.as_bytes());
    let given = notes.take(&ca.location, given)?;
    if let Err(why) = CaChain::parse(given.pem().as_bytes(), jiff::Timestamp::now()) {
        notes.warning(&ca.location, format_args!("boxgate env and exec will not trust it: {why}"));
    }
    Some(ProxyCertificate::Authority { certificates, key: Secret::new(key.text.to_string()) })
}

fn tunnels(entry: Option<&Entry<'_>>, outward: &Outward<'_>, notes: &mut Notes<'_>) -> TunnelList {
    let egress = proxy_matcher(outward.proxy);
    let mut entries = Vec::new();
    for item in reader::list(entry, &format!("[{AN_ENTRY}]"), notes).unwrap_or_default() {
        let Some(tunnel) = notes.take(&item.location, Tunnel::parse(item.text)) else { continue };
        let is_of_box = PERMITTED_DOMAINS.iter().any(|domain| tunnel.overlaps(domain))
            || box_hosts::named(outward.hosts, item.text).is_some();
        if is_of_box {
            notes.problem(
                &item.location,
                format_args!("{:?} covers hosts of Box, which get no blind tunnels: their requests would bypass rules and limits", item.text),
            );
        }
        let uri = format!("https://{}/", tunnel.example()).parse::<Uri>();
        if tunnel.is_wildcard() && uri.is_ok_and(|uri| egress.intercept(&uri).is_some()) {
            notes.problem(
                &item.location,
                format_args!("{:?} is a wildcard whose hosts are reached through [upstream] proxy, where the gateway cannot check their addresses; name each host", item.text),
            );
        }
        entries.push(tunnel);
    }
    TunnelList::new(entries)
}
