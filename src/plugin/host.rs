//! The functions of the host that a guest reaches: it logs, it counts, and it is told what it may not do. What the guest
//! hands over has been copied by `shim.wat`, so that its offsets are honest.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use extism::{CurrentPlugin, Error, PTR, PluginBuilder, UserData, Val, ValType};
use tracing::{debug, error, info, trace, warn};

use super::fence;
use crate::telemetry::clock;

/// Where the shim finds them.
const HOST: &str = "weir:host";
/// What begins a text that is ours, in an error that comes back through Extism.
pub(super) const OURS: &str = "weir: ";
/// How many lines an instance may log within a second.
const LINES: u32 = 10;
/// How many counters one call may count.
const MAX_COUNTS: usize = 32;
/// The longest name of a counter.
const MAX_NAME: usize = 64;

/// What an instance's calls leave behind.
#[derive(Debug)]
pub(super) struct Notes {
    plugin: Arc<str>,
    secrets: Arc<[String]>,
    /// What the call counted.
    pub(super) counts: Vec<(String, u64)>,
    since: Instant,
    lines: u32,
    silenced: u32,
}

impl Notes {
    pub(super) fn new(plugin: Arc<str>, secrets: Arc<[String]>) -> Notes {
        Notes { plugin, secrets, counts: Vec::new(), since: clock::now(), lines: 0, silenced: 0 }
    }

    /// Whether another line may be written.
    fn may_log(&mut self) -> bool {
        let now = clock::now();
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            if self.silenced > 0 {
                warn!(plugin = %self.plugin, lines = self.silenced, "a plugin logs too much: lines were left out");
            }
            (self.since, self.lines, self.silenced) = (now, 0, 0);
        }
        if self.lines < LINES {
            self.lines += 1;
            return true;
        }
        self.silenced += 1;
        false
    }
}

/// Adds the functions to what the plugin is built with. They stand before WASI's of the same names.
pub(super) fn add<'a>(builder: PluginBuilder<'a>, notes: &UserData<Notes>, wasi: bool) -> PluginBuilder<'a> {
    let (i32, i64) = (ValType::I32, ValType::I64);
    let builder = builder
        .with_function_in_namespace(HOST, "log", [i32.clone(), PTR], [], notes.clone(), log)
        .with_function_in_namespace(HOST, "count", [PTR, i64], [], notes.clone(), count)
        .with_function_in_namespace(HOST, "refuse", [i32.clone()], [], notes.clone(), refuse);
    if !wasi {
        return builder;
    }
    let four = [i32.clone(), i32.clone(), i32.clone(), i32.clone()];
    builder
        .with_function_in_namespace(fence::WASI, "poll_oneoff", four, [i32.clone()], notes.clone(), wait)
        .with_function_in_namespace(fence::WASI, "proc_exit", [i32], [], notes.clone(), exit)
}

#[expect(clippy::needless_pass_by_value, reason = "Extism calls it")]
fn log(
    plugin: &mut CurrentPlugin,
    inputs: &[Val],
    _: &mut [Val],
    notes: UserData<Notes>,
) -> Result<(), Error> {
    let [Val::I32(level), block] = inputs else { return Err(ours("it logs nothing")) };
    let notes = notes.get()?;
    let mut notes = notes.lock().map_err(|_| ours("its log is broken"))?;
    if !notes.may_log() {
        return Ok(());
    }
    let text: Vec<u8> = plugin.memory_get_val(block)?;
    let (plugin, text) = (&notes.plugin, shown(&String::from_utf8_lossy(&text), 1_000, &notes.secrets));
    match level {
        0 => trace!(%plugin, text, "a plugin says"),
        1 => debug!(%plugin, text, "a plugin says"),
        2 => info!(%plugin, text, "a plugin says"),
        3 => warn!(%plugin, text, "a plugin says"),
        _ => error!(%plugin, text, "a plugin says"),
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "Extism calls it")]
fn count(
    plugin: &mut CurrentPlugin,
    inputs: &[Val],
    _: &mut [Val],
    notes: UserData<Notes>,
) -> Result<(), Error> {
    let [block, Val::I64(by)] = inputs else { return Err(ours("it counts nothing")) };
    let name: Vec<u8> = plugin.memory_get_val(block)?;
    let legal = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME || !name.iter().all(legal) {
        return Err(ours(format!("it counts under a name that is not 1 to {MAX_NAME} of a-z, 0-9 and _")));
    }
    let by = u64::try_from(*by).map_err(|_| ours("it counts downwards"))?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let notes = notes.get()?;
    let mut notes = notes.lock().map_err(|_| ours("its counters are broken"))?;
    if let Some((_, sum)) = notes.counts.iter_mut().find(|(known, _)| *known == name) {
        *sum = sum.saturating_add(by);
    } else if notes.counts.len() < MAX_COUNTS {
        notes.counts.push((name, by));
    } else {
        return Err(ours(format!("it has more than {MAX_COUNTS} counters")));
    }
    Ok(())
}

fn refuse(_: &mut CurrentPlugin, inputs: &[Val], _: &mut [Val], _: UserData<Notes>) -> Result<(), Error> {
    Err(match inputs {
        // What Extism's own limiter says.
        [Val::I32(0)] => Error::msg("oom"),
        [Val::I32(1)] => ours("it names memory that is not its own"),
        [Val::I32(2)] => ours("it asks for the network, which no plugin has"),
        _ => ours("it keeps variables, which no plugin can: instances come and go"),
    })
}

/// Neither of Extism's limits ends a wait inside of the host.
fn wait(_: &mut CurrentPlugin, _: &[Val], _: &mut [Val], _: UserData<Notes>) -> Result<(), Error> {
    Err(ours("it waits: nothing wakes a plugin while it is called"))
}

/// With the code 0 Extism would take this for success, and go on with an instance that has ended.
fn exit(_: &mut CurrentPlugin, inputs: &[Val], _: &mut [Val], _: UserData<Notes>) -> Result<(), Error> {
    let code = inputs.first().and_then(Val::i32).unwrap_or(-1);
    Err(ours(format!("it has ended itself with the code {code}")))
}

fn ours(text: impl std::fmt::Display) -> Error {
    Error::msg(format!("{OURS}{text}"))
}

/// A guest's text as it may be printed: one line, not too long, and without the secrets of its configuration.
pub(super) fn shown(text: &str, most: usize, secrets: &[String]) -> String {
    let mut text = Cow::Borrowed(text);
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), "***"));
        }
    }
    let mut out: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}
