//! Answers that refuse, of every kind that is known, and some that are not.

use chrono::TimeDelta;
use countersign::{clock::Time, wire::WireAnswer};

use super::answers::refusal;
use crate::rng::Rng;

/// Every published code with its status.
const CODES: [(u16, &str); 37] = [
    (400, "ERR-01-001"),
    (400, "ERR-01-002"),
    (400, "ERR-01-003"),
    (409, "ERR-01-004"),
    (465, "ERR-01-005"),
    (466, "ERR-01-006"),
    (467, "ERR-01-007"),
    (468, "ERR-01-008"),
    (400, "ERR-02-001"),
    (400, "ERR-02-002"),
    (400, "ERR-02-003"),
    (400, "ERR-02-004"),
    (400, "ERR-02-005"),
    (400, "ERR-02-006"),
    (400, "ERR-02-007"),
    (400, "ERR-02-008"),
    (400, "ERR-02-009"),
    (400, "ERR-02-010"),
    (400, "ERR-02-011"),
    (400, "ERR-02-012"),
    (400, "ERR-02-013"),
    (400, "ERR-02-014"),
    (400, "ERR-02-015"),
    (400, "ERR-02-016"),
    (404, "ERR-03-001"),
    (400, "ERR-03-002"),
    (404, "ERR-03-003"),
    (404, "ERR-03-004"),
    (404, "ERR-03-005"),
    (400, "ERR-03-006"),
    (409, "ERR-03-007"),
    (404, "ERR-03-008"),
    (400, "ERR-03-009"),
    (400, "ERR-04-001"),
    (400, "ERR-04-002"),
    (400, "ERR-04-003"),
    (400, "ERR-99-042"),
];

/// Codes that pass by themselves.
const PASSING: [(u16, &str); 8] = [
    (400, "ERR-02-002"),
    (400, "ERR-02-003"),
    (400, "ERR-02-004"),
    (400, "ERR-02-005"),
    (400, "ERR-02-006"),
    (400, "ERR-02-016"),
    (465, "ERR-01-005"),
    (467, "ERR-01-007"),
];

/// Statuses that say by themselves that nothing was done.
const NOTHING_DONE: [u16; 8] = [429, 503, 429, 503, 409, 425, 401, 403];

/// Statuses that leave it open.
pub const LEFT_OPEN: [u16; 14] =
    [500, 502, 504, 408, 520, 522, 524, 400, 404, 413, 499, 301, 418, 530];

/// A refusal that had no effect.
pub fn clear_refusal(rng: &mut Rng, now: Time) -> (WireAnswer, &'static str) {
    let (answer, kind) = match rng.below(100) {
        0..=39 => {
            let (status, code) = rng.pick(&PASSING);
            (refusal(status, Some(code), "not now"), "fault refused by a code that passes")
        }
        40..=84 => {
            let status = rng.pick(&NOTHING_DONE);
            (refusal(status, None, "not now"), "fault refused by a status that passes")
        }
        85..=91 => (
            refusal(466, Some("ERR-01-006"), "Hash is invalid or expired"),
            "fault a live token called dead",
        ),
        92..=93 => (refusal(468, None, "not allowed"), "fault refused for good"),
        _ => {
            let (status, code) = rng.pick(&CODES);
            (refusal(status, Some(code), "no"), "fault refused by any code")
        }
    };
    (patience(rng, answer, now), kind)
}

/// Names a pause, in one of its two forms, or none.
fn patience(rng: &mut Rng, mut answer: WireAnswer, now: Time) -> WireAnswer {
    let seconds = rng.pick(&[0_i64, 1, 5, 30, 120]);
    let value = match rng.below(4) {
        0 => seconds.to_string(),
        1 => {
            let date = |time: Time| time.to_rfc2822().replace("+0000", "GMT");
            let header = date(now).parse().expect("a date is a header");
            answer.headers.insert("date", header);
            date(now + TimeDelta::seconds(seconds))
        }
        _ => return answer,
    };
    answer.headers.insert("retry-after", value.parse().expect("it is a header"));
    answer
}
