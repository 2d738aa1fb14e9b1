//! The tables `[box]`, `[upstream]`, `[server]` and `[log]`.

use std::path::Path;
use std::time::Duration;

use http::uri::Authority;
use rustls::pki_types::CertificateDer;
use toml::de::DeValue;
use tracing::Level;

use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry, kind};
use super::super::values;
use super::super::{Server, Upstream};
use super::reader;
use super::secret::Surroundings;
use crate::net::egress_proxy::Proxy;
use crate::net::tls_server;
use crate::routing::app::Redirects;
use crate::routing::box_hosts::BoxHosts;
use crate::telemetry::log::{Log, LogFormat};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Reads `[box]`.
pub(super) fn box_hosts(entry: Option<&Entry<'_>>, folder: &Path, notes: &mut Notes<'_>) -> BoxHosts {
    let written: raw::BoxTable<'_> = raw::read(entry, notes);
    let mut host = |entry: &Option<Entry<'_>>, default| {
        reader::parsed(entry.as_ref(), values::AN_ORIGIN, values::location, notes)
            .unwrap_or_else(|| Authority::from_static(default))
    };
    BoxHosts {
        api: host(&written.api, "api.box.com"),
        upload: host(&written.upload, "upload.box.com"),
        download: host(&written.download, "dl.boxcloud.com"),
        token_url: reader::parsed(written.token_url.as_ref(), values::A_TOKEN_URL, values::token_url, notes)
            .unwrap_or_else(|| "https://api.box.com/oauth2/token".to_owned()),
        extra_roots: reader::pem_file(written.ca_file.as_ref(), folder, roots, notes).unwrap_or_default(),
    }
}

/// Reads certificates and checks that TLS accepts them as roots.
fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    tls_server::authorities(path)?;
    tls_server::certificates(path)
}

/// Reads `[upstream]`.
pub(super) fn upstream(
    entry: Option<&Entry<'_>>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Upstream {
    let written: raw::Upstream<'_> = raw::read(entry, notes);
    let mut timeout = |entry: &Option<Entry<'_>>, seconds| {
        reader::timeout(entry.as_ref(), Duration::from_secs(seconds), notes)
    };
    Upstream {
        connect_timeout: timeout(&written.connect_timeout, 5),
        response_timeout: timeout(&written.response_timeout, 60),
        body_timeout: timeout(&written.body_timeout, 60),
        pool_idle_timeout: timeout(&written.pool_idle_timeout, 90),
        retries: reader::integer(written.retries.as_ref(), 0..=10, 2, notes),
        replay_buffer: reader::size(
            written.replay_buffer.as_ref(),
            0..=16 * MIB,
            "up to 16MiB",
            64 * KIB,
            notes,
        ),
        max_pause: reader::duration_within(
            written.max_pause.as_ref(),
            Duration::from_secs(1)..=Duration::from_secs(60 * 60),
            "from 1s to 1h",
            Duration::from_secs(5 * 60),
            notes,
        ),
        http2: reader::boolean(written.http2.as_ref(), true, notes),
        proxy: proxy(written.proxy.as_ref(), around, notes),
        follow_downloads: reader::redirects(written.follow_downloads.as_ref(), Redirects::Follow, notes),
        rewrite_urls: reader::boolean(written.rewrite_urls.as_ref(), true, notes),
    }
}

/// Reads `[upstream] proxy`. Messages never show the value: a URL may contain a password.
fn proxy(entry: Option<&Entry<'_>>, around: &Surroundings<'_>, notes: &mut Notes<'_>) -> Proxy {
    let Some(entry) = entry else { return Proxy::Environment };
    let DeValue::String(text) = entry.value else {
        notes.problem(
            &entry.location,
            format_args!("expected {}, found {}", values::A_PROXY, kind(entry.value)),
        );
        return Proxy::Environment;
    };
    let proxy = notes.take(&entry.location, values::proxy(text)).unwrap_or(Proxy::Environment);
    if matches!(&proxy, Proxy::Url(url) if url.expose().contains('@')) {
        notes.warning(
            &entry.location,
            "the password is in the configuration file itself; set HTTPS_PROXY and write \"environment\"",
        );
        if let Some(file) = around.file {
            notes.secret_file(&entry.location, file);
        }
    }
    proxy
}

/// Reads `[server]`.
pub(super) fn server(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Server {
    let written: raw::Server<'_> = raw::read(entry, notes);
    let seconds = Duration::from_secs;
    Server {
        header_timeout: reader::timeout(written.header_timeout.as_ref(), seconds(10), notes),
        keepalive_timeout: reader::timeout(written.keepalive_timeout.as_ref(), seconds(75), notes),
        max_header_size: reader::size(
            written.max_header_size.as_ref(),
            8 * KIB..=MIB,
            "from 8KiB to 1MiB",
            32 * KIB,
            notes,
        ),
        drain_delay: reader::duration(written.drain_delay.as_ref(), Duration::ZERO, notes),
        drain_timeout: reader::duration(written.drain_timeout.as_ref(), seconds(30), notes),
    }
}

/// Reads `[log]`.
pub(super) fn log(entry: Option<&Entry<'_>>, folder: &Path, notes: &mut Notes<'_>) -> Log {
    let written: raw::Log<'_> = raw::read(entry, notes);
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let formats = [
        ("auto", LogFormat::Auto),
        ("pretty", LogFormat::Pretty),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
    ];
    let file = |text: &str| match text {
        "" => Err("\"\" is not a file; leave the key out for no audit log".to_owned()),
        _ if text.contains('\0') => Err(format!("{text:?}: a path cannot contain NUL")),
        _ => Ok(folder.join(text)),
    };
    Log {
        level: reader::choice(written.level.as_ref(), &levels, Level::INFO, notes),
        format: reader::choice(written.format.as_ref(), &formats, LogFormat::Auto, notes),
        access: reader::boolean(written.access.as_ref(), true, notes),
        audit: reader::parsed(written.audit.as_ref(), "the path of a file", file, notes),
    }
}
