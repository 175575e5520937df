//! A guest: a fenced module, its instances, and how one is called.
//!
//! Where a call runs. A call takes microseconds, and a hop to another thread would double that, so it runs on the thread of
//! the task that wants it. A guest that is slow (a call longer than a millisecond, or a wait for an instance) is taken off the
//! runtime's threads for the next second: `block_in_place` lets another thread go on with the other tasks. So a guest that
//! loops holds up a thread of the runtime once, for as long as it may run; the calls behind it hold up nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use extism::{CompiledPlugin, DebugOptions, Error, Manifest, Plugin, PluginBuilder, UserData, Wasm};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::fence::{self, Fenced};
use super::host::{self, Notes, OURS};
use super::pool::{PATIENCE, Pool};
use super::{About, Called, Fault, Grant, Limits, Refused, Wanted};
use crate::telemetry::clock;

const SHIM: &str = include_str!("shim.wat");
const SHIM_OF_USER: &str = include_str!("user.wat");

/// A call longer than this makes a guest slow.
const SLOW: Duration = Duration::from_millis(1);
/// For how long.
const STAYS_SLOW: Duration = Duration::from_secs(1);
/// How often what a guest begins with is tried: on a loaded machine it may run out of time.
const BEGIN_TRIES: u32 = 3;
/// The most instances of a guest.
const MAX_INSTANCES: usize = 16;

/// A guest. Calls may come from several threads at once.
pub struct Guest {
    name: Arc<str>,
    recipe: Recipe,
    about: About,
    limits: Limits,
    pool: Pool<Slot>,
    slow_until: Mutex<Option<Instant>>,
}

/// What instances are made of.
struct Recipe {
    manifest: Manifest,
    wasi: bool,
    begins: Vec<String>,
    name: Arc<str>,
    secrets: Arc<[String]>,
}

/// One engine, the compiled guest, and an instance while none has failed.
struct Slot {
    compiled: CompiledPlugin,
    instance: Option<Instance>,
    notes: UserData<Notes>,
}

struct Instance {
    plugin: Plugin,
    calls: u64,
}

impl Guest {
    /// Fences and compiles a module, and makes its first instance.
    pub(super) fn load(
        name: &str,
        bytes: &[u8],
        wanted: &Wanted<'_>,
        grant: &Grant,
    ) -> Result<Guest, Refused> {
        let Wanted { config, limits, .. } = wanted;
        let limits = *limits;
        let pages = limits.memory / 65_536;
        let fenced = fence::fence(bytes, pages)?;
        let about = About {
            size: bytes.len(),
            functions: fenced.functions.clone(),
            imports: fenced.imports.clone(),
            wasi: fenced.wasi(),
            memory: fenced.pages * 65_536,
        };
        let name: Arc<str> = name.into();
        let recipe = Recipe {
            wasi: about.wasi,
            begins: fenced.begins.clone(),
            manifest: manifest(fenced, pages, config, limits, grant),
            name: Arc::clone(&name),
            secrets: wanted.secrets.as_slice().into(),
        };
        let slot = recipe.slot().map_err(|why| Refused::new(why, "see what docs/plugins.md says of this"))?;
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_INSTANCES);
        Ok(Guest { name, recipe, about, limits, pool: Pool::new(slot, most), slow_until: Mutex::default() })
    }

    /// Whether it exports a function that can be called.
    pub(super) fn has(&self, function: &str) -> Result<(), Refused> {
        let mut lent = self.aside(|| self.pool.wait(|| self.recipe.slot().ok()));
        let instance = lent.as_mut().and_then(|lent| lent.get()?.instance.as_ref());
        if instance.is_some_and(|instance| instance.plugin.function_exists(function)) {
            return Ok(());
        }
        let known = self.about.functions.iter().any(|known| known == function);
        let (message, help) = if known {
            let message = format!("`{function}` of the plugin takes or gives other than an i32 code");
            (
                message,
                "export a function without parameters that gives an i32, as Extism's PDKs do".to_owned(),
            )
        } else {
            let all =
                self.about.functions.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let all = if all.is_empty() { "none".to_owned() } else { all };
            (
                format!("the plugin has no function `{function}`"),
                format!("name one with `function`; it has {all}"),
            )
        };
        Err(Refused { message, help, function: true })
    }

    /// Its file, below the plugins' folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the module is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Calls an exported function. Blocks for as long as a call may take.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn call(&self, function: &str, input: &[u8]) -> Result<Called, Fault> {
        let idle = self.pool.idle();
        if idle.is_some() && !self.is_slow() {
            return self.call_with(idle, function, input);
        }
        self.aside(|| {
            let lent = idle.or_else(|| self.pool.wait(|| self.recipe.slot().ok()));
            self.call_with(lent, function, input)
        })
    }

    fn call_with(
        &self,
        lent: Option<super::pool::Lent<'_, Slot>>,
        function: &str,
        input: &[u8],
    ) -> Result<Called, Fault> {
        let mut lent = lent.ok_or(Fault::Busy(PATIENCE))?;
        let slot = lent.get().ok_or(Fault::Busy(PATIENCE))?;
        let began = clock::now();
        let used = slot.instance.as_ref().is_some_and(|instance| instance.calls > 0);
        let mut result = slot.call(&self.recipe, self.limits, function, input);
        let mut took = clock::now().saturating_duration_since(began);
        let again = match &result {
            // What earlier calls have left behind is no fault of this record.
            Err(Fault::Memory(_)) => used,
            // A time-out that was meant for the call before, which has ended in the same moment.
            Err(Fault::Timeout(limit)) => took < *limit / 2,
            _ => false,
        };
        if again {
            result = slot.call(&self.recipe, self.limits, function, input);
            took = clock::now().saturating_duration_since(began);
        }
        // One that ends at once with this word twice says it itself.
        if again && matches!(&result, Err(Fault::Timeout(_))) && took < self.limits.timeout / 2 {
            result = Err(Fault::Said("timeout".to_owned()));
        }
        if took > SLOW {
            *self.slow_until.lock().unwrap_or_else(PoisonError::into_inner) =
                began.checked_add(took + STAYS_SLOW);
        }
        result
    }

    fn is_slow(&self) -> bool {
        let until = *self.slow_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| clock::now() < until)
    }

    /// Runs what may take long so that the other tasks of this thread go on elsewhere. A runtime of one thread has no
    /// elsewhere (tests).
    fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(work)
            }
            Ok(_) | Err(_) => work(),
        }
    }
}

impl fmt::Debug for Guest {
    /// Its configuration may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn manifest(
    fenced: Fenced,
    pages: u64,
    config: &BTreeMap<String, String>,
    limits: Limits,
    grant: &Grant,
) -> Manifest {
    let modules = [
        Wasm::data(SHIM.as_bytes()).with_name(fence::ENV),
        Wasm::data(SHIM_OF_USER.as_bytes()).with_name(fence::USER),
        Wasm::data(fenced.bytes).with_name("main"),
    ];
    let files = grant.files.iter().map(|(host, guest)| (format!("ro:{}", host.display()), guest.into()));
    let mut manifest = Manifest::new(modules)
        .with_memory_max(u32::try_from(pages).unwrap_or(u32::MAX))
        .with_timeout(limits.timeout)
        .with_config(config.iter())
        .with_allowed_paths(files)
        .disallow_all_hosts();
    manifest.memory.max_var_bytes = Some(0);
    manifest
}

impl Recipe {
    /// Compiles, and makes an instance. Takes seconds for a large module.
    fn slot(&self) -> Result<Slot, String> {
        let notes = UserData::new(Notes::new(Arc::clone(&self.name), Arc::clone(&self.secrets)));
        let quiet = DebugOptions {
            profiling_strategy: wasmtime::ProfilingStrategy::None,
            coredump: None,
            memdump: None,
            debug_info: false,
        };
        let builder = PluginBuilder::new(&self.manifest)
            .with_wasi(self.wasi)
            .with_debug_options(quiet)
            .with_cache_disabled();
        let compiled = host::add(builder, &notes, self.wasi)
            .compile()
            .map_err(|why| format!("the module does not compile: {}", self.reason(&why)))?;
        let mut slot = Slot { compiled, instance: None, notes };
        slot.instance = Some(slot.begin(self)?);
        Ok(slot)
    }

    fn fault(&self, why: &Error, limits: Limits) -> Fault {
        let text = why.root_cause().to_string();
        if is_timeout(why) {
            return Fault::Timeout(limits.timeout);
        }
        let exhausted =
            text.starts_with("failed to allocate extism memory") || text.ends_with(" out of memory");
        if text == "oom" || exhausted {
            return Fault::Memory(limits.memory);
        }
        if let Some(ours) = text.strip_prefix(OURS) {
            return Fault::Refused(host::shown(ours, 200, &self.secrets));
        }
        if let Some(code) = text.strip_prefix("Returned non-zero exit code: ") {
            return Fault::Code(code.parse().unwrap_or(-1));
        }
        match text.strip_prefix("wasm trap: ") {
            Some(trap) => Fault::Trap(host::shown(trap, 200, &self.secrets)),
            None => Fault::Said(host::shown(&text, 200, &self.secrets)),
        }
    }

    /// What is at the bottom of an error, in one line.
    fn reason(&self, why: &Error) -> String {
        let text = why.root_cause().to_string();
        let text = text.strip_prefix(OURS).unwrap_or(&text);
        if text == "oom" {
            return "it needs more memory than it may have".to_owned();
        }
        host::shown(text, 300, &self.secrets)
    }
}

impl Slot {
    /// A new instance, on which what the guest begins with has run.
    fn begin(&self, recipe: &Recipe) -> Result<Instance, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut plugin = Plugin::new_from_compiled(&self.compiled)
                .map_err(|why| format!("the module cannot be started: {}", recipe.reason(&why)))?;
            let began = recipe.begins.iter().try_for_each(|name| plugin.call::<&[u8], ()>(name, b""));
            match began {
                Ok(()) => return Ok(Instance { plugin, calls: 0 }),
                Err(why) if is_timeout(&why) && tries < BEGIN_TRIES => {}
                Err(why) => {
                    return Err(format!("what the plugin begins with fails: {}", recipe.reason(&why)));
                }
            }
        }
    }

    fn call(
        &mut self,
        recipe: &Recipe,
        limits: Limits,
        function: &str,
        input: &[u8],
    ) -> Result<Called, Fault> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.begin(recipe).map_err(Fault::Refused)?,
        };
        self.counts();
        instance.calls += 1;
        let output = match instance.plugin.call::<&[u8], &[u8]>(function, input) {
            // What the shim sets before the guest has set anything: a byte of the kernel's. No JSON is one of these.
            Ok([] | [0..=2]) => return Err(Fault::NoOutput),
            Ok(output) if output.len() > limits.max_output => {
                return Err(Fault::TooLong(output.len(), limits.max_output));
            }
            Ok(output) => output.to_vec(),
            Err(why) => return Err(recipe.fault(&why, limits)),
        };
        let called = Called { output, counts: self.counts() };
        // Any failure has left it somewhere inside: then it is dropped, and the next call gets a new one.
        self.instance = Some(instance);
        Ok(called)
    }

    /// What was counted since the last time.
    fn counts(&self) -> Vec<(String, u64)> {
        let Ok(notes) = self.notes.get() else { return Vec::new() };
        std::mem::take(&mut notes.lock().unwrap_or_else(PoisonError::into_inner).counts)
    }
}

/// Whether a call was ended by its time limit; also where a function of the kernel was under way.
fn is_timeout(why: &Error) -> bool {
    why.to_string() == "timeout" || why.root_cause().to_string() == "wasm trap: interrupt"
}
