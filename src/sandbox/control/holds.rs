//! Requests that wait until a test lets them go.

use std::sync::Mutex;

use tokio::sync::watch;

use crate::sandbox::http::lock::lock;

/// Responses wait until this is dropped.
#[derive(Debug)]
#[must_use = "answers are released when this is dropped"]
pub struct Hold {
    /// Dropping it is the signal.
    _closes_on_drop: watch::Sender<()>,
}

/// The waiting side of a [`Hold`].
struct Gate {
    prefix: String,
    held: watch::Receiver<()>,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.held.has_changed().is_err()
    }
}

/// The gates of one kind of request, in the order in which they were closed.
#[derive(Default)]
pub(crate) struct Gates(Mutex<Vec<Gate>>);

impl Gates {
    /// Holds targets that begin with this prefix.
    pub(crate) fn close(&self, prefix: &str) -> Hold {
        let (sender, held) = watch::channel(());
        lock(&self.0).push(Gate { prefix: prefix.to_owned(), held });
        Hold { _closes_on_drop: sender }
    }

    /// Resolves when no gate holds this target.
    pub(crate) async fn wait(&self, target: &str) {
        loop {
            let next = {
                let mut gates = lock(&self.0);
                gates.retain(|gate| !gate.is_open());
                gates.iter().find(|gate| target.starts_with(&gate.prefix)).map(|gate| gate.held.clone())
            };
            let Some(mut held) = next else { return };
            while held.changed().await.is_ok() {}
        }
    }
}
