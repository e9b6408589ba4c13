//! Who may do what, and how far the address of a caller can be believed.

use alloy::primitives::Address;
use serde::Deserialize;
use url::Url;

use super::{ConfigError, Settings, http_url, wrong};
use crate::roles::Role;

/// Proxies that a request may have passed.
const PROXIES_MAX: u8 = 10;

/// The table as it is written, every key optional. Flags and environment say the same.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLists {
    pub admins: Vec<String>,
    pub auditors: Vec<String>,
    pub requesters: Vec<String>,
    pub viewers: Vec<String>,
    pub proxies: Option<u8>,
}

/// The roles of wallets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessSettings {
    given: Vec<(Address, Role)>,
    /// How many proxies stand before this service: so many addresses at the end of `X-Forwarded-For`
    /// were written by them.
    pub proxies: u8,
}

impl AccessSettings {
    /// A list that flags or environment give takes the place of the file's.
    pub(super) fn read(file: AccessLists, overrides: AccessLists) -> Result<Self, ConfigError> {
        let mut given = vec![];
        for (key, role, from_file, over) in [
            ("admins", Role::Admin, file.admins, overrides.admins),
            ("auditors", Role::Auditor, file.auditors, overrides.auditors),
            ("requesters", Role::Requester, file.requesters, overrides.requesters),
            ("viewers", Role::Viewer, file.viewers, overrides.viewers),
        ] {
            for text in if over.is_empty() { from_file } else { over } {
                let address: Option<Address> = parse_address(&text);
                let setting = format!("access.{key}");
                let address = address.ok_or_else(|| {
                    wrong(setting, "expected addresses of wallets, 0x and 40 hexadecimal digits")
                })?;
                given.push((address, role));
            }
        }
        let proxies = overrides.proxies.or(file.proxies).unwrap_or(0);
        if proxies > PROXIES_MAX {
            return Err(wrong("access.proxies", format!("expected 0 to {PROXIES_MAX}")));
        }
        Ok(Self { given, proxies })
    }

    /// Who was given a role.
    pub(super) fn wallets_with(&self, role: Role) -> Vec<Address> {
        self.given.iter().filter(|(_, given)| *given == role).map(|(who, _)| *who).collect()
    }

    /// What a wallet is here.
    #[must_use]
    pub fn roles_of(&self, wallet: Address) -> Vec<Role> {
        let mut roles: Vec<Role> =
            self.given.iter().filter(|(who, _)| *who == wallet).map(|(_, role)| *role).collect();
        roles.dedup();
        roles
    }
}

impl Settings {
    /// What an operator is told of a service that others reach, when nobody but the machine itself can sign in.
    #[must_use]
    pub fn nobody_signs_in(&self) -> Option<&'static str> {
        let is_reached = !self.listen.ip().is_loopback() && !self.is_devnet;
        (is_reached && self.public_url.is_none()).then_some(
            "no public_url: nobody signs in with a wallet but on this machine, since a sign-in would be bound to no site",
        )
    }
}

/// An address as people write it. One in mixed case carries a checksum, which must be right: a mistyped
/// one would give somebody else a role.
fn parse_address(text: &str) -> Option<Address> {
    let text = text.trim();
    let digits = text.strip_prefix("0x")?;
    let is_mixed = digits.contains(|c: char| c.is_ascii_lowercase())
        && digits.contains(|c: char| c.is_ascii_uppercase());
    if is_mixed { Address::parse_checksummed(text, None).ok() } else { text.parse().ok() }
}

/// Where people reach this service: shown to everybody, so it holds no secret and nothing after its path.
pub(super) fn site_url(setting: &str, text: &str) -> Result<Url, ConfigError> {
    let url = http_url(setting, text)?;
    let is_bare = url.username().is_empty() && url.password().is_none();
    if is_bare && url.query().is_none() && url.fragment().is_none() {
        return Ok(url);
    }
    Err(wrong(setting, "expected no user, password, query or fragment"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    const ANNA: &str = "0x9D85ca56217D2bb651b00f15e694EB7E713637D4";

    fn lists(admins: &[&str], viewers: &[&str]) -> AccessLists {
        let texts = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        AccessLists { admins: texts(admins), viewers: texts(viewers), ..AccessLists::default() }
    }

    #[test]
    fn roles_come_from_the_lists_and_flags_take_their_place() {
        let anna: Address = ANNA.parse().unwrap();
        let file = lists(&[ANNA], &[&ANNA.to_lowercase()]);
        let read = AccessSettings::read(file.clone(), AccessLists::default()).unwrap();
        assert_eq!(read.roles_of(anna), [Role::Admin, Role::Viewer]);
        assert_eq!(read.roles_of(Address::ZERO), []);
        let other = "0x0000000000000000000000000000000000000001";
        let read = AccessSettings::read(file, lists(&[other], &[])).unwrap();
        assert_eq!(read.roles_of(anna), [Role::Viewer]);
    }

    #[test]
    fn who_is_reached_by_others_is_told_that_nobody_signs_in() {
        for (listen, public_url, is_told) in [
            ("127.0.0.1:8465", None, false),
            ("[::1]:8465", None, false),
            ("0.0.0.0:8465", None, true),
            ("192.168.1.5:8465", None, true),
            ("0.0.0.0:8465", Some("https://a.example"), false),
        ] {
            let given = |text: &str| Some(text.to_owned());
            let (listen, public_url) = (given(listen), public_url.and_then(given));
            let overrides = Overrides { listen, public_url, ..Overrides::default() };
            let settings = Settings::read("", overrides).unwrap();
            assert_eq!(settings.nobody_signs_in().is_some(), is_told, "{}", settings.listen);
            let devnet = Settings { is_devnet: true, ..settings };
            assert_eq!(devnet.nobody_signs_in(), None);
        }
    }

    #[test]
    fn what_is_no_address_is_named_by_its_list() {
        let mistyped = ANNA.replace("ca56", "Ca56");
        for text in ["", "anna.eth", "0x12", &ANNA[2..], &mistyped] {
            let error = AccessSettings::read(lists(&[text], &[]), AccessLists::default());
            assert!(error.unwrap_err().to_string().contains("access.admins"), "{text}");
        }
        let far = AccessLists { proxies: Some(11), ..AccessLists::default() };
        assert!(AccessSettings::read(AccessLists::default(), far).is_err());
    }
}
