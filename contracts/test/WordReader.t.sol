// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Test} from "forge-std/Test.sol";

import {DstackAppG1} from "../src/DstackAppG1.sol";
import {WordReader} from "../src/WordReader.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// @dev Burns whatever gas it is given.
contract Furnace {
    fallback() external {
        while (true) {}
    }
}

/// @dev Answers with more than a word.
contract Chatterbox {
    fallback() external {
        assembly {
            return(0, 4096)
        }
    }
}

/// @title One call, many questions
contract WordReaderTest is Test {
    bytes32 private constant COMPOSE_HASH = keccak256("compose");
    address private app;

    function setUp() public {
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,bool,bool,bytes32,bytes32)", address(this), false, false, bytes32(0), COMPOSE_HASH
        );
        app = address(new ERC1967Proxy(address(new DstackAppG1()), call));
    }

    function question(address to, string memory signature, bytes32 argument) private pure returns (bytes memory) {
        return abi.encodePacked(to, bytes4(keccak256(bytes(signature))), argument, bytes32(0));
    }

    /// @dev What the constructor returns is what would be deployed, so it can be read there.
    function ask(bytes memory questions) private returns (uint256[] memory heads, bytes32[] memory words) {
        bytes memory answer = address(new WordReader(questions)).code;
        assertEq(answer.length, questions.length / 88 * 64);
        heads = new uint256[](answer.length / 64);
        words = new bytes32[](heads.length);
        for (uint256 i = 0; i < heads.length; i++) {
            uint256 head;
            bytes32 word;
            assembly {
                head := mload(add(add(answer, 0x20), mul(i, 64)))
                word := mload(add(add(answer, 0x40), mul(i, 64)))
            }
            (heads[i], words[i]) = (head, word);
        }
    }

    function test_everyQuestionHasItsAnswer() public {
        (uint256[] memory heads, bytes32[] memory words) = ask(
            bytes.concat(
                question(app, "allowedComposeHashes(bytes32)", COMPOSE_HASH),
                question(app, "allowedComposeHashes(bytes32)", bytes32(0)),
                question(app, "allowAnyDevice()", bytes32(0)),
                question(app, "owner()", bytes32(0))
            )
        );
        for (uint256 i = 0; i < heads.length; i++) {
            assertEq(heads[i], 1 << 255 | 32);
        }
        assertEq(uint256(words[0]), 1);
        assertEq(uint256(words[1]), 0);
        assertEq(uint256(words[2]), 0);
        assertEq(address(uint160(uint256(words[3]))), address(this));
    }

    /// @notice A contract that misbehaves spoils its own answer, not those of others.
    function test_othersAreNotHeldUp() public {
        address furnace = address(new Furnace());
        address chatterbox = address(new Chatterbox());
        address nobody = makeAddr("nobody");
        (uint256[] memory heads, bytes32[] memory words) = ask(
            bytes.concat(
                question(furnace, "owner()", bytes32(0)),
                question(chatterbox, "owner()", bytes32(0)),
                question(nobody, "owner()", bytes32(0)),
                question(app, "version()", bytes32(0)),
                question(app, "allowedComposeHashes(bytes32)", COMPOSE_HASH)
            )
        );
        assertEq(heads[0] >> 255, 0, "out of gas is no answer");
        assertEq(heads[1], 1 << 255 | 4096, "its length is told");
        assertEq(heads[2], 1 << 255, "an account without code returns nothing");
        assertEq(heads[3] >> 255, 0, "a function that is not there reverts");
        assertEq(heads[4], 1 << 255 | 32);
        assertEq(uint256(words[4]), 1);
    }

    /// @notice A function may take two words.
    function test_aQuestionHasRoomForTwoArguments() public {
        bytes memory two = abi.encodePacked(address(this), this.product.selector, uint256(6), uint256(7));
        (, bytes32[] memory words) = ask(two);
        assertEq(uint256(words[0]), 42);
    }

    function product(uint256 a, uint256 b) external pure returns (uint256) {
        return a * b;
    }

    function test_noQuestionsHaveNoAnswers() public {
        (uint256[] memory heads,) = ask("");
        assertEq(heads.length, 0);
    }
}
