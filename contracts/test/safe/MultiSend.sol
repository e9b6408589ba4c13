// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IMultiSend} from "./ISafe.sol";

/// @title The packed form of several calls that MultiSend contracts take
/// @dev Each call is `uint8 operation | address to | uint256 value | uint256 length | data`, with no
///      padding in between; operation 0 is CALL, the only one MultiSendCallOnly accepts.
library MultiSend {
    struct Call {
        uint8 operation;
        address to;
        uint256 value;
        bytes data;
    }

    uint256 private constant HEAD = 1 + 20 + 32 + 32;

    /// @notice Calldata of `multiSend(bytes)` for calls without value to one contract.
    function encode(address to, bytes[] memory calls) internal pure returns (bytes memory) {
        bytes memory packed;
        for (uint256 i = 0; i < calls.length; i++) {
            packed = abi.encodePacked(packed, uint8(0), to, uint256(0), calls[i].length, calls[i]);
        }
        return abi.encodeCall(IMultiSend.multiSend, (packed));
    }

    /// @notice Reads such calldata back.
    /// @dev The contract overlooks a tail too short for another call; a reader who did so could be
    ///      shown something else than what is signed, hence every byte must be accounted for.
    function decode(bytes calldata multiSendCall) internal pure returns (Call[] memory calls) {
        require(bytes4(multiSendCall[:4]) == IMultiSend.multiSend.selector, "not a multiSend");
        bytes memory packed = abi.decode(multiSendCall[4:], (bytes));
        require(
            keccak256(multiSendCall) == keccak256(abi.encodeCall(IMultiSend.multiSend, (packed))),
            "not the canonical encoding"
        );
        for (uint256 pass = 0; pass < 2; pass++) {
            uint256 count = 0;
            uint256 at = 0;
            while (at < packed.length) {
                require(at + HEAD <= packed.length, "truncated head");
                uint256 length = uint256(word(packed, at + 53));
                require(length <= packed.length - at - HEAD, "truncated data");
                if (pass == 1) {
                    calls[count] = Call({
                        operation: uint8(packed[at]),
                        to: address(bytes20(word(packed, at + 1))),
                        value: uint256(word(packed, at + 21)),
                        data: slice(packed, at + HEAD, length)
                    });
                }
                at += HEAD + length;
                count++;
            }
            if (pass == 0) calls = new Call[](count);
        }
    }

    function word(bytes memory from, uint256 at) private pure returns (bytes32 read) {
        assembly ("memory-safe") {
            read := mload(add(add(from, 32), at))
        }
    }

    function slice(bytes memory from, uint256 at, uint256 length) private pure returns (bytes memory part) {
        part = new bytes(length);
        for (uint256 i = 0; i < length; i++) {
            part[i] = from[at + i];
        }
    }
}
