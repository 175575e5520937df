//! A pipeline file as it is written: one stage, or several under `stages`.

use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::form::{TextOrBlock, text_or_block};
use super::source;
use super::units::{Duration, Ratio};
use crate::deliver::{dead_letter, retry};
use crate::handler;
use crate::publish::route;
use crate::transform::Item;

/// A Weir pipeline: where events come from, what is done with them, where they go.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Weir pipeline")]
pub struct Pipeline {
    /// The name, equal to the file's: `[a-z0-9-]`.
    pub pipeline: String,
    /// The names that it had before, the oldest first: it goes on where they were, with their webhook ids.
    #[serde(default)]
    pub was: Names,
    /// What it is for.
    pub description: Option<String>,
    /// Who looks after it.
    pub owner: Option<String>,
    /// Where it is written what to do when it fails.
    pub runbook: Option<String>,
    /// Labels, by which an instance chooses what it runs.
    #[serde(default)]
    pub labels: IndexMap<String, String>,
    /// The limits that its alerts use.
    pub slo: Option<Slo>,
    /// How a new revision is watched after a reload. Left out, it is not.
    pub rollout: Option<Rollout>,
    /// Read, checked, and not run.
    #[serde(default)]
    pub paused: bool,
    /// What is promised. Default `at_least_once`.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where records come from.
    pub source: Option<source::Spec>,
    /// What is kept in order. Default `key`.
    pub order: Option<Order>,
    /// Records worked on at once, per instance. Default 256 with a handler, 4,096 without.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<std::num::NonZeroU32>,
    /// Which of the records that the stage holds goes first: a VRL expression that gives `critical`, `high`, `normal` or
    /// `low`. The order of a key is kept. All else counts as `normal`.
    pub priority: Option<String>,
    /// The steps that change or drop an event, in order.
    #[serde(default)]
    pub transforms: Vec<Item>,
    /// The one side effect: a webhook's URL, `log`, or a block.
    pub handler: Option<handler::Spec>,
    /// Topics that are written after the handler has accepted: one route or a list.
    #[serde(default)]
    pub publish: Routes,
    /// How often and how long a record is tried again.
    pub retry: Option<retry::Spec>,
    /// Where records go that cannot be delivered. Left out, the stage pauses instead of dropping.
    pub dlq: Option<dead_letter::Spec>,
    /// Which rows are kept of what became of records.
    pub track: Option<Track>,
    /// Several stages instead of the one above. `retry`, `dlq`, `order`, `max_in_flight`, `priority` and `track` beside it are the
    /// defaults of each.
    pub stages: Option<IndexMap<String, Stage>>,
}

/// One stage of a file with several.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Stage")]
pub struct Stage {
    /// Where records come from.
    pub source: source::Spec,
    /// What is kept in order. Default `key`.
    pub order: Option<Order>,
    /// Records worked on at once, per instance. Default 256 with a handler, 4,096 without.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<std::num::NonZeroU32>,
    /// Which of the records that the stage holds goes first: a VRL expression that gives `critical`, `high`, `normal` or
    /// `low`. The order of a key is kept. All else counts as `normal`.
    pub priority: Option<String>,
    /// The steps that change or drop an event, in order.
    #[serde(default)]
    pub transforms: Vec<Item>,
    /// The one side effect: a webhook's URL, `log`, or a block.
    pub handler: Option<handler::Spec>,
    /// Topics that are written after the handler has accepted: one route or a list.
    #[serde(default)]
    pub publish: Routes,
    /// How often and how long a record is tried again.
    pub retry: Option<retry::Spec>,
    /// Where records go that cannot be delivered. Left out, the stage pauses instead of dropping.
    pub dlq: Option<dead_letter::Spec>,
    /// Which rows are kept of what became of records.
    pub track: Option<Track>,
}

/// Limits that alerts use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// How old an event may be that still waits.
    pub max_age: Option<Duration>,
    /// The share of records that may be dead-lettered.
    pub dlq_ratio: Option<Ratio>,
}

/// How a new revision is watched: the former one is put back by itself where the new one fails more.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// For how long. Default 2m.
    pub watch: Duration,
    /// The share of attempts that may fail, dead letters for bad records among them. Default 5%.
    pub max_failure_ratio: Ratio,
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout { watch: Duration(std::time::Duration::from_secs(120)), max_failure_ratio: Ratio(0.05) }
    }
}

/// One name, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Nothing is lost; duplicates are bounded and marked.
    #[default]
    AtLeastOnce,
}

/// What is kept in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The records of a key.
    #[default]
    Key,
    /// The records of a partition.
    Partition,
    /// Nothing.
    None,
}

/// Which rows are kept: a word, or a block with `level` and `payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Track {
    /// Of which records.
    pub level: TrackLevel,
    /// Of which records the payload is kept.
    pub payload: TrackPayload,
}

/// Of which records a row is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrackLevel {
    /// All.
    #[default]
    Full,
    /// Those that failed at least once.
    Failures,
    /// None.
    None,
}

/// Of which records the payload is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrackPayload {
    /// None.
    None,
    /// Those that failed.
    #[default]
    Failed,
    /// All.
    All,
}

/// The routes of `publish`: one, or a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Routes(pub Vec<route::Spec>);

impl Pipeline {
    /// The name that its groups and webhook ids are made of: the oldest that it had.
    pub fn identity(&self) -> &str {
        self.was.0.first().unwrap_or(&self.pipeline)
    }

    /// The stages with the defaults of the file in them, each with its name (`None` for the single stage of a file without
    /// `stages`). Nothing where the file has no source.
    pub fn stages(&self) -> Vec<(Option<&str>, Stage)> {
        let Some(stages) = &self.stages else {
            let single = |source: &source::Spec| Stage {
                source: source.clone(),
                order: self.order,
                priority: self.priority.clone(),
                max_in_flight: self.max_in_flight,
                transforms: self.transforms.clone(),
                handler: self.handler.clone(),
                publish: self.publish.clone(),
                retry: self.retry.clone(),
                dlq: self.dlq.clone(),
                track: self.track,
            };
            return self.source.as_ref().map(|source| (None, single(source))).into_iter().collect();
        };
        let with_defaults = |stage: &Stage| Stage {
            order: stage.order.or(self.order),
            priority: stage.priority.clone().or_else(|| self.priority.clone()),
            max_in_flight: stage.max_in_flight.or(self.max_in_flight),
            retry: stage.retry.clone().or_else(|| self.retry.clone()),
            dlq: stage.dlq.clone().or_else(|| self.dlq.clone()),
            track: stage.track.or(self.track),
            ..stage.clone()
        };
        stages.iter().map(|(name, stage)| (Some(name.as_str()), with_defaults(stage))).collect()
    }
}

impl<'de> Deserialize<'de> for Routes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Routes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a route with `topic`, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Routes, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(|route| Routes(vec![route]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Routes, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Routes)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a list of them")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Names, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Names)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Names {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl JsonSchema for Routes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Routes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let route = generator.subschema_for::<route::Spec>();
        json_schema!({ "anyOf": [route, { "type": "array", "items": route }] })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrackBlock")]
pub(crate) struct TrackBlock {
    /// Of which records a row is kept: `full` (default), `failures` or `none`.
    #[serde(default)]
    level: TrackLevel,
    /// Of which records the payload is kept: `none`, `failed` (default) or `all`.
    #[serde(default)]
    payload: TrackPayload,
}

impl TextOrBlock for Track {
    type Block = TrackBlock;
    const EXPECTED: &'static str = "full, failures, none, or a block with `level` and `payload`";

    fn of_text<E: Error>(text: &str) -> Result<Track, E> {
        let word = serde::de::value::StrDeserializer::new(text);
        Ok(Track { level: TrackLevel::deserialize(word)?, payload: TrackPayload::default() })
    }

    fn of_block<E>(TrackBlock { level, payload }: TrackBlock) -> Result<Track, E> {
        Ok(Track { level, payload })
    }
}

impl<'de> Deserialize<'de> for Track {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Track {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Track".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (level, block) =
            (generator.subschema_for::<TrackLevel>(), generator.subschema_for::<TrackBlock>());
        json_schema!({ "anyOf": [level, block] })
    }
}
