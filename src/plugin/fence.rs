//! Makes a guest's module one that can be run: validates it, refuses what has no bound, and rewrites what would run or grow
//! outside of the limits.
//!
//! Three things are rewritten, because Extism runs a module's start before it begins to count time and memory:
//! - What runs on its own (the `start` section, `_initialize`) becomes an exported function that is called like any other.
//! - Memory and tables get a maximum. Extism's limiter does not look at tables that have none, nor at the first instance.
//! - What it imports from Extism it imports from `shim.wat` instead: see there. Both names are as long as the ones they replace.

use wasmparser::{
    ExternalKind, Imports, Parser, Payload, RefType, TypeRef, Validator, WasmFeatures, WasmFeatures as W,
};

use super::{Refused, file};

/// The module of WebAssembly that `shim.wat` is.
pub(super) const ENV: &str = "weir:plugin/env";
/// The one that `user.wat` is.
pub(super) const USER: &str = "weir:plugin/user";
/// WASI's functions.
pub(super) const WASI: &str = "wasi_snapshot_preview1";
/// What a module's own beginning is exported as.
const START: &str = "_weir_start";
/// What is called before anything else, in this order; and what it was called.
const BEGINS: [(&str, &str); 2] =
    [("_initialize", "_weir_init_"), ("__wasm_call_ctors", "_weir_call_ctors_")];
/// Another such name, which is not called: Extism would run it without a limit.
const UNCALLED: (&str, &str) = ("hs_init", "_hsinit");

/// The most entries of all tables of a module together.
const MAX_TABLE: u64 = 1 << 18;

/// What a guest may be made of: what compilers emit today. No threads (a wait has no end), no garbage collection and no
/// second memory (nobody counts them), no exceptions.
const FEATURES: WasmFeatures = W::WASM2
    .union(W::EXTENDED_CONST)
    .union(W::TAIL_CALL)
    .union(W::RELAXED_SIMD)
    .union(W::CALL_INDIRECT_OVERLONG);

/// A module that can be run.
#[derive(Debug, Clone, Default)]
pub(super) struct Fenced {
    /// The rewritten module.
    pub(super) bytes: Vec<u8>,
    /// What is to be called first.
    pub(super) begins: Vec<String>,
    /// Its exported functions.
    pub(super) functions: Vec<String>,
    /// What it imports: module and name.
    pub(super) imports: Vec<(String, String)>,
    /// The memory that it begins with, in pages of 64 KiB.
    pub(super) pages: u64,
}

impl Fenced {
    /// Whether it needs WASI.
    pub(super) fn wasi(&self) -> bool {
        self.imports.iter().any(|(module, _)| module == WASI)
    }
}

/// Fences a module; `pages`: the memory that it may have.
pub(super) fn fence(bytes: &[u8], pages: u64) -> Result<Fenced, Refused> {
    file::is_module(bytes).map_err(|why| {
        Refused::new(format!("the file {why}"), "build one, as docs/plugins.md shows, or name another file")
    })?;
    Validator::new_with_features(FEATURES).validate_all(bytes).map_err(|why| {
        let help = "build it for WebAssembly 2 without threads, garbage collection and exceptions";
        Refused::new(format!("the module is not valid: {}", why.message()), help)
    })?;
    let mut out = Fenced { bytes: bytes.get(..8).unwrap_or_default().to_vec(), ..Fenced::default() };
    let start = start_of(bytes)?;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(unreadable)?;
        match &payload {
            Payload::ImportSection(_) => out.imports(bytes, &payload)?,
            Payload::MemorySection(_) => out.memory(&payload, pages)?,
            Payload::TableSection(_) => out.tables(&payload)?,
            Payload::ExportSection(_) => out.exports(bytes, &payload, start)?,
            // The start has become an export; names and the like are for debuggers.
            Payload::StartSection { .. } | Payload::CustomSection(_) => {}
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    out.section(id, bytes.get(range).unwrap_or_default());
                }
            }
        }
    }
    out.begins = out.functions.iter().filter(|name| name.starts_with("_weir_")).cloned().collect();
    // `_initialize` does what the constructors do; where there are both it calls them.
    let init = BEGINS.map(|(_, name)| name);
    if out.begins.iter().any(|name| name == init[0]) {
        out.begins.retain(|name| name != init[1]);
    }
    out.begins.sort_by_key(|name| name != START);
    out.functions.retain(|name| !name.starts_with("_weir_"));
    Ok(out)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls takes a value")]
fn unreadable(why: wasmparser::BinaryReaderError) -> Refused {
    Refused::new(format!("the module cannot be read: {}", why.message()), "build it again")
}

fn start_of(bytes: &[u8]) -> Result<Option<u32>, Refused> {
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::StartSection { func, .. } = payload.map_err(unreadable)? {
            return Ok(Some(func));
        }
    }
    Ok(None)
}

impl Fenced {
    fn section(&mut self, id: u8, payload: &[u8]) {
        self.bytes.push(id);
        leb(&mut self.bytes, length(payload));
        self.bytes.extend_from_slice(payload);
    }

    fn imports(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Refused> {
        let Payload::ImportSection(reader) = payload else { return Ok(()) };
        let range = reader.range();
        let mut section = bytes.get(range.clone()).unwrap_or_default().to_vec();
        for import in reader.clone() {
            let Imports::Single(_, import) = import.map_err(unreadable)? else { continue };
            if !matches!(import.ty, TypeRef::Func(_)) {
                let message = format!(
                    "the module imports `{}` of `{}`, which is no function",
                    import.name, import.module
                );
                return Err(Refused::new(message, "build it with a memory and tables of its own"));
            }
            let renamed = match import.module {
                extism::EXTISM_ENV_MODULE => Some(ENV),
                extism::EXTISM_USER_MODULE => Some(USER),
                WASI => None,
                other => {
                    let message = format!(
                        "the module imports `{}` of `{other}`, which Weir does not have",
                        import.name
                    );
                    let help = "a plugin may import Extism's functions, `weir_count` of extism:host/user, and WASI's";
                    return Err(Refused::new(message, help));
                }
            };
            if let Some(renamed) = renamed {
                patch(&mut section, bytes, range.start, import.module, renamed);
            }
            self.imports.push((import.module.to_owned(), import.name.to_owned()));
        }
        self.section(2, &section);
        Ok(())
    }

    fn memory(&mut self, payload: &Payload<'_>, pages: u64) -> Result<(), Refused> {
        let Payload::MemorySection(reader) = payload else { return Ok(()) };
        let mut section = Vec::new();
        leb(&mut section, u64::from(reader.count()));
        for memory in reader.clone() {
            let memory = memory.map_err(unreadable)?;
            self.pages = memory.initial;
            if memory.initial > pages {
                let message = format!(
                    "the module begins with {} KiB of memory, and may have {} KiB",
                    memory.initial * 64,
                    pages * 64
                );
                return Err(Refused::new(message, "give it more with `memory`, or build it with less"));
            }
            // Flags: it has a maximum, is not shared, and is addressed by 32 bits.
            section.push(1);
            leb(&mut section, memory.initial);
            leb(&mut section, memory.maximum.unwrap_or(pages).min(pages));
        }
        self.section(5, &section);
        Ok(())
    }

    fn tables(&mut self, payload: &Payload<'_>) -> Result<(), Refused> {
        let Payload::TableSection(reader) = payload else { return Ok(()) };
        let tables: Vec<_> = reader.clone().into_iter().collect::<Result<_, _>>().map_err(unreadable)?;
        let total = tables.iter().map(|table| table.ty.initial).fold(0, u64::saturating_add);
        if total > MAX_TABLE {
            let message = format!("the module's tables have {total} entries, and may have {MAX_TABLE}");
            return Err(Refused::new(message, "build it with fewer functions that are called indirectly"));
        }
        let room = MAX_TABLE.saturating_sub(total) / u64::try_from(tables.len().max(1)).unwrap_or(1);
        let mut section = Vec::new();
        leb(&mut section, u64::from(reader.count()));
        for table in tables {
            section.push(if table.ty.element_type == RefType::FUNCREF { 0x70 } else { 0x6f });
            section.push(1);
            leb(&mut section, table.ty.initial);
            let most = table.ty.initial + room;
            leb(&mut section, table.ty.maximum.unwrap_or(most).min(most));
        }
        self.section(4, &section);
        Ok(())
    }

    fn exports(&mut self, bytes: &[u8], payload: &Payload<'_>, start: Option<u32>) -> Result<(), Refused> {
        let Payload::ExportSection(reader) = payload else { return Ok(()) };
        let range = reader.range();
        let whole = bytes.get(range.clone()).unwrap_or_default();
        // Behind the count, which may be written longer than it need be.
        let skip = whole.iter().position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
        let (_, entries) = whole.split_at_checked(skip).unwrap_or_default();
        let mut entries = entries.to_vec();
        for export in reader.clone() {
            let export = export.map_err(unreadable)?;
            if export.name.starts_with("_weir_") {
                let message = format!("the module exports `{}`, a name that is Weir's", export.name);
                return Err(Refused::new(message, "give it another name"));
            }
            let renamed = BEGINS.iter().chain([&UNCALLED]).find(|(name, _)| *name == export.name);
            if let Some((_, renamed)) = renamed {
                patch(&mut entries, bytes, range.start + skip, export.name, renamed);
            }
            if export.kind == ExternalKind::Func {
                self.functions.push(renamed.map_or(export.name, |(_, renamed)| renamed).to_owned());
            }
        }
        if let Some(function) = start {
            leb(&mut entries, length(START.as_bytes()));
            entries.extend_from_slice(START.as_bytes());
            entries.push(0);
            leb(&mut entries, u64::from(function));
            self.functions.push(START.to_owned());
        }
        let mut section = Vec::new();
        leb(&mut section, u64::from(reader.count()) + u64::from(start.is_some()));
        section.extend_from_slice(&entries);
        self.section(7, &section);
        Ok(())
    }
}

/// Writes `renamed` over a name of the same length that lies in `bytes`; `copy` is what stands there from `start` on.
fn patch(copy: &mut [u8], bytes: &[u8], start: usize, name: &str, renamed: &str) {
    // Where the name lies, it says itself: it is a part of `bytes`.
    let at = (name.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize).wrapping_sub(start);
    if let Some(place) =
        copy.get_mut(at..at.saturating_add(renamed.len())).filter(|_| name.len() == renamed.len())
    {
        place.copy_from_slice(renamed.as_bytes());
    }
}

/// A number as WebAssembly writes it.
fn leb(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
