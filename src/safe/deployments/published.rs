//! Made by `make fixtures` from `@safe-global/safe-deployments` 1.37.56. Not to be edited.

use alloy::primitives::{address, b256};

use super::{Contract, Deployment, Set};
use crate::safe::SafeVersion;

/// The code of Safes, and their batch contracts.
pub(super) const PUBLISHED: &[Deployment] = &[
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_0_0, set: Set::Canonical, address: address!("0xb6029EA3B2c51D09a50B53CA8012FeEB05bDa35A"), code_hash: b256!("0xe1f1593df76e69abc2d692792c80f329457551d5e83dde597546a1d58764da80") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_1_1, set: Set::Canonical, address: address!("0x34CfAC646f301356fAa8B21e94227e3583Fe3F5F"), code_hash: b256!("0x56b8be58b5ad629a621593a2e5e5e8e9a28408dc06e95597497b303902772e45") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_2_0, set: Set::Canonical, address: address!("0x6851D6fDFAfD08c0295C392436245E5bc78B0185"), code_hash: b256!("0x2ae2d1231f0d754a7fa4f5e5d0e5554085e1b500d8e09f95aaaaa3f49c0db922") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_3_0, set: Set::Canonical, address: address!("0xd9Db270c1B5E3Bd161E8c8503c55cEABeE709552"), code_hash: b256!("0xbba688fbdb21ad2bb58bc320638b43d94e7d100f6f3ebaab0a4e4de6304b1c2e") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_3_0, set: Set::Eip155, address: address!("0x69f4D1788e39c87893C980c06EdF4b7f686e2938"), code_hash: b256!("0xbba688fbdb21ad2bb58bc320638b43d94e7d100f6f3ebaab0a4e4de6304b1c2e") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_3_0, set: Set::Zksync, address: address!("0xB00ce5CCcdEf57e539ddcEd01DF43a13855d9910"), code_hash: b256!("0x551b7fdfd2dbcec4f785059e1ef6e0b40ca2e44d792158c4e825bc0b092f15e9") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_3_0, set: Set::Canonical, address: address!("0x3E5c63644E683549055b9Be8653de26E0B4CD36E"), code_hash: b256!("0x21842597390c4c6e3c1239e434a682b054bd9548eee5e9b1d6a4482731023c0f") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_3_0, set: Set::Eip155, address: address!("0xfb1bffC9d739B8D520DaF37dF666da4C687191EA"), code_hash: b256!("0x21842597390c4c6e3c1239e434a682b054bd9548eee5e9b1d6a4482731023c0f") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_3_0, set: Set::Zksync, address: address!("0x1727c2c531cf966f902E5927b98490fDFb3b2b70"), code_hash: b256!("0xe2ca068330339d608367d83a0b25545efe39e619098597699ab8ff828cb1ddd8") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_3_0, set: Set::Canonical, address: address!("0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"), code_hash: b256!("0xa9865ac2d9c7a1591619b188c4d88167b50df6cc0c5327fcbd1c8c75f7c066ad") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_3_0, set: Set::Eip155, address: address!("0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"), code_hash: b256!("0xa9865ac2d9c7a1591619b188c4d88167b50df6cc0c5327fcbd1c8c75f7c066ad") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_3_0, set: Set::Zksync, address: address!("0xf220D3b4DFb23C4ade8C88E526C1353AbAcbC38F"), code_hash: b256!("0x064ddbf252714bcd4cb79f679e8c12df96d998ce07bbb13b3118c1dbf4a31942") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_4_1, set: Set::Canonical, address: address!("0x41675C099F32341bf84BFc5382aF534df5C7461a"), code_hash: b256!("0x1fe2df852ba3299d6534ef416eefa406e56ced995bca886ab7a553e6d0c5e1c4") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_4_1, set: Set::Zksync, address: address!("0xC35F063962328aC65cED5D4c3fC5dEf8dec68dFa"), code_hash: b256!("0xfa4d4fc0fa9f1a061571a3f3f66502464edf1a519ab1ab93dc232addf4fbe30f") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_4_1, set: Set::Canonical, address: address!("0x29fcB43b46531BcA003ddC8FCB67FFE91900C762"), code_hash: b256!("0xb1f926978a0f44a2c0ec8fe822418ae969bd8c3f18d61e5103100339894f81ff") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_4_1, set: Set::Zksync, address: address!("0x610fcA2e0279Fa1F8C00c8c2F71dF522AD469380"), code_hash: b256!("0x520462ebe1156cd2d37b1d470c57f23e12fe0c4cda4c62502d96e03fa0cb44da") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_4_1, set: Set::Canonical, address: address!("0x9641d764fc13c8B624c04430C7356C1C7C8102e2"), code_hash: b256!("0xecd5bd14a08c5d2122379900b2f272bdf107a7e92423c10dd5fe3254386c9939") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_4_1, set: Set::Zksync, address: address!("0x0408EF011960d02349d50286D20531229BCef773"), code_hash: b256!("0x44c70b30fed5c3a07358a52c2fb028f651031010ef99e4d8c3b45c208e88a264") },
    Deployment { contract: Contract::Safe, version: SafeVersion::V1_5_0, set: Set::Canonical, address: address!("0xFf51A5898e281Db6DfC7855790607438dF2ca44b"), code_hash: b256!("0xdda019cbd7c867a533a2a86e5c53434fdc50b13122b5a5ddb4a8df61b31c20f2") },
    Deployment { contract: Contract::SafeL2, version: SafeVersion::V1_5_0, set: Set::Canonical, address: address!("0xEdd160fEBBD92E350D4D398fb636302fccd67C7e"), code_hash: b256!("0x180193227186ccb85316c94db1f0d156ed932b14712cfaac78901899178572dc") },
    Deployment { contract: Contract::MultiSendCallOnly, version: SafeVersion::V1_5_0, set: Set::Canonical, address: address!("0xA83c336B20401Af773B6219BA5027174338D1836"), code_hash: b256!("0xcdbdcec38d2f1c7d961b0029ff8416b7e86e9974d6f0e9c9580c7d17fcfb6663") },
];

/// Chains where the `eip155` set of 1.3.0 is the usual one.
#[expect(clippy::unreadable_literal, reason = "as the package writes them")]
pub(super) const EIP155_FIRST: &[u64] = &[10, 16, 18, 19, 25, 28, 43, 44, 46, 50, 57, 61, 63, 69, 81, 82, 83, 106, 108, 109, 111, 148, 155, 179, 185, 195, 196, 204, 239, 252, 255, 288, 314, 338, 360, 420, 545, 570, 588, 595, 599, 686, 690, 747, 787, 988, 1001, 1088, 1111, 1112, 1230, 1231, 1294, 1315, 1328, 1337, 1442, 1480, 1513, 1514, 1516, 1559, 1625, 1663, 1672, 1740, 1750, 2358, 2390, 2391, 2810, 2910, 3636, 4157, 4158, 4217, 4326, 4653, 4689, 5000, 5001, 5003, 5115, 5330, 5464, 5700, 5887, 5888, 6102, 6398, 7000, 7001, 7332, 7700, 8150, 8192, 8194, 8217, 8333, 8453, 8700, 8822, 9728, 10000, 10001, 10242, 10243, 11011, 13371, 13473, 13505, 14800, 17069, 17172, 23294, 23295, 24101, 25327, 25363, 28802, 28882, 30303, 32769, 32770, 33101, 33139, 36900, 41923, 42220, 42431, 42793, 43111, 43114, 43288, 46630, 48898, 48899, 54211, 56288, 57000, 57073, 71401, 71402, 84531, 84532, 88882, 88888, 98875, 102030, 103454, 128123, 167000, 167009, 167013, 314159, 490000, 534353, 560048, 656476, 688688, 695569, 713715, 747474, 763373, 808813, 853211, 5042002, 5064014, 6038361, 6281971, 6985385, 7225878, 11155111, 11155420, 13374202, 21000000, 245022926, 245022934, 531050204, 1666600000, 1666700000];
