//! Delivers outbox messages to webhooks, as JSON. At least once: the receiver tells repeats by id.

use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use url::Url;

use crate::store::outbox::Message;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message was not delivered. Webhook addresses often carry a secret: only the host is named.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("{host} did not take the message")]
    Unreachable { host: String },
    #[error("{host} answered {status}")]
    Refused { host: String, status: u16 },
}

/// Posts one message to one webhook.
pub async fn deliver(http: &Client, to: &Url, message: &Message) -> Result<(), NotifyError> {
    let host = to.host_str().unwrap_or_default().to_owned();
    let body = json!({
        "id": format!("countersign-{}", message.id),
        "kind": message.kind,
        "request": message.request,
        "created_at": message.created_at,
        "data": message.body,
    });
    let answer = http.post(to.clone()).timeout(TIMEOUT).json(&body).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(NotifyError::Refused { host, status: answer.status().as_u16() }),
        Err(_) => Err(NotifyError::Unreachable { host }),
    }
}
