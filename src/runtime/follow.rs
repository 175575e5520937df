//! When a followed repository is asked: every so often, and whenever somebody asks for a reload, who is answered behind it. Asking
//! takes as long as the remote likes; what reads files waits for none of it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::reload::Ask;
use crate::git::Following;

/// Stands before what reads the files.
#[derive(Debug)]
pub struct Follow {
    pub(super) following: Arc<Following>,
    pub(super) requests: mpsc::Receiver<Ask>,
    /// To what reads the files.
    pub(super) reads: mpsc::Sender<Ask>,
}

impl Follow {
    /// Asks the repository until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut asks = tokio::time::interval(self.following.period());
        asks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        asks.reset();
        loop {
            let mut requests = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(request) = self.requests.recv() => requests.push(request),
                _ = asks.tick() => {}
            }
            // Whoever has asked by now is answered by this one.
            while let Ok(request) = self.requests.try_recv() {
                requests.push(request);
            }
            let following = Arc::clone(&self.following);
            let poll = tokio::task::spawn_blocking(move || following.poll());
            let is_new = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.following.end();
                    return;
                }
                polled = poll => polled.unwrap_or(false),
            };
            if is_new && requests.is_empty() {
                // Nobody waits for what it comes to.
                requests.push(Ask::Read { fresh: Vec::new(), answer: oneshot::channel().0 });
            }
            for request in requests {
                if self.reads.send(request).await.is_err() {
                    return;
                }
            }
        }
    }
}
