//! Somebody else's text, fit to be looked at.

/// The same text with everything that cannot be seen, or that turns what follows, written out: a
/// document must not look like another one. Line feeds stay when they are wanted, tabs always.
#[must_use]
pub fn visible(text: &str, keep_lines: bool) -> String {
    let is_hidden = |c: char| steers(c) && c != '\t' && !(keep_lines && c == '\n');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
        shown.push_str(&rest[..at]);
        shown.extend(hidden.escape_unicode());
        rest = &rest[at + hidden.len_utf8()..];
    }
    shown.push_str(rest);
    shown
}

/// Control characters, marks of direction, and what has no width.
fn steers(c: char) -> bool {
    c.is_control()
        || !c.is_ascii()
            && matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
            | '\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        let shown = visible("a\u{202e}b\u{200b}c\u{1b}[31m\td\ne", false);
        assert_eq!(shown, "a\\u{202e}b\\u{200b}c\\u{1b}[31m\td\\u{a}e");
        assert_eq!(visible("a\nb\r\n", true), "a\nb\\u{d}\n");
        assert_eq!(visible("Zoë 日本 🚀", false), "Zoë 日本 🚀");
    }
}
