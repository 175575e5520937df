//! Why a rule is there: the cause of a finding that knows of no closer one.

/// A code, what its message has in it, and why that is refused.
const WHY: &[(&str, &str, &str)] = &[
    ("W0101", "a tab where", "a tab has no agreed width: YAML allows none in an indentation"),
    ("W0101", "no space behind the colon", "without it YAML takes key and value for one word"),
    ("W0103", "is there twice", "one of the two would silently not count"),
    ("W0106", "an item holds one transform", "a mapping has no order, and transforms need one"),
    ("W0113", "several YAML documents", "a pipeline is found by its file: one in each"),
    ("W0116", "stands beside", "a file has its one stage at the top, or several under `stages`"),
    ("W0117", "beside a list of waits", "a list says each wait itself"),
    ("W0117", "shorter than the first wait", "it caps every wait, the first one too"),
    ("W0117", "a first wait of 0s", "every later wait is a multiple of the first"),
    ("W0117", "given up at once", "the time runs from the first attempt"),
    ("W0117", "no attempt would be made", "the first request is an attempt as well"),
    (
        "W0117",
        "holds no record data",
        "its name is settled at the start: no record chooses where dead letters go",
    ),
    ("W0117", "a topic's name is made of", KAFKAS_NAMES),
    ("W0202", "is not a name", "groups, clients and metrics are named after it"),
    ("W0203", "a topic's name is made of", KAFKAS_NAMES),
    ("W0205", "does nothing with them", "its records would be committed and gone"),
    ("W0206", "not in a file of its name", "a pipeline is found by its file"),
    ("W0301", "a template stands", "what stands in a template is an expression already"),
    ("W0302", "this comparison can fail", OTHER_TYPE),
    ("W0303", "not known to be true or false", OTHER_TYPE),
    ("W0304", "a condition may not", "a condition only looks: asking it leaves the record as it is"),
    ("W0304", "can be read, not written", "it is what Kafka said of the record, and stays that"),
    ("W0305", "there is no variable", "a field of the record begins with a full stop, a variable does not"),
    ("W0401", "a record would decide", "it could then write into any topic of the cluster"),
    ("W0402", "are Weir's own", "whoever reads them takes them for Weir's word"),
    ("W0403", "no handler that could answer", "`%response` is what a handler was answered"),
    ("W0505", "looks like a path", "only `{{ }}` makes a template of a text"),
    ("W0507", "may hold its key longer", "records of a key wait for the one before them"),
    ("W0602", "not stand in the file", VERSIONED),
    ("W0603", "sends the password as it is", "whoever listens on the way can read it"),
    ("W0801", "would choose the host", "it could send the request, and its credentials, anywhere"),
    ("W0801", "would choose the first path segment", "it could call what the file never meant"),
    ("W0801", "a user's name in it", "a URL is shown in logs, and its credentials would be too"),
    ("W0801", "not stand in the file", VERSIONED),
    ("W0801", "is outside of the pipeline's folder", "a pipeline reads no other file of the machine"),
    ("W0801", "is written by Weir itself", "receivers rely on what Weir says there"),
    ("W0801", "both write", "one of the two would silently not count"),
    ("W0801", "this comparison can fail", OTHER_TYPE),
    ("W0811", "is outside of its folder", "a pipeline reads no other file of the machine"),
    ("W0812", "no plugin has the network", "a plugin is called for each record, and may wait for nobody"),
    ("W0801", "is not a header name", "HTTP has no such names, and a record decides none"),
];

const KAFKAS_NAMES: &str = "Kafka takes no other characters";
const OTHER_TYPE: &str = "a record may hold a value of another type there";
const VERSIONED: &str = "files are shared and kept in version control";

/// The cause where none is closer; `None` where the message says it all.
pub(super) fn of(code: &str, message: &str) -> Option<String> {
    let row = WHY.iter().find(|(of, part, _)| *of == code && message.contains(part));
    row.map(|(.., why)| (*why).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that no message has any more says nothing to anybody.
    #[test]
    fn each_row_is_of_a_mistake_that_people_make() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/mistakes");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts: Vec<String> = entries.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        for (code, part, _) in WHY {
            let head = format!("[{code}]: ");
            let said = |line: &str| line.contains(&head) && line.contains(part);
            assert!(texts.iter().any(|text| text.lines().any(said)), "{code}: {part}");
        }
    }
}
