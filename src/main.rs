//! The `weir` binary: everything is in the library, so that tests reach it.

fn main() -> std::process::ExitCode {
    weir::cli::main().into()
}
