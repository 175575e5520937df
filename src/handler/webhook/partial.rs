//! What an answer to a batch says of each of its items.
//!
//! Source: http-contract, section 8.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handler::Notes;
use crate::outcome::{Answer, Class, Code, Failure};

/// What became of one item of a batch that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Accepted.
    Ok,
    /// To be sent again.
    Retry,
    /// Refused for good.
    Drop,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Replied {
    /// The batch as a whole; where it was accepted, a word for each item.
    pub(super) whole: Result<(Answer, Vec<Word>), Failure>,
    /// What was noticed.
    pub(super) notes: Notes,
}

impl Replied {
    /// What became of the item of this index.
    pub(super) fn of(&self, index: usize) -> Result<Answer, Failure> {
        let (answer, words) = self.whole.as_ref().map_err(Clone::clone)?;
        let failed =
            |code, class, message: &str| Err(Failure::new(code, class, message).with_answer(answer.clone()));
        match words.get(index).copied() {
            Some(Word::Ok) => Ok(answer.clone()),
            Some(Word::Retry) | None => {
                let class = Class::Retry { after: None };
                failed(Code::Status, class, "the receiver asked for this item of the batch again")
            }
            Some(Word::Drop) => {
                failed(Code::Aborted, Class::Rejected, "the receiver refused this item of the batch")
            }
        }
    }
}

/// The two forms of a partial answer, before their items are read.
#[derive(Deserialize)]
struct Partial {
    #[serde(rename = "batchItemFailures")]
    failures: Option<Value>,
    statuses: Option<Value>,
}

#[derive(Deserialize)]
struct Failed {
    #[serde(rename = "itemIdentifier")]
    id: String,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    status: Said,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "UPPERCASE")]
enum Said {
    Success,
    Retry,
    Drop,
}

/// A word for each item, in order. An empty or unrelated body says nothing: all are accepted. A list that cannot be read, or
/// names an item that is not there, is an error: nobody knows what the receiver means.
pub(super) fn words(body: &[u8], ids: &[&str]) -> Result<Vec<Word>, String> {
    let partial = serde_json::from_slice::<Partial>(body).ok();
    let (failures, statuses) = partial.map_or((None, None), |partial| (partial.failures, partial.statuses));
    let (mut words, said) = match (failures, statuses) {
        (Some(list @ Value::Array(_)), _) => {
            let failed: Vec<Failed> = read(list, "batchItemFailures")?;
            (vec![Word::Ok; ids.len()], failed.into_iter().map(|item| (item.id, Word::Retry)).collect())
        }
        (_, Some(list @ Value::Array(_))) => {
            let word = |said| match said {
                Said::Success => Word::Ok,
                Said::Retry => Word::Retry,
                Said::Drop => Word::Drop,
            };
            let statuses: Vec<Status> = read(list, "statuses")?;
            let said = statuses.into_iter().map(|item| (item.id, word(item.status))).collect();
            (vec![Word::Retry; ids.len()], said)
        }
        _ => (vec![Word::Ok; ids.len()], Vec::new()),
    };
    for (id, word) in said {
        let mut is_there = false;
        // Two CloudEvents may have one id: what is said of it is said of both.
        for (item, _) in words.iter_mut().zip(ids).filter(|(_, item)| **item == id) {
            *item = word;
            is_there = true;
        }
        if !is_there {
            return Err(format!("the answer names {id:?}, which is not in the batch"));
        }
    }
    Ok(words)
}

fn read<T: DeserializeOwned>(list: Value, name: &str) -> Result<Vec<T>, String> {
    serde_json::from_value(list).map_err(|error| format!("the answer's `{name}` cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::Word::{Drop, Ok as Accepted, Retry};
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let ids = ["a", "b", "c"];
        let of = |body: &str| words(body.as_bytes(), &ids);
        assert_eq!(of(r#"{"batchItemFailures": []}"#).unwrap(), [Accepted; 3]);
        let failures = r#"{"batchItemFailures": [{"itemIdentifier": "b"}]}"#;
        assert_eq!(of(failures).unwrap(), [Accepted, Retry, Accepted]);
        let statuses =
            r#"{"statuses": [{"id": "c", "status": "DROP"}, {"id": "a", "status": "SUCCESS", "x": 1}]}"#;
        assert_eq!(of(statuses).unwrap(), [Accepted, Retry, Drop], "a missing id is to be tried again");
    }

    #[test]
    fn a_body_that_says_nothing_accepts_all() {
        for body in ["", "ok", "null", "[]", "{}", r#"{"received": 3}"#, r#"{"statuses": "fine"}"#] {
            assert_eq!(words(body.as_bytes(), &["a"]).unwrap(), [Accepted], "{body}");
        }
    }

    #[test]
    fn what_nobody_understands_is_an_error() {
        for body in [
            r#"{"batchItemFailures": [{"itemIdentifier": "x"}]}"#,
            r#"{"statuses": [{"id": "a", "status": "SUCCESS"}, {"id": "x", "status": "RETRY"}]}"#,
        ] {
            assert!(words(body.as_bytes(), &["a"]).unwrap_err().contains("\"x\""), "{body}");
        }
        let unread = words(br#"{"statuses": [{"id": "a", "status": "FAILED"}]}"#, &["a"]).unwrap_err();
        assert!(unread.contains("`statuses` cannot be read"), "{unread}");
    }
}
