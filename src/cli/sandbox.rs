//! `boxgate sandbox`: an in-process Box with the gateway in front, without a Box account or a configuration file.

use std::fmt::Write;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;

use clap::Args;

use super::exit::{block_on, logged};
use super::hardening::harden;
use super::run::{Service, serve};
use super::shell;
use super::temporary_folder::TemporaryFolder;
use crate::config::{Overrides, Source};
use crate::http::origin::Pattern;
use crate::sandbox::page::{self, PageListener};
use crate::sandbox::{Failure, Names, Options as SandboxOptions, Sandbox};
use crate::server::Watch;
use crate::server::signals::{self, Signals};
use crate::telemetry::access_log::AccessLog;

/// The default address for callers.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The address for callers
    #[arg(long, value_name = "ADDR", env = "BOXGATE_LISTEN", default_value = DEFAULT_ADDRESS)]
    listen: String,
    /// The address for operators
    #[arg(long, value_name = "ADDR", env = "BOXGATE_ADMIN", default_value = "127.0.0.1:8081")]
    admin: String,
    /// Where the web page that demonstrates the sandbox is served
    #[arg(long, value_name = "ADDR", env = "BOXGATE_PAGE", default_value_t = page::ADDRESS)]
    page: SocketAddr,
    /// The origin of a web page that may call, besides the sandbox's own; may be repeated
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = origin)]
    origins: Vec<String>,
    /// Make this Box misbehave; may be repeated: 429:5% or 503:1% (that share of calls gets this status), 401:once (one
    /// call does), token (no client gets a token), revoked (an admin has revoked the app), exchange (no token is
    /// downscoped), scope (calls that change something lack a scope), slow:2s (each answer comes so much later)
    #[arg(long = "fail", value_name = "WHAT")]
    failures: Vec<Failure>,
    /// Print a configuration for this Box, and run the Box alone, without a gateway and a page
    ///
    /// While it runs, `boxgate check` and `boxgate run` accept the configuration: write it into a file, and name that with
    /// --config. Its gateway listens where --listen and --admin say.
    #[arg(long)]
    print_config: bool,
}

/// An entry of an app's `origins`.
fn origin(text: &str) -> Result<String, String> {
    Pattern::parse(text).map(|_| text.to_owned())
}

/// Serves until a signal arrives.
pub fn run(options: Options) -> ExitCode {
    let Options { listen, admin, page, origins, failures, print_config } = options;
    let hardened = harden();
    // With Box's own host names, as programs have them built in; only the sandbox's proxy leads to this Box.
    let options = SandboxOptions { names: Names::Box, failures, ..SandboxOptions::default() };
    if print_config {
        return logged(block_on(box_alone(options, &listen, &admin)));
    }
    let served = block_on(async {
        let sandbox = Sandbox::start(options).await?;
        let page = PageListener::bind(page).await?.with_origins(origins);
        // The folder holds the CA that callers trust, so it must be private.
        let folder = TemporaryFolder::new("sandbox")?;
        std::fs::write(folder.path().join("ca.pem"), sandbox.ca_pem())?;
        let overrides = Overrides { listen: Some(listen), admin: Some(admin), ..Overrides::default() };
        let secret = sandbox.client_secret().to_owned();
        let variables = Box::new(move |name: &str| (name == "SANDBOX_SECRET").then(|| secret.clone()));
        let (text, name) = (sandbox_file(&sandbox, &page), folder.path().join("sandbox.toml"));
        let source = Source::text(text, name, overrides, variables);
        let watch = Watch { configuration: false, named: true };
        let ready = |addresses: &[String], out: &AccessLog| introduce(addresses, page, out);
        serve(source, watch, Service::default(), hardened, ready).await
    });
    logged(served)
}

/// Serves Box until a signal, and prints the configuration that leads to it.
async fn box_alone(options: SandboxOptions, listen: &str, admin: &str) -> io::Result<ExitCode> {
    let sandbox = Sandbox::start(options).await?;
    let folder = TemporaryFolder::new("sandbox")?;
    let (ca, secret) = (folder.path().join("ca.pem"), folder.path().join("secret"));
    std::fs::write(&ca, sandbox.ca_pem())?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret)?;
    file.write_all(sandbox.client_secret().as_bytes())?;
    let Signals { mut stop, .. } = signals::listen()?;

    let quoted = |text: &str| toml::Value::from(text).to_string();
    let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
    let text = format!(
        "# Printed by `boxgate sandbox --print-config`, and leads to that sandbox. While it runs, `boxgate check` and\n\
         # `boxgate run` accept this configuration.\n\n\
         [listen]\naddress = {}\n\n[admin]\naddress = {}\n\n[box]\nca_file = {}\n\n\
         [identity.service]\nclient_id     = {}\nclient_secret = {{ file = {} }}\nenterprise_id = {}\n\n\
         [upstream]\nproxy = {}\n\n[state]\ndir = {}\n\n[forward_proxy]\n",
        quoted(listen),
        quoted(admin),
        path(&ca),
        quoted(sandbox.client_id()),
        path(&secret),
        quoted(sandbox.enterprise_id()),
        quoted(&sandbox.proxy_url()),
        path(&folder.path().join("state")),
    );
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    eprintln!(
        "A sandbox of Box without a gateway. Its configuration was printed; while this runs, with it in FILE:\n\n  \
         boxgate check --config FILE\n  boxgate run --config FILE\n"
    );
    // The first signal ends it, since nobody's requests are lost; where no further can come, it ends as well.
    let _ = stop.changed().await;
    Ok(ExitCode::SUCCESS)
}

fn sandbox_file(sandbox: &Sandbox, page: &PageListener) -> String {
    format!(
        r#"[box]
ca_file = "ca.pem"

[identity.service]
client_id     = "{}"
client_secret = {{ env = "SANDBOX_SECRET" }}
enterprise_id = "{}"

[upstream]
proxy = "{}"

[state]
dir = "state"

[forward_proxy]

{}"#,
        sandbox.client_id(),
        sandbox.enterprise_id(),
        sandbox.proxy_url(),
        page.app(),
    )
}

/// Prints how to try the sandbox, on standard output before any access line, and starts to serve the web page unless
/// callers connect by a Unix socket, which browsers cannot reach.
fn introduce(addresses: &[String], page: PageListener, out: &AccessLog) {
    let address = addresses.first().map(String::as_str).unwrap_or_default();
    let gateway: Option<SocketAddr> = address.parse().ok();
    let url = gateway.map(page::base_url).unwrap_or_default();
    // As it was called, since it may not be in PATH.
    let program = shell::posix_word(&std::env::args().next().unwrap_or_else(|| "boxgate".to_owned()));
    let mut text = match address.strip_prefix("unix:") {
        Some(path) => format!(
            "A sandbox of Box with boxgate in front. No credential is needed; try:\n\n  curl --unix-socket {path} http://localhost/2.0/users/me\n\n"
        ),
        None => format!(
            "A sandbox of Box with boxgate in front, at {url}\nNo credential is needed; try:\n\n  curl {url}/2.0/users/me\n\n\
             or any program that has Box's hosts built in:\n\n  {program} exec{} -- curl https://api.box.com/2.0/users/me\n\n",
            if address == DEFAULT_ADDRESS { String::new() } else { format!(" --gateway {url}") },
        ),
    };
    if let Some(gateway) = gateway {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "or open {}/ in a browser.\n", page.url());
        if !page.origins().is_empty() {
            let _ = writeln!(text, "Pages of {} may call, too.\n", page.origins().join(", "));
        }
        page.serve(gateway);
    }
    out.write(text);
}
