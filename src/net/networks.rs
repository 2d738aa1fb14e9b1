//! Sets of source addresses: who may connect, and which proxies are trusted to name their client.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of source addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

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
                self.0.push(network);
                return Ok(());
            }
        };
        self.0.extend(named.iter().filter_map(|text| text.parse::<IpNet>().ok()));
        Ok(())
    }

    /// Whether the address is in one of the networks. IPv4-mapped addresses must be unmapped first, see [`unmapped`].
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether no network is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.contains(b) || b.contains(a)))
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
}
