//! The interface of a DstackApp in all its generations, as Solidity.
//!
//! Functions that only some generations have say so. The events keep the indexing of the deployed
//! contracts: compose hashes and device ids are **not** indexed, so logs cannot be filtered by them.

alloy::sol! {
    interface DstackApp {
        // Who and what it is.
        function owner() external view returns (address);
        /// G3.
        function pendingOwner() external view returns (address);
        /// G2 and later.
        function version() external view returns (uint256);
        /// G0 only.
        function appId() external view returns (address);

        // The policy.
        function allowedComposeHashes(bytes32 composeHash) external view returns (bool);
        function allowedDeviceIds(bytes32 deviceId) external view returns (bool);
        function allowAnyDevice() external view returns (bool);
        /// G2 and later.
        function requireTcbUpToDate() external view returns (bool);

        // Changing the policy.
        function addComposeHash(bytes32 composeHash) external;
        function removeComposeHash(bytes32 composeHash) external;
        function addDevice(bytes32 deviceId) external;
        function removeDevice(bytes32 deviceId) external;
        function setAllowAnyDevice(bool allow) external;
        /// G2 and later.
        function setRequireTcbUpToDate(bool required) external;
        function disableUpgrades() external;

        // Changing the owner or the code.
        function transferOwnership(address newOwner) external;
        /// G3.
        function acceptOwnership() external;
        function renounceOwnership() external;
        function upgradeToAndCall(address newImplementation, bytes data) external payable;

        event ComposeHashAdded(bytes32 composeHash);
        event ComposeHashRemoved(bytes32 composeHash);
        event DeviceAdded(bytes32 deviceId);
        event DeviceRemoved(bytes32 deviceId);
        event AllowAnyDeviceSet(bool allow);
        event RequireTcbUpToDateSet(bool required);
        event UpgradesDisabled();
        event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);
        event Upgraded(address indexed implementation);
        event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
        event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner);
        event Initialized(uint64 version);

        error OwnableUnauthorizedAccount(address account);
        error OwnableInvalidOwner(address owner);
        error InvalidInitialization();
        error NotInitializing();
        error UUPSUnauthorizedCallContext();
        error UUPSUnsupportedProxiableUUID(bytes32 slot);
        error ERC1967InvalidImplementation(address implementation);
        error ERC1967NonPayable();
        error AddressEmptyCode(address target);
        error FailedCall();
    }
}
