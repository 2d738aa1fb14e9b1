//! `[listen] tls` and `[admin] tls`: loads certificate, key and client CA, each checked on its own, then together.

use std::path::Path;
use std::sync::Arc;

use toml::de::DeValue;

use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry};
use super::reader;
use crate::net::tls_server::{self, Files, Tls};

const A_FILE: &str = "the path of a PEM file";

/// Reads `tls`; `None` if it is missing or wrong. `protocols`: what ALPN offers.
pub(super) fn read(
    entry: Option<&Entry<'_>>,
    protocols: &[&[u8]],
    folder: &Path,
    notes: &mut Notes<'_>,
) -> Option<Arc<Tls>> {
    let entry = entry?;
    let written: raw::Tls<'_> = raw::read(Some(entry), notes);
    if !matches!(entry.value, DeValue::Table(_)) {
        return None;
    }
    for (key, part, file) in [("cert", &written.cert, "tls.crt"), ("key", &written.key, "tls.key")] {
        if part.is_none() {
            notes.problem(
                &entry.location.below(key),
                format_args!("is missing; write for example {key} = \"{file}\", {A_FILE}"),
            );
        }
    }
    let chain = |path: &Path| Ok((path.to_owned(), tls_server::chain(path)?));
    let authorities = |path: &Path| Ok((path.to_owned(), tls_server::authorities(path)?));
    let chain = reader::pem_file(written.cert.as_ref(), folder, chain, notes);
    let key = reader::key_file(written.key.as_ref(), folder, tls_server::key, notes);
    let authorities = reader::pem_file(written.client_ca.as_ref(), folder, authorities, notes);

    if let (Some(entry), Some((path, chain))) = (&written.cert, &chain)
        && let Some(advice) = tls_server::out_of_date(chain)
    {
        notes.warning(&entry.location, format_args!("{}: {advice}", path.display()));
    }
    let ((cert, chain), (key_path, key)) = (chain?, key?);
    let (client_ca, authorities) = authorities.unzip();
    let files = Files { cert, key: key_path, client_ca };
    let tls = Tls::new(files, chain, key, authorities);
    notes.take(&written.key.as_ref()?.location, tls).map(|tls| Arc::new(tls.offering(protocols)))
}
