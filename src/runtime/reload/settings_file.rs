//! The runtime file, looked at every few seconds and at each reload: its folder holds too much else to be watched. What it says
//! holds until a restart. Where it says something else by now, it is named what waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::warn;

use crate::spec::files;
use crate::spec::span::Source;
use crate::spec::tree::{Document, Node};

/// The keys of the runtime file that say something else than when the process began, as they are shown.
pub type Waiting = Arc<ArcSwap<Vec<String>>>;

/// The runtime file as it was when the process began.
#[derive(Debug)]
pub struct SettingsFile {
    path: PathBuf,
    began: Arc<Source>,
    /// The text that was looked at last.
    seen: String,
    waiting: Waiting,
}

impl SettingsFile {
    /// A file that was read.
    pub fn new(began: &Arc<Source>) -> SettingsFile {
        SettingsFile {
            path: PathBuf::from(began.name()),
            began: Arc::clone(began),
            seen: began.text().to_owned(),
            waiting: Waiting::default(),
        }
    }

    /// What waits for a restart, for those who show it.
    pub fn waiting(&self) -> Waiting {
        Arc::clone(&self.waiting)
    }

    /// Looks at it again, and says what waits, once. A file that is gone or broken changes nothing, and is said too.
    pub(super) fn look(&mut self) {
        let source = match files::source(&self.path) {
            Ok(source) if source.text() == self.seen => return,
            Ok(source) => source,
            Err(finding) => {
                if !std::mem::take(&mut self.seen).is_empty() {
                    warn!(
                        file = self.began.name(),
                        "the runtime file cannot be read any more: {}", finding.message
                    );
                }
                return;
            }
        };
        self.seen = source.text().to_owned();
        let Some(differ) = differ(&self.began, &source) else {
            warn!(
                file = self.began.name(),
                "the runtime file has errors now: a restart would fail; `weir check` shows them"
            );
            return;
        };
        if !differ.is_empty() {
            warn!(
                file = self.began.name(),
                keys = differ.join(", "),
                "the runtime file says something else now: this holds from the next start of Weir"
            );
        }
        self.waiting.store(Arc::new(differ));
    }
}

/// The keys that differ; `None` where the second is no YAML.
fn differ(before: &Arc<Source>, after: &Arc<Source>) -> Option<Vec<String>> {
    let (before, after) = (values(before)?, values(after)?);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    Some(keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect())
}

/// Every value by its path.
fn values(source: &Arc<Source>) -> Option<BTreeMap<String, String>> {
    let mut findings = Vec::new();
    let document = Document::parse(source, &mut findings)?;
    if findings.iter().any(crate::spec::diagnostic::Diagnostic::is_error) {
        return None;
    }
    let mut values = BTreeMap::new();
    collect(&document.root, String::new(), &mut values);
    Some(values)
}

fn collect(node: &Node, path: String, values: &mut BTreeMap<String, String>) {
    for entry in node.entries() {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        collect(&entry.value, path, values);
    }
    for (at, item) in node.items().iter().enumerate() {
        collect(item, format!("{path}[{at}]"), values);
    }
    if node.entries().is_empty() && node.items().is_empty() {
        values.insert(path, node.text().unwrap_or_default().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named_by_its_keys_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.yaml");
        let text = "kafka: { brokers: [a:1, b:1] }\nvars: { url: https://x }\n";
        std::fs::write(&path, text).unwrap();
        let mut file = SettingsFile::new(&files::source(&path).unwrap());
        let waiting = file.waiting();
        let mut waits = |text: &str| {
            std::fs::write(&path, text).unwrap();
            file.look();
            waiting.load().to_vec()
        };
        assert_eq!(waits(&text.replace("b:1", "c:1")), ["kafka.brokers[1]"]);
        assert_eq!(waits(&format!("{text}limits: {{ memory: 1GiB }}\n")), ["limits.memory"]);
        assert_eq!(waits(&format!("# another form\n{text}")), Vec::<String>::new());
        assert_eq!(waits("vars: {}\n"), ["kafka.brokers[0]", "kafka.brokers[1]", "vars", "vars.url"]);
        assert_eq!(waits("vars: [").len(), 4, "what was known before stays");
        assert_eq!(waits(text), Vec::<String>::new());
    }
}
