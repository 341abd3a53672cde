//! Policies as text: the parts of the one that was in force, and TOML for new ones.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use crate::{
    policy::{Policy, source::File},
    request::shown,
};

/// Keys of which a proposal has none: it is in force, and for the host that it was made for.
const LEFT_OUT: [&str; 2] = ["mode", "host"];

/// Columns of a line in a list.
const WIDTH: usize = 110;

/// A part of a policy file: a table with what is written above it.
#[derive(Debug)]
pub struct Block<'a> {
    /// All of it.
    pub text: &'a str,
    /// Whether it is a rule.
    pub is_rule: bool,
    /// The name of the table, if the file has no more than one of that name: `[lists]`.
    section: Option<String>,
    /// Where in the text its header begins, behind the comments above it.
    header: usize,
    /// Where the values of its keys are.
    values: BTreeMap<String, Range<usize>>,
}

impl Block<'_> {
    /// Its table without the comments above it, with other values; keys that it does not have stand last.
    pub fn with(&self, values: &[(&str, String)]) -> String {
        let mut changes: Vec<(Range<usize>, String)> = Vec::new();
        let mut added = String::new();
        for (key, value) in values {
            match self.values.get(*key) {
                Some(place) => changes.push((place.clone(), value.clone())),
                None => added += &format!("\n{key} = {value}"),
            }
        }
        if let Some(last) = self.values.values().max_by_key(|place| place.end) {
            match changes.iter_mut().find(|(place, _)| place == last) {
                Some((_, value)) => *value += &added,
                None => changes.push((last.end..last.end, added)),
            }
        }
        changes.sort_by_key(|(place, _)| place.start);
        let mut text = self.text.to_owned();
        for (place, value) in changes.into_iter().rev() {
            text.replace_range(place, &value);
        }
        text[self.header..].trim_end().to_owned()
    }
}

/// The files that are for the policy's host.
pub fn here(policy: &Policy) -> impl Iterator<Item = &File> {
    policy.source.files.iter().zip(&policy.here).filter(|(_, here)| **here).map(|(file, _)| file)
}

/// What stands above the first table of each file for the policy's host, and their tables, each with the file's name.
pub fn files(policy: &Policy) -> (String, Vec<(&str, Block<'_>)>) {
    let files: Vec<_> = here(policy).map(|file| (file.name.as_str(), blocks(&file.text))).collect();
    let heads = files.iter().map(|(_, (head, _))| head.as_str()).collect();
    (
        heads,
        files.into_iter().flat_map(|(name, (_, blocks))| blocks.into_iter().map(move |block| (name, block))).collect(),
    )
}

/// The text of one of the tables, with what other files add to it; none if it was added to an earlier one.
pub fn joined(blocks: &[(&str, Block<'_>)], index: usize) -> Option<String> {
    let (_, block) = &blocks[index];
    let same = |(_, other): &&(&str, Block<'_>)| block.section.is_some() && other.section == block.section;
    if blocks[..index].iter().any(|one| same(&one)) {
        return None;
    }
    let added = blocks[index + 1..].iter().filter(same).map(|(file, other)| {
        let (above, table) = other.text.split_at(other.header);
        let body = table.split_once('\n').map_or("", |(_, body)| body);
        format!("\n{}{above}{}", from(file), body.trim_end())
    });
    Some(block.text.trim_end().to_owned() + &added.collect::<String>())
}

/// Says of what follows which file it comes from.
pub fn from(file: &str) -> String {
    comment(&format!("From {}:", file.escape_debug()))
}

/// What stands above the first table, without comments and [`LEFT_OUT`]; and the tables in their order.
fn blocks(text: &str) -> (String, Vec<Block<'_>>) {
    let Ok(tree) = DeTable::parse(text) else { return (String::new(), Vec::new()) };
    let tree = tree.get_ref();
    let mut headers: Vec<(usize, Option<String>, bool, Option<&DeTable<'_>>)> = Vec::new();
    let mut head = String::new();
    for (key, value) in tree {
        match value.get_ref() {
            DeValue::Array(tables) if tables.iter().any(|table| text[table.span()].starts_with("[[")) => {
                let table = |value: &'_ DeValue<'_>| value.is_table();
                let all = tables.iter().filter(|value| table(value.get_ref()));
                headers.extend(all.map(|value| match value.get_ref() {
                    DeValue::Table(table) => (value.span().start, None, key.get_ref() == "rule", Some(table)),
                    _ => (value.span().start, None, false, None),
                }));
            }
            DeValue::Table(_) if text[value.span()].starts_with('[') => {
                let name = key.get_ref().to_string();
                let whole = text[value.span()].starts_with(&format!("[{name}]"));
                headers.push((value.span().start, whole.then_some(name), false, None));
            }
            _ if LEFT_OUT.contains(&key.get_ref().as_ref()) => (),
            _ => head += &format!("{} = {}\n", &text[key.span()], &text[value.span()]),
        }
    }
    headers.sort_by_key(|(start, ..)| *start);
    let starts: Vec<_> = headers.iter().map(|(start, ..)| with_comments(text, *start)).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let parts = headers.iter().zip(starts.iter().zip(ends)).enumerate();
    let blocks = parts.map(|(index, ((header, section, is_rule, table), (start, end)))| {
        // Above the first table stands what is said of the whole file.
        let start = if index == 0 { *header } else { *start };
        let values = table.iter().flat_map(|table| table.iter());
        let values = values
            .map(|(key, value)| (key.get_ref().to_string(), value.span().start - start..value.span().end - start));
        Block {
            text: &text[start..end],
            is_rule: *is_rule,
            section: section.clone(),
            header: header - start,
            values: values.collect(),
        }
    });
    (head, blocks.collect())
}

/// Where the comments directly above `header` begin.
fn with_comments(text: &str, header: usize) -> usize {
    let mut start = text[..header].rfind('\n').map_or(0, |end| end + 1);
    while let Some(above) = text[..start].strip_suffix('\n') {
        let line = above.rfind('\n').map_or(0, |end| end + 1);
        if !above[line..].starts_with('#') {
            break;
        }
        start = line;
    }
    start
}

/// A text in TOML. What could hide in it, or command a terminal, is escaped.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' | '\\' => quoted.extend(['\\', sign]),
            sign if shown(sign.encode_utf8(&mut [0; 4])) != sign.to_string() => {
                quoted += &format!("\\U{:08x}", sign as u32);
            }
            sign => quoted.push(sign),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of texts, as many in a line as there is room for.
pub fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let one = texts.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>();
    let short = format!("[{}]", one.join(", "));
    if short.len() <= WIDTH / 2 {
        return short;
    }
    let (mut lines, mut line) = (String::new(), String::new());
    for text in one {
        if !line.is_empty() && line.len() + text.len() > WIDTH {
            lines += &format!("    {}\n", line.trim_end());
            line.clear();
        }
        line += &format!("{text}, ");
    }
    format!("[\n{lines}    {}\n]", line.trim_end())
}

/// Lines as comments.
pub fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# the file\nmode = \"observe\"\n\n[[subject]]\nname = \"a\"\n\n# a group\n[reviewers]\n\
                        x = [\n\"y\"]\n\n# --- Files ---\n\n# seen\n[[rule]]\nname = \"1\" # z\n\
                        open = { path = [\"[x]\"] }\nthen = \"audit\"\n";

    #[test]
    fn the_parts_of_a_file_are_its_tables_with_what_is_said_of_them() {
        let (head, blocks) = blocks(TEXT);
        assert_eq!(head, "");
        let texts: Vec<_> = blocks.iter().map(|block| (block.text.trim_end(), block.is_rule)).collect();
        assert_eq!(texts[0], ("[[subject]]\nname = \"a\"", false));
        assert_eq!(texts[1], ("# a group\n[reviewers]\nx = [\n\"y\"]\n\n# --- Files ---", false));
        assert!(texts[2].0.starts_with("# seen\n[[rule]]") && texts[2].1);
        let other = blocks[2].with(&[
            ("then", "\"deny\"".to_owned()),
            ("why", "\"w\"".to_owned()),
            ("name", "\"2\"".to_owned()),
        ]);
        assert_eq!(other, "[[rule]]\nname = \"2\" # z\nopen = { path = [\"[x]\"] }\nthen = \"deny\"\nwhy = \"w\"");
    }

    #[test]
    fn what_several_files_say_of_one_table_is_one_table() {
        let other =
            "host = [\"x\"]\n\n# more\n[[subject]]\nname = \"b\"\n\n# their people\n[reviewers] # z\ny = [\"z\"]\n";
        let all = [("p.toml", TEXT), ("p.d/a.toml", other)];
        let all: Vec<_> =
            all.iter().flat_map(|(file, text)| blocks(text).1.into_iter().map(|one| (*file, one))).collect();
        let texts: Vec<_> = (0..all.len()).map(|index| joined(&all, index)).collect();
        assert_eq!(
            texts[1].as_deref(),
            Some(
                "# a group\n[reviewers]\nx = [\n\"y\"]\n\n# --- Files ---\n# From p.d/a.toml:\n# their people\ny = [\"z\"]"
            )
        );
        assert_eq!(texts[3].as_deref(), Some("[[subject]]\nname = \"b\""));
        assert_eq!((texts.len(), &texts[4]), (5, &None));
    }

    #[test]
    fn a_text_cannot_leave_its_quotes_or_its_line() {
        assert_eq!(quoted("a\"\\\n\u{202e}ü"), "\"a\\\"\\\\\\U0000000a\\U0000202eü\"");
    }
}
