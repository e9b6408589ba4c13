//! Answers that are given again. While nothing was written into the database since one was made, the same
//! rows would make it again, which one look at the snapshot of PostgreSQL tells: nothing has to say what
//! an answer is made of. What else it is made of, which is the time and how the chains were last seen to
//! answer, may be some seconds old. Who asks for what is being made already waits for it, but not long.
//!
//! An answer is for one API token or one session, or for everybody where everybody may read. What a token
//! is good for, and that a session was ended, is written in the database too; that a session grew old, or
//! a wallet owns a Safe no more, is told by the next answer that is made.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Bytes, HttpBody, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use tokio::{sync::OnceCell, time::timeout};

use super::{WebState, gate, site};
use crate::{
    clock::Time,
    store::{StoreError, snapshot::Snapshot},
};

/// What is asked for over and over, and whose answer depends on nothing but the path, the query and who
/// asks.
const READS: [&str; 4] = ["/", "/requests/{id}", "/v1/requests", "/v1/requests/{id}"];
/// How old an answer may be, although nothing was written.
const LIFE: TimeDelta = TimeDelta::seconds(5);
/// How long anybody waits for what another one does before doing it too: nothing is to be slower than if
/// no answer were kept.
const PATIENCE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Of all that are kept, with their keys.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an answer takes beside its bytes, at least.
const ENTRY_BYTES: usize = 256;

/// Who may be given an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum For {
    Everybody,
    /// Whoever has the token with this hash.
    Token([u8; 32]),
    /// Whoever is signed in by the session whose id has this hash: its pages hold a form token.
    Session([u8; 32]),
}

type Key = (For, String);

#[derive(Debug)]
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

/// An answer, or the place for one that is being made.
#[derive(Debug)]
struct Place {
    since: Time,
    answer: OnceCell<Answer>,
    /// What was made here last was for one caller only. Everybody makes their own then, and waits for
    /// nobody.
    is_unkept: AtomicBool,
}

/// What somebody who came to a place is given.
enum Given<'a> {
    Kept {
        answer: &'a Answer,
        is_new: bool,
    },
    /// What was made for this caller alone.
    Unkept(Box<Response>),
    /// Nothing was made.
    Nothing,
}

impl Place {
    fn new(since: Time) -> Self {
        Self { since, answer: OnceCell::new(), is_unkept: AtomicBool::new(false) }
    }

    /// The answer, which is made if there is none. Who waits for another's waits no longer than
    /// [`PATIENCE`].
    async fn answer(&self, make: impl AsyncFnOnce() -> Result<Answer, Box<Response>>) -> Given<'_> {
        if self.is_unkept.load(Ordering::Relaxed) {
            return Given::Nothing;
        }
        let is_new = AtomicBool::new(false);
        let mut answering = pin!(self.answer.get_or_try_init(async || {
            if self.is_unkept.load(Ordering::Relaxed) {
                return Err(None);
            }
            is_new.store(true, Ordering::Relaxed);
            make().await.map_err(|response| {
                self.is_unkept.store(true, Ordering::Relaxed);
                Some(response)
            })
        }));
        let answer = tokio::select! {
            biased;
            answer = answering.as_mut() => answer,
            () = tokio::time::sleep(PATIENCE) => {
                if !is_new.load(Ordering::Relaxed) {
                    return Given::Nothing;
                }
                answering.await
            }
        };
        match answer {
            Ok(answer) => Given::Kept { answer, is_new: is_new.load(Ordering::Relaxed) },
            Err(Some(response)) => Given::Unkept(response),
            Err(None) => Given::Nothing,
        }
    }
}

/// The answers to one state of the database.
#[derive(Debug, Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    bytes: usize,
    places: HashMap<Key, Arc<Place>>,
}

impl Kept {
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > KEPT_BYTES_MAX {
            self.places.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}

/// What was answered lately.
#[derive(Debug, Default)]
pub struct Answers {
    kept: Mutex<Kept>,
    /// The last look at what the database holds, and when it began.
    looked: tokio::sync::Mutex<Option<(Instant, Snapshot)>>,
}

impl Answers {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database holds at some moment after this was called. All who come during one look share
    /// the next.
    async fn look(
        &self,
        at: impl AsyncFnOnce() -> Result<Snapshot, StoreError>,
    ) -> Result<Snapshot, StoreError> {
        let came = Instant::now();
        let mut looked = self.looked.lock().await;
        if let Some((_, snapshot)) = looked.as_ref().filter(|(began, _)| *began > came) {
            return Ok(snapshot.clone());
        }
        let began = Instant::now();
        let snapshot = at().await?;
        *looked = Some((began, snapshot.clone()));
        Ok(snapshot)
    }

    /// Where the answer is, or is to be put. `snapshot` is from before it is made: if that sees more, no
    /// later snapshot is the same.
    fn place(&self, snapshot: Snapshot, key: Key, now: Time) -> Arc<Place> {
        let mut kept = self.kept();
        if kept.snapshot.as_ref() != Some(&snapshot) {
            *kept = Kept { snapshot: Some(snapshot), ..Kept::default() };
        }
        let known = kept.places.get(&key);
        if let Some(place) = known.filter(|place| (place.since..place.since + LIFE).contains(&now))
        {
            return place.clone();
        }
        // What an older answer took is given back with all the others: it is an estimate from above.
        kept.make_room(ENTRY_BYTES + key.1.len());
        let place = Arc::new(Place::new(now));
        kept.places.insert(key, place.clone());
        place
    }

    /// Forgets all of them, since something has changed that the database does not tell.
    pub fn forget(&self) {
        *self.kept() = Kept::default();
    }

    fn grew(&self, bytes: usize) {
        self.kept().make_room(bytes);
    }
}

fn is_read(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::GET && path.is_some_and(|path| READS.contains(&path))
}

/// Whose answer it is, if that can be told without looking them up. Whether they may have it is told
/// where it is made.
fn for_whom(headers: &HeaderMap, state: &WebState) -> Option<For> {
    let settings = &state.service.settings;
    let session = site::session_id(settings, headers);
    if headers.contains_key(header::AUTHORIZATION) {
        // Which of two counts is told where they are looked up.
        let token = gate::our_token(headers).filter(|_| session.is_none());
        return token.map(|token| For::Token(token.hash()));
    }
    match session {
        Some(session) => Some(For::Session(session.hash())),
        None => settings.open_reads.then_some(For::Everybody),
    }
}

/// Gives an answer again if it would be the same, and keeps it if it is a new one.
pub async fn again(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let who = is_read(&request).then(|| for_whom(request.headers(), &state)).flatten();
    let Some(who) = who else { return next.run(request).await };
    // What cannot be looked up here, or not soon, is an error where it is needed.
    let look = state.answers.look(async || state.service.store.snapshot().await);
    let Ok(Ok(snapshot)) = timeout(PATIENCE, look).await else {
        return next.run(request).await;
    };
    let key = (who, request.uri().to_string());
    let place = state.answers.place(snapshot, key, state.service.clock.now());
    let mut asked = Some((request, next));
    let given = place.answer(async || {
        let (request, next) = asked.take().expect("it is made once");
        let answer = make(request, next).await?;
        state.answers.grew(answer.body.len());
        Ok(answer)
    });
    match given.await {
        Given::Kept { answer: Answer { headers, body }, is_new } => {
            if !is_new {
                metrics::counter!("countersign_answers_again_total").increment(1);
            }
            (headers.clone(), body.clone()).into_response()
        }
        Given::Unkept(response) => *response,
        Given::Nothing => {
            let (request, next) = asked.take().expect("it was not made");
            next.run(request).await
        }
    }
}

/// An answer, unless it is for one caller only: it says that something is wrong, is long, or is still being
/// written.
async fn make(request: Request, next: Next) -> Result<Answer, Box<Response>> {
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let is_kept = size.is_some_and(|bytes| bytes <= ANSWER_BYTES_MAX as u64);
    if response.status() != StatusCode::OK || !is_kept {
        return Err(Box::new(response));
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(body) => Ok(Answer { headers: parts.headers, body }),
        Err(_) => Err(Box::new(StatusCode::INTERNAL_SERVER_ERROR.into_response())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::{FutureExt, future::join_all};
    use tokio::sync::Notify;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::read_as(text)
    }

    const ANN: For = For::Token([1; 32]);
    const BOB: For = For::Token([2; 32]);

    fn key(who: For, what: &str) -> Key {
        (who, what.into())
    }

    #[test]
    fn an_answer_is_for_one_who_asks_the_same_of_the_same_database_in_time() {
        let now = Time::default();
        let first = ("7:9:8", ANN, "/v1/requests", now);
        let is_shared = |(seen, who, what, at): (&str, For, &str, Time)| {
            let answers = Answers::default();
            let place = answers.place(snapshot(first.0), key(first.1, first.2), first.3);
            Arc::ptr_eq(&place, &answers.place(snapshot(seen), key(who, what), at))
        };
        assert!(is_shared(first));
        assert!(is_shared(("7:9:8", ANN, "/v1/requests", now + LIFE / 2)));
        for (case, other) in [
            ("something was written", ("7:9:", ANN, "/v1/requests", now)),
            ("somebody else", ("7:9:8", BOB, "/v1/requests", now)),
            ("everybody", ("7:9:8", For::Everybody, "/v1/requests", now)),
            ("another query", ("7:9:8", ANN, "/v1/requests?limit=1", now)),
            ("too late", ("7:9:8", ANN, "/v1/requests", now + LIFE)),
            ("a clock that went back", ("7:9:8", ANN, "/v1/requests", now - LIFE)),
        ] {
            assert!(!is_shared(other), "{case}");
        }
    }

    #[test]
    fn what_was_made_before_something_was_written_is_dropped_with_it() {
        let (answers, now) = (Answers::default(), Time::default());
        let old = answers.place(snapshot("1:1:"), key(ANN, "/a"), now);
        answers.grew(1_000);
        answers.place(snapshot("1:2:"), key(ANN, "/b"), now);
        assert_eq!(Arc::strong_count(&old), 1, "nobody else holds it");
        assert_eq!(answers.kept().bytes, ENTRY_BYTES + 2, "the new one with its path");
    }

    #[test]
    fn so_much_is_kept_and_no_more() {
        let (answers, now) = (Answers::default(), Time::default());
        for number in 0..200 {
            answers.place(snapshot("1:1:"), key(ANN, &format!("/{number}")), now);
            answers.grew(ANSWER_BYTES_MAX);
            let kept = answers.kept();
            assert!(kept.bytes <= KEPT_BYTES_MAX, "{}", kept.bytes);
            assert!(kept.places.len() * ANSWER_BYTES_MAX <= KEPT_BYTES_MAX + ANSWER_BYTES_MAX);
        }
    }

    #[tokio::test]
    async fn a_look_is_shared_by_all_who_came_before_it_began() {
        let answers = Answers::default();
        let looks = AtomicUsize::new(0);
        let (begun, may_end) = (Notify::new(), Notify::new());
        let look = async || {
            let number = looks.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            may_end.notified().await;
            Ok(snapshot(&number.to_string()))
        };
        let mut first = Box::pin(answers.look(look));
        assert!(first.as_mut().now_or_never().is_none());
        begun.notified().await;
        // They come while somebody looks, who may see less than was written before they came.
        let mut later: Vec<_> = (0..3).map(|_| Box::pin(answers.look(look))).collect();
        for waiting in &mut later {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        let both = async {
            may_end.notify_one();
            let first = first.await;
            begun.notified().await;
            may_end.notify_one();
            first
        };
        let (first, later) = tokio::join!(both, join_all(later));
        assert_eq!(first.unwrap(), snapshot("0"));
        for one in later {
            assert_eq!(one.unwrap(), snapshot("1"));
        }
        assert_eq!(looks.load(Ordering::SeqCst), 2);
        // Nobody is told of a look that was over before they came, or that failed.
        let failed = answers.look(async || Err(StoreError::NoServer)).await;
        assert!(failed.is_err());
        assert_eq!(answers.look(async || Ok(snapshot("2"))).await.unwrap(), snapshot("2"));
    }

    fn answer(text: &str) -> Answer {
        Answer { headers: HeaderMap::new(), body: Bytes::from(text.to_owned()) }
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_that_is_not_kept_makes_an_own_one_beside_all_others() {
        let place = Place::new(Time::default());
        let may_end = Notify::new();
        let mut first = Box::pin(place.answer(async || {
            may_end.notified().await;
            Err(Box::new(StatusCode::NOT_FOUND.into_response()))
        }));
        assert!(first.as_mut().now_or_never().is_none());
        let never = async || panic!("nobody makes it in another's place");
        let mut later: Vec<_> = (0..3).map(|_| Box::pin(place.answer(never))).collect();
        for waiting in &mut later {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        may_end.notify_one();
        assert!(matches!(first.await, Given::Unkept(_)));
        for given in join_all(later).await {
            assert!(matches!(given, Given::Nothing));
        }
        assert!(matches!(place.answer(never).await, Given::Nothing));
    }

    #[tokio::test]
    async fn nobody_waits_long_for_another_and_everybody_for_the_own() {
        let place = Place::new(Time::default());
        let may_end = Notify::new();
        let slow = place.answer(async || {
            may_end.notified().await;
            Ok(answer("at last"))
        });
        let waiting = async {
            let given = place.answer(async || panic!("another one makes it")).await;
            may_end.notify_one();
            given
        };
        // The first one is asked first.
        let (slow, waiting) = tokio::join!(biased; slow, waiting);
        assert!(matches!(waiting, Given::Nothing));
        assert!(matches!(slow, Given::Kept { answer, is_new: true } if answer.body == "at last"));
        let again = place.answer(async || panic!("it is there")).await;
        assert!(matches!(again, Given::Kept { is_new: false, .. }));
    }
}
