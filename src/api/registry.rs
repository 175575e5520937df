//! The embedded registry over HTTP: the paths, words and codes of Confluent's Schema Registry, so that the serializers of other
//! languages work with it.
//!
//! Source: docs/notes/schemas-and-plugins.md, "Endpoints".

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::registry::SchemaText;
use crate::registry::server::{Asked, Deleted, Mode, Refusal, Server, Shown};

/// The largest body: a schema in JSON.
const BODY_LIMIT: usize = 4 << 20;
/// What answers are.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// The subject that stands for all that say nothing themselves.
const GLOBAL: &str = "";

type Shared = State<Arc<Server>>;
type Asks = Query<HashMap<String, String>>;
type Answer = Result<Response, Failed>;

/// What a subject is set to.
#[derive(Deserialize)]
struct Setting {
    #[serde(alias = "compatibilityLevel")]
    compatibility: Option<String>,
    mode: Option<String>,
}

/// A refusal as an answer.
struct Failed(Refusal);

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed(refusal)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Failed(refusal) = self;
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // What clients try again is the store that is away, not a bug.
        let status = if refusal.code == 50_001 { StatusCode::SERVICE_UNAVAILABLE } else { status };
        (status, json(&json!({ "error_code": refusal.code, "message": refusal.message }))).into_response()
    }
}

fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
}

fn fine(value: &impl Serialize) -> Answer {
    Ok(json(value))
}

/// The registry's paths.
pub fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(|| async { json(&json!({})) }))
        .route("/schemas", get(schemas))
        .route("/schemas/types", get(|| async { json(&["JSON", "PROTOBUF", "AVRO"]) }))
        .route("/schemas/ids/{id}", get(by_id))
        .route("/schemas/ids/{id}/schema", get(text_of_id))
        .route("/schemas/ids/{id}/subjects", get(subjects_of_id))
        .route("/schemas/ids/{id}/versions", get(versions_of_id))
        .route("/schemas/guids/{guid}", get(by_guid))
        .route("/contexts", get(|| async { json(&["."]) }))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(text_of_version))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(referenced_by))
        .route("/compatibility/subjects/{subject}/versions", post(compatible_with_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatible_with))
        .route("/config", get(global_config).put(set_global_config).delete(delete_global_config))
        .route("/config/{subject}", get(config).put(set_config).delete(delete_config))
        .route("/mode", get(global_mode).put(set_global_mode).delete(delete_global_mode))
        .route("/mode/{subject}", get(mode).put(set_mode).merge(delete(delete_mode)))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, json(&json!({ "error_code": 404, "message": "HTTP 404 Not Found" })))
        })
        .method_not_allowed_fallback(|| async {
            let said = json!({ "error_code": 405, "message": "HTTP 405 Method Not Allowed" });
            (StatusCode::METHOD_NOT_ALLOWED, json(&said))
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(server)
}

/// A yes of a query: `true`, and Python's `True`.
fn yes(asks: &HashMap<String, String>, name: &str) -> bool {
    asks.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn deleted(asks: &HashMap<String, String>) -> Deleted {
    match (yes(asks, "deleted"), yes(asks, "deletedOnly") || yes(asks, "deleted_only")) {
        (_, true) => Deleted::Only,
        (true, false) => Deleted::Also,
        (false, false) => Deleted::No,
    }
}

/// The part of a list that is asked for.
fn page<T>(list: Vec<T>, asks: &HashMap<String, String>) -> Vec<T> {
    let number = |name: &str| asks.get(name).and_then(|text| text.parse::<usize>().ok());
    let offset = number("offset").unwrap_or(0);
    // -1 is no limit.
    list.into_iter().skip(offset).take(number("limit").unwrap_or(usize::MAX)).collect()
}

fn has_prefix(subject: &str, asks: &HashMap<String, String>) -> bool {
    // `:*:` stands for every context.
    let prefix = asks.get("subjectPrefix").map_or("", String::as_str);
    subject.starts_with(prefix.trim_start_matches(":*:"))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| {
        Failed(Refusal {
            code: 42_201,
            message: format!("Invalid request: the body is not what is asked for: {error}"),
        })
    })
}

fn id_of(text: &str) -> Result<u32, Failed> {
    let not_found = || Failed(Refusal { code: 40_403, message: "Schema not found".to_owned() });
    text.parse().map_err(|_| not_found())
}

async fn schemas(State(server): Shared, Query(asks): Asks) -> Answer {
    let mut list = server.schemas(deleted(&asks), yes(&asks, "latestOnly")).await?;
    list.retain(|shown| shown.subject.as_deref().is_some_and(|subject| has_prefix(subject, &asks)));
    fine(&page(list, &asks))
}

async fn by_id(State(server): Shared, Path(id): Path<String>, Query(asks): Asks) -> Answer {
    let shown = server.by_id(id_of(&id)?).await?;
    fine(&server.in_form(shown, form(&asks)).await?)
}

async fn text_of_id(State(server): Shared, Path(id): Path<String>, Query(asks): Asks) -> Answer {
    let shown = server.by_id(id_of(&id)?).await?;
    Ok(raw(server.in_form(shown, form(&asks)).await?))
}

/// The form in which a schema is asked for.
fn form(asks: &HashMap<String, String>) -> Option<&str> {
    asks.get("format").map(String::as_str)
}

/// The text of a schema as it is.
fn raw(shown: Shown) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], shown.schema).into_response()
}

async fn subjects_of_id(State(server): Shared, Path(id): Path<String>, Query(asks): Asks) -> Answer {
    let places = server.places(id_of(&id)?, deleted(&asks)).await?;
    let mut subjects: Vec<String> = places.into_iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    fine(&page(subjects, &asks))
}

async fn versions_of_id(State(server): Shared, Path(id): Path<String>, Query(asks): Asks) -> Answer {
    let places = server.places(id_of(&id)?, deleted(&asks)).await?;
    let places =
        places.into_iter().map(|(subject, version)| json!({ "subject": subject, "version": version }));
    fine(&page(places.collect(), &asks))
}

async fn by_guid(State(server): Shared, Path(guid): Path<String>, Query(asks): Asks) -> Answer {
    let shown = server.by_guid(&guid).await?;
    fine(&server.in_form(shown, form(&asks)).await?)
}

async fn subjects(State(server): Shared, Query(asks): Asks) -> Answer {
    let mut subjects = server.subjects(deleted(&asks)).await?;
    subjects.retain(|subject| has_prefix(subject, &asks));
    fine(&page(subjects, &asks))
}

async fn versions(State(server): Shared, Path(subject): Path<String>, Query(asks): Asks) -> Answer {
    fine(&page(server.versions(&subject, deleted(&asks)).await?, &asks))
}

async fn register(State(server): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    let id = server.register(&subject, &read::<SchemaText>(&body)?).await?;
    fine(&json!({ "id": id }))
}

async fn look_up(
    State(server): Shared,
    Path(subject): Path<String>,
    Query(asks): Asks,
    body: Bytes,
) -> Answer {
    fine(&server.look_up(&subject, &read::<SchemaText>(&body)?, deleted(&asks)).await?)
}

async fn version(
    State(server): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(asks): Asks,
) -> Answer {
    let shown = server.version(&subject, Asked::read(&version)?, deleted(&asks)).await?;
    fine(&server.in_form(shown, form(&asks)).await?)
}

async fn text_of_version(
    State(server): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(asks): Asks,
) -> Answer {
    let shown = server.version(&subject, Asked::read(&version)?, deleted(&asks)).await?;
    Ok(raw(server.in_form(shown, form(&asks)).await?))
}

async fn referenced_by(State(server): Shared, Path((subject, version)): Path<(String, String)>) -> Answer {
    fine(&server.used_by(&subject, Asked::read(&version)?).await?)
}

async fn delete_subject(State(server): Shared, Path(subject): Path<String>, Query(asks): Asks) -> Answer {
    fine(&server.delete_subject(&subject, yes(&asks, "permanent")).await?)
}

async fn delete_version(
    State(server): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(asks): Asks,
) -> Answer {
    fine(&server.delete_version(&subject, Asked::read(&version)?, yes(&asks, "permanent")).await?)
}

async fn compatible_with_all(
    State(server): Shared,
    Path(subject): Path<String>,
    Query(asks): Asks,
    body: Bytes,
) -> Answer {
    compatible(&server, &subject, None, &asks, &body).await
}

async fn compatible_with(
    State(server): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(asks): Asks,
    body: Bytes,
) -> Answer {
    compatible(&server, &subject, Some(Asked::read(&version)?), &asks, &body).await
}

async fn compatible(
    server: &Server,
    subject: &str,
    against: Option<Asked>,
    asks: &HashMap<String, String>,
    body: &[u8],
) -> Answer {
    let verbose = yes(asks, "verbose");
    let obstacles = match server.obstacles(subject, against, &read::<SchemaText>(body)?).await {
        // Who asks for reasons hears this one as well.
        Err(refusal) if verbose && refusal.code == 42_201 => vec![refusal.message],
        other => other?,
    };
    let mut answer = json!({ "is_compatible": obstacles.is_empty() });
    if verbose && let Some(answer) = answer.as_object_mut() {
        answer.insert("messages".to_owned(), json!(obstacles));
    }
    fine(&answer)
}

async fn global_config(State(server): Shared) -> Answer {
    let level = server.level(GLOBAL).await?;
    fine(&json!({ "compatibilityLevel": level.as_str() }))
}

async fn set_global_config(State(server): Shared, body: Bytes) -> Answer {
    put_config(&server, GLOBAL, &body).await
}

async fn delete_global_config(State(server): Shared) -> Answer {
    let level = server.level(GLOBAL).await?;
    server.set_level(GLOBAL, None).await?;
    fine(&json!({ "compatibilityLevel": level.as_str() }))
}

async fn config(State(server): Shared, Path(subject): Path<String>, Query(asks): Asks) -> Answer {
    let level = match server.own_level(&subject).await? {
        Some(own) => own,
        None if yes(&asks, "defaultToGlobal") => server.level(GLOBAL).await?,
        None => {
            let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
            return Err(Failed(Refusal { code: 40_408, message }));
        }
    };
    fine(&json!({ "compatibilityLevel": level.as_str() }))
}

async fn set_config(State(server): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    put_config(&server, &subject, &body).await
}

async fn put_config(server: &Server, subject: &str, body: &[u8]) -> Answer {
    let setting: Setting = read(body)?;
    let level = server.set_level(subject, Some(setting.compatibility.as_deref().unwrap_or_default())).await?;
    fine(&json!({ "compatibility": level.unwrap_or_default().as_str() }))
}

async fn delete_config(State(server): Shared, Path(subject): Path<String>) -> Answer {
    let Some(level) = server.own_level(&subject).await? else {
        return Err(Failed(Refusal { code: 40_401, message: format!("Subject '{subject}' not found.") }));
    };
    server.set_level(&subject, None).await?;
    fine(&json!({ "compatibilityLevel": level.as_str() }))
}

async fn global_mode(State(server): Shared) -> Answer {
    let mode = server.own_mode(GLOBAL).await?.unwrap_or(Mode::ReadWrite);
    fine(&json!({ "mode": mode.as_str() }))
}

async fn set_global_mode(State(server): Shared, body: Bytes) -> Answer {
    put_mode(&server, GLOBAL, &body).await
}

async fn delete_global_mode(State(server): Shared) -> Answer {
    let mode = server.own_mode(GLOBAL).await?.unwrap_or(Mode::ReadWrite);
    server.set_mode(GLOBAL, None).await?;
    fine(&json!({ "mode": mode.as_str() }))
}

async fn mode(State(server): Shared, Path(subject): Path<String>, Query(asks): Asks) -> Answer {
    let mode = match server.own_mode(&subject).await? {
        Some(own) => own,
        None if yes(&asks, "defaultToGlobal") => server.own_mode(GLOBAL).await?.unwrap_or(Mode::ReadWrite),
        None => {
            let message = format!("Subject '{subject}' does not have subject-level mode configured");
            return Err(Failed(Refusal { code: 40_409, message }));
        }
    };
    fine(&json!({ "mode": mode.as_str() }))
}

async fn set_mode(State(server): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    put_mode(&server, &subject, &body).await
}

async fn put_mode(server: &Server, subject: &str, body: &[u8]) -> Answer {
    let setting: Setting = read(body)?;
    let mode = server.set_mode(subject, Some(setting.mode.as_deref().unwrap_or_default())).await?;
    fine(&json!({ "mode": mode.unwrap_or(Mode::ReadWrite).as_str() }))
}

async fn delete_mode(State(server): Shared, Path(subject): Path<String>) -> Answer {
    let mode = server.own_mode(&subject).await?.unwrap_or(Mode::ReadWrite);
    server.set_mode(&subject, None).await?;
    fine(&json!({ "mode": mode.as_str() }))
}
