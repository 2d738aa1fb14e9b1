//! What to change, where a request is refused: the key of `proxy.toml`, or the request.

use http::header::ORIGIN;
use http::request::Parts;

use crate::http::error::Refusal;
use crate::http::error_codes;
use crate::http::headers::AS_USER;
use crate::http::origin::Pattern;
use crate::net::client_address::ClientAddress;
use crate::oauth::user::{is_id, is_login};
use crate::routing::app::Mismatch;
use crate::routing::as_user::AsUser;

/// The request that was refused, and how far it came.
pub(super) struct Subject<'a> {
    pub(super) head: &'a Parts,
    /// The chosen app.
    pub(super) app: Option<&'a str>,
    /// As whom the chosen app may act.
    pub(super) as_user: Option<&'a AsUser>,
    /// The app that refuses because one condition does not hold, and that condition.
    pub(super) misses: Option<(&'a str, Mismatch)>,
    /// The template of its operation, once it is known.
    pub(super) operation: Option<&'a str>,
    pub(super) peer: ClientAddress,
    pub(super) client: ClientAddress,
    pub(super) has_forward_proxy: bool,
}

impl Subject<'_> {
    /// The app that refuses, or would serve the request but for one condition.
    fn app(&self) -> &str {
        self.app.or(self.misses.map(|(app, _)| app)).unwrap_or_default()
    }
}

/// What refuses, if it is more than the code says, and what to do.
pub(super) fn of(refusal: &Refusal, subject: &Subject<'_>) -> (Option<String>, String) {
    let app = format!("app {:?}", subject.app());
    match refusal {
        Refusal::SourceNotAllowed if subject.misses.is_none() && subject.app.is_none() => (
            Some("sources of [listen]".to_owned()),
            format!("to let it connect, add \"{}\" to sources of [listen]", subject.peer.as_source()),
        ),
        Refusal::SourceNotAllowed => (
            Some(format!("sources of {app}")),
            match subject.client {
                client @ (ClientAddress::Known(_) | ClientAddress::Process { .. }) => format!(
                    "to let it call, add \"{}\" to sources of {app}, or let it use the path of another app",
                    client.as_source()
                ),
                ClientAddress::Unknown => {
                    "let the proxy in front name the client by its address in X-Forwarded-For".to_owned()
                }
            },
        ),
        Refusal::HostNotAllowed { host, key } => {
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            (Some((*key).to_owned()), format!("if it is a name of this gateway, add \"{name}\" to {key}"))
        }
        Refusal::KeyMissing => {
            (Some(format!("key of {app}")), format!("send the key of {app} in X-Boxgate-Key; --app shows it"))
        }
        Refusal::CertificateNotAllowed => (
            Some(format!("certificates of {app}")),
            format!("to let it call, add a name of its certificate to certificates of {app}"),
        ),
        Refusal::HeaderMissing(name) => (
            Some(format!("require_header of {app}")),
            format!("send the header {name}, with any value, or take require_header out of {app}"),
        ),
        // The gateway's own pages belong to no app, and are served before one is chosen.
        Refusal::OriginNotAllowed if subject.app().is_empty() => {
            (None, "web pages can never read this; no key of the configuration changes that".to_owned())
        }
        Refusal::OriginNotAllowed => (Some(format!("origins of {app}")), origin(subject, &app)),
        Refusal::OperationNotAllowed { denied_by: Some(rule) } => (
            Some(format!("deny \"{rule}\"")),
            format!("to allow it, take that rule out of deny of {app}, or write a narrower one"),
        ),
        Refusal::OperationNotAllowed { denied_by: None } => match subject.operation {
            Some(operation) => {
                // A pattern's GET covers HEAD.
                let pattern = operation.strip_prefix("HEAD ").map(|path| format!("GET {path}"));
                let pattern = pattern.unwrap_or_else(|| operation.to_owned());
                (
                    Some(format!("allow of {app}, of which no rule matches")),
                    format!("to allow it, add \"{pattern}\" to allow of {app}"),
                )
            }
            None => (
                Some("the kind of URL: pre-signed and realtime URLs are only read".to_owned()),
                "no key of the configuration changes that".to_owned(),
            ),
        },
        Refusal::BatchNotAllowed => (
            Some(format!("allow of {app}, of which no pattern names batches")),
            format!("send the operations one by one, or add \"POST /2.0/batch\" to allow of {app}"),
        ),
        Refusal::AppDisabled => {
            (Some(format!("enabled of {app}")), format!("to switch it on, set enabled of {app} to true"))
        }
        Refusal::AsUserNotAllowed => (Some(format!("as_user of {app}")), as_user(subject, &app)),
        Refusal::NoSuchApp => (
            None,
            "add an [[app]] with a path with which this one begins, or with this Host in hosts".to_owned(),
        ),
        Refusal::NoAppForProxy => {
            (None, "name an app in the proxy URL (--app), or add an [[app]] with the path \"/\"".to_owned())
        }
        Refusal::MethodNotAllowed if !subject.has_forward_proxy => {
            (None, "for CONNECT, add an empty table [forward_proxy]; TRACE is never served".to_owned())
        }
        Refusal::TunnelNotAllowed { host, .. } if subject.has_forward_proxy => (
            Some("tunnel of [forward_proxy]".to_owned()),
            format!("to let it pass, add \"{host}\" to tunnel"),
        ),
        // What the caller reads says what to do.
        Refusal::BadRequest(_)
        | Refusal::NotFound
        | Refusal::LoginNotServed
        | Refusal::NoCertificateAuthority
        | Refusal::NoSuchErrorCode
        | Refusal::OnlyForReading
        | Refusal::ProxyAuthenticationRequired(_)
        | Refusal::LoopDetected(_)
        | Refusal::NotOfThisTunnel { .. } => (None, sentence_without_end(&refusal.message())),
        other => {
            let operator =
                error_codes::find(other.status_and_code().1).map(|entry| entry.operator.replace('`', ""));
            (None, operator.map(|text| sentence_without_end(&text)).unwrap_or_default())
        }
    }
}

fn origin(subject: &Subject<'_>, app: &str) -> String {
    let value = subject.head.headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
    match value {
        Some(origin) if Pattern::parse(origin).is_ok() => {
            format!(
                "to let its pages call, add \"{origin}\" to origins of {app}, unless it is the gateway's own origin"
            )
        }
        Some(_) => "this Origin can be in no list: null and what is no origin are never allowed".to_owned(),
        None => format!(
            "a browser sent it from a page: list the origin of that page in origins of {app}; only GET and HEAD with that origin in Referer pass without an Origin"
        ),
    }
}

fn as_user(subject: &Subject<'_>, app: &str) -> String {
    match subject.head.headers.get(AS_USER).and_then(|user| user.to_str().ok()) {
        Some(user) if is_id(user) => {
            let lists_logins = subject.as_user.is_some_and(|users| users.logins().next().is_some());
            let unless = match lists_logins {
                true => ". A gateway lets it pass if it is the id of a login there, which is not known here",
                false => "",
            };
            format!("to let it act as this user, add \"{user}\" to as_user of {app}{unless}")
        }
        Some(user) if is_login(user) && subject.as_user == Some(&AsUser::Any) => {
            format!("as_user of {app} is [\"*\"], which takes ids alone: name the user by id")
        }
        Some(user) if is_login(user) => {
            format!("to let it act as this user, add \"{user}\" to as_user of {app}")
        }
        _ => "write the id of the user in digits, the first of them not 0, or a login".to_owned(),
    }
}

fn sentence_without_end(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}
