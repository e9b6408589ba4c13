// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable2StepUpgradeable} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Test} from "forge-std/Test.sol";

import {DstackAppBase} from "../src/DstackAppBase.sol";
import {DstackAppG1} from "../src/DstackAppG1.sol";
import {DstackAppG2} from "../src/DstackAppG2.sol";
import {DstackAppG3} from "../src/DstackAppG3.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppAuth, IAppAuthBasicManagement} from "../src/IDstackApp.sol";

/// @title The recorded interface, number by number
/// @notice The constants come from contracts that are deployed; nothing here is computed from our own
///         sources on both sides. The Rust side decodes with the same ones.
contract DstackAppInterfaceTest is Test {
    struct Function {
        bytes4 selector;
        string signature;
    }

    Function[] private table;

    // Functions

    function test_functionsOfGeneration1() public {
        tabulateGeneration1();
        expectExactly("DstackAppG1");
    }

    function test_functionsOfGeneration2() public {
        tabulateGeneration1();
        tabulateGeneration2();
        expectExactly("DstackAppG2");
    }

    function test_functionsOfGeneration3() public {
        tabulateGeneration1();
        tabulateGeneration2();
        table.push(Function(0xe30c3978, "pendingOwner()"));
        table.push(Function(0x79ba5097, "acceptOwnership()"));
        expectExactly("DstackAppG3");
    }

    function tabulateGeneration1() private {
        table.push(Function(0xdfc77223, "addComposeHash(bytes32)"));
        table.push(Function(0x67b3f22c, "removeComposeHash(bytes32)"));
        table.push(Function(0x2a819728, "addDevice(bytes32)"));
        table.push(Function(0x1d266200, "removeDevice(bytes32)"));
        table.push(Function(0x7c4beeb8, "setAllowAnyDevice(bool)"));
        table.push(Function(0xec669036, "disableUpgrades()"));
        table.push(Function(0x2f6622e5, "allowedComposeHashes(bytes32)"));
        table.push(Function(0xbf8b211b, "allowedDeviceIds(bytes32)"));
        table.push(Function(0x3440a16a, "allowAnyDevice()"));
        table.push(
            Function(
                0x1e079198, "isAppAllowed((address,bytes32,address,bytes32,bytes32,bytes32,bytes32,string,string[]))"
            )
        );
        table.push(Function(0x187515ca, "initialize(address,bool,bool,bytes32,bytes32)"));
        table.push(Function(0x8da5cb5b, "owner()"));
        table.push(Function(0xf2fde38b, "transferOwnership(address)"));
        table.push(Function(0x715018a6, "renounceOwnership()"));
        table.push(Function(0x4f1ef286, "upgradeToAndCall(address,bytes)"));
        table.push(Function(0x52d1902d, "proxiableUUID()"));
        table.push(Function(0xad3cb1cc, "UPGRADE_INTERFACE_VERSION()"));
        table.push(Function(0x01ffc9a7, "supportsInterface(bytes4)"));
    }

    function tabulateGeneration2() private {
        table.push(Function(0x6e4c7422, "setRequireTcbUpToDate(bool)"));
        table.push(Function(0x0aa58c83, "requireTcbUpToDate()"));
        table.push(Function(0x9ed28193, "initialize(address,bool,bool,bool,bytes32,bytes32)"));
        table.push(Function(0x54fd4d50, "version()"));
    }

    /// @dev What the compiler exported is the table: nothing missing, nothing more.
    function expectExactly(string memory contractName) private view {
        string memory artifact =
            vm.readFile(string.concat("contracts/out/", contractName, ".sol/", contractName, ".json"));
        string[] memory exported = vm.parseJsonKeys(artifact, ".methodIdentifiers");
        for (uint256 i = 0; i < table.length; i++) {
            assertEq(bytes4(keccak256(bytes(table[i].signature))), table[i].selector, table[i].signature);
            assertTrue(contains(exported, table[i].signature), table[i].signature);
        }
        assertEq(exported.length, table.length, "no function beyond the table");
    }

    function contains(string[] memory names, string memory name) private pure returns (bool) {
        for (uint256 i = 0; i < names.length; i++) {
            if (keccak256(bytes(names[i])) == keccak256(bytes(name))) return true;
        }
        return false;
    }

    // Events

    function test_topics() public pure {
        assertEq(
            IAppAuthBasicManagement.ComposeHashAdded.selector,
            0xfecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af
        );
        assertEq(
            IAppAuthBasicManagement.ComposeHashRemoved.selector,
            0x755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947
        );
        assertEq(
            IAppAuthBasicManagement.DeviceAdded.selector,
            0x67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b
        );
        assertEq(
            IAppAuthBasicManagement.DeviceRemoved.selector,
            0xe0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c
        );
        assertEq(
            DstackAppBase.AllowAnyDeviceSet.selector, 0xbb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20
        );
        assertEq(
            DstackAppG2.RequireTcbUpToDateSet.selector,
            0xafae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa1
        );
        assertEq(
            DstackAppBase.UpgradesDisabled.selector, 0x0e5daa943fcd7e7182d0e893d180695c2ea9f6f1b4a1c5432faf14cf17b774e8
        );
        assertEq(DstackAppG3.PolicyChanged.selector, 0x341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375);
        assertEq(
            OwnableUpgradeable.OwnershipTransferred.selector,
            0x8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0
        );
        assertEq(
            Ownable2StepUpgradeable.OwnershipTransferStarted.selector,
            0x38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e22700
        );
        assertEq(Initializable.Initialized.selector, 0xc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2);
        assertEq(
            DstackKms.AppDeployedViaFactory.selector, 0xfd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee
        );
        assertEq(DstackKms.AppRegistered.selector, 0x0d540ad8f39e07d19909687352b9fa017405d93c91a6760981fbae9cf28bfef7);
    }

    // ERC-165

    function test_interfaceIds() public {
        assertEq(type(IAppAuth).interfaceId, bytes4(0x1e079198));
        assertEq(type(IAppAuthBasicManagement).interfaceId, bytes4(0x8fd37527));
        DstackAppBase[3] memory apps = [DstackAppBase(new DstackAppG1()), new DstackAppG2(), new DstackAppG3()];
        for (uint256 i = 0; i < apps.length; i++) {
            assertTrue(apps[i].supportsInterface(0x1e079198), "IAppAuth");
            assertTrue(apps[i].supportsInterface(0x8fd37527), "IAppAuthBasicManagement");
            assertTrue(apps[i].supportsInterface(0x01ffc9a7), "ERC-165");
            assertFalse(apps[i].supportsInterface(0xffffffff));
        }
    }

    // Storage

    /// @notice Slots 0 to 3 of an app, each changed alone and read raw.
    function test_storageOfAnApp() public {
        address implementation = address(new DstackAppG2());
        DstackAppG2 app = DstackAppG2(
            address(
                new ERC1967Proxy(
                    implementation, abi.encodeCall(DstackAppBase.initialize, (address(this), false, false, 0, 0))
                )
            )
        );
        assertEq(
            vm.load(address(app), 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc),
            bytes32(uint256(uint160(implementation)))
        );
        bytes32 value = keccak256("value");

        app.addComposeHash(value);
        assertEq(slot(app, uint256(keccak256(abi.encode(value, 0)))), 1, "compose hashes hang on slot 0");
        app.addDevice(value);
        assertEq(slot(app, uint256(keccak256(abi.encode(value, 2)))), 1, "devices hang on slot 2");

        assertEq(slot(app, 1), 0);
        app.setAllowAnyDevice(true);
        assertEq(slot(app, 1), 0x0100, "allowAnyDevice is byte 1 of slot 1");
        app.disableUpgrades();
        assertEq(slot(app, 1), 0x0101, "_upgradesDisabled is byte 0 of slot 1");
        app.setAllowAnyDevice(false);
        assertEq(slot(app, 1), 0x0001);

        assertEq(slot(app, 3), 0);
        app.setRequireTcbUpToDate(true);
        assertEq(slot(app, 3), 1, "requireTcbUpToDate is slot 3");
        assertEq(slot(app, 0), 0);
        assertEq(slot(app, 2), 0);
    }

    function test_storageOfTheKms() public {
        DstackKms kms = new DstackKms(address(this), address(0xA11CE));
        kms.registerApp(address(0xB0B));
        kms.addOsImageHash(keccak256("os image"));
        assertEq(uint256(vm.load(address(kms), keccak256(abi.encode(address(0xB0B), 5)))), 1, "registeredApps");
        assertEq(uint256(vm.load(address(kms), keccak256(abi.encode(keccak256("os image"), 8)))), 1, "allowedOsImages");
        assertEq(uint256(vm.load(address(kms), bytes32(uint256(9)))), 0xA11CE, "appImplementation");
    }

    function slot(DstackAppG2 app, uint256 number) private view returns (uint256) {
        return uint256(vm.load(address(app), bytes32(number)));
    }
}
