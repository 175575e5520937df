//! The `weir` binary: everything is in the library, so that tests reach it.

/// Records are allocated on the poll thread and freed on a worker: what glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir::cli::main().into()
}
