//! Answers that are given again. While nothing was written into the database since one was made, the same
//! rows would make it again, which one look at the snapshot of PostgreSQL tells: nothing has to say what
//! an answer is made of. What else it is made of, which is the time and what the chains were last seen
//! like, may be a second old.
//!
//! Only those who see everything are answered so, and no session: its pages hold its form token.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{WebState, gate::Caller, site};
use crate::{
    roles::Action,
    store::{StoreError, snapshot::Snapshot},
};

/// What is asked for over and over, and whose answer depends on nothing but the path, the query and who
/// asks.
const READS: [&str; 5] =
    ["/", "/requests/{id}", "/v1/requests", "/v1/requests/{id}", "/v1/apps/{chain_id}/{app}"];
/// How old an answer may be, although nothing was written.
const LIFE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Of all that are kept, with their keys.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who asks, if that is not everybody, and for what.
type Key = (Option<String>, String);

#[derive(Debug, Clone)]
struct Answer {
    made: Instant,
    headers: HeaderMap,
    body: Bytes,
}

/// The answers to one state of the database.
#[derive(Debug, Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    bytes: usize,
    answers: HashMap<Key, Answer>,
}

/// What was answered lately.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Kept>);

impl Answers {
    fn find(&self, snapshot: &Snapshot, key: &Key, now: Instant) -> Option<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = kept.answers.get(key).filter(|_| kept.snapshot.as_ref() == Some(snapshot))?;
        (now.duration_since(answer.made) < LIFE).then(|| answer.clone())
    }

    /// `snapshot` is from before the answer was made: if that saw more, no later snapshot is the same.
    fn keep(&self, snapshot: Snapshot, key: Key, answer: Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key_bytes = key.1.len();
        let bytes = key_bytes + answer.body.len();
        if kept.snapshot.as_ref() != Some(&snapshot) || kept.bytes + bytes > KEPT_BYTES_MAX {
            *kept = Kept { snapshot: Some(snapshot), ..Kept::default() };
        }
        kept.bytes += bytes;
        if let Some(old) = kept.answers.insert(key, answer) {
            kept.bytes -= key_bytes + old.body.len();
        }
    }
}

fn is_read(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::GET && path.is_some_and(|path| READS.contains(&path))
}

/// Who asks, if their answer may be one that was made before, and what the database holds now.
async fn asks(
    headers: &HeaderMap,
    state: &WebState,
) -> Result<Option<(Option<String>, Snapshot)>, StoreError> {
    let settings = &state.service.settings;
    if site::session_id(settings, headers).is_some() {
        return Ok(None);
    }
    if settings.open_reads && !headers.contains_key(header::AUTHORIZATION) {
        return Ok(Some((None, state.service.store.snapshot().await?)));
    }
    let known = Caller::by_known_token(headers, state).await?;
    let known = known.filter(|(caller, _)| caller.may(Action::Look).is_ok());
    Ok(known.map(|(caller, snapshot)| (Some(caller.name().to_owned()), snapshot)))
}

/// Gives an answer again if it would be the same, and keeps it if it is a new one.
pub async fn again(State(state): State<WebState>, request: Request, next: Next) -> Response {
    if !is_read(&request) {
        return next.run(request).await;
    }
    // What cannot be looked up here is an error where it is needed.
    let Ok(Some((who, snapshot))) = asks(request.headers(), &state).await else {
        return next.run(request).await;
    };
    let key = (who, request.uri().to_string());
    let made = Instant::now();
    if let Some(answer) = state.answers.find(&snapshot, &key, made) {
        metrics::counter!("countersign_answers_again_total").increment(1);
        return (answer.headers, answer.body).into_response();
    }
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let is_kept = size.is_some_and(|bytes| bytes <= ANSWER_BYTES_MAX as u64);
    if response.status() != StatusCode::OK || !is_kept {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = Answer { made, headers: parts.headers.clone(), body: body.clone() };
    state.answers.keep(snapshot, key, answer);
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::read_as(text)
    }

    fn key(who: &str, what: &str) -> Key {
        (Some(who.into()), what.into())
    }

    fn answer(made: Instant, body: &'static [u8]) -> Answer {
        Answer { made, headers: HeaderMap::new(), body: Bytes::from_static(body) }
    }

    #[test]
    fn an_answer_is_for_one_who_asks_the_same_of_the_same_database_in_time() {
        let (answers, now) = (Answers::default(), Instant::now());
        answers.keep(snapshot("7:9:8"), key("ann", "/v1/requests"), answer(now, b"one"));
        let find = |seen, who, what, at| answers.find(&snapshot(seen), &key(who, what), at);
        assert_eq!(find("7:9:8", "ann", "/v1/requests", now).unwrap().body, "one");
        for (case, seen, who, what, at) in [
            ("something was written", "7:9:", "ann", "/v1/requests", now),
            ("somebody else", "7:9:8", "bob", "/v1/requests", now),
            ("another query", "7:9:8", "ann", "/v1/requests?limit=1", now),
            ("a second later", "7:9:8", "ann", "/v1/requests", now + LIFE),
        ] {
            assert!(find(seen, who, what, at).is_none(), "{case}");
        }
    }

    #[test]
    fn what_was_made_before_something_was_written_is_dropped_with_it() {
        let (answers, now) = (Answers::default(), Instant::now());
        answers.keep(snapshot("1:1:"), key("ann", "/a"), answer(now, b"old"));
        answers.keep(snapshot("1:2:"), key("ann", "/b"), answer(now, b"new"));
        assert!(answers.find(&snapshot("1:2:"), &key("ann", "/a"), now).is_none());
        assert!(answers.find(&snapshot("1:1:"), &key("ann", "/a"), now).is_none());
        assert_eq!(answers.0.lock().unwrap().bytes, 5, "the new one with its path");
    }

    #[test]
    fn so_much_is_kept_and_no_more() {
        static LARGE: [u8; ANSWER_BYTES_MAX] = [b'x'; ANSWER_BYTES_MAX];
        let (answers, now) = (Answers::default(), Instant::now());
        for number in 0..200 {
            // Each twice: one that takes the place of another counts once.
            for _ in 0..2 {
                let key = key("ann", &format!("/{number}"));
                answers.keep(snapshot("1:1:"), key, answer(now, &LARGE));
            }
            let kept = answers.0.lock().unwrap();
            let sum: usize =
                kept.answers.iter().map(|(key, one)| key.1.len() + one.body.len()).sum();
            assert_eq!(kept.bytes, sum);
            assert!(sum <= KEPT_BYTES_MAX, "{sum}");
        }
    }
}
