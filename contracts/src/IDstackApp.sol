// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title The question a dstack KMS asks before it hands keys to an instance
/// @notice ERC-165 id 0x1e079198, which is the selector of its only function.
interface IAppAuth {
    /// @notice What a booting instance presents, as measured and attested by its TEE.
    /// @param appId         address of the app contract; the app itself does not check it
    /// @param composeHash   SHA-256 of the app-compose document the instance runs
    /// @param instanceId    id of this one instance
    /// @param deviceId      id of the machine, fixed for the life of its TEE hardware
    /// @param mrAggregated  digest over all measurement registers
    /// @param mrSystem      digest over the registers the operating system decides
    /// @param osImageHash   hash of the operating system image
    /// @param tcbStatus     verdict on the platform's firmware; "UpToDate" when nothing is known against it
    /// @param advisoryIds   published advisories that apply to the platform
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

    /// @notice Whether the instance may boot; when it may not, why.
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool isAllowed, string memory reason);
}

/// @title Upkeep of an app's two allowlists
/// @notice ERC-165 id 0x8fd37527: the four selectors combined by exclusive or.
/// @dev No argument of these events is indexed, so a log query can select the app and the kind of
///      event but never one hash. An event says that a call was made, not that anything changed:
///      adding what is there and removing what is not emit as well.
interface IAppAuthBasicManagement {
    event ComposeHashAdded(bytes32 composeHash);
    event ComposeHashRemoved(bytes32 composeHash);
    event DeviceAdded(bytes32 deviceId);
    event DeviceRemoved(bytes32 deviceId);

    function addComposeHash(bytes32 composeHash) external;
    function removeComposeHash(bytes32 composeHash) external;
    function addDevice(bytes32 deviceId) external;
    function removeDevice(bytes32 deviceId) external;
}
