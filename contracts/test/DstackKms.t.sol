// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";

import {DstackAppG1} from "../src/DstackAppG1.sol";
import {DstackAppG2} from "../src/DstackAppG2.sol";
import {DstackAppG3} from "../src/DstackAppG3.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppAuth} from "../src/IDstackApp.sol";

/// @dev Apps that answer the KMS with something else than a verdict.
contract AppThatReverts {
    fallback() external {
        revert("no verdict today");
    }
}

contract AppThatAnswersNonsense {
    fallback() external {
        assembly ("memory-safe") {
            mstore(0, not(0))
            return(0, 32)
        }
    }
}

contract AppThatNeverAnswers {
    fallback() external {
        while (true) {}
    }
}

/// @title Registration, the factory, and the verdict as the KMS gives it
contract DstackKmsTest is Test {
    bytes32 private constant COMPOSE_HASH = keccak256("compose");
    bytes32 private constant DEVICE_ID = keccak256("device");
    bytes32 private constant OS_IMAGE = keccak256("os image");

    address private governor = makeAddr("governor");
    address private owner = makeAddr("owner");
    address private stranger = makeAddr("stranger");
    DstackKms private kms;

    function setUp() public {
        kms = new DstackKms(governor, address(new DstackAppG2()));
        vm.prank(governor);
        kms.addOsImageHash(OS_IMAGE);
    }

    // The factory

    /// @notice Anyone deploys for anyone: who called the factory is not who owns the app.
    function test_deployerIsNotTheOwner() public {
        vm.recordLogs();
        vm.prank(stranger);
        address app = kms.deployAndRegisterApp(owner, false, false, DEVICE_ID, COMPOSE_HASH);
        Vm.Log[] memory logs = vm.getRecordedLogs();

        assertEq(DstackAppG2(app).owner(), owner);
        assertTrue(DstackAppG2(app).allowedDeviceIds(DEVICE_ID));
        assertTrue(DstackAppG2(app).allowedComposeHashes(COMPOSE_HASH));
        assertTrue(kms.registeredApps(app));

        Vm.Log memory registered = logs[logs.length - 2];
        assertEq(registered.emitter, address(kms));
        assertEq(registered.topics.length, 1, "the app is not indexed");
        assertEq(registered.topics[0], 0x0d540ad8f39e07d19909687352b9fa017405d93c91a6760981fbae9cf28bfef7);
        assertEq(registered.data, abi.encode(app));
        Vm.Log memory deployed = logs[logs.length - 1];
        assertEq(deployed.emitter, address(kms));
        assertEq(deployed.topics[0], 0xfd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee);
        assertEq(deployed.topics[1], bytes32(uint256(uint160(app))));
        assertEq(deployed.topics[2], bytes32(uint256(uint160(stranger))));
    }

    function test_shortFormServesEveryGeneration() public {
        address[3] memory implementations =
            [address(new DstackAppG1()), address(new DstackAppG2()), address(new DstackAppG3())];
        for (uint256 i = 0; i < implementations.length; i++) {
            vm.prank(governor);
            kms.setAppImplementation(implementations[i]);
            DstackAppG1 app = DstackAppG1(kms.deployAndRegisterApp(owner, true, true, 0, 0));
            assertEq(app.owner(), owner);
            assertTrue(app.allowAnyDevice());
        }
    }

    function test_longFormSetsTheTcbDemand() public {
        DstackAppG2 app = DstackAppG2(kms.deployAndRegisterApp(owner, false, true, false, 0, 0));
        assertTrue(app.requireTcbUpToDate());
        assertFalse(app.allowAnyDevice());
    }

    function test_longFormNeedsGeneration2() public {
        address first = address(new DstackAppG1());
        vm.prank(governor);
        kms.setAppImplementation(first);
        vm.expectRevert(Errors.FailedCall.selector);
        kms.deployAndRegisterApp(owner, false, true, false, 0, 0);
    }

    function test_factoryRefusals() public {
        vm.expectRevert("Invalid owner address");
        kms.deployAndRegisterApp(address(0), false, false, 0, 0);

        DstackKms empty = new DstackKms(governor, address(0));
        vm.expectRevert("DstackApp implementation not set");
        empty.deployAndRegisterApp(owner, false, false, 0, 0);

        vm.expectRevert("Invalid implementation address");
        vm.prank(governor);
        kms.setAppImplementation(address(0));
    }

    function test_onlyTheOwnerGovernsTheKms() public {
        bytes memory refusal = abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        kms.setAppImplementation(address(this));
        vm.expectRevert(refusal);
        kms.addOsImageHash(OS_IMAGE);
        vm.expectRevert(refusal);
        kms.removeOsImageHash(OS_IMAGE);
    }

    // Registration

    /// @notice Anyone registers anything: an entry proves nothing.
    function testFuzz_registrationIsOpen(address anyone, address anything) public {
        vm.assume(anything != address(0));
        vm.prank(anyone);
        kms.registerApp(anything);
        assertTrue(kms.registeredApps(anything));
    }

    function test_zeroCannotBeRegistered() public {
        vm.expectRevert("Invalid app ID");
        kms.registerApp(address(0));
    }

    // The verdict

    /// @notice Registration, then the image, then whether there is an app at all, then the app.
    function test_orderOfChecks() public {
        IAppAuth.AppBootInfo memory info;
        info.appId = makeAddr("nothing there");
        expectVerdict(info, "App not registered");
        kms.registerApp(info.appId);
        expectVerdict(info, "OS image is not allowed");
        info.osImageHash = OS_IMAGE;
        expectVerdict(info, "App not deployed or invalid address");

        info.appId = kms.deployAndRegisterApp(owner, false, false, DEVICE_ID, COMPOSE_HASH);
        expectVerdict(info, "Compose hash not allowed");
        info.composeHash = COMPOSE_HASH;
        expectVerdict(info, "Device not allowed");
        info.deviceId = DEVICE_ID;
        expectVerdict(info, "");

        vm.prank(governor);
        kms.removeOsImageHash(OS_IMAGE);
        expectVerdict(info, "OS image is not allowed");
    }

    /// @notice A registered app may be anything. Where it gives no verdict the KMS reverts, which is not
    ///         the same as a refusal.
    function test_noVerdictIsNoRefusal() public {
        address[3] memory apps =
            [address(new AppThatReverts()), address(new AppThatAnswersNonsense()), address(new AppThatNeverAnswers())];
        for (uint256 i = 0; i < apps.length; i++) {
            kms.registerApp(apps[i]);
            IAppAuth.AppBootInfo memory info;
            info.appId = apps[i];
            info.osImageHash = OS_IMAGE;
            (bool answered,) = address(kms).staticcall{gas: 1_000_000}(abi.encodeCall(kms.isAppAllowed, (info)));
            assertFalse(answered);
        }
    }

    function expectVerdict(IAppAuth.AppBootInfo memory info, string memory refusal) private view {
        (bool allowed, string memory reason) = kms.isAppAllowed(info);
        assertEq(reason, refusal);
        assertEq(allowed, bytes(refusal).length == 0);
    }
}
