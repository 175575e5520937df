//! Credentials that are the same for every request: basic, bearer, an API key.
//!
//! Source: http-contract, section 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::headers::{self, header_value};
use super::spec::Auth;
use crate::handler::Problem;
use crate::settings::References;

/// The header that carries the credentials, marked as sensitive. `None` for tokens, which are not the same for every
/// request.
pub(super) fn header(
    auth: &Auth,
    references: &References,
) -> Result<Option<(HeaderName, HeaderValue)>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut secret = |path: &str, written: &str| match read(written, references) {
        Ok(text) => text,
        Err(why) => {
            problems.push(Problem::at(path, why));
            String::new()
        }
    };
    let (path, name, text) = match auth {
        Auth::Basic { username, password } => {
            let user = references.resolve(username).map(|user| user.expose().to_owned());
            let password = secret("basic.password", password);
            let user = user.unwrap_or_else(|error| {
                problems.push(Problem::at("basic.username", error.to_string()).help(error.help()));
                String::new()
            });
            if user.contains(':') {
                problems.push(Problem::at(
                    "basic.username",
                    "a user's name has no `:` (RFC 7617); write one without it",
                ));
            }
            let pair = STANDARD.encode(format!("{user}:{password}"));
            ("basic", AUTHORIZATION, format!("Basic {pair}"))
        }
        Auth::Bearer(token) => ("bearer", AUTHORIZATION, format!("Bearer {}", secret("bearer", token))),
        Auth::ApiKey { header, value } => {
            let value = secret("api_key.value", value);
            let name = headers::free_name(header);
            let name = name.unwrap_or_else(|problem| {
                problems.push(Problem { path: "api_key.header".to_owned(), ..problem });
                AUTHORIZATION
            });
            ("api_key", name, value)
        }
        Auth::Oauth2 { .. } => return Ok(None),
    };
    let value = header_value(Bytes::from(text));
    if value.is_none() {
        problems.push(
            Problem::at(path, "the credentials have a character that a header cannot carry")
                .help("look for a line break at the end of the secret's file"),
        );
    }
    match value {
        Some(mut value) if problems.is_empty() => {
            value.set_sensitive(true);
            Ok(Some((name, value)))
        }
        _ => Err(problems),
    }
}

fn read(written: &str, references: &References) -> Result<String, String> {
    let resolved = references.resolve(written).map_err(|error| format!("{error}; {}", error.help()))?;
    if !resolved.is_secret() {
        return Err("credentials do not stand in the file; write ${secret:NAME}".to_owned());
    }
    if resolved.expose().is_empty() {
        return Err("the secret is empty; look at its file or variable".to_owned());
    }
    Ok(resolved.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml_like: &str) -> Result<(String, String), Vec<Problem>> {
        let auth: Auth = serde_json::from_str(yaml_like).unwrap();
        let secrets = [("p", "open sesame"), ("t", "abc.def"), ("broken", "abc\ndef"), ("empty", "")];
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let references = References { secrets: secrets.collect(), ..References::default() };
        let (name, value) = header(&auth, &references)?.unwrap();
        assert!(value.is_sensitive(), "prints as Sensitive");
        Ok((name.to_string(), value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn each_kind_is_one_header() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let basic = of(r#"{"basic": {"username": "Aladdin", "password": "${secret:p}"}}"#).unwrap();
        // RFC 7617's own example has `open sesame`.
        assert_eq!(basic, pair("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let bearer = of(r#"{"bearer": "${secret:t}"}"#).unwrap();
        assert_eq!(bearer, pair("authorization", "Bearer abc.def"));
        let key = of(r#"{"api_key": {"header": "X-Api-Key", "value": "${secret:t}"}}"#).unwrap();
        assert_eq!(key, pair("x-api-key", "abc.def"));
    }

    #[test]
    fn what_cannot_be_sent_is_named_where_it_is_written_and_never_printed() {
        for (wrong, at) in [
            (r#"{"bearer": "literal-canary"}"#, "bearer"),
            (r#"{"bearer": "${secret:none}"}"#, "bearer"),
            (r#"{"bearer": "${secret:broken}"}"#, "bearer"),
            (r#"{"bearer": "${secret:empty}"}"#, "bearer"),
            (r#"{"basic": {"username": "a:b", "password": "${secret:p}"}}"#, "basic.username"),
            (r#"{"basic": {"username": "a", "password": "literal-canary"}}"#, "basic.password"),
            (r#"{"api_key": {"header": "webhook-id", "value": "${secret:t}"}}"#, "api_key.header"),
            (r#"{"api_key": {"header": "no header", "value": "${secret:t}"}}"#, "api_key.header"),
            (r#"{"api_key": {"header": "x-key", "value": "literal-canary"}}"#, "api_key.value"),
        ] {
            let problems = of(wrong).unwrap_err();
            assert_eq!(problems.first().unwrap().path, at, "{wrong}");
            let printed = format!("{problems:?}");
            assert!(!printed.contains("canary") && !printed.contains("abc"), "{printed}");
        }
    }
}
