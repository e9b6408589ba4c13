//! PostgreSQL's protocol, as far as one must understand it to stand between.

use std::{collections::HashMap, io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Everything that a client sends before it waits for an answer.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// What it executes, by its text as far as that is known.
    pub executes: Option<Arc<str>>,
    pub is_end: bool,
}

impl Batch {
    pub fn is_commit(&self) -> bool {
        self.executes.as_deref() == Some("COMMIT")
    }

    pub fn is_rollback(&self) -> bool {
        self.executes.as_deref() == Some("ROLLBACK")
    }

    /// Whether it only asks whether somebody is there.
    pub fn is_ping(&self) -> bool {
        self.bytes.first() == Some(&b'S')
    }
}

/// One side of a connection, with what came in and was not taken yet.
pub struct Side {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Side {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::with_capacity(8_192) }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The first message of a connection, which has no type.
    pub async fn startup(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = length_at(&self.buffer, 0)
                && self.buffer.len() >= length
            {
                return Ok(self.buffer.drain(..length).collect());
            }
            self.more().await?;
        }
    }

    /// What the client wants next. Nothing is lost when this is dropped half way.
    pub async fn batch(&mut self, known: &mut Known) -> io::Result<Batch> {
        loop {
            if let Some(length) = whole(&self.buffer, |kind| matches!(kind, b'S' | b'Q' | b'X')) {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                let (executes, is_end) = known.read(&bytes);
                return Ok(Batch { bytes, executes, is_end });
            }
            self.more().await?;
        }
    }

    /// What the server answers, up to where it is ready again, and its state then.
    pub async fn answer(&mut self) -> io::Result<(Vec<u8>, u8)> {
        loop {
            if let Some(length) = whole(&self.buffer, |kind| kind == b'Z') {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                let state = bytes[length - 1];
                return Ok((bytes, state));
            }
            self.more().await?;
        }
    }
}

fn length_at(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes = buffer.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().expect("four bytes")) as usize)
}

/// Frames of a buffer: type, where the content begins, where the frame ends.
fn frames(buffer: &[u8]) -> impl Iterator<Item = (u8, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let kind = *buffer.get(at)?;
        let end = at + 1 + length_at(buffer, at + 1)?;
        (buffer.len() >= end).then(|| {
            let frame = (kind, at + 5, end);
            at = end;
            frame
        })
    })
}

/// The bytes up to the end of the first frame that ends a turn, once they are all there.
fn whole(buffer: &[u8], is_last: impl Fn(u8) -> bool) -> Option<usize> {
    frames(buffer).find(|(kind, ..)| is_last(*kind)).map(|(.., end)| end)
}

/// The statements that were prepared on a connection.
#[derive(Debug, Default)]
pub struct Known(HashMap<Vec<u8>, Arc<str>>);

impl Known {
    fn read(&mut self, bytes: &[u8]) -> (Option<Arc<str>>, bool) {
        let (mut bound, mut executes, mut is_end) = (None, None, false);
        for (kind, start, end) in frames(bytes) {
            let content = &bytes[start..end];
            match kind {
                b'P' => {
                    let (name, rest) = text(content);
                    self.0.insert(name.to_vec(), String::from_utf8_lossy(text(rest).0).into());
                }
                b'B' => {
                    let (_, rest) = text(content);
                    bound = self.0.get(text(rest).0).cloned();
                }
                b'E' => executes = Some(bound.clone().unwrap_or_default()),
                b'Q' => executes = Some(String::from_utf8_lossy(text(content).0).into()),
                b'X' => is_end = true,
                _ => {}
            }
        }
        (executes, is_end)
    }
}

/// A text that ends with a zero, and what comes after it.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// An error of this SQLSTATE, and that the server is ready again in this state.
pub fn refusal(code: &str, state: u8) -> Vec<u8> {
    let fields = [("S", "ERROR"), ("V", "ERROR"), ("C", code), ("M", "the simulation refuses it")];
    let mut content: Vec<u8> = vec![];
    for (name, value) in fields {
        content.extend(name.bytes());
        content.extend(value.bytes());
        content.push(0);
    }
    content.push(0);
    let mut bytes = frame(b'E', &content);
    bytes.extend(ready(state));
    bytes
}

pub fn ready(state: u8) -> Vec<u8> {
    frame(b'Z', &[state])
}

pub fn query(sql: &str) -> Vec<u8> {
    let mut content = sql.as_bytes().to_vec();
    content.push(0);
    frame(b'Q', &content)
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).expect("frames are short");
    let mut bytes = vec![kind];
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
    bytes
}
