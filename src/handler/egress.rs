//! Where webhooks may go: the `egress` block of weir.yaml.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::Host;

use super::Problem;
use super::guard::{self, Dial, Refusal, Rules};
use super::webhook::{Doors, Pace};

/// Where webhooks may go. Judged on the address about to be dialled; never written in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Egress")]
pub struct Spec {
    /// The addresses that are refused unless they are allowed below.
    pub profile: Profile,
    /// Networks that the profile would refuse and that are allowed all the same.
    pub allow_cidrs: Vec<String>,
    /// Networks that are refused, whatever else allows them.
    pub deny_cidrs: Vec<String>,
    /// Hosts that are allowed past the profile, exactly or by `*.` suffix; only these may come from record data.
    pub allow_hosts: Vec<String>,
}

/// The addresses that are refused by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EgressProfile")]
pub enum Profile {
    /// Refuses link-local, metadata, multicast, unspecified and broadcast addresses.
    #[default]
    Internal,
    /// Allows globally routable addresses over https only.
    Public,
}

/// Where webhooks may go and how fast, read and ready to be asked. One for the process.
#[derive(Debug)]
pub struct Egress {
    rules: Rules,
    hosts: Vec<HostRule>,
    own: Vec<SocketAddr>,
    /// Look-ups at once: each takes a thread of the blocking pool for as long as the system's resolver likes.
    lookups: Semaphore,
    roots: OnceLock<Result<Arc<RootCertStore>, String>>,
    /// How fast requests go to each host.
    pub(super) pace: Pace,
    /// How many are under way to each.
    pub(super) doors: Doors,
    #[cfg(test)]
    pub(super) names: std::sync::Mutex<std::collections::HashMap<String, Vec<IpAddr>>>,
}

#[derive(Debug, PartialEq, Eq)]
enum HostRule {
    Exact(String),
    /// What follows `*`, with its dot.
    Suffix(String),
}

const LOOKUPS_AT_ONCE: usize = 16;

impl Egress {
    /// Reads the block. `listen` are Weir's own listeners, which are never dialled. Every problem in one go; their paths
    /// are inside of the `egress` block.
    pub fn new(spec: &Spec, listen: &[SocketAddr]) -> Result<Egress, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut nets = |key: &str, texts: &[String]| -> Vec<IpNet> {
            let mut nets = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                match net(text) {
                    Some(net) => nets.push(net),
                    None => problems.push(
                        Problem::at(format!("{key}.{index}"), format!("`{text}` is not a network"))
                            .help("write an address and a prefix length, such as 10.0.0.0/8 or fd00::/8"),
                    ),
                }
            }
            nets
        };
        let (allow, deny) = (nets("allow_cidrs", &spec.allow_cidrs), nets("deny_cidrs", &spec.deny_cidrs));
        let mut hosts = Vec::new();
        for (index, text) in spec.allow_hosts.iter().enumerate() {
            match host_rule(text) {
                Some(rule) => hosts.push(rule),
                None => problems.push(
                    Problem::at(format!("allow_hosts.{index}"), format!("`{text}` is not a host"))
                        .help("write a host name, or `*.` and the rest of it, without scheme and port"),
                ),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Egress {
            rules: Rules { profile: spec.profile, allow, deny },
            hosts,
            own: listen.to_vec(),
            lookups: Semaphore::new(LOOKUPS_AT_ONCE),
            roots: OnceLock::new(),
            pace: Pace::default(),
            doors: Doors::default(),
            #[cfg(test)]
            names: std::sync::Mutex::default(),
        })
    }

    /// Whether `allow_hosts` names a host, as the URL standard writes it (lower case, IDNA); a last dot is ignored.
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.hosts.iter().any(|rule| match rule {
            HostRule::Exact(name) => name == host,
            HostRule::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        })
    }

    /// Whether `allow_hosts` names any.
    pub(super) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Whether a URL of this scheme and host can never pass, whatever its address: plain `http` under `public`, with
    /// nothing that allows it.
    pub(super) fn refuses_plain(&self, host: &str) -> bool {
        self.rules.profile == Profile::Public && self.rules.allow.is_empty() && !self.allows_host(host)
    }

    /// Whether an address may be dialled for a host.
    pub(super) fn judge(&self, host: &str, https: bool, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        let public = self.rules.profile == Profile::Public;
        let own = self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip().to_canonical() == ip || (own.ip().is_unspecified() && is_local(ip)))
        });
        let host_allowed = self.allows_host(host);
        let dial = Dial { ip: address.ip(), https, host_allowed, own, local: public && is_local(ip) };
        guard::judge(&self.rules, dial)
    }

    /// The addresses of a host name or a literal address, in the resolver's order. Not judged yet.
    pub(super) async fn resolve(&self, host: &Host<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = match host {
            Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(IpAddr::V4(*ip), port)]),
            Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(IpAddr::V6(*ip), port)]),
            Host::Domain(name) => *name,
        };
        #[cfg(test)]
        if let Some(ips) = self.names.lock().ok().and_then(|names| names.get(name).cloned()) {
            return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
        }
        let _permit = self.lookups.acquire().await.map_err(io::Error::other)?;
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }

    /// The system's roots of trust, loaded at the first need and once. Fails where the system has none.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        self.roots.get_or_init(system_roots).clone()
    }

    /// The same rules, with other roots of trust.
    #[cfg(test)]
    pub(super) fn with_roots(self, roots: RootCertStore) -> Egress {
        let roots = OnceLock::from(Ok(Arc::new(roots)));
        Egress { roots, ..self }
    }

    /// The same rules, with all look-ups under way for ever.
    #[cfg(test)]
    pub(super) fn without_lookups(self) -> Egress {
        Egress { lookups: Semaphore::new(0), ..self }
    }
}

fn system_roots() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("the system has no certificates of authorities{why}"));
    }
    Ok(Arc::new(roots))
}

/// TLS that trusts these roots, and shows this certificate where it is asked for one.
pub(super) fn client_config(
    roots: Arc<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("{error:?}"))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn host_rule(text: &str) -> Option<HostRule> {
    let (suffix, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = match Host::parse(name.strip_suffix('.').unwrap_or(name)).ok()? {
        Host::Domain(name) => name,
        _ if suffix => return None,
        // As a URL writes it: brackets around an IPv6 address.
        address => address.to_string(),
    };
    Some(if suffix { HostRule::Suffix(format!(".{name}")) } else { HostRule::Exact(name) })
}

/// Whether an address is one of this host's interfaces': only then a socket can be bound to it. Asked at each new
/// connection, so that an interface that comes later is seen.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(spec: &Spec, listen: &str) -> Egress {
        Egress::new(spec, &[listen.parse().unwrap()]).unwrap()
    }

    #[test]
    fn hosts_match_exactly_or_by_suffix_after_idna() {
        let allow_hosts = vec!["Hooks.Example".into(), "*.tenants.example".into(), "*.bücher.example".into()];
        let egress = egress(&Spec { allow_hosts, ..Spec::default() }, "127.0.0.1:7070");
        for yes in ["hooks.example", "hooks.example.", "a.tenants.example", "a.b.tenants.example"] {
            assert!(egress.allows_host(yes), "{yes}");
        }
        assert!(egress.allows_host("a.xn--bcher-kva.example"));
        for no in [
            "a.hooks.example",
            "tenants.example",
            ".tenants.example",
            "atenants.example",
            "hooks.example.evil",
        ] {
            assert!(!egress.allows_host(no), "{no}");
        }
    }

    #[test]
    fn own_listeners_are_refused() {
        let at = |ip: &str| ip.parse::<SocketAddr>().unwrap();
        let one = egress(&Spec::default(), "127.0.0.1:7070");
        assert_eq!(one.judge("x", false, at("127.0.0.1:7070")), Err(Refusal::Own));
        assert_eq!(one.judge("x", false, at("[::ffff:127.0.0.1]:7070")), Err(Refusal::Own));
        assert_eq!(one.judge("x", false, at("127.0.0.1:7071")), Ok(()));
        assert_eq!(one.judge("x", false, at("127.0.0.2:7070")), Ok(()));
        let any = egress(&Spec { allow_cidrs: vec!["0.0.0.0/0".into()], ..Spec::default() }, "0.0.0.0:7070");
        assert_eq!(any.judge("x", false, at("127.0.0.2:7070")), Err(Refusal::Own));
        assert_eq!(any.judge("x", false, at("192.0.2.1:7070")), Ok(()));
    }

    #[test]
    fn public_refuses_addresses_of_this_host() {
        let spec = Spec { profile: Profile::Public, ..Spec::default() };
        let egress = egress(&spec, "127.0.0.1:7070");
        assert!(egress.judge("x", true, "127.0.0.1:443".parse().unwrap()).is_err());
        assert!(egress.refuses_plain("hooks.example"));
        assert!(is_local("127.0.0.1".parse().unwrap()) && !is_local("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_or_host_is_said() {
        let spec = Spec {
            allow_cidrs: vec!["10.0.0.0/33".into(), "10.0.0.1".into()],
            allow_hosts: vec!["https://x".into(), "*.10.0.0.1".into()],
            ..Spec::default()
        };
        let paths: Vec<String> = Egress::new(&spec, &[]).unwrap_err().into_iter().map(|p| p.path).collect();
        assert_eq!(paths, ["allow_cidrs.0", "allow_hosts.0", "allow_hosts.1"]);
    }
}
