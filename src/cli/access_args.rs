//! The flags that say who may do what.

use clap::Args;

use crate::config::AccessLists;

/// Wallets and their roles. Owners of the Safe of an app are its signers without being named.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Wallets that may do everything, once they have signed in.
    #[arg(long, env = "COUNTERSIGN_ADMINS", value_name = "ADDRESS,…", value_delimiter = ',')]
    admins: Vec<String>,
    /// Wallets that look at everything, the journal as well.
    #[arg(long, env = "COUNTERSIGN_AUDITORS", value_name = "ADDRESS,…", value_delimiter = ',')]
    auditors: Vec<String>,
    /// Wallets that submit requests.
    #[arg(long, env = "COUNTERSIGN_REQUESTERS", value_name = "ADDRESS,…", value_delimiter = ',')]
    requesters: Vec<String>,
    /// Wallets that look.
    #[arg(long, env = "COUNTERSIGN_VIEWERS", value_name = "ADDRESS,…", value_delimiter = ',')]
    viewers: Vec<String>,
    /// Proxies in front that add the caller's address to `X-Forwarded-For` [default: 0].
    #[arg(long, env = "COUNTERSIGN_PROXIES", value_name = "N")]
    proxies: Option<u8>,
}

impl AccessArgs {
    pub fn lists(&self) -> AccessLists {
        AccessLists {
            admins: self.admins.clone(),
            auditors: self.auditors.clone(),
            requesters: self.requesters.clone(),
            viewers: self.viewers.clone(),
            proxies: self.proxies,
        }
    }
}
