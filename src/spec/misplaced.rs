//! A key that stands where it does not belong: said with the place where it does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::diagnostic::Diagnostic;

/// How deep a schema is looked into: `handler.webhook.auth.oauth2.scopes`, and a little more.
const DEPTH: usize = 8;
/// How many places are named.
const PLACES: usize = 3;
/// So many fields of the place where the key stands are named too.
const FIELDS: usize = 10;

/// Adds to each unknown field without a better guess where a field of that name is: `timeout` is one of
/// `handler.webhook`. `schema` is that of the whole file.
pub(super) fn say(findings: &mut [Diagnostic], schema: impl FnOnce() -> Value) {
    let unknown = |finding: &&mut Diagnostic| {
        finding.code == "W0104"
            && finding.help.as_deref().is_some_and(|help| help.starts_with("the fields are "))
    };
    let mut unknown: Vec<&mut Diagnostic> = findings.iter_mut().filter(unknown).collect();
    if unknown.is_empty() {
        return;
    }
    let schema = schema();
    let mut homes = BTreeMap::new();
    collect(&schema, &schema, &mut Vec::new(), &mut homes);
    for finding in &mut unknown {
        let key = finding.primary.source.slice(finding.primary.span);
        // `broker` for `brokers`; a guess from further away would be a riddle.
        let plural = format!("{key}s");
        let found = [key, plural.as_str()].into_iter().find_map(|key| Some((key, homes.get(key)?)));
        let Some((key, places)) = found else { continue };
        let named: Vec<String> = places.iter().take(PLACES).map(|place| format!("`{place}`")).collect();
        let home = format!("`{key}` is a field of {}", named.join(", "));
        let here = finding.help.take().filter(|fields| fields.matches(',').count() < FIELDS);
        finding.help = Some(here.map_or_else(|| home.clone(), |fields| format!("{home}; here {fields}")));
    }
}

/// The paths of the mappings that have a field of each name, the shortest first; fields of the file itself have none.
fn collect(root: &Value, schema: &Value, path: &mut Vec<String>, homes: &mut BTreeMap<String, Vec<String>>) {
    if path.len() > DEPTH {
        return;
    }
    if let Some(inner) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?))
    {
        collect(root, inner, path, homes);
    }
    for forms in ["anyOf", "oneOf", "allOf"] {
        for form in schema.get(forms).and_then(Value::as_array).into_iter().flatten() {
            collect(root, form, path, homes);
        }
    }
    if let Some(items) = schema.get("items") {
        collect(root, items, path, homes);
    }
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if !path.is_empty() {
            let places = homes.entry(key.clone()).or_default();
            let place = path.join(".");
            if !places.contains(&place) {
                places.push(place);
                places.sort_by_key(|place| place.matches('.').count());
            }
        }
        path.push(key.clone());
        collect(root, inner, path, homes);
        path.pop();
    }
}
