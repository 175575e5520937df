//! The VRL functions that a pipeline may call: the standard library without those that reach outside of the record, and
//! without those in which the record's data decides how much memory, stack or time one call takes.

use std::sync::LazyLock;

use vrl::compiler::Function;

use super::{bounded, fence};

/// What is left out, and why. The reason is shown where somebody calls it. Functions that this build of VRL does not
/// even have are listed too: the list, not a build flag, is what decides.
pub(super) const DENIED: &[(&str, &str)] = &[
    ("get_env_var", "it reads the environment; use ${env:NAME} in a `set`"),
    ("get_hostname", "it reads the host"),
    ("get_timezone_name", "it reads the host"),
    ("dns_lookup", "it uses the network"),
    ("reverse_dns", "it uses the network"),
    ("http_request", "it uses the network"),
    ("parse_proto", "it reads the disk; use `source.format: protobuf`"),
    ("encode_proto", "it reads the disk"),
    ("parse_etld", "it reads the disk"),
    ("validate_json_schema", "it reads the disk; use `source.schema`"),
    ("log", "it writes to the log for every record"),
    ("decode_gzip", "its output has no limit: 1 MB may become 1 GB"),
    ("decode_zlib", "its output has no limit: 1 MB may become 1 GB"),
    ("decode_zstd", "its output has no limit: 1 MB may become 1 GB"),
    ("decode_lz4", "it allocates what the data says"),
    ("decode_snappy", "it allocates what the data says"),
    ("parse_grok", "its engine backtracks: one record may take minutes; use parse_regex"),
    ("parse_groks", "its engine backtracks: one record may take minutes; use parse_regex"),
    ("to_regex", "it compiles a pattern for every record; write the pattern as r'..'"),
    ("unflatten", "the data decides how deep its result is, which may end the process"),
    ("parse_xml", "the data decides how deep its result is, which may end the process"),
    ("parse_ruby_hash", "the data decides how deep its result is, which may end the process"),
    ("parse_yaml", "aliases in the data multiply"),
    ("set", "an index from the data decides how long a list becomes; assign to a path"),
    ("unnest", "it copies the whole record for each entry; use the transform `split`"),
    ("flatten", "long names are repeated for each field; use the transform `flatten`"),
    ("encode_logfmt", "long names are repeated for each field"),
    ("encode_key_value", "its delimiters are repeated for each field"),
    ("sieve", "its replacement is repeated for each character; use replace"),
    ("format_number", "its `scale` decides how long the text becomes; use round and to_string"),
];

/// Every allowed function.
pub(super) fn allowed() -> &'static [Box<dyn Function>] {
    static ALLOWED: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(list);
    &ALLOWED
}

/// Every allowed function, and the call that [`fence::instrument`] puts in.
pub(super) fn with_fence() -> &'static [Box<dyn Function>] {
    static FENCED: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| {
        let mut list = list();
        list.push(Box::new(fence::Fence));
        list
    });
    &FENCED
}

fn list() -> Vec<Box<dyn Function>> {
    let allowed = vrl::stdlib::all().into_iter().filter(|f| why_denied(f.identifier()).is_none());
    allowed.map(bounded::bounded).collect()
}

/// Why a function may not be called; `None` where it may, or does not exist.
pub(super) fn why_denied(name: &str) -> Option<&'static str> {
    DENIED.iter().find(|(denied, _)| *denied == name).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new version of VRL may bring a function that reads something. This list makes somebody look.
    #[test]
    fn every_function_of_this_vrl_has_been_looked_at() {
        let all: Vec<_> = vrl::stdlib::all().iter().map(|f| f.identifier()).collect();
        let reaching =
            ["env", "host", "timezone", "dns", "http", "proto", "etld", "schema", "file", "sleep", "log"];
        let parsers_of_logs = |name: &str| name.starts_with("parse_") && name.contains("log");
        for name in &all {
            let suspicious = reaching.iter().any(|word| name.contains(word)) && !parsers_of_logs(name);
            let harmless = matches!(
                *name,
                "encode_logfmt"
                    | "to_syslog_facility"
                    | "to_syslog_facility_code"
                    | "to_syslog_level"
                    | "to_syslog_severity"
                    | "parse_aws_cloudwatch_log_subscription_message"
            );
            assert!(!suspicious || harmless || why_denied(name).is_some(), "look at `{name}`");
        }
        assert_eq!(all.len(), 194, "VRL's function list changed: look at what is new");
        assert_eq!(all.len() - allowed().len(), 20, "so many are in this build and left out");
    }
}
