// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Vm} from "forge-std/Vm.sol";

import {DstackAppBase} from "../src/DstackAppBase.sol";
import {DstackAppG1} from "../src/DstackAppG1.sol";
import {DstackAppG2} from "../src/DstackAppG2.sol";
import {DstackAppG3} from "../src/DstackAppG3.sol";
import {IAppAuth, IAppAuthBasicManagement} from "../src/IDstackApp.sol";
import {ISafe} from "./safe/ISafe.sol";
import {SafeWorld} from "./safe/SafeWorld.sol";

/// @dev What an owner could upgrade to: an app that lets everything boot.
contract AppThatAllowsAnything is DstackAppBase {
    function isAppAllowed(AppBootInfo calldata) public pure override returns (bool, string memory) {
        return (true, "");
    }
}

/// @title What every generation of DstackApp does
abstract contract DstackAppTest is SafeWorld {
    bytes32 internal constant COMPOSE_HASH = keccak256("compose");
    bytes32 internal constant OTHER_COMPOSE_HASH = keccak256("another compose");
    bytes32 internal constant DEVICE_ID = keccak256("device");
    bytes32 internal constant OTHER_DEVICE_ID = keccak256("another device");

    address internal owner = makeAddr("owner");
    DstackAppBase internal implementation;
    DstackAppBase internal app;

    function newImplementation() internal virtual returns (DstackAppBase);

    function setUp() public override {
        super.setUp();
        implementation = newImplementation();
        app = DstackAppBase(newApp(implementation, owner));
    }

    /// @dev Every call that changes an app, as its calldata.
    function mutations() internal virtual returns (bytes[] memory calls) {
        calls = new bytes[](9);
        calls[0] = abi.encodeCall(IAppAuthBasicManagement.addComposeHash, (COMPOSE_HASH));
        calls[1] = abi.encodeCall(IAppAuthBasicManagement.removeComposeHash, (COMPOSE_HASH));
        calls[2] = abi.encodeCall(IAppAuthBasicManagement.addDevice, (DEVICE_ID));
        calls[3] = abi.encodeCall(IAppAuthBasicManagement.removeDevice, (DEVICE_ID));
        calls[4] = abi.encodeCall(DstackAppBase.setAllowAnyDevice, (true));
        calls[5] = abi.encodeWithSignature("upgradeToAndCall(address,bytes)", newImplementation(), "");
        calls[6] = abi.encodeCall(DstackAppBase.disableUpgrades, ());
        calls[7] = abi.encodeCall(OwnableUpgradeable.transferOwnership, (stranger));
        calls[8] = abi.encodeCall(OwnableUpgradeable.renounceOwnership, ());
    }

    // Who may change an app

    function test_onlyTheOwnerChangesAnything() public {
        bytes[] memory calls = mutations();
        for (uint256 i = 0; i < calls.length; i++) {
            expectRevertOf(stranger, calls[i], notOwner(stranger));
        }
        for (uint256 i = 0; i < calls.length; i++) {
            uint256 before = vm.snapshotState();
            vm.prank(owner);
            (bool done,) = address(app).call(calls[i]);
            assertTrue(done, "the owner may");
            vm.revertToState(before);
        }
    }

    function testFuzz_noStrangerAddsAnything(address anyone, bytes32 value) public {
        vm.assume(anyone != owner);
        expectRevertOf(anyone, addComposeHash(value), notOwner(anyone));
        expectRevertOf(anyone, addDevice(value), notOwner(anyone));
        assertFalse(app.allowedComposeHashes(value));
        assertFalse(app.allowedDeviceIds(value));
    }

    /// @notice Renouncing freezes the app for good: nobody can change its allowlists any more.
    function test_renouncedAppIsFrozen() public {
        vm.prank(owner);
        app.renounceOwnership();
        assertEq(app.owner(), address(0));
        expectRevertOf(owner, addComposeHash(COMPOSE_HASH), notOwner(owner));
    }

    // Setting up

    /// @notice The flags come without an event: from the log alone this app looks like any other.
    function test_initializeSetsFlagsSilently() public {
        vm.recordLogs();
        app = DstackAppBase(
            address(
                new ERC1967Proxy(
                    address(implementation),
                    abi.encodeCall(DstackAppBase.initialize, (owner, true, true, bytes32(0), bytes32(0)))
                )
            )
        );
        Vm.Log[] memory logs = vm.getRecordedLogs();

        assertTrue(app.allowAnyDevice());
        assertTrue(upgradesDisabled());
        assertEq(app.owner(), owner);
        assertEq(logs.length, 3);
        assertEq(logs[0].topics[0], ERC1967_UPGRADED);
        assertEq(logs[1].topics[0], OwnableUpgradeable.OwnershipTransferred.selector);
        assertEq(logs[2].topics[0], Initializable.Initialized.selector);
        assertEq(logs[2].data, abi.encode(uint64(1)));
    }

    function test_initializeAddsFirstEntriesWithEvents() public {
        vm.expectEmit(false, false, false, true);
        emit IAppAuthBasicManagement.DeviceAdded(DEVICE_ID);
        vm.expectEmit(false, false, false, true);
        emit IAppAuthBasicManagement.ComposeHashAdded(COMPOSE_HASH);
        app = DstackAppBase(
            address(
                new ERC1967Proxy(
                    address(implementation),
                    abi.encodeCall(DstackAppBase.initialize, (owner, false, false, DEVICE_ID, COMPOSE_HASH))
                )
            )
        );
        assertTrue(app.allowedDeviceIds(DEVICE_ID));
        assertTrue(app.allowedComposeHashes(COMPOSE_HASH));
        assertFalse(app.allowedDeviceIds(0), "zero means none");
    }

    function test_initializeRefusesZeroOwner() public {
        vm.expectRevert("invalid owner address");
        newApp(implementation, address(0));
    }

    function test_initializeOnlyOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        app.initialize(stranger, false, true, DEVICE_ID, COMPOSE_HASH);
    }

    function test_implementationItselfCannotBeInitialized() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(stranger, false, true, DEVICE_ID, COMPOSE_HASH);
    }

    // The allowlists

    /// @notice Each event carries its value in the data, where no log query can filter on it.
    function test_eventsOfTheAllowlists() public {
        expectOneWordEvent(
            addComposeHash(COMPOSE_HASH),
            0xfecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af,
            COMPOSE_HASH
        );
        expectOneWordEvent(
            abi.encodeCall(IAppAuthBasicManagement.removeComposeHash, (COMPOSE_HASH)),
            0x755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947,
            COMPOSE_HASH
        );
        expectOneWordEvent(
            addDevice(DEVICE_ID), 0x67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b, DEVICE_ID
        );
        expectOneWordEvent(
            abi.encodeCall(IAppAuthBasicManagement.removeDevice, (DEVICE_ID)),
            0xe0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c,
            DEVICE_ID
        );
        expectOneWordEvent(
            abi.encodeCall(DstackAppBase.setAllowAnyDevice, (true)),
            0xbb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20,
            bytes32(uint256(1))
        );
    }

    /// @notice Adding twice and removing what is not there succeed and emit: an event is not a change.
    function testFuzz_repeatedAddsAndRemovesEmitEachTime(bytes32 value, uint8 times) public {
        times = times % 5 + 1;
        for (uint256 i = 0; i < times; i++) {
            expectOneWordEvent(addComposeHash(value), IAppAuthBasicManagement.ComposeHashAdded.selector, value);
            expectOneWordEvent(addDevice(value), IAppAuthBasicManagement.DeviceAdded.selector, value);
            assertTrue(app.allowedComposeHashes(value));
            assertTrue(app.allowedDeviceIds(value));
        }
        bytes memory removeComposeHash = abi.encodeCall(IAppAuthBasicManagement.removeComposeHash, (value));
        bytes memory removeDevice = abi.encodeCall(IAppAuthBasicManagement.removeDevice, (value));
        for (uint256 i = 0; i < times; i++) {
            expectOneWordEvent(removeComposeHash, IAppAuthBasicManagement.ComposeHashRemoved.selector, value);
            expectOneWordEvent(removeDevice, IAppAuthBasicManagement.DeviceRemoved.selector, value);
            assertFalse(app.allowedComposeHashes(value));
            assertFalse(app.allowedDeviceIds(value));
        }
    }

    /// @notice Any number of adds in any order leaves exactly what was named.
    function testFuzz_manyAdds(bytes32[] calldata composeHashes, bytes32[] calldata deviceIds, bytes32 other) public {
        bool composeNamed;
        bool deviceNamed;
        vm.startPrank(owner);
        for (uint256 i = 0; i < composeHashes.length; i++) {
            app.addComposeHash(composeHashes[i]);
            composeNamed = composeNamed || composeHashes[i] == other;
        }
        for (uint256 i = 0; i < deviceIds.length; i++) {
            app.addDevice(deviceIds[i]);
            deviceNamed = deviceNamed || deviceIds[i] == other;
        }
        vm.stopPrank();
        for (uint256 i = 0; i < composeHashes.length; i++) {
            assertTrue(app.allowedComposeHashes(composeHashes[i]));
        }
        for (uint256 i = 0; i < deviceIds.length; i++) {
            assertTrue(app.allowedDeviceIds(deviceIds[i]));
        }
        assertEq(app.allowedComposeHashes(other), composeNamed);
        assertEq(app.allowedDeviceIds(other), deviceNamed);
    }

    // The verdict

    function test_verdict() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        vm.stopPrank();

        expectVerdict(COMPOSE_HASH, DEVICE_ID, "");
        expectVerdict(COMPOSE_HASH, OTHER_DEVICE_ID, "Device not allowed");
        expectVerdict(OTHER_COMPOSE_HASH, DEVICE_ID, "Compose hash not allowed");
        expectVerdict(OTHER_COMPOSE_HASH, OTHER_DEVICE_ID, "Compose hash not allowed");
    }

    /// @notice With any device allowed the list is not consulted, and comes back as it was.
    function test_anyDevice() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        app.setAllowAnyDevice(true);
        expectVerdict(COMPOSE_HASH, OTHER_DEVICE_ID, "");
        expectVerdict(OTHER_COMPOSE_HASH, DEVICE_ID, "Compose hash not allowed");
        assertTrue(app.allowedDeviceIds(DEVICE_ID));
        assertFalse(app.allowedDeviceIds(OTHER_DEVICE_ID));

        app.setAllowAnyDevice(false);
        expectVerdict(COMPOSE_HASH, DEVICE_ID, "");
        expectVerdict(COMPOSE_HASH, OTHER_DEVICE_ID, "Device not allowed");
    }

    /// @notice The app looks at its own lists only: it does not ask whether it is the app that is meant.
    function testFuzz_verdictIgnoresTheRest(address appId, address instanceId, bytes32 measured, bytes32 osImage)
        public
    {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        IAppAuth.AppBootInfo memory info = bootInfo(COMPOSE_HASH, DEVICE_ID);
        info.appId = appId;
        info.instanceId = instanceId;
        info.mrAggregated = measured;
        info.mrSystem = measured;
        info.osImageHash = osImage;
        info.advisoryIds = new string[](1);
        info.advisoryIds[0] = "INTEL-SA-00001";
        (bool allowed,) = app.isAppAllowed(info);
        assertTrue(allowed);
    }

    // Upgrades

    function test_upgrade() public {
        DstackAppBase next = newImplementation();
        vm.expectEmit(address(app));
        emit Upgraded(address(next));
        vm.prank(owner);
        app.upgradeToAndCall(address(next), "");
        assertEq(implementationOf(address(app)), address(next));
    }

    /// @notice New code is a new policy: an upgrade goes past both allowlists.
    function test_upgradeCanBypassThePolicy() public {
        expectVerdict(COMPOSE_HASH, DEVICE_ID, "Compose hash not allowed");
        AppThatAllowsAnything next = new AppThatAllowsAnything();
        vm.prank(owner);
        app.upgradeToAndCall(address(next), "");
        expectVerdict(COMPOSE_HASH, DEVICE_ID, "");
    }

    function test_upgradeRefusesWhatIsNoImplementation() public {
        address noUups = address(new ERC1967Proxy(address(implementation), ""));
        expectRevertOf(
            owner,
            abi.encodeCall(app.upgradeToAndCall, (address(this), "")),
            abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, address(this))
        );
        expectRevertOf(
            owner,
            abi.encodeCall(app.upgradeToAndCall, (noUups, "")),
            abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, noUups)
        );
    }

    /// @notice One way: after it not even the owner upgrades. A stranger still hears that he is none.
    function test_disableUpgrades() public {
        bytes memory upgrade = abi.encodeCall(app.upgradeToAndCall, (address(newImplementation()), ""));
        vm.expectEmit(address(app));
        emit DstackAppBase.UpgradesDisabled();
        vm.prank(owner);
        app.disableUpgrades();

        expectRevertOf(owner, upgrade, abi.encodeWithSignature("Error(string)", "Upgrades are permanently disabled"));
        expectRevertOf(stranger, upgrade, notOwner(stranger));
        assertEq(implementationOf(address(app)), address(implementation));
        vm.prank(owner);
        app.addComposeHash(COMPOSE_HASH);
        assertTrue(app.allowedComposeHashes(COMPOSE_HASH), "everything else still works");
    }

    // Helpers

    event Upgraded(address indexed implementation);

    bytes32 internal constant ERC1967_UPGRADED = 0xbc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b;

    function expectVerdict(bytes32 composeHash, bytes32 deviceId, string memory refusal) internal view {
        expectVerdict(bootInfo(composeHash, deviceId), refusal);
    }

    function expectVerdict(IAppAuth.AppBootInfo memory info, string memory refusal) internal view {
        (bool allowed, string memory reason) = app.isAppAllowed(info);
        assertEq(reason, refusal);
        assertEq(allowed, bytes(refusal).length == 0);
    }

    /// @dev The owner calls; the first event must carry one plain word.
    function expectOneWordEvent(bytes memory call, bytes32 topic0, bytes32 word) internal {
        vm.recordLogs();
        vm.prank(owner);
        (bool done,) = address(app).call(call);
        assertTrue(done);
        Vm.Log memory log = vm.getRecordedLogs()[0];
        assertEq(log.emitter, address(app));
        assertEq(log.topics.length, 1, "nothing indexed");
        assertEq(log.topics[0], topic0);
        assertEq(log.data, abi.encode(word));
    }

    function expectRevertOf(address caller, bytes memory call, bytes memory expected) internal {
        vm.prank(caller);
        (bool done, bytes memory answer) = address(app).call(call);
        assertFalse(done, "should revert");
        assertEq(answer, expected);
    }

    function notOwner(address caller) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller);
    }

    function implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(vm.load(proxy, IMPLEMENTATION_SLOT))));
    }

    /// @dev There is no getter: byte 0 of this slot is the only way to know.
    function upgradesDisabled() internal view returns (bool) {
        return uint256(vm.load(address(app), bytes32(flagsSlot()))) & 0xff == 1;
    }

    function flagsSlot() internal pure virtual returns (uint256) {
        return 1;
    }

    /// @dev How a reader tells the generations apart.
    function expectNoAnswer(string memory signature) internal view {
        (bool answered, bytes memory answer) = address(app).staticcall(abi.encodeWithSignature(signature));
        assertFalse(answered, signature);
        assertEq(answer.length, 0);
    }
}

contract DstackAppG1Test is DstackAppTest {
    function newImplementation() internal override returns (DstackAppBase) {
        return new DstackAppG1();
    }

    function test_hasNoVersion() public view {
        expectNoAnswer("version()");
        expectNoAnswer("requireTcbUpToDate()");
        expectNoAnswer("pendingOwner()");
    }

    function test_tcbStatusIsNotConsulted() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        IAppAuth.AppBootInfo memory info = bootInfo(COMPOSE_HASH, DEVICE_ID);
        info.tcbStatus = "Revoked";
        expectVerdict(info, "");
    }

    /// @notice One step and no way back: a wrong address has the app at once.
    function test_transferIsImmediate() public {
        vm.prank(owner);
        app.transferOwnership(stranger);
        assertEq(app.owner(), stranger);
        expectRevertOf(owner, addComposeHash(COMPOSE_HASH), notOwner(owner));
    }

    /// @notice The state of an app survives its way through the generations.
    function test_upgradeThroughTheGenerations() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);

        app.upgradeToAndCall(address(new DstackAppG2()), "");
        DstackAppG2 second = DstackAppG2(address(app));
        assertEq(second.version(), 2);
        assertFalse(second.requireTcbUpToDate());
        second.setRequireTcbUpToDate(true);

        app.upgradeToAndCall(address(new DstackAppG3()), "");
        DstackAppG3 third = DstackAppG3(address(app));
        assertEq(third.version(), 2);
        assertTrue(third.requireTcbUpToDate());
        assertEq(third.pendingOwner(), address(0));
        assertEq(third.owner(), owner);
        expectVerdict(COMPOSE_HASH, DEVICE_ID, "");
        expectVerdict(OTHER_COMPOSE_HASH, DEVICE_ID, "Compose hash not allowed");
        expectVerdict(COMPOSE_HASH, OTHER_DEVICE_ID, "Device not allowed");
    }
}

/// @title What generations 2 and 3 share beyond generation 1
abstract contract DstackAppWithTcbTest is DstackAppTest {
    function mutations() internal virtual override returns (bytes[] memory calls) {
        bytes[] memory common = super.mutations();
        calls = new bytes[](common.length + 1);
        calls[0] = abi.encodeCall(DstackAppG2.setRequireTcbUpToDate, (true));
        for (uint256 i = 0; i < common.length; i++) {
            calls[i + 1] = common[i];
        }
    }

    function test_version() public view {
        assertEq(DstackAppG2(address(app)).version(), 2);
    }

    function test_eventOfTheTcbDemand() public {
        expectOneWordEvent(
            abi.encodeCall(DstackAppG2.setRequireTcbUpToDate, (true)),
            0xafae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa1,
            bytes32(uint256(1))
        );
    }

    function test_longInitializeSetsTheDemandSilently() public {
        vm.recordLogs();
        app = DstackAppBase(
            address(
                new ERC1967Proxy(
                    address(implementation),
                    abi.encodeWithSignature(
                        "initialize(address,bool,bool,bool,bytes32,bytes32)",
                        owner,
                        true,
                        true,
                        false,
                        bytes32(0),
                        bytes32(0)
                    )
                )
            )
        );
        assertEq(vm.getRecordedLogs().length, 3, "Upgraded, OwnershipTransferred, Initialized");
        assertTrue(upgradesDisabled());
        assertTrue(DstackAppG2(address(app)).requireTcbUpToDate());
        assertFalse(app.allowAnyDevice());
    }

    /// @notice All combinations: TCB first, then the compose hash, then the device.
    function test_verdictTable() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        for (uint256 row = 0; row < 32; row++) {
            bool demanded = row & 1 != 0;
            bool upToDate = row & 2 != 0;
            bool composeListed = row & 4 != 0;
            bool deviceListed = row & 8 != 0;
            bool anyDevice = row & 16 != 0;
            DstackAppG2(address(app)).setRequireTcbUpToDate(demanded);
            app.setAllowAnyDevice(anyDevice);
            IAppAuth.AppBootInfo memory info =
                bootInfo(composeListed ? COMPOSE_HASH : OTHER_COMPOSE_HASH, deviceListed ? DEVICE_ID : OTHER_DEVICE_ID);
            info.tcbStatus = upToDate ? "UpToDate" : "OutOfDate";

            string memory refusal = "";
            if (!anyDevice && !deviceListed) refusal = "Device not allowed";
            if (!composeListed) refusal = "Compose hash not allowed";
            if (demanded && !upToDate) refusal = "TCB status is not up to date";
            expectVerdict(info, refusal);
        }
    }

    /// @notice The status is compared byte for byte.
    function test_tcbStatusIsExact() public {
        vm.startPrank(owner);
        app.addComposeHash(COMPOSE_HASH);
        app.addDevice(DEVICE_ID);
        DstackAppG2(address(app)).setRequireTcbUpToDate(true);
        string[6] memory others = ["", "uptodate", "UpToDate ", " UpToDate", "UpToDat", "UpToDate\x00"];
        for (uint256 i = 0; i < others.length; i++) {
            IAppAuth.AppBootInfo memory info = bootInfo(COMPOSE_HASH, DEVICE_ID);
            info.tcbStatus = others[i];
            expectVerdict(info, "TCB status is not up to date");
        }
        expectVerdict(COMPOSE_HASH, DEVICE_ID, "");
    }
}

contract DstackAppG2Test is DstackAppWithTcbTest {
    function newImplementation() internal override returns (DstackAppBase) {
        return new DstackAppG2();
    }

    function test_hasNoPendingOwner() public view {
        expectNoAnswer("pendingOwner()");
        expectNoAnswer("acceptOwnership()");
    }

    function test_transferIsImmediate() public {
        vm.prank(owner);
        app.transferOwnership(stranger);
        assertEq(app.owner(), stranger);
    }
}

contract DstackAppG3Test is DstackAppWithTcbTest {
    function newImplementation() internal override returns (DstackAppBase) {
        return new DstackAppG3();
    }

    function test_pendingOwnerAnswers() public view {
        assertEq(DstackAppG3(address(app)).pendingOwner(), address(0));
    }

    /// @notice The new owner must accept, and a Safe can do so only by a transaction of its own.
    function test_newSafeMustAcceptByItsOwnTransaction() public {
        Release memory release = release141();
        ISafe oldSafe = newSafe(release);
        ISafe newOne = newSafe(release);
        DstackAppG3 third = DstackAppG3(newApp(implementation, address(oldSafe)));
        bytes memory transfer = abi.encodeCall(OwnableUpgradeable.transferOwnership, (address(newOne)));
        bytes memory accept = abi.encodeCall(third.acceptOwnership, ());

        signAndExecute(oldSafe, single(oldSafe, address(third), transfer), 0, 1);
        assertEq(third.owner(), address(oldSafe), "nothing moved yet");
        assertEq(third.pendingOwner(), address(newOne));

        vm.prank(owners[0]);
        vm.expectRevert(notOwner(owners[0]));
        third.acceptOwnership();

        signAndExecute(newOne, single(newOne, address(third), accept), 0, 1);
        assertEq(third.owner(), address(newOne));
        assertEq(third.pendingOwner(), address(0));
    }

    function test_transferCanBeTakenBack() public {
        DstackAppG3 third = DstackAppG3(address(app));
        vm.expectEmit(address(app));
        emit OwnershipTransferStarted(owner, stranger);
        vm.prank(owner);
        third.transferOwnership(stranger);
        vm.prank(owner);
        third.transferOwnership(address(0));
        vm.expectRevert(notOwner(stranger));
        vm.prank(stranger);
        third.acceptOwnership();
        assertEq(third.owner(), owner);
    }

    /// @notice Each change appears once more in the uniform event, right behind its own.
    function test_policyChangedBesideEveryEvent() public {
        address next = address(newImplementation());
        expectPolicyChanged(addComposeHash(COMPOSE_HASH), "compose-hash", COMPOSE_HASH, true);
        expectPolicyChanged(
            abi.encodeCall(IAppAuthBasicManagement.removeComposeHash, (COMPOSE_HASH)),
            "compose-hash",
            COMPOSE_HASH,
            false
        );
        expectPolicyChanged(addDevice(DEVICE_ID), "device", DEVICE_ID, true);
        expectPolicyChanged(
            abi.encodeCall(IAppAuthBasicManagement.removeDevice, (DEVICE_ID)), "device", DEVICE_ID, false
        );
        expectPolicyChanged(abi.encodeCall(DstackAppBase.setAllowAnyDevice, (true)), "allow-any-device", 0, true);
        expectPolicyChanged(abi.encodeCall(DstackAppBase.setAllowAnyDevice, (false)), "allow-any-device", 0, false);
        expectPolicyChanged(
            abi.encodeCall(DstackAppG2.setRequireTcbUpToDate, (true)), "require-tcb-up-to-date", 0, true
        );
        expectPolicyChanged(
            abi.encodeCall(app.upgradeToAndCall, (next, "")),
            "implementation-upgrade",
            bytes32(uint256(uint160(next))),
            true
        );
        expectPolicyChanged(abi.encodeCall(DstackAppBase.disableUpgrades, ()), "upgrades-disabled", 0, true);
    }

    event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner);

    function expectPolicyChanged(bytes memory call, string memory policy, bytes32 value, bool enabled) private {
        vm.recordLogs();
        vm.prank(owner);
        (bool done,) = address(app).call(call);
        assertTrue(done);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, policy);
        // An upgrade is authorised, and recorded, before the proxy announces it.
        uint256 at = same(policy, "implementation-upgrade") ? 0 : 1;
        assertEq(logs[at].topics[0], 0x341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375);
        assertEq(logs[at].topics[1], bytes32(uint256(uint160(owner))));
        assertEq(logs[at].topics[2], keccak256(bytes(policy)));
        assertEq(logs[at].topics[3], value);
        assertEq(logs[at].data, abi.encode(enabled));
    }
}
