// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackAppBase} from "./DstackAppBase.sol";

/// @title DstackApp, generation 2 (dstack v0.5.9 to v0.5.11)
/// @notice Adds a demand on the platform's TCB status, in slot 3, behind the state of generation 1,
///         so that an app of generation 1 can be upgraded in place.
contract DstackAppG2 is DstackAppBase {
    event RequireTcbUpToDateSet(bool requireUpToDate);

    /// @notice Whether an instance must present the TCB status "UpToDate".
    bool public requireTcbUpToDate;

    /// @notice Like the shorter form, with the TCB demand given from the start (without an event).
    function initialize(
        address initialOwner,
        bool upgradesDisabled,
        bool requireUpToDate,
        bool anyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        requireTcbUpToDate = requireUpToDate;
        _initializeApp(initialOwner, upgradesDisabled, anyDevice, initialDeviceId, initialComposeHash);
    }

    /// @notice Sets or lifts the demand on the TCB status.
    function setRequireTcbUpToDate(bool requireUpToDate) external onlyOwner {
        requireTcbUpToDate = requireUpToDate;
        emit RequireTcbUpToDateSet(requireUpToDate);
        _policyChanged("require-tcb-up-to-date", 0, requireUpToDate);
    }

    /// @notice Version of the interface. Generation 3 answers 2 as well.
    function version() external pure returns (uint256) {
        return 2;
    }

    /// @inheritdoc DstackAppBase
    /// @dev The TCB status is looked at before the allowlists, byte for byte.
    function isAppAllowed(AppBootInfo calldata bootInfo) public view override returns (bool, string memory) {
        if (requireTcbUpToDate && keccak256(bytes(bootInfo.tcbStatus)) != keccak256("UpToDate")) {
            return (false, "TCB status is not up to date");
        }
        return super.isAppAllowed(bootInfo);
    }
}
