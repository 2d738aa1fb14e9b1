//! How far stopping has come.

use tokio::sync::watch;

/// How far stopping has come; whoever runs a [`super::Bound`] moves it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not yet.
    No,
    /// Finish what is in flight, within `drain_delay` and `drain_timeout`.
    Drain,
    /// At once.
    Now,
}

/// Returns once stopping has come so far, or nobody can say any more.
pub(super) async fn wait_for(stop: &mut watch::Receiver<Stop>, far: Stop) {
    let _ = stop.wait_for(|stop| *stop >= far).await;
}
