//! The schema and the page of the language say all that the parser knows, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::policy::{
    parse::{
        SUBJECT_KEYS, TOP_KEYS,
        dns::DNS_KEYS,
        escalation::ESCALATION_KEYS,
        label::LABEL_KEYS,
        mask::MASK_KEYS,
        person::REVIEWER_KEYS,
        rule::{CONNECT_KEYS, EXEC_KEYS, OPEN_KEYS, RULE_KEYS},
    },
    schema,
};

/// Where each table's keys are in the schema.
fn tables_of_keys() -> [(&'static str, Vec<&'static str>); 11] {
    [
        ("", TOP_KEYS.to_vec()),
        ("/$defs/label", LABEL_KEYS.to_vec()),
        ("/$defs/dns", DNS_KEYS.to_vec()),
        ("/$defs/mask", MASK_KEYS.to_vec()),
        ("/$defs/reviewer", REVIEWER_KEYS.to_vec()),
        ("/$defs/subject", SUBJECT_KEYS.to_vec()),
        ("/$defs/rule", RULE_KEYS.to_vec()),
        ("/$defs/escalation", ESCALATION_KEYS.to_vec()),
        ("/$defs/open", OPEN_KEYS.to_vec()),
        ("/$defs/exec", EXEC_KEYS.to_vec()),
        ("/$defs/connect", CONNECT_KEYS.to_vec()),
    ]
}

#[test]
fn the_schema_has_the_keys_of_the_parser() {
    let schema = schema();
    for (place, keys) in tables_of_keys() {
        let table = schema.pointer(place).expect("a table");
        let known: BTreeSet<_> = table["properties"].as_object().expect("keys").keys().map(String::as_str).collect();
        assert_eq!(known, keys.into_iter().collect(), "{place}");
        assert_eq!(table["additionalProperties"], false, "{place}");
    }
}

#[test]
fn the_page_has_the_keys_of_the_parser() {
    let page = std::fs::read_to_string(format!("{}/../docs/policy.md", env!("CARGO_MANIFEST_DIR"))).expect("the page");
    for key in tables_of_keys().iter().flat_map(|(_, keys)| keys) {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
    for system in holdpoint_common::system::System::ALL {
        assert!(page.contains(&format!("`{}`", system.word())), "{}", system.word());
    }
}

/// What is wrong with `value` by `shape`, as far as the words go that the schema uses most.
fn flaw(schema: &Value, shape: &Value, value: &toml::Value) -> Option<String> {
    if let Some(place) = shape["$ref"].as_str() {
        return flaw(schema, schema.pointer(place.trim_start_matches('#')).expect("a definition"), value);
    }
    let all = shape["allOf"].as_array().into_iter().flatten();
    if let Some(found) = all.filter_map(|shape| flaw(schema, shape, value)).next() {
        return Some(found);
    }
    if shape["enum"].as_array().is_some_and(|known| !known.iter().any(|known| known.as_str() == value.as_str())) {
        return Some(format!("{value} is not among {}", shape["enum"]));
    }
    match (shape["type"].as_str(), value) {
        (Some("object"), toml::Value::Table(table)) => table.iter().find_map(|(key, value)| {
            let shape = shape["properties"].get(key).or_else(|| shape.get("additionalProperties"))?;
            if shape == false { Some(format!("no key {key}")) } else { flaw(schema, shape, value) }
        }),
        (Some("array"), toml::Value::Array(list)) => list.iter().find_map(|value| flaw(schema, &shape["items"], value)),
        (Some("string"), toml::Value::String(_)) | (Some("integer"), toml::Value::Integer(_)) | (None, _) => None,
        (Some(wanted), other) => Some(format!("{other} is no {wanted}")),
    }
}

#[test]
fn the_shipped_policies_have_the_shape_of_the_schema() {
    let schema = schema();
    for name in ["default.toml", "demo.toml"] {
        let file = format!("{}/../policies/{name}", env!("CARGO_MANIFEST_DIR"));
        let value = toml::from_str::<toml::Value>(&std::fs::read_to_string(file).expect("a policy")).expect("TOML");
        assert_eq!(flaw(&schema, &schema, &value), None, "{name}");
    }
    let bad = toml::from_str::<toml::Value>("[[rule]]\nname = 7\n").expect("TOML");
    assert!(flaw(&schema, &schema, &bad).is_some());
}
