// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackAppBase} from "./DstackAppBase.sol";

/// @dev In front of everything else, so that every slot of the later generations is one further on.
abstract contract AppIdInFront {
    /// @notice Which app this is; later generations are known by their own address.
    address public appId;
}

/// @title DstackApp, generation 0 (`AppAuth` of dstack v0.4.2 to v0.5.3)
/// @notice Like generation 1, with an app id of its own.
contract DstackAppG0 is AppIdInFront, DstackAppBase {
    /// @notice Sets up a new app under an id.
    function initialize(
        address initialOwner,
        address id,
        bool upgradesDisabled,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initializeApp(initialOwner, upgradesDisabled, anyDevice, initialDeviceId, initialComposeHash);
        appId = id;
    }

    /// @dev The call of the later generations gives no id; the KMS of this repository makes all of
    ///      them with it.
    function _initializeApp(
        address initialOwner,
        bool upgradesDisabled,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) internal override {
        appId = address(this);
        super._initializeApp(initialOwner, upgradesDisabled, anyDevice, initialDeviceId, initialComposeHash);
    }
}
