// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackAppBase} from "../src/DstackAppBase.sol";
import {DstackAppG3} from "../src/DstackAppG3.sol";
import {ISafe} from "./safe/ISafe.sol";
import {SafeWorld} from "./safe/SafeWorld.sol";

/// @dev A Safe and its app, to which the invariant runner deals batch after batch. It keeps its own
///      books of which entries were ever named.
contract BatchHandler is SafeWorld {
    /// @dev Few enough values that batches often repeat one, or name one the app had from the start.
    uint256 public constant UNIVERSE = 24;

    ISafe public safe;
    DstackAppG3 public app;
    address public implementation;
    uint256 public batches;
    mapping(bytes32 composeHash => bool) public composeNamed;
    mapping(bytes32 deviceId => bool) public deviceNamed;

    Release private release;

    constructor() {
        super.setUp();
        release = release141();
        safe = newSafe(release);
        implementation = address(new DstackAppG3());
        app = DstackAppG3(newApp(DstackAppBase(implementation), address(safe)));
        // Every third value is there before the first batch.
        vm.startPrank(address(safe));
        for (uint256 i = 0; i < UNIVERSE; i += 3) {
            composeNamed[composeHash(i)] = true;
            app.addComposeHash(composeHash(i));
            deviceNamed[deviceId(i)] = true;
            app.addDevice(deviceId(i));
        }
        app.setRequireTcbUpToDate(true);
        vm.stopPrank();
    }

    /// @notice What the service does: build the adds, have two owners sign, execute.
    function executeBatch(uint8[] calldata composes, uint8[] calldata devices, uint8 signers) external {
        bytes32[] memory composeHashes = new bytes32[](min(composes.length, 6));
        bytes32[] memory deviceIds = new bytes32[](min(devices.length, 6));
        if (composeHashes.length + deviceIds.length == 0) return;
        for (uint256 i = 0; i < composeHashes.length; i++) {
            composeHashes[i] = composeHash(composes[i] % UNIVERSE);
            composeNamed[composeHashes[i]] = true;
        }
        for (uint256 i = 0; i < deviceIds.length; i++) {
            deviceIds[i] = deviceId(devices[i] % UNIVERSE);
            deviceNamed[deviceIds[i]] = true;
        }
        SafeTx memory safeTx = batchOfAdds(safe, release, address(app), composeHashes, deviceIds);
        bool done = signAndExecute(safe, safeTx, signers % 3, (uint256(signers) + 1) % 3);
        require(done, "batch failed");
        batches++;
    }

    function composeHash(uint256 number) public pure returns (bytes32) {
        return keccak256(abi.encode("compose", number));
    }

    function deviceId(uint256 number) public pure returns (bytes32) {
        return keccak256(abi.encode("device", number));
    }

    function ownersOfTheSafe() external view returns (address[] memory) {
        return owners;
    }

    function min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}

/// @title Whatever batches are executed, they change the named entries and nothing else
contract BatchInvariantTest is SafeWorld {
    BatchHandler private handler;

    function setUp() public override {
        vm.chainId(CHAIN_ID);
        handler = new BatchHandler();
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = BatchHandler.executeBatch.selector;
        targetSelector(FuzzSelector({addr: address(handler), selectors: selectors}));
        targetContract(address(handler));
    }

    function invariant_entriesAreThoseEverNamed() public view {
        DstackAppG3 app = handler.app();
        for (uint256 i = 0; i < handler.UNIVERSE(); i++) {
            bytes32 composeHash = handler.composeHash(i);
            bytes32 deviceId = handler.deviceId(i);
            assertEq(app.allowedComposeHashes(composeHash), handler.composeNamed(composeHash), "compose hash");
            assertEq(app.allowedDeviceIds(deviceId), handler.deviceNamed(deviceId), "device");
            // A value that was named in one list never turns up in the other.
            assertFalse(app.allowedDeviceIds(composeHash), "compose hash among the devices");
            assertFalse(app.allowedComposeHashes(deviceId), "device among the compose hashes");
        }
    }

    function invariant_policyOfTheAppIsUntouched() public view {
        DstackAppG3 app = handler.app();
        assertEq(app.owner(), address(handler.safe()));
        assertEq(app.pendingOwner(), address(0));
        assertEq(address(uint160(uint256(vm.load(address(app), IMPLEMENTATION_SLOT)))), handler.implementation());
        assertEq(uint256(vm.load(address(app), bytes32(uint256(1)))), 0, "upgrades possible, device list in force");
        assertTrue(app.requireTcbUpToDate());
    }

    function invariant_safeIsUntouchedButForItsNonce() public view {
        ISafe safe = handler.safe();
        assertEq(safe.nonce(), handler.batches(), "one nonce a batch");
        assertEq(safe.getOwners(), handler.ownersOfTheSafe());
        assertEq(safe.getThreshold(), 2);
        assertEq(
            vm.load(address(safe), SAFE_SINGLETON_SLOT),
            bytes32(uint256(uint160(0x29fcB43b46531BcA003ddC8FCB67FFE91900C762)))
        );
        assertEq(address(safe).balance, 0);
    }
}
