//! A KMS on the local chain, and apps that it knows: made by its own factory, as Phala Cloud makes
//! them.

use alloy::{
    primitives::{Address, B256},
    sol_types::{SolCall, SolValue},
};

use super::{Artifacts, LocalRpcError, Rpc, Wallet, artifacts::ArtifactError};
use crate::{
    dstack::Generation,
    request::ids::{AppId, ComposeHash, DeviceId},
};

alloy::sol! {
    /// What the devnet uses of a KMS. The factory call with five arguments works for every
    /// generation of apps.
    interface DstackKms {
        struct AppBootInfo {
            address appId;
            bytes32 composeHash;
            address instanceId;
            bytes32 deviceId;
            bytes32 mrAggregated;
            bytes32 mrSystem;
            bytes32 osImageHash;
            string tcbStatus;
            string[] advisoryIds;
        }

        function deployAndRegisterApp(address initialOwner, bool disableUpgrades, bool allowAnyDevice, bytes32 initialDeviceId, bytes32 initialComposeHash) external returns (address appId);
        function addOsImageHash(bytes32 osImageHash) external;
        function isAppAllowed(AppBootInfo bootInfo) external view returns (bool isAllowed, string reason);
    }
}

/// The operating system image that instances of the devnet boot.
pub const OS_IMAGE: B256 = B256::repeat_byte(0x05);

/// Why there is no KMS.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Rpc(#[from] LocalRpcError),
}

/// A KMS whose factory makes apps of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kms {
    pub address: Address,
}

impl Kms {
    pub async fn deploy(
        rpc: &Rpc,
        artifacts: &Artifacts,
        owner: &Wallet,
        generation: Generation,
    ) -> Result<Self, KmsError> {
        let name = match generation {
            Generation::G0 => "DstackAppG0",
            Generation::G1 => "DstackAppG1",
            Generation::G2 => "DstackAppG2",
            Generation::G3 => "DstackAppG3",
        };
        let implementation = rpc.deploy(owner, artifacts.contract(name)?).await?;
        let mut code = artifacts.contract("DstackKms")?.to_vec();
        code.extend((owner.address(), implementation).abi_encode());
        let address = rpc.deploy(owner, code.into()).await?;
        let image = DstackKms::addOsImageHashCall { osImageHash: OS_IMAGE };
        rpc.send(owner, address, image.abi_encode().into()).await?;
        Ok(Self { address })
    }

    /// Makes an app that allows one compose hash on one device, and belongs to `owner`.
    pub async fn new_app(
        &self,
        rpc: &Rpc,
        payer: &Wallet,
        owner: Address,
        compose_hash: ComposeHash,
        device: DeviceId,
    ) -> Result<AppId, LocalRpcError> {
        let call = DstackKms::deployAndRegisterAppCall {
            initialOwner: owner,
            disableUpgrades: false,
            allowAnyDevice: false,
            initialDeviceId: device.0,
            initialComposeHash: compose_hash.0,
        };
        let app = rpc.ask(self.address, &call).await?;
        rpc.send(payer, self.address, call.abi_encode().into()).await?;
        Ok(AppId(app))
    }

    /// Whether an instance would get its keys; when not, why.
    pub async fn is_app_allowed(
        &self,
        rpc: &Rpc,
        app: AppId,
        compose_hash: ComposeHash,
        device: DeviceId,
    ) -> Result<Result<(), String>, LocalRpcError> {
        let boot_info = DstackKms::AppBootInfo {
            appId: app.0,
            composeHash: compose_hash.0,
            instanceId: Address::repeat_byte(0x11),
            deviceId: device.0,
            mrAggregated: B256::ZERO,
            mrSystem: B256::ZERO,
            osImageHash: OS_IMAGE,
            tcbStatus: "UpToDate".into(),
            advisoryIds: Vec::new(),
        };
        let call = DstackKms::isAppAllowedCall { bootInfo: boot_info };
        let answer = rpc.ask(self.address, &call).await?;
        Ok(if answer.isAllowed { Ok(()) } else { Err(answer.reason) })
    }
}
