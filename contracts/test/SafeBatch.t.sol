// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Vm} from "forge-std/Vm.sol";

import {DstackAppG2} from "../src/DstackAppG2.sol";
import {IAppAuthBasicManagement} from "../src/IDstackApp.sol";
import {ISafe} from "./safe/ISafe.sol";
import {SafeWorld} from "./safe/SafeWorld.sol";

/// @title The batch a 2-of-3 Safe executes to allow a replica
contract SafeBatchTest is SafeWorld {
    bytes32 private constant COMPOSE_HASH = keccak256("compose");
    bytes32 private constant DEVICE_ID = keccak256("device");

    DstackAppG2 private implementation;

    function setUp() public override {
        super.setUp();
        implementation = new DstackAppG2();
    }

    function test_batchAllowsComposeHashAndDevice() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            DstackAppG2 app = DstackAppG2(newApp(implementation, address(safe)));
            (bool before,) = app.isAppAllowed(bootInfo(COMPOSE_HASH, DEVICE_ID));
            assertFalse(before);

            SafeTx memory safeTx = batchOfAdds(safe, releases[i], address(app), list(COMPOSE_HASH), list(DEVICE_ID));
            assertTrue(signAndExecute(safe, safeTx, 0, 2));

            (bool allowed, string memory reason) = app.isAppAllowed(bootInfo(COMPOSE_HASH, DEVICE_ID));
            assertTrue(allowed, reason);
            assertEq(safe.nonce(), 1, "one transaction, one nonce");
        }
    }

    /// @notice Any two of the three owners will do, in any combination.
    function test_everyPairOfOwnersCanExecute() public {
        Release memory release = release141();
        ISafe safe = newSafe(release);
        DstackAppG2 app = DstackAppG2(newApp(implementation, address(safe)));
        for (uint256 a = 0; a < 3; a++) {
            for (uint256 b = a + 1; b < 3; b++) {
                bytes32 composeHash = keccak256(abi.encode(a, b));
                SafeTx memory safeTx = batchOfAdds(safe, release, address(app), list(composeHash), list(DEVICE_ID));
                assertTrue(signAndExecute(safe, safeTx, b, a));
                assertTrue(app.allowedComposeHashes(composeHash));
            }
        }
        assertEq(safe.nonce(), 3);
    }

    /// @notice An L2 singleton says first what it runs; then come the app's events, from the app;
    ///         `ExecutionSuccess` closes. Its hash is a topic from 1.4.1 on and plain data in 1.3.0.
    function test_eventsInOrder() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            address app = newApp(implementation, address(safe));
            SafeTx memory safeTx = batchOfAdds(safe, releases[i], app, list(COMPOSE_HASH), list(DEVICE_ID));
            bytes32 safeTxHash = hashOf(safe, safeTx);

            vm.recordLogs();
            signAndExecute(safe, safeTx, 0, 1);
            Vm.Log[] memory logs = vm.getRecordedLogs();

            assertEq(logs.length, 4);
            assertEq(logs[0].emitter, address(safe));
            assertEq(logs[0].topics[0], SAFE_MULTISIG_TRANSACTION);
            assertEq(logs[1].emitter, app);
            assertEq(logs[1].topics[0], IAppAuthBasicManagement.ComposeHashAdded.selector);
            assertEq(logs[1].data, abi.encode(COMPOSE_HASH));
            assertEq(logs[2].emitter, app);
            assertEq(logs[2].topics[0], IAppAuthBasicManagement.DeviceAdded.selector);
            assertEq(logs[2].data, abi.encode(DEVICE_ID));
            assertEq(logs[3].emitter, address(safe));
            assertEq(logs[3].topics[0], EXECUTION_SUCCESS);
            if (same(releases[i].version, "1.3.0")) {
                assertEq(logs[3].topics.length, 1);
                assertEq(logs[3].data, abi.encode(safeTxHash, uint256(0)));
            } else {
                assertEq(logs[3].topics.length, 2);
                assertEq(logs[3].topics[1], safeTxHash);
                assertEq(logs[3].data, abi.encode(uint256(0)));
            }
        }
    }

    /// @notice A batch is all or nothing: its last call is refused, so its first leaves no trace.
    function test_batchIsAtomic() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            DstackAppG2 app = DstackAppG2(newApp(implementation, address(safe)));
            bytes[] memory calls = new bytes[](2);
            calls[0] = addComposeHash(COMPOSE_HASH);
            calls[1] = abi.encodeWithSignature("noSuchFunction()");
            SafeTx memory safeTx = batch(safe, releases[i], address(app), calls);
            safeTx.safeTxGas = 200_000;

            assertFalse(signAndExecute(safe, safeTx, 0, 1));
            assertFalse(app.allowedComposeHashes(COMPOSE_HASH));
        }
    }

    /// @notice Read from the chain's own record of storage writes: whatever the batch, the Safe's nonce
    ///         and the named entries are written, and nothing else anywhere.
    function testFuzz_batchWritesOnlyTheNamedEntries(
        bytes32[] calldata anyHashes,
        bytes32[] calldata anyDevices,
        uint256 releaseIndex
    ) public {
        bytes32[] memory composeHashes = firstFew(anyHashes, 0);
        bytes32[] memory deviceIds = firstFew(anyDevices, composeHashes.length == 0 ? 1 : 0);
        Release memory release = allReleases()[releaseIndex % 3];
        ISafe safe = newSafe(release);
        DstackAppG2 app = DstackAppG2(newApp(implementation, address(safe)));
        SafeTx memory safeTx = batchOfAdds(safe, release, address(app), composeHashes, deviceIds);
        bytes memory signatures = signedBy(hashOf(safe, safeTx), 1, 2);

        bytes32[] memory written = executeRecordingWrites(safe, safeTx, signatures, address(app));
        assertEq(written.length, composeHashes.length + deviceIds.length, "every named entry");
        for (uint256 i = 0; i < written.length; i++) {
            bytes32 named =
                i < composeHashes.length ? entry(composeHashes[i], 0) : entry(deviceIds[i - composeHashes.length], 2);
            assertEq(written[i], named, "in the order of the batch");
        }
    }

    /// @dev Up to twelve values of what the fuzzer gives, at least `least`.
    function firstFew(bytes32[] calldata given, uint256 least) private pure returns (bytes32[] memory few) {
        uint256 length = given.length > 12 ? 12 : given.length;
        few = new bytes32[](length < least ? least : length);
        for (uint256 i = 0; i < length; i++) {
            few[i] = given[i];
        }
    }
}
