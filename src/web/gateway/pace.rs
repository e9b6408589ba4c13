//! How long a caller may keep its own call waiting. Each has one of few places, so whoever sends or reads a
//! byte now and then loses it. What is waited for at Phala Cloud counts for nothing here: events may be
//! minutes apart.

use std::{io, time::Duration};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::turns::Turn;
use crate::phala::upstream::Flow;

/// Bytes that make up for a second of waiting.
const BYTES_A_SECOND: u64 = 1024;
/// Longest answer that is written at once. A connection takes it, whether its caller reads or not.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;

/// What is left of the time that a caller may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    pub fn of(most: Duration) -> Self {
        Self { left: most, most }
    }

    /// Waits for the caller; none when that takes longer than is left.
    async fn wait<T>(&mut self, caller: impl Future<Output = T>) -> Option<T> {
        let since = Instant::now();
        let done = tokio::time::timeout(self.left, caller).await.ok()?;
        self.left = self.left.saturating_sub(since.elapsed());
        Some(done)
    }

    /// What has passed makes up for what was waited, and is not saved for later.
    fn earn(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_A_SECOND);
        self.left = self.left.saturating_add(earned).min(self.most);
    }
}

/// What a caller sends. When it is too slow, that is told by `late`, and the body breaks off.
pub fn sent(body: Flow, patience: Patience, late: CancellationToken) -> Flow {
    let next = async |state| {
        let (mut body, mut patience, late): (Flow, Patience, CancellationToken) = state?;
        match patience.wait(body.next()).await {
            Some(Some(Ok(part))) => {
                patience.earn(part.len());
                Some((Ok(part), Some((body, patience, late))))
            }
            Some(Some(Err(error))) => Some((Err(error), None)),
            Some(None) => None,
            None => {
                late.cancel();
                Some((Err(too_slow()), None))
            }
        }
    };
    stream::unfold(Some((body, patience, late)), next).boxed()
}

/// An answer that came whole with its head, as short ones do; else what to read on. Such a one waits for
/// nobody: it is written with its head, and takes no more room than any page that is not read.
pub fn at_once(mut body: Flow, headers: &HeaderMap) -> Result<Bytes, Flow> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length <= AT_ONCE_BYTES_MAX) else {
        return Err(body);
    };
    match body.next().now_or_never() {
        Some(Some(Ok(part))) if part.len() == length => Ok(part),
        Some(Some(part)) => Err(stream::iter([part]).chain(body).boxed()),
        Some(None) => Err(stream::empty().boxed()),
        None => Err(body),
    }
}

/// What a caller is answered. Nobody asks it to go on while it does not read, so a task hands over part
/// after part, and gives up place and connection when it is too slow. Then the answer breaks off.
pub fn taken(body: Flow, patience: Patience, turn: Turn) -> Flow {
    let (parts, taken) = mpsc::channel(1);
    let (whole, end) = oneshot::channel();
    tokio::spawn(async move {
        if hand_over(body, parts, patience).await {
            // It has gone away otherwise.
            _ = whole.send(());
        }
        drop(turn);
    });
    let end = stream::once(end).filter_map(async |end| end.err().map(|_| Err(too_slow())));
    ReceiverStream::new(taken).chain(end).boxed()
}

/// Whether all of it was taken.
async fn hand_over(
    mut body: Flow,
    parts: mpsc::Sender<io::Result<Bytes>>,
    mut patience: Patience,
) -> bool {
    loop {
        let part = tokio::select! {
            part = body.next() => part,
            () = parts.closed() => return false,
        };
        let Some(part) = part else { return true };
        let bytes = part.as_ref().map_or(0, Bytes::len);
        match patience.wait(parts.send(part)).await {
            Some(Ok(())) => patience.earn(bytes),
            _ => return false,
        }
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the caller is too slow")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::gateway::turns::Turns;

    const SHORT: Duration = Duration::from_millis(50);

    fn parts(count: usize) -> Vec<io::Result<Bytes>> {
        (0..count).map(|_| Ok(Bytes::from_static(b"x"))).collect()
    }

    #[tokio::test]
    async fn what_passes_makes_up_for_what_was_waited_and_no_more() {
        for (left, bytes, expected) in [
            (60_000, 1_000_000, 60_000),
            (1_000, 1_024, 2_000),
            (0, 1, 0),
            (0, 512, 500),
            (59_900, 1_024, 60_000),
        ] {
            let mut patience = Patience::of(Duration::from_mins(1));
            patience.left = Duration::from_millis(left);
            patience.earn(bytes);
            assert_eq!(patience.left.as_millis(), expected, "{left} {bytes}");
        }
        let mut patience = Patience::of(SHORT);
        assert_eq!(patience.wait(std::future::pending::<()>()).await, None);
        assert_eq!(patience.wait(async { 1 }).await, Some(1));
        assert!(patience.left <= SHORT);
    }

    #[tokio::test]
    async fn an_answer_is_given_at_once_when_it_is_short_and_all_of_it_is_there() {
        let ok = |bytes: usize| Ok(Bytes::from(vec![b'x'; bytes]));
        let broken = || Err(io::Error::other("it broke"));
        let (most, more) = (AT_ONCE_BYTES_MAX, AT_ONCE_BYTES_MAX + 1);
        for (length, parts, is_at_once) in [
            (Some("3"), vec![ok(3)], true),
            (Some(&*most.to_string()), vec![ok(most)], true),
            (Some(&*more.to_string()), vec![ok(more)], false),
            (None, vec![ok(3)], false),
            (Some("three"), vec![ok(3)], false),
            (Some("3"), vec![ok(2), ok(1)], false),
            (Some("3"), vec![ok(2), broken()], false),
            (Some("3"), vec![broken()], false),
            // The answer to HEAD has the length of what it does not have.
            (Some("3"), vec![], false),
        ] {
            let headers = length.map(|length| (header::CONTENT_LENGTH, length.parse().unwrap()));
            let count = parts.len();
            let bytes: usize = parts.iter().flatten().map(Bytes::len).sum();
            let case = format!("{length:?}, {count} parts of {bytes} bytes");
            match at_once(stream::iter(parts).boxed(), &headers.into_iter().collect()) {
                Ok(whole) => assert!(is_at_once && whole.len() == bytes, "{case}"),
                Err(rest) => {
                    let rest: Vec<_> = rest.collect().await;
                    let kept: usize = rest.iter().flatten().map(Bytes::len).sum();
                    assert!(!is_at_once && rest.len() == count && kept == bytes, "{case}");
                }
            }
        }
        let later = stream::once(async move {
            tokio::task::yield_now().await;
            ok(3)
        });
        let headers = [(header::CONTENT_LENGTH, "3".parse().unwrap())].into_iter().collect();
        let rest = at_once(later.boxed(), &headers).expect_err("it is not there yet");
        assert_eq!(rest.map(|part| part.unwrap().len()).collect::<Vec<_>>().await, [3]);
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_breaks_off_and_says_so() {
        let late = CancellationToken::new();
        let flow = stream::iter(parts(2)).chain(stream::pending()).boxed();
        let came: Vec<_> = sent(flow, Patience::of(SHORT), late.clone()).collect().await;
        assert!(came.len() == 3 && came[1].is_ok() && came[2].is_err() && late.is_cancelled());
        let late = CancellationToken::new();
        let flow = stream::iter(parts(2)).boxed();
        let came: Vec<_> = sent(flow, Patience::of(SHORT), late.clone()).collect().await;
        assert!(came.len() == 2 && came.iter().all(Result::is_ok) && !late.is_cancelled());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_gives_its_place_back_and_does_not_look_whole() {
        let turns = Turns::default();
        let turn = || turns.take([127, 0, 0, 1].into()).unwrap();
        let answer = taken(stream::iter(parts(5)).boxed(), Patience::of(SHORT), turn());
        let came: Vec<_> = answer.collect().await;
        assert!(came.len() == 5 && came.iter().all(Result::is_ok));

        let (gone, is_gone) = oneshot::channel::<()>();
        let flow = stream::iter(parts(5)).inspect(move |_| {
            let _held = &gone;
        });
        let answer = taken(flow.boxed(), Patience::of(SHORT), turn());
        is_gone.await.unwrap_err();
        let came: Vec<_> = answer.collect().await;
        assert!(came.len() < 5 && came.last().unwrap().is_err(), "{came:?}");

        let waits = taken(stream::pending().boxed(), Patience::of(Duration::ZERO), turn());
        tokio::task::yield_now().await;
        drop(waits);
        while turns.is_taken() {
            tokio::task::yield_now().await;
        }
    }
}
