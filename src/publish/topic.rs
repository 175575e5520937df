//! Which names a topic may have that Weir writes to.

/// Why `name` is no topic that Weir writes to; `None` where it is one: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither `.` nor
/// `..`, and not beginning with `__`, which Kafka keeps for itself.
///
/// Source: http-contract, section 9; `org.apache.kafka.common.internals.Topic`.
pub fn fault(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Some("a topic's name is not empty")
    } else if name.len() > 249 {
        Some("a topic's name has at most 249 characters")
    } else if !name.chars().all(legal) {
        Some("a topic's name is made of letters, digits, `.`, `_` and `-`")
    } else if name == "." || name == ".." {
        Some("`.` and `..` are no topic names")
    } else if name.starts_with("__") {
        Some("topics beginning with `__` belong to Kafka itself")
    } else {
        None
    }
}

/// What to do about a name that [`fault`] refuses.
pub fn help(name: &str) -> String {
    let strange = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
    match strange {
        _ if name.contains("{{") => "write the name itself: no record decides it".to_owned(),
        Some(' ') => "take the space out: a name is such as shop.orders.v1".to_owned(),
        Some(strange) => format!("take `{strange}` out: a name is such as shop.orders.v1"),
        None => "write the name of one topic, such as shop.orders.v1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["a", "shop.orders.v1", "A_b-9", "_one", &"x".repeat(249)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in
            ["", ".", "..", "__consumer_offsets", "a b", "a/b", "ä", "a\n", "a{{ .x }}", &"x".repeat(250)]
        {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
