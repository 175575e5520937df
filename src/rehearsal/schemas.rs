//! The folder of the schemas as a registry: each file is the one version of the subject that it is called after. Nothing is
//! asked over a network, and what a test registers is gone with it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value as Json, json};

use crate::registry::server::{ordered, seed_files};
use crate::registry::{
    Method, Named, Reply, Request, SchemaText, SchemaType, Transport, Unanswered, segment,
};

/// The schemas of a folder.
#[derive(Debug)]
pub(super) struct SchemaFolder {
    known: Mutex<Vec<Schema>>,
}

/// A schema; its id is its place in the list, from 1.
#[derive(Debug, Clone)]
struct Schema {
    subject: String,
    kind: SchemaType,
    text: String,
    /// What it uses: names, and the subjects that have them.
    references: Vec<(String, String)>,
}

impl SchemaFolder {
    /// Reads a folder; what is no schema is left out, and none is there where the folder is not.
    pub(super) fn read(folder: &Path) -> SchemaFolder {
        let (files, _) = ordered(seed_files(folder));
        let subject = |named: &Named| {
            files.iter().find(|one| one.file.name() == named.name).map(|one| one.file.subject().to_owned())
        };
        let known = files.iter().map(|one| Schema {
            subject: one.file.subject().to_owned(),
            kind: one.file.kind,
            text: one.file.text.clone(),
            references: one
                .uses
                .iter()
                .filter_map(|used| Some((used.name.clone(), subject(used)?)))
                .collect(),
        });
        SchemaFolder { known: Mutex::new(known.collect()) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Schema>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> (u16, Json) {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut known = self.lock();
        let body = || serde_json::from_slice::<SchemaText>(request.body.as_deref().unwrap_or_default()).ok();
        match (request.method, parts.as_slice()) {
            (Method::Get, ["schemas", "ids", id]) => {
                let at = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
                let found = at.and_then(|at| Some((at, known.get(at)?)));
                found.map_or_else(unknown, |(at, schema)| (200, shown(at, schema)))
            }
            (Method::Get, ["subjects", subject, "versions", _]) => {
                let found = known.iter().enumerate().rev().find(|(_, one)| segment(&one.subject) == *subject);
                found.map_or_else(unknown, |(at, schema)| (200, shown(at, schema)))
            }
            (Method::Post, ["subjects", subject]) => {
                let Some(body) = body() else { return unknown() };
                let same = |(_, one): &(usize, &Schema)| {
                    segment(&one.subject) == *subject && same_text(&one.text, &body.schema)
                };
                let found = known.iter().enumerate().find(same);
                found.map_or_else(unknown, |(at, schema)| (200, shown(at, schema)))
            }
            (Method::Post, ["subjects", subject, "versions"]) => {
                let Some(body) = body() else { return unknown() };
                let plain = percent_encoding::percent_decode_str(subject).decode_utf8_lossy().into_owned();
                let references =
                    body.references.iter().map(|used| (used.name.clone(), used.subject.clone())).collect();
                known.push(Schema { subject: plain, kind: body.kind, text: body.schema, references });
                (200, json!({ "id": known.len() }))
            }
            _ => unknown(),
        }
    }
}

fn same_text(a: &str, b: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
    a == b || (parsed(a).is_some() && parsed(a) == parsed(b))
}

fn unknown() -> (u16, Json) {
    (404, json!({ "error_code": 40401, "message": "the folder of the schemas has no such schema" }))
}

fn shown(at: usize, schema: &Schema) -> Json {
    let reference =
        |(name, subject): &(String, String)| json!({ "name": name, "subject": subject, "version": 1 });
    json!({
        "subject": schema.subject,
        "id": at + 1,
        "version": 1,
        "schemaType": schema.kind,
        "schema": schema.text,
        "references": schema.references.iter().map(reference).collect::<Vec<_>>(),
    })
}

impl Transport for SchemaFolder {
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Reply, Unanswered>> {
        Box::pin(async move {
            let (status, body) = self.answer(&request);
            Ok(Reply { status, body: Bytes::from(body.to_string()) })
        })
    }

    fn shown(&self) -> String {
        "the folder of the schemas".to_owned()
    }
}
