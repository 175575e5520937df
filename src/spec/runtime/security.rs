//! How Weir signs on to the brokers of a cluster: `tls` and `sasl` as properties of librdkafka, and what is wrong with them.

use super::build::Builder;
use super::{Cluster, Mechanism, Sasl, Tls};
use crate::settings::{References, Resolved, pem};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;

/// What signs on is not complete, or contradicts itself.
const INCOMPLETE: &str = "W0602";
/// A password goes over the wire as it is.
const IN_THE_CLEAR: &str = "W0603";

/// Properties that `tls` and `sasl` of a cluster stand for, by name or by how they begin (`.` at the end), and the key to
/// write instead, or several with a blank between them.
const HAVE_KEYS: &[(&str, &str)] = &[
    ("security.protocol", "tls sasl"),
    ("sasl.mechanism", "sasl.mechanism"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.username", "sasl.username"),
    ("sasl.password", "sasl.password"),
    ("sasl.oauthbearer.", "sasl.oauth2"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "sasl.oauth2"),
    ("ssl.ca.location", "tls.ca"),
    ("ssl.ca.pem", "tls.ca"),
    ("ssl.certificate.", "tls.cert"),
    ("ssl.key.location", "tls.key"),
    ("ssl.key.pem", "tls.key"),
    ("ssl.key.password", "tls.key_password"),
];

/// The keys that stand for a property, where there are such: two places would say how Weir signs on.
pub(super) fn keys_of(property: &str) -> Option<&'static str> {
    let named = |name: &str| if name.ends_with('.') { property.starts_with(name) } else { property == name };
    HAVE_KEYS.iter().find(|(name, _)| named(name)).map(|(_, key)| *key)
}

/// Properties of librdkafka with their values.
type Properties = Vec<(&'static str, String)>;

impl Builder<'_> {
    /// The properties that the two blocks stand for.
    pub(super) fn security(&mut self, references: &References, at: &Path, spec: &Cluster) -> Properties {
        let mut properties = vec![("security.protocol", protocol(spec).to_owned())];
        if let Some(tls) = &spec.tls {
            self.tls(references, &at.then("tls"), tls, &mut properties);
        }
        if let Some(sasl) = &spec.sasl {
            let at = at.then("sasl");
            self.sasl(references, &at, sasl, &mut properties);
            if sasl.mechanism == Mechanism::Plain && spec.tls.is_none() {
                let label = self.document.label(&at.then("mechanism"), "");
                let message = "without `tls`, PLAIN sends the password as it is";
                let finding = Diagnostic::warning(IN_THE_CLEAR, message, label);
                self.findings.push(finding.with_help("write `tls: {}` beside `sasl`, or use SCRAM-SHA-512"));
            }
        }
        properties
    }

    fn tls(&mut self, references: &References, at: &Path, tls: &Tls, out: &mut Properties) {
        for (key, value, file, pem) in [
            ("ca", &tls.ca, "ssl.ca.location", "ssl.ca.pem"),
            ("cert", &tls.cert, "ssl.certificate.location", "ssl.certificate.pem"),
            ("key", &tls.key, "ssl.key.location", "ssl.key.pem"),
        ] {
            let Some(written) = value else { continue };
            let text = self.text(references, &at.then(key), written);
            let is_pem = text.contains(pem::BEGIN);
            if let Ok(resolved) = references.resolve(written).as_ref()
                && !is_pem
            {
                self.named_file(&at.then(key), resolved);
            }
            if is_pem && key == "key" {
                self.credential(references, &at.then(key), written);
            }
            out.push((if is_pem { pem } else { file }, text));
        }
        if tls.ca.is_none() {
            // librdkafka's own OpenSSL looks where it was built; this makes it look where systems keep theirs.
            out.push(("ssl.ca.location", "probe".to_owned()));
        }
        for (key, there, other, other_there) in [
            ("cert", tls.cert.is_some(), "key", tls.key.is_some()),
            ("key", tls.key.is_some(), "cert", tls.cert.is_some()),
            ("key_password", tls.key_password.is_some(), "key", tls.key.is_some()),
        ] {
            if there && !other_there {
                self.incomplete(
                    &at.then(key),
                    format!("`{key}` means nothing without `{other}`"),
                    "write both, or neither",
                );
            }
        }
        if let Some(password) = &tls.key_password {
            out.push(("ssl.key.password", self.credential(references, &at.then("key_password"), password)));
        }
    }

    /// A file that librdkafka would open at the start: it would wait for ever for a pipe.
    fn named_file(&mut self, at: &Path, file: &Resolved) {
        let help = "name a PEM file, or write ${secret:NAME} of a secret that holds the PEM";
        if file.is_secret() {
            self.incomplete(at, "the secret is no PEM".to_owned(), help);
        } else if let Err(why) = pem::read(std::path::Path::new(file.expose())) {
            self.incomplete(at, format!("`{file}` {why}"), help);
        }
    }

    fn sasl(&mut self, references: &References, at: &Path, sasl: &Sasl, out: &mut Properties) {
        let Sasl { mechanism, username, password, oauth2 } = sasl;
        out.push(("sasl.mechanism", word(*mechanism).to_owned()));
        let by_token = *mechanism == Mechanism::OauthBearer;
        for (key, there, wanted) in [
            ("username", username.is_some(), !by_token),
            ("password", password.is_some(), !by_token),
            ("oauth2", oauth2.is_some(), by_token),
        ] {
            let mechanism = word(*mechanism);
            match (there, wanted) {
                (false, true) => {
                    let help = match key {
                        "password" => "add it: password: \"${secret:NAME}\"",
                        "username" => "add it: username: NAME",
                        _ => {
                            "add it: oauth2: { token_url: .., client_id: .., client_secret: \"${secret:NAME}\" }"
                        }
                    };
                    self.incomplete(&at.then("mechanism"), format!("{mechanism} needs `{key}`"), help);
                }
                (true, false) => {
                    let message = format!("{mechanism} has no use for `{key}`");
                    self.incomplete(&at.then(key), message, "take it out");
                }
                (true, true) | (false, false) => {}
            }
        }
        if let Some(username) = username {
            out.push(("sasl.username", self.text(references, &at.then("username"), username)));
        }
        if let Some(password) = password {
            out.push(("sasl.password", self.credential(references, &at.then("password"), password)));
        }
    }

    /// A text that nobody may read: the file does not hold it, but says where it is. A variable may.
    fn credential(&mut self, references: &References, path: &Path, written: &str) -> String {
        let text = self.text(references, path, written);
        let in_the_file = self.document.is_written(path);
        if in_the_file && references.resolve(written).is_ok_and(|resolved| !resolved.is_secret()) {
            self.incomplete(path, "credentials do not stand in the file".to_owned(), "write ${secret:NAME}");
        }
        text
    }

    fn incomplete(&mut self, path: &Path, message: String, help: &str) {
        let finding = Diagnostic::error(INCOMPLETE, message, self.document.label(path, ""));
        self.findings.push(finding.with_help(help));
    }
}

fn protocol(spec: &Cluster) -> &'static str {
    match (spec.sasl.is_some(), spec.tls.is_some()) {
        (true, true) => "sasl_ssl",
        (true, false) => "sasl_plaintext",
        (false, true) => "ssl",
        (false, false) => "plaintext",
    }
}

fn word(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Scram256 => "SCRAM-SHA-256",
        Mechanism::Scram512 => "SCRAM-SHA-512",
        Mechanism::OauthBearer => "OAUTHBEARER",
    }
}
