//! `boxgate health`: is a running gateway alive, or ready? For the health checks of containers and service managers.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;

use super::Failure;
use super::admin_client::{self, AdminListener, printable};
use super::exit::with_status;
use super::run::DEFAULT_FILE;

/// For all of it. Docker gives a health check 30 s by default, Kubernetes an exec probe 1 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit status of all that is not well. Docker reserves 2.
const UNHEALTHY: u8 = 1;

/// The command line options.
#[derive(Debug, Clone, Args)]
// The group would have the name of the flattened one.
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    gateway: admin_client::Options,
    /// Ask whether it is ready: whether it accepts requests and every identity has a valid token
    #[arg(long)]
    ready: bool,
}

/// Asks the gateway and prints one line: on standard output with exit status 0 where all is well, else on standard error
/// with 1.
pub fn run(options: &Options) -> ExitCode {
    with_status(async {
        let words = health(options).await.map_err(|words| Failure { status: UNHEALTHY, words })?;
        println!("{words}");
        Ok(0)
    })
}

async fn health(options: &Options) -> Result<String, String> {
    let listener =
        AdminListener::find(&options.gateway, Path::new(DEFAULT_FILE)).map_err(|why| line(&why))?;
    let path = if options.ready { "/readyz" } else { "/healthz" };
    let answer = listener
        .request_silently(Method::GET, path, TIMEOUT)
        .await
        .map_err(|Failure { words, .. }| line(&words))?;
    let text = String::from_utf8_lossy(&answer.body);
    match (answer.status.as_u16(), text.lines().next(), options.ready) {
        (200, Some("ok"), false) => Ok("alive".to_owned()),
        (200, Some("ready"), true) => Ok(line(&text)),
        // The gateway's errors are JSON.
        (503, Some(reason), _) if !reason.starts_with(['{', '<']) => {
            let what = if options.ready { "ready" } else { "alive" };
            Err(format!("not {what}: {}", line(&text)))
        }
        _ => Err(line(&listener.unexpected(&format!("GET {path}"), &answer).words)),
    }
}

/// Lines as one, which a health check's log has room for.
fn line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    printable(&lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn several_lines_become_one() {
        assert_eq!(line("draining\nidentity a: no token\n"), "draining; identity a: no token");
        assert_eq!(line("ready\n"), "ready");
        assert_eq!(line("a\u{1b}[2J\r\n\nb"), "a\\u{1b}[2J; b");
        assert_eq!(line(""), "");
    }
}
