//! The stages of stopping.

use tokio::sync::watch;

/// The stage of stopping; the owner of a [`super::Bound`] advances it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Serve.
    No,
    /// Finish what is in flight, within `drain_delay` and `drain_timeout`.
    Drain,
    /// Stop at once.
    Now,
}

/// Returns once this stage is reached, or the sender is gone.
pub(super) async fn wait_for(stop: &mut watch::Receiver<Stop>, far: Stop) {
    let _ = stop.wait_for(|stop| *stop >= far).await;
}
