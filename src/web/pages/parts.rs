//! Small things that several pages show the same way.

use std::fmt;

use alloy::primitives::B256;
use askama::{
    Template,
    filters::{Html, HtmlSafe, escape},
};
use url::Url;

use crate::{
    clock::Time, request::ids::TxHash, safe::exports::as_on_a_ledger, web::problem::Problem,
};

/// A moment, for people and for programs. Its text is made of digits alone, so it needs no
/// escaping.
#[derive(Debug, Clone, Copy)]
pub struct When(pub Time);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, people) =
            (self.0.format("%Y-%m-%dT%H:%M:%SZ"), self.0.format("%Y-%m-%d %H:%M:%S"));
        write!(f, "<time datetime=\"{machine}\">{people}</time>")
    }
}

impl HtmlSafe for When {}

/// For templates, which hand over references.
pub fn when(time: &Time) -> When {
    When(*time)
}

/// A transaction, with a link to the chain's explorer when one is set.
#[derive(Debug, Clone, Template)]
#[template(path = "transaction.html")]
pub struct Transaction {
    hash: TxHash,
    link: Option<String>,
}

impl HtmlSafe for Transaction {}

impl Transaction {
    pub fn new(hash: TxHash, explorer: Option<&Url>) -> Self {
        Self { hash, link: explorer.map(|prefix| format!("{prefix}{hash}")) }
    }
}

/// A hash as a hardware wallet shows it. For templates, which hand over references.
pub fn ledger(hash: &B256) -> String {
    as_on_a_ledger(*hash)
}

/// A sentence that marks what is typed with backticks, as it is for terminals too. Everything in it is
/// escaped here.
#[derive(Debug, Clone)]
pub struct Sentence(String);

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_str();
        while let Some((before, (typed, after))) = typed(rest) {
            write!(f, "{}<code>{}</code>", escaped(before)?, escaped(typed)?)?;
            rest = after;
        }
        write!(f, "{}", escaped(rest)?)
    }
}

impl HtmlSafe for Sentence {}

/// What stands before the first pair of marks, between them, and after. A text that was cut has lost the
/// second one.
fn typed(text: &str) -> Option<(&str, (&str, &str))> {
    let (before, rest) = text.split_once('`')?;
    let cut = || rest.ends_with('…').then_some((rest, ""));
    Some((before, rest.split_once('`').or_else(cut)?))
}

fn escaped(text: &str) -> Result<impl fmt::Display, fmt::Error> {
    escape(text, Html).map_err(|_| fmt::Error)
}

/// For templates, which hand over references.
pub fn sentence(text: impl fmt::Display) -> Sentence {
    Sentence(text.to_string())
}

/// An address in a list: begin and end, since its link leads to the whole.
pub fn short(address: &impl fmt::Display) -> String {
    let text = address.to_string();
    match (text.get(..6), text.get(text.len().saturating_sub(4)..)) {
        (Some(begin), Some(end)) if text.len() > 12 => format!("{begin}…{end}"),
        _ => text,
    }
}

/// The beginning of a text that may be long.
pub fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A whole number out of a form, where an empty field means none.
pub fn number(field: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Problem::of_field(field, "expected a whole number")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_for_people_and_programs() {
        let at: Time = "2026-11-03T14:05:09.123456Z".parse().unwrap();
        let expected = "<time datetime=\"2026-11-03T14:05:09Z\">2026-11-03 14:05:09</time>";
        assert_eq!(When(at).to_string(), expected);
    }

    #[test]
    fn what_is_typed_is_marked_without_marks() {
        for (text, expected) in [
            ("no marks", "no marks"),
            ("run `a b` or `c`.", "run <code>a b</code> or <code>c</code>."),
            ("`a`", "<code>a</code>"),
            ("a ` alone", "a ` alone"),
            ("`a` and ` alone", "<code>a</code> and ` alone"),
            ("cut in `countersign sh…", "cut in <code>countersign sh…</code>"),
            ("<b> `<i>&`", "&#60;b&#62; <code>&#60;i&#62;&#38;</code>"),
        ] {
            assert_eq!(sentence(text).to_string(), expected);
        }
    }

    #[test]
    fn a_link_to_the_explorer_cannot_leave_its_attribute() {
        let hash = TxHash(B256::ZERO);
        assert!(!Transaction::new(hash, None).to_string().contains("<a"));
        let odd = Url::parse("https://x.example/tx/?a='\"><script>").unwrap();
        let page = Transaction::new(hash, Some(&odd)).to_string();
        assert!(page.contains("<a href=") && !page.contains("<script"), "{page}");
        assert!(!page.contains("'\""), "{page}");
    }

    #[test]
    fn short_addresses_keep_both_ends() {
        assert_eq!(short(&"0xD27E699f481e849DBC69CdEF7E822e19F402993C"), "0xD27E…993C");
        assert_eq!(short(&"0x12"), "0x12");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!((cut("größer", 3), cut("größer", 6)), ("grö…".into(), "größer".into()));
    }

    #[test]
    fn an_empty_field_is_no_number() {
        assert_eq!(number("at", Some(" ")).unwrap(), None);
        assert_eq!(number("at", Some("7")).unwrap(), Some(7));
        assert_eq!(number("at", Some("-7")).unwrap_err().field.as_deref(), Some("at"));
    }
}
