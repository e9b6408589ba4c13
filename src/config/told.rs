//! Settings as an operator sees them: every one, with where its value comes from. A value is told by its
//! type: of a URL nothing but its host, since the rest often holds a key; a type that is not listed here,
//! such as a text, cannot be told at all.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, time::Duration};

use alloy::primitives::Address;
use serde::Serialize;
use url::Url;

use super::{
    AccessLists, Capture, ChainSettings, DepthPolicy, GatewaySettings, Overrides, RelayerCaps,
    SafeServiceSetting, Settings, parse_chain_flag,
};
use crate::{request::ids::AppId, roles::Role};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Default,
    File,
    FlagOrEnvironment,
    // `countersign devnet` has chosen it, or was told it by a flag of its own.
    Devnet,
}

/// One setting, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Setting)]
pub struct Told {
    /// As the configuration file calls it.
    pub name: String,
    pub value: String,
    pub source: Source,
}

impl Source {
    pub fn words(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::FlagOrEnvironment => "flag or environment",
            Self::Devnet => "the devnet",
        }
    }
}

/// Which settings somebody gave; all others have their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// `file` and `overrides` have been read without an error.
    pub(super) fn of(file: &str, overrides: &Overrides) -> Self {
        let mut sources = Self::default();
        sources.add_file("", &file.parse().unwrap_or_default());
        // In full, so that a new one is not forgotten.
        let Overrides {
            listen,
            phala_api_prefix,
            phala_calls_per_second,
            open_reads,
            require_compose_proof,
            settle_seconds,
            boot_poll_seconds,
            webhooks,
            public_url,
            gateway,
            gateway_capture,
            access: AccessLists { admins, auditors, requesters, viewers, proxies },
            chains,
        } = overrides;
        for (name, is_given) in [
            ("listen", listen.is_some()),
            ("phala_api_prefix", phala_api_prefix.is_some()),
            ("phala_calls_per_second", phala_calls_per_second.is_some()),
            ("open_reads", open_reads.is_some()),
            ("require_compose_proof", require_compose_proof.is_some()),
            ("settle_seconds", settle_seconds.is_some()),
            ("boot_poll_seconds", boot_poll_seconds.is_some()),
            ("webhooks", !webhooks.is_empty()),
            ("public_url", public_url.is_some()),
            ("gateway", gateway.is_some()),
            ("gateway_capture", gateway_capture.is_some()),
            ("access.admins", !admins.is_empty()),
            ("access.auditors", !auditors.is_empty()),
            ("access.requesters", !requesters.is_empty()),
            ("access.viewers", !viewers.is_empty()),
            ("access.proxies", proxies.is_some()),
        ] {
            if is_given {
                sources.0.insert(name.to_owned(), Source::FlagOrEnvironment);
            }
        }
        for text in chains {
            sources.add_chain(text);
        }
        sources
    }

    fn add_file(&mut self, path: &str, table: &toml::Table) {
        for (key, value) in table {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                toml::Value::Table(inner) => self.add_file(&name, inner),
                _ => drop(self.0.insert(name, Source::File)),
            }
        }
    }

    /// A chain that a flag gives takes the place of all that the file says of it.
    fn add_chain(&mut self, text: &str) {
        let Ok((id, _)) = parse_chain_flag(text) else { return };
        let of_chain = format!("chains.{id}.");
        self.0.retain(|name, _| !name.starts_with(&of_chain));
        let keys = text.split(';').skip(1).filter_map(|part| part.split_once('='));
        for key in keys.map(|(key, _)| key).chain(["rpc"]) {
            self.0.insert(format!("{of_chain}{key}"), Source::FlagOrEnvironment);
        }
    }
}

/// How a value is told.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! plain {
    ($($kind:ty),*) => {
        $(impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}
plain!(bool, u8, u64, usize, NonZeroU32, SocketAddr, DepthPolicy, AppId, Address);

impl Shown for &'static str {
    fn shown(&self) -> String {
        (*self).to_owned()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

impl Shown for Url {
    fn shown(&self) -> String {
        let mut bare = self.clone();
        // What cannot be taken out cannot be there.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        bare.set_query(None);
        bare.set_fragment(None);
        bare.set_path("");
        let bare = bare.as_str().trim_end_matches('/').to_owned();
        if self.as_str().trim_end_matches('/') == bare { bare } else { format!("{bare}/…") }
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        let all: Vec<String> = self.iter().map(Shown::shown).collect();
        if all.is_empty() { "none".into() } else { all.join(", ") }
    }
}

impl Shown for Capture {
    fn shown(&self) -> String {
        match self {
            Self::BestEffort => "best_effort".into(),
            Self::Required => "required".into(),
        }
    }
}

impl Shown for SafeServiceSetting {
    fn shown(&self) -> String {
        match self {
            Self::Hosted => "hosted, if there is an API key or a proposer key".into(),
            Self::Off => "off".into(),
            Self::At(url) => url.shown(),
        }
    }
}

impl Settings {
    /// The settings of a devnet, which chose everything that differs from the defaults.
    #[cfg(feature = "devnet")]
    #[must_use]
    pub fn of_devnet(mut self) -> Self {
        self.is_devnet = true;
        let defaults = Self::read("", Overrides::default()).map(|it| it.told()).unwrap_or_default();
        let is_default = |told: &Told| {
            defaults.iter().any(|one| (&one.name, &one.value) == (&told.name, &told.value))
        };
        let chosen = self.told().into_iter().filter(|told| !is_default(told));
        self.sources = Sources(chosen.map(|told| (told.name, Source::Devnet)).collect());
        self
    }

    /// Every setting, as it is in use.
    pub fn told(&self) -> Vec<Told> {
        // In full, so that a new one is not forgotten.
        let Self {
            listen,
            phala_api_prefix,
            phala_rate,
            chains,
            open_reads,
            is_devnet,
            require_compose_proof,
            settle,
            boot_poll,
            webhooks,
            public_url,
            gateway: GatewaySettings { is_on, capture, patience: _ },
            access,
            sources: _,
        } = self;
        let mut told = vec![];
        let mut tell = |name: &str, value: &dyn Shown| {
            let source = self.sources.0.get(name).copied().unwrap_or(Source::Default);
            told.push(Told { name: name.to_owned(), value: value.shown(), source });
        };
        tell("listen", listen);
        tell("public_url", public_url);
        tell("open_reads", open_reads);
        tell("phala_api_prefix", phala_api_prefix);
        tell("phala_calls_per_second", phala_rate);
        tell("require_compose_proof", require_compose_proof);
        tell("settle_seconds", settle);
        tell("boot_poll_seconds", boot_poll);
        tell("webhooks", webhooks);
        tell("gateway", &if *is_on { "on" } else { "off" });
        tell("gateway_capture", capture);
        tell("devnet", is_devnet);
        for (name, role) in [
            ("access.admins", Role::Admin),
            ("access.auditors", Role::Auditor),
            ("access.requesters", Role::Requester),
            ("access.viewers", Role::Viewer),
        ] {
            tell(name, &access.wallets_with(role));
        }
        tell("access.proxies", &access.proxies);
        for chain in chains {
            // In full as well.
            let ChainSettings {
                id,
                rpc,
                quorum,
                depth,
                poll,
                rate,
                backfill_blocks,
                apps,
                kms,
                explorer,
                safe_service,
                relayer: RelayerCaps { max_fee, max_gas },
            } = chain;
            let values: [(&str, &dyn Shown); 12] = [
                ("rpc", rpc),
                ("quorum", quorum),
                ("depth", depth),
                ("poll_ms", poll),
                ("calls_per_second", rate),
                ("backfill_blocks", backfill_blocks),
                ("apps", apps),
                ("kms", kms),
                ("explorer", explorer),
                ("safe_service", safe_service),
                ("relayer_max_fee_gwei", &Gwei(*max_fee)),
                ("relayer_max_gas", max_gas),
            ];
            for (key, value) in values {
                tell(&format!("chains.{id}.{key}"), value);
            }
        }
        told
    }
}

/// A number of wei, in gwei.
struct Gwei(u64);

impl Shown for Gwei {
    fn shown(&self) -> String {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let digits = format!("{whole}.{rest:09}");
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(told: &'a [Told], name: &str) -> (&'a str, Source) {
        let one = told.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}"));
        (one.value.as_str(), one.source)
    }

    #[test]
    fn every_setting_is_told_with_where_it_comes_from() {
        let file = "listen = \"127.0.0.1:1\"\nopen_reads = false\n[access]\nproxies = 2\n\
            [chains.1]\nrpc = [\"https://a.example\"]\nquorum = 1\n\
            [chains.8453]\nrpc = [\"https://a.example\"]\nquorum = 1\n";
        let overrides = Overrides {
            listen: Some("127.0.0.1:2".into()),
            chains: vec!["8453=https://b.example;depth=safe".into()],
            ..Overrides::default()
        };
        let told = Settings::read(file, overrides).unwrap().told();
        for (name, shown, source) in [
            ("listen", "127.0.0.1:2", Source::FlagOrEnvironment),
            ("open_reads", "false", Source::File),
            ("settle_seconds", "60s", Source::Default),
            ("access.proxies", "2", Source::File),
            ("access.admins", "none", Source::Default),
            ("chains.1.quorum", "1", Source::File),
            ("chains.1.depth", "finalized", Source::Default),
            ("chains.8453.depth", "safe", Source::FlagOrEnvironment),
            ("chains.8453.rpc", "https://b.example", Source::FlagOrEnvironment),
            ("chains.8453.quorum", "1", Source::Default),
            ("chains.8453.relayer_max_fee_gwei", "2", Source::Default),
        ] {
            assert_eq!(value(&told, name), (shown, source), "{name}");
        }
    }

    #[cfg(feature = "devnet")]
    #[test]
    fn what_a_devnet_chose_is_no_default() {
        let access = AccessLists {
            admins: vec!["0x9D85ca56217D2bb651b00f15e694EB7E713637D4".into()],
            ..AccessLists::default()
        };
        let chains = vec!["31337=http://127.0.0.1:8545;depth=2".into()];
        let chosen = Overrides { access, chains, ..Overrides::default() };
        let mut settings = Settings::read("", chosen).unwrap();
        settings.open_reads = true;
        let told = settings.of_devnet().told();
        for (name, shown, source) in [
            ("open_reads", "true", Source::Devnet),
            ("devnet", "true", Source::Devnet),
            ("access.admins", "0x9D85ca56217D2bb651b00f15e694EB7E713637D4", Source::Devnet),
            ("chains.31337.depth", "2 blocks", Source::Devnet),
            ("chains.31337.quorum", "1", Source::Devnet),
            ("access.auditors", "none", Source::Default),
            ("settle_seconds", "60s", Source::Default),
        ] {
            assert_eq!(value(&told, name), (shown, source), "{name}");
        }
    }

    #[test]
    fn of_a_url_only_its_host_is_told() {
        for (url, shown) in [
            ("https://a.example", "https://a.example"),
            ("https://a.example:8443/", "https://a.example:8443"),
            ("https://a.example/v2/KEY", "https://a.example/…"),
            ("https://KEY@a.example", "https://a.example/…"),
            ("https://user:KEY@a.example/", "https://a.example/…"),
            ("wss://a.example/?key=KEY", "wss://a.example/…"),
            ("https://a.example/#KEY", "https://a.example/…"),
        ] {
            assert_eq!(url.parse::<Url>().unwrap().shown(), shown);
        }
        assert_eq!(Gwei(2_500_000_000).shown(), "2.5");
        assert_eq!(Gwei(10_000_000_000).shown(), "10");
        assert_eq!(Gwei(1).shown(), "0.000000001");
        assert_eq!(Gwei(0).shown(), "0");
    }
}
