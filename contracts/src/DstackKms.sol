// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IAppAuth} from "./IDstackApp.sol";

/// @title The part of a dstack KMS contract that apps and Countersign meet
/// @notice Registers apps, deploys new ones behind a proxy, and answers the KMS nodes' question
///         whether an instance may have its keys. Countersign's own stand-in, for local chains and tests.
/// @dev Interface and storage slots 5, 8 and 9 as recorded from the dstack project's contracts. What
///      only KMS nodes use (their own keys, measurements and devices) is left out; its slots are held free.
///      Constructed directly, without a proxy.
contract DstackKms is OwnableUpgradeable {
    /// @dev Not indexed, unlike the event of the factory.
    event AppRegistered(address appId);
    /// @dev `deployer` is whoever sent the transaction; it says nothing about who owns the app.
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);
    event AppImplementationSet(address implementation);

    bytes32[4] private _slotsOfKmsInfo;
    bytes32 private _slotOfGatewayAppId;

    /// @notice Apps the KMS serves. Anyone may register one: an entry proves nothing.
    mapping(address appId => bool) public registeredApps;

    bytes32 private _slotOfAggregatedMeasurements;
    bytes32 private _slotOfKmsDevices;

    /// @notice Operating system images that may boot.
    mapping(bytes32 osImageHash => bool) public allowedOsImages;

    /// @notice Implementation behind the apps this factory deploys.
    address public appImplementation;

    constructor(address initialOwner, address implementation) initializer {
        __Ownable_init(initialOwner);
        appImplementation = implementation;
    }

    /// @notice Makes `appId` known. Open to everyone, and asks nothing of the address but not to be zero.
    function registerApp(address appId) public {
        require(appId != address(0), "Invalid app ID");
        registeredApps[appId] = true;
        emit AppRegistered(appId);
    }

    /// @notice Deploys an app and registers it. Open to everyone, for any owner.
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deploy(
            initialOwner,
            abi.encodeWithSignature(
                "initialize(address,bool,bool,bytes32,bytes32)",
                initialOwner,
                disableUpgrades,
                allowAnyDevice,
                initialDeviceId,
                initialComposeHash
            )
        );
    }

    /// @notice The same with a demand on the TCB status; works with implementations from generation 2 on.
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deploy(
            initialOwner,
            abi.encodeWithSignature(
                "initialize(address,bool,bool,bool,bytes32,bytes32)",
                initialOwner,
                disableUpgrades,
                requireTcbUpToDate,
                allowAnyDevice,
                initialDeviceId,
                initialComposeHash
            )
        );
    }

    /// @notice Sets the implementation of apps deployed from now on; those deployed stay as they are.
    function setAppImplementation(address implementation) external onlyOwner {
        require(implementation != address(0), "Invalid implementation address");
        appImplementation = implementation;
        emit AppImplementationSet(implementation);
    }

    /// @notice Allows an operating system image.
    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = true;
        emit OsImageHashAdded(osImageHash);
    }

    /// @notice Withdraws an operating system image.
    function removeOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = false;
        emit OsImageHashRemoved(osImageHash);
    }

    /// @notice The KMS nodes' question: registration, then the image, then the app's own answer.
    /// @dev The app is not trusted. If it reverts or answers nonsense, so does this call: that is no
    ///      rejection, and a reader must not take it for one.
    function isAppAllowed(IAppAuth.AppBootInfo calldata bootInfo) external view returns (bool, string memory) {
        if (!registeredApps[bootInfo.appId]) return (false, "App not registered");
        if (!allowedOsImages[bootInfo.osImageHash]) return (false, "OS image is not allowed");
        if (bootInfo.appId.code.length == 0) return (false, "App not deployed or invalid address");
        return IAppAuth(bootInfo.appId).isAppAllowed(bootInfo);
    }

    function _deploy(address initialOwner, bytes memory initializeCall) private returns (address appId) {
        require(appImplementation != address(0), "DstackApp implementation not set");
        require(initialOwner != address(0), "Invalid owner address");
        appId = address(new ERC1967Proxy(appImplementation, initializeCall));
        registerApp(appId);
        emit AppDeployedViaFactory(appId, msg.sender);
    }
}
