// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Vm} from "forge-std/Vm.sol";

import {DstackAppBase} from "../src/DstackAppBase.sol";
import {DstackAppG2} from "../src/DstackAppG2.sol";
import {IAppAuthBasicManagement} from "../src/IDstackApp.sol";
import {ISafe} from "./safe/ISafe.sol";
import {MultiSend} from "./safe/MultiSend.sol";
import {SafeWorld} from "./safe/SafeWorld.sol";

/// @title What the Rust side builds and signs is what the real Safes accept and do
/// @notice `contracts/fixtures/safe-transactions.json` is written by the Rust side, and a Rust test fails
///         when it is stale. Hashes, MultiSend encoding and signature packing are thereby checked by the
///         contracts that will judge them in production.
contract FixturesTest is SafeWorld {
    /// @dev One entry of `cases`, as the service would propose it.
    struct Case {
        string name;
        string safeVersion;
        address safe;
        address app;
        bytes32[] composeHashes;
        bytes32[] devices;
        SafeTx safeTx;
        bytes32 domainHash;
        bytes32 messageHash;
        bytes32 safeTxHash;
        bytes signatures;
    }

    string private json;
    uint256 private threshold;
    uint256 private caseCount;
    DstackAppG2 private implementation;
    mapping(address multiSendCallOnly => bool) private canonicalMultiSend;

    function setUp() public override {
        super.setUp();
        implementation = new DstackAppG2();
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            canonicalMultiSend[releases[i].multiSendCallOnly] = true;
        }
        canonicalMultiSend[release130From(SAFE_SINGLETON_FACTORY).multiSendCallOnly] = true;

        json = vm.readFile("contracts/fixtures/safe-transactions.json");
        vm.chainId(vm.parseJsonUint(json, ".chain_id"));
        threshold = vm.parseJsonUint(json, ".threshold");
        useOwnersOfTheFixtures();
        while (vm.keyExistsJson(json, path(caseCount, ""))) caseCount++;
    }

    function test_thereAreCasesForEverySafeVersion() public view {
        string[6] memory versions = ["1.0.0", "1.1.1", "1.2.0", "1.3.0", "1.4.1", "1.5.0"];
        uint256[6] memory counts;
        uint256 counted;
        for (uint256 i = 0; i < caseCount; i++) {
            string memory version = vm.parseJsonString(json, path(i, ".safe_version"));
            for (uint256 j = 0; j < versions.length; j++) {
                if (!same(version, versions[j])) continue;
                counts[j]++;
                counted++;
            }
        }
        for (uint256 j = 0; j < versions.length; j++) {
            assertGt(counts[j], 0, versions[j]);
        }
        assertEq(counted, caseCount, "no other version");
    }

    function test_hashesAgree() public {
        for (uint256 i = 0; i < caseCount; i++) {
            Case memory c = readCase(i);
            uint256 clean = vm.snapshotState();
            ISafe safe = place(c);
            assertEq(safe.VERSION(), c.safeVersion, c.name);
            assertEq(safe.domainSeparator(), c.domainHash, c.name);
            assertEq(hashOf(safe, c.safeTx), c.safeTxHash, c.name);
            assertEq(keccak256(abi.encodePacked(hex"1901", c.domainHash, c.messageHash)), c.safeTxHash, c.name);
            vm.revertToState(clean);
        }
    }

    /// @notice The calldata says the listed adds, all of them and nothing else, to the app and to no other.
    function test_calldataIsExactlyTheListedAdds() public view {
        for (uint256 i = 0; i < caseCount; i++) {
            Case memory c = readCase(i);
            expectNoValueAndNoRefund(c);
            bytes[] memory expected = expectedCalls(c);
            if (c.safeTx.operation == CALL) {
                assertEq(expected.length, 1, string.concat(c.name, ": a plain call carries one add"));
                assertEq(c.safeTx.to, c.app, c.name);
                assertEq(c.safeTx.data, expected[0], c.name);
                continue;
            }
            assertEq(c.safeTx.operation, DELEGATECALL, c.name);
            assertTrue(canonicalMultiSend[c.safeTx.to], string.concat(c.name, ": a canonical MultiSendCallOnly"));
            MultiSend.Call[] memory calls = this.decode(c.safeTx.data);
            assertEq(calls.length, expected.length, c.name);
            for (uint256 j = 0; j < calls.length; j++) {
                assertEq(calls[j].operation, CALL, c.name);
                assertEq(calls[j].to, c.app, c.name);
                assertEq(calls[j].value, 0, c.name);
                assertEq(calls[j].data, expected[j], c.name);
            }
        }
    }

    /// @notice The Safe accepts the signatures and executes; the listed entries are all that changed.
    function test_executionLeavesExactlyTheListedAdds() public {
        for (uint256 i = 0; i < caseCount; i++) {
            Case memory c = readCase(i);
            uint256 clean = vm.snapshotState();
            ISafe safe = place(c);
            vm.recordLogs();
            bytes32[] memory written = executeRecordingWrites(safe, c.safeTx, c.signatures, c.app);
            Vm.Log[] memory logs = vm.getRecordedLogs();

            bytes[] memory expected = expectedCalls(c);
            assertEq(written.length, expected.length, c.name);
            // An L2 singleton tells before and after, an L1 singleton after, 1.0.0 of failures alone.
            uint256 before = isOld(c.safeVersion) ? 0 : 1;
            bool tellsSuccess = !same(c.safeVersion, "1.0.0");
            assertEq(logs.length, before + expected.length + (tellsSuccess ? 1 : 0), c.name);
            for (uint256 j = 0; j < expected.length; j++) {
                bool isCompose = j < c.composeHashes.length;
                bytes32 value = isCompose ? c.composeHashes[j] : c.devices[j - c.composeHashes.length];
                assertEq(written[j], entry(value, isCompose ? 0 : 2), c.name);
                assertEq(logs[before + j].emitter, c.app, c.name);
                assertEq(
                    logs[before + j].topics[0],
                    isCompose
                        ? IAppAuthBasicManagement.ComposeHashAdded.selector
                        : IAppAuthBasicManagement.DeviceAdded.selector,
                    c.name
                );
                assertEq(logs[before + j].data, abi.encode(value), c.name);
            }
            if (tellsSuccess) assertEq(logs[logs.length - 1].topics[0], EXECUTION_SUCCESS, c.name);
            assertEq(safe.nonce(), c.safeTx.nonce + 1, c.name);
            expectEveryPairAllowed(c);
            vm.revertToState(clean);
        }
    }

    /// @notice The same signatures on another chain, or at another nonce, are worth nothing; but those for a
    ///         Safe before 1.3.0 are good on every chain.
    function test_signaturesHoldForTheirChainAndNonceOnly() public {
        for (uint256 i = 0; i < caseCount; i++) {
            Case memory c = readCase(i);
            uint256 clean = vm.snapshotState();
            ISafe safe = place(c);
            uint256 chainId = block.chainid;
            bytes memory refusal = isOld(c.safeVersion) ? bytes("Invalid owner provided") : bytes("GS026");
            vm.chainId(chainId + 1);
            if (isOld(c.safeVersion)) {
                uint256 fresh = vm.snapshotState();
                assertTrue(execute(safe, c.safeTx, c.signatures), c.name);
                vm.revertToState(fresh);
            } else {
                vm.expectRevert(refusal);
                execute(safe, c.safeTx, c.signatures);
            }
            vm.chainId(chainId);
            vm.store(c.safe, SAFE_NONCE_SLOT, bytes32(c.safeTx.nonce + 1));
            vm.expectRevert(refusal);
            execute(safe, c.safeTx, c.signatures);
            vm.revertToState(clean);
        }
    }

    /// @dev External, so that the library can slice calldata.
    function decode(bytes calldata multiSendCall) external pure returns (MultiSend.Call[] memory) {
        return MultiSend.decode(multiSendCall);
    }

    // The scene of a case

    /// @dev Safe and app at the addresses that were signed, the Safe at the nonce that was signed.
    function place(Case memory c) private returns (ISafe safe) {
        safe = placeSafe(releaseByVersion(c.safeVersion), c.safe, threshold);
        vm.store(c.safe, SAFE_NONCE_SLOT, bytes32(c.safeTx.nonce));
        deployCodeTo(
            "ERC1967Proxy.sol:ERC1967Proxy",
            abi.encode(implementation, abi.encodeCall(DstackAppBase.initialize, (c.safe, false, false, 0, 0))),
            c.app
        );
    }

    function expectedCalls(Case memory c) private pure returns (bytes[] memory calls) {
        calls = new bytes[](c.composeHashes.length + c.devices.length);
        for (uint256 i = 0; i < c.composeHashes.length; i++) {
            calls[i] = addComposeHash(c.composeHashes[i]);
        }
        for (uint256 i = 0; i < c.devices.length; i++) {
            calls[c.composeHashes.length + i] = addDevice(c.devices[i]);
        }
    }

    function expectNoValueAndNoRefund(Case memory c) private pure {
        assertEq(c.safeTx.value, 0, c.name);
        assertEq(c.safeTx.baseGas, 0, c.name);
        assertEq(c.safeTx.gasPrice, 0, c.name);
        assertEq(c.safeTx.gasToken, address(0), c.name);
        assertEq(c.safeTx.refundReceiver, address(0), c.name);
    }

    function expectEveryPairAllowed(Case memory c) private view {
        for (uint256 i = 0; i < c.composeHashes.length; i++) {
            for (uint256 j = 0; j < c.devices.length; j++) {
                (bool allowed,) = DstackAppG2(c.app).isAppAllowed(bootInfo(c.composeHashes[i], c.devices[j]));
                assertTrue(allowed, c.name);
            }
        }
    }

    // Reading the file

    /// @dev The order of owners in a Safe is of no account, who they are is.
    function useOwnersOfTheFixtures() private {
        address[] memory named = vm.parseJsonAddressArray(json, ".owners");
        assertEq(named.length, owners.length, "owners");
        for (uint256 i = 0; i < owners.length; i++) {
            bool found;
            for (uint256 j = 0; j < named.length; j++) {
                found = found || named[j] == owners[i];
            }
            assertTrue(found, "owners are accounts 0, 1 and 2 of the test mnemonic");
        }
        owners = named;
    }

    function readCase(uint256 index) private view returns (Case memory c) {
        c.name = vm.parseJsonString(json, path(index, ".name"));
        c.safeVersion = vm.parseJsonString(json, path(index, ".safe_version"));
        c.safe = vm.parseJsonAddress(json, path(index, ".safe"));
        c.app = vm.parseJsonAddress(json, path(index, ".app"));
        c.composeHashes = vm.parseJsonBytes32Array(json, path(index, ".compose_hashes"));
        c.devices = vm.parseJsonBytes32Array(json, path(index, ".devices"));
        c.safeTx = SafeTx({
            to: vm.parseJsonAddress(json, path(index, ".to")),
            value: vm.parseJsonUint(json, path(index, ".value")),
            data: vm.parseJsonBytes(json, path(index, ".data")),
            operation: uint8(vm.parseJsonUint(json, path(index, ".operation"))),
            safeTxGas: vm.parseJsonUint(json, path(index, ".safe_tx_gas")),
            baseGas: vm.parseJsonUint(json, path(index, ".base_gas")),
            gasPrice: vm.parseJsonUint(json, path(index, ".gas_price")),
            gasToken: vm.parseJsonAddress(json, path(index, ".gas_token")),
            refundReceiver: vm.parseJsonAddress(json, path(index, ".refund_receiver")),
            nonce: vm.parseJsonUint(json, path(index, ".nonce"))
        });
        c.domainHash = vm.parseJsonBytes32(json, path(index, ".domain_hash"));
        c.messageHash = vm.parseJsonBytes32(json, path(index, ".message_hash"));
        c.safeTxHash = vm.parseJsonBytes32(json, path(index, ".safe_tx_hash"));
        c.signatures = vm.parseJsonBytes(json, path(index, ".signatures"));
    }

    function path(uint256 index, string memory field) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "]", field);
    }
}
