//! What the service manager that started this process is told: systemd, or another that knows its protocol.
//!
//! Source: `sd_notify(3)` and `sd_watchdog_enabled(3)`. Not by a crate: the small ones send to no abstract socket.

use std::fmt;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tracing::warn;

use crate::net::secret_filter::{Audience, blanked_text};

/// The variables by which a service manager speaks to the one process that it starts: they mean nothing to its children.
pub(crate) const VARIABLES: [&str; 6] =
    [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// How long a message may wait for room in the service manager's queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest line of a status, in bytes. systemd drops a datagram of more than 4096 bytes whole, with all that it says
/// besides (source: systemd, `NOTIFY_BUFFER_MAX` of `manager.c`); the line is cut, the rest of a message is short.
const LONGEST_STATUS: usize = 1024;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    /// Requests are accepted; or a reload has ended, whatever its outcome.
    Ready,
    /// A reload begins.
    Reloading,
    /// The process has begun to end.
    Stopping,
    /// What the process does, in one line for people.
    Status(&'a str),
    /// The process needs this much more time, from now on, to end.
    ExtendTimeout(Duration),
    /// The process works.
    Watchdog,
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading => {
                // By this time systemd tells which READY=1 ends this reload.
                let now = clock_gettime(ClockId::Monotonic);
                let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
                write!(f, "RELOADING=1\nMONOTONIC_USEC={micros}")
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Status(line) => {
                // A line break would begin another assignment.
                let line = line.replace(char::is_control, " ");
                // Cut last: half a secret would not be found.
                write!(f, "STATUS={}", cut(blanked_text(line, Audience::Operators)))
            }
            Self::ExtendTimeout(by) => write!(f, "EXTEND_TIMEOUT_USEC={}", by.as_micros()),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
        }
    }
}

/// The line, or its beginning with "…".
fn cut(mut line: String) -> String {
    const MARK: &str = "…";
    if line.len() > LONGEST_STATUS {
        let end = (0..=LONGEST_STATUS - MARK.len()).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
        line.push_str(MARK);
    }
    line
}

/// The service manager, if one listens. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceManager(Option<Arc<Connected>>);

#[derive(Debug)]
struct Connected {
    socket: SocketAddr,
    /// The longest time between two [`Notice::Watchdog`]; `None`: no watchdog.
    watchdog: Option<Duration>,
    /// A message could not be sent, and the log says so.
    has_failed: AtomicBool,
    /// See [`ServiceManager::last_status`].
    last_status: Mutex<Option<String>>,
}

impl Connected {
    fn last_status(&self) -> MutexGuard<'_, Option<String>> {
        self.last_status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServiceManager {
    /// The one that these variables name, none without `NOTIFY_SOCKET`. `process`: the number of this process.
    ///
    /// # Errors
    /// A variable has no value that `sd_notify(3)` allows; in words for operators.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>, process: u32) -> Result<Self, String> {
        let Some(name) = variable(NOTIFY_SOCKET).filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = address(&name).map_err(|why| {
            format!("{NOTIFY_SOCKET}={name:?}: {why}; allowed is the absolute path of a Unix socket, or \"@\" and the name of an abstract one")
        })?;
        let is_for_this = |id: &str| id.parse() == Ok(process);
        let watchdog = match variable(WATCHDOG_USEC) {
            Some(micros) if variable(WATCHDOG_PID).is_none_or(|id| is_for_this(&id)) => {
                let allowed = micros.parse().ok().filter(|micros| *micros > 0);
                let micros = allowed.ok_or_else(|| {
                    format!("{WATCHDOG_USEC}={micros:?}: allowed is a whole number of microseconds from 1")
                })?;
                Some(Duration::from_micros(micros))
            }
            _ => None,
        };
        let (has_failed, last_status) = (AtomicBool::new(false), Mutex::new(None));
        Ok(Self(Some(Arc::new(Connected { socket, watchdog, has_failed, last_status }))))
    }

    /// Whether anybody listens.
    pub(crate) fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// The longest time between two [`Notice::Watchdog`], after which the service manager ends this process; `None`: it does
    /// not watch.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// The status that was sent last, by whomever, in full. `None`: none was, or a reload is under way, whose end sends one.
    pub(crate) fn last_status(&self) -> Option<String> {
        self.0.as_ref()?.last_status().clone()
    }

    /// Sends one message with all of these. A message that cannot be sent is lost, which the log says once. Needs a tokio
    /// runtime.
    pub(crate) async fn tell(&self, notices: &[Notice<'_>]) {
        let Some(connected) = &self.0 else { return };
        let status = notices.iter().find_map(|notice| match notice {
            Notice::Status(line) => Some(*line),
            _ => None,
        });
        if let Some(line) = status {
            let is_final = !notices.contains(&Notice::Reloading);
            *connected.last_status() = is_final.then(|| line.to_owned());
        }
        let text = notices.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let sent = match tokio::time::timeout(PATIENCE, send(&connected.socket, &text)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match sent {
            Ok(()) => connected.has_failed.store(false, Ordering::Relaxed),
            Err(error) if !connected.has_failed.swap(true, Ordering::Relaxed) => {
                warn!("the service manager at {NOTIFY_SOCKET} cannot be told anything: {error}");
            }
            Err(_) => {}
        }
    }
}

/// A socket for each message, as the service manager's own library does: it may be started again in the meantime.
async fn send(to: &SocketAddr, text: &str) -> io::Result<()> {
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(to)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)?.send(text.as_bytes()).await.map(|_| ())
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => of_abstract(name),
        None if name.starts_with('/') => SocketAddr::from_pathname(name),
        None => Err(io::Error::other("it is neither")),
    }
}

#[cfg(target_os = "linux")]
fn of_abstract(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn of_abstract(_: &str) -> io::Result<SocketAddr> {
    Err(io::Error::other("this system has no abstract sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<ServiceManager, String> {
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        ServiceManager::of(variable, 7)
    }

    #[test]
    fn nobody_is_told_without_a_socket() {
        for none in [&[][..], &[("NOTIFY_SOCKET", "")], &[("WATCHDOG_USEC", "x"), ("WATCHDOG_PID", "7")]] {
            let manager = of(none).unwrap();
            assert!(!manager.listens() && manager.watchdog().is_none(), "{none:?}");
        }
    }

    #[test]
    fn a_socket_that_cannot_be_one_is_refused_with_what_is_allowed() {
        for bad in ["run/x", "vsock:2:1", "/\0", &format!("/{}", "x".repeat(200))] {
            let why = of(&[("NOTIFY_SOCKET", bad)]).unwrap_err();
            assert!(why.starts_with("NOTIFY_SOCKET=") && why.contains("\"@\""), "{why}");
        }
    }

    #[test]
    fn the_watchdog_is_of_the_process_that_it_names() {
        let watchdog = |more: &[(&str, &str)]| {
            of(&[&[("NOTIFY_SOCKET", "/run/x")], more].concat()).map(|manager| manager.watchdog())
        };
        let second = Ok(Some(Duration::from_secs(1)));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "7")]), second);
        for other in ["8", "", "x"] {
            assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", other)]), Ok(None));
        }
        assert_eq!(watchdog(&[]), Ok(None));
        for bad in ["0", "", "1s", "-1"] {
            let why = watchdog(&[("WATCHDOG_USEC", bad)]).unwrap_err();
            assert!(why.contains("whole number of microseconds"), "{why}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(Notice::Status("a\nREADY=1\u{1b}").to_string(), "STATUS=a READY=1 ");
        let extended = Notice::ExtendTimeout(Duration::from_millis(1500)).to_string();
        assert_eq!(extended, "EXTEND_TIMEOUT_USEC=1500000");
    }

    #[test]
    fn a_long_status_is_cut_between_two_characters() {
        let whole = "x".repeat(1024);
        assert_eq!(Notice::Status(&whole).to_string(), format!("STATUS={whole}"));
        assert_eq!(Notice::Status(&format!("{whole}x")).to_string(), format!("STATUS={}…", "x".repeat(1021)));
        assert_eq!(Notice::Status(&"é".repeat(2000)).to_string(), format!("STATUS={}…", "é".repeat(510)));
    }

    #[test]
    fn a_reload_has_its_time_on_the_monotonic_clock() {
        let micros = || {
            let text = Notice::Reloading.to_string();
            text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap()
        };
        let (first, second) = (micros(), micros());
        assert!(0 < first && first <= second, "{first} {second}");
    }

    #[tokio::test]
    async fn messages_go_to_a_path_and_to_an_abstract_name() {
        let folder = std::env::temp_dir().join(format!("boxgate-notify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("notify").display().to_string();
        let name = format!("@boxgate-notify-{}-{}", std::process::id(), fastrand::u64(..));
        for name in [path, name] {
            let heard = StdDatagram::bind_addr(&address(&name).unwrap()).unwrap();
            let manager = of(&[("NOTIFY_SOCKET", &name)]).unwrap();
            assert_eq!(manager.last_status(), None);
            manager.tell(&[Notice::Ready, Notice::Status("ready")]).await;
            manager.tell(&[Notice::Watchdog]).await;
            assert_eq!(manager.clone().last_status().as_deref(), Some("ready"));
            let mut bytes = [0; 64];
            let count = heard.recv(&mut bytes).unwrap();
            assert_eq!(std::str::from_utf8(&bytes[..count]), Ok("READY=1\nSTATUS=ready"));
            manager.tell(&[Notice::Reloading, Notice::Status("reads")]).await;
            assert_eq!(manager.last_status(), None, "the end of the reload tells the next");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
