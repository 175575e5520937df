//! SIGTERM and SIGINT: the first stops gracefully, the second at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exit::Exit;

/// The two tokens that a running instance is given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Stop gracefully: what is in flight ends, offsets are committed.
    pub(crate) graceful: CancellationToken,
    /// Stop at once: only duplicates may follow.
    pub(crate) now: CancellationToken,
}

impl Stop {
    /// Listens for signals on a task of `tasks`, which ends when `now` or `ended` is cancelled.
    pub(crate) fn on_signals(tasks: &TaskTracker, ended: CancellationToken) -> io::Result<Stop> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = Stop::default();
        tasks.spawn(listen(stop.clone(), terminate, interrupt, ended));
        Ok(stop)
    }

    /// The exit code of a stop: `clean` is whether everything ended within its grace.
    pub(crate) fn exit(&self, clean: bool) -> Exit {
        match (self.now.is_cancelled(), clean) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Yes,
            (false, false) => Exit::TimedOut,
        }
    }
}

async fn listen(stop: Stop, mut terminate: Signal, mut interrupt: Signal, ended: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            // Each arm only waits: cancelling loses no signal, because the two streams keep theirs.
            () = ended.cancelled() => return,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.graceful.is_cancelled() {
            tracing::warn!("second signal: stopping now; what was in flight may be delivered again");
            stop.now.cancel();
            return;
        }
        tracing::info!("stopping: what is in flight ends first; a second signal stops now");
        stop.graceful.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_clean_from_late_from_forced() {
        let stop = Stop::default();
        assert_eq!((stop.exit(true), stop.exit(false)), (Exit::Yes, Exit::TimedOut));
        stop.now.cancel();
        assert_eq!((stop.exit(true), stop.exit(false)), (Exit::Interrupted, Exit::Interrupted));
    }
}
