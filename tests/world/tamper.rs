//! Turns honest JSON into what no honest node says, by choices read from a string of bytes: any
//! string is a way to mutate, and the same one always mutates in the same way.

use std::sync::{Arc, Mutex};

use alloy::primitives::keccak256;
use serde_json::{Value, json};

use super::paper_chain::{Asked, Endpoint, lock};

/// Choices, until the bytes run out; then every choice is the first one.
#[derive(Debug, Clone)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `count`, which is not zero.
    pub fn below(&mut self, count: usize) -> usize {
        let wide = usize::from(self.byte());
        if count > 256 { (wide << 8 | usize::from(self.byte())) % count } else { wide % count }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The choices of a seed.
pub fn choices(seed: u64, count: usize) -> Vec<u8> {
    let block = |at: u64| keccak256([seed.to_be_bytes(), at.to_be_bytes()].concat()).0;
    (0..).flat_map(block).take(count).collect()
}

/// Answers that were given instead of honest ones, as text.
pub type Given = Arc<Mutex<Vec<(Asked, String)>>>;

/// Lets an endpoint mutate two answers in three, while there are choices.
pub fn corrupt(endpoint: &Endpoint, choices: &[u8]) -> Given {
    let given = Given::default();
    let (bytes, mut used, log) = (choices.to_vec(), 0, Arc::clone(&given));
    endpoint.tamper(Some(Box::new(move |asked, answer| {
        let mut choices = Choices(&bytes[used..]);
        if choices.below(3) == 0 {
            used = bytes.len() - choices.0.len();
            return answer.to_string();
        }
        let text = tampered(&mut choices, answer);
        used = bytes.len() - choices.0.len();
        lock(&log).push((asked.clone(), text.clone()));
        text
    })));
    given
}

/// The text of an answer after up to four mutations; now and then it is no JSON any more.
pub fn tampered(choices: &mut Choices<'_>, mut answer: Value) -> String {
    for _ in 0..=choices.below(4) {
        mutate_somewhere(choices, &mut answer);
    }
    let mut text = answer.to_string();
    if choices.below(16) == 15 {
        let cut = choices.below(text.len());
        // Answers are ASCII unless a mutation made them something else.
        text = text.chars().take(cut).collect();
    }
    text
}

/// Goes down into a value as far as chance leads, and mutates what is there.
fn mutate_somewhere(choices: &mut Choices<'_>, value: &mut Value) {
    let goes_down = choices.below(6) != 5;
    match value {
        Value::Object(fields) if goes_down && !fields.is_empty() => {
            let place = choices.below(fields.len());
            if let Some(field) = fields.values_mut().nth(place) {
                mutate_somewhere(choices, field);
            }
        }
        Value::Array(values) if goes_down && !values.is_empty() => {
            let place = choices.below(values.len());
            mutate_somewhere(choices, &mut values[place]);
        }
        here => mutate(choices, here),
    }
}

fn mutate(choices: &mut Choices<'_>, value: &mut Value) {
    if choices.below(4) == 3 {
        *value = anything(choices);
        return;
    }
    match value {
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            if names.is_empty() {
                return;
            }
            let (one, other) = (choices.pick(&names), choices.pick(&names));
            match choices.below(4) {
                0 => drop(fields.remove(&one)),
                1 => drop(fields.insert(one, fields[&other].clone())),
                2 => drop(fields.insert("error".into(), error(choices))),
                _ => drop(fields.insert(format!("{one}\u{0}"), Value::Null)),
            }
        }
        Value::Array(values) => match choices.below(5) {
            0 => values.clear(),
            1 => values.truncate(values.len() / 2),
            2 => values.extend(values.clone()),
            3 => values.reverse(),
            _ => values.push(anything(choices)),
        },
        Value::String(text) => *text = mutate_text(choices, text),
        Value::Bool(flag) => *flag = !*flag,
        Value::Null | Value::Number(_) => *value = anything(choices),
    }
}

/// Text that is mostly hexadecimal, in ways that decoders differ about.
fn mutate_text(choices: &mut Choices<'_>, text: &str) -> String {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let place = choices.below(digits.len().max(1));
    let flipped = || -> String {
        let flip = |(at, digit): (usize, char)| match digit {
            digit if at != place => digit,
            '0' => '1',
            '1' => '0',
            _ => 'f',
        };
        digits.chars().enumerate().map(flip).collect()
    };
    let kept = |count: usize| -> String { digits.chars().take(count).collect() };
    match choices.below(16) {
        0..=2 => format!("0x{}", flipped()),
        3 => format!("0x{}", kept(place)),
        4 => format!("0x{digits}{digits}"),
        5 => format!("0x0{digits}"),
        6 => format!("0x{digits}00"),
        7 => format!("-0x{digits}"),
        8 => digits.to_owned(),
        9 => format!("0X{digits}"),
        10 => format!("0x{}", digits.to_uppercase()),
        11 => format!(" 0x{digits} "),
        12 => format!("0x{}", "f".repeat(digits.len())),
        13 => format!("0x{}", "0".repeat(digits.len())),
        14 => format!("0x{}1", "0".repeat(digits.len().max(64) - 1)),
        _ => format!("0x{}zz", kept(digits.len().saturating_sub(2))),
    }
}

/// A value of any type, mostly one that does not fit.
fn anything(choices: &mut Choices<'_>) -> Value {
    let byte = choices.byte();
    match choices.below(18) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(byte),
        4 => json!(-i64::from(byte)),
        5 => json!(u64::MAX),
        6 => json!(1e300),
        7 => json!(""),
        8 => json!("0x"),
        9 => json!(format!("0x{byte:x}")),
        10 => json!("0xffffffffffffffff"),
        11 => json!("0x7fffffffffffffff"),
        12 => json!(format!("0x{}", "f".repeat(64))),
        13 => json!(format!("0x{:064x}", byte % 3)),
        14 => json!(format!("0x{}", "0".repeat(usize::from(byte) * 64))),
        15 => json!([[], {}, [null], "0x1"]),
        16 => (0..byte).fold(json!({}), |inside, _| json!({ "result": [inside] })),
        _ => json!(String::from_utf8_lossy(&[byte, 0xff, 0, b'"', byte])),
    }
}

fn error(choices: &mut Choices<'_>) -> Value {
    let code = choices.pick(&[3, -32000, -32001, -32005, -32602, -32603, i64::MIN, 0]);
    let message = choices.pick(&["execution reverted", "header not found", "", "limit exceeded"]);
    match choices.below(3) {
        0 => json!({ "code": code, "message": message }),
        1 => json!({ "code": code, "message": message, "data": "0x08c379a0" }),
        _ => json!({ "code": code, "message": message, "data": anything(choices) }),
    }
}
