//! Safe's mailboxes: what is proposed goes there, and signatures go both ways. Beside the workers,
//! one loop for each chain that has a mailbox. No request waits for it.

use std::{num::NonZeroU32, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures::FutureExt;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{IDLE, Service, chain_of, pause};
use crate::{
    clock::{Clock, Time},
    config::{ChainSettings, SafeServiceSetting, Settings},
    propose::{self, Exchanged, MailError, Mailbox},
    request::{Request, ids::RequestId},
    safe_service::{ProposerKey, SafeService, WhatToDo, hosted_root},
    store::{
        StoreError,
        mailings::{Exchange, Mailing},
    },
    wire::{Http, Throttle, WireFault},
};

/// How long one exchange may take, and how long it belongs to its instance.
const EXCHANGE_MAX: Duration = Duration::from_secs(100);
const TURN: TimeDelta = TimeDelta::seconds(120);
/// The first look after something happened, and the longest pause between two. Between them each look
/// comes when as much time has passed again in which nothing happened: some seventy in the two weeks
/// that a commit token lives.
const LOOK_FIRST: TimeDelta = TimeDelta::minutes(1);
const LOOK_MAX: TimeDelta = TimeDelta::hours(6);
/// Pauses after failures, and where only a person can mend it; both grow.
const RETRY_FIRST: TimeDelta = TimeDelta::seconds(2);
const RETRY_PERSON: TimeDelta = TimeDelta::minutes(5);
const RETRY_MAX: TimeDelta = TimeDelta::hours(1);
/// Somebody who opens a page has it read again no more often than this.
const VISIT: TimeDelta = TimeDelta::minutes(1);

/// Tries of one proposal for which the mailbox is asked what waits.
const ASKED_MAX: u32 = 5;

/// Calls a second that Safe's hosted service allows without a key, and with a free one.
const HOSTED_RATE: NonZeroU32 = NonZeroU32::new(2).unwrap();
const HOSTED_RATE_WITH_KEY: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// A service of one's own has no limits of its own.
const OWN_RATE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// What Safe's Transaction Services are used with.
#[derive(Debug, Clone, Default)]
pub struct SafeAccess {
    /// Of an account at Safe; sent to the hosted service and to those of one's own.
    pub api_key: Option<SecretString>,
    pub proposer: Option<ProposerKey>,
}

/// The mailboxes of the chains that have one. The hosted service is used when there is a key for
/// it: somebody who gave neither has not asked for anything to be sent there.
pub(super) fn mailboxes(
    settings: &Settings,
    access: &SafeAccess,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Mailbox>, WireFault> {
    let http = Http::new()?;
    let is_wanted = access.api_key.is_some() || access.proposer.is_some();
    let rate = access.api_key.as_ref().map_or(HOSTED_RATE, |_| HOSTED_RATE_WITH_KEY);
    // The hosted service counts by account, whatever the chain.
    let hosted = Arc::new(Throttle::new(clock.clone(), rate));
    let mailbox = |chain: &ChainSettings| {
        let (root, throttle) = match &chain.safe_service {
            SafeServiceSetting::Off => return None,
            SafeServiceSetting::At(root) => {
                (root.clone(), Arc::new(Throttle::new(clock.clone(), OWN_RATE)))
            }
            SafeServiceSetting::Hosted if !is_wanted => return None,
            SafeServiceSetting::Hosted => (hosted_root(chain.id)?, hosted.clone()),
        };
        let key = access.api_key.clone();
        let service = SafeService::new(http.clone(), &root, chain.id, key, throttle);
        let public_url = settings.public_url.clone();
        Some(Mailbox { service, proposer: access.proposer.clone(), public_url })
    };
    Ok(settings.chains.iter().filter_map(mailbox).collect())
}

impl Service {
    /// Exchanges what is proposed on one chain with its mailbox.
    pub(super) async fn mail(&self, mailbox: &Mailbox, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.mail_once(mailbox).await {
                Ok(true) => {}
                Ok(false) => pause(IDLE, &stop).await,
                Err(error) => {
                    tracing::warn!(error = chain_of(&error), "cannot exchange with Safe's mailbox");
                    pause(IDLE, &stop).await;
                }
            }
        }
    }

    /// One exchange; false when none is due.
    async fn mail_once(&self, mailbox: &Mailbox) -> Result<bool, StoreError> {
        let (chain, now) = (mailbox.service.chain(), self.clock.now());
        self.store.open_mailings(chain, now).await?;
        let Some(mailing) = self.store.take_mailing(chain, now, now + TURN).await? else {
            return Ok(false);
        };
        let exchange = AssertUnwindSafe(self.exchange(mailbox, &mailing)).catch_unwind();
        let outcome = match tokio::time::timeout(EXCHANGE_MAX, exchange).await {
            Ok(Ok(Ok(exchanged))) => went(&mailing, &exchanged, self.clock.now()),
            Ok(Ok(Err(error))) => {
                failed(&mailing, &chain_of(&error), error.what_to_do(), self.clock.now())
            }
            Ok(Err(_)) => {
                let problem = "the exchange panicked, which is a defect of Countersign";
                failed(&mailing, problem, WhatToDo::AskAPerson, self.clock.now())
            }
            Err(_) => {
                let problem = "the exchange took too long";
                failed(&mailing, problem, WhatToDo::TryLater(None), self.clock.now())
            }
        };
        if let Some(problem) =
            outcome.problem.as_ref().filter(|it| mailing.problem.as_ref() != Some(it))
        {
            tracing::warn!(request.id = %mailing.request, problem, "Safe's mailbox cannot be used as it should");
        }
        self.store.settle_mailing(&mailing, &outcome, self.clock.now()).await?;
        Ok(true)
    }

    async fn exchange(&self, mailbox: &Mailbox, mailing: &Mailing) -> Result<Exchanged, MailError> {
        let chain = self.chains.get(mailbox.service.chain())?;
        propose::exchange(&self.store, chain, mailbox, mailing, self.clock.now()).await
    }

    /// The mailbox that is asked before a nonce is chosen. One that cannot be proposed is tried again
    /// for as long as it takes, and the mailbox is not asked each time.
    pub(super) fn mailbox_to_ask(&self, request: &Request) -> Option<&Mailbox> {
        let mailbox =
            self.mailboxes.iter().find(|mailbox| mailbox.service.chain() == request.chain);
        mailbox.filter(|_| request.attempts < ASKED_MAX)
    }

    /// A signature was given here: the mailbox gets it soon.
    pub async fn wake_mailbox(&self, request: RequestId) {
        if !self.mailboxes.is_empty()
            && let Err(error) = self.store.wake_mailing(request, self.clock.now()).await
        {
            tracing::warn!(error = chain_of(&error), "Safe's mailbox gets the signature later");
        }
    }

    /// Somebody looks at a request: what was signed elsewhere should be here soon.
    pub async fn visit_mailbox(&self, request: RequestId) {
        if !self.mailboxes.is_empty()
            && let Err(error) = self.store.look_into_mailbox(request, VISIT, self.clock.now()).await
        {
            tracing::warn!(error = chain_of(&error), "Safe's mailbox is read later");
        }
    }
}

/// When to look again after an exchange that went through.
fn went(mailing: &Mailing, exchanged: &Exchanged, now: Time) -> Exchange {
    let quiet_since = if exchanged.has_moved { now } else { mailing.quiet_since };
    let still = (now - quiet_since).clamp(LOOK_FIRST, LOOK_MAX);
    Exchange {
        is_posted: exchanged.is_posted,
        read_at: Some(now),
        quiet_since,
        hint: exchanged.hint.clone(),
        problem: exchanged.problem.as_ref().map(|error| chain_of(error)),
        attempts: 0,
        next_try_at: now + still,
    }
}

/// When to try again after one that did not.
fn failed(mailing: &Mailing, problem: &str, what: WhatToDo, now: Time) -> Exchange {
    let doubling = 1 << mailing.attempts.clamp(0, 12);
    let doubled = RETRY_FIRST * doubling;
    let pause = match what {
        WhatToDo::TryLater(asked) => {
            let asked = asked.and_then(|asked| TimeDelta::from_std(asked).ok());
            asked.unwrap_or_default().max(doubled)
        }
        WhatToDo::AskAPerson => RETRY_PERSON * doubling,
    };
    Exchange {
        is_posted: false,
        read_at: None,
        quiet_since: mailing.quiet_since,
        hint: None,
        problem: Some(problem.to_owned()),
        attempts: mailing.attempts.saturating_add(1),
        next_try_at: now + pause.min(RETRY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{clock::SystemClock, config::Overrides, safe_service::SafeServiceError};

    fn mailing(quiet_for: TimeDelta, attempts: i32, now: Time) -> Mailing {
        Mailing::sample(RequestId(Uuid::nil()), now - quiet_for, attempts)
    }

    fn now() -> Time {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn looks_become_rare_while_nothing_happens_and_frequent_when_something_does() {
        let calm = Exchanged::default();
        for (quiet_for, pause) in [
            (TimeDelta::zero(), LOOK_FIRST),
            (TimeDelta::minutes(10), TimeDelta::minutes(10)),
            (TimeDelta::days(3), LOOK_MAX),
        ] {
            let next = went(&mailing(quiet_for, 3, now()), &calm, now());
            assert_eq!((next.next_try_at - now(), next.attempts), (pause, 0), "{quiet_for}");
        }
        let moved = Exchanged { has_moved: true, ..Exchanged::default() };
        let next = went(&mailing(TimeDelta::days(3), 0, now()), &moved, now());
        assert_eq!((next.next_try_at - now(), next.quiet_since), (LOOK_FIRST, now()));

        let (begin, mut at, mut looks) = (now(), now(), 0);
        while at - begin < TimeDelta::days(14) {
            at = went(&mailing(at - begin, 0, at), &calm, at).next_try_at;
            looks += 1;
        }
        assert!((60..80).contains(&looks), "{looks} looks in two weeks");
    }

    #[test]
    fn pauses_grow_with_failures_and_keep_to_what_the_service_asks() {
        use WhatToDo::{AskAPerson, TryLater};
        let asked = |seconds| TryLater(Some(Duration::from_secs(seconds)));
        for (attempts, what, seconds) in [
            (0, TryLater(None), 2),
            (5, TryLater(None), 64),
            (40, TryLater(None), 3_600),
            (0, asked(30), 30),
            (5, asked(30), 64),
            (0, asked(86_400), 3_600),
            (0, AskAPerson, 300),
            (9, AskAPerson, 3_600),
        ] {
            let next = failed(&mailing(TimeDelta::zero(), attempts, now()), "no", what, now());
            let pause = (next.next_try_at - now()).num_seconds();
            assert_eq!((pause, next.attempts), (seconds, attempts + 1), "{attempts} {what:?}");
            assert_eq!((next.read_at, next.problem.as_deref()), (None, Some("no")));
        }
    }

    #[test]
    fn a_chain_has_a_mailbox_when_somebody_asked_for_one() {
        let rpc = "rpc = ['http://127.0.0.1:1']";
        let file = format!(
            "[chains.1]\n{rpc}\n[chains.10]\n{rpc}\nsafe_service = 'off'\n[chains.8453]\n{rpc}\n\
             safe_service = 'https://safe.example/base/'\n[chains.31337]\n{rpc}"
        );
        let settings = Settings::read(&file, Overrides::default()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let roots = |access: &SafeAccess| -> Vec<String> {
            let all = mailboxes(&settings, access, &clock).unwrap();
            all.iter().map(|mailbox| mailbox.service.root().to_string()).collect()
        };
        drop(rustls::crypto::ring::default_provider().install_default());
        let own = "https://safe.example/base/api";
        assert_eq!(roots(&SafeAccess::default()), [own]);
        let keyed = SafeAccess { api_key: Some("eyJ".into()), proposer: None };
        assert_eq!(roots(&keyed), ["https://api.safe.global/tx-service/eth/api", own]);
    }

    #[test]
    fn what_a_person_must_mend_is_not_asked_for_again_and_again() {
        let error = MailError::Service(SafeServiceError::EthSign);
        assert_eq!(error.what_to_do(), WhatToDo::AskAPerson);
        assert_eq!(MailError::HashDiffers.what_to_do(), WhatToDo::AskAPerson);
    }
}
