//! What the emulator asks the chain. An unreadable chain is never taken for "not registered".

use alloy::{
    primitives::{Address, B256},
    providers::{DynProvider, Provider, ProviderBuilder},
    sol,
    sol_types::SolEvent,
};
use url::Url;

use crate::request::ids::{AppId, ComposeHash, DeviceId};

sol! {
    #[sol(rpc)]
    interface App {
        event ComposeHashAdded(bytes32 composeHash);
        function allowedComposeHashes(bytes32 composeHash) external view returns (bool);
        function allowedDeviceIds(bytes32 deviceId) external view returns (bool);
        function allowAnyDevice() external view returns (bool);
        function owner() external view returns (address);
    }
}

/// The chain did not answer, or not with what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unreadable;

impl<E: std::error::Error> From<E> for Unreadable {
    fn from(error: E) -> Self {
        tracing::debug!(%error, "the emulator cannot read its chain");
        Self
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    pub compose: bool,
    pub device: bool,
    pub any_device: bool,
}

impl Registration {
    pub fn device_allowed(self) -> bool {
        self.device || self.any_device
    }

    pub fn is_allowed(self) -> bool {
        self.compose && self.device_allowed()
    }
}

/// What a transaction is worth as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    NoReceipt,
    Reverted,
    /// It succeeded, but the app did not say in it that the hash was added.
    NoEvent,
    Good,
}

#[derive(Clone)]
pub(super) struct Chain {
    provider: DynProvider,
}

impl Chain {
    pub fn new(rpc: Url) -> Self {
        Self { provider: ProviderBuilder::new().connect_http(rpc).erased() }
    }

    pub async fn registration(
        &self,
        app: AppId,
        compose: ComposeHash,
        device: DeviceId,
    ) -> Result<Registration, Unreadable> {
        let app = App::new(app.0, &self.provider);
        Ok(Registration {
            compose: app.allowedComposeHashes(compose.0).call().await?,
            device: app.allowedDeviceIds(device.0).call().await?,
            any_device: app.allowAnyDevice().call().await?,
        })
    }

    pub async fn evidence(
        &self,
        tx: B256,
        app: AppId,
        compose: ComposeHash,
    ) -> Result<Evidence, Unreadable> {
        let Some(receipt) = self.provider.get_transaction_receipt(tx).await? else {
            return Ok(Evidence::NoReceipt);
        };
        if !receipt.status() {
            return Ok(Evidence::Reverted);
        }
        let added = receipt.logs().iter().any(|log| {
            log.address() == app.0
                && App::ComposeHashAdded::decode_log(&log.inner)
                    .is_ok_and(|event| event.composeHash == compose.0)
        });
        Ok(if added { Evidence::Good } else { Evidence::NoEvent })
    }

    /// An app's owner, and whether it is a contract.
    pub async fn owner(&self, app: AppId) -> Result<(Address, bool), Unreadable> {
        let owner = App::new(app.0, &self.provider).owner().call().await?;
        let code = self.provider.get_code_at(owner).await?;
        Ok((owner, !code.is_empty()))
    }
}
