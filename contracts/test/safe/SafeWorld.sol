// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";

import {DstackAppBase} from "../../src/DstackAppBase.sol";
import {IAppAuth, IAppAuthBasicManagement} from "../../src/IDstackApp.sol";
import {ISafe, ISafeProxyFactory} from "./ISafe.sol";
import {MultiSend} from "./MultiSend.sol";

/// @title A chain with the real Safe contracts on it
/// @notice The bytecode is what the Safe project published on npm. It is deployed the way the Safe
///         project deploys it, so the contracts land on their canonical addresses, which
///         `CanonicalAddressesTest` asserts.
abstract contract SafeWorld is Test {
    /// @dev One published release, and the code its factory gives to new Safes.
    struct Release {
        string version;
        address singleton;
        address proxyFactory;
        address multiSendCallOnly;
        address fallbackHandler;
        bytes proxyCode;
    }

    /// @dev A Safe transaction without signatures.
    struct SafeTx {
        address to;
        uint256 value;
        bytes data;
        uint8 operation;
        uint256 safeTxGas;
        uint256 baseGas;
        uint256 gasPrice;
        address gasToken;
        address refundReceiver;
        uint256 nonce;
    }

    uint256 internal constant CHAIN_ID = 8453;
    uint8 internal constant CALL = 0;
    uint8 internal constant DELEGATECALL = 1;

    /// @dev Storage slots of a Safe proxy.
    bytes32 internal constant SAFE_SINGLETON_SLOT = bytes32(uint256(0));
    bytes32 internal constant SAFE_NONCE_SLOT = bytes32(uint256(5));
    bytes32 internal constant IMPLEMENTATION_SLOT = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    bytes32 internal constant EXECUTION_SUCCESS = 0x442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e;
    /// @dev `ExecutionFailed(bytes32)`, all that 1.0.0 tells.
    bytes32 internal constant EXECUTION_FAILED = 0xabfd711ecdd15ae3a6b3ad16ff2e9d81aec026a39d16725ee164be4fbf857a7c;
    bytes32 internal constant EXECUTION_FAILURE = 0x23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23;
    bytes32 internal constant SAFE_MULTISIG_TRANSACTION =
        0x66753cd2356569ee081232e3be8909b950e0a76c1f8460c3a5e3c2be32b11bed;

    /// @dev The two keyless CREATE2 factories Safe releases were deployed through, and the code both have:
    ///      it creates `calldata[32:]` with salt `calldata[:32]` and returns the 20 bytes of the address.
    address internal constant SAFE_SINGLETON_FACTORY = 0x914d7Fec6aaC8cd542e72Bca78B30650d45643d7;
    address internal constant DETERMINISTIC_DEPLOYMENT_PROXY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;
    bytes internal constant CREATE2_FACTORY_CODE =
        hex"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3";

    string private constant MNEMONIC = "test test test test test test test test test test test junk";

    address internal stranger = makeAddr("stranger");

    /// @dev Keys of the three owners: accounts 0, 1 and 2 of the usual test mnemonic.
    uint256[] internal ownerKeys;
    address[] internal owners;

    /// @dev Tells the Safes of one factory apart.
    uint256 private saltNonce;

    function setUp() public virtual {
        vm.chainId(CHAIN_ID);
        vm.etch(SAFE_SINGLETON_FACTORY, CREATE2_FACTORY_CODE);
        vm.etch(DETERMINISTIC_DEPLOYMENT_PROXY, CREATE2_FACTORY_CODE);
        for (uint32 i = 0; i < 3; i++) {
            ownerKeys.push(vm.deriveKey(MNEMONIC, i));
            owners.push(vm.addr(ownerKeys[i]));
        }
    }

    // Deploying the releases

    function release100() internal returns (Release memory) {
        address singleton = 0xb6029EA3B2c51D09a50B53CA8012FeEB05bDa35A;
        return older("1.0.0", "ProxyFactory.json", "Proxy.json", singleton);
    }

    function release111() internal returns (Release memory) {
        address singleton = 0x34CfAC646f301356fAa8B21e94227e3583Fe3F5F;
        return older("1.1.1", "ProxyFactory.json", "Proxy.json", singleton);
    }

    function release120() internal returns (Release memory) {
        address singleton = 0x6851D6fDFAfD08c0295C392436245E5bc78B0185;
        return older("1.2.0", "GnosisSafeProxyFactory.json", "GnosisSafeProxy.json", singleton);
    }

    /// @dev Before the CREATE2 factories an account deployed each contract, so the code is put at its
    ///      address. There was no L2 variant, and no MultiSendCallOnly: that of 1.3.0 is used.
    function older(string memory version, string memory factory, string memory proxy, address singleton)
        private
        returns (Release memory)
    {
        string memory artifacts = string.concat("node_modules/safe-contracts-", version, "/build/contracts/");
        address proxyFactory = makeAddr(string.concat("proxy factory of ", version));
        vm.etch(singleton, vm.getDeployedCode(string.concat(artifacts, "GnosisSafe.json")));
        vm.etch(proxyFactory, vm.getDeployedCode(string.concat(artifacts, factory)));
        return Release({
            version: version,
            singleton: singleton,
            proxyFactory: proxyFactory,
            multiSendCallOnly: release130().multiSendCallOnly,
            fallbackHandler: address(0),
            proxyCode: vm.getDeployedCode(string.concat(artifacts, proxy))
        });
    }

    /// @notice Whether a release came before the chain id in the domain, the GS codes, and the L2 variant.
    function isOld(string memory version) internal pure returns (bool) {
        return same(version, "1.0.0") || same(version, "1.1.1") || same(version, "1.2.0");
    }

    function olderReleases() internal returns (Release[] memory releases) {
        releases = new Release[](3);
        releases[0] = release100();
        releases[1] = release111();
        releases[2] = release120();
    }

    function release130() internal returns (Release memory) {
        return release130From(DETERMINISTIC_DEPLOYMENT_PROXY);
    }

    /// @notice 1.3.0 in the set "canonical", or "eip155" when it comes from the Safe singleton factory.
    function release130From(address factory) internal returns (Release memory) {
        string memory artifacts = "node_modules/@gnosis.pm/safe-contracts/build/artifacts/contracts/";
        return Release({
            version: "1.3.0",
            singleton: deployOnce(factory, artifacts, "GnosisSafeL2.sol/GnosisSafeL2.json"),
            proxyFactory: deployOnce(
                factory, artifacts, "proxies/GnosisSafeProxyFactory.sol/GnosisSafeProxyFactory.json"
            ),
            multiSendCallOnly: deployOnce(factory, artifacts, "libraries/MultiSendCallOnly.sol/MultiSendCallOnly.json"),
            fallbackHandler: deployOnce(
                factory, artifacts, "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json"
            ),
            proxyCode: vm.getDeployedCode(string.concat(artifacts, "proxies/GnosisSafeProxy.sol/GnosisSafeProxy.json"))
        });
    }

    function release141() internal returns (Release memory) {
        return releaseOf("1.4.1", "node_modules/@safe-global/safe-contracts/build/artifacts/contracts/");
    }

    function release150() internal returns (Release memory) {
        return releaseOf("1.5.0", "node_modules/@safe-global/safe-smart-account/build/artifacts/contracts/");
    }

    function allReleases() internal returns (Release[] memory releases) {
        releases = new Release[](3);
        releases[0] = release130();
        releases[1] = release141();
        releases[2] = release150();
    }

    function releaseByVersion(string memory version) internal returns (Release memory) {
        if (same(version, "1.0.0")) return release100();
        if (same(version, "1.1.1")) return release111();
        if (same(version, "1.2.0")) return release120();
        if (same(version, "1.3.0")) return release130();
        if (same(version, "1.4.1")) return release141();
        require(same(version, "1.5.0"), string.concat("no artifacts of Safe ", version));
        return release150();
    }

    function releaseOf(string memory version, string memory artifacts) private returns (Release memory) {
        return Release({
            version: version,
            singleton: deployOnce(SAFE_SINGLETON_FACTORY, artifacts, "SafeL2.sol/SafeL2.json"),
            proxyFactory: deployOnce(
                SAFE_SINGLETON_FACTORY, artifacts, "proxies/SafeProxyFactory.sol/SafeProxyFactory.json"
            ),
            multiSendCallOnly: deployOnce(
                SAFE_SINGLETON_FACTORY, artifacts, "libraries/MultiSendCallOnly.sol/MultiSendCallOnly.json"
            ),
            fallbackHandler: deployOnce(
                SAFE_SINGLETON_FACTORY,
                artifacts,
                "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json"
            ),
            proxyCode: vm.getDeployedCode(string.concat(artifacts, "proxies/SafeProxy.sol/SafeProxy.json"))
        });
    }

    /// @dev Through the factory with salt 0, unless this contract is there already.
    function deployOnce(address factory, string memory artifacts, string memory artifact)
        private
        returns (address deployed)
    {
        bytes memory creationCode = vm.getCode(string.concat(artifacts, artifact));
        deployed = vm.computeCreate2Address(0, keccak256(creationCode), factory);
        if (deployed.code.length > 0) return deployed;
        (bool created, bytes memory answer) = factory.call(abi.encodePacked(bytes32(0), creationCode));
        require(created && keccak256(answer) == keccak256(abi.encodePacked(deployed)), "CREATE2 factory");
    }

    // Safes and apps

    /// @notice A new 2-of-3 Safe, made by the release's own factory.
    function newSafe(Release memory release) internal returns (ISafe) {
        address proxy = ISafeProxyFactory(release.proxyFactory)
            .createProxyWithNonce(release.singleton, setupCall(release, 2), saltNonce++);
        return ISafe(proxy);
    }

    /// @notice A Safe at an address of the caller's choice, since the address is part of what is signed.
    function placeSafe(Release memory release, address at, uint256 threshold) internal returns (ISafe) {
        vm.etch(at, release.proxyCode);
        vm.store(at, SAFE_SINGLETON_SLOT, bytes32(uint256(uint160(release.singleton))));
        (bool done,) = at.call(setupCall(release, threshold));
        require(done, "Safe setup");
        return ISafe(at);
    }

    function setupCall(Release memory release, uint256 threshold) private view returns (bytes memory) {
        if (same(release.version, "1.0.0")) {
            return abi.encodeWithSignature(
                "setup(address[],uint256,address,bytes,address,uint256,address)",
                owners,
                threshold,
                address(0),
                "",
                address(0),
                0,
                address(0)
            );
        }
        return abi.encodeCall(
            ISafe.setup,
            (owners, threshold, address(0), "", release.fallbackHandler, address(0), 0, payable(address(0)))
        );
    }

    /// @notice An empty app behind a proxy: no compose hash, no device, every flag off.
    function newApp(DstackAppBase implementation, address owner) internal returns (address) {
        return address(
            new ERC1967Proxy(
                address(implementation), abi.encodeCall(DstackAppBase.initialize, (owner, false, false, 0, 0))
            )
        );
    }

    // Safe transactions

    function addComposeHash(bytes32 composeHash) internal pure returns (bytes memory) {
        return abi.encodeCall(IAppAuthBasicManagement.addComposeHash, (composeHash));
    }

    function addDevice(bytes32 deviceId) internal pure returns (bytes memory) {
        return abi.encodeCall(IAppAuthBasicManagement.addDevice, (deviceId));
    }

    /// @notice One call, without the detour over MultiSend, and with every gas field zero.
    function single(ISafe safe, address to, bytes memory data) internal view returns (SafeTx memory safeTx) {
        safeTx.to = to;
        safeTx.data = data;
        safeTx.nonce = safe.nonce();
    }

    /// @notice Several calls to one contract, through MultiSendCallOnly, with every gas field zero.
    function batch(ISafe safe, Release memory release, address to, bytes[] memory calls)
        internal
        view
        returns (SafeTx memory safeTx)
    {
        safeTx.to = release.multiSendCallOnly;
        safeTx.data = MultiSend.encode(to, calls);
        safeTx.operation = DELEGATECALL;
        safeTx.nonce = safe.nonce();
    }

    function hashOf(ISafe safe, SafeTx memory t) internal view returns (bytes32) {
        return safe.getTransactionHash(
            t.to,
            t.value,
            t.data,
            t.operation,
            t.safeTxGas,
            t.baseGas,
            t.gasPrice,
            t.gasToken,
            t.refundReceiver,
            t.nonce
        );
    }

    function execute(ISafe safe, SafeTx memory t, bytes memory signatures) internal returns (bool) {
        return safe.execTransaction(
            t.to,
            t.value,
            t.data,
            t.operation,
            t.safeTxGas,
            t.baseGas,
            t.gasPrice,
            t.gasToken,
            payable(t.refundReceiver),
            signatures
        );
    }

    /// @notice Signs with owners `a` and `b` and executes.
    function signAndExecute(ISafe safe, SafeTx memory t, uint256 a, uint256 b) internal returns (bool) {
        return execute(safe, t, signedBy(hashOf(safe, t), a, b));
    }

    /// @notice Signatures of owners `a` and `b`, in the order of their addresses, as a Safe demands.
    function signedBy(bytes32 hash, uint256 a, uint256 b) internal view returns (bytes memory) {
        (uint256 first, uint256 second) = owners[a] < owners[b] ? (a, b) : (b, a);
        return bytes.concat(sign(ownerKeys[first], hash), sign(ownerKeys[second], hash));
    }

    function sign(uint256 key, bytes32 hash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, hash);
        return abi.encodePacked(r, s, v);
    }

    /// @notice The SafeTx an owner's service would build: these compose hashes, then these devices.
    function batchOfAdds(
        ISafe safe,
        Release memory release,
        address app,
        bytes32[] memory composeHashes,
        bytes32[] memory deviceIds
    ) internal view returns (SafeTx memory) {
        bytes[] memory calls = new bytes[](composeHashes.length + deviceIds.length);
        for (uint256 i = 0; i < composeHashes.length; i++) {
            calls[i] = addComposeHash(composeHashes[i]);
        }
        for (uint256 i = 0; i < deviceIds.length; i++) {
            calls[composeHashes.length + i] = addDevice(deviceIds[i]);
        }
        return batch(safe, release, app, calls);
    }

    /// @notice Executes, and answers with the slots of the app that were written, in order.
    /// @dev Taken from the EVM's record of storage accesses. Besides the app only the Safe's nonce may be
    ///      written, anywhere; every write to the app must set an entry to true.
    function executeRecordingWrites(ISafe safe, SafeTx memory t, bytes memory signatures, address app)
        internal
        returns (bytes32[] memory slots)
    {
        vm.startStateDiffRecording();
        assertTrue(execute(safe, t, signatures), "execTransaction");
        Vm.AccountAccess[] memory accesses = vm.stopAndReturnStateDiff();

        for (uint256 pass = 0; pass < 2; pass++) {
            uint256 count = 0;
            for (uint256 i = 0; i < accesses.length; i++) {
                for (uint256 j = 0; j < accesses[i].storageAccesses.length; j++) {
                    Vm.StorageAccess memory access = accesses[i].storageAccesses[j];
                    if (!access.isWrite) continue;
                    assertFalse(access.reverted, "a write was taken back");
                    if (access.account == address(safe)) {
                        assertEq(access.slot, SAFE_NONCE_SLOT, "the Safe's nonce only");
                        continue;
                    }
                    assertEq(access.account, app, "no third account");
                    assertEq(access.newValue, bytes32(uint256(1)), "entries are set, not cleared");
                    if (pass == 1) slots[count] = access.slot;
                    count++;
                }
            }
            if (pass == 0) slots = new bytes32[](count);
        }
    }

    // Small things

    /// @notice The storage slot of an entry in a mapping that lives at `slot`.
    function entry(bytes32 key, uint256 slot) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }

    function list(bytes32 only) internal pure returns (bytes32[] memory one) {
        one = new bytes32[](1);
        one[0] = only;
    }

    function bootInfo(bytes32 composeHash, bytes32 deviceId) internal pure returns (IAppAuth.AppBootInfo memory info) {
        info.composeHash = composeHash;
        info.deviceId = deviceId;
        info.tcbStatus = "UpToDate";
    }

    function same(string memory a, string memory b) internal pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}
