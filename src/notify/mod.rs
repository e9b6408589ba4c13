//! Delivers outbox messages to webhooks, as JSON. At least once: the receiver tells repeats by id.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message was not delivered. Webhook addresses often carry a secret: only the host is named.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("{host} did not take the message")]
    Unreachable { host: String },
    #[error("{host} answered {status}")]
    Refused { host: String, status: u16 },
}

/// The webhooks that are told.
#[derive(Debug, Clone)]
pub struct Webhooks {
    http: Client,
    targets: Vec<Url>,
}

impl Webhooks {
    pub fn new(targets: Vec<Url>) -> reqwest::Result<Self> {
        // A redirect would carry the message to a place that nobody configured.
        let none = reqwest::redirect::Policy::none();
        let http = Client::builder().redirect(none).timeout(TIMEOUT).build()?;
        Ok(Self { http, targets })
    }

    /// Posts one message to all of them; the first failure means that all are told again.
    pub async fn deliver(&self, message: &Value) -> Result<(), NotifyError> {
        for target in &self.targets {
            self.post(target, message).await?;
        }
        Ok(())
    }

    async fn post(&self, to: &Url, message: &Value) -> Result<(), NotifyError> {
        let host = to.host_str().unwrap_or_default().to_owned();
        match self.http.post(to.clone()).json(message).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(NotifyError::Refused { host, status: answer.status().as_u16() }),
            Err(_) => Err(NotifyError::Unreachable { host }),
        }
    }
}
