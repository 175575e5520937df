//! `${env:NAME}`, `${var:NAME}`, `${secret:NAME}`: resolved value by value, after parsing, never as text of a file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::spec::diagnostic::did_you_mean;

/// A text whose references are resolved. Prints as `***` where a secret went in.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    text: String,
    secret: bool,
}

impl Resolved {
    /// A text that has no references.
    pub fn plain(text: impl Into<String>) -> Resolved {
        Resolved { text: text.into(), secret: false }
    }

    /// The text itself: for what is sent, never for what is printed.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether a secret went into it.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secret { "***" } else { &self.text })
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolved({self})")
    }
}

/// Why a reference could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No such variable or secret.
    #[error("`${{{kind}:{name}}}` is not set")]
    Missing {
        /// `env`, `var` or `secret`.
        kind: String,
        /// The name that was looked for.
        name: String,
        /// Names that do exist, for "did you mean".
        known: Vec<String>,
        /// The file that gives them, where it is not the runtime file.
        given_by: Option<Arc<str>>,
    },
    /// `${` that is none of the three forms, or is not closed.
    #[error("`{text}` is not a reference")]
    Malformed {
        /// As it is written.
        text: String,
        /// Whether `vars` has the name that is written without its kind.
        is_var: bool,
    },
}

impl ReferenceError {
    /// What to do.
    pub fn help(&self) -> String {
        let (kind, name, known, given_by) = match self {
            ReferenceError::Missing { kind, name, known, given_by } => (kind.as_str(), name, known, given_by),
            ReferenceError::Malformed { text, .. } if !text.ends_with('}') => {
                return "close it with `}`; for the text `${` itself write `$${`".to_owned();
            }
            ReferenceError::Malformed { text, is_var } => {
                let name = text.trim_start_matches("${").trim_end_matches('}');
                let forms =
                    "write ${env:NAME}, ${var:NAME} or ${secret:NAME}; for the text `${` itself `$${`";
                let name = name.rsplit(':').next().unwrap_or(name);
                return if *is_var { format!("did you mean `${{var:{name}}}`?") } else { forms.to_owned() };
            }
        };
        if let Some(near) = did_you_mean(name, known.iter().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        if let Some(file) = given_by {
            let key = if kind == "env" { "env".to_owned() } else { format!("{kind}s") };
            return format!("add `{name}` to `{key}` of {file}");
        }
        match kind {
            "var" => format!("add `{name}` to `vars` of weir.yaml"),
            "secret" => {
                let variable = name.to_uppercase();
                format!("set WEIR_SECRET_{variable}, or put a file `{name}` where `secrets.files` points")
            }
            _ => format!("set the variable {name}"),
        }
    }
}

/// What references resolve to. Built once from the runtime file and the environment.
#[derive(Clone, Default)]
pub struct References {
    /// `${env:NAME}`: the environment as it was at start.
    pub env: BTreeMap<String, String>,
    /// `${var:NAME}`: `vars` of the runtime file.
    pub vars: BTreeMap<String, String>,
    /// `${secret:NAME}`.
    pub secrets: BTreeMap<String, String>,
    /// The file that gives all of these, where it is not the runtime file and the environment.
    pub given_by: Option<Arc<str>>,
}

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("References")
            .field("vars", &self.vars)
            .field("secrets", &self.secrets.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl References {
    /// Replaces every reference in `text`. `$${` is a literal `${`.
    pub fn resolve(&self, text: &str) -> Result<Resolved, ReferenceError> {
        let mut out = String::with_capacity(text.len());
        let mut secret = false;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = from.strip_prefix("${").unwrap_or("");
                continue;
            }
            out.push_str(before);
            let Some((inside, after)) = from.strip_prefix("${").and_then(|f| f.split_once('}')) else {
                return Err(ReferenceError::Malformed { text: from.to_owned(), is_var: false });
            };
            out.push_str(self.lookup(inside)?);
            secret |= inside.starts_with("secret:");
            rest = after;
        }
        out.push_str(rest);
        Ok(Resolved { text: out, secret })
    }

    /// A name as it may be printed: with its references resolved; as it is written where one is not set, or is a secret.
    pub fn shown(&self, written: &str) -> String {
        match self.resolve(written) {
            Ok(resolved) if !resolved.is_secret() => resolved.text,
            Ok(_) | Err(_) => written.to_owned(),
        }
    }

    fn lookup(&self, inside: &str) -> Result<&str, ReferenceError> {
        let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
        let from = match kind {
            "env" => &self.env,
            "var" => &self.vars,
            "secret" => &self.secrets,
            _ => {
                let name = inside.rsplit(':').next().unwrap_or(inside);
                let is_var = self.vars.contains_key(name);
                return Err(ReferenceError::Malformed { text: format!("${{{inside}}}"), is_var });
            }
        };
        from.get(name).map(String::as_str).ok_or_else(|| ReferenceError::Missing {
            kind: kind.to_owned(),
            name: name.to_owned(),
            known: if kind == "env" { Vec::new() } else { from.keys().cloned().collect() },
            given_by: self.given_by.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references() -> References {
        References {
            env: BTreeMap::from([("HOME".into(), "/root".into())]),
            vars: BTreeMap::from([("url".into(), "https://x".into())]),
            secrets: BTreeMap::from([("token".into(), "s3cr3t".into())]),
            given_by: None,
        }
    }

    #[test]
    fn the_three_kinds_resolve_and_secrets_do_not_print() {
        let resolved = references().resolve("${var:url}/a?${env:HOME}").unwrap();
        assert_eq!((resolved.expose(), resolved.is_secret()), ("https://x/a?/root", false));
        let secret = references().resolve("Bearer ${secret:token}").unwrap();
        assert_eq!(secret.expose(), "Bearer s3cr3t");
        assert_eq!(format!("{secret} {secret:?} {:?}", references()).matches("s3cr3t").count(), 0);
    }

    #[test]
    fn what_is_shown_has_no_secret_in_it() {
        let shown = |written: &str| references().shown(written);
        assert_eq!(shown("${var:url}/a"), "https://x/a");
        assert_eq!(shown("${var:url}/${secret:token}"), "${var:url}/${secret:token}");
        assert_eq!(shown("${var:unset}"), "${var:unset}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(matches!(references().resolve("${var:ulr}"), Err(ReferenceError::Missing { .. })));
        assert!(matches!(references().resolve("${url}"), Err(ReferenceError::Malformed { .. })));
        assert!(matches!(references().resolve("a ${var:url"), Err(ReferenceError::Malformed { .. })));
        assert_eq!(references().resolve("$${var:url}").unwrap().expose(), "${var:url}");
    }
}
