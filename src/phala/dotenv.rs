//! Reads a file of environment variables as `phala deploy` does, and refuses whatever tools read
//! differently: a value that one of them cuts short would only be missed on the running replica.

use std::collections::BTreeSet;

use secrecy::zeroize::Zeroizing;

use super::EnvVar;

const VARS_MAX: usize = 1_000;
const NAME_MAX: usize = 200;

/// What is wrong with a line. Nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvProblem {
    #[error("expected NAME=value")]
    NoPair,
    #[error("a name has letters, digits, _ . - only, {NAME_MAX} at most")]
    Name,
    #[error("the quote is not closed")]
    Unclosed,
    #[error("something follows the closing quote")]
    AfterQuote,
    #[error(
        "an escaped quote, which tools read differently: use the other kind of quotes around it"
    )]
    EscapedQuote,
    #[error("a # within a value without quotes, where most tools cut it: put the value in quotes")]
    Hash,
    #[error("a character that cannot be in a variable")]
    Nul,
    #[error("this name came before")]
    Twice,
    #[error("more than {VARS_MAX} variables")]
    TooMany,
}

/// The variables in a text, in its order; or the first line that is not clear.
///
/// # Errors
/// Number of the line, and what is wrong with it.
pub fn parse_env(text: &str) -> Result<Vec<EnvVar>, (usize, EnvProblem)> {
    let text = Zeroizing::new(text.replace("\r\n", "\n").replace('\r', "\n"));
    let mut rest = text.trim_start_matches('\u{feff}');
    let (mut vars, mut names, mut line) = (vec![], BTreeSet::new(), 1);
    while !rest.is_empty() {
        let end = rest.find('\n').unwrap_or(rest.len());
        let first = rest[..end].trim();
        let mut taken = end;
        if !first.is_empty() && !first.starts_with('#') {
            let at = |problem| (line, problem);
            let (var, used) = pair(rest).map_err(at)?;
            if !names.insert(var.name.clone()) {
                return Err((line, EnvProblem::Twice));
            }
            vars.push(var);
            if vars.len() > VARS_MAX {
                return Err((line, EnvProblem::TooMany));
            }
            taken = used;
        }
        line += rest[..taken].matches('\n').count() + 1;
        rest = rest.get(taken + 1..).unwrap_or_default();
    }
    Ok(vars)
}

/// The variable at the beginning of a text, and how many bytes it takes up to the end of its last
/// line.
fn pair(text: &str) -> Result<(EnvVar, usize), EnvProblem> {
    let end = text.find('\n').unwrap_or(text.len());
    let (before, _) = text[..end].split_once('=').ok_or(EnvProblem::NoPair)?;
    let words: Vec<&str> = before.split_whitespace().collect();
    let ([name] | ["export", name]) = words[..] else { return Err(EnvProblem::Name) };
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.len() > NAME_MAX || !name.chars().all(of_name) {
        return Err(EnvProblem::Name);
    }
    let start = before.len() + 1;
    let blanks = text[start..end].len() - text[start..end].trim_start().len();
    let start = start + blanks;
    let (value, end) = match text[start..].chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => {
            quoted(&text[start + 1..], quote).map(|(value, used)| (value, start + 1 + used))?
        }
        _ => (bare(&text[start..end])?.to_owned(), end),
    };
    if value.contains('\0') {
        return Err(EnvProblem::Nul);
    }
    Ok((EnvVar { name: name.to_owned(), value: value.into() }, end))
}

/// A value without quotes, up to a comment.
fn bare(text: &str) -> Result<&str, EnvProblem> {
    let value = match text.find('#') {
        Some(0) => "",
        Some(at) if text[..at].ends_with(char::is_whitespace) => &text[..at],
        Some(_) => return Err(EnvProblem::Hash),
        None => text,
    };
    Ok(value.trim())
}

/// A value after its opening quote, which may go over several lines.
fn quoted(text: &str, quote: char) -> Result<(String, usize), EnvProblem> {
    let close = text.find(quote).ok_or(EnvProblem::Unclosed)?;
    let value = &text[..close];
    if value.ends_with('\\') {
        return Err(EnvProblem::EscapedQuote);
    }
    let end = text[close..].find('\n').map_or(text.len(), |at| close + at);
    let after = text[close + 1..end].trim();
    if !after.is_empty() && !after.starts_with('#') {
        return Err(EnvProblem::AfterQuote);
    }
    let value = match quote {
        '"' => value.replace("\\n", "\n").replace("\\r", "\r"),
        _ => value.to_owned(),
    };
    Ok((value, end))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let vars = parse_env(text).unwrap();
        vars.into_iter().map(|var| (var.name, var.value.expose_secret().to_owned())).collect()
    }

    fn one(text: &str) -> String {
        let mut vars = read(text);
        assert_eq!(vars.len(), 1, "{text:?}");
        vars.remove(0).1
    }

    #[test]
    fn what_people_write_is_read() {
        let text = "\u{feff}# a comment\n\n  export A=1\nB = two words  \r\nC=\nD='x # y'  # said\n\
                    E=\"a\\nb\"\nF=`\"`\nG=it's=fine\nH='one\ntwo'\nI=x # cut\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", ""),
            ("D", "x # y"),
            ("E", "a\nb"),
            ("F", "\""),
            ("G", "it's=fine"),
            ("H", "one\ntwo"),
            ("I", "x"),
        ];
        assert_eq!(read(text), expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(one("A='\\n'"), "\\n", "only double quotes know escapes");
        assert_eq!(read("# nothing\n \n"), []);
    }

    #[test]
    fn what_is_not_clear_is_refused_with_its_line_and_without_its_value() {
        for (text, line, problem) in [
            ("A=1\nsecret", 2, EnvProblem::NoPair),
            ("A: secret", 1, EnvProblem::NoPair),
            ("=secret", 1, EnvProblem::Name),
            ("A B=secret", 1, EnvProblem::Name),
            ("Ä=secret", 1, EnvProblem::Name),
            ("A='secret\n\nB=2", 1, EnvProblem::Unclosed),
            ("A='x\ny'\n\nB='secret'x", 4, EnvProblem::AfterQuote),
            ("A=\"sec\\\"ret\"", 1, EnvProblem::EscapedQuote),
            ("A=sec#ret", 1, EnvProblem::Hash),
            ("A=sec\0ret", 1, EnvProblem::Nul),
            ("A=1\n#\nA=secret", 3, EnvProblem::Twice),
        ] {
            assert_eq!(parse_env(text).unwrap_err(), (line, problem), "{text:?}");
            assert!(!problem.to_string().contains("secret"));
        }
        let many = (0..=VARS_MAX).map(|at| format!("A{at}=1")).collect::<Vec<_>>().join("\n");
        assert_eq!(parse_env(&many).unwrap_err(), (VARS_MAX + 1, EnvProblem::TooMany));
        assert!(parse_env(&format!("{}=1", "A".repeat(NAME_MAX + 1))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(text in "[ -~\n\r'\"`#=ä\u{feff}\\\\]{0,80}") {
            if let Ok(vars) = parse_env(&text) {
                proptest::prop_assert!(vars.len() <= text.len());
            }
        }
    }
}
