//! Tokens by client credentials for others than a webhook: the brokers of Kafka. The same requests, answers and limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Auth;
use super::classify;
use super::client::Bounds;
use super::connect::Limits;
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
        let wire = Wire { egress: Arc::clone(egress), tls: Tls::default(), limits, pool: Pool::new(1) };
        Ok(Some(TokenSource { tokens, wire }))
    }

    /// Asks for a new one. Fails with one sentence without secrets, within ten seconds.
    pub async fn ask(&self) -> Result<Granted, String> {
        let (start, limits) = (clock::now(), &self.wire.limits);
        let bounds = Bounds { limits, start, deadline: start + limits.total, max_response: MAX_ANSWER };
        let Prepared { origin, request, .. } = self.tokens.request();
        let sent = self.wire.send(&origin, request, || Ok(self.tokens.request().request), bounds).await;
        let answer = sent.map_err(|fault| classify::fault(&self.tokens.action(), fault).message)?;
        let (value, until) = self.tokens.granted(answer).map_err(|failure| failure.message)?;
        Ok(Granted { value, lasts: until.saturating_duration_since(clock::now()) })
    }
}
