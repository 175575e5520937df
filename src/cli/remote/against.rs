//! `weir plan --against REF`: what files would do in an instance that runs those of another commit. Needs no instance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::api::answers::{self, PlanAnswer};
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Global, check, registry};
use crate::git;
use crate::handler::egress::Egress;
use crate::runtime::change::{self, Files};
use crate::runtime::load::{From, Loader, Loading};
use crate::runtime::plan;
use crate::settings::environment;
use crate::spec::runtime;
use crate::spec::span::Source;

/// What these texts would do in place of those of a branch, a tag or a commit.
pub(super) fn plan(
    folder: &Path,
    reference: &str,
    texts: &BTreeMap<String, String>,
    global: &Global,
) -> Result<PlanAnswer, CliError> {
    let bad = |why: &str| CliError::new(Exit::BadConfig, why);
    let loaded = check::settings(global.config.as_deref(), &environment(), &mut Vec::new())
        .ok_or_else(|| bad("weir.yaml has errors: `weir check` shows them"))?;
    let old = git::tree(folder, reference)
        .map_err(|error| CliError::new(Exit::Usage, format!("reading {reference}: {error}")))?;
    let old = old.into_iter().map(|(name, text)| (folder.join(name).display().to_string(), text));
    let (before, after) = (load(old, &loaded)?, load(texts.clone(), &loaded)?);
    let (pinned, gone, known) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let in_force = BTreeSet::new();
    let files = |loading| Files { loading, pinned: &pinned, in_force: &in_force, gone: &gone, known: &known };
    let before = change::settle(&BTreeMap::new(), files(&before)).wanted;
    Ok(answers::planned(&plan::plan(&before, files(&after)), |_| (0, 0, 0)))
}

fn load(
    texts: impl IntoIterator<Item = (String, String)>,
    loaded: &runtime::Loaded,
) -> Result<Loading, CliError> {
    let texts = texts.into_iter().map(|(name, text)| Source::new(name, text)).collect();
    let bad =
        |what: &str| CliError::new(Exit::BadConfig, format!("`{what}` has errors: `weir check` shows them"));
    let egress = Egress::new(&loaded.egress, &[]).map_err(|_| bad("egress"))?;
    let registry = registry::connect(loaded).map_err(|_| bad("registry"))?.map(|registry| registry.client);
    let mut loader =
        Loader::new(From::Texts(texts), Arc::new(loaded.settings.clone()), Arc::new(egress), registry);
    // Texts are there.
    loader.load().map_err(|error| CliError::new(Exit::Bug, error.to_string()))
}
