//! Sets of sources: who may connect, and which proxies are trusted to name their client.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// A set of sources: networks, and users of this machine whose processes connect over a Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    /// User ids.
    users: Vec<u32>,
}

/// The address of every peer on a Unix socket.
pub(crate) const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1/128"];
/// RFC 1918, RFC 4193 (unique local), RFC 3927 and RFC 4291 §2.5.6 (link-local).
const PRIVATE: &[&str] =
    &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
const ANY: &[&str] = &["0.0.0.0/0", "::/0"];

impl Networks {
    /// Adds an entry of the configuration: a CIDR, a single address, or one of `loopback`, `private`, `any`. The error
    /// names what is allowed.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        let named = match entry {
            "loopback" => LOOPBACK,
            "private" => PRIVATE,
            "any" => ANY,
            _ => {
                let network =
                    entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
                let network = network.ok_or_else(|| {
                    format!("{entry:?}: allowed are a CIDR such as \"10.1.0.0/16\", an address, \"loopback\", \"private\" or \"any\"")
                })?;
                if network.addr() != network.network() {
                    return Err(format!(
                        "{entry:?} has bits set after its prefix; did you mean \"{}\"?",
                        network.trunc()
                    ));
                }
                self.networks.push(network);
                return Ok(());
            }
        };
        self.networks.extend(named.iter().filter_map(|text| text.parse::<IpNet>().ok()));
        Ok(())
    }

    /// Adds a user's processes at the other end of a Unix socket.
    pub(crate) fn add_user(&mut self, uid: u32) {
        self.users.push(uid);
    }

    /// Whether this user's processes are listed by the user's id. Their address may be in one of the networks all the same.
    pub(crate) fn lists_user(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// Whether the address is in one of the networks. IPv4-mapped addresses must be unmapped first, see [`unmapped`].
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.users.is_empty()
    }

    /// Whether some caller is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let has_users_in = |a: &Self, b: &Self| {
            !a.users.is_empty() && b.contains(UNIX_PEER) || a.users.iter().any(|uid| b.lists_user(*uid))
        };
        let is_shared = |a: &IpNet| other.networks.iter().any(|b| a.contains(b) || b.contains(a));
        self.networks.iter().any(is_shared) || has_users_in(self, other) || has_users_in(other, self)
    }
}

/// `::ffff:10.1.2.3` is `10.1.2.3` (RFC 4291 §2.5.5.2): a dual-stack socket must not escape an IPv4 rule.
pub(crate) fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(entries: &[&str]) -> Networks {
        let mut networks = Networks::default();
        for entry in entries {
            networks.add(entry).unwrap();
        }
        networks
    }

    #[test]
    fn named_networks_contain_what_their_rfc_says() {
        let private = networks(&["private"]);
        for inside in ["10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1", "fd00::1", "fe80::1"] {
            assert!(private.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["127.0.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "::1"] {
            assert!(!private.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(networks(&["loopback"]).contains("127.9.9.9".parse().unwrap()));
        assert!(networks(&["any"]).contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_mapped_address_is_judged_as_ipv4() {
        let ten = networks(&["10.0.0.0/8"]);
        assert!(ten.contains(unmapped("::ffff:10.1.2.3".parse().unwrap())));
    }

    #[test]
    fn malformed_entries_are_refused() {
        for bad in ["10.1.2.3/16", "10.0.0.0/33", "lan", "", "10.0.0"] {
            assert!(Networks::default().add(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        let (wide, narrow, other) =
            (networks(&["10.0.0.0/8"]), networks(&["10.1.0.0/16"]), networks(&["any"]));
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide) && other.overlaps(&narrow));
        assert!(!narrow.overlaps(&networks(&["10.2.0.0/16", "fd00::/8"])));
    }

    #[test]
    fn a_user_of_a_unix_socket_overlaps_with_loopback_and_with_no_other_user() {
        let users = |uids: &[u32], entries: &[&str]| {
            let mut all = networks(entries);
            uids.iter().for_each(|uid| all.add_user(*uid));
            all
        };
        let one = users(&[1000], &[]);
        for (other, wanted) in [
            (users(&[1000, 33], &[]), true),
            (users(&[33], &[]), false),
            (users(&[33], &["10.0.0.0/8"]), false),
            (users(&[33], &["loopback"]), true),
            (networks(&["loopback"]), true),
            (networks(&["127.0.0.1"]), true),
            (networks(&["any"]), true),
            (networks(&["127.0.0.2"]), false),
            (networks(&["::1"]), false),
            (networks(&["10.0.0.0/8"]), false),
        ] {
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (wanted, wanted), "{other:?}");
        }
    }
}
