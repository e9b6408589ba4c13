//! Who is at the other end of a connection, and how often one of them may guess.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use governor::{
    Quota, RateLimiter, clock::Clock as _, middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};

use super::{WebState, problem::Problem};
use crate::clock::Clock;

/// Peers that are told apart. Those beyond share one allowance.
const PEERS_MAX: usize = 10_000;
/// Attempts to sign in, a minute, and as many at once. One sign-in is two.
const SIGN_INS: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// API tokens that are not known, a minute, and as many at once.
const FAILURES: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Who is calling, as far as the network tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer {
    /// The nearest address that none of our own proxies wrote about itself.
    fn of(connection: Option<IpAddr>, headers: &HeaderMap, proxies: u8) -> Self {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        let told = hops.len().checked_sub(proxies.into()).and_then(|place| hops.get(place));
        let told = told.and_then(|text| address_in(text));
        Self::normal(told.or(connection).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }

    /// Whoever has one IPv6 address has all that share its first half.
    fn normal(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(six) => IpAddr::V6((u128::from(six) >> 64 << 64).into()),
            four @ IpAddr::V4(_) => four,
        })
    }
}

/// Proxies write addresses with and without their port.
fn address_in(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

impl FromRequestParts<WebState> for Peer {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        state: &WebState,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::of_parts(parts, state))
    }
}

impl Peer {
    pub fn of_parts(parts: &Parts, state: &WebState) -> Self {
        let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let connection = connection.map(|ConnectInfo(address)| address.ip());
        Self::of(connection, &parts.headers, state.service.settings.access.proxies)
    }
}

/// The service's clock, as the limiter reads it.
#[derive(Clone)]
struct Wall(Arc<dyn Clock>);

impl governor::clock::Clock for Wall {
    type Instant = Duration;
    fn now(&self) -> Duration {
        let now = self.0.now().signed_duration_since(chrono::DateTime::UNIX_EPOCH);
        now.to_std().unwrap_or_default()
    }
}

/// An allowance for each peer.
struct Limit {
    clock: Wall,
    spent: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, Wall, NoOpMiddleware<Duration>>,
}

impl Limit {
    fn new(clock: Wall, a_minute: NonZeroU32) -> Self {
        let quota = Quota::per_minute(a_minute);
        let spent = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { clock, spent }
    }

    /// Spends one, or tells how long to wait.
    fn spend(&self, peer: Peer) -> Result<(), Duration> {
        if self.spent.len() >= PEERS_MAX {
            self.spent.retain_recent();
        }
        let is_full = self.spent.len() >= PEERS_MAX;
        let key = if is_full { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { peer.0 };
        self.spent.check_key(&key).map_err(|wait| wait.wait_time_from(self.clock.now()))
    }
}

/// What peers have left, in this process.
pub struct Peers {
    sign_ins: Limit,
    failures: Limit,
}

impl Peers {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let clock = Wall(clock);
        Self {
            sign_ins: Limit::new(clock.clone(), SIGN_INS),
            failures: Limit::new(clock, FAILURES),
        }
    }

    /// Somebody tries to sign in.
    pub fn signs_in(&self, peer: Peer) -> Result<(), Problem> {
        self.sign_ins.spend(peer).map_err(|wait| {
            Problem::too_many("too many attempts to sign in from this address", wait)
        })
    }

    /// Somebody gave a token that is not known. A good one is never refused for it, so nobody shuts out
    /// others who come from the same address.
    pub fn failed(&self, peer: Peer) -> Result<(), Problem> {
        self.failures.spend(peer).map_err(|wait| {
            Problem::too_many("too many unknown API tokens from this address", wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn only_what_our_own_proxies_wrote_is_believed() {
        let connection = Some("10.0.0.1".parse().unwrap());
        for (forwarded, proxies, expected) in [
            (&[][..], 0, "10.0.0.1"),
            (&["1.1.1.1"], 0, "10.0.0.1"),
            (&["1.1.1.1"], 1, "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1"], 1, "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1, 2.2.2.2"], 2, "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1"], 1, "1.1.1.1"),
            (&["1.1.1.1:4711"], 1, "1.1.1.1"),
            (&["[2001:db8:1:2:3:4:5:6]:4711"], 1, "2001:db8:1:2::"),
            (&["::ffff:1.1.1.1"], 1, "1.1.1.1"),
            (&["unknown"], 1, "10.0.0.1"),
            (&["1.1.1.1"], 2, "10.0.0.1"),
            (&[], 1, "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let peer = Peer::of(connection, &headers, proxies);
            assert_eq!(peer.to_string(), expected, "{forwarded:?} behind {proxies}");
        }
    }

    fn peer(number: u32) -> Peer {
        Peer(IpAddr::V4(number.into()))
    }

    #[test]
    fn an_allowance_is_spent_by_each_alone_and_comes_back() {
        let clock = Arc::new(ManualClock::at("2026-11-26T09:00:00Z".parse().unwrap()));
        let limit = Limit::new(Wall(clock.clone()), FAILURES);
        for _ in 0..FAILURES.get() {
            assert_eq!(limit.spend(peer(1)), Ok(()));
        }
        let wait = limit.spend(peer(1)).unwrap_err();
        assert!(wait > Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
        assert_eq!(limit.spend(peer(2)), Ok(()));
        clock.advance(TimeDelta::from_std(wait).unwrap() + TimeDelta::milliseconds(1));
        assert_eq!(limit.spend(peer(1)), Ok(()));
        assert!(limit.spend(peer(1)).is_err());
    }

    #[test]
    fn however_many_come_the_memory_is_bounded() {
        let clock = Arc::new(ManualClock::at("2026-11-26T09:00:00Z".parse().unwrap()));
        let limit = Limit::new(Wall(clock.clone()), FAILURES);
        let many = u32::try_from(PEERS_MAX).unwrap();
        for number in 0..many + FAILURES.get() {
            assert_eq!(limit.spend(peer(number)), Ok(()), "{number}");
        }
        assert!(limit.spend(peer(many + 1000)).is_err(), "newcomers share one allowance");
        assert!(limit.spent.len() <= PEERS_MAX + 1);
        clock.advance(TimeDelta::minutes(2));
        assert_eq!(limit.spend(peer(many + 1000)), Ok(()));
        assert!(limit.spent.len() < 10, "who has not come lately is forgotten");
    }
}
