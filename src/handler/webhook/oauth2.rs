//! OAuth2 client credentials: a token, kept until shortly before it ends, asked for once whoever needs it.
//!
//! Source: RFC 6749, sections 2.3.1, 4.4 and 5; http-contract, section 6.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::url::form_urlencoded;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::headers::{header_value, user_agent};
use super::request::Prepared;
use super::retry_after::retry_after;
use super::spec::Auth;
use super::url::{self, Target, UrlPlan};
use crate::handler::egress::Egress;
use crate::handler::{Notes, Problem};
use crate::outcome::{Answer, Class, Code, Failure, HoldCause};
use crate::settings::References;
use crate::telemetry::clock;

/// How long a token lasts whose answer does not say.
const USUALLY: Duration = Duration::from_secs(300);
/// No token is kept for longer.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// A token is not used in its last seconds: at most this many, and at most a tenth of its time.
const BEFORE_ITS_END: Duration = Duration::from_secs(30);

/// Where tokens come from, and the one there is.
pub(super) struct Tokens {
    target: Target,
    /// `authorization` of the request for a token.
    client: HeaderValue,
    form: Bytes,
    token: Mutex<Option<Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.target).finish()
    }
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Tokens {
    /// `None` where the file asks for other credentials. Every problem at once, inside of `auth`.
    pub(super) fn compile(
        auth: &Auth,
        egress: &Egress,
        references: &References,
    ) -> Result<Option<Tokens>, Vec<Problem>> {
        let Auth::Oauth2 { token_url, client_id, client_secret, scopes, audience } = auth else {
            return Ok(None);
        };
        let mut problems = Vec::new();
        let mut text = |path: &str, written: &str, secret: bool| match references.resolve(written) {
            Ok(resolved) if secret && !resolved.is_secret() => {
                let why = "credentials do not stand in the file; write ${secret:NAME}";
                problems.push(Problem::at(path, why));
                String::new()
            }
            Ok(resolved) => resolved.expose().to_owned(),
            Err(error) => {
                problems.push(Problem::at(path, error.to_string()).help(error.help()));
                String::new()
            }
        };
        let id = text("oauth2.client_id", client_id, false);
        let secret = text("oauth2.client_secret", client_secret, true);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !scopes.is_empty() {
            let scopes: Vec<String> =
                scopes.iter().map(|scope| text("oauth2.scopes", scope, false)).collect();
            form.append_pair("scope", &scopes.join(" "));
        }
        if let Some(audience) = audience {
            form.append_pair("audience", &text("oauth2.audience", audience, false));
        }
        let target = match url::compile(token_url, egress, references) {
            Ok(UrlPlan::Literal(target)) => Some(target),
            Ok(UrlPlan::Templated(_)) => {
                let why = "one token is for all events: its URL has no template";
                problems.push(Problem::at("oauth2.token_url", why));
                None
            }
            Err(list) => {
                let at = |problem: Problem| Problem { path: "oauth2.token_url".to_owned(), ..problem };
                problems.extend(list.into_iter().map(at));
                None
            }
        };
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encoded(&id), encoded(&secret)));
        let client = header_value(format!("Basic {pair}").into());
        match (target, client) {
            (Some(target), Some(mut client)) if problems.is_empty() => {
                client.set_sensitive(true);
                let form = Bytes::from(form.finish());
                Ok(Some(Tokens { target, client, form, token: Mutex::default() }))
            }
            _ => Err(problems),
        }
    }

    /// The value of `authorization`. `ask` sends the request for a token: once, whoever waits for it.
    pub(super) async fn token<F>(&self, ask: impl FnOnce(Prepared) -> F) -> Result<HeaderValue, Failure>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.until > clock::now()) {
            return Ok(token.value.clone());
        }
        let granted = self.read(ask(self.request()).await?)?;
        Ok(token.insert(granted).value.clone())
    }

    /// A receiver refuses this token: another one is asked for next.
    pub(super) async fn refused(&self, value: &HeaderValue) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.value == value) {
            *token = None;
        }
    }

    /// What is being done, for messages.
    pub(super) fn action(&self) -> String {
        format!("asking {} for a token", self.target.origin.authority.to_str().unwrap_or(""))
    }

    pub(super) fn request(&self) -> Prepared {
        let mut request = Request::new(Full::new(self.form.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.origin.authority.clone());
        headers.insert(AUTHORIZATION, self.client.clone());
        headers.insert(USER_AGENT, user_agent());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.form.len()));
        Prepared { origin: Arc::clone(&self.target.origin), request, shown: Arc::clone(&self.target.shown) }
    }

    /// The token of an answer as it is, and until when it is used.
    pub(super) fn granted(&self, answer: Answer) -> Result<(String, Instant), Failure> {
        let Token { value, until } = self.read(answer)?;
        let value = value.to_str().unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        Ok((value, until))
    }

    /// The token of an answer. Credentials that are refused hold the stage; an endpoint in trouble is asked again.
    fn read(&self, answer: Answer) -> Result<Token, Failure> {
        let hold =
            |why: String| Failure::hold(Code::Auth, HoldCause::Auth, format!("{}: {why}", self.action()));
        let status = answer.status;
        if status == 429 || status >= 500 {
            let class = Class::Retry { after: retry_after(&answer, clock::wall(), &Notes::default()) };
            let message = format!("{}: {}", self.action(), words(status));
            return Err(Failure::new(Code::Status, class, message).with_answer(answer));
        }
        if status != 200 {
            // The error's code is one of a few words (RFC 6749, section 5.2); its description may be anything.
            let code = serde_json::from_slice::<Refused>(&answer.body).ok().map(|refused| refused.error);
            let code = code
                .filter(|code| code.len() < 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let code = code.map_or_else(String::new, |code| format!(" ({code})"));
            return Err(hold(format!("{}{code}", words(status))));
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| hold("the answer is no token in JSON".to_owned()))?;
        let value = header_value(format!("Bearer {}", granted.access_token).into());
        let mut value =
            value.ok_or_else(|| hold("the token has a character that a header cannot carry".to_owned()))?;
        value.set_sensitive(true);
        let seconds =
            granted.expires_in.and_then(|seconds| seconds.as_f64()).filter(|seconds| *seconds > 0.0);
        let lasts =
            seconds.map_or(USUALLY, |seconds| Duration::from_secs_f64(seconds.min(AT_MOST.as_secs_f64())));
        Ok(Token { value, until: clock::now() + (lasts - BEFORE_ITS_END.min(lasts / 10)) })
    }
}

fn words(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status} {}", reason.unwrap_or("")).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
