// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {ERC165Upgradeable} from "@openzeppelin/contracts-upgradeable/utils/introspection/ERC165Upgradeable.sol";

import {IAppAuth, IAppAuthBasicManagement} from "./IDstackApp.sol";

/// @title What every generation of DstackApp has in common
/// @notice Countersign's own implementation of the interface that deployed DstackApp contracts
///         present: same selectors, events, reverts, storage slots and order of checks. It stands in
///         for them on local chains and in tests and is not meant to govern a real app.
/// @dev Interface recorded from the dstack project's `kms/auth-eth` contracts, releases v0.5.4 and
///      later, where the address of the contract is the app id.
///
///      OpenZeppelin 5 keeps the state of its own parts in ERC-7201 slots, so the app's begins at 0:
///
///      | slot | what |
///      | ---- | ---- |
///      | 0 | `allowedComposeHashes` |
///      | 1 | byte 0 `_upgradesDisabled` (no getter: read the slot), byte 1 `allowAnyDevice` |
///      | 2 | `allowedDeviceIds` |
abstract contract DstackAppBase is
    IAppAuth,
    IAppAuthBasicManagement,
    OwnableUpgradeable,
    UUPSUpgradeable,
    ERC165Upgradeable
{
    event UpgradesDisabled();
    event AllowAnyDeviceSet(bool allowAny);

    /// @notice Compose hashes that may boot.
    mapping(bytes32 composeHash => bool) public allowedComposeHashes;

    bool internal _upgradesDisabled;

    /// @notice While true the device allowlist is not consulted; its entries stay as they are.
    bool public allowAnyDevice;

    /// @notice Machines that may boot the app.
    mapping(bytes32 deviceId => bool) public allowedDeviceIds;

    /// @dev An implementation is used through proxies only, so nobody may initialise it.
    constructor() {
        _disableInitializers();
    }

    /// @notice Sets up a new app.
    /// @dev The flags are set without an event: an app's policy cannot be rebuilt from its log.
    /// @param initialOwner       may change everything below; must not be zero
    /// @param upgradesDisabled   whether the implementation is fixed from the start
    /// @param anyDevice          initial `allowAnyDevice`
    /// @param initialDeviceId    first allowed device, zero for none
    /// @param initialComposeHash first allowed compose hash, zero for none
    function initialize(
        address initialOwner,
        bool upgradesDisabled,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initializeApp(initialOwner, upgradesDisabled, anyDevice, initialDeviceId, initialComposeHash);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _addComposeHash(composeHash);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeComposeHash(bytes32 composeHash) external onlyOwner {
        allowedComposeHashes[composeHash] = false;
        emit ComposeHashRemoved(composeHash);
        _policyChanged("compose-hash", composeHash, false);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function addDevice(bytes32 deviceId) external onlyOwner {
        _addDevice(deviceId);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeDevice(bytes32 deviceId) external onlyOwner {
        allowedDeviceIds[deviceId] = false;
        emit DeviceRemoved(deviceId);
        _policyChanged("device", deviceId, false);
    }

    /// @notice Switches the device allowlist off (true) or on (false).
    function setAllowAnyDevice(bool anyDevice) external onlyOwner {
        allowAnyDevice = anyDevice;
        emit AllowAnyDeviceSet(anyDevice);
        _policyChanged("allow-any-device", 0, anyDevice);
    }

    /// @notice Fixes the implementation for good. There is no way back.
    function disableUpgrades() external onlyOwner {
        _upgradesDisabled = true;
        emit UpgradesDisabled();
        _policyChanged("upgrades-disabled", 0, true);
    }

    /// @inheritdoc IAppAuth
    /// @dev The compose hash is looked at before the device, so the reason names the first that fails.
    function isAppAllowed(AppBootInfo calldata bootInfo) public view virtual returns (bool, string memory) {
        if (!allowedComposeHashes[bootInfo.composeHash]) return (false, "Compose hash not allowed");
        if (!allowAnyDevice && !allowedDeviceIds[bootInfo.deviceId]) return (false, "Device not allowed");
        return (true, "");
    }

    /// @inheritdoc ERC165Upgradeable
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || interfaceId == type(IAppAuthBasicManagement).interfaceId
            || super.supportsInterface(interfaceId);
    }

    function _initializeApp(
        address initialOwner,
        bool upgradesDisabled,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) internal virtual {
        require(initialOwner != address(0), "invalid owner address");
        __Ownable_init(initialOwner);
        _upgradesDisabled = upgradesDisabled;
        allowAnyDevice = anyDevice;
        if (initialDeviceId != 0) _addDevice(initialDeviceId);
        if (initialComposeHash != 0) _addComposeHash(initialComposeHash);
    }

    /// @dev Owner first: a stranger learns nothing about whether upgrades are still possible.
    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
        _policyChanged("implementation-upgrade", bytes32(uint256(uint160(newImplementation))), true);
    }

    /// @dev Called beside every event of the app, for the generation that keeps a uniform record.
    function _policyChanged(string memory policy, bytes32 value, bool enabled) internal virtual {}

    function _addComposeHash(bytes32 composeHash) private {
        allowedComposeHashes[composeHash] = true;
        emit ComposeHashAdded(composeHash);
        _policyChanged("compose-hash", composeHash, true);
    }

    function _addDevice(bytes32 deviceId) private {
        allowedDeviceIds[deviceId] = true;
        emit DeviceAdded(deviceId);
        _policyChanged("device", deviceId, true);
    }
}
