//! Puts the published Safe contracts where every chain has them, and makes Safes of them.
//!
//! Since 1.3.0 they are deployed as the Safe project deploys them: by CREATE2 with salt zero, through
//! a factory at a known address. That binds the address to the code, so landing on the canonical
//! address means being the contract that is there on Base. What is older is put at its address, and
//! only the hash of its code tells.

use alloy::{
    primitives::{Address, B256, Bytes, U256, address, keccak256},
    sol_types::SolCall,
};

use super::{
    Artifacts, LocalRpcError, Rpc, Wallet,
    artifacts::{ArtifactError, SafeContract},
};
use crate::{
    request::ids::ChainId,
    safe::{SafeVersion, deployments::multi_send_call_only},
};

/// The Safe singleton factory.
const SAFE_FACTORY: Address = address!("914d7Fec6aaC8cd542e72Bca78B30650d45643d7");
/// The factory that older releases came through; anvil has it from the start.
const KEYLESS_FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

alloy::sol! {
    interface SafeSetup {
        function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) external returns (address proxy);
        function setup(address[] owners, uint256 threshold, address to, bytes data, address fallbackHandler, address paymentToken, uint256 payment, address paymentReceiver) external;
    }
    interface SafeSetup1_0_0 {
        function setup(address[] owners, uint256 threshold, address to, bytes data, address paymentToken, uint256 payment, address paymentReceiver) external;
    }
}

/// Why Safe's contracts are not on the chain.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Rpc(#[from] LocalRpcError),
    #[error("{contract:?} of Safe {version} would land on {found}, not on {canonical}")]
    NotCanonical {
        contract: SafeContract,
        version: SafeVersion,
        found: Address,
        canonical: Address,
    },
}

/// One published set of contracts, by the addresses it has on every chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeRelease {
    pub version: SafeVersion,
    /// The CREATE2 factory that it, or its batch contract, comes through.
    factory: Address,
    pub safe: Address,
    /// There is one since 1.3.0.
    pub safe_l2: Option<Address>,
    pub proxy_factory: Address,
    /// Of 1.3.0 for older Safes, with which none was published.
    pub multi_send_call_only: Address,
    /// There is one since 1.1.1.
    pub fallback_handler: Option<Address>,
}

const RELEASES: [SafeRelease; 4] = [
    SafeRelease {
        version: SafeVersion::V1_3_0,
        factory: KEYLESS_FACTORY,
        safe: address!("d9Db270c1B5E3Bd161E8c8503c55cEABeE709552"),
        safe_l2: Some(address!("3E5c63644E683549055b9Be8653de26E0B4CD36E")),
        proxy_factory: address!("a6B71E26C5e0845f74c812102Ca7114b6a896AB2"),
        multi_send_call_only: address!("40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
        fallback_handler: Some(address!("f48f2B2d2a534e402487b3ee7C18c33Aec0Fe5e4")),
    },
    // The set of 1.3.0 that Base, Optimism and the test networks use.
    SafeRelease {
        version: SafeVersion::V1_3_0,
        factory: SAFE_FACTORY,
        safe: address!("69f4D1788e39c87893C980c06EdF4b7f686e2938"),
        safe_l2: Some(address!("fb1bffC9d739B8D520DaF37dF666da4C687191EA")),
        proxy_factory: address!("C22834581EbC8527d974F8a1c97E1bEA4EF910BC"),
        multi_send_call_only: address!("A1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
        fallback_handler: Some(address!("017062a1dE2FE6b99BE3d9d37841FeD19F573804")),
    },
    SafeRelease {
        version: SafeVersion::V1_4_1,
        factory: SAFE_FACTORY,
        safe: address!("41675C099F32341bf84BFc5382aF534df5C7461a"),
        safe_l2: Some(address!("29fcB43b46531BcA003ddC8FCB67FFE91900C762")),
        proxy_factory: address!("4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67"),
        multi_send_call_only: address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
        fallback_handler: Some(address!("fd0732Dc9E303f09fCEf3a7388Ad10A83459Ec99")),
    },
    SafeRelease {
        version: SafeVersion::V1_5_0,
        factory: SAFE_FACTORY,
        safe: address!("Ff51A5898e281Db6DfC7855790607438dF2ca44b"),
        safe_l2: Some(address!("EdD160fEBBD92E350D4D398fb636302fccd67C7e")),
        proxy_factory: address!("14F2982D601c9458F93bd70B218933A6f8165e7b"),
        multi_send_call_only: address!("A83c336B20401Af773B6219BA5027174338D1836"),
        fallback_handler: Some(address!("3EfCBb83A4A7AfcB4F68D501E2c2203a38be77f4")),
    },
];

/// Singleton, proxy factory and fallback handler of a Safe that came before the CREATE2 factories:
/// an account deployed each. 1.2.0 brought a new singleton only.
fn placed(version: SafeVersion) -> Option<(Address, Address, Option<Address>)> {
    const FACTORY_1_1_1: Address = address!("76E2cFc1F5Fa8F6a5b3fC4c8F4788F0116861F9B");
    const HANDLER_1_1_1: Address = address!("d5D82B6aDDc9027B22dCA772Aa68D5d74cdBdF44");
    match version {
        SafeVersion::V1_0_0 => Some((
            address!("b6029EA3B2c51D09a50B53CA8012FeEB05bDa35A"),
            address!("12302fE9c02ff50939BaAaaf415fc226C078613C"),
            None,
        )),
        SafeVersion::V1_1_1 => Some((
            address!("34CfAC646f301356fAa8B21e94227e3583Fe3F5F"),
            FACTORY_1_1_1,
            Some(HANDLER_1_1_1),
        )),
        SafeVersion::V1_2_0 => Some((
            address!("6851D6fDFAfD08c0295C392436245E5bc78B0185"),
            FACTORY_1_1_1,
            Some(HANDLER_1_1_1),
        )),
        _ => None,
    }
}

impl SafeRelease {
    /// The set of a version that Safe's own tools use on a chain.
    #[must_use]
    pub fn of(version: SafeVersion, chain: ChainId) -> Self {
        let multi_send = multi_send_call_only(version, chain)[0].address;
        let set = RELEASES.iter().find(|set| set.multi_send_call_only == multi_send);
        let set = *set.expect("every batch contract that is proposed through is in a set");
        match placed(version) {
            Some((safe, proxy_factory, fallback_handler)) => {
                Self { version, safe, safe_l2: None, proxy_factory, fallback_handler, ..set }
            }
            None => set,
        }
    }

    /// The code for Safes on a rollup, or on Ethereum, where events are dear. Before 1.3.0 there is
    /// one for both.
    #[must_use]
    pub fn singleton(&self, l1: bool) -> Address {
        self.safe_l2.filter(|_| !l1).unwrap_or(self.safe)
    }

    fn canonical(&self, contract: SafeContract) -> Option<Address> {
        match contract {
            SafeContract::Safe => Some(self.safe),
            SafeContract::SafeL2 => self.safe_l2,
            SafeContract::ProxyFactory => Some(self.proxy_factory),
            SafeContract::MultiSendCallOnly => Some(self.multi_send_call_only),
            SafeContract::FallbackHandler => self.fallback_handler,
        }
    }

    /// Puts all of its contracts on a chain.
    pub async fn deploy(
        &self,
        rpc: &Rpc,
        artifacts: &Artifacts,
        payer: &Wallet,
    ) -> Result<(), ReleaseError> {
        if self.factory != KEYLESS_FACTORY {
            // Both factories have the same code.
            let code = rpc.code(KEYLESS_FACTORY).await?;
            rpc.set_code(self.factory, &code).await?;
        }
        for contract in SafeContract::ALL {
            let Some(canonical) = self.canonical(contract) else { continue };
            if contract != SafeContract::MultiSendCallOnly && placed(self.version).is_some() {
                let code = artifacts.safe(self.version, contract)?;
                rpc.set_code(canonical, &rpc.runtime_code(code).await?).await?;
                continue;
            }
            let version = self.version.max(SafeVersion::V1_3_0);
            let code = artifacts.safe(version, contract)?;
            let found = self.factory.create2(B256::ZERO, keccak256(&code));
            if found != canonical {
                return Err(ReleaseError::NotCanonical { contract, version, found, canonical });
            }
            if rpc.code(canonical).await?.is_empty() {
                let data = [B256::ZERO.as_slice(), &code].concat();
                rpc.send(payer, self.factory, data.into()).await?;
            }
        }
        Ok(())
    }

    /// Makes a Safe of a singleton. Equal owners, threshold and salt give equal addresses on every
    /// chain.
    pub async fn new_safe(
        &self,
        rpc: &Rpc,
        payer: &Wallet,
        singleton: Address,
        owners: Vec<Address>,
        threshold: usize,
        salt: u64,
    ) -> Result<Address, LocalRpcError> {
        let create = SafeSetup::createProxyWithNonceCall {
            singleton,
            initializer: self.setup(owners, U256::from(threshold)).into(),
            saltNonce: U256::from(salt),
        };
        let safe = rpc.ask(self.proxy_factory, &create).await?;
        rpc.send(payer, self.proxy_factory, create.abi_encode().into()).await?;
        Ok(safe)
    }

    fn setup(&self, owners: Vec<Address>, threshold: U256) -> Vec<u8> {
        let (none, nothing) = (Address::ZERO, Bytes::new());
        if self.version == SafeVersion::V1_0_0 {
            return SafeSetup1_0_0::setupCall {
                owners,
                threshold,
                to: none,
                data: nothing,
                paymentToken: none,
                payment: U256::ZERO,
                paymentReceiver: none,
            }
            .abi_encode();
        }
        SafeSetup::setupCall {
            owners,
            threshold,
            to: none,
            data: nothing,
            fallbackHandler: self.fallback_handler.unwrap_or_default(),
            paymentToken: none,
            payment: U256::ZERO,
            paymentReceiver: none,
        }
        .abi_encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_get_the_set_they_use() {
        for (version, chain, multi_send) in [
            (SafeVersion::V1_3_0, ChainId::BASE, "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
            (SafeVersion::V1_3_0, ChainId::ANVIL, "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
            (SafeVersion::V1_1_1, ChainId::BASE, "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
            (SafeVersion::V1_5_0, ChainId::ANVIL, "0xA83c336B20401Af773B6219BA5027174338D1836"),
        ] {
            let release = SafeRelease::of(version, chain);
            assert_eq!(release.version, version);
            assert_eq!(release.multi_send_call_only.to_string(), multi_send);
        }
    }
}
