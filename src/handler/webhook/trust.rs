//! `tls` of a webhook: roots in place of the system's, and a certificate of our own for receivers that ask for one.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::spec::Tls;
use crate::handler::Problem;
use crate::handler::egress::{self, Identity};
use crate::settings::References;

/// What this handler trusts, and shows of itself. Reads the files. Every problem at once, each at its key.
pub(super) fn config(written: &Tls, references: &References) -> Result<Arc<ClientConfig>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut path = |key: &str, written: &Option<String>| -> Option<String> {
        match references.resolve(written.as_deref()?) {
            Ok(resolved) => Some(resolved.expose().to_owned()),
            Err(error) => {
                problems.push(Problem::at(key, error.to_string()));
                None
            }
        }
    };
    let [ca, cert, key] = [("ca", &written.ca), ("cert", &written.cert), ("key", &written.key)]
        .map(|(key, file)| path(key, file));
    let mut read = |problem: Problem| problems.push(problem);
    let roots = match &ca {
        None => egress::system_roots().map_err(|why| read(Problem::at("", why))).ok(),
        Some(file) => roots(file).map_err(|(why, help)| read(Problem::at("ca", why).help(help))).ok(),
    };
    let identity = match (&cert, &key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            let chain =
                certificates(cert).map_err(|(why, help)| read(Problem::at("cert", why).help(help))).ok();
            let key = private_key(key).map_err(|(why, help)| read(Problem::at("key", why).help(help))).ok();
            chain.zip(key).map(|(chain, key)| Identity { chain, key })
        }
        (Some(_), None) if written.key.is_none() => {
            read(Problem::at("cert", "a certificate without its key").help("add `key: FILE`"));
            None
        }
        (None, Some(_)) if written.cert.is_none() => {
            read(Problem::at("key", "a key without its certificate").help("add `cert: FILE`"));
            None
        }
        _ => None,
    };
    let Some(roots) = roots.filter(|_| problems.is_empty()) else { return Err(problems) };
    egress::client_config(roots, identity)
        .map_err(|why| vec![Problem::at("cert", why).help("certificate and key must belong together")])
}

type Wrong = (String, &'static str);

fn roots(file: &str) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| {
            (
                format!("`{file}` has a certificate that is none of an authority: {error}"),
                "give the authority's",
            )
        })?;
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let read =
        CertificateDer::pem_file_iter(Path::new(file)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        return Err((
            format!("`{file}` has no certificate"),
            "give a file in PEM form: -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}

fn private_key(file: &str) -> Result<PrivateKeyDer<'static>, Wrong> {
    PrivateKeyDer::from_pem_file(Path::new(file)).map_err(|error| match error {
        pem::Error::NoItemsFound => (
            format!("`{file}` has no private key that can be read"),
            "give it in PEM form and not encrypted: -----BEGIN PRIVATE KEY-----",
        ),
        error => unreadable(file, &error),
    })
}

fn unreadable(file: &str, error: &pem::Error) -> Wrong {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    (format!("`{file}` cannot be read: {why}"), "is the path right, and may this user read it?")
}
