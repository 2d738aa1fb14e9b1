//! What the service manager is told while the process serves and drains: one line of what it does, that the workers
//! answer, and that the drain needs more time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

use super::workers::WorkerThread;
use crate::admin::Overview;
use crate::admin::status_line::status_line;
use crate::net::service_manager::{Notice, ServiceManager};

/// How often the line is compared with the last one that was sent.
const LOOK: Duration = Duration::from_secs(1);
/// How often the line is sent at most where only the number of requests differs, which it always does under load.
const FIGURES: u32 = 10;

/// How often a drain asks for more time …
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// … and for how much: a process that is stuck is ended by then.
const EXTEND_BY: Duration = Duration::from_secs(30);

/// Starts to tell what changes, and that the workers answer. The tasks end with the set.
pub(super) fn begin(
    manager: &ServiceManager,
    overview: &Arc<Overview>,
    workers: &Arc<Vec<WorkerThread>>,
    tasks: &mut JoinSet<()>,
) {
    if !manager.listens() {
        return;
    }
    tasks.spawn(tell_status(manager.clone(), Arc::downgrade(overview)));
    if let Some(watchdog) = manager.watchdog() {
        let workers = Arc::downgrade(workers);
        let ask = move || {
            let workers = Weak::upgrade(&workers);
            workers.iter().flat_map(|workers| workers.iter()).map(WorkerThread::ping).collect()
        };
        tasks.spawn(tell_alive(manager.clone(), watchdog / 2, ask));
    }
}

/// Tells that requests are accepted. A token is not needed for it: without Box's answer the process would never be ready, be
/// ended and started again by the service manager, and with it what waits for it; requests wait for the first token or
/// are refused with the reason. Whether callers should be sent here is what `/readyz` answers.
pub(super) async fn tell_ready(manager: &ServiceManager, overview: &Overview) {
    if manager.listens() {
        manager.tell(&[Notice::Ready, Notice::Status(&status_line(overview))]).await;
    }
}

/// Tells that a reload begins; [`tell_ready`] ends it.
pub(super) async fn tell_reloading(manager: &ServiceManager, why: &str) {
    manager
        .tell(&[Notice::Reloading, Notice::Status(&format!("reads the configuration again: {why}"))])
        .await;
}

/// Tells that the drain begins, then asks for more time again and again. The task ends with the set.
pub(super) async fn tell_stopping(manager: &ServiceManager, overview: &Overview, tasks: &mut JoinSet<()>) {
    if !manager.listens() {
        return;
    }
    let line = status_line(overview);
    manager.tell(&[Notice::Stopping, Notice::Status(&line), Notice::ExtendTimeout(EXTEND_BY)]).await;
    let manager = manager.clone();
    tasks.spawn(async move {
        loop {
            sleep(EXTEND_EVERY).await;
            manager.tell(&[Notice::ExtendTimeout(EXTEND_BY)]).await;
        }
    });
}

/// Tells that the drain is over; what is left ends within time limits, and asks no worker any more.
pub(super) async fn tell_drained(manager: &ServiceManager) {
    let mut notices = vec![Notice::Status("drained; ends"), Notice::ExtendTimeout(EXTEND_BY)];
    notices.extend(manager.watchdog().map(|_| Notice::Watchdog));
    manager.tell(&notices).await;
}

/// Sends the line whenever it differs from the last one that was sent, also by [`tell_ready`] at the end of a reload. While
/// a reload is under way its own line stays.
async fn tell_status(manager: ServiceManager, overview: Weak<Overview>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        ticks.tick().await;
        looks = looks.saturating_add(1);
        let Some(line) = overview.upgrade().map(|overview| status_line(&overview)) else { return };
        let Some(last) = manager.last_status() else { continue };
        let has_other_words = without_figures(&line).ne(without_figures(&last));
        if has_other_words || (line != last && looks >= FIGURES) {
            manager.tell(&[Notice::Status(&line)]).await;
            looks = 0;
        }
    }
}

fn without_figures(line: &str) -> impl Iterator<Item = char> + '_ {
    line.chars().filter(|c| !c.is_ascii_digit())
}

/// Tells that the process works: each time that all workers have answered. Where one does not, nothing is told until it
/// does, and the service manager ends the process.
async fn tell_alive(manager: ServiceManager, every: Duration, ask: impl Fn() -> Vec<oneshot::Receiver<()>>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let mut is_late = false;
        for mut answer in ask() {
            // A worker that has ended counts as one that has answered: it ends when the process stops, or by a panic, which ends
            // the process in a release build (panic = "abort").
            tokio::select! {
                _ = &mut answer => continue,
                () = tokio::time::sleep_until(began + every), if !is_late => {}
            }
            is_late = true;
            warn!(
                "a worker has not answered for {every:?}; the service manager ends this process unless it does soon"
            );
            let _ = answer.await;
        }
        manager.tell(&[Notice::Watchdog]).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A service manager, and what it hears.
    fn manager() -> (ServiceManager, tokio::net::UnixDatagram) {
        let path = std::env::temp_dir().join(format!("boxgate-watch-{:x}", fastrand::u64(..)));
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let variable = |name: &str| (name == "NOTIFY_SOCKET").then(|| path.display().to_string());
        let manager = ServiceManager::of(variable, 1).unwrap();
        (manager, tokio::net::UnixDatagram::from_std(heard).unwrap())
    }

    async fn heard(from: &tokio::net::UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let received = tokio::time::timeout(Duration::from_secs(30), from.recv(&mut bytes)).await;
        let count = received.expect("a message comes").unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_watchdog_hears_nothing_until_every_worker_has_answered() {
        let (manager, notices) = manager();
        let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
        let ask = move || {
            let (answers, replies): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
            asked.send(answers).unwrap();
            replies
        };
        let telling = tokio::spawn(tell_alive(manager, Duration::from_millis(1), ask));
        for _ in 0..3 {
            let mut answers = asks.recv().await.unwrap();
            answers.pop().unwrap().send(()).unwrap();
            // The other is stuck; the task has had its turn, also after its warning.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(notices.try_recv(&mut [0; 8]).is_err());
            assert!(asks.try_recv().is_err(), "it is not asked again either");
            answers.pop().unwrap().send(()).unwrap();
            assert_eq!(heard(&notices).await, "WATCHDOG=1");
        }
        telling.abort();
    }

    #[test]
    fn lines_that_differ_in_figures_alone_are_told_apart_from_others() {
        assert!(without_figures("ready; 3 in flight").eq(without_figures("ready; 12 in flight")));
        assert!(without_figures("ready; 3 in flight").ne(without_figures("not ready; 3 in flight")));
    }
}
