//! Commands that ask a running instance: which one, how, and what its refusals mean for the exit code.

mod against;
pub mod history;
pub mod pins;
pub mod plan;
pub mod reload;
pub mod status;

use std::path::PathBuf;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::{CliError, Exit};
use super::terminal::Terminal;
use super::{Global, check, run};
use crate::handler::webhook::{Auth, Site, SiteSpec, Unasked};
use crate::settings::{References, environment};

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// What bodies are.
const MEDIA_TYPE: &str = "application/json";
/// The secret that holds the token, within the references of this client.
const TOKEN: &str = "token";

/// Which instance is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Server {
    /// The instance: its URL. Default: where weir.yaml lets it listen, else `http://127.0.0.1:7070`.
    #[arg(short, long, env = "WEIR_SERVER", hide_env_values = true, value_name = "URL")]
    pub server: Option<String>,
    /// A file that holds the token of the API.
    #[arg(long, env = "WEIR_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// An instance that can be asked.
pub(super) struct Client {
    site: Site,
    /// Its URL, for people.
    pub(super) shown: String,
}

/// An answer: its status and its body.
pub(super) struct Answered<T> {
    pub(super) status: u16,
    pub(super) body: T,
}

impl Client {
    /// Which one it is, said once on stderr.
    pub(super) fn of(server: &Server, global: &Global, terminal: &mut Terminal) -> Result<Client, CliError> {
        let url = match &server.server {
            Some(url) => url.clone(),
            None => default_url(global)?,
        };
        let mut references = References::default();
        let auth = match &server.token_file {
            None => None,
            Some(file) => {
                let token = std::fs::read_to_string(file).map_err(|error| {
                    CliError::new(Exit::Usage, format!("reading {}: {error}", file.display()))
                })?;
                references.secrets.insert(TOKEN.to_owned(), token.trim().to_owned());
                Some(Auth::Bearer(format!("${{secret:{TOKEN}}}")))
            }
        };
        let spec = SiteSpec { url: url.clone(), auth, tls: None };
        let site = Site::compile(&spec, MEDIA_TYPE, &references).map_err(|problems| {
            let why: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            CliError::new(Exit::Usage, format!("`{url}` is no server: {}", why.join("; ")))
        })?;
        if !global.quiet {
            writeln!(terminal.err, "Asking {}", site.shown())?;
        }
        Ok(Client { shown: site.shown().to_owned(), site })
    }

    /// Asks for something.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        Ok(self.ask(&Method::GET, path, None, &[])?.body)
    }

    /// Asks that something be done; also takes an answer of one of these statuses.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        also: &[u16],
    ) -> Result<Answered<T>, CliError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CliError::new(Exit::Bug, format!("writing the request: {error}")))?;
        self.ask(&Method::POST, path, Some(body.into()), also)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<bytes::Bytes>,
        also: &[u16],
    ) -> Result<Answered<T>, CliError> {
        let answer = run::block_on(self.site.ask(method, path, body, MAX_ANSWER))?.map_err(|why| {
            let why = match why {
                Unasked::TooLong => format!("asking {}: its answer is too long", self.shown),
                Unasked::Not(why) => why,
            };
            let help = "is `weir run` or `weir dev` up? --server names another instance";
            CliError::new(Exit::Unreachable, format!("{why}; {help}"))
        })?;
        if !(200..300).contains(&answer.status) && !also.contains(&answer.status) {
            return Err(refused(answer.status, &answer.body));
        }
        let body = serde_json::from_slice(&answer.body).map_err(|error| {
            let why = format!("reading the answer of {}: {error}; is it Weir, of this version?", self.shown);
            CliError::new(Exit::Unreachable, why)
        })?;
        Ok(Answered { status: answer.status, body })
    }
}

/// Where the instance of weir.yaml listens.
fn default_url(global: &Global) -> Result<String, CliError> {
    let settings = check::settings(global.config.as_deref(), &environment(), &mut Vec::new());
    let loaded = settings.ok_or_else(|| {
        let why = "weir.yaml has errors: `weir check` shows them, and --server names the instance without it";
        CliError::new(Exit::BadConfig, why)
    })?;
    let listen = loaded.settings.listen;
    // Who listens everywhere is here too.
    let listen = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    Ok(format!("http://{listen}"))
}

/// What the refusal of a server means.
fn refused(status: u16, body: &[u8]) -> CliError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str);
    let exit = match status {
        401 | 403 => Exit::NotAllowed,
        503 => Exit::Unreachable,
        _ => Exit::No,
    };
    let said = match (detail, status) {
        (Some(detail), _) => detail.to_owned(),
        (None, 404) => "this server has no such path: it is another version, or `auth` closes it".to_owned(),
        (None, _) => format!("the server answered {status}"),
    };
    CliError::new(exit, said)
}

/// A path segment of a name.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Prints a document with the name of its form.
fn json(form: &str, body: &impl Serialize, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut document = serde_json::json!({ "schema": form });
    let body = serde_json::to_value(body)
        .map_err(|error| CliError::new(Exit::Bug, format!("writing results: {error}")))?;
    if let (Some(document), Value::Object(body)) = (document.as_object_mut(), body) {
        document.extend(body);
    }
    writeln!(terminal.out, "{document}")?;
    Ok(())
}

/// Who types: for the history.
fn actor() -> String {
    let environment = environment();
    environment.get("USER").or_else(|| environment.get("LOGNAME")).cloned().unwrap_or_default()
}
