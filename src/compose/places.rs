//! Places in a document, and values in few words.

use serde_json::Value;

use super::{Compose, visible, yaml};

const VALUE_CHARS_MAX: usize = 200;
const KEY_CHARS_MAX: usize = 100;
/// What is shown before the first difference of long values.
const BEFORE_CHARS: usize = 60;

/// A JSON pointer, one step deeper. Keys are somebody else's: what cannot be seen is written out, and
/// a long one is cut.
pub(super) fn below(place: &str, key: &str) -> String {
    let key: String = key.chars().take(KEY_CHARS_MAX).collect();
    format!("{place}/{}", visible(&key, false).replace('~', "~0").replace('/', "~1"))
}

/// A value in one short line.
pub(super) fn short(value: &Value) -> String {
    let text = match value {
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => {
            format!("a list of {}", items.len())
        }
        Value::Object(members) if !members.is_empty() => format!("{} fields", members.len()),
        // Quotes tell the text "true" from the word.
        other => other.to_string(),
    };
    cut(&visible(&text, false))
}

/// Two values in one short line each, cut so that it is seen where they differ.
pub(super) fn short_pair(before: &Value, after: &Value) -> (String, String) {
    let told = (short(before), short(after));
    if told.0 != told.1 {
        return told;
    }
    let (before, after) = (visible(&before.to_string(), false), visible(&after.to_string(), false));
    let alike = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let rest: String = text.chars().skip(alike.saturating_sub(BEFORE_CHARS)).collect();
        format!("…{}", cut(&rest))
    };
    (around(&before), around(&after))
}

/// A text, cut to what fits on a line or two.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl Compose {
    /// The compose file's YAML; none when there is no such file, an error when it does not read.
    pub(super) fn compose_file(&self) -> Option<Result<Value, Option<u64>>> {
        self.text_of("docker_compose_file").map(yaml::read)
    }
}
