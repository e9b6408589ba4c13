//! A line between two programs that can be cut, garbled, or held at the worst moment.

use std::{io, net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use url::Url;

/// What happens on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Connections break, and new ones break at once.
    Cut,
    /// Every request is answered with this, as a JSON body of status 200.
    Answers(&'static str),
    /// A request with this in it arrives, and its answer is never passed on.
    LosesAnswersTo(&'static str),
    /// A request with this in it is kept back until the line is mended.
    Delays(&'static str),
    /// Everything arrives, and nothing ever comes back. Connections stay open.
    SwallowsAnswers,
}

/// The line. Dropping it ends it.
pub struct Line {
    near: Url,
    fault: watch::Sender<Fault>,
    caught: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Line {
    /// A line to what `far` names; its near end is [`Self::near`].
    pub async fn to(far: &Url) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let mut near = far.clone();
        near.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let target = format!("{}:{}", far.host_str().unwrap(), far.port().unwrap());
        let (fault, seen) = watch::channel(Fault::None);
        let caught = Arc::new(Semaphore::new(0));
        let task = tokio::spawn({
            let caught = caught.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let wire = Wire {
                        target: target.clone(),
                        fault: seen.clone(),
                        caught: caught.clone(),
                    };
                    // A broken connection is what this is for.
                    tokio::spawn(async move { drop(wire.carry(client).await) });
                }
            }
        });
        Self { near, fault, caught, task }
    }

    pub fn near(&self) -> Url {
        self.near.clone()
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many requests were caught and not yet waited for.
    pub fn caught(&self) -> usize {
        self.caught.available_permits()
    }

    /// Waits until a request was caught by [`Fault::LosesAnswersTo`] or [`Fault::Delays`].
    pub async fn caught_one(&self) {
        let caught = tokio::time::timeout(super::PATIENCE, self.caught.acquire()).await;
        caught.expect("waited for a request to be caught").unwrap().forget();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Wire {
    target: String,
    fault: watch::Receiver<Fault>,
    caught: Arc<Semaphore>,
}

impl Wire {
    async fn carry(mut self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(&self.target).await?;
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut muted = false;
        loop {
            let now = *self.fault.borrow_and_update();
            if now == Fault::Cut {
                return Ok(());
            }
            tokio::select! {
                // The sender lives as long as the line.
                _ = self.fault.changed() => {}
                read = server.read(&mut answered) => match read? {
                    0 => return Ok(()),
                    _ if now == Fault::SwallowsAnswers => {}
                    // It has taken effect by now.
                    _ if muted => self.caught.add_permits(1),
                    bytes => client.write_all(&answered[..bytes]).await?,
                },
                read = client.read(&mut asked) => {
                    let request = &asked[..read?];
                    match now {
                        _ if request.is_empty() => return Ok(()),
                        Fault::Answers(body) => return answer(&mut client, body).await,
                        Fault::Delays(text) if contains(request, text) => {
                            return self.delay(server, request).await;
                        }
                        Fault::LosesAnswersTo(text) if contains(request, text) => muted = true,
                        _ => {}
                    }
                    server.write_all(request).await?;
                }
            }
        }
    }

    /// Delivers a request late, whoever is still there to hear the answer.
    async fn delay(mut self, mut server: TcpStream, request: &[u8]) -> io::Result<()> {
        self.caught.add_permits(1);
        let mended = self.fault.wait_for(|fault| *fault == Fault::None).await.is_ok();
        if mended {
            server.write_all(request).await?;
            // One byte of the answer says that the request took effect.
            server.read_u8().await?;
        }
        Ok(())
    }
}

async fn answer(client: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let length = body.len();
    client.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
