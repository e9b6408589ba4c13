//! What differs between two documents: their fields, those of the compose file inside, and the lines
//! of the texts in them. Bounded, whatever the documents are.

use serde::Serialize;
use serde_json::Value;
use similar::TextDiff as Lines;

use super::{
    Compose,
    coherent::SCRIPTS,
    places::{below, short, short_pair},
    visible,
};

/// Changed fields that are told; more are counted.
const CHANGES_MAX: usize = 200;
/// Lines of a text up to which it is compared: comparing takes up to the square of it.
const LINES_MAX: usize = 3_000;
/// Lines of a comparison that are told; more are counted.
const SHOWN_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 500;
const CONTEXT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Change {
    pub kind: ChangeKind,
    /// A JSON pointer; what stands below `/docker_compose_file` is of the YAML in it.
    pub place: String,
    /// In one short line each.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// The lines that differ in one of the texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TextDiff {
    /// The field whose text it is.
    pub field: &'static str,
    /// In unified form. What cannot be seen is written out.
    pub lines: Vec<String>,
    /// Lines that are not told.
    pub more: usize,
}

/// What differs between two documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct Diff {
    pub changes: Vec<Change>,
    /// Changes that are not told.
    pub more: usize,
    pub texts: Vec<TextDiff>,
}

impl Diff {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.texts.is_empty()
    }

    pub(super) fn between(old: &Compose, new: &Compose) -> Self {
        let mut diff = Self::default();
        let (mut before, mut after) = (old.document.clone(), new.document.clone());
        // Field by field only when both read; the texts are compared line by line in any case.
        if let (Some(Ok(old)), Some(Ok(new))) = (old.compose_file(), new.compose_file())
            && old != new
        {
            before["docker_compose_file"] = old;
            after["docker_compose_file"] = new;
        }
        diff.values("", &before, &after);
        for field in SCRIPTS {
            let (old, new) = (old.text_of(field), new.text_of(field));
            if old != new {
                diff.texts.push(text(field, old.unwrap_or_default(), new.unwrap_or_default()));
            }
        }
        diff
    }

    fn tell(&mut self, place: &str, before: Option<&Value>, after: Option<&Value>) {
        if self.changes.len() == CHANGES_MAX {
            self.more += 1;
            return;
        }
        let kind = match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = short_pair(before, after);
                (Some(before), Some(after))
            }
            (before, after) => (before.map(short), after.map(short)),
        };
        self.changes.push(Change { kind, place: place.to_owned(), before, after });
    }

    /// Nesting is bounded where the values were read.
    fn values(&mut self, place: &str, before: &Value, after: &Value) {
        match (before, after) {
            (before, after) if before == after => {}
            (Value::Object(old), Value::Object(new)) => {
                for (key, value) in old {
                    let place = below(place, key);
                    match new.get(key) {
                        Some(other) => self.values(&place, value, other),
                        None => self.tell(&place, Some(value), None),
                    }
                }
                for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                    self.tell(&below(place, key), None, Some(value));
                }
            }
            (Value::Array(old), Value::Array(new)) => self.lists(place, old, new),
            _ => self.tell(place, Some(before), Some(after)),
        }
    }

    /// Lists of plain values are compared by what is in them, others by place. A new order alone is a
    /// change too: it is part of the hash.
    fn lists(&mut self, place: &str, old: &[Value], new: &[Value]) {
        let plain = |all: &[Value]| !all.iter().any(|one| one.is_array() || one.is_object());
        if plain(old) && plain(new) {
            let gone: Vec<_> = old.iter().filter(|one| !new.contains(one)).collect();
            let come: Vec<_> = new.iter().filter(|one| !old.contains(one)).collect();
            if gone.is_empty() && come.is_empty() {
                let (old, new) = (Value::from(old.to_vec()), Value::from(new.to_vec()));
                return self.tell(place, Some(&old), Some(&new));
            }
            for value in gone {
                self.tell(place, Some(value), None);
            }
            for value in come {
                self.tell(place, None, Some(value));
            }
            return;
        }
        for at in 0..old.len().max(new.len()) {
            let place = below(place, &at.to_string());
            match (old.get(at), new.get(at)) {
                (Some(before), Some(after)) => self.values(&place, before, after),
                (before, after) => self.tell(&place, before, after),
            }
        }
    }
}

fn text(field: &'static str, old: &str, new: &str) -> TextDiff {
    let count = |text: &str| text.lines().count();
    if count(old) > LINES_MAX || count(new) > LINES_MAX {
        let told = format!(
            "{} lines before, {} lines after: too many to compare line by line",
            count(old),
            count(new)
        );
        return TextDiff { field, lines: vec![told], more: 0 };
    }
    let compared = Lines::from_lines(old, new);
    let unified = compared.unified_diff().context_radius(CONTEXT).to_string();
    let mut lines: Vec<String> = unified.lines().flat_map(wrapped).collect();
    let more = lines.len().saturating_sub(SHOWN_MAX);
    lines.truncate(SHOWN_MAX);
    TextDiff { field, lines, more }
}

/// A line of a comparison in as many as it takes: what is cut off would be approved unseen. What goes on
/// has the sign of its line again, and a mark.
fn wrapped(line: &str) -> Vec<String> {
    let all: Vec<char> = line.chars().collect();
    let sign = all.first().copied().unwrap_or(' ');
    let part = |(at, part): (usize, &[char])| {
        let text: String = part.iter().collect();
        let text = visible(&text, false);
        if at == 0 { text } else { format!("{sign}… {text}") }
    };
    all.chunks(LINE_CHARS_MAX).enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compose(document: &Value) -> Compose {
        Compose::parse(document.to_string().as_bytes()).unwrap()
    }

    fn diff(old: &Value, new: &Value) -> Diff {
        compose(new).diff_from(&compose(old))
    }

    fn told(diff: &Diff) -> Vec<String> {
        let tell = |change: &Change| {
            let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            format!("{} {} {}", change.place, part(&change.before), part(&change.after))
        };
        diff.changes.iter().map(tell).collect()
    }

    #[test]
    fn fields_are_compared_down_into_the_compose_file() {
        let old = json!({ "name": "app", "allowed_envs": ["A", "B"], "public_logs": false,
            "docker_compose_file": "services:\n  web:\n    image: nginx:1\n    ports: ['80:80']\n" });
        let new = json!({ "name": "app", "allowed_envs": ["B", "C"], "public_logs": true, "a/b": 1,
            "docker_compose_file": "services:\n  web:\n    image: nginx:2\n    ports: ['80:80', '22:22']\n" });
        let found = diff(&old, &new);
        assert_eq!(
            told(&found),
            [
                "/allowed_envs \"A\" -",
                "/allowed_envs - \"C\"",
                "/docker_compose_file/services/web/image \"nginx:1\" \"nginx:2\"",
                "/docker_compose_file/services/web/ports - \"22:22\"",
                "/public_logs false true",
                "/a~1b - 1",
            ]
        );
        assert_eq!(found.texts.len(), 1);
        let lines = &found.texts[0].lines;
        assert!(lines.contains(&"-    image: nginx:1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"+    image: nginx:2".to_owned()), "{lines:?}");
        assert!(diff(&old, &old).is_empty());
    }

    #[test]
    fn order_alone_and_comments_alone_are_changes() {
        let list = |envs: Value| json!({ "allowed_envs": envs });
        let found = diff(&list(json!(["A", "B"])), &list(json!(["B", "A"])));
        assert_eq!(told(&found), [r#"/allowed_envs ["A","B"] ["B","A"]"#]);
        let file = |text: &str| json!({ "docker_compose_file": text });
        let found = diff(&file("a: 1\n"), &file("# so\na: 1\n"));
        assert_eq!(found.changes.len(), 1, "the texts differ though their YAML does not");
        assert_eq!(found.texts[0].lines.last().unwrap(), " a: 1");
    }

    #[test]
    fn what_differs_far_out_on_a_long_line_is_shown() {
        let with = |end: &str| {
            let script = format!("echo {}{end}", "x".repeat(1_300));
            json!({ "pre_launch_script": script, "name": script })
        };
        let found = diff(&with("safe"), &with("EVIL"));
        let lines = found.texts[0].lines.join("\n");
        for part in ["-… xxx", "safe", "+… xxx", "EVIL"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        assert!(found.texts[0].lines.iter().all(|line| line.chars().count() <= LINE_CHARS_MAX + 3));
        let change = found.changes.iter().find(|change| change.place == "/name").unwrap();
        let (before, after) = (change.before.as_ref().unwrap(), change.after.as_ref().unwrap());
        assert!(before.ends_with("safe\"") && after.ends_with("EVIL\""), "{change:?}");
    }

    #[test]
    fn hostile_texts_are_shown_and_stay_small() {
        let file = |text: &str| json!({ "docker_compose_file": text, "k\u{202e}": text });
        let found = diff(&file("a: \u{202e}b\n"), &file("a: [\u{1b}[31m\n"));
        let shown = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains(['\u{202e}', '\u{1b}']), "{shown}");
        assert!(shown.contains(r"\\u{202e}"), "{shown}");
        let many = |seed: usize| {
            let lines = (0..2_900).map(|at| format!("k{at}: {}\n", at * seed));
            json!({ "docker_compose_file": lines.collect::<Vec<_>>().concat() })
        };
        let found = diff(&many(1), &many(2));
        assert_eq!((found.changes.len(), found.texts[0].lines.len()), (CHANGES_MAX, SHOWN_MAX));
        assert!(found.more > 2_000 && found.texts[0].more > 2_000);
        let found = diff(&many(1), &json!({ "docker_compose_file": "x\n".repeat(90_000) }));
        assert!(found.texts[0].lines[0].ends_with("too many to compare line by line"));
    }
}
