//! What the chain and its relayer add to why a request waits: how deep its execution lies, that the
//! chain cannot be followed, or why it is not executed yet. Told when a request is read, since a
//! block may come for a hundred thousand of them.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    config::DepthPolicy,
    flow::Service,
    propose::ANYONE_MAY_EXECUTE,
    request::{Request, ids::ChainId, status::Status},
    store::{StoreError, chain::Head, troubles::Trouble},
    watch::{depth::Depth, look::WAITS_FOR_DEPTH},
};

/// How the chains of some requests stand.
#[derive(Debug, Default)]
pub struct Standings {
    chains: HashMap<ChainId, Standing>,
    /// What the relayer says, by proposal.
    relayer: HashMap<Uuid, String>,
}

#[derive(Debug)]
struct Standing {
    policy: DepthPolicy,
    head: Option<Head>,
    trouble: Option<Trouble>,
    /// How long nobody has read the chain, when that is longer than it should be.
    unread_for: Option<TimeDelta>,
}

/// Whoever reads a chain notes it at least this often, whether there is a new block or not.
const READ_AT_LEAST: TimeDelta = TimeDelta::minutes(1);

impl Standings {
    pub async fn of(service: &Service, requests: &[Request]) -> Result<Self, StoreError> {
        let (mut standings, mut approved) = (HashMap::new(), vec![]);
        for request in requests {
            // A chain that is no longer configured has nothing to add.
            if !standings.contains_key(&request.chain)
                && let Ok(chain) = service.chains.get(request.chain)
            {
                let head = service.store.head(chain.id()).await?;
                let age = head.map(|head| service.clock.now() - head.seen_at);
                let standing = Standing {
                    policy: chain.depth(),
                    head,
                    unread_for: age.filter(|age| *age > READ_AT_LEAST),
                    trouble: service.store.trouble(chain.id()).await?,
                };
                standings.insert(request.chain, standing);
            }
            let chain = service.chains.get(request.chain);
            if request.status() == Status::Approved
                && chain.is_ok_and(|chain| service.relayer_on(chain).is_some())
            {
                approved.extend(request.facts.proposal);
            }
        }
        let relayer = if approved.is_empty() {
            HashMap::new()
        } else {
            service.store.relayer_words(&approved).await?
        };
        Ok(Self { chains: standings, relayer })
    }

    /// Whether a chain is not followed on until a person has looked.
    pub fn is_halted(&self, chain: ChainId) -> bool {
        let trouble = self.chains.get(&chain).and_then(|standing| standing.trouble.as_ref());
        trouble.is_some_and(|trouble| trouble.halted)
    }

    /// Says why a request waits as far as its chain or the relayer is the reason; how deep its
    /// execution lies.
    pub fn explain(&self, request: &mut Request) -> Option<Depth> {
        let standing = self.chains.get(&request.chain)?;
        if !request.status().is_before_commit() {
            return None;
        }
        let executed = request.facts.execution.filter(|_| request.status() == Status::Executed);
        let depth = executed.zip(standing.head).and_then(|(execution, head)| {
            Depth::of(execution.block.number, standing.policy, &head)
        });
        if let Some(trouble) = &standing.trouble {
            let label = request.chain.label();
            let state = if trouble.halted { "is no longer followed" } else { "cannot be followed" };
            request.reason = Some(format!("{label} {state}: {}", trouble.problem));
        } else if let Some(age) = standing.unread_for {
            request.reason = Some(format!(
                "{} was last read {} s ago: the instance that follows it may stand still",
                request.chain.label(),
                age.num_seconds()
            ));
        } else if let Some(depth) = depth
            && request.reason.as_deref().is_none_or(|reason| reason == WAITS_FOR_DEPTH)
        {
            request.reason = Some(depth.words(standing.policy));
        } else if let Some(says) = self.says(request)
            && let Some(reason) = &mut request.reason
        {
            *reason = reason.replace(ANYONE_MAY_EXECUTE, &format!("the relayer says: {says}"));
        }
        depth
    }

    /// What the relayer says of a request.
    fn says(&self, request: &Request) -> Option<&str> {
        self.relayer.get(&request.facts.proposal?).map(String::as_str)
    }
}
