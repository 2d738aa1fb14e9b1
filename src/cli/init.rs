//! `boxgate init`: asks for the account at Box, tries it, and writes `proxy.toml` and the secret's file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use super::Failure;
use super::admin_client::printable;
use super::box_account::{BoxAccounts, User};
use super::columns;
use super::exit::with_status;
use super::first_files::{self, FirstFile};
use super::run::DEFAULT_FILE;
use super::shell::posix_word;
use super::terminal::{Echo, Terminal, trimmed};
use crate::config::{self, Config, Overrides};
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{self, Audience};
use crate::oauth::grant::Granted;
use crate::oauth::identity::{Identity, Subject};
use crate::oauth::token_endpoint::Fault;

const SECRET_FILE: &str = "box_client_secret";
const CLIENT_ID: &str = "BOX_CLIENT_ID";
const CLIENT_SECRET: &str = "BOX_CLIENT_SECRET";
const ENTERPRISE_ID: &str = "BOX_ENTERPRISE_ID";
const USER_ID: &str = "BOX_USER_ID";

/// Exit status where Box refuses the account.
const REFUSED: u8 = 1;
/// Exit status where nothing was written for another reason.
const NOT_WRITTEN: u8 = 2;

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The folder for the files; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// What the user has given.
struct Given {
    client_id: Zeroizing<String>,
    client_secret: Zeroizing<String>,
    subject: GivenSubject,
}

/// Whose token is wanted.
enum GivenSubject {
    Known(Subject),
    /// An id of which Box must tell what it is.
    Id(String),
}

/// Asks, tries the account at Box, writes the files. The exit status is 0 where they were written, 1 where Box refuses the
/// account, 2 where nothing was written for another reason.
pub fn run(options: &Options) -> ExitCode {
    with_status(async {
        // A local set, since the tasks of connections to Box run on this thread.
        let local = LocalSet::new();
        tokio::select! {
            // First, since files that were written are not denied by a signal that came meanwhile.
            biased;
            done = local.run_until(init(options)) => done,
            () = interrupted() => Err(failure(NOT_WRITTEN, "interrupted; nothing was written".to_owned())),
        }
        .map_err(|Failure { status, words }| Failure { status, words: fitted(words) })
    })
}

/// On a terminal, as wide as it is.
fn fitted(words: String) -> String {
    let Some(columns) = columns::of_stderr() else { return words };
    // The first line begins with the program's name.
    let width = columns.saturating_sub("boxgate: ".len());
    words.lines().map(|line| columns::wrapped(line, width)).collect::<Vec<_>>().join("\n")
}

async fn init(options: &Options) -> Result<u8, Failure> {
    let Options { dir, force } = options;
    // Before any question, so that nobody answers in vain.
    first_files::refuse_early(dir, &[SECRET_FILE, DEFAULT_FILE], *force)?;
    let given = given(Terminal::open().as_ref()).await?;
    let (config, identity) = trial(&given)?;
    let (identity, user) = tried(&config, identity, &given.subject).await?;
    let secret = Zeroizing::new(format!("{}\n", identity.client_secret.expose()));
    let files = [
        FirstFile { name: SECRET_FILE, text: &secret, is_secret: true },
        FirstFile { name: DEFAULT_FILE, text: &configuration(&identity), is_secret: false },
    ];
    first_files::write(dir, &files, *force)?;
    report(dir, &user);
    Ok(0)
}

/// Resolves at Ctrl-C and SIGTERM, which would otherwise leave a terminal that shows nothing of what is typed.
async fn interrupted() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => eprintln!(),
        _ = terminate.recv() => {}
    }
}

/// Takes what the environment has, and asks for the rest.
async fn given(terminal: Option<&Terminal>) -> Result<Given, Failure> {
    let client_id = variable(CLIENT_ID, config::credential)?;
    let client_secret = variable(CLIENT_SECRET, config::credential)?;
    let subject = match (variable(ENTERPRISE_ID, config::box_id)?, variable(USER_ID, config::box_id)?) {
        (Some(_), Some(_)) => {
            return Err(Failure::from(format!(
                "{ENTERPRISE_ID} and {USER_ID} are both set; set exactly one of them"
            )));
        }
        (Some(id), None) => Some(Subject::Enterprise(id.to_string())),
        (None, Some(id)) => Some(Subject::User(id.to_string())),
        (None, None) => None,
    };
    let subject = subject.map(GivenSubject::Known);
    match (client_id, client_secret, subject, terminal) {
        (Some(client_id), Some(client_secret), Some(subject), _) => {
            Ok(Given { client_id, client_secret, subject })
        }
        (client_id, client_secret, subject, Some(terminal)) => {
            asked(client_id, client_secret, subject, terminal).await
        }
        (client_id, client_secret, subject, None) => {
            let either = format!("one of {ENTERPRISE_ID} and {USER_ID}");
            let missing: Vec<&str> = [
                client_id.is_none().then_some(CLIENT_ID),
                client_secret.is_none().then_some(CLIENT_SECRET),
                subject.is_none().then_some(either.as_str()),
            ]
            .into_iter()
            .flatten()
            .collect();
            Err(Failure::from(format!(
                "there is no terminal on which to ask, and these environment variables are not set: {}",
                missing.join(", ")
            )))
        }
    }
}

/// Asks for what the environment has not.
async fn asked(
    client_id: Option<Zeroizing<String>>,
    client_secret: Option<Zeroizing<String>>,
    subject: Option<GivenSubject>,
    terminal: &Terminal,
) -> Result<Given, Failure> {
    terminal.say("Box's Developer Console shows these on the app's page: id and secret under");
    terminal.say("Configuration, OAuth 2.0 Credentials; the enterprise ID under General Settings.");
    let from_variable = |question: &str, name: &str| terminal.say(&format!("{question}(from {name})"));
    let question = "  Client ID: ";
    let client_id = match client_id {
        Some(given) => {
            from_variable(question, CLIENT_ID);
            given
        }
        None => terminal.ask(question, Echo::Shown, config::credential).await?,
    };
    let question = "  Client secret (not shown): ";
    let client_secret = match client_secret {
        Some(given) => {
            from_variable(question, CLIENT_SECRET);
            given
        }
        None => terminal.ask(question, Echo::Hidden, config::credential).await?,
    };
    let question = "  Enterprise or user ID: ";
    let subject = match subject {
        Some(given) => {
            let name = match given {
                GivenSubject::Known(Subject::User(_)) => USER_ID,
                _ => ENTERPRISE_ID,
            };
            from_variable(question, name);
            given
        }
        None => {
            let id = terminal.ask(question, Echo::Shown, config::box_id).await?;
            GivenSubject::Id(id.to_string())
        }
    };
    Ok(Given { client_id, client_secret, subject })
}

/// A variable of the environment, without white space and byte order marks around it; `None` where it is not set or empty.
fn variable(
    name: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    let text = text.into_string().map_err(|text| {
        drop(Zeroizing::new(text.into_encoded_bytes()));
        Failure::from(format!("{name}: the value is not UTF-8 text"))
    })?;
    let text = Zeroizing::new(text);
    let text = trimmed(&text);
    if text.is_empty() {
        return Ok(None);
    }
    check(text).map_err(|what| Failure::from(format!("{name}: {what}")))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// The configuration with which the account is tried, and its identity: all defaults, as in the file that is written.
fn trial(given: &Given) -> Result<(Config, Identity), Failure> {
    let id = match &given.subject {
        GivenSubject::Known(Subject::User(id)) => (USER_ID, id),
        GivenSubject::Known(Subject::Enterprise(id)) | GivenSubject::Id(id) => (ENTERPRISE_ID, id),
    };
    let variable = |name: &str| match name {
        CLIENT_ID => Some(given.client_id.to_string()),
        CLIENT_SECRET => Some(given.client_secret.to_string()),
        ENTERPRISE_ID | USER_ID => (name == id.0).then(|| id.1.clone()),
        name => std::env::var(name).ok(),
    };
    let config = config::from_environment(&Overrides::default(), &variable)
        .map_err(|problems| Failure::from(problems.to_string()))?;
    let identity = config.identities.first().cloned();
    identity
        .map(|identity| (config, identity))
        .ok_or_else(|| Failure::from("there is no account to try".to_owned()))
}

/// Gets a token and asks whose it is. The identity is the one for which Box gave the token.
async fn tried(
    config: &Config,
    identity: Identity,
    subject: &GivenSubject,
) -> Result<(Identity, User), Failure> {
    let accounts = BoxAccounts::new(config, &OwnListeners::new(std::iter::empty())).map_err(Failure::from)?;
    let (identity, granted) = token(&accounts, identity, subject).await?;
    match &identity.subject {
        Subject::Enterprise(id) => println!("token obtained for the service account of enterprise {id}"),
        Subject::User(id) => println!("token obtained for user {id}"),
    }
    match accounts.user_of(&identity, granted).await {
        Ok(user) => Ok((identity, user)),
        Err(not_well) => {
            let status = if not_well.refused { REFUSED } else { NOT_WRITTEN };
            Err(failure(status, format!("{}; nothing was written", not_well.words)))
        }
    }
}

async fn token(
    accounts: &BoxAccounts,
    identity: Identity,
    subject: &GivenSubject,
) -> Result<(Identity, Granted), Failure> {
    let fault = match accounts.token(&identity).await {
        Ok(granted) => return Ok((identity, granted)),
        Err(fault) => fault,
    };
    let mut words = accounts.explain(&fault, &identity);
    let mut last = fault;
    // Box says the same of an id that is no enterprise's as of an app that is not authorized for it.
    if let (GivenSubject::Id(id), Fault::Refused(refused)) = (subject, &last)
        && refused.error == "invalid_grant"
    {
        let user = Identity { subject: Subject::User(id.clone()), ..identity };
        match accounts.token(&user).await {
            Ok(granted) => return Ok((user, granted)),
            Err(fault) => {
                words = format!(
                    "as the id of an enterprise: {words}\nas the id of a user: {}",
                    accounts.explain(&fault, &user)
                );
                last = fault;
            }
        }
    }
    Err(match last {
        Fault::Refused(_) => failure(REFUSED, format!("{words}\nnothing was written")),
        Fault::NotNarrowed(_) | Fault::Loop(_) => {
            failure(NOT_WRITTEN, format!("{words}\nnothing was written"))
        }
        Fault::Transient { .. } => failure(
            NOT_WRITTEN,
            format!(
                "{words}\ninit goes to Box as HTTPS_PROXY says, and trusts the system's certificate authorities, or those in the file that SSL_CERT_FILE names\nnothing was written"
            ),
        ),
    })
}

/// The words may repeat what a program on the way to Box has sent.
fn failure(status: u8, words: String) -> Failure {
    let words = secret_filter::blanked_text(printable(&words), Audience::Operators);
    Failure { status, words }
}

/// The text of `proxy.toml`.
fn configuration(identity: &Identity) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let client_id = quoted(&identity.client_id);
    let subject = match &identity.subject {
        Subject::Enterprise(id) => {
            format!("enterprise_id = {}    # acts as the service account of this enterprise", quoted(id))
        }
        Subject::User(id) => format!("user_id = {}    # acts as this user", quoted(id)),
    };
    format!(
        "# Written by `boxgate init`. `boxgate check` says whether all is well.

[listen]
# Callers need no credential: whoever can connect here acts as the account at Box.
address = \"127.0.0.1:8080\"

[admin]
address = \"127.0.0.1:8081\"    # /healthz, /readyz, /metrics

[identity.service]
client_id = {client_id}
client_secret = {{ file = \"{SECRET_FILE}\" }}    # a file with the secret and nothing else
{subject}
"
    )
}

fn report(dir: &Path, user: &User) {
    let User { login, id } = user;
    let say = |line: &str| println!("{}", secret_filter::blanked_text(printable(line), Audience::Operators));
    let (file, secret) = (first_files::path(dir, DEFAULT_FILE), first_files::path(dir, SECRET_FILE));
    say(&format!("you are {login} (id {id})"));
    say(&format!("written: {}", file.display()));
    say(&format!("written: {} (only you can read it)", secret.display()));
    let option = match dir == Path::new(".") {
        true => String::new(),
        false => format!(" --config {}", posix_word(&file.to_string_lossy())),
    };
    say(&format!("next: boxgate check{option}"));
    say(&format!("then: boxgate run{option}"));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::net::secret::Secret;

    #[test]
    fn the_file_means_what_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join(SECRET_FILE);
        std::fs::write(&secret, "a \"secret\" \\ of mine\n").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        for subject in [Subject::Enterprise("123".to_owned()), Subject::User("456".to_owned())] {
            let identity = Identity {
                downscope: None,
                name: "service".to_owned(),
                client_id: "quote \" backslash \\ 'ä' ''' \"\"\"".to_owned(),
                client_secret: Secret::new("a \"secret\" \\ of mine".to_owned()),
                subject,
            };
            let text = configuration(&identity);
            let name = folder.path().join("proxy.toml");
            let config = config::from_text(&text, &name, &Overrides::default(), &|_| None).unwrap();
            assert_eq!(config.warnings, Vec::<String>::new());
            let read = config.identities.first().unwrap();
            assert_eq!((&read.client_id, &read.subject), (&identity.client_id, &identity.subject));
            assert!(read.client_secret == identity.client_secret);
            assert!(!text.contains("of mine"));
        }
    }
}
