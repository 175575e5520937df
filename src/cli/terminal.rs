//! What the streams are: results go to stdout, all else to stderr; colour only where that very stream is a terminal.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// Only if the stream is a terminal, `NO_COLOR` is unset and `TERM` is not `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The program's surroundings, as one argument.
pub struct Terminal {
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Everything else.
    pub err: Box<dyn Write + Send>,
    /// Whether `out` is coloured.
    pub out_color: bool,
    /// Whether `err` is coloured.
    pub err_color: bool,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("out_color", &self.out_color)
            .field("err_color", &self.err_color)
            .finish_non_exhaustive()
    }
}

impl Terminal {
    /// The process's own streams.
    pub fn of_process(color: Color) -> Terminal {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Terminal {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_color: decide(color, plain, io::stdout().is_terminal()),
            err_color: decide(color, plain, io::stderr().is_terminal()),
        }
    }
}

fn decide(color: Color, plain: bool, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_the_environment_over_the_stream() {
        for (color, plain, terminal, expected) in [
            (Color::Auto, false, true, true),
            (Color::Auto, false, false, false),
            (Color::Auto, true, true, false),
            (Color::Always, true, false, true),
            (Color::Never, false, true, false),
        ] {
            assert_eq!(decide(color, plain, terminal), expected, "{color:?} {plain} {terminal}");
        }
    }
}
