//! `boxgate reload`: makes the running gateway read its configuration again, and prints the outcome.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::Failure;
use super::admin_client::{AdminListener, Options, printable};
use super::exit::with_status;
use super::run::DEFAULT_FILE;

/// Longer than a gateway takes to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The exit status if the gateway refuses the configuration.
const REFUSED: u8 = 1;

/// The gateway's answer.
#[derive(Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Answer {
    #[serde(rename = "ok")]
    TakenOver {
        notes: Vec<String>,
    },
    Refused {
        problems: Vec<String>,
    },
}

/// Requests a reload and prints the outcome: notes on standard output, problems on standard error. The exit
/// status is 0 if the configuration was taken over, 1 if it was refused, 2 if no gateway answers.
pub fn run(options: &Options) -> ExitCode {
    with_status(reload(options))
}

async fn reload(options: &Options) -> Result<u8, Failure> {
    let listener = AdminListener::find(options, Path::new(DEFAULT_FILE))?;
    let response = listener.request(Method::POST, "/reload", TIMEOUT).await?;
    let answer = serde_json::from_slice(&response.body);
    match (response.status.as_u16(), answer) {
        (200, Ok(Answer::TakenOver { notes })) => {
            println!("the configuration was taken over");
            for note in notes {
                println!("{}", printable(&note));
            }
            Ok(0)
        }
        (422, Ok(Answer::Refused { problems })) => {
            for problem in &problems {
                eprintln!("{}", printable(problem));
            }
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            };
            eprintln!(
                "boxgate: {count}; nothing has changed: the gateway at {listener} keeps its configuration"
            );
            Ok(REFUSED)
        }
        _ => Err(listener.unexpected("POST /reload", &response)),
    }
}
