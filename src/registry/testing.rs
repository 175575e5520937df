//! A registry for tests: answers by path, and counts what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Client, Method, Reply, Request, Transport, Unanswered};

/// Answers by method and path; 404 with code 40403 for what it does not have.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    answers: Mutex<HashMap<String, (u16, String)>>,
    /// What was asked, in order.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Fake {
    /// One, and a client that asks it.
    pub(crate) fn new() -> (Arc<Fake>, Client) {
        let fake = Arc::new(Fake::default());
        (Arc::clone(&fake), Client::new(fake))
    }

    /// `GET /schemas/ids/7`, or another line of method and path; status 0 is none, 1 is too much.
    #[expect(clippy::needless_pass_by_value, reason = "a text, or JSON made where it is called")]
    pub(crate) fn answer(&self, line: &str, status: u16, body: impl ToString) {
        self.answers.lock().unwrap().insert(line.to_owned(), (status, body.to_string()));
    }

    /// A schema by its id.
    pub(crate) fn has(&self, id: u32, schema: &Value) {
        self.answer(&format!("GET /schemas/ids/{id}"), 200, schema);
    }

    /// How often this was asked.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == line).count()
    }
}

impl Transport for Fake {
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Reply, Unanswered>> {
        Box::pin(async move {
            let method = match request.method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Put => "PUT",
                Method::Delete => "DELETE",
            };
            let line = format!("{method} {}", request.path);
            self.asked.lock().unwrap().push(line.clone());
            // Others come to ask the same meanwhile.
            tokio::task::yield_now().await;
            let known = self.answers.lock().unwrap().get(&line).cloned();
            let (status, body) =
                known.unwrap_or((404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()));
            if status == 0 {
                Err(Unanswered::Not(body))
            } else if status == 1 {
                Err(Unanswered::TooLong)
            } else {
                Ok(Reply { status, body: Bytes::from(body) })
            }
        })
    }

    fn shown(&self) -> String {
        "https://registry.test".to_owned()
    }
}
