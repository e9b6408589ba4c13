//! Places for calls on their way. There are only so many, and one stranger gets a share of them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Calls on their way at the same time.
const CALLS_MAX: usize = 512;
/// Of these, what one address of the internet may have.
const OF_ONE_MAX: usize = CALLS_MAX / 4;

/// Who has how many.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A place for one call, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    whose: Option<IpAddr>,
}

impl Turns {
    /// A place for a call from this address; none when all are taken, or its share is.
    pub fn take(&self, caller: IpAddr) -> Option<Turn> {
        let whose = stranger(caller);
        let mut taken = self.locked();
        if taken.all == CALLS_MAX {
            return None;
        }
        if let Some(whose) = whose {
            let theirs = taken.by.entry(whose).or_default();
            if *theirs == OF_ONE_MAX {
                return None;
            }
            *theirs += 1;
        }
        taken.all += 1;
        drop(taken);
        Some(Turn { turns: self.clone(), whose })
    }

    #[cfg(test)]
    pub fn is_taken(&self) -> bool {
        self.locked().all > 0
    }

    fn locked(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.locked();
        taken.all -= 1;
        let Some(whose) = self.whose else { return };
        if let Some(theirs) = taken.by.get_mut(&whose) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.by.remove(&whose);
            }
        }
    }
}

/// Whom an address of the internet belongs to: with IPv6 everybody has 64 bits of them. None for one of
/// our own network: that may be a proxy, with everybody behind it.
fn stranger(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(it) if it.is_loopback() || it.is_private() || it.is_link_local() => None,
        IpAddr::V6(it) if it.is_loopback() || it.is_unique_local() => None,
        IpAddr::V6(it) if it.is_unicast_link_local() => None,
        IpAddr::V6(it) => Some(Ipv6Addr::from_bits(it.to_bits() >> 64 << 64).into()),
        own @ IpAddr::V4(_) => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(turns: &Turns, caller: &str, held: &mut Vec<Turn>) -> usize {
        let caller: IpAddr = caller.parse().unwrap();
        let before = held.len();
        held.extend((0..=CALLS_MAX).map_while(|_| turns.take(caller)));
        held.len() - before
    }

    #[test]
    fn a_stranger_gets_a_share_and_our_own_network_gets_all() {
        for (caller, most) in [
            ("203.0.113.7", OF_ONE_MAX),
            ("::ffff:203.0.113.7", OF_ONE_MAX),
            ("2001:db8::1", OF_ONE_MAX),
            ("127.0.0.1", CALLS_MAX),
            ("::1", CALLS_MAX),
            ("10.1.2.3", CALLS_MAX),
            ("172.16.0.9", CALLS_MAX),
            ("192.168.1.1", CALLS_MAX),
            ("::ffff:192.168.1.1", CALLS_MAX),
            ("fd00::7", CALLS_MAX),
            ("fe80::7", CALLS_MAX),
        ] {
            assert_eq!(had(&Turns::default(), caller, &mut vec![]), most, "{caller}");
        }
    }

    #[test]
    fn whoever_has_taken_a_share_leaves_room_for_others_and_gets_it_back_when_calls_end() {
        let (turns, mut held) = (Turns::default(), vec![]);
        assert_eq!(had(&turns, "2001:db8::1", &mut held), OF_ONE_MAX);
        assert_eq!(had(&turns, "2001:db8::2:0:0:1", &mut held), 0, "the same network");
        assert_eq!(had(&turns, "2001:db8:0:1::1", &mut held), OF_ONE_MAX, "another one");
        assert_eq!(had(&turns, "127.0.0.1", &mut held), CALLS_MAX - 2 * OF_ONE_MAX);
        assert_eq!(had(&turns, "203.0.113.7", &mut held), 0, "all are taken");
        held.clear();
        assert!(turns.locked().by.is_empty() && !turns.is_taken());
        assert_eq!(had(&turns, "2001:db8::1", &mut held), OF_ONE_MAX);
    }
}
