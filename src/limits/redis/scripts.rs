//! The Lua scripts. Redis runs each atomically, so that no other replica's operation comes between its reads and
//! writes.

use std::fmt::Write;
use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Checks the pauses and limits of a request, and charges the limits.
pub(super) static ASK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ask.lua")));
/// Renews the stamp of a call in windows, or removes the call.
pub(super) static RESTAMP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("restamp.lua")));
/// Charges a call to budgets.
pub(super) static SPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spend.lua")));
/// Begins a pause.
pub(super) static PAUSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("pause.lua")));
/// Reports that a replica is alive or leaves, and counts the replicas.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// Reads and writes nothing: whether scripts may be run.
pub(super) static NOTHING: LazyLock<Script> = LazyLock::new(|| Script::new("return {1}"));

/// A script and its SHA-1, by which Redis knows it.
pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

/// The keys and arguments of a script.
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

    /// Runs the script: one round trip, and a second one if the server has lost the script (restart, flush).
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
