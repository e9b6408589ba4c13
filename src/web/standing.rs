//! What the chain adds to why a request waits: how deep its execution lies, or that the chain cannot
//! be followed. Told when a request is read, since a block may come for a hundred thousand of them.

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::{
    config::DepthPolicy,
    flow::Service,
    request::{Request, ids::ChainId, status::Status},
    store::{StoreError, chain::Head, troubles::Trouble},
    watch::{depth::Depth, look::WAITS_FOR_DEPTH},
};

/// How the chains of some requests stand.
#[derive(Debug, Default)]
pub struct Standings(HashMap<ChainId, Standing>);

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
        let mut standings = HashMap::new();
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
        }
        Ok(Self(standings))
    }

    /// Whether a chain is not followed on until a person has looked.
    pub fn is_halted(&self, chain: ChainId) -> bool {
        let trouble = self.0.get(&chain).and_then(|standing| standing.trouble.as_ref());
        trouble.is_some_and(|trouble| trouble.halted)
    }

    /// Says why a request waits as far as its chain is the reason; how deep its execution lies.
    pub fn explain(&self, request: &mut Request) -> Option<Depth> {
        let standing = self.0.get(&request.chain)?;
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
        }
        depth
    }
}
