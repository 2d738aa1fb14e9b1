//! `boxgate check`: gets a token for every identity, asks Box which user that is, and explains what is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::task::LocalSet;

use super::box_account::{BoxAccounts, User};
use super::exit::{bad_configuration, block_on, logged};
use super::run::source;
use crate::config::{Config, Overrides};
use crate::net::address::Address;
use crate::net::egress_proxy::proxy_matcher;
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{self, Audience};

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The configuration file [default: proxy.toml, or the environment where there is none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check only the configuration; connect to nothing
    #[arg(long)]
    offline: bool,
}

/// Checks a configuration and, unless offline, its identities.
pub fn run(options: &Options) -> ExitCode {
    let config = match source(options.config.as_deref(), Overrides::default()).read() {
        Ok((config, _)) => config,
        Err(problems) => return bad_configuration(&problems),
    };
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    println!("the configuration is well formed");
    if options.offline {
        return ExitCode::SUCCESS;
    }
    logged(block_on(async {
        // A local set, since the tasks of connections to Box run on this thread.
        let well = LocalSet::new().run_until(online(&config)).await;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }))
}

/// Checks every identity and prints a line for each. Returns whether all are well.
async fn online(config: &Config) -> bool {
    let mut say = |line: String| println!("{}", secret_filter::blanked_text(line, Audience::Operators));
    let listening = config.listen.addresses.iter().chain(&config.admin.addresses);
    let own = OwnListeners::new(listening.filter_map(|address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }));
    let accounts = match BoxAccounts::new(config, &own) {
        Ok(accounts) => accounts,
        Err(cause) => {
            say(cause);
            return false;
        }
    };
    let proxies = proxy_matcher(&config.upstream.proxy);
    let mut well = loops(config, &own, &proxies, &mut say).await;
    for identity in &config.identities {
        let result = match accounts.token(identity).await {
            Ok(granted) => accounts.user_of(identity, granted).await.map_err(|not_well| not_well.words),
            Err(fault) => Err(accounts.explain(&fault, identity)),
        };
        well &= result.is_ok();
        let name = &identity.name;
        say(match result {
            Ok(User { login, id }) => format!(
                "identity {name}: ok: {login} (id {id}). It sees only its own content and what is shared with that login; invite it to folders as a collaborator"
            ),
            Err(words) => format!("identity {name}: failed: {words}"),
        });
    }
    well
}

/// Checks that none of Box's hosts leads back to this gateway.
async fn loops(config: &Config, own: &OwnListeners, proxies: &Matcher, say: &mut impl FnMut(String)) -> bool {
    let hosts = &config.hosts;
    let mut well = true;
    for (key, host) in [("api", &hosts.api), ("upload", &hosts.upload), ("download", &hosts.download)] {
        let Ok(url) = format!("https://{host}/").parse() else { continue };
        if let Some(cause) = own.on_the_way_to(&url, proxies).await {
            well = false;
            say(format!("[box] {key} ({host}): failed: the gateway would call itself: {cause}"));
        }
    }
    well
}
