//! `tls`: who is trusted in place of the system's authorities, and what Weir shows of itself. The PEM is a secret's text, or
//! a file of the pipeline's folder: other files are the operator's to give, as secrets.
//!
//! Source: http-contract, section 1.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::spec::Tls as Spec;
use crate::handler::Problem;
use crate::handler::egress::{self, Egress};
use crate::settings::pem::{self, BEGIN};
use crate::settings::{References, Unread, read_below};

/// Which files may be named.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files<'a> {
    /// Those of a pipeline's folder.
    Below(&'a Path),
    /// Any: the operator names them.
    Any,
}

/// How TLS is agreed on for one handler.
#[derive(Debug, Default)]
pub(super) struct Tls {
    roots: Option<Arc<RootCertStore>>,
    identity: Option<Identity>,
    /// Made at the first need: the system's roots are read then.
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// Our certificate with its chain, and its key, which does not print.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads what the block names. The paths of problems are inside of it.
    pub(super) fn compile(
        spec: &Spec,
        files: Files<'_>,
        references: &References,
    ) -> Result<Tls, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut read = |key: &str, written: &Option<String>| {
            let text = written.as_ref().map(|written| text_of(key, written, files, references)).transpose();
            text.map_err(|problem| problems.push(problem)).ok().flatten()
        };
        let ca = read("ca", &spec.ca);
        let cert = read("cert", &spec.cert);
        let key = read("key", &spec.key);
        for (one, there, other) in
            [("cert", spec.cert.is_some(), &spec.key), ("key", spec.key.is_some(), &spec.cert)]
        {
            if there && other.is_none() {
                let message = "a certificate and its key go together";
                problems.push(Problem::at(one, message).help("write both `cert` and `key`"));
            }
        }
        let mut keep = |result: Result<(), Problem>| problems.extend(result.err());
        let mut tls = Tls::default();
        if let Some(ca) = &ca {
            keep(roots(ca).map(|roots| tls.roots = Some(Arc::new(roots))));
        }
        let (mut chain, mut private) = (None, None);
        if let Some(cert) = &cert {
            keep(certificates("cert", cert).map(|found| chain = Some(found)));
        }
        if let Some(key) = &key {
            keep(private_key(key).map(|found| private = Some(found)));
        }
        if let (Some(chain), Some(key)) = (chain, private) {
            let identity = Identity { chain, key };
            keep(fits(&identity));
            tls.identity = Some(identity);
        }
        if problems.is_empty() { Ok(tls) } else { Err(problems) }
    }

    /// What a connection is made with. Fails where the system's roots are needed and it has none.
    pub(super) fn config(&self, egress: &Egress) -> Result<Arc<ClientConfig>, String> {
        self.config
            .get_or_init(|| {
                let roots = self.roots.clone().map_or_else(|| egress.roots(), Ok)?;
                egress::client_config(roots, self.identity.as_ref().map(Identity::copy))
            })
            .clone()
    }
}

impl Identity {
    fn copy(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

/// The text that a key of the block stands for.
fn text_of(key: &str, written: &str, files: Files<'_>, references: &References) -> Result<String, Problem> {
    let resolved = references
        .resolve(written)
        .map_err(|error| Problem::at(key, error.to_string()).help(error.help()))?;
    let text = resolved.expose();
    if text.contains(BEGIN) {
        if key == "key" && !resolved.is_secret() {
            return Err(Problem::at(key, "a private key does not stand in the file")
                .help("write ${secret:NAME}, or the name of a PEM file beside this one"));
        }
        return Ok(text.to_owned());
    }
    if resolved.is_secret() {
        return Err(Problem::at(key, "the secret is no PEM")
            .help("its text begins with `-----BEGIN `; a DER file is made PEM by openssl"));
    }
    let folder = match files {
        Files::Below(folder) => folder,
        Files::Any => {
            let help = "name a PEM file, or write ${secret:NAME} of a secret that holds the PEM";
            return pem::read(Path::new(text))
                .map_err(|why| Problem::at(key, format!("`{text}` {why}")).help(help));
        }
    };
    file(text, folder).map_err(|why| {
        Problem::at(key, format!("`{text}` {why}")).help(
            "name a PEM file of this file's folder, or write ${secret:NAME} of a secret that holds the PEM",
        )
    })
}

/// The PEM of a file below the pipeline's folder.
fn file(written: &str, folder: &Path) -> Result<String, String> {
    let text = read_below(folder, written).map_err(|unread| match unread {
        Unread::Outside => "is outside of the pipeline's folder".to_owned(),
        Unread::NoText => "is no PEM file".to_owned(),
        other => other.to_string(),
    })?;
    if text.contains(BEGIN) { Ok(text) } else { Err("is no PEM file".to_owned()) }
}

fn certificates(key: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Problem::at(key, "there is no certificate in it")
            .help("a certificate is a section `-----BEGIN CERTIFICATE-----`")),
        Err(error) => Err(Problem::at(key, format!("its PEM is broken: {error}"))),
    }
}

fn roots(text: &str) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", text)? {
        let bad = |error: rustls::Error| {
            Problem::at("ca", format!("a certificate in it is no authority's: {error}"))
        };
        roots.add(certificate).map_err(bad)?;
    }
    Ok(roots)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Problem> {
    if text.contains("ENCRYPTED") {
        return Err(Problem::at("key", "the key is encrypted: nobody types its password when Weir starts")
            .help("decrypt it with `openssl pkey -in KEY -out PLAIN` and give it as a secret"));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        Problem::at("key", "there is no private key in it")
            .help("a key is a section such as `-----BEGIN PRIVATE KEY-----`")
    })
}

/// Whether the key is the certificate's.
fn fits(identity: &Identity) -> Result<(), Problem> {
    let (chain, key) = identity.copy();
    match egress::client_config(Arc::new(RootCertStore::empty()), Some((chain, key))) {
        Ok(_) => Ok(()),
        Err(error) if error.contains("KeyMismatch") => {
            Err(Problem::at("key", "the key is not this certificate's")
                .help("`cert` begins with the certificate that was made for this key"))
        }
        Err(error) => Err(Problem::at("cert", format!("certificate and key cannot be used: {error}"))),
    }
}
