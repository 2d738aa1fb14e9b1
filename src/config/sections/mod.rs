//! Interprets the tables as written and builds the checked [`Config`]. Records every problem on the way.
//!
//! Reading never stops at a problem. A wrong value is replaced by its default, which has no effect, since a
//! configuration with a problem is not returned.

use std::fmt;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::Config;
use super::diagnostics::{Location, Noted, Notes, Problems};
use super::raw::{self, Entry, Table};
use super::redacted::Redacted;
use super::{frame, syntax, values};
use crate::access::admission::Listen;
use crate::http::host::HostList;
use crate::net::address::Address;
use crate::net::secret_file;
use crate::net::tls_server;
use crate::routing::app::{App, Apps};

use self::identity::Identities;
use self::reader::Text;
use self::secret::Surroundings;

mod app;
mod downscope;
mod forward_proxy;
mod identity;
mod limit_and_budget;
mod listen_tls;
mod names;
pub(super) mod operators;
mod reader;
mod secret;
mod settings;
mod sources;
mod state;
mod trace;

#[cfg(test)]
mod tests;

/// The values of flags and their environment variables, which override the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`: the only address for callers.
    pub listen: Option<String>,
    /// `--admin`: the only address for operators.
    pub admin: Option<String>,
    /// `--host`, any number: replaces `[listen] hosts`.
    pub hosts: Vec<String>,
    /// Secrets and ids that cannot be read are no problem; [`Config::unread_secrets`] names them. For whoever decides requests
    /// and sends none.
    pub allows_unread_secrets: bool,
}

impl Overrides {
    /// What each replaces, in words for operators.
    fn words(&self) -> Vec<String> {
        let hosts = Some(self.hosts.join(", ")).filter(|hosts| !hosts.is_empty());
        let all = [
            ("--listen or BOXGATE_LISTEN", "[listen] address", self.listen.clone()),
            ("--admin or BOXGATE_ADMIN", "[admin] address", self.admin.clone()),
            ("--host or BOXGATE_HOSTS", "[listen] hosts", hosts),
        ];
        all.into_iter()
            .filter_map(|(by, key, value)| Some(format!("{by} replaces {key}: {}", value?)))
            .collect()
    }
}

/// Reads a file. Relative paths in it are relative to its folder. `env` looks up environment variables.
pub fn from_file(
    path: &Path,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    from_text(&read(path)?, path, overrides, env)
}

/// Reads the text of a configuration file; `name` is its path, for messages and relative paths.
pub fn from_text(
    text: &str,
    name: &Path,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    interpreted(text, name, overrides, env)
        .map_err(|problems| problems.with_frames(|offset, key| frame::of(text, offset, key)))
}

fn interpreted(
    text: &str,
    name: &Path,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut notes = Notes::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut lines = Vec::new();
        let mut duplicate_until = 0;
        for error in errors {
            let span = error.span().unwrap_or_default();
            if span.start < duplicate_until && error.message() == "duplicate key" {
                continue;
            }
            duplicate_until =
                syntax::end_of_duplicate(text, &span, error.message()).unwrap_or(duplicate_until);
            // Further errors in the same line are mostly consequences of the first.
            let line = text.get(..span.start).unwrap_or(text).matches('\n').count();
            if !lines.contains(&line) {
                lines.push(line);
                let (location, words) = syntax::explain(text, &span, error.message());
                notes.problem(&location, words);
            }
        }
        return Err(notes.into_problems());
    }
    let folder = name.parent().unwrap_or(Path::new(""));
    let allows_unread = overrides.allows_unread_secrets;
    let around = Surroundings { file: Some(name), folder, variable: env, allows_unread };
    notes.judge_writable(&Location::unwritten(""), name);
    let written = raw::File::of(document.get_ref(), "", &mut notes);
    let identities = identity::from_table(written.identity.as_ref(), &around, &mut notes);
    let config = assemble(&written, identities, &around, overrides, notes)?;
    Ok(Config { written: Redacted::of(document.get_ref(), overrides.words()), ..config })
}

/// The configuration without a file: one identity from the environment, defaults for everything else.
pub fn from_environment(
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut notes = Notes::new(Path::new("environment"), "");
    let around = Surroundings { file: None, folder: Path::new(""), variable: env, allows_unread: false };
    let identities = identity::from_environment(env, &mut notes);
    let config = assemble(&raw::File::default(), identities, &around, overrides, notes)?;
    let identity = "BOX_CLIENT_ID, BOX_CLIENT_SECRET and BOX_ENTERPRISE_ID or BOX_USER_ID in the environment are the only identity; everything else has its default";
    let overrides = [identity.to_owned()].into_iter().chain(overrides.words()).collect();
    Ok(Config { written: Redacted { text: String::new(), overrides }, ..config })
}

/// The text of a file, which may hold secrets.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Problems> {
    let text = secret_file::read(path, usize::MAX).and_then(|mut bytes| {
        // Taken over, not copied; what is no text is wiped.
        String::from_utf8(mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")
        })
    });
    text.map_err(|error| {
        let mut notes = Notes::new(path, "");
        notes.problem(
            &Location::unwritten(""),
            format_args!("the configuration file cannot be read: {error}"),
        );
        notes.into_problems()
    })
}

fn assemble(
    written: &raw::File<'_>,
    identities: Identities,
    around: &Surroundings<'_>,
    overrides: &Overrides,
    mut collected: Notes<'_>,
) -> Result<Config, Problems> {
    let notes = &mut collected;
    let folder = around.folder;
    let upstream = settings::upstream(written.upstream.as_ref(), around, notes);
    let app::Apps { apps, pending } =
        app::read(written.app.as_ref(), &identities.names, upstream.follow_downloads, around, notes);
    let callers: raw::Listen<'_> = raw::read(written.listen.as_ref(), notes);
    let operators: raw::Admin<'_> = raw::read(written.admin.as_ref(), notes);
    let workers = workers(reader::integer(callers.workers.as_ref(), 0..=1024, 0, notes));
    let recent_requests = reader::integer(operators.requests.as_ref(), 0..=10_000, 500, notes);
    let max_connections = reader::integer(callers.max_connections.as_ref(), 0..=10_000_000, 0, notes);
    let trusted_proxies = sources::proxies(callers.trusted_proxies.as_ref(), notes);
    let proxy_protocol = sources::proxies(callers.proxy_protocol.as_ref(), notes);
    sources::warn_of_everybody(
        callers.sources.as_ref(),
        "everyone who can reach the port acts as the account at Box; list the networks of your callers instead",
        notes,
    );
    for proxies in [&callers.trusted_proxies, &callers.proxy_protocol] {
        sources::warn_of_everybody(
            proxies.as_ref(),
            "every caller can forge its address, so that sources of apps and limits by client have no effect; list the addresses of your proxies instead",
            notes,
        );
    }
    let tls = listen_tls::read(callers.tls.as_ref(), &tls_server::PROTOCOLS, folder, notes);
    app::judge_certificates(&pending.certificates, callers.tls.as_ref(), notes);
    identity::judge_as_user(&pending.as_user, &identities, notes);
    let admin_tls = operators::tls(operators.tls.as_ref(), folder, notes);
    let admin_keys = operators::keys(operators.key.as_ref(), around, notes);
    let (listen, admin) = listens(&callers, &operators, overrides, (&apps, &pending.users), notes);
    for (table, entry, listen) in [("[listen]", &callers.tls, &listen), ("[admin]", &operators.tls, &admin)] {
        if let Some(Entry { location, .. }) = entry
            && listen.addresses.iter().all(|address| matches!(address, Address::Unix(_)))
        {
            notes.warning(
                location,
                format_args!(
                    "it does nothing: no address of {table} is TCP, and Unix sockets do not use TLS"
                ),
            );
        }
    }
    let exposure = exposure(&callers, overrides, &listen, &apps);
    if let Some((address, words)) = &exposure {
        notes.warning(address, words);
    }
    let exposure = exposure.map(|(_, words)| words);
    judge_pages(&pending.pages, &listen, callers.tls.is_some(), notes);
    let hosts = settings::box_hosts(written.r#box.as_ref(), folder, notes);
    downscope::judge_hosts(&identities.resources, &hosts.api, notes);
    let outward = forward_proxy::Outward { hosts: &hosts, proxy: &upstream.proxy };
    let forward_proxy = forward_proxy::read(written.forward_proxy.as_ref(), around, &outward, notes);
    let server = settings::server(written.server.as_ref(), notes);
    let log = settings::log(written.log.as_ref(), folder, notes);
    let trace = trace::read(written.trace.as_ref(), notes);
    let limits = limit_and_budget::read(written.limit.as_ref(), notes);
    let box_defaults = limit_and_budget::box_defaults(written.limits.as_ref(), notes);
    let budgets = limit_and_budget::budgets(written.budget.as_ref(), notes);
    let state = state::read(written.state.as_ref(), around, notes);
    let Noted { warnings, files, secret_files, unread_secrets } = collected.conclude()?;
    Ok(Config {
        listen,
        admin,
        admin_tls,
        admin_keys,
        recent_requests,
        workers,
        max_connections,
        tls,
        forward_proxy,
        trusted_proxies,
        proxy_protocol,
        exposure,
        hosts,
        identities: identities.read,
        apps: Apps::new(apps),
        limits,
        box_defaults,
        budgets,
        state,
        upstream,
        server,
        log,
        trace,
        warnings,
        files,
        secret_files,
        unread_secrets,
        written: Redacted::default(),
    })
}

/// What is to be said, and where, if programs on other machines may call, themselves or through a proxy, and nothing was set that
/// decides which.
fn exposure(
    callers: &raw::Listen<'_>,
    overrides: &Overrides,
    listen: &Listen,
    apps: &[App],
) -> Option<(Location, String)> {
    let admits_anyone =
        |app: &&App| app.enabled && app.sources.is_none() && app.keys.is_none() && app.certificates.is_none();
    let app = apps.iter().find(admits_anyone)?;
    let has_authority = callers.tls.as_ref().is_some_and(|tls| app::has_client_ca(tls));
    let has_hosts = listen.hosts.names().next().is_some();
    let open = listen.addresses.iter().find_map(|address| match address {
        Address::Tcp(address) => Some(address).filter(|address| !address.ip().to_canonical().is_loopback()),
        Address::Unix(_) => None,
    });
    let open = open.filter(|_| callers.sources.is_none() && !has_hosts && !has_authority);
    let Some(open) = open else { return exposure_behind_proxies(callers, has_authority, app) };
    let location = match (&callers.address, &overrides.listen) {
        (Some(entry), None) => entry.location.clone(),
        _ => Location::outside("--listen"),
    };
    let words = format!(
        "{open} can be reached from other machines, and every program on a private network acts as the account at Box: set sources of [listen] to the networks of the callers, or give each app a key, certificates or sources; hosts of [listen] keeps web pages from the port"
    );
    Some((location, words))
}

/// The same where a proxy or balancer in front hands requests on, wherever the gateway listens: `sources` and, unless TLS passes
/// through the balancer, `client_ca` judge the proxy, and `hosts` what its clients write. `app`: one that asks callers for nothing.
fn exposure_behind_proxies(
    callers: &raw::Listen<'_>,
    has_authority: bool,
    app: &App,
) -> Option<(Location, String)> {
    let is_set = |entry: &&Entry<'_>| !is_empty_list(entry);
    let balancers = callers.proxy_protocol.as_ref().filter(|_| !has_authority);
    let entry = callers.trusted_proxies.as_ref().into_iter().chain(balancers).find(is_set)?;
    let words = format!(
        "whoever reaches one of these reaches app {:?}, which asks for nothing, and acts as the account at Box: sources of [listen] judge the proxy and not its clients. Give the app a key, certificates or sources",
        app.name
    );
    Some((entry.location.clone(), words))
}

/// Warns of origins whose pages cannot call safely, or not at all. `secure`: TCP listeners use TLS.
fn judge_pages(pages: &[app::Pages], listen: &Listen, secure: bool, notes: &mut Notes<'_>) {
    let sockets = || {
        listen.addresses.iter().filter_map(|address| match address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        })
    };
    let open = sockets().find(|address| !secure && !address.ip().is_loopback());
    // The authorities that are known in advance; other names are checked with each request.
    let mut own: Vec<String> = Vec::new();
    for address in sockets().filter(|address| address.port() != 0) {
        own.push(address.to_string());
        let names = ["localhost"].into_iter().chain(listen.hosts.names());
        own.extend(names.map(|name| format!("{name}:{}", address.port())));
    }
    for page in pages {
        if let Some(address) = open {
            notes.warning(
                &page.location,
                format_args!(
                    "{address} is plain HTTP beyond loopback: browsers block such requests from https pages, and anyone on the network path can read and change what pages send; set [listen] tls"
                ),
            );
        }
        for (location, pattern) in &page.patterns {
            if let Some(authority) = own.iter().find(|authority| pattern.is_own(authority, secure)) {
                notes.problem(
                    location,
                    format_args!(
                        "the gateway itself is at {authority}: its own origin is never allowed, since files from Box are displayed there"
                    ),
                );
            }
        }
    }
}

/// `number` workers; 0: one for each core.
fn workers(number: u32) -> NonZeroUsize {
    usize::try_from(number)
        .ok()
        .and_then(NonZeroUsize::new)
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

fn listens(
    callers: &raw::Listen<'_>,
    operators: &raw::Admin<'_>,
    overrides: &Overrides,
    (apps, app_users): (&[App], &[Location]),
    notes: &mut Notes<'_>,
) -> (Listen, Listen) {
    let mut taken = addresses(callers.address.as_ref(), overrides.listen.as_deref(), &CALLERS, notes);
    let callers_count = taken.len();
    taken.extend(addresses(operators.address.as_ref(), overrides.admin.as_deref(), &OPERATORS, notes));
    for (number, (location, address)) in taken.iter().enumerate() {
        if taken.iter().take(number).any(|(_, earlier)| address.collides_with(earlier)) {
            notes.problem(location, format_args!("{} is listed twice", Shown(address)));
        }
    }
    operators::judge_exposure(taken.get(callers_count..).unwrap_or_default(), operators.key.is_some(), notes);
    let mut taken = taken.into_iter().map(|(_, address)| address);
    let caller_addresses = taken.by_ref().take(callers_count).collect();
    let operator_addresses = taken.collect();

    let mut hosts =
        host_list(&reader::list(callers.hosts.as_ref(), A_HOST_LIST, notes).unwrap_or_default(), notes);
    if !overrides.hosts.is_empty() {
        let flag = |text| Text { location: Location::outside("--host"), text };
        hosts = host_list(&overrides.hosts.iter().map(|text| flag(text.as_str())).collect::<Vec<_>>(), notes);
    }
    for name in apps.iter().flat_map(|app| app.hosts.names()) {
        // The same name was accepted before.
        let _ = hosts.add(name);
    }
    let (mut of_callers, mut of_operators) = (app_users.to_vec(), Vec::new());
    let listen = Listen {
        addresses: caller_addresses,
        hosts,
        sources: sources::of_listener(callers.sources.as_ref(), &mut of_callers, notes),
    };
    let admin = Listen {
        addresses: operator_addresses,
        hosts: host_list(
            &reader::list(operators.hosts.as_ref(), A_HOST_LIST, notes).unwrap_or_default(),
            notes,
        ),
        sources: sources::of_listener(operators.sources.as_ref(), &mut of_operators, notes),
    };
    sources::judge_users(&of_callers, "[listen]", &listen, notes);
    sources::judge_users(&of_operators, "[admin]", &admin, notes);
    (listen, admin)
}

/// An example of a list of names, for messages.
const A_HOST_LIST: &str = "[\"boxgate.internal\"]";

/// The key and flag for one listener's addresses, and their default.
struct Socket {
    key: &'static str,
    flag: &'static str,
    port: u16,
}

const CALLERS: Socket = Socket { key: "listen.address", flag: "--listen", port: 8080 };
const OPERATORS: Socket = Socket { key: "admin.address", flag: "--admin", port: 8081 };

/// The addresses with their locations. Addresses that a flag overrides are checked all the same.
fn addresses(
    entry: Option<&Entry<'_>>,
    flag: Option<&str>,
    socket: &Socket,
    notes: &mut Notes<'_>,
) -> Vec<(Location, Address)> {
    let items = reader::one_or_list(entry, &format!("\"127.0.0.1:{}\"", socket.port), notes);
    if let Some(empty) = entry.filter(|entry| is_empty_list(entry)) {
        notes.problem(&empty.location, format_args!("an empty list; allowed: {}", values::AN_ADDRESS));
    }
    let mut read = |item: Text<'_>| {
        let address = notes.take(&item.location, values::address(item.text))?;
        Some((item.location, address))
    };
    let written: Option<Vec<_>> = items.map(|items| items.into_iter().filter_map(&mut read).collect());
    match (flag, written) {
        (Some(text), _) => Vec::from_iter(read(Text { location: Location::outside(socket.flag), text })),
        (None, Some(addresses)) => addresses,
        (None, None) => {
            let address = Address::Tcp(([127, 0, 0, 1], socket.port).into());
            vec![(Location::unwritten(socket.key), address)]
        }
    }
}

fn is_empty_list(entry: &Entry<'_>) -> bool {
    matches!(entry.value, DeValue::Array(items) if items.is_empty())
}

/// Displays an address as it is written in the file.
struct Shown<'a>(&'a Address);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Tcp(address) => write!(f, "\"{address}\""),
            Address::Unix(unix) => write!(f, "{:?}", format!("unix:{}", unix.path.display())),
        }
    }
}

/// Reads a list of names for `Host`.
fn host_list(items: &[Text<'_>], notes: &mut Notes<'_>) -> HostList {
    let mut hosts = HostList::default();
    for item in items {
        notes.take(&item.location, hosts.add(item.text));
    }
    hosts
}
