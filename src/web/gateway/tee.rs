//! A copy of what passes, as far as a limit. The other side gets each part when it comes, not later.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use crate::phala::upstream::Flow;

/// What has passed up to now.
#[derive(Debug, Clone)]
pub struct Copy(Arc<Mutex<Part>>);

#[derive(Debug)]
enum Part {
    Begun(Vec<u8>),
    TooLong,
}

impl Copy {
    /// A body that leaves a copy of at most so many bytes behind.
    pub fn of(body: Flow, bytes_max: usize) -> (Flow, Self) {
        let copy = Self::empty();
        let kept = copy.clone();
        let body = body.inspect(move |part| {
            if let Ok(bytes) = part {
                kept.add(bytes, bytes_max);
            }
        });
        (body.boxed(), copy)
    }

    /// A copy of nothing.
    pub fn empty() -> Self {
        Self(Arc::new(Mutex::new(Part::Begun(vec![]))))
    }

    fn add(&self, bytes: &Bytes, bytes_max: usize) {
        let mut part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Part::Begun(read) = &mut *part {
            if read.len() + bytes.len() > bytes_max {
                *part = Part::TooLong;
            } else {
                read.extend_from_slice(bytes);
            }
        }
    }

    /// The JSON object that has passed. One that is not whole yet does not read.
    pub fn object(&self) -> Option<Value> {
        let part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Part::Begun(read) = &*part else { return None };
        serde_json::from_slice(read).ok().filter(Value::is_object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn object(parts: &[&'static str], bytes_max: usize) -> Option<Value> {
        let parts: Vec<_> =
            parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
        let all: usize =
            parts.iter().map(|part: &std::io::Result<Bytes>| part.as_ref().unwrap().len()).sum();
        let (body, copy) = Copy::of(futures::stream::iter(parts).boxed(), bytes_max);
        let passed: Vec<Bytes> = body.map(Result::unwrap).collect().await;
        assert_eq!(passed.concat().len(), all, "everything passes");
        copy.object()
    }

    #[tokio::test]
    async fn an_object_is_kept_and_what_is_longer_or_none_is_not() {
        assert_eq!(object(&["{\"a\"", ":1}"], 7).await, Some(serde_json::json!({ "a": 1 })));
        assert_eq!(object(&["{\"a\"", ":1}"], 6).await, None);
        assert_eq!(object(&["{\"a\""], 9).await, None);
        assert_eq!(object(&["[1]"], 9).await, None);
        assert_eq!(object(&[], 9).await, None);
    }
}
