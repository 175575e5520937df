//! Work on a stack of its own: how deeply foreign texts lead a parser is theirs to say, within bounds.

/// Enough for as many levels as [`super::parse`] lets through, many times over.
const STACK: usize = 64 << 20;

/// What the work comes to; a panic is a failure.
pub(super) fn on_a_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        let build = std::thread::Builder::new().name("protobuf-schema".into()).stack_size(STACK);
        let thread = build.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("no thread to read it on: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("its parser has panicked".to_owned()))
    })
}
