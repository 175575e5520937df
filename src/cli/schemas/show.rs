//! What a registry has, and changes to it by hand.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{What, failed};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::registry::compat::Level;
use crate::registry::server::SeedFile;
use crate::registry::{Client, Error, Method, Reference, Request, SchemaText, SchemaType, segment};

pub(super) async fn run(
    what: &What,
    client: &Client,
    as_json: bool,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    match what {
        What::List { deleted } => list(client, *deleted, as_json, terminal).await,
        What::Show { subject, version } => show(client, subject, *version, as_json, terminal).await,
        What::Versions { subject } => {
            let versions = get(client, format!("/subjects/{}/versions", segment(subject))).await?;
            if as_json {
                print(
                    &json!({ "schema": "weir.schema_versions/v1", "subject": subject, "versions": versions }),
                    terminal,
                )?;
            } else {
                for version in versions.as_array().into_iter().flatten() {
                    writeln!(terminal.out, "{version}")?;
                }
            }
            Ok(Exit::Yes)
        }
        What::Register { subject, file, references } => {
            register(client, (subject, file, references), as_json, terminal).await
        }
        What::Compat { subject, level } => {
            compat(client, subject.as_deref(), *level, as_json, terminal).await
        }
        What::Delete { subject, version, permanent } => {
            let subject = segment(subject);
            let version = version.map(|version| format!("/versions/{version}")).unwrap_or_default();
            let path = format!("/subjects/{subject}{version}?permanent={permanent}");
            let request = Request { method: Method::Delete, path, body: None };
            let deleted: Value = client.ask(request).await.map_err(|error| failed(&error))?;
            if as_json {
                print(&json!({ "schema": "weir.schema_deleted/v1", "deleted": deleted }), terminal)?;
            } else {
                writeln!(terminal.out, "deleted {deleted}{}", if *permanent { " for good" } else { "" })?;
            }
            Ok(Exit::Yes)
        }
        What::Export { folder } => export(client, folder, terminal).await,
        // It has its own way.
        What::Check(_) => Ok(Exit::Bug),
    }
}

async fn get(client: &Client, path: String) -> Result<Value, CliError> {
    client.ask(Request { method: Method::Get, path, body: None }).await.map_err(|error| failed(&error))
}

fn print(document: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    Ok(writeln!(terminal.out, "{document}")?)
}

async fn list(
    client: &Client,
    deleted: bool,
    as_json: bool,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let subjects = get(client, format!("/subjects?deleted={deleted}")).await?;
    let mut rows = Vec::new();
    for subject in subjects.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let name = segment(subject);
        let versions = get(client, format!("/subjects/{name}/versions?deleted={deleted}")).await?;
        let latest = get(client, format!("/subjects/{name}/versions/latest?deleted={deleted}")).await?;
        let config = get(client, format!("/config/{name}?defaultToGlobal=true")).await?;
        let kind =
            latest.get("schemaType").and_then(Value::as_str).unwrap_or(SchemaType::Avro.as_str()).to_owned();
        let level = config.get("compatibilityLevel").and_then(Value::as_str).unwrap_or("").to_owned();
        rows.push((subject.to_owned(), versions, latest.get("id").cloned().unwrap_or_default(), kind, level));
    }
    if as_json {
        let rows: Vec<Value> = rows
            .into_iter()
            .map(|(subject, versions, id, kind, level)| {
                json!({ "subject": subject, "versions": versions, "id": id, "type": kind, "compatibility": level })
            })
            .collect();
        print(&json!({ "schema": "weir.schemas/v1", "subjects": rows }), terminal)?;
        return Ok(Exit::Yes);
    }
    if rows.is_empty() {
        writeln!(
            terminal.err,
            "{} has no schema yet; `weir schemas register SUBJECT FILE` registers one",
            client.shown()
        )?;
        return Ok(Exit::Yes);
    }
    let wide = rows.iter().map(|(subject, ..)| subject.len()).max().unwrap_or(0).max("SUBJECT".len());
    writeln!(
        terminal.out,
        "{:wide$}  {:>8}  {:>6}  {:<8}  COMPATIBILITY",
        "SUBJECT", "VERSIONS", "ID", "TYPE"
    )?;
    for (subject, versions, id, kind, level) in rows {
        let count = versions.as_array().map_or(0, Vec::len);
        let id = id.to_string();
        writeln!(terminal.out, "{subject:wide$}  {count:>8}  {id:>6}  {kind:<8}  {level}")?;
    }
    Ok(Exit::Yes)
}

async fn show(
    client: &Client,
    subject: &str,
    version: Option<u32>,
    as_json: bool,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let version = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
    let mut found = get(client, format!("/subjects/{}/versions/{version}", segment(subject))).await?;
    if as_json {
        if let Some(document) = found.as_object_mut() {
            let text = document.remove("schema").unwrap_or_default();
            document.insert("text".to_owned(), text);
            document.insert("schema".to_owned(), json!("weir.registered_schema/v1"));
        }
        print(&found, terminal)?;
        return Ok(Exit::Yes);
    }
    let text = found.get("schema").and_then(Value::as_str).unwrap_or_default();
    writeln!(terminal.out, "{}", pretty(text))?;
    Ok(Exit::Yes)
}

/// A text for people: JSON with line breaks, all else as it is.
fn pretty(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| text.trim_end().to_owned())
}

async fn register(
    client: &Client,
    (subject, file, references): (&str, &Path, &[String]),
    as_json: bool,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let wrong = |why: String| CliError::new(Exit::Usage, why);
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| wrong(format!("reading {shown}: {error}")))?;
    let name = file.to_string_lossy();
    let file = SeedFile::new(&name, text)
        .ok_or_else(|| wrong(format!("{shown} is called neither .avsc nor .json nor .proto")))?;
    let mut uses = Vec::new();
    for written in references {
        let parts = written.split_once('=').and_then(|(name, at)| Some((name, at.rsplit_once(':')?)));
        let reference = parts.and_then(|(name, (subject, version))| {
            let version = if version == "latest" { Some(-1) } else { version.parse().ok() };
            Some(Reference { name: name.to_owned(), subject: subject.to_owned(), version: version? })
        });
        uses.push(reference.ok_or_else(|| {
            wrong(format!(
                "`{written}` is no reference; write NAME=SUBJECT:VERSION, such as shop.Money=money:1"
            ))
        })?);
    }
    let body = SchemaText { schema: file.text, kind: file.kind, references: uses, ..SchemaText::default() };
    let (id, version) = client.place(subject, &body, true).await.map_err(|error| failed(&error))?;
    if as_json {
        print(
            &json!({ "schema": "weir.schema_place/v1", "subject": subject, "version": version, "id": id }),
            terminal,
        )?;
    } else {
        writeln!(terminal.out, "{subject} version {version} has id {id}")?;
    }
    Ok(Exit::Yes)
}

async fn compat(
    client: &Client,
    subject: Option<&str>,
    level: Option<Level>,
    as_json: bool,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let path =
        subject.map_or_else(|| "/config".to_owned(), |subject| format!("/config/{}", segment(subject)));
    if let Some(level) = level {
        let body = json!({ "compatibility": level.as_str() }).to_string();
        let request = Request { method: Method::Put, path: path.clone(), body: Some(body.into()) };
        let _: Value = client.ask(request).await.map_err(|error| failed(&error))?;
    }
    let now = get(client, format!("{path}?defaultToGlobal=true")).await?;
    let now = now.get("compatibilityLevel").and_then(Value::as_str).unwrap_or_default();
    if as_json {
        print(
            &json!({ "schema": "weir.schema_level/v1", "subject": subject, "compatibility": now }),
            terminal,
        )?;
    } else {
        writeln!(terminal.out, "{now}")?;
    }
    Ok(Exit::Yes)
}

async fn export(client: &Client, folder: &Path, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let subjects = get(client, "/subjects".to_owned()).await?;
    let cannot = |error: std::io::Error| {
        CliError::new(Exit::NotAllowed, format!("writing below {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(cannot)?;
    let mut count = 0;
    for subject in subjects.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let found = get(client, format!("/subjects/{}/versions/latest", segment(subject))).await?;
        let text = found.get("schema").and_then(Value::as_str).unwrap_or_default();
        let ending = match found.get("schemaType").and_then(Value::as_str) {
            Some("JSON") => "json",
            Some("PROTOBUF") => "proto",
            _ => "avsc",
        };
        // A subject never leaves the folder.
        let path = folder.join(format!("{}.{ending}", segment(subject)));
        fs::write(&path, format!("{}\n", pretty(text))).map_err(cannot)?;
        count += 1;
    }
    writeln!(terminal.out, "{count} schemas are in {}", folder.display())?;
    Ok(Exit::Yes)
}

/// The versions of a subject with their texts, by number; none where it is not there.
pub(super) async fn registered(
    client: &Client,
    subject: &str,
) -> Result<Vec<(u32, crate::registry::Registered)>, CliError> {
    let path = format!("/subjects/{}/versions", segment(subject));
    let request = Request { method: Method::Get, path, body: None };
    let versions: Vec<u32> = match client.ask(request).await {
        Ok(versions) => versions,
        Err(Error::Unknown { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut found = Vec::new();
    for version in versions {
        let schema = client
            .version(subject, crate::registry::Version::Number(version))
            .await
            .map_err(|error| failed(&error))?;
        found.push((version, schema));
    }
    Ok(found)
}
