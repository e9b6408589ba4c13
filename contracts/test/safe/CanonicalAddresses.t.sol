// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ISafe} from "./ISafe.sol";
import {SafeWorld} from "./SafeWorld.sol";

/// @title The Safe contracts under test are the deployed ones
/// @notice CREATE2 binds an address to the bytecode: landing on the address that every chain knows
///         means being the contract that is there.
contract CanonicalAddressesTest is SafeWorld {
    /// @notice The code itself was not deployed by CREATE2; its hash tells. The packages of 1.0.0 and 1.2.0
    ///         were built in other folders than what is on the chains, and differ from that in the hash of their
    ///         metadata.
    function test_release111() public {
        bytes32 published = 0x56b8be58b5ad629a621593a2e5e5e8e9a28408dc06e95597497b303902772e45;
        assertEq(release111().singleton.codehash, published, "code hash of the singleton");
    }

    function test_release130_canonical() public {
        Release memory r = release130();
        assertEq(r.singleton, 0x3E5c63644E683549055b9Be8653de26E0B4CD36E, "GnosisSafeL2");
        assertEq(r.proxyFactory, 0xa6B71E26C5e0845f74c812102Ca7114b6a896AB2, "GnosisSafeProxyFactory");
        assertEq(r.multiSendCallOnly, 0x40A2aCCbd92BCA938b02010E17A5b8929b49130D, "MultiSendCallOnly");
        assertEq(r.fallbackHandler, 0xf48f2B2d2a534e402487b3ee7C18c33Aec0Fe5e4, "CompatibilityFallbackHandler");
        assertCode(
            r,
            0x21842597390c4c6e3c1239e434a682b054bd9548eee5e9b1d6a4482731023c0f,
            0xa9865ac2d9c7a1591619b188c4d88167b50df6cc0c5327fcbd1c8c75f7c066ad
        );
    }

    /// @notice Base, Optimism and the test networks know this set of 1.3.0 first.
    function test_release130_eip155() public {
        Release memory r = release130From(SAFE_SINGLETON_FACTORY);
        assertEq(r.singleton, 0xfb1bffC9d739B8D520DaF37dF666da4C687191EA, "GnosisSafeL2");
        assertEq(r.proxyFactory, 0xC22834581EbC8527d974F8a1c97E1bEA4EF910BC, "GnosisSafeProxyFactory");
        assertEq(r.multiSendCallOnly, 0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B, "MultiSendCallOnly");
        assertEq(r.fallbackHandler, 0x017062a1dE2FE6b99BE3d9d37841FeD19F573804, "CompatibilityFallbackHandler");
    }

    function test_release141() public {
        Release memory r = release141();
        assertEq(r.singleton, 0x29fcB43b46531BcA003ddC8FCB67FFE91900C762, "SafeL2");
        assertEq(r.proxyFactory, 0x4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67, "SafeProxyFactory");
        assertEq(r.multiSendCallOnly, 0x9641d764fc13c8B624c04430C7356C1C7C8102e2, "MultiSendCallOnly");
        assertEq(r.fallbackHandler, 0xfd0732Dc9E303f09fCEf3a7388Ad10A83459Ec99, "CompatibilityFallbackHandler");
        assertCode(
            r,
            0xb1f926978a0f44a2c0ec8fe822418ae969bd8c3f18d61e5103100339894f81ff,
            0xecd5bd14a08c5d2122379900b2f272bdf107a7e92423c10dd5fe3254386c9939
        );
    }

    function test_release150() public {
        Release memory r = release150();
        assertEq(r.singleton, 0xEdd160fEBBD92E350D4D398fb636302fccd67C7e, "SafeL2");
        assertEq(r.proxyFactory, 0x14F2982D601c9458F93bd70B218933A6f8165e7b, "SafeProxyFactory");
        assertEq(r.multiSendCallOnly, 0xA83c336B20401Af773B6219BA5027174338D1836, "MultiSendCallOnly");
        assertEq(r.fallbackHandler, 0x3EfCBb83A4A7AfcB4F68D501E2c2203a38be77f4, "CompatibilityFallbackHandler");
        assertCode(
            r,
            0x180193227186ccb85316c94db1f0d156ed932b14712cfaac78901899178572dc,
            0xcdbdcec38d2f1c7d961b0029ff8416b7e86e9974d6f0e9c9580c7d17fcfb6663
        );
    }

    /// @notice A Safe of the real factory and one placed at a chosen address differ in the address only.
    function test_placedSafeIsLikeAFactorysSafe() public {
        Release[] memory releases = allReleases();
        for (uint256 i = 0; i < releases.length; i++) {
            ISafe made = newSafe(releases[i]);
            ISafe placed = placeSafe(releases[i], makeAddr(releases[i].version), 2);
            assertEq(address(placed).code, address(made).code, "proxy code");
            for (uint256 slot = 0; slot < 6; slot++) {
                assertEq(vm.load(address(placed), bytes32(slot)), vm.load(address(made), bytes32(slot)), "storage");
            }
            assertEq(placed.VERSION(), releases[i].version);
            assertEq(placed.getOwners(), owners);
            assertEq(placed.getThreshold(), 2);
            assertEq(placed.nonce(), 0);
        }
    }

    function assertCode(Release memory r, bytes32 singletonCodeHash, bytes32 multiSendCodeHash) private view {
        assertEq(r.singleton.codehash, singletonCodeHash, "code hash of the singleton");
        assertEq(r.multiSendCallOnly.codehash, multiSendCodeHash, "code hash of MultiSendCallOnly");
    }
}
