// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable2StepUpgradeable} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {DstackAppG2} from "./DstackAppG2.sol";

/// @title DstackApp, generation 3 (dstack main, unreleased)
/// @notice A new owner must accept before it is one, and every change is also recorded in one
///         uniform, indexed event.
contract DstackAppG3 is DstackAppG2, Ownable2StepUpgradeable {
    /// @notice Beside each event of the earlier generations.
    /// @dev The interface fixes the names of the policies. It leaves open what `value` is for a
    ///      policy without an argument; here it is zero.
    /// @param actor   who called
    /// @param policy  keccak256 of the policy's name, such as "compose-hash" or "device"
    /// @param value   the hash, device or implementation concerned
    /// @param enabled added or switched on (true), removed or switched off (false)
    event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);

    /// @inheritdoc Ownable2StepUpgradeable
    function transferOwnership(address newOwner) public override(OwnableUpgradeable, Ownable2StepUpgradeable) {
        super.transferOwnership(newOwner);
    }

    function _transferOwnership(address newOwner) internal override(OwnableUpgradeable, Ownable2StepUpgradeable) {
        super._transferOwnership(newOwner);
    }

    function _policyChanged(string memory policy, bytes32 value, bool enabled) internal override {
        emit PolicyChanged(msg.sender, keccak256(bytes(policy)), value, enabled);
    }
}
