// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {DstackAppBase} from "../src/DstackAppBase.sol";
import {DstackAppG0} from "../src/DstackAppG0.sol";
import {DstackAppTest} from "./DstackApp.t.sol";

contract DstackAppG0Test is DstackAppTest {
    function newImplementation() internal override returns (DstackAppBase) {
        return new DstackAppG0();
    }

    function flagsSlot() internal pure override returns (uint256) {
        return 2;
    }

    function test_hasNoVersion() public view {
        expectNoAnswer("version()");
        expectNoAnswer("requireTcbUpToDate()");
        expectNoAnswer("pendingOwner()");
    }

    function test_hasAnAppIdInItsFirstSlot() public {
        address id = makeAddr("id");
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,address,bool,bool,bytes32,bytes32)", owner, id, true, true, DEVICE_ID, COMPOSE_HASH
        );
        app = DstackAppBase(address(new ERC1967Proxy(address(implementation), call)));
        assertEq(DstackAppG0(address(app)).appId(), id);
        assertEq(vm.load(address(app), 0), bytes32(uint256(uint160(id))));
        assertTrue(upgradesDisabled());
        assertTrue(app.allowAnyDevice());
        assertTrue(app.allowedDeviceIds(DEVICE_ID));
    }
}
