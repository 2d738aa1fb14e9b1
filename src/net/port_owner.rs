//! Which process listens on a TCP port of this machine, for the message that the port is taken.
//!
//! Linux alone tells, in `/proc` (source: `proc(5)`, `proc_net_tcp.rst` of the kernel), and of other users' processes only
//! to root. Elsewhere, and wherever something is missing there, nothing is known.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// At most so many descriptors are looked at, which takes a tenth of a second.
const MOST_DESCRIPTORS: usize = 50_000;
/// At most so much of a table of sockets is read.
const MOST_SOCKETS: usize = 100_000;

/// `TCP_LISTEN` of the kernel.
const LISTENS: &str = "0A";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    /// Of the program, cut off at 15 bytes by the kernel; a process names itself as it likes.
    name: String,
}

/// `nginx (process 4711)`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name.escape_debug(), self.id)
    }
}

/// The process whose listening socket keeps others from binding this address; `None`: not known.
pub(crate) fn owner(address: SocketAddr) -> Option<Process> {
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(listening(&text, address).map(str::to_owned));
    }
    if inodes.is_empty() { None } else { holder(&inodes) }
}

/// The inodes of sockets in a table of the kernel that listen where this address would.
fn listening(table: &str, address: SocketAddr) -> impl Iterator<Item = &str> {
    table.lines().skip(1).take(MOST_SOCKETS).filter_map(move |line| {
        // `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 …`
        let mut fields = line.split_ascii_whitespace();
        let local = socket_address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        (state == LISTENS && are_in_conflict(local, address)).then_some(inode)
    })
}

/// Whether sockets of both addresses cannot listen at once.
fn are_in_conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (one_ip == other_ip || covers(one_ip, other_ip) || covers(other_ip, one_ip))
}

/// Whether the first stands for all addresses of the second's kind. `[::]` takes IPv4 connections too, as a rule.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

/// `0100007F:1F90`: each group of four bytes in the byte order of the machine, the port in that of the network.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some(SocketAddr::new(ip, port))
}

/// The first process that has one of these sockets open. Children that inherited it have later numbers as a rule.
fn holder(inodes: &HashSet<String>) -> Option<Process> {
    let mut ids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    let mut left = MOST_DESCRIPTORS;
    for id in ids {
        let folder = Path::new("/proc").join(id.to_string());
        // Of another user's process it cannot be read.
        let Ok(descriptors) = fs::read_dir(folder.join("fd")) else { continue };
        for descriptor in descriptors {
            left = left.checked_sub(1)?;
            let Ok(target) = descriptor.and_then(|descriptor| fs::read_link(descriptor.path())) else {
                continue;
            };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            if inode.is_some_and(|inode| inodes.contains(inode)) {
                let name = fs::read(folder.join("comm")).ok()?;
                return Some(Process { id, name: String::from_utf8_lossy(name.trim_ascii()).into_owned() });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernels_table_names_sockets_that_are_in_the_way() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let row = |ip, port: u16, state, inode| {
            format!(
                "   0: {}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n",
                hex(ip)
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned(),
            row([127, 0, 0, 1], 8080, "0A", 11),
            row([127, 0, 0, 1], 8080, "01", 12), // a connection
            row([127, 0, 0, 1], 8081, "0A", 13),
            row([10, 0, 0, 1], 8080, "0A", 14),
            row([0, 0, 0, 0], 8082, "0A", 15),
            "   1: what this version does not know\n".to_owned(),
        ]
        .concat();
        for (address, want) in [
            ("127.0.0.1:8080", &["11"][..]),
            ("[::ffff:127.0.0.1]:8080", &["11"]),
            ("0.0.0.0:8080", &["11", "14"]),
            ("[::]:8080", &["11", "14"]),
            ("10.0.0.1:8082", &["15"]),
            ("10.0.0.2:8080", &[]),
            ("[::1]:8082", &[]),
            ("127.0.0.1:808", &[]),
        ] {
            let found: Vec<_> = listening(&table, address.parse().unwrap()).collect();
            assert_eq!(found, want, "{address}");
        }
        let six =
            format!("{}{}{}{}:0050", hex([0x20, 1, 0xd, 0xb8]), hex([0; 4]), hex([0; 4]), hex([0, 0, 0, 1]));
        assert_eq!(socket_address(&six), Some("[2001:db8::1]:80".parse().unwrap()));
        for bad in [
            "",
            ":",
            "0100007F",
            "0100007:0050",
            "ZZ00007F:0050",
            "0100007F:10000",
            "0100007F0100007F:0050",
            "é:0050",
        ] {
            assert_eq!(socket_address(bad), None, "{bad}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_of_this_process_is_found_and_a_free_port_is_nobodys() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(owner(address).map(|process| process.id), Some(std::process::id()));
        assert_eq!(owner("127.0.0.1:0".parse().unwrap()), None);
    }

    #[test]
    fn a_name_cannot_direct_a_terminal() {
        let process = Process { id: 7, name: "a\u{1b}[2J".to_owned() };
        assert_eq!(process.to_string(), "a\\u{1b}[2J (process 7)");
    }
}
