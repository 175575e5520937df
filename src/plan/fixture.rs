//! A stage for tests of what runs stages.

use std::sync::Arc;
use std::time::Duration;

use super::{DeadLetters, InGit, OnOutOfRange, OnTombstone, Order, Revision, Source, Stage, Start};
use crate::codec::{Codec, Wide};
use crate::deliver::{judge, retry};
use crate::handler::Handler;

/// Reads `in`, in order of the key, 16 at once; retries after 20 to 50 ms; dead letters go to `in.dlq`; no breaker.
pub(crate) fn stage(handler: Option<Arc<dyn Handler>>) -> Stage {
    let spec: retry::Spec =
        serde_json::from_str(r#"{"initial_delay": "20ms", "max_delay": "50ms"}"#).unwrap();
    let retry = retry::Policy::build(&spec, Duration::from_secs(3600)).unwrap();
    Stage {
        service: "orders".into(),
        identity: "orders".into(),
        pipeline: "orders".into(),
        stage: None,
        revision: Revision::of(""),
        in_git: InGit::default(),
        source: Source {
            cluster: crate::settings::DEFAULT_CLUSTER.into(),
            topics: vec!["in".into()],
            pattern: None,
            group: "weir.orders".into(),
            start: Start::Earliest,
            codec: Codec::Json,
            wide_integers: Wide::Error,
            on_tombstone: OnTombstone::Skip,
            on_out_of_range: OnOutOfRange::Pause,
            verify: None,
        },
        order: Order::Key,
        max_in_flight: 16,
        priority: None,
        paused: false,
        steps: Vec::new(),
        seats: None,
        handler,
        publish: Vec::new(),
        policy: judge::Policy { retry, dlq: true, on_invalid: judge::OnInvalid::Dlq },
        breaker: None,
        dlq: Some(DeadLetters { topic: Arc::from("in.dlq") }),
        looks_into_payload: false,
        needs_id: false,
    }
}
