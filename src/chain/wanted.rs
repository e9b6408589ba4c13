//! Which logs are asked for, and what comes back of them. Pure.

use std::collections::HashSet;

use alloy::{
    primitives::{Address, B256},
    rpc::types::{Filter, Log},
};

use super::ChainError;

/// Which logs are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Whose logs; more than [`ADDRESSES_MAX`] are sorted out here instead of by the endpoint.
    pub addresses: HashSet<Address>,
    /// First topics.
    pub topics: Vec<B256>,
}

/// Most addresses that an endpoint is asked to filter by.
const ADDRESSES_MAX: usize = 1_000;

impl Wanted {
    pub fn filter(&self) -> Filter {
        let filter = Filter::new().event_signature(self.topics.clone());
        if self.addresses.len() > ADDRESSES_MAX {
            return filter;
        }
        filter.address(self.addresses.iter().copied().collect::<Vec<_>>())
    }

    /// Keeps what was asked for; refuses logs that do not say where they stand, or stand elsewhere.
    pub fn check(&self, logs: Vec<Log>, from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        let mut kept = vec![];
        for log in logs {
            let placed = log.block_hash.is_some()
                && log.log_index.is_some_and(|index| i64::try_from(index).is_ok())
                && log.transaction_hash.is_some()
                && log.block_number.is_some_and(|number| (from..=to).contains(&number));
            let problem = if !placed {
                "a log without its place, or outside the range"
            } else if log.removed {
                "a log of a block that is no longer part of the chain"
            } else if self.addresses.contains(&log.address()) {
                kept.push(log);
                continue;
            } else if self.addresses.len() > ADDRESSES_MAX {
                continue;
            } else {
                "a log of an address that was not asked for"
            };
            return Err(ChainError::Logs(problem.into()));
        }
        Ok(kept)
    }
}

/// Leaves out what some endpoints add and others do not.
pub fn normal(mut logs: Vec<Log>) -> Vec<Log> {
    for log in &mut logs {
        log.block_timestamp = None;
        log.transaction_index = None;
    }
    logs
}
