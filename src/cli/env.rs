//! `boxgate env`: prints the environment with which programs that have Box's hosts built in go through the gateway.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use super::environment::{JavaProxy, variables};
use super::exit::with_status;
use super::gateway;
use super::options::{GatewayUrl, KEY_VARIABLE, Login, Options};
use super::shell::Shell;
use super::trust_files::{Folder, TrustFiles};

/// The output.
struct Printed {
    /// For a shell, on standard output. Contains the app's key, if one was given.
    assignments: String,
    /// For the user, on standard error.
    notes: String,
}

/// Prints the environment for a shell to read.
pub fn run(options: &Options, shell: Shell) -> ExitCode {
    with_status(async {
        let printed = prepare(options, shell).await?;
        let mut out = io::stdout();
        let written = out.write_all(printed.assignments.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| error.to_string())?;
        eprint!("{}", printed.notes);
        Ok(0)
    })
}

/// Checks the gateway, writes its CA to files in the user's cache folder, and returns the variables to set.
///
/// # Errors
/// The options are contradictory, the gateway cannot be used or trusted, or a file cannot be written.
async fn prepare(options: &Options, shell: Shell) -> Result<Printed, Failure> {
    let url = GatewayUrl::parse(&options.gateway)?;
    let login = Login::of(options, std::env::var(KEY_VARIABLE).ok())?;
    let now = jiff::Timestamp::now();
    let ca = gateway::find(&url, login.as_ref(), options.ca_fingerprint.as_deref(), now).await?;
    let folder = match &ca {
        Some(_) => {
            let path = cache_folder()?;
            let made = Folder::lasting(&path);
            Some(made.map_err(|error| format!("cannot create {}: {error}", path.display()))?)
        }
        None => None,
    };
    let files = folder
        .as_ref()
        .zip(ca.as_ref())
        .map(|(folder, ca)| TrustFiles::new(folder, &ca.fingerprint(), ca.roots().cloned().collect()));
    // Java cannot use TLS to a proxy, and has no option for a user name and password: it would call as another app.
    let is_for_java = !url.is_https && login.is_none();
    let java = is_for_java.then(|| JavaProxy {
        host: url.authority.host().trim_matches(['[', ']']),
        port: url.authority.port_u16().unwrap_or(80),
    });
    let caller = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let set = variables(&caller, &url.proxy_url(login.as_ref()), java, files.as_ref())
        .map_err(|error| format!("cannot write a file with the gateway's CA: {error}"))?;
    let assignments = set.iter().map(|(name, value)| shell.assignment(name, value)).collect();
    let mut notes = format!(
        "boxgate: with {} programs reach Box through the gateway at {url}\n\
         boxgate: the gateway refuses all other hosts; for programs that need some, use boxgate exec -- COMMAND, or list them in [forward_proxy] tunnel\n",
        shell.usage()
    );
    if login.as_ref().is_some_and(|login| !login.key.expose().is_empty()) {
        notes.push_str("boxgate: the app's key is in the proxy URL; keep the output secret\n");
    }
    if !is_for_java {
        notes.push_str(
            "boxgate: Java cannot use this proxy (TLS or an app's name); use boxgate exec -- java …\n",
        );
    }
    Ok(Printed { assignments, notes })
}

/// `$XDG_CACHE_HOME/boxgate`, else `~/.cache/boxgate`.
fn cache_folder() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("boxgate"))
        .ok_or_else(|| "no folder for the gateway's CA is known; set XDG_CACHE_HOME or HOME".to_owned())
}
