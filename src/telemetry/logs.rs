//! Log lines: text or JSON, on stderr. A fixed message, values as fields. INFO is lifecycle, WARN what mends itself, ERROR
//! what needs a person, DEBUG single records. Secrets stay out because their types print as `***`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The form.
    pub format: Format,
    /// A level, or directives such as `info,weir::kafka=debug`.
    pub filter: String,
    /// Whether to colour; only text has colours.
    pub color: bool,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs { format: Format::Text, filter: "info".to_owned(), color: std::io::stderr().is_terminal() }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error(
        "`{filter}` is not a log filter: {why}; write a level (info) or directives (info,weir::kafka=debug)"
    )]
    Filter {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Twice,
}

impl Logs {
    /// Makes log lines of this process go to stderr. Once per process.
    pub fn init(&self) -> Result<(), LogsError> {
        self.subscriber(std::io::stderr)?.try_init().map_err(|_| LogsError::Twice)
    }

    /// A subscriber that writes elsewhere: for tests.
    pub fn subscriber<W>(&self, writer: W) -> Result<tracing::Dispatch, LogsError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        // Extism logs an error of its own for each failed call, with the plugin's text: the failure is told elsewhere.
        let quiet = if self.filter.contains("extism") { "" } else { ",extism=off" };
        let filter = EnvFilter::try_new(format!("{}{quiet}", self.filter))
            .map_err(|why| LogsError::Filter { filter: self.filter.clone(), why: why.to_string() })?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        Ok(match self.format {
            Format::Text => builder.with_ansi(self.color).with_target(false).finish().into(),
            Format::Json => builder.json().flatten_event(true).with_current_span(true).finish().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str) -> String {
        let sink = Sink::default();
        let logs = Logs { format, filter: filter.into(), color: false };
        let writer = sink.clone();
        let subscriber = logs.subscriber(move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&subscriber, || {
            tracing::info!(stage = "booking.payment", attempts = 3, "stage holds");
            tracing::debug!("a single record");
            tracing::error!(target: "extism::plugin", "call to transform returned with error message");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_one_object_with_the_values_as_fields() {
        let text = logged(Format::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "stage holds");
        assert_eq!((&line["stage"], &line["attempts"]), (&"booking.payment".into(), &3.into()));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn text_has_no_colour_unless_told_and_the_filter_decides() {
        let text = logged(Format::Text, "info");
        assert!(text.contains("INFO stage holds stage=\"booking.payment\" attempts=3"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("single"), "{text}");
        assert!(!text.contains("returned with error"), "{text}");
        assert!(logged(Format::Text, "info,extism=error").contains("returned with error"));
        assert!(logged(Format::Text, "weir=debug").contains("a single record"));
        assert!(Logs { filter: "weir=loud".into(), ..Logs::default() }.subscriber(std::io::sink).is_err());
    }
}
