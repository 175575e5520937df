//! Values side by side: each place in which they differ, with what was expected there and what came.

use serde_json::Value as Json;

use super::judge::Difference;

/// How many differences of one thing are told.
const MOST: usize = 20;
/// How long a value is shown.
const SHOWN: usize = 160;

/// Where two values differ. With `subset` what is not expected may be there.
pub(super) fn values(label: &str, expected: &Json, got: &Json, subset: bool, out: &mut Vec<Difference>) {
    let before = out.len();
    compare(label, expected, got, subset, out);
    out.truncate(before + MOST);
}

fn compare(label: &str, expected: &Json, got: &Json, subset: bool, out: &mut Vec<Difference>) {
    match (expected, got) {
        (Json::Object(expected), Json::Object(got)) => {
            for (key, value) in expected {
                let label = format!("{label}.{key}");
                match got.get(key) {
                    Some(other) => compare(&label, value, other, subset, out),
                    None => out.push(Difference::new(label, shown(value), "nothing")),
                }
            }
            for (key, value) in got.iter().filter(|(key, _)| !subset && !expected.contains_key(*key)) {
                out.push(Difference::new(format!("{label}.{key}"), "nothing", shown(value)));
            }
        }
        (Json::Array(expected), Json::Array(got)) if expected.len() == got.len() => {
            for (at, (value, other)) in expected.iter().zip(got).enumerate() {
                compare(&format!("{label}[{at}]"), value, other, subset, out);
            }
        }
        (expected, got) if same(expected, got) => {}
        (expected, got) => out.push(Difference::new(label, shown(expected), shown(got))),
    }
}

/// Whether two values are one: numbers by what they are, not by how they are written.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(one), Json::Number(other)) => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
            };
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one == other,
                _ => one.as_f64() == other.as_f64(),
            }
        }
        (a, b) => a == b,
    }
}

/// A value on one line.
pub(super) fn shown(value: &Json) -> String {
    short(&value.to_string())
}

/// A text that is not too long for a line.
pub(super) fn short(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head}..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(expected: &Json, got: &Json, subset: bool) -> Vec<String> {
        let mut out = Vec::new();
        values("v", expected, got, subset, &mut out);
        out.into_iter().map(|one| format!("{} {} / {}", one.label, one.expected, one.got)).collect()
    }

    #[test]
    fn each_place_is_told_with_its_path() {
        let expected = json!({ "a": 1, "b": { "c": [1, 2] }, "d": true });
        let got = json!({ "a": 1.0, "b": { "c": [1, 3] }, "e": null });
        assert_eq!(
            told(&expected, &got, false),
            ["v.b.c[1] 2 / 3", "v.d true / nothing", "v.e nothing / null"]
        );
        assert_eq!(told(&expected, &got, true), ["v.b.c[1] 2 / 3", "v.d true / nothing"]);
        assert_eq!(told(&json!([1]), &json!([1, 2]), true), ["v [1] / [1,2]"]);
        assert_eq!(
            told(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64), false).len(),
            1
        );
    }
}
