// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackAppBase} from "./DstackAppBase.sol";

/// @dev A parent of its own, and the first one, so that its slot comes before all others.
abstract contract AppIdInSlotZero {
    /// @notice The id under which the KMS knows the app; the contract's address need not be it.
    address public appId;
}

/// @title AppAuth, generation 0 (dstack v0.4.2 to v0.5.3)
/// @notice Like generation 1, with an app id in slot 0 and everything else one slot further: flags are
///         in slot 2. How a reader tells it from the later ones: `appId()` answers, `version()` does not.
/// @dev Keeps the later `initialize` beside its own, which the recorded contracts of this generation do
///      not have; a proxy is initialised once in either way.
contract DstackAppG0 is AppIdInSlotZero, DstackAppBase {
    /// @notice Sets up a new app, as the other `initialize` does.
    /// @param id the app id
    function initialize(
        address initialOwner,
        address id,
        bool upgradesDisabled,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        appId = id;
        _initializeApp(initialOwner, upgradesDisabled, anyDevice, initialDeviceId, initialComposeHash);
    }
}
