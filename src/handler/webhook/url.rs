//! The URL of a request, and what record data may choose of it: path segments after the first, query values, and a host
//! only where `egress.allow_hosts` names it.
//!
//! Source: http-contract, section 9.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use url::{Host, Url};

use super::connect::Origin;
use crate::handler::Problem;
use crate::handler::egress::Egress;
use crate::outcome::{Code, Failure};
use crate::plan::expr::{Insert, Part, Template, View};
use crate::settings::{ReferenceError, References};

/// Where requests go. Prints nothing of the path: a secret may be part of it.
pub(super) enum UrlPlan {
    /// The same for every event.
    Literal(Target),
    /// Made for each event.
    Templated(Templated),
}

/// Where one request goes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// What to connect to.
    pub(super) origin: Arc<Origin>,
    /// Path and query.
    pub(super) uri: Uri,
    /// The URL without query, for people; `***` where a secret is part of the path.
    pub(super) shown: Arc<str>,
}

/// A URL that is made for each event.
pub(super) struct Templated {
    pieces: Vec<Piece>,
    https: bool,
    port: u16,
    /// The literal host; `None` where it is templated.
    origin: Option<Arc<Origin>>,
    first_segment: String,
    secret: bool,
}

enum Piece {
    Literal(String),
    Segment(Insert),
    Query(Insert),
}

impl fmt::Debug for UrlPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlPlan::Literal(target) => write!(f, "UrlPlan({})", target.shown),
            UrlPlan::Templated(templated) => write!(f, "UrlPlan({} pieces)", templated.pieces.len()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.shown)
    }
}

/// Compiles `url`. What is refused comes back with what to write instead; `path` of each problem is empty.
pub(super) fn compile(
    written: &str,
    egress: &Egress,
    references: &References,
) -> Result<UrlPlan, Vec<Problem>> {
    let template = Template::parse(written).map_err(|findings| {
        findings
            .into_iter()
            .map(|f| Problem { path: String::new(), message: f.message, help: f.help })
            .collect::<Vec<_>>()
    })?;
    let mut secret = false;
    let template = template
        .resolve(|text| {
            let resolved = references.resolve(text)?;
            secret |= resolved.is_secret();
            Ok::<_, ReferenceError>(resolved.expose().to_owned())
        })
        .map_err(|error| vec![Problem::at("", error.to_string()).help(error.help())])?;
    plan(&template, secret, egress).map_err(|problem| vec![problem])
}

fn plan(template: &Template, secret: bool, egress: &Egress) -> Result<UrlPlan, Problem> {
    let marker = marker(template);
    let skeleton: String = template
        .parts()
        .iter()
        .map(|part| match part {
            Part::Literal(text) => text.as_str(),
            Part::Insert(_) => marker.as_str(),
        })
        .collect();
    let url = read(&skeleton, &marker)?;
    let https = url.scheme() == "https";
    let host = url.host().ok_or_else(|| no_url("the URL has no host"))?.to_owned();
    let port = url.port_or_known_default().ok_or_else(|| no_url("the URL has no port"))?;
    let templated_host = host.to_string().contains(&marker);
    if templated_host && !egress.has_hosts() {
        return Err(Problem::at("", "record data would choose the host")
            .help("write the host literally, or name the hosts in egress.allow_hosts of weir.yaml"));
    }
    if !templated_host && !https && egress.refuses_plain(&host.to_string()) {
        return Err(Problem::at("", "egress profile public allows https only").help("write https://"));
    }
    let inserts: Vec<&Insert> = template.parts().iter().filter_map(insert).collect();
    let origin = Origin::new(https, host, port).ok_or_else(|| no_url("the host cannot be called"))?;
    let origin = (!templated_host).then(|| Arc::new(origin));
    if let ([], Some(origin)) = (inserts.as_slice(), &origin) {
        let shown = shown(&url, secret);
        return Ok(UrlPlan::Literal(Target {
            origin: Arc::clone(origin),
            uri: uri(&url).map_err(no_url)?,
            shown,
        }));
    }
    let first_segment = first_segment(&url);
    let query = url.query().unwrap_or("");
    let in_name =
        query.split('&').any(|pair| pair.split('=').next().is_some_and(|name| name.contains(&marker)));
    if first_segment.contains(&marker) || in_name {
        return Err(Problem::at(
            "",
            "record data would choose the first path segment or the name of a query value",
        )
        .help("begin the path with a literal segment, as in https://host/v1/{{ .id }}"));
    }
    let pieces = pieces(url.as_str(), &marker, &inserts)?;
    Ok(UrlPlan::Templated(Templated { pieces, https, port, origin, first_segment, secret }))
}

fn insert(part: &Part) -> Option<&Insert> {
    match part {
        Part::Insert(insert) => Some(insert),
        Part::Literal(_) => None,
    }
}

/// A word that stands nowhere in the literal text and that no part of a URL changes.
fn marker(template: &Template) -> String {
    let literal: String = template
        .parts()
        .iter()
        .filter_map(|part| match part {
            Part::Literal(text) => Some(text.to_ascii_lowercase()),
            Part::Insert(_) => None,
        })
        .collect();
    let mut marker = "qzinsertzq".to_owned();
    while literal.contains(&marker) {
        marker.push('q');
    }
    marker
}

fn no_url(why: impl std::fmt::Display) -> Problem {
    Problem::at("", format!("not a URL that can be called: {why}")).help("write https://host/path")
}

fn read(text: &str, marker: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).map_err(no_url)?;
    if !matches!(url.scheme(), "http" | "https") || url.scheme().contains(marker) {
        return Err(no_url("the scheme is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            Problem::at("", "a URL with a user's name in it").help("write `auth` or an authorization header")
        );
    }
    if url.fragment().is_some() {
        return Err(
            Problem::at("", "a URL with a fragment, which is never sent").help("leave out `#` and the rest")
        );
    }
    Ok(url)
}

fn uri(url: &Url) -> Result<Uri, String> {
    let text = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Uri::try_from(text).map_err(|error| error.to_string())
}

fn first_segment(url: &Url) -> String {
    url.path_segments().and_then(|mut segments| segments.next()).unwrap_or("").to_owned()
}

fn shown(url: &Url, secret: bool) -> Arc<str> {
    let origin = url.origin().ascii_serialization();
    let path = if secret { "/***" } else { url.path() };
    format!("{origin}{path}").into()
}

/// The normal form of the URL, cut where values go in.
fn pieces(normal: &str, marker: &str, inserts: &[&Insert]) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    let mut literals = normal.split(marker);
    let mut in_query = false;
    let mut push = |pieces: &mut Vec<Piece>, text: &str| {
        in_query |= text.contains('?');
        if !text.is_empty() {
            pieces.push(Piece::Literal(text.to_owned()));
        }
        in_query
    };
    let mut querying = push(&mut pieces, literals.next().unwrap_or(""));
    for insert in inserts {
        let Some(literal) = literals.next() else {
            return Err(Problem::at("", "`..` takes away a segment that record data puts in")
                .help("write the path without `.` and `..`"));
        };
        let insert = (*insert).clone();
        pieces.push(if querying { Piece::Query(insert) } else { Piece::Segment(insert) });
        querying = push(&mut pieces, literal);
    }
    Ok(pieces)
}

impl UrlPlan {
    /// Where the request of one event goes. Fails with code `template` where its data cannot or may not stand there.
    pub(super) fn target(&self, view: &View<'_>, egress: &Egress) -> Result<Target, Failure> {
        match self {
            UrlPlan::Literal(target) => Ok(target.clone()),
            UrlPlan::Templated(templated) => templated.render(view, egress),
        }
    }

    /// Where a request goes that has no record: of a URL that is made for each event what stands before the first value, up
    /// to its last `/`. `None` where the host is made for each event.
    pub(super) fn without_record(&self) -> Option<Target> {
        match self {
            UrlPlan::Literal(target) => Some(target.clone()),
            UrlPlan::Templated(templated) => {
                let origin = templated.origin.as_ref()?;
                let Some(Piece::Literal(text)) = templated.pieces.first() else { return None };
                let path = text.split(['?', '#']).next().filter(|path| path.len() < text.len());
                let path = path.or_else(|| text.get(..=text.rfind('/')?))?;
                let url = Url::parse(path).ok()?;
                let uri = uri(&url).ok()?;
                Some(Target { origin: Arc::clone(origin), uri, shown: shown(&url, templated.secret) })
            }
        }
    }

    /// Whether `.` is read.
    pub(super) fn looks_into_payload(written: &str) -> bool {
        Template::parse(written).is_ok_and(|template| template.looks_into_payload())
    }

    /// Whether `%id` is read.
    pub(super) fn reads_id(written: &str) -> bool {
        Template::parse(written).is_ok_and(|template| template.reads_id())
    }
}

impl Templated {
    fn render(&self, view: &View<'_>, egress: &Egress) -> Result<Target, Failure> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Segment(insert) => text.push_str(&insert.path_segment(view)?),
                Piece::Query(insert) => text.push_str(&insert.query_value(view)?),
            }
        }
        let refused = |what: &str| Failure::invalid(Code::Template, format!("the rendered URL {what}"));
        let url = Url::parse(&text).map_err(|_| refused("is not a URL"))?;
        let same = url.scheme() == if self.https { "https" } else { "http" }
            && url.port_or_known_default() == Some(self.port)
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && first_segment(&url) == self.first_segment;
        if !same {
            return Err(refused("leaves its scheme, port or first path segment"));
        }
        let origin = match &self.origin {
            // Reading it again changed nothing: no segment was taken away, nothing was read as another part.
            Some(origin) if url.as_str() == text => Arc::clone(origin),
            Some(_) => return Err(refused("has a segment of `.` or `..`")),
            None => {
                let host = url.host().ok_or_else(|| refused("has no host"))?.to_owned();
                let (Host::Domain(name), true) = (&host, text.ends_with(&url[url::Position::BeforePath..]))
                else {
                    return Err(refused("has no host name"));
                };
                if !egress.allows_host(name) {
                    return Err(refused("has a host that egress.allow_hosts does not name"));
                }
                let origin =
                    Origin::new(self.https, host, self.port).ok_or_else(|| refused("has no host name"))?;
                Arc::new(origin)
            }
        };
        let uri = uri(&url).map_err(|_| refused("is not a URL"))?;
        Ok(Target { origin, uri, shown: shown(&url, self.secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Event, Origin as Position, Topic};
    use crate::handler::egress::Spec;
    use crate::plan::expr::Surroundings;
    use proptest::prelude::*;
    use vrl::value::Value;

    fn egress(hosts: &[&str]) -> Egress {
        let allow_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Egress::new(&Spec { allow_hosts, ..Spec::default() }, &[]).unwrap()
    }

    fn references() -> References {
        References {
            vars: [("base".to_owned(), "https://billing.internal".to_owned())].into(),
            secrets: [("path".to_owned(), "T0/s3cr3t".to_owned())].into(),
            ..References::default()
        }
    }

    fn event(id: &str) -> Event {
        let topic = Topic { cluster: String::new(), name: "t".into(), id: None };
        let body = Value::Object([("id".into(), Value::from(id))].into());
        Event {
            origin: Position { topic: Arc::new(topic), partition: 0, offset: 0, timestamp: None },
            key: None,
            headers: Vec::new(),
            body: Body::Value(body),
            part: 0,
        }
    }

    #[test]
    fn a_request_without_a_record_goes_to_what_stands_before_the_first_value() {
        let cases = [
            ("https://h.test/v1/a?b=c", "/v1/a?b=c"),
            ("https://h.test/v1/{{ .id }}/x", "/v1/"),
            ("https://h.test/v1/a-{{ .id }}", "/v1/"),
            ("https://h.test/v1/a?b={{ .id }}", "/v1/a"),
        ];
        for (url, expected) in cases {
            let plan = compile(url, &egress(&[]), &references()).unwrap();
            let target = plan.without_record().unwrap();
            assert_eq!(
                (target.uri.to_string().as_str(), &*target.origin.host.to_string()),
                (expected, "h.test")
            );
        }
        let plan = compile("https://{{ .id }}/v1/a", &egress(&["*.example.com"]), &references()).unwrap();
        assert!(plan.without_record().is_none());
    }

    fn render(url: &str, hosts: &[&str], id: &str) -> Result<(String, String), Failure> {
        let egress = egress(hosts);
        let plan = compile(url, &egress, &references()).unwrap();
        let event = event(id);
        let target = plan.target(&View::of(&event, Surroundings::default()), &egress)?;
        Ok((target.origin.authority.to_str().unwrap().to_owned(), target.uri.to_string()))
    }

    fn refusal(url: &str) -> String {
        match compile(url, &egress(&[]), &references()) {
            Ok(plan) => panic!("{url} is accepted: {plan:?}"),
            Err(problems) => problems[0].message.clone(),
        }
    }

    #[test]
    fn literal_urls_are_read_once() {
        let at = |url| render(url, &[], "").unwrap();
        assert_eq!(at("${var:base}/v1/invoices?a=b"), ("billing.internal".into(), "/v1/invoices?a=b".into()));
        assert_eq!(at("HTTP://Host:8080"), ("host:8080".into(), "/".into()));
        assert_eq!(at("https://bücher.example:443/ä"), ("xn--bcher-kva.example".into(), "/%C3%A4".into()));
        assert_eq!(at("http://[::1]:9/x"), ("[::1]:9".into(), "/x".into()));
        assert_eq!(at("http://0x7f.1/x"), ("127.0.0.1".into(), "/x".into()));
    }

    #[test]
    fn what_the_file_may_not_say_is_refused() {
        for url in [
            "billing.internal/v1",
            "ftp://host/v1",
            "file:///etc/passwd",
            "https://user:pass@host/v1",
            "https://host/v1#part",
            "https://{{ .id }}.example/v1",
            "https://{{ .id }}/v1",
            "{{ .id }}://host/v1",
            "{{ .id }}",
            "https://host:{{ .id }}/v1",
            "https://host{{ .id }}/v1",
            "https://host/{{ .id }}",
            "https://host/v1{{ .id }}/x",
            "https://host/v1/../{{ .id }}",
            "https://host/v1/{{ .id }}/../x",
            "https://host/v1?{{ .id }}=x",
            "https://{{ .id }}@host/v1",
            "https://host/v1#{{ .id }}",
            "https://host/v1/${var:nosuch}",
            "https://host/v1/{{ .id",
        ] {
            refusal(url);
        }
    }

    #[test]
    fn hostile_values_stay_in_their_segment() {
        let at = |id| render("https://host/v1/{{ .id }}/x?q={{ .id }}", &[], id);
        assert_eq!(at("a b/ü").unwrap().1, "/v1/a%20b%2F%C3%BC/x?q=a%20b%2F%C3%BC");
        for hostile in ["../..", "%2e%2e", "//evil", "@evil", "\\", "a?b#c", "a&b=c", "\r\n", "\0", ";"] {
            let (authority, path) = at(hostile).unwrap();
            assert_eq!(authority, "host", "{hostile}");
            assert_eq!(path.matches('/').count(), 3, "{hostile}: {path}");
            assert!(path.starts_with("/v1/") && path.matches(['&', '=']).count() == 1, "{hostile}: {path}");
        }
        for refused in ["", ".", ".."] {
            assert_eq!(at(refused).unwrap_err().code, Code::Template, "{refused}");
        }
        // `.` alone is refused as a value; what it makes together with literal text is seen when it is read again.
        assert!(render("https://host/v1/{{ .id }}%2e/x", &[], "%2e").is_ok());
        assert_eq!(render("https://host/v1/a{{ .id }}", &[], ".b").unwrap().1, "/v1/a.b");
        assert!(render("https://host/v1/{{ .nosuch }}", &[], "x").is_err());
    }

    #[test]
    fn a_templated_host_is_one_of_those_allowed() {
        let url = "https://{{ .id }}.hooks.example:8443/in/{{ .id }}";
        let at = |id| render(url, &["*.hooks.example", "other.example"], id);
        assert_eq!(at("acme").unwrap(), ("acme.hooks.example:8443".into(), "/in/acme".into()));
        assert_eq!(at("Acme").unwrap().0, "acme.hooks.example:8443");
        for hostile in
            ["evil.com/", "evil.com#", "a@evil.com", "evil.com:1/", "", "..", "evil.com?", "a b", "x%2f"]
        {
            assert!(at(hostile).is_err(), "{hostile}: {:?}", at(hostile));
        }
        let free = |id| render("https://{{ .id }}/in", &["hooks.example", "127.0.0.1"], id);
        assert!(free("hooks.example").is_ok() && free("hooks.example.").is_ok());
        for hostile in ["evil.example", "127.0.0.1", "2130706433", "0x7f000001", "[::1]", "localhost."] {
            assert!(free(hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn secrets_of_a_path_are_not_shown() {
        let egress = egress(&[]);
        let plan =
            compile("https://hooks.example/services/${secret:path}?k=v", &egress, &references()).unwrap();
        let event = event("x");
        let target = plan.target(&View::of(&event, Surroundings::default()), &egress).unwrap();
        assert_eq!((&*target.shown, target.uri.path()), ("https://hooks.example/***", "/services/T0/s3cr3t"));
        let public = Spec { profile: crate::handler::egress::Profile::Public, ..Spec::default() };
        assert!(
            compile("http://hooks.example/", &Egress::new(&public, &[]).unwrap(), &references()).is_err()
        );
    }

    proptest! {
        #[test]
        fn data_never_chooses_the_host(id: String) {
            if let Ok((authority, path)) = render("https://host/v1/{{ .id }}-{{ .id }}?q={{ .id }}", &[], &id) {
                prop_assert_eq!(authority, "host");
                prop_assert!(path.starts_with("/v1/"));
                prop_assert_eq!(path.matches(['/', '?', '&', '=', '#']).count(), 4);
            }
            if let Ok((authority, _)) = render("https://{{ .id }}/v1/x", &["*.hooks.example"], &id) {
                prop_assert!(authority.ends_with(".hooks.example"), "{}", authority);
            }
        }
    }
}
