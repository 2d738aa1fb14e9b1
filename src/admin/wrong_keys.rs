//! Bounds the guessing of `[admin] key`: how many different wrong keys each address has tried lately.
//!
//! The same wrong key counts once: a page or program that still has the old key after a rotation asks again and again, and
//! guesses nothing.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::net::clock::Moment;

/// The most different wrong keys of an address …
const MOST: usize = 10;
/// … in this time, which begins with the first of them.
const WINDOW: Duration = Duration::from_secs(60);
/// The most addresses that are tracked. Beyond them, the one that began first is forgotten.
const ADDRESSES: usize = 1024;

/// The wrong keys of the last minute.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys {
    /// Makes hashes of which nobody can find two keys with the same.
    hasher: RandomState,
    tried: Mutex<HashMap<IpAddr, Tried>>,
}

#[derive(Debug)]
struct Tried {
    since: Moment,
    /// Hashes: a wrong key may be a right one somewhere else.
    keys: Vec<u64>,
}

impl WrongKeys {
    /// For how many seconds more no key from this address is looked at; `None`: it may try.
    pub(super) fn refused_for(&self, address: IpAddr, now: Moment) -> Option<u64> {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = tried.get(&network(address)).filter(|tried| tried.keys.len() >= MOST)?;
        let left = tried.since.after(WINDOW).left(now);
        (!left.is_zero()).then(|| left.as_secs_f64().ceil().max(1.0) as u64)
    }

    /// Records a wrong key.
    pub(super) fn note(&self, address: IpAddr, key: &[u8], now: Moment) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |tried: &Tried| tried.since.after(WINDOW).has_come(now);
        let address = network(address);
        if tried.len() >= ADDRESSES && !tried.contains_key(&address) {
            tried.retain(|_, tried| !is_over(tried));
            if tried.len() >= ADDRESSES {
                let first =
                    tried.iter().min_by_key(|(_, tried)| tried.since.mono).map(|(address, _)| *address);
                first.and_then(|first| tried.remove(&first));
            }
        }
        let entry = tried.entry(address).or_insert_with(|| Tried { since: now, keys: Vec::new() });
        if is_over(entry) {
            *entry = Tried { since: now, keys: Vec::new() };
        }
        let key = self.hasher.hash_one(key);
        if !entry.keys.contains(&key) && entry.keys.len() < MOST {
            entry.keys.push(key);
        }
    }
}

/// The address; of IPv6 the network of 64 bits, in which a host chooses its address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock::Clock;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn ten_different_wrong_keys_are_tried_in_a_minute() {
        let (keys, clock) = (WrongKeys::default(), Clock::adjustable());
        for number in 0..10 {
            assert_eq!(keys.refused_for(HERE, clock.now()), None, "{number}");
            keys.note(HERE, format!("guess {number}").as_bytes(), clock.now());
        }
        assert_eq!(keys.refused_for(HERE, clock.now()), Some(60));
        assert_eq!(keys.refused_for([10, 0, 0, 2].into(), clock.now()), None);
        clock.advance(Duration::from_millis(58_500));
        assert_eq!(keys.refused_for(HERE, clock.now()), Some(2));
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(keys.refused_for(HERE, clock.now()), None);
        keys.note(HERE, b"guess 11", clock.now());
        assert_eq!(keys.refused_for(HERE, clock.now()), None);
    }

    #[test]
    fn one_wrong_key_again_and_again_is_no_guessing() {
        let (keys, clock) = (WrongKeys::default(), Clock::adjustable());
        for _ in 0..100 {
            keys.note(HERE, b"the old key", clock.now());
        }
        assert_eq!(keys.refused_for(HERE, clock.now()), None);
    }

    #[test]
    fn a_host_has_one_count_for_all_its_addresses_of_ipv6() {
        let (keys, clock) = (WrongKeys::default(), Clock::adjustable());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for number in 0..10 {
            keys.note(address(&format!("2001:db8::{number}")), &[number], clock.now());
        }
        assert!(keys.refused_for(address("2001:db8::ffff:1"), clock.now()).is_some());
        assert!(keys.refused_for(address("2001:db8:0:1::1"), clock.now()).is_none());
    }

    #[test]
    fn the_number_of_tracked_addresses_is_bounded() {
        let (keys, clock) = (WrongKeys::default(), Clock::adjustable());
        for number in 0..3 * ADDRESSES as u32 {
            keys.note(std::net::Ipv4Addr::from_bits(number).into(), b"guess", clock.now());
            clock.advance(Duration::from_micros(1));
        }
        let tried = keys.tried.lock().unwrap();
        assert_eq!(tried.len(), ADDRESSES);
        assert!(tried.contains_key(&std::net::Ipv4Addr::from_bits(3 * ADDRESSES as u32 - 1).into()));
    }
}
