//! Keeps the token that the Kafka clients sign on with: asks for the next one well before the end of the last, and again
//! soon where none is given.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::handler::webhook::TokenSource;
use crate::kafka::tokens::{Token, Tokens};
use crate::telemetry::clock;

/// The first wait after a failure; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// No token is replaced sooner.
const LEAST: Duration = Duration::from_secs(1);

/// Runs until told to stop.
pub(super) async fn keep(cluster: String, source: Arc<TokenSource>, tokens: Tokens, stop: CancellationToken) {
    let mut failed: Option<Duration> = None;
    loop {
        let granted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Dropped at a stop: nobody needs the token.
            granted = source.ask() => granted,
        };
        let wait = match granted {
            Ok(granted) => {
                tokens.put(Ok(Token { value: granted.value, until: clock::wall() + granted.lasts }));
                if failed.take().is_some() {
                    info!(cluster, "there is a token for Kafka again");
                }
                (granted.lasts / 5 * 4).max(LEAST)
            }
            Err(why) => {
                let wait = failed.map_or(FIRST_WAIT, |before| (before * 2).min(LONGEST_WAIT));
                failed = Some(wait);
                warn!(cluster, "no token for Kafka: {why}; asking again");
                tokens.put(Err(why));
                wait
            }
        };
        if tokio::time::timeout(wait, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
