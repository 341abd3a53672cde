//! One TOML table with a closed set of keys. Reading goes on after a problem, so that all are found.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::problem::{Flaw, Problem, Span};

/// Longest text that a policy can hold: names, reasons.
const TEXT_LIMIT: usize = 1000;

/// A list's elements.
type Elements<'a> = &'a [Spanned<DeValue<'a>>];

/// A table of the policy.
pub struct Section<'a> {
    /// What it is, in the words of the file: `[[rule]]`.
    pub what: &'static str,
    /// Where it begins.
    pub span: Span,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// The table `table`, whose keys are among `known`.
    pub fn new(
        what: &'static str,
        span: Span,
        table: &'a DeTable<'a>,
        known: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Self {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let message = format!("{what} has no key {:?}", key.get_ref());
            problems.push(Problem::new(key.span(), message, format!("one of: {}", known.join(", "))));
        }
        Self { what, span, table }
    }

    /// The table in `value`.
    pub fn of(
        what: &'static str,
        value: &'a Spanned<DeValue<'a>>,
        known: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(what, value.span(), table, known, problems)),
            other => {
                problems.push(wrong_type(what, "a table", other, value.span()));
                None
            }
        }
    }

    /// The key and the value of an entry, if it is there.
    pub fn entry(&self, key: &str) -> Option<(Span, &'a Spanned<DeValue<'a>>)> {
        let (key, value) = self.table.get_key_value(key)?;
        Some((key.span(), value))
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// An optional text.
    pub fn text(&self, key: &str, problems: &mut Vec<Problem>) -> Option<Spanned<String>> {
        let (_, value) = self.entry(key)?;
        text(key, value).map_err(|problem| problems.push(problem)).ok()
    }

    /// A text that must be there.
    pub fn required(&self, key: &str, remedy: &str, problems: &mut Vec<Problem>) -> Option<Spanned<String>> {
        if self.entry(key).is_none() {
            problems.push(self.lacks(key, remedy));
        }
        self.text(key, problems)
    }

    /// An optional list; not empty.
    pub fn list(&self, key: &str, problems: &mut Vec<Problem>) -> Option<Elements<'a>> {
        let (_, value) = self.entry(key)?;
        elements(key, value).map_err(|problem| problems.push(problem)).ok()
    }

    /// An optional list of what `read` makes of its texts; not empty, each once. None if any is bad.
    pub fn texts<T: Clone + Eq + Hash>(
        &self,
        key: &str,
        problems: &mut Vec<Problem>,
        read: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<Vec<Spanned<T>>> {
        read_each(key, self.list(key, problems)?, problems, |value| {
            let spelled = text(key, value)?;
            read(spelled.get_ref()).map_err(|flaw| flaw.at(value.span()))
        })
    }

    /// The problem that `key` is missing.
    pub fn lacks(&self, key: &str, remedy: &str) -> Problem {
        Problem::new(self.span.clone(), format!("{} has no {key}", self.what), remedy)
    }
}

/// What `read` makes of each element; each once. None if any is bad.
pub fn read_each<T: Clone + Eq + Hash>(
    key: &str,
    elements: Elements<'_>,
    problems: &mut Vec<Problem>,
    read: impl Fn(&Spanned<DeValue<'_>>) -> Result<T, Problem>,
) -> Option<Vec<Spanned<T>>> {
    let before = problems.len();
    let mut values: Vec<Spanned<T>> = Vec::new();
    let mut known: HashMap<T, Span> = HashMap::new();
    for element in elements {
        match read(element).map(|value| known.entry(value)) {
            Ok(Entry::Occupied(earlier)) => problems.push(twice(key, earlier.get().clone(), element.span())),
            Ok(Entry::Vacant(new)) => {
                values.push(Spanned::new(element.span(), new.key().clone()));
                new.insert(element.span());
            }
            Err(problem) => problems.push(problem),
        }
    }
    (problems.len() == before).then_some(values)
}

/// The elements of a list that must not be empty.
pub fn elements<'a, 'b>(key: &str, value: &'b Spanned<DeValue<'a>>) -> Result<&'b [Spanned<DeValue<'a>>], Problem> {
    let DeValue::Array(list) = value.get_ref() else {
        return Err(wrong_type(key, "a list", value.get_ref(), value.span()));
    };
    match list.is_empty() {
        true => Err(Problem::new(value.span(), format!("{key} is an empty list"), "fill it or remove it")),
        false => Ok(&**list),
    }
}

/// A text: not empty, one line, nothing hidden.
pub fn text(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Spanned<String>, Problem> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(wrong_type(key, "text", value.get_ref(), value.span()));
    };
    let flaw = match text.as_ref() {
        "" => Flaw::new(format!("{key} is empty"), "write something or remove it"),
        text if text.len() > TEXT_LIMIT => {
            Flaw::new(format!("{key} has {} bytes", text.len()), format!("at most {TEXT_LIMIT} bytes"))
        }
        text if text.contains(char::is_control) => {
            Flaw::new(format!("{key} has a control character"), "write it in one line of plain text")
        }
        text => return Ok(Spanned::new(value.span(), text.to_owned())),
    };
    Err(flaw.at(value.span()))
}

/// The problem that `what` is of another type than it should be (`a table`, `a list` or `text`).
pub fn wrong_type(what: &str, wanted: &str, found: &DeValue<'_>, span: Span) -> Problem {
    let found = match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let remedy = match wanted {
        "a list" => "write [\"...\"], also for one",
        "a table" => "write { key = value, ... }",
        "an integer" => "write a number",
        _ => "write \"...\"",
    };
    Problem::new(span, format!("{what} is not {wanted} but {found}"), remedy)
}

fn twice(key: &str, earlier: Span, span: Span) -> Problem {
    Problem::new(span, format!("{key} has this twice"), "remove one").against(earlier)
}
