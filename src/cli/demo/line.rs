//! One line for each finished record.

use std::fmt::Write;
use std::time::SystemTime;

use crate::outcome::Outcome;
use crate::runtime::status::Finished;

/// The longest key that is shown.
const KEY_CHARACTERS: usize = 24;

/// `time  stage  position  key  outcome  attempts  code`, without a line end. Colour never carries meaning alone: each
/// outcome has its word.
pub(crate) fn line(finished: &Finished, at: SystemTime, color: bool) -> String {
    let clock = jiff::Timestamp::try_from(at).unwrap_or_default();
    let clock: String = format!("{clock:.3}").chars().skip(11).take(12).collect();
    // Control characters of a key must not reach the terminal.
    let key: String = finished
        .key
        .as_deref()
        .unwrap_or("-")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(KEY_CHARACTERS)
        .collect();
    let (service, position) = (&finished.service, &finished.position);
    let word = finished.outcome.as_str();
    let paint = match finished.outcome {
        Outcome::Delivered => "32",
        Outcome::Filtered(_) | Outcome::Discarded(_) => "2",
        Outcome::DeadLettered(..) => "31",
    };
    let outcome = if color { format!("\u{1b}[{paint}m{word:<13}\u{1b}[0m") } else { format!("{word:<13}") };
    let mut text = format!("{clock}  {service:<20}  {position:<24}  {key:<8}  {outcome}");
    match finished.attempts {
        0 => {}
        1 => text.push_str("  1 attempt"),
        more => write!(text, "  {more} attempts").unwrap_or_default(),
    }
    match finished.outcome {
        Outcome::DeadLettered(reason, code) => {
            write!(text, "  {}, {}", reason.as_str(), code.as_str()).unwrap_or_default();
        }
        Outcome::Discarded(code) => write!(text, "  {}", code.as_str()).unwrap_or_default(),
        Outcome::Delivered | Outcome::Filtered(_) => {}
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Code, Filter, Reason};
    use std::time::{Duration, UNIX_EPOCH};

    fn shown(key: Option<&str>, outcome: Outcome, attempts: u32, color: bool) -> String {
        let finished = Finished {
            service: "order-billing".into(),
            position: "shop.orders.v1/2/17".into(),
            key: key.map(str::to_owned),
            outcome,
            attempts,
            published: 0,
        };
        line(&finished, UNIX_EPOCH + Duration::from_millis(45_296_789), color)
    }

    #[test]
    fn a_line_says_when_where_what_and_why() {
        assert_eq!(
            shown(Some("c-07"), Outcome::DeadLettered(Reason::Rejected, Code::Status), 1, false),
            "12:34:56.789  order-billing         shop.orders.v1/2/17       c-07      dead_lettered  1 attempt  rejected, status"
        );
        assert_eq!(
            shown(None, Outcome::Filtered(Filter::Condition), 0, false),
            "12:34:56.789  order-billing         shop.orders.v1/2/17       -         filtered"
        );
        assert!(
            shown(None, Outcome::Delivered, 3, true)
                .ends_with("\u{1b}[32mdelivered    \u{1b}[0m  3 attempts")
        );
    }

    #[test]
    fn a_key_cannot_paint_on_the_terminal() {
        let text = shown(Some("\u{1b}[2Jgone\n"), Outcome::Delivered, 1, false);
        assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text:?}");
    }
}
