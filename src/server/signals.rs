//! Signals, handled on a thread of their own, which works even while the accepting thread is blocked.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::shutdown::Stop;

/// How long the process may take to end after the second signal, for example to write the last log lines.
const LAST: Duration = Duration::from_millis(700);

/// The requests that signals make.
pub(crate) struct Signals {
    /// The first SIGTERM or SIGINT drains. The second ends requests in flight at once.
    pub stop: watch::Receiver<Stop>,
    /// One message for each SIGHUP.
    pub hangups: mpsc::UnboundedReceiver<()>,
}

/// Starts handling signals. After the second SIGTERM or SIGINT the process ends soon, even if its other threads are
/// stuck.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn listen() -> io::Result<Signals> {
    let (sender, stop) = watch::channel(Stop::No);
    let (hanging_up, hangups) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before this returns, so that the system's default action never ends the process.
    let (stops, hangup) = {
        let _inside = runtime.enter();
        let stops = Stops(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        (stops, signal(SignalKind::hangup())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.spawn(hear(hangup, hanging_up));
        runtime.block_on(stop_on(stops, sender));
    })?;
    Ok(Signals { stop, hangups })
}

/// SIGTERM and SIGINT.
struct Stops(Signal, Signal);

impl Stops {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

async fn stop_on(mut stops: Stops, sender: watch::Sender<Stop>) {
    for stop in [Stop::Drain, Stop::Now] {
        stops.next().await;
        sender.send_replace(stop);
    }
    tokio::select! {
        () = tokio::time::sleep(LAST) => {}
        () = stops.next() => {}
    }
    process::exit(0);
}

async fn hear(mut hangup: Signal, hangups: mpsc::UnboundedSender<()>) {
    while hangup.recv().await.is_some() {
        // Once the process stops, nothing receives reload requests.
        let _ = hangups.send(());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const CHILD: &str = "BOXGATE_TEST_SIGNALS_CHILD";

    /// Not a test: the process of [`the_second_signal_ends_a_process_whose_threads_are_stuck`].
    #[test]
    #[ignore = "a child process of another test"]
    fn is_stuck_once_it_drains() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let Signals { mut stop, hangups: _ } = listen().unwrap();
        writeln!(io::stdout(), "\nlistens").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(stop.wait_for(|stop| *stop == Stop::Drain)).unwrap();
        writeln!(io::stdout(), "\ndrains").unwrap();
        loop {
            thread::park();
        }
    }

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_second_signal_ends_a_process_whose_threads_are_stuck() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::signals::tests::is_stuck_once_it_drains", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn();
        let mut child = Killed(child.unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        for said in ["listens", "drains"] {
            lines.by_ref().find(|line| line == said).unwrap();
            let sent = Command::new("kill").arg("-TERM").arg(child.0.id().to_string()).status();
            assert!(sent.unwrap().success());
        }
        for _ in 0..300 {
            if let Some(status) = child.0.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0));
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("it goes on");
    }
}
