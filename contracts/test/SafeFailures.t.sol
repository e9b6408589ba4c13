// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {Vm} from "forge-std/Vm.sol";

import {DstackAppG2} from "../src/DstackAppG2.sol";
import {ISafe} from "./safe/ISafe.sol";
import {SafeWorld} from "./safe/SafeWorld.sol";

/// @title How a Safe refuses, and how it fails without refusing
contract SafeFailuresTest is SafeWorld {
    bytes32 private constant COMPOSE_HASH = keccak256("compose");
    bytes32 private constant DEVICE_ID = keccak256("device");

    DstackAppG2 private implementation;

    /// @dev One transaction of a 1.4.1 Safe, and its hash, for the tests that vary the signatures only.
    ISafe private theSafe;
    SafeTx private theTx;
    bytes32 private theHash;

    function setUp() public override {
        super.setUp();
        implementation = new DstackAppG2();
        (theSafe, theTx) = scene(release141());
        theHash = hashOf(theSafe, theTx);
    }

    // A call inside the transaction fails

    /// @notice Without safeTxGas the whole transaction reverts and the nonce is still there to use.
    ///         Up to 1.4.1 the reason is lost; 1.5.0 hands it on.
    function test_innerFailureWithoutSafeTxGas_reverts() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            address strangersApp = newApp(implementation, stranger);
            SafeTx[2] memory attempts = [
                single(safe, strangersApp, addComposeHash(COMPOSE_HASH)),
                batchOfAdds(safe, releases[i], strangersApp, list(COMPOSE_HASH), list(DEVICE_ID))
            ];
            for (uint256 j = 0; j < attempts.length; j++) {
                bytes memory signatures = signedBy(hashOf(safe, attempts[j]), 0, 1);
                vm.expectRevert(
                    same(releases[i].version, "1.5.0")
                        ? abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, address(safe))
                        : bytes("GS013")
                );
                execute(safe, attempts[j], signatures);
                assertEq(safe.nonce(), 0, "nonce kept");
            }
        }
    }

    /// @notice With safeTxGas the outer transaction succeeds although nothing was done, and the nonce is
    ///         spent: a receipt's status is no proof of anything.
    function test_innerFailureWithSafeTxGas_succeedsOutside() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            address strangersApp = newApp(implementation, stranger);
            SafeTx memory safeTx = batchOfAdds(safe, releases[i], strangersApp, list(COMPOSE_HASH), list(DEVICE_ID));
            safeTx.safeTxGas = 200_000;
            bytes32 safeTxHash = hashOf(safe, safeTx);

            vm.recordLogs();
            assertFalse(signAndExecute(safe, safeTx, 0, 1), "no success");
            Vm.Log[] memory logs = vm.getRecordedLogs();

            assertEq(logs.length, 2, "no event of the app");
            assertEq(logs[1].topics[0], EXECUTION_FAILURE);
            assertEq(
                same(releases[i].version, "1.3.0") ? abi.decode(logs[1].data, (bytes32)) : logs[1].topics[1], safeTxHash
            );
            assertEq(safe.nonce(), 1, "nonce spent");
            assertFalse(DstackAppG2(strangersApp).allowedComposeHashes(COMPOSE_HASH));
        }
    }

    /// @notice Before 1.3.0 that is so without safeTxGas too, for one call and for a batch.
    function test_innerFailureBefore130_succeedsOutside() public {
        Release[] memory releases = olderReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            address strangersApp = newApp(implementation, stranger);
            SafeTx[2] memory attempts = [
                single(safe, strangersApp, addComposeHash(COMPOSE_HASH)),
                batchOfAdds(safe, releases[i], strangersApp, list(COMPOSE_HASH), list(DEVICE_ID))
            ];
            for (uint256 j = 0; j < attempts.length; j++) {
                attempts[j].nonce = j;
                bytes32 safeTxHash = hashOf(safe, attempts[j]);
                vm.recordLogs();
                assertFalse(signAndExecute(safe, attempts[j], 0, 1), "no success");
                Vm.Log[] memory logs = vm.getRecordedLogs();

                assertEq(logs.length, 1, "no event of the app");
                assertEq(logs[0].topics.length, 1, "nothing is indexed");
                bool first = same(releases[i].version, "1.0.0");
                assertEq(logs[0].topics[0], first ? EXECUTION_FAILED : EXECUTION_FAILURE);
                assertEq(logs[0].data, first ? abi.encode(safeTxHash) : abi.encode(safeTxHash, uint256(0)));
                assertEq(safe.nonce(), j + 1, "nonce spent");
            }
            assertFalse(DstackAppG2(strangersApp).allowedComposeHashes(COMPOSE_HASH));
        }
    }

    /// @notice What runs out of gas inside spends the nonce as well: the least gas with which the Safe's own
    ///         transaction succeeds, which is what a node's estimate finds, is too little for the calls.
    function test_tooLittleGasBefore130_spendsTheNonce() public {
        Release[] memory releases = olderReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe safe = newSafe(releases[i]);
            address app = newApp(implementation, address(safe));
            bytes32[] memory devices = new bytes32[](9);
            for (uint256 j = 0; j < devices.length; j++) {
                devices[j] = keccak256(abi.encode(j));
            }
            SafeTx memory safeTx = batchOfAdds(safe, releases[i], app, list(COMPOSE_HASH), devices);
            bytes memory call = abi.encodeCall(this.executeHere, (safe, safeTx, signedBy(hashOf(safe, safeTx), 0, 1)));
            bool done;
            for (uint256 gas_ = 40_000; !done; gas_ += 1_000) {
                (done,) = address(this).call{gas: gas_}(call);
            }
            assertEq(safe.nonce(), 1, "nonce spent");
            assertFalse(DstackAppG2(app).allowedDeviceIds(devices[8]), "nothing was done");
        }
    }

    /// @dev External, so that it can be given little gas.
    function executeHere(ISafe safe, SafeTx memory safeTx, bytes memory signatures) external {
        execute(safe, safeTx, signatures);
    }

    /// @notice 1.0.0 takes no prefixed message, 1.1.1 and 1.2.0 do.
    function test_prefixedSignatures_since111() public {
        Release[] memory releases = olderReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes32 message = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hashOf(safe, safeTx)));
            bytes memory signatures = signedBy(message, 0, 1);
            signatures[64] = bytes1(uint8(signatures[64]) + 4);
            signatures[129] = bytes1(uint8(signatures[129]) + 4);
            if (same(releases[i].version, "1.0.0")) {
                vm.expectRevert(bytes("Invalid owner provided"));
                execute(safe, safeTx, signatures);
            } else {
                assertTrue(execute(safe, safeTx, signatures));
            }
        }
    }

    // Signatures

    function test_noSignature_GS020() public {
        expectRefusal("", "GS020");
    }

    function test_oneSignatureOfTwo_GS020() public {
        expectRefusal(sign(ownerKeys[0], theHash), "GS020");
    }

    function test_signaturesOutOfOrder_GS026() public {
        bytes memory sorted = signedBy(theHash, 0, 1);
        expectRefusal(bytes.concat(part(sorted, 1), part(sorted, 0)), "GS026");
    }

    function test_sameOwnerTwice_GS026() public {
        bytes memory one = sign(ownerKeys[0], theHash);
        expectRefusal(bytes.concat(one, one), "GS026");
    }

    function test_strangersSignature_GS026() public {
        (address foreign, uint256 foreignKey) = makeAddrAndKey("foreign");
        bytes memory ofOwner = sign(ownerKeys[0], theHash);
        bytes memory ofForeign = sign(foreignKey, theHash);
        expectRefusal(
            foreign < owners[0] ? bytes.concat(ofForeign, ofOwner) : bytes.concat(ofOwner, ofForeign), "GS026"
        );
    }

    /// @notice Signatures bind the nonce: those for another one recover to strangers.
    function test_signaturesForAnotherNonce_GS026() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            safeTx.nonce = 1;
            bytes memory signatures = signedBy(hashOf(safe, safeTx), 0, 1);
            vm.expectRevert(bytes("GS026"));
            execute(safe, safeTx, signatures);
        }
    }

    function test_signaturesForAnotherChain_GS026() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            vm.chainId(1);
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes memory signatures = signedBy(hashOf(safe, safeTx), 0, 1);
            vm.chainId(CHAIN_ID);
            vm.expectRevert(bytes("GS026"));
            execute(safe, safeTx, signatures);
        }
    }

    /// @notice What is signed is the content: no field can be swapped afterwards.
    function test_signaturesForOtherContent_GS026() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes memory signatures = signedBy(hashOf(safe, safeTx), 0, 1);
            safeTx.data = addDevice(DEVICE_ID);
            vm.expectRevert(bytes("GS026"));
            execute(safe, safeTx, signatures);
        }
    }

    /// @notice The first transaction spends the nonce, so its signatures cannot be used again.
    function test_replay_GS026() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes memory signatures = signedBy(hashOf(safe, safeTx), 0, 1);
            assertTrue(execute(safe, safeTx, signatures));
            vm.expectRevert(bytes("GS026"));
            execute(safe, safeTx, signatures);
        }
    }

    /// @notice Some wallets return v as 0 or 1. The contract reads 0 as a contract's signature and 1 as
    ///         an approval on chain, so v must be brought to 27 or 28 before use.
    function test_rawRecoveryIds_areRefused() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes memory signatures = signedBy(hashOf(safe, safeTx), 0, 1);
            signatures[64] = bytes1(uint8(signatures[64]) - 27);
            signatures[129] = bytes1(uint8(signatures[129]) - 27);
            vm.expectRevert();
            execute(safe, safeTx, signatures);
            assertEq(safe.nonce(), 0);
        }
    }

    /// @notice The other accepted forms: a prefixed message (v + 4) and an approval on chain (v = 1).
    function test_prefixedAndApprovedSignatures_areAccepted() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            (ISafe safe, SafeTx memory safeTx) = scene(releases[i]);
            bytes32 hash = hashOf(safe, safeTx);
            (uint256 low, uint256 high) = owners[0] < owners[1] ? (0, 1) : (1, 0);

            bytes memory prefixed =
                sign(ownerKeys[low], keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash)));
            prefixed[64] = bytes1(uint8(prefixed[64]) + 4);
            bytes memory approved = abi.encodePacked(uint256(uint160(owners[high])), uint256(0), uint8(1));

            vm.expectRevert(bytes("GS025"));
            execute(safe, safeTx, bytes.concat(prefixed, approved));

            vm.prank(owners[high]);
            safe.approveHash(hash);
            assertTrue(execute(safe, safeTx, bytes.concat(prefixed, approved)));
        }
    }

    /// @notice Whoever alters one bit of a good pair of signatures has none.
    function testFuzz_alteredSignature_isRefused(uint256 bit) public {
        bit = bit % (2 * 65 * 8);
        bytes memory signatures = signedBy(theHash, 0, 1);
        signatures[bit / 8] ^= bytes1(uint8(2 ** (bit % 8)));
        vm.expectRevert();
        execute(theSafe, theTx, signatures);
        assertEq(theSafe.nonce(), 0);
    }

    // The scene: a Safe that owns an app and is asked to add one compose hash

    function scene(Release memory release) private returns (ISafe safe, SafeTx memory safeTx) {
        safe = newSafe(release);
        safeTx = single(safe, newApp(implementation, address(safe)), addComposeHash(COMPOSE_HASH));
    }

    function expectRefusal(bytes memory signatures, string memory code) private {
        vm.expectRevert(bytes(code));
        execute(theSafe, theTx, signatures);
        assertEq(theSafe.nonce(), 0, "nonce kept");
    }

    function part(bytes memory signatures, uint256 index) private pure returns (bytes memory one) {
        one = new bytes(65);
        for (uint256 i = 0; i < 65; i++) {
            one[i] = signatures[index * 65 + i];
        }
    }
}
