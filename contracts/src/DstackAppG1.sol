// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackAppBase} from "./DstackAppBase.sol";

/// @title DstackApp, generation 1 (dstack v0.5.4 to v0.5.8)
/// @notice Two allowlists and one flag; ownership moves in one step. It has no `version()`, which is
///         how a reader tells it from the later ones.
contract DstackAppG1 is DstackAppBase {}
