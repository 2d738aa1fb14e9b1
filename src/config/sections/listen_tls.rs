//! `[listen] tls`: the parts from their files, each judged on its own, then together.

use std::path::Path;
use std::sync::Arc;

use toml::de::DeValue;

use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry};
use super::reader;
use crate::net::tls_server::{self, Files, Tls};

const A_FILE: &str = "the path of a PEM file";

/// The TLS of the callers' listeners; `None` where it is not written, or wrong.
pub(super) fn read(entry: Option<&Entry<'_>>, folder: &Path, notes: &mut Notes<'_>) -> Option<Arc<Tls>> {
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
    let path = |text: &str| folder.join(text);
    let chain = |text: &str| Ok((path(text), tls_server::chain(&path(text))?));
    let key = |text: &str| Ok((path(text), tls_server::key(&path(text))?));
    let authorities = |text: &str| Ok((path(text), tls_server::authorities(&path(text))?));
    let chain = reader::parsed(written.cert.as_ref(), A_FILE, chain, notes);
    let key = reader::parsed(written.key.as_ref(), A_FILE, key, notes);
    let authorities = reader::parsed(written.client_ca.as_ref(), A_FILE, authorities, notes);

    if let (Some(entry), Some((path, chain))) = (&written.cert, &chain)
        && let Some(advice) = tls_server::out_of_date(chain)
    {
        notes.warning(&entry.location, format_args!("{}: {advice}", path.display()));
    }
    let ((cert, chain), (key_path, key)) = (chain?, key?);
    let (client_ca, authorities) = authorities.unzip();
    let files = Files { cert, key: key_path, client_ca };
    let ends = tls_server::end_of(&chain);
    let settings = tls_server::settings(&files, chain, key, authorities);
    let settings = notes.take(&written.key.as_ref()?.location, settings)?;
    Some(Arc::new(Tls::new(files, settings, ends)))
}
