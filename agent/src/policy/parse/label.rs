//! `[labels]`.

use holdpoint_common::tables::LABELS;
use toml::{Spanned, de::DeValue};

use super::{plain, word};
use crate::policy::{
    Label,
    pattern::Pattern,
    problem::{Flaw, Problem},
    section::{self, Section},
};

/// Keys of a label's table.
pub const LABEL_KEYS: [&str; 2] = ["path", "by"];

/// All labels of the policy.
pub fn read_all(top: &Section<'_>, problems: &mut Vec<Problem>) -> Vec<Label> {
    let mut labels = Vec::new();
    let Some((_, value)) = top.entry("labels") else { return labels };
    let DeValue::Table(table) = value.get_ref() else {
        problems.push(section::wrong_type("labels", "a table", value.get_ref(), value.span()));
        return labels;
    };
    let known: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
    let section = Section::new("[labels]", value.span(), table, &known, problems);
    for (key, value) in section.entries() {
        let name = key.get_ref().to_string();
        if let Err(flaw) = word(&name) {
            problems.push(flaw.at(key.span()));
        }
        let (patterns, lineage) = read(&section, &name, value, problems);
        labels.push(Label { name, patterns, lineage, bit: labels.len() as u32, span: key.span() });
    }
    if let Some(label) = labels.get(LABELS) {
        let message = format!("the policy has more than {LABELS} labels");
        problems.push(Problem::new(label.span.clone(), message, "join some: a label can have many paths"));
    }
    labels
}

/// The patterns of one label, and whether it goes by lineage: a list, or a table that says more.
fn read(
    labels: &Section<'_>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Vec<Problem>,
) -> (Vec<Pattern>, bool) {
    if !value.get_ref().is_table() {
        return (flat(labels.texts(name, problems, Pattern::parse)), false);
    }
    let Some(section) = Section::of("a label", value, &LABEL_KEYS, problems) else { return (Vec::new(), false) };
    if section.entry("path").is_none() {
        problems.push(section.lacks("path", "add path = [\"/dir/**\"]"));
    }
    let patterns = flat(section.texts("path", problems, Pattern::parse));
    let by = section.text("by", problems).map(|by| (by.span(), lineage(by.get_ref())));
    let lineage = match by {
        Some((span, lineage)) => lineage.map_err(|flaw| problems.push(flaw.at(span))).unwrap_or(false),
        None => false,
    };
    (patterns, lineage)
}

fn flat(patterns: Option<Vec<Spanned<Vec<Pattern>>>>) -> Vec<Pattern> {
    plain(patterns).into_iter().flatten().collect()
}

fn lineage(text: &str) -> Result<bool, Flaw> {
    match text {
        "tree" => Ok(false),
        "lineage" => Ok(true),
        other => Err(Flaw::new(format!("a label does not go by {other:?}"), "one of: tree, lineage")),
    }
}
