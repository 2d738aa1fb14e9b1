//! The collector: one batch by OTLP over HTTP, and what its answer means.
//!
//! Source: OpenTelemetry Protocol Specification, OTLP/HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::header::CONTENT_TYPE;
use hyper_util::client::proxy::matcher::Matcher;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::http::host::{self, Host};
use crate::http::retry_after;
use crate::net::clock::Clock;
use crate::net::egress_proxy::{Proxy, proxy_matcher};
use crate::net::error_chain::chain;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter;
use crate::net::tls_client::Trust;

/// How long the collector may take for a batch, to the head of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for the body of its answer.
const BODY_PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are read. A collector says there at most how many spans it did not take, and why.
const LARGEST_ANSWER: usize = 64 * 1024;
/// The most characters of a collector's own words that are logged.
const LONGEST_WORDS: usize = 200;

/// A client of the collector.
#[derive(Debug)]
pub(crate) struct Collector {
    client: reqwest::Client,
    url: Uri,
    proxies: Matcher,
    own: OwnListeners,
    clock: Clock,
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The collector took it.
    Taken {
        /// How many of its spans the collector did not take.
        rejected: usize,
        /// The collector's own words, or none.
        words: String,
    },
    /// The collector does not take this batch, and would not later.
    Refused(String),
    /// It may take it later.
    Later {
        /// The cause, for the log.
        cause: String,
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
        /// The collector has answered.
        reached: bool,
    },
}

impl Collector {
    /// `endpoint`: the URL to which spans are sent. `proxy`: the setting for the way to Box. `own`: the addresses on
    /// which this process listens.
    ///
    /// # Errors
    /// The URL is none, or a proxy URL in the environment is invalid.
    pub(crate) fn new(
        endpoint: &str,
        trust: &Trust,
        proxy: &Proxy,
        own: OwnListeners,
        connect_timeout: Duration,
        clock: Clock,
    ) -> Result<Self, String> {
        let url: Uri = endpoint.parse().map_err(|error| format!("{error}"))?;
        let proxy = way(&url, proxy);
        // Redirects are not followed: spans go where the configuration says.
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.client_config(&[b"h2", b"http/1.1"]))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("boxgate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout);
        let builder = if proxy == Proxy::Environment { builder } else { builder.no_proxy() };
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { client, url, proxies: proxy_matcher(&proxy), own, clock })
    }

    /// Host and port, for the log.
    pub(crate) fn authority(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }

    /// Sends one batch: an `ExportTraceServiceRequest`.
    pub(crate) async fn send(&self, batch: Bytes) -> Outcome {
        // A span for each request to the gateway itself would cause the next.
        if let Some(cause) = self.own.on_the_way_to(&self.url, &self.proxies).await {
            return Outcome::Refused(cause);
        }
        let request = self.client.post(self.url.to_string()).header(CONTENT_TYPE, "application/x-protobuf");
        let later = |cause| Outcome::Later { cause, retry_after: None, reached: false };
        let answer = match self.within(PATIENCE, request.body(batch).send()).await {
            None => return later(format!("no answer within {} s", PATIENCE.as_secs())),
            Some(Err(error)) => {
                return later(
                    std::error::Error::source(&error).map_or_else(|| "no answer".to_owned(), chain),
                );
            }
            Some(Ok(answer)) => answer,
        };
        let status = answer.status();
        if status.is_success() {
            // The spans were taken, whatever becomes of the body.
            return taken(&self.within(BODY_PATIENCE, beginning(answer)).await.unwrap_or_default());
        }
        let cause = format!("it answers {status}");
        match status.as_u16() {
            429 | 502 | 503 | 504 => {
                let retry_after = retry_after::read(answer.headers(), None);
                Outcome::Later { cause, retry_after, reached: true }
            }
            300..=399 => Outcome::Refused(format!("{cause}, a redirect, which is not followed")),
            404 | 405 => Outcome::Refused(format!("{cause} to POST {}; check [trace] otlp", self.url.path())),
            _ => Outcome::Refused(cause),
        }
    }

    /// `None` if it takes longer.
    async fn within<T>(&self, time: Duration, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = what => Some(done),
            () = self.clock.sleep_until(self.clock.now().after(time)) => None,
        }
    }
}

/// The body of an answer, as far as it is read.
async fn beginning(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            break;
        }
    }
    body
}

/// What the body of a success says. One that cannot be read says nothing.
fn taken(body: &[u8]) -> Outcome {
    let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
    let (rejected, words) = partial.map(|part| (part.rejected_spans, part.error_message)).unwrap_or_default();
    let rejected = usize::try_from(rejected).unwrap_or(0);
    Outcome::Taken { rejected, words: secret_filter::shortened(words, LONGEST_WORDS) }
}

/// The proxy on the way to the collector. One that is configured leads to Box, and none to this machine.
fn way(url: &Uri, to_box: &Proxy) -> Proxy {
    let is_here = match url.host().and_then(host::parse) {
        Some((Host::Ip(ip), _)) => ip.is_loopback(),
        Some((Host::Name(name), _)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    };
    match to_box {
        Proxy::Environment if !is_here => Proxy::Environment,
        _ => Proxy::None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;
    use crate::net::secret::Secret;

    #[test]
    fn an_answer_says_what_was_not_taken() {
        let answer = |rejected_spans, error_message: &str| {
            let error_message = error_message.to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            taken(&ExportTraceServiceResponse { partial_success }.encode_to_vec())
        };
        let is = |rejected, words: &str| Outcome::Taken { rejected, words: words.to_owned() };
        assert_eq!(answer(3, "too old"), is(3, "too old"));
        assert_eq!(answer(-3, ""), is(0, ""));
        assert_eq!(answer(0, &"x".repeat(1000)), is(0, &"x".repeat(LONGEST_WORDS)));
        for nothing in [&b""[..], b"{}", b"\xff\xff\xff\xff", b"<html>"] {
            assert_eq!(taken(nothing), is(0, ""), "{nothing:?}");
        }
        let secret = Secret::new("canary-in-an-answer".to_owned());
        assert_eq!(answer(1, secret.expose()), is(1, secret_filter::MARK));
    }

    #[test]
    fn the_proxy_for_box_is_not_on_the_way_and_none_is_to_this_machine() {
        let of = |url: &'static str, proxy: &Proxy| way(&Uri::from_static(url), proxy);
        let url = Proxy::Url(Secret::new("http://proxy.corp:3128".to_owned()));
        assert_eq!(of("https://otlp.example/v1/traces", &Proxy::Environment), Proxy::Environment);
        for (to, proxy) in [
            ("https://otlp.example/v1/traces", &url),
            ("https://otlp.example/v1/traces", &Proxy::None),
            ("http://127.0.0.1:4318/v1/traces", &Proxy::Environment),
            ("http://[::1]:4318/v1/traces", &Proxy::Environment),
            ("http://LOCALHOST:4318/v1/traces", &Proxy::Environment),
        ] {
            assert_eq!(of(to, proxy), Proxy::None, "{to}");
        }
    }
}
