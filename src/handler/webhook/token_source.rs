//! Tokens by client credentials for others than a webhook: the brokers of Kafka. The same requests, answers and limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Auth;
use super::classify;
use super::client::Bounds;
use super::connect::{Limits, Ways};
use super::oauth2::Tokens;
use super::pool::Pool;
use super::request::Prepared;
use super::tls::Tls;
use super::wire::Wire;
use crate::handler::Problem;
use crate::handler::egress::Egress;
use crate::settings::References;
use crate::telemetry::clock;

/// What one request may take, from the name to the end of the answer.
const WITHIN: Duration = Duration::from_secs(10);
/// How much of the answer is read.
const MAX_ANSWER: usize = 64 << 10;

/// Where tokens come from.
pub struct TokenSource {
    tokens: Tokens,
    wire: Wire,
}

/// A token that was granted. It does not print.
pub struct Granted {
    /// The token.
    pub value: String,
    /// How long it is good for, less what a request may take.
    pub lasts: Duration,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSource").field(&self.tokens).finish()
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

impl TokenSource {
    /// Compiles client credentials; `None` where `auth` is something else. Every problem at once, at `oauth2.KEY`.
    pub fn compile(
        auth: &Auth,
        egress: &Arc<Egress>,
        references: &References,
    ) -> Result<Option<TokenSource>, Vec<Problem>> {
        let Some(tokens) = Tokens::compile(auth, egress, references)? else { return Ok(None) };
        let limits = Limits { dns: WITHIN, connect: WITHIN, tls: WITHIN, first_byte: WITHIN, total: WITHIN };
        let ways = Ways { egress: Arc::clone(egress), tls: Tls::default(), proxy: None, limits };
        let wire = Wire { ways, pool: Pool::new(1), stand: None };
        Ok(Some(TokenSource { tokens, wire }))
    }

    /// Asks for a new one. Fails with one sentence without secrets, within ten seconds.
    pub async fn ask(&self) -> Result<Granted, String> {
        let (start, limits) = (clock::now(), &self.wire.ways.limits);
        let bounds = Bounds { limits, start, deadline: start + limits.total, max_response: MAX_ANSWER };
        let Prepared { origin, request, .. } = self.tokens.request();
        let sent = self.wire.send(&origin, request, || Ok(self.tokens.request().request), bounds).await;
        let answer = sent.map_err(|fault| classify::fault(&self.tokens.action(), fault).message)?;
        let (value, until) = self.tokens.granted(answer).map_err(|failure| failure.message)?;
        Ok(Granted { value, lasts: until.saturating_duration_since(clock::now()) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::handler::webhook::testing::{Server, Step, egress, references};

    fn answer(status: u16, body: &str) -> Vec<Step> {
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        vec![Step::Read, Step::Write(text.into_bytes()), Step::Close]
    }

    fn source(server: &Server) -> TokenSource {
        let auth = json!({ "oauth2": {
            "token_url": server.url("/token"), "client_id": "weir", "client_secret": "${secret:token}",
        } });
        let auth: Auth = serde_json::from_value(auth).unwrap();
        TokenSource::compile(&auth, &Arc::new(egress(&json!({}), &[])), &references()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn each_asking_is_a_request_and_its_answer_a_token_or_a_sentence() {
        let granted = |value: &str| answer(200, &format!(r#"{{"access_token":"{value}","expires_in":100}}"#));
        let refused = answer(401, r#"{"error":"invalid_client"}"#);
        let server = Server::start(vec![granted("t-1"), refused, granted("t-2")]).await;
        let source = source(&server);
        let first = source.ask().await.unwrap();
        assert_eq!(first.value, "t-1");
        assert!(first.lasts > Duration::from_secs(80) && first.lasts <= Duration::from_secs(90), "{first:?}");
        let why = source.ask().await.unwrap_err();
        assert!(why.ends_with("for a token: 401 Unauthorized (invalid_client)"), "{why}");
        assert_eq!(source.ask().await.unwrap().value, "t-2");
        let printed = format!("{source:?} {first:?} {why}");
        assert!(!printed.contains("c4n4ry") && !printed.contains("t-1"), "{printed}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_hangs_is_given_up() {
        let server = Server::start(vec![vec![Step::Read, Step::Hang]]).await;
        let why = source(&server).ask().await.unwrap_err();
        assert!(why.contains("no answer within 10s"), "{why}");
    }
}
