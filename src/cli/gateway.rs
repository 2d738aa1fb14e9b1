//! Examines a gateway: whether it serves programs with built-in Box hosts, and whether its CA may be
//! trusted. It tries a tunnel and TLS in it before the CA is used.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::options::{GatewayUrl, Login};
use super::tunnel::{Dialer, Proxy};
use crate::net::ca_chain::CaChain;
use crate::net::connect_request::{Answer, Refusal};
use crate::net::error_chain::chain;
use crate::net::tls_client::Trust;

/// The path at which a gateway serves its own CA.
const CA_PATH: &str = "/.well-known/boxgate/ca.pem";
/// The longest CA file; far above the size of two chains.
const CA_LIMIT: usize = 64 * 1024;
/// The time limit for TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a response with its body, and for a TLS handshake in a tunnel.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The host on which a tunnel is tried.
const TRIED_HOST: &str = "api.box.com";

/// Gets the gateway's CA, checks it, and tries a tunnel to Box with it. `None`: the platform trusts the
/// gateway's certificate for Box's hosts already. `pin`: the fingerprint that the root must have.
///
/// # Errors
/// The gateway cannot be reached, has no forward proxy, is not trusted, or refuses the app; in words for the user.
pub(super) async fn find(
    url: &GatewayUrl,
    login: Option<&Login>,
    pin: Option<&str>,
    now: Timestamp,
) -> Result<Option<CaChain>, String> {
    let ca = match ca_file(url).await? {
        Some(pem) => {
            let not_trusted = |why| format!("the CA of the gateway at {url} is not trusted: {why}");
            let chain = CaChain::parse(&pem, now).map_err(not_trusted)?;
            Some(match pin {
                Some(pin) => chain.pinned(pin).map_err(not_trusted)?,
                None => chain,
            })
        }
        None => None,
    };
    try_tunnel(url, login, ca.as_ref()).await?;
    if ca.is_none() && pin.is_some() {
        return Err(format!(
            "the gateway at {url} has no CA of its own, so --ca-fingerprint cannot be checked; the platform trusts its certificate already"
        ));
    }
    Ok(ca)
}

fn unreachable(url: &GatewayUrl, why: &str) -> String {
    format!("cannot reach the gateway at {url}: {why}; is it running? --gateway URL names another")
}

/// The PEM file, or `None` if the gateway has none.
async fn ca_file(url: &GatewayUrl) -> Result<Option<Vec<u8>>, String> {
    let mut builder = reqwest::Client::builder()
        // The caller's proxy is for other hosts; and the gateway may be that proxy.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("boxgate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    // Without TLS to the gateway no roots are needed, but the client must be configured with some.
    match Trust::new(&[]) {
        Ok(trust) => builder = builder.tls_backend_preconfigured(trust.client_config(&[b"http/1.1"])),
        Err(error) if url.is_https => return Err(unreachable(url, &error.to_string())),
        Err(_) => builder = builder.tls_backend_preconfigured(without_roots()),
    }
    let client = builder.build().map_err(|error| chain(&error))?;
    let asked = client.get(format!("{url}{CA_PATH}")).send().await;
    let mut response = asked.map_err(|error| unreachable(url, &innermost(&error)))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &innermost(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > CA_LIMIT {
            return Err(format!("the server at {url} is not a boxgate: its CA file is larger than 64 KiB"));
        }
    }
    match status {
        StatusCode::OK => Ok(Some(body)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => {
            let reason = status.canonical_reason().unwrap_or_default().to_owned();
            let refusal = Refusal { status: status.as_u16(), reason, fields: Vec::new(), body };
            Err(format!(
                "the gateway at {url} answers {} to GET {CA_PATH}: {}",
                status.as_u16(),
                refusal.words()
            ))
        }
    }
}

fn without_roots() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// The innermost error is the cause; reqwest's outer errors repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}

async fn try_tunnel(url: &GatewayUrl, login: Option<&Login>, ca: Option<&CaChain>) -> Result<(), String> {
    let roots: Vec<_> = ca.into_iter().flat_map(CaChain::roots).cloned().collect();
    let target = Authority::from_static("api.box.com:443");
    let answer = Dialer::new().tunnel(&Proxy::gateway(url, login), &target).await;
    let stream = match answer.map_err(|error| unreachable(url, &error.to_string()))? {
        Answer::Open(stream) => stream,
        Answer::Refused(refusal) => return Err(refused(url, login, &refusal)),
    };
    let trust = Trust::new(&roots).map_err(|_| {
        "this platform has no certificate roots, and the gateway has no CA of its own; install ca-certificates"
            .to_owned()
    })?;
    let name = ServerName::try_from(TRIED_HOST).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(trust.client_config(&[b"http/1.1"])));
    match tokio::time::timeout(ANSWER_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(match ca {
            Some(_) => format!(
                "the gateway at {url} shows a certificate for {TRIED_HOST} that does not come from its CA: {error}"
            ),
            None => format!(
                "the gateway at {url} has no CA of its own, and this platform does not trust its certificate for {TRIED_HOST}: {error}; let SSL_CERT_FILE name a file with its CA"
            ),
        }),
        Err(_) => Err(unreachable(url, "the TLS handshake in a tunnel took too long")),
    }
}

fn refused(url: &GatewayUrl, login: Option<&Login>, refusal: &Refusal) -> String {
    let words = refusal.words();
    match (refusal.status, login) {
        (405, _) => {
            format!(
                "the gateway at {url} has no forward proxy; add an empty [forward_proxy] table to its configuration"
            )
        }
        (407, None) => format!(
            "the gateway at {url} requires an app: {words}; name it with --app, its key with BOXGATE_KEY or --key-file"
        ),
        (407, Some(login)) => {
            format!("the gateway at {url} does not accept app {:?} with this key: {words}", login.name)
        }
        (status, _) => format!("the gateway at {url} answers {status} to CONNECT {TRIED_HOST}:443: {words}"),
    }
}
