//! `boxgate explain`: what an error code means, or how a configuration decides a request, step by step.
//!
//! The steps are those of a real request: `crate::proxy::decision` and `crate::proxy::connect` decide a head that is
//! made here, and limits and budgets say what they would count. Nothing is sent, opened, bound or written.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::{HeaderName, HeaderValue};

use super::exit::{BAD_CONFIGURATION, bad_configuration, print};
use super::run::{DEFAULT_FILE, source};
use super::{columns, first_run};
use crate::config::{Config, Overrides};
use crate::net::client_address::ClientAddress;
use crate::net::user_id;
use crate::telemetry::terminal;

mod advice; // what to change, where a request is refused
mod codes; // error codes
mod counts; // what limits and budgets would count
mod groups; // named groups of operations
mod explanation; // the steps and the verdict, and their JSON
mod request; // the head that is decided
mod target; // what is shown of the request
mod text; // the explanation for people
mod trace; // what each stage of the decision finds

pub use explanation::Explanation;

/// The exit status for a request that is refused, or that another app than the named one would serve.
const REFUSED: u8 = 1;

/// The command line options.
#[derive(Debug, Clone, Default, Args)]
#[allow(rustdoc::bare_urls, reason = "--help is not Markdown")]
pub struct Options {
    /// An error code, or a request: "GET /2.0/users/me", or with a URL of Box as programs send it through the forward
    /// proxy: "GET https://api.box.com/2.0/users/me". Without it, all codes are listed
    #[arg(value_name = "WHAT", num_args = 0..=2)]
    pub what: Vec<String>,
    /// The configuration file [default: proxy.toml, or the environment where there is none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Call as a caller of this app does: its path is put in front unless the request begins with it, its first host is
    /// the Host, its key and the first of its certificates are shown
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The address that connects, or the user whose process connects over a Unix socket: uid:1000, uid:www-data
    /// [default: 127.0.0.1]
    #[arg(long, value_name = "IP", value_parser = connecting)]
    pub from: Option<ClientAddress>,
    /// The client for which the balancer or proxy at --from speaks
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// The Host of the request [default: localhost, with the port of the first address]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// The origin of the web page that sends the request
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// A name in the caller's client certificate, a URI or DNS name; may be repeated [default: the first of
    /// certificates of --app]
    #[arg(long = "certificate", value_name = "NAME")]
    pub certificates: Vec<String>,
    /// The user whom As-User names, by id or login
    #[arg(long, value_name = "USER")]
    pub as_user: Option<String>,
    /// A further header, such as "Accept: text/html"; may be repeated
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// List the named groups of operations, with which allow and deny say what an app may do
    #[arg(long, conflicts_with_all = ["what", "config", "app", "from", "client", "host", "origin", "certificates", "as_user", "headers"])]
    pub groups: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Explains a code or a request, or lists the groups of operations. The exit status is 0 for a code, for the list and for a request that passes, 1 for one that is
/// refused, 2 where the configuration or an argument cannot be used.
pub fn run(options: &Options) -> ExitCode {
    if options.groups {
        return print(groups::list(options.json).as_bytes());
    }
    let what = options.what.join(" ");
    if options.what.is_empty() || codes::may_be_one(&what) {
        return match (codes::explained(&what, options.json, text_width()), options.of_a_request()) {
            // The first mistake is not the option.
            (Err(why), _) => unusable(&why),
            (Ok(_), Some(option)) => unusable(&format!(
                "{option} belongs to a request; write it as \"METHOD /path\", such as \"GET /2.0/users/me\"{}",
                codes::find(&what)
                    .map(|entry| format!(", or ask about the code {} without {option}", entry.code))
                    .unwrap_or_default()
            )),
            (Ok(text), None) => print(text.as_bytes()),
        };
    }
    if let Some((entry, more)) =
        what.split_once(' ').and_then(|(first, more)| Some((codes::find(first)?, more)))
    {
        return unusable(&format!(
            "{} is an error code, and {more:?} after it is too much: ask about one code at a time",
            entry.code
        ));
    }
    if options.config.is_none() && first_run::is_unconfigured(Path::new(DEFAULT_FILE)) {
        eprintln!("{}", first_run::WORDS);
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let config = match source(options.config.as_deref(), overrides()).read() {
        Ok((config, _)) => config,
        Err(problems) => {
            if options.json {
                println!("{}", explanation::problems(&problems));
                return ExitCode::from(BAD_CONFIGURATION);
            }
            return bad_configuration(&problems);
        }
    };
    let explanation = match of_request(&config, options) {
        Ok(explanation) => explanation,
        Err(why) => return unusable(&why),
    };
    let shown = match options.json {
        true => format!("{}\n", explanation.json()),
        false => text::page(&explanation, columns::of_stdout(), has_colours()),
    };
    match print(shown.as_bytes()) {
        code if code == ExitCode::SUCCESS => ExitCode::from(explanation.exit()),
        code => code,
    }
}

/// How the configuration decides the request that the options describe. Nothing is sent, and no count changes.
///
/// # Errors
/// An option cannot be used; in words for the user.
pub fn of_request(config: &Config, options: &Options) -> Result<Explanation, String> {
    let asked = request::Asked::of(config, options)?;
    Ok(trace::explained(config, &asked))
}

impl Options {
    /// The first option that only a request has.
    fn of_a_request(&self) -> Option<&'static str> {
        let given = [
            ("--config", self.config.is_some()),
            ("--app", self.app.is_some()),
            ("--from", self.from.is_some()),
            ("--client", self.client.is_some()),
            ("--host", self.host.is_some()),
            ("--origin", self.origin.is_some()),
            ("--certificate", !self.certificates.is_empty()),
            ("--as-user", self.as_user.is_some()),
            ("--header", !self.headers.is_empty()),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }
}

/// The flags of `boxgate run` that may be in the environment, which change decisions.
fn overrides() -> Overrides {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let hosts = variable("BOXGATE_HOSTS").unwrap_or_default();
    let hosts = hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect();
    // A decision needs no secret or id of Box, and whoever asks may not be allowed to read them.
    Overrides { listen: variable("BOXGATE_LISTEN"), admin: None, hosts, allows_unread_secrets: true }
}

/// What connects: an address, or a user's process over a Unix socket.
fn connecting(text: &str) -> Result<ClientAddress, String> {
    match text.strip_prefix(user_id::PREFIX) {
        Some(user) => user_id::parse(user).map(|uid| ClientAddress::Process { uid }),
        None => {
            let address = text.parse::<IpAddr>().map(ClientAddress::from);
            address.map_err(|_| "allowed: an IP address, or \"uid:1000\" for a Unix socket".to_owned())
        }
    }
}

/// `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = "allowed: \"Name: value\"";
    let (name, value) = text.split_once(':').ok_or(wrong)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong)?;
    let value = value.trim_matches([' ', '\t']).as_bytes();
    Ok((name, HeaderValue::from_bytes(value).map_err(|_| wrong)?))
}

fn unusable(why: &str) -> ExitCode {
    eprintln!("boxgate: {}", explanation::shown(why));
    ExitCode::from(BAD_CONFIGURATION)
}

/// Columns for whole sentences, which are not broken by programs that read them.
fn text_width() -> usize {
    columns::of_stdout().unwrap_or(columns::USUAL.into()).min(columns::MOST_READABLE)
}

fn has_colours() -> bool {
    columns::of_stdout().is_some() && terminal::has_colours()
}
