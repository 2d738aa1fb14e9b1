//! The addresses on which the gateway would listen: are they free?

use std::os::unix::fs::FileTypeExt as _;

use tokio::net::UnixStream;

use super::findings::{About, Row};
use crate::config::Config;
use crate::net::address::{Address, UnixAddress};
use crate::net::listener::Listener;

/// A row for each address. One of TCP is bound for a moment; a Unix socket is only looked at.
pub(super) async fn rows(config: &Config) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, addresses) in [("listen", &config.listen.addresses), ("admin", &config.admin.addresses)] {
        let advice = format!(
            "as it should be where this gateway runs already; else end what uses it, or choose another [{key}] address"
        );
        for address in addresses {
            rows.push(match address {
                // Chosen when it is bound.
                Address::Tcp(address) if address.port() == 0 => {
                    About::new("listen", address.to_string()).ok("any free port")
                }
                Address::Tcp(tcp) => {
                    let about = About::new("listen", tcp.to_string());
                    match Listener::bind(address, false).await {
                        Ok(_) => about.ok("free"),
                        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                            about.warning("address in use", advice.clone())
                        }
                        Err(error) => about.warning(
                            error.to_string(),
                            format!(
                                "choose another [{key}] address, or run the gateway where it may listen there"
                            ),
                        ),
                    }
                }
                Address::Unix(unix) => {
                    let about = About::new("listen", format!("unix:{}", unix.path.display()));
                    match in_the_way(unix).await {
                        None => about.ok("free"),
                        Some(what) => about.warning(what, advice.clone()),
                    }
                }
            });
        }
    }
    rows
}

/// What a gateway that starts would not replace.
async fn in_the_way(address: &UnixAddress) -> Option<&'static str> {
    let found = std::fs::symlink_metadata(&address.path).ok()?;
    if !found.file_type().is_socket() {
        return Some("a file that is no socket is there");
    }
    // One that nobody listens on is replaced.
    UnixStream::connect(&address.path).await.is_ok().then_some("address in use")
}
