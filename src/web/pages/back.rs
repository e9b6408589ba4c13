//! Where a sign-in leads back to: a page of this site, and never anywhere else.

use std::fmt;

use url::form_urlencoded;

/// Bytes of the longest place that is kept; a filter of the list is far shorter.
const BYTES_MAX: usize = 2_000;

/// Path and query of a page of this site, as they stand in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back(String);

impl Back {
    /// None for whatever a browser could take for another site. Two slashes begin the name of a host, a
    /// backslash is a slash to browsers, and they drop tabs and line feeds before they look.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let is_path = text.starts_with('/') && !text.starts_with("//");
        (is_plain && is_path && text.len() <= BYTES_MAX).then(|| Self(text.to_owned()))
    }

    /// The one that a query names.
    pub fn in_query(query: &str) -> Option<Self> {
        let (_, text) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "back")?;
        Self::parse(&text)
    }

    /// An address that leads back here afterwards.
    pub fn after(&self, path: &str) -> String {
        let place: String = form_urlencoded::byte_serialize(self.0.as_bytes()).collect();
        format!("{path}?back={place}")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_place_is_a_page_of_this_site() {
        let here = Url::parse("https://countersign.example/sign-in").unwrap();
        for place in [
            "/",
            "/requests/00000000-0000-0000-0000-000000000007",
            "/?status=proposed&q=a%26b+%22&mine=1",
            "/?q=//evil.example",
            "/apps/1/0x11/ledger?kind=device_added#events",
            "/.//evil.example",
            "/@evil.example",
            "/:8080/",
        ] {
            let back = Back::parse(place).unwrap();
            assert_eq!(here.join(back.as_str()).unwrap().origin(), here.origin(), "{place}");
            let address = back.after("/sign-in");
            let (_, query) = address.split_once('?').unwrap();
            assert_eq!(Back::in_query(query), Some(back), "{place}");
        }
    }

    #[test]
    fn no_place_leads_to_another_site() {
        for hostile in [
            "",
            "requests/7",
            "?q=1",
            "#main",
            "//evil.example",
            "///evil.example",
            "//evil.example/%2f..",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "/a\\..\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: countersign=1",
            "\t//evil.example",
            " //evil.example",
            "/ /evil.example",
            "/\u{0}",
            "/\u{7f}",
            "/\u{a0}",
            "/\u{2028}",
            "/\u{202e}gro.elpmaxe",
            "/\u{ff0f}evil.example",
            "https://evil.example/",
            "https:/evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert_eq!(Back::parse(hostile), None, "{hostile:?}");
            let query: String = form_urlencoded::byte_serialize(hostile.as_bytes()).collect();
            assert_eq!(Back::in_query(&format!("back={query}")), None, "{hostile:?}");
        }
        assert_eq!(Back::parse(&format!("/{}", "a".repeat(BYTES_MAX))), None);
        assert_eq!(Back::in_query("next=/"), None);
    }
}
