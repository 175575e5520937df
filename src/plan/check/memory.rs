//! Whether every stage has room in `limits.memory` (M9).

use super::Placed;
use crate::settings::memory;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;
use crate::spec::units::Size;

/// One finding, at the first stage that would not be started.
pub(super) fn check(stages: &[Placed<'_>], memory: u64, findings: &mut Vec<Diagnostic>) {
    let most = memory::most_consumers(memory);
    let Some(first) = stages.get(most) else { return };
    let over = stages.len() - most;
    let place = if first.at == Path::root() { Path::root().then("pipeline") } else { first.at.clone() };
    let said = match over {
        1 => "this one is not started".to_owned(),
        2 => "this one is not started, nor is the one after it".to_owned(),
        _ => format!("this one is not started, nor are {} after it", over - 1),
    };
    let message = format!(
        "`limits.memory` of {} has room for {most} of {} stages: each fetches {} ahead at least",
        Size(memory),
        stages.len(),
        Size(memory::MIN_PREFETCH),
    );
    let finding = Diagnostic::warning("W0604", message, first.document.key_label(&place, said)).with_help(
        format!("set `limits.memory` in weir.yaml to {} or more", Size(memory::needed(stages.len()))),
    );
    findings.push(finding);
}
