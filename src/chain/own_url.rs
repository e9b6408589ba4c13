//! What of an endpoint's URL is a secret. Some providers repeat a key that they refuse, and what an endpoint
//! says is shown to everybody; log lines are cut by it too. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

/// Shorter parts are words such as `rpc` and `v3`.
const SECRET_MIN: usize = 8;

/// The parts of a URL beside its host, as they stand there and as they are meant, the longest first.
pub fn secrets(url: &Url) -> Vec<String> {
    let written = [url.username(), url.password().unwrap_or_default()].into_iter();
    let written = written.chain(url.path_segments().into_iter().flatten());
    let written = written.chain(url.query().into_iter().flat_map(|query| query.split(['&', '='])));
    let written = written.map(ToOwned::to_owned);
    let meant = url.query_pairs().map(|(_, value)| value.into_owned());
    let meant =
        meant.chain(url.path_segments().into_iter().flatten().map(|part| {
            percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
        }));
    // As a header has user and password.
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let sent = (!user.is_empty() || !password.is_empty())
        .then(|| STANDARD.encode(format!("{user}:{password}")));
    let mut all: Vec<String> =
        written.chain(meant).chain(sent).filter(|part| part.len() >= SECRET_MIN).collect();
    all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    all.dedup();
    all
}

/// A text without them, of so many characters at most: what is left of a secret is none.
pub(super) fn without(text: &str, secrets: &[String], chars_max: usize) -> String {
    let cut = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[key]"));
    cut.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_key_in_a_url_is_cut_out_of_what_is_said() {
        let url = "https://someuser1:pass-word-1@rpc.example/v3/abcdef0123456789%2Bx?key=query-secret&a=b";
        let found = secrets(&url.parse().unwrap());
        for secret in [
            "someuser1",
            "pass-word-1",
            "abcdef0123456789%2Bx",
            "abcdef0123456789+x",
            "query-secret",
            "c29tZXVzZXIxOnBhc3Mtd29yZC0x",
        ] {
            let said = without(&format!("bad key {secret}, v3"), &found, 99);
            assert_eq!(said, "bad key [key], v3", "{secret} of {found:?}");
        }
        let long = format!("{}query-secret", "x".repeat(95));
        assert!(!without(&long, &found, 99).contains("que"), "not even a part is left");
        assert_eq!(secrets(&"http://127.0.0.1:8545/".parse().unwrap()), Vec::<String>::new());
    }
}
