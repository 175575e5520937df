//! The `log` handler: one line in Weir's own log for each event, always accepted.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BoxFuture, Call, Context, Handler};
use crate::event::{Body, Event, webhook_id};
use crate::outcome::{Answer, BodyEnd, Failure};

/// A stage that writes each event to Weir's log.
pub const EXAMPLE: &str = "handler: { log: { level: info, payload: true } }";

/// Writes one line to Weir's log for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LogHandler")]
pub struct Spec {
    /// The line's level.
    pub level: Level,
    /// Adds the value, at most its first 4 KiB.
    pub payload: bool,
}

/// A line's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LogLevel")]
pub enum Level {
    /// For a person who looks for it.
    Debug,
    /// The default.
    #[default]
    Info,
}

/// Makes the handler.
pub fn build(spec: Spec, context: &Context) -> Arc<dyn Handler> {
    Arc::new(Log { spec, service: context.service.clone(), identity: context.identity.clone() })
}

#[derive(Debug)]
struct Log {
    spec: Spec,
    service: String,
    identity: String,
}

impl Handler for Log {
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>> {
        let answers = batch.iter().map(|call| Ok(self.write(call))).collect();
        Box::pin(std::future::ready(answers))
    }
}

/// How much of a value a line carries.
const MAX_PAYLOAD: usize = 4 << 10;

impl Log {
    fn write(&self, call: &Call<'_>) -> Answer {
        let event = call.event;
        let (service, position) = (self.service.as_str(), event.origin.to_string());
        let id = webhook_id(&event.origin, &self.identity, event.part);
        let key = event.key.as_deref().map(String::from_utf8_lossy);
        let key = key.as_deref();
        let payload = self.spec.payload.then(|| payload(event));
        match self.spec.level {
            Level::Debug => tracing::debug!(service, position, id, key, payload, "event"),
            Level::Info => tracing::info!(service, position, id, key, payload, "event"),
        }
        Answer { status: 200, headers: Vec::new(), body: Bytes::new(), body_end: BodyEnd::Complete }
    }
}

fn payload(event: &Event) -> String {
    let cut = |bytes: &[u8]| {
        let (head, _) = bytes.split_at_checked(MAX_PAYLOAD).unwrap_or((bytes, &[]));
        String::from_utf8_lossy(head).into_owned()
    };
    match &event.body {
        Body::Raw(None) => "null".to_owned(),
        Body::Raw(Some(bytes)) => cut(bytes),
        Body::Value(value) => cut(value.to_string().as_bytes()),
    }
}
