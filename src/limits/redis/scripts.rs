//! What runs on the server, in one step: nothing of another replica can come between reading and writing.

use std::fmt::Write;
use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Pauses and limits of a request.
pub(super) static ASK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ask.lua")));
/// A call in windows is written later than it was reserved, or not at all.
pub(super) static RESTAMP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("restamp.lua")));
/// A call on budgets.
pub(super) static SPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spend.lua")));
/// A pause begins.
pub(super) static PAUSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("pause.lua")));
/// A replica is there, or leaves.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// A script and the name that Redis knows it by.
pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

/// What a script is called with.
#[derive(Default)]
pub(super) struct Call {
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<String>,
}

impl Call {
    pub(super) fn arg(&mut self, arg: impl ToString) {
        self.args.push(arg.to_string());
    }
}

impl Script {
    fn new(text: &'static str) -> Self {
        let mut sha1 = String::with_capacity(40);
        for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref() {
            let _ = write!(sha1, "{byte:02x}");
        }
        Self { text, sha1 }
    }

    /// Runs it: one round trip, and a second where the server has lost it (restarted, flushed).
    pub(super) async fn run(
        &self,
        connection: &MultiplexedConnection,
        call: &Call,
    ) -> Result<Vec<i64>, RedisError> {
        let mut connection = connection.clone();
        match command("EVALSHA", &self.sha1, call).query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.text, call).query_async(&mut connection).await
            }
            done => done,
        }
    }
}

fn command(how: &str, script: &str, call: &Call) -> Cmd {
    let mut command = redis::cmd(how);
    command.arg(script).arg(call.keys.len());
    for text in call.keys.iter().chain(&call.args) {
        command.arg(text);
    }
    command
}
