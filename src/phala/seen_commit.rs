//! What the answer to somebody else's commit tells. Pure.

use serde_json::Value;

use super::{CommitToken, Instance, act::operation_name, fields::Fields};
use crate::request::ids::ReplicaId;

/// The CVM that was made, and what the work is called that an update set off: as far as the answer names
/// them, and does not repeat the token in their place. Without the token the second is not taken.
#[must_use]
pub fn seen_commit(
    answer: &Value,
    token: Option<&CommitToken>,
) -> (Option<ReplicaId>, Option<String>) {
    let has_token = |id: &ReplicaId| token.is_some_and(|token| token.stands_in(id.as_str()));
    let made = Instance::read(answer).ok().map(|made| made.id).filter(|id| !has_token(id));
    let operation = Fields(answer).value(&["/correlation_id"]).and_then(Value::as_str);
    let operation = operation.zip(token).and_then(|(name, token)| operation_name(name, token));
    (made, operation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "f3b0c6f2-0000-4000-8000-000000000001";
    const MADE: &str = "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b";

    #[test]
    fn a_token_is_taken_for_nothing_else() {
        let token: CommitToken = TOKEN.parse().unwrap();
        let id = |answer: Value| seen_commit(&answer, Some(&token)).0.map(|id| id.to_string());
        assert_eq!(id(json!({ "vm_uuid": MADE })).as_deref(), Some(MADE));
        assert_eq!(id(json!({ "vm_uuid": TOKEN.replace('-', "") })), None);
        assert_eq!(id(json!({ "vm_uuid": format!("cvm-{TOKEN}") })), None);
        for none in [json!(null), json!([]), json!({}), json!({ "vm_uuid": "a b" })] {
            assert_eq!(id(none), None);
        }
        let operation = |answer: Value| seen_commit(&answer, Some(&token)).1;
        assert_eq!(operation(json!({ "correlation_id": "c-1" })).as_deref(), Some("c-1"));
        assert_eq!(operation(json!({ "correlation_id": format!("see {TOKEN}") })), None);
        assert_eq!(seen_commit(&json!({ "correlation_id": TOKEN }), None), (None, None));
    }
}
