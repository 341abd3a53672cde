//! Policies as text: the parts of the one that was in force, and TOML for new ones.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use crate::request::shown;

/// Columns of a line in a list.
const WIDTH: usize = 110;

/// A part of a policy file: a table with what is written above it.
#[derive(Debug)]
pub struct Block<'a> {
    /// All of it.
    pub text: &'a str,
    /// Whether it is a rule.
    pub is_rule: bool,
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

/// What stands above the first table, without comments and without the key `left_out`; and the tables in their order.
pub fn blocks<'a>(text: &'a str, left_out: &str) -> (String, Vec<Block<'a>>) {
    let Ok(tree) = DeTable::parse(text) else { return (String::new(), Vec::new()) };
    let tree = tree.get_ref();
    let mut headers: Vec<(usize, bool, Option<&DeTable<'_>>)> = Vec::new();
    let mut head = String::new();
    for (key, value) in tree {
        match value.get_ref() {
            DeValue::Array(tables) if tables.iter().any(|table| text[table.span()].starts_with("[[")) => {
                let table = |value: &'_ DeValue<'_>| value.is_table();
                let all = tables.iter().filter(|value| table(value.get_ref()));
                headers.extend(all.map(|value| match value.get_ref() {
                    DeValue::Table(table) => (value.span().start, key.get_ref() == "rule", Some(table)),
                    _ => (value.span().start, false, None),
                }));
            }
            DeValue::Table(_) if text[value.span()].starts_with('[') => headers.push((value.span().start, false, None)),
            _ if key.get_ref() == left_out => (),
            _ => head += &format!("{} = {}\n", &text[key.span()], &text[value.span()]),
        }
    }
    headers.sort_by_key(|(start, ..)| *start);
    let starts: Vec<_> = headers.iter().map(|(start, ..)| with_comments(text, *start)).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let parts = headers.iter().zip(starts.iter().zip(ends)).enumerate();
    let blocks = parts.map(|(index, ((header, is_rule, table), (start, end)))| {
        // Above the first table stands what is said of the whole file.
        let start = if index == 0 { *header } else { *start };
        let values = table.iter().flat_map(|table| table.iter());
        let values = values
            .map(|(key, value)| (key.get_ref().to_string(), value.span().start - start..value.span().end - start));
        Block { text: &text[start..end], is_rule: *is_rule, header: header - start, values: values.collect() }
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
        let (head, blocks) = blocks(TEXT, "mode");
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
    fn a_text_cannot_leave_its_quotes_or_its_line() {
        assert_eq!(quoted("a\"\\\n\u{202e}ü"), "\"a\\\"\\\\\\U0000000a\\U0000202eü\"");
    }
}
