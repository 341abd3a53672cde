//! `[lists]`: lists by name, for reuse. `"$name"` in any list of the policy stands for the elements of that one.

use std::{collections::BTreeMap, mem};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    parse::{undefined, word},
    problem::{Flaw, Problem, Span},
    section::{self, wrong_type},
};

const KEY: &str = "lists";
/// What a use begins with.
const SIGN: char = '$';

/// What stands in for uses: each has the spans of its elements behind the end of the source, so that it is known of what
/// is wrong with one of them where that is used.
pub struct Uses {
    end: usize,
    uses: Vec<Use>,
    /// Lists that nothing uses.
    pub idle: Vec<Problem>,
}

struct Use {
    /// Where its spans begin.
    begin: usize,
    /// The list.
    list: Span,
    /// Where it is used.
    used: Span,
}

/// One list.
struct List<'a> {
    key: Span,
    value: Span,
    elements: Vec<Spanned<DeValue<'a>>>,
    is_used: bool,
}

/// Puts the elements of lists where these are used, in the tree of a source that ends at `end`.
pub fn put<'a>(tree: &mut DeTable<'a>, end: usize, problems: &mut Vec<Problem>) -> Uses {
    let mut lists = Lists { lists: BTreeMap::new(), end, uses: Vec::new() };
    if let Some(value) = tree.remove(KEY) {
        lists.read(value, problems);
    }
    for (_, value) in tree.iter_mut() {
        lists.put(value.get_mut(), problems);
    }
    let idle = lists.lists.iter().filter(|(_, list)| !list.is_used).map(|(name, list)| {
        let remedy = format!("write \"{SIGN}{name}\" where it is meant, or remove it");
        Problem::new(list.key.clone(), format!("nothing uses the list {name:?}"), remedy)
    });
    Uses { end, idle: idle.collect(), uses: lists.uses }
}

struct Lists<'a> {
    lists: BTreeMap<String, List<'a>>,
    end: usize,
    uses: Vec<Use>,
}

impl<'a> Lists<'a> {
    fn read(&mut self, value: Spanned<DeValue<'a>>, problems: &mut Vec<Problem>) {
        let span = value.span();
        let table = match value.into_inner() {
            DeValue::Table(table) => table,
            other => return problems.push(wrong_type(KEY, "a table", &other, span)),
        };
        for (key, value) in table {
            let name = key.get_ref().to_string();
            problems.extend(word(&name).err().map(|flaw| flaw.at(key.span())));
            let elements = section::elements(&name, &value).map(<[_]>::to_vec);
            let elements = elements.map_err(|problem| problems.push(problem)).unwrap_or_default();
            problems.extend(elements.iter().filter_map(|element| flaw(&name, element)));
            let list = List { key: key.span(), value: value.span(), elements, is_used: false };
            self.lists.insert(name, list);
        }
    }

    fn put(&mut self, value: &mut DeValue<'a>, problems: &mut Vec<Problem>) {
        match value {
            DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| self.put(value.get_mut(), problems)),
            DeValue::Array(list) if list.iter().any(|element| name(element).is_some()) => {
                let elements = mem::replace(list, DeArray::new()).into_iter();
                *list = elements.flat_map(|element| self.instead(element, problems)).collect::<DeArray<'_>>();
            }
            DeValue::Array(list) => list.iter_mut().for_each(|value| self.put(value.get_mut(), problems)),
            _ => (),
        }
    }

    /// The elements of the list that `element` names, or else itself.
    fn instead(&mut self, element: Spanned<DeValue<'a>>, problems: &mut Vec<Problem>) -> Vec<Spanned<DeValue<'a>>> {
        let Some(named) = name(&element) else { return vec![element] };
        let Some(list) = self.lists.get_mut(named) else {
            problems.push(undefined("list", named, self.lists.keys()).at(element.span()));
            return Vec::new();
        };
        list.is_used = true;
        let begin = self.uses.last().map_or(self.end, |last| last.begin + last.list.len());
        let put = |span: Span| begin + span.start - list.value.start..begin + span.end - list.value.start;
        let elements = list.elements.iter().map(|one| Spanned::new(put(one.span()), one.get_ref().clone())).collect();
        self.uses.push(Use { begin, list: list.value.clone(), used: element.span() });
        elements
    }
}

/// The name of the list that an element stands for.
fn name<'b>(element: &'b Spanned<DeValue<'_>>) -> Option<&'b str> {
    match element.get_ref() {
        DeValue::String(text) => text.strip_prefix(SIGN),
        _ => None,
    }
}

/// What is wrong with an element wherever its list is used.
fn flaw(list: &str, element: &Spanned<DeValue<'_>>) -> Option<Problem> {
    match element.get_ref() {
        DeValue::Integer(_) => None,
        _ if name(element).is_some() => {
            let flaw = Flaw::new("a list holds no other list", "write its elements, or name both where they are used");
            Some(flaw.at(element.span()))
        }
        _ => section::text(list, element).err(),
    }
}

impl Uses {
    /// What is wrong, at its place in the source; what is wrong with an element of a list, at its first use.
    pub fn located(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let mut located: Vec<Problem> = Vec::new();
        for problem in problems.into_iter().map(|problem| self.one_located(problem)) {
            let is_said = |said: &Problem| {
                said.used.is_some() && (&said.span, &said.message) == (&problem.span, &problem.message)
            };
            if !located.iter().any(is_said) {
                located.push(problem);
            }
        }
        located
    }

    fn one_located(&self, problem: Problem) -> Problem {
        let used = self.of(&problem.span).map(|one| one.used.clone());
        let span = self.real(problem.span.clone());
        let earlier = problem.earlier.clone().map(|span| self.real(span));
        Problem { span, earlier, used, ..problem }
    }

    fn of(&self, span: &Span) -> Option<&Use> {
        let after = self.uses.partition_point(|one| one.begin <= span.start);
        self.uses[..after].last().filter(|_| span.start >= self.end)
    }

    fn real(&self, span: Span) -> Span {
        match self.of(&span) {
            Some(one) => span.start - one.begin + one.list.start..span.end - one.begin + one.list.start,
            None => span,
        }
    }
}
