//! What the process finds around itself: variables, the host's name, secret files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

/// How the variables that hold secrets begin, where the runtime file says nothing.
pub const SECRET_PREFIX: &str = "WEIR_SECRET_";
/// The largest secret file, and the most of them.
const MAX_SECRET: u64 = 64 << 10;
const MAX_SECRETS: usize = 1_000;

/// The variables of the process; those that are not UTF-8 are passed over.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The host's name: `HOSTNAME`, else what the system says, else `weir`.
pub fn host_name(environment: &BTreeMap<String, String>) -> String {
    let from_system =
        || fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    let name = environment.get("HOSTNAME").cloned().or_else(|| from_system().ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "weir".to_owned() } else { name.to_owned() }
}

/// Secrets by name: a file of `files` each (its name is the secret's, a last line break does not count), then variables
/// that begin with `prefix`, the rest of their name in lower case. Fails where the folder or one of its files cannot be
/// read, is over 64 KiB, or is no UTF-8.
pub fn secrets(
    files: Option<&Path>,
    prefix: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut secrets: BTreeMap<String, String> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_lowercase(), value.clone())))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let Some(folder) = files else { return Ok(secrets) };
    let say = |path: &Path, error: &dyn std::fmt::Display| {
        format!("reading secrets from {}: {error}", path.display())
    };
    let entries = fs::read_dir(folder).map_err(|error| say(folder, &error))?;
    for entry in entries.take(MAX_SECRETS) {
        let path = entry.map_err(|error| say(folder, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned();
        // Kubernetes keeps `..data` and the like beside the files.
        if name.is_empty() || name.starts_with('.') || !path.is_file() {
            continue;
        }
        let file = fs::File::open(&path).map_err(|error| say(&path, &error))?;
        let mut text = String::new();
        let read = file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(|error| say(&path, &error))?;
        if u64::try_from(read).unwrap_or(u64::MAX) > MAX_SECRET {
            return Err(say(&path, &"larger than 64 KiB"));
        }
        secrets.insert(name, text.trim_end_matches(['\n', '\r']).to_owned());
    }
    Ok(secrets)
}
