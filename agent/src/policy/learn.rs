//! From what a run was seen to do to the rules that it needs.
//!
//! The proposal is the policy that was in force, with each rule that audits replaced by what it has seen: first rules
//! that allow just that, then the same rule, which holds (or denies) the rest. It stands where it stood, so what other
//! rules keep back is kept back as before; what is sensitive by nature is held even if it was seen ([`sensitive`]). A
//! rule that audits only under conditions (`user`, `args`, ...) stays as it is. Of a policy of several files it is one
//! file, for one host.

pub mod observed;
mod paths;
pub mod programs;
mod sensitive;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_common::{request::Class, tables::Verdict};
use serde::Serialize;

use self::{
    observed::{Evidence, Kept, Observed, Piece, Seen},
    paths::Learned,
    programs::Program,
    sensitive::{Watch, What as Watched},
    written::{Block, comment, list, quoted},
};
use super::{
    Asked, Flaw, Judge, Own, Pattern, Policy, Rule, Site, Source, Then, What, When, access_words, asked::NOON, classes,
    only, parse, verdict_word,
};
use crate::request::shown;

/// How many operations, programs and the like are listed before their number alone is said.
const LISTED: usize = 12;
const PROGRAMS: usize = 3;

/// What is wanted of a proposal.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Of this subject alone.
    pub subject: Option<String>,
    /// What follows where nothing was seen: [`Verdict::Hold`] or [`Verdict::Deny`].
    pub otherwise: Verdict,
    /// Who is asked; the policy's only group unless said.
    pub reviewers: Option<String>,
}

/// A policy, and where it comes from.
#[derive(Debug)]
pub struct Proposal {
    /// The policy, as a file.
    pub text: String,
    /// The rules in it that are new.
    pub rules: Vec<Proposed>,
    /// Operations of the record that pass under it.
    pub passes: usize,
    /// Operations of the record that rules audited and that do not pass under it.
    pub stays: usize,
}

/// A new rule.
#[derive(Clone, Debug, Serialize)]
pub struct Proposed {
    /// Its name.
    pub name: String,
    /// Whom it is for; every subject if none is named.
    pub subject: Option<String>,
    /// What it says.
    pub then: &'static str,
    /// What it names, and where that comes from.
    pub from: BTreeMap<String, Evidence>,
}

/// The policy that `observed` asks for, made of the one that was in force.
pub fn propose(policy: &Policy, observed: &Observed, terms: &Terms) -> Result<Proposal, Flaw> {
    Draft::new(policy, observed, terms)?.proposal()
}

/// A proposal in the making.
struct Draft<'a> {
    policy: &'a Policy,
    observed: &'a Observed,
    terms: &'a Terms,
    /// Who is asked, if anybody can be.
    group: Option<&'a str>,
    watches: Vec<Watch>,
    /// The rules that every policy has, alone: what these refuse is not allowed for having been seen.
    built_in: Judge,
    /// What the opens of a rule by a subject come to.
    opens: BTreeMap<(&'a str, &'a str), Vec<Learned>>,
    names: BTreeSet<String>,
    rules: Vec<Proposed>,
}

impl<'a> Draft<'a> {
    fn new(policy: &'a Policy, observed: &'a Observed, terms: &'a Terms) -> Result<Self, Flaw> {
        if let Some(subject) = terms.subject.as_deref().filter(|subject| policy.subject_named(subject).is_none()) {
            let known: Vec<_> = policy.subjects.iter().map(|subject| subject.name.as_str()).collect();
            return Err(Flaw::new(
                format!("the policy has no subject {subject:?}"),
                format!("one of: {}", known.join(", ")),
            ));
        }
        let scoped = terms.subject.as_deref().and_then(|subject| index_of(policy, subject));
        if !policy.rules.iter().any(|rule| is_learned_from(rule, scoped)) {
            return Err(Flaw::new(
                "the policy has no rule that audits, so what it allowed is not on record",
                "put policies/observe-everything.toml in force with your subjects, and let them do their work",
            ));
        }
        let names = policy.rules.iter().map(|rule| rule.name.clone()).collect();
        let group = group(policy, terms)?;
        let alone = Policy { rules: Vec::new(), observes: false, ..policy.clone() };
        let built_in = Judge::new(alone, &Own::customary(), Site::Anywhere);
        let built_in = built_in.map_err(|refusal| Flaw::new(refusal.to_string(), "change the policy there"))?;
        let mut draft = Self {
            policy,
            observed,
            terms,
            group,
            watches: Watch::all(),
            built_in,
            opens: BTreeMap::new(),
            names,
            rules: Vec::new(),
        };
        if draft.all().next().is_none() {
            return Err(Flaw::new(
                format!("the record has nothing that a rule of {} audited", policy.source.name().escape_debug()),
                "is it the record of that policy? let the subject work under it first; or look from an earlier time on",
            ));
        }
        draft.opens = draft.learned_opens();
        Ok(draft)
    }

    /// The only subject that is looked at, if it is not all.
    fn scoped(&self) -> Option<u32> {
        self.terms.subject.as_deref().and_then(|subject| index_of(self.policy, subject))
    }

    /// What was seen by the rules that are learned from.
    fn all(&self) -> impl Iterator<Item = (&'a Rule, &'a str, &'a Seen)> + use<'a> {
        let observed = self.observed;
        let scoped = self.scoped();
        self.policy.rules.iter().filter(move |rule| is_learned_from(rule, scoped)).flat_map(move |rule| {
            let of_rule = observed.audited.iter().filter(move |((name, _), _)| *name == rule.name);
            of_rule.map(move |((_, subject), seen)| (rule, subject.as_str(), seen))
        })
    }

    fn learned_opens(&self) -> BTreeMap<(&'a str, &'a str), Vec<Learned>> {
        let learned = self.all().map(|(rule, subject, seen)| {
            let opened: Vec<_> = seen
                .iter()
                .filter(|(piece, _)| !self.is_kept(piece))
                .filter_map(|(piece, evidence)| match piece {
                    Piece::Open(path, access) => Some((path.as_str(), *access, evidence)),
                    _ => None,
                })
                .collect();
            ((rule.name.as_str(), subject), paths::patterns(&opened, rule.paths().0))
        });
        learned.collect()
    }

    /// Whether it is not allowed although it was seen.
    fn is_kept(&self, piece: &Piece) -> bool {
        self.is_watched(piece) || self.is_refused(piece)
    }

    fn is_watched(&self, piece: &Piece) -> bool {
        self.watches.iter().any(|watch| watch.is_about(piece))
    }

    fn is_refused(&self, piece: &Piece) -> bool {
        let subject = &self.policy.subjects[0].name;
        self.built_in.ask(&asked(subject, piece)).is_ok_and(|answer| answer.verdict != Verdict::Allow)
    }

    /// Whether the subject may change that program: then it could run what it likes under that name.
    fn is_written(&self, subject: &str, path: &str) -> bool {
        let of_subject = self.opens.iter().filter(|((_, asks), _)| *asks == subject);
        let changed = of_subject.flat_map(|(_, learned)| learned).filter(|one| one.access & Class::REPLACING != 0);
        changed.into_iter().any(|one| one.pattern.accepts(path.as_ref()))
    }

    fn proposal(mut self) -> Result<Proposal, Flaw> {
        let policy = self.policy;
        let (heads, blocks) = written::files(policy);
        if blocks.iter().filter(|(_, block)| block.is_rule).count() != policy.rules.len() {
            return Err(Flaw::new("the policy's rules do not stand in tables of their own", "write each as [[rule]]"));
        }
        let mut parts = vec![heads];
        let mut rules = policy.rules.iter();
        let mut first = true;
        let mut file_before = policy.source.name();
        for (index, (file, block)) in blocks.iter().enumerate() {
            let text = written::joined(&blocks, index);
            if text.is_some() && std::mem::replace(&mut file_before, *file) != *file {
                parts.push(written::from(file));
            }
            let rule = if block.is_rule { rules.next() } else { None };
            match rule {
                Some(rule) if is_learned_from(rule, self.scoped()) => {
                    if std::mem::take(&mut first) {
                        parts.extend(self.sensitive());
                    }
                    parts.extend(self.learned(rule));
                    parts.extend(self.rest(rule, block));
                }
                _ => {
                    let kept = rule.map_or_else(String::new, |rule| self.kept_by(rule));
                    parts.extend(text.map(|text| format!("{kept}{text}\n")));
                }
            }
        }
        parts.push(self.unnamed());
        let body = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
        self.asked_again(body)
    }

    /// Asks the proposal what the record asks, and says on top what came of it.
    fn asked_again(self, body: String) -> Result<Proposal, Flaw> {
        let refused = |problem: String| {
            Flaw::new(
                format!("no proposal can be made of this policy: {problem}"),
                "change in the policy what it names",
            )
        };
        let source = Source::one("the proposal", body.clone());
        let proposed = parse(source, &self.policy.host).map_err(|refusal| refused(refusal.to_string()))?;
        let judge = Judge::new(proposed, &Own::customary(), Site::Anywhere);
        let judge = judge.map_err(|refusal| refused(refusal.to_string()))?;
        let (mut passes, mut stays) = (0, 0);
        for (_, subject, seen) in self.all() {
            for (piece, evidence) in seen {
                let answer = judge.ask(&asked(subject, piece))?;
                let count =
                    if matches!(answer.verdict, Verdict::Allow | Verdict::Audit) { &mut passes } else { &mut stays };
                *count += evidence.times;
            }
        }
        let text = format!("{}\n{body}", self.header(passes, stays));
        Ok(Proposal { text, rules: self.rules, passes, stays })
    }

    fn header(&self, passes: usize, stays: usize) -> String {
        let rest = verdict_word(self.terms.otherwise);
        let all = sum(self.all().flat_map(|(_, _, seen)| seen.values()));
        let seen = all.map_or_else(String::new, |all| format!("{} to {}", at(&all.first), at(&all.last)));
        let mut text = format!(
            "Proposed by `holdpoint policy learn` from what a run was seen to do: a draft to be read.\n\
             Made of {}: each of its rules that audit is replaced by what it has seen, as narrow as it\n\
             was seen, and by `{rest}` for the rest; the other rules are as they were.\n{}\n\
             Seen: {seen}.\n\
             Of {} accesses that were audited (a rename is two) {passes} pass under this policy, {stays} do not.\n\
             Below a program stands what it was given, without what looks like a secret. Where that is code, or orders\n\
             (shells, interpreters, ...), narrow its rule with `args`, which asks whether an argument is there, wherever\n\
             it stands and whatever comes beside: `git push status` has `status`, too.\n",
            self.made_of(),
            self.for_this_host(),
            passes + stays,
        );
        if self.observed.lost != 0 {
            text += &format!("{} reports were lost: what they said is not in here.\n", self.observed.lost);
        }
        comment(&text)
    }

    fn made_of(&self) -> String {
        let files: Vec<_> = written::here(self.policy).map(|file| file.name.escape_debug().to_string()).collect();
        format!("{}, revision {}", files.join(", "), self.policy.revision())
    }

    /// Of several files: what becomes of them.
    fn for_this_host(&self) -> String {
        let Policy { host, source, .. } = self.policy;
        match source.files.len() {
            1 => String::new(),
            _ => format!(
                "It is the whole policy of the host {} in one file: put it in the place of all of them, parts included.\n",
                shown(host.name())
            ),
        }
    }

    /// What is held even though it was seen, and what that was.
    fn sensitive(&mut self) -> Vec<String> {
        let mut parts = Vec::new();
        for index in 0..self.watches.len() {
            let (watch, all) = (&self.watches[index], self.all());
            let of_kind: Vec<_> = all.filter(|(rule, ..)| kind(rule) == watch.sensitive.kind()).collect();
            let seen = of_kind.iter().flat_map(|(_, _, seen)| seen.iter());
            let seen = in_lines(seen.filter(|(piece, _)| watch.is_about(piece)));
            let everywhere = self.policy.rules.iter().any(|rule| {
                is_learned_from(rule, self.scoped()) && kind(rule) == watch.sensitive.kind() && is_everything(rule)
            });
            let name = watch.sensitive.name;
            if seen.is_empty() && !everywhere || self.names.contains(name) {
                continue;
            }
            let operation = match watch.sensitive.what {
                Watched::Open(patterns, access) => {
                    let access: Vec<_> = access.iter().map(|class| class.word()).collect();
                    format!("open = {{ path = {}, access = {} }}", list(patterns), list(&access))
                }
                Watched::Exec(patterns) => format!("exec = {{ path = {} }}", list(patterns)),
                Watched::Connect(blocks) => format!("connect = {{ to = {} }}", list(blocks)),
            };
            let why = watch.sensitive.why;
            let then = if self.group.is_some() { Verdict::Hold } else { Verdict::Deny };
            let above = match seen.is_empty() {
                true => "Nothing of it was seen.\n".to_owned(),
                false => format!("Seen, and not allowed for that:\n{}", listed(&seen)),
            };
            parts.push(self.rule(name, self.terms.subject.clone(), &above, &operation, then, why, seen));
        }
        parts
    }

    /// The rules that allow what `rule` has seen.
    fn learned(&mut self, rule: &Rule) -> Vec<String> {
        let mut parts = Vec::new();
        let of_rule: Vec<_> = self.all().filter(|(asked, ..)| asked.name == rule.name).collect();
        for (rule, subject, seen) in of_rule {
            match &rule.when {
                When::Open { .. } => parts.extend(self.learned_files(rule, subject)),
                When::Exec { .. } => parts.extend(self.learned_programs(rule, subject)),
                When::Connect { .. } => parts.extend(self.learned_connections(rule, subject, seen)),
                When::System { .. } => (),
            }
        }
        parts
    }

    fn learned_files(&mut self, rule: &Rule, subject: &str) -> Vec<String> {
        let learned = self.opens.get(&(rule.name.as_str(), subject)).cloned().unwrap_or_default();
        let mut by_access: BTreeMap<u32, Vec<Learned>> = BTreeMap::new();
        learned.into_iter().for_each(|one| by_access.entry(one.access).or_default().push(one));
        let rules = by_access.into_iter().map(|(access, learned)| {
            let lines: String = learned.iter().map(line).collect();
            let words = access_words(access);
            let operation = format!("open = {{ path = [\n{lines}], access = {} }}", list(&words));
            let from = learned.into_iter().map(|one| (one.text, one.evidence)).collect();
            self.allows(rule, subject, &words.join(", "), &operation, "", from)
        });
        rules.collect()
    }

    fn learned_programs(&mut self, rule: &Rule, subject: &str) -> Vec<String> {
        let (narrow, whole): (Vec<_>, Vec<_>) =
            self.programs(rule, subject).into_iter().partition(|program| program.subcommands().is_some());
        let mut rules: Vec<_> =
            narrow.iter().flat_map(|program| self.learned_subcommands(rule, subject, program)).collect();
        let learned: Vec<_> =
            whole.iter().filter_map(|program| Some((program.learned()?, program.shown(None)))).collect();
        let lines = learned.iter().map(|(learned, given)| {
            let given: String = given.iter().map(|words| format!("    #     {words}\n")).collect();
            line(learned) + &given
        });
        let operation = format!("exec = {{ path = [\n{}] }}", lines.collect::<String>());
        let from: BTreeMap<_, _> = learned.into_iter().map(|(one, _)| (one.text, one.evidence)).collect();
        if !from.is_empty() {
            rules.push(self.allows(rule, subject, "those seen", &operation, "", from));
        }
        rules
    }

    /// A rule for each subcommand of a program that was seen with few of them.
    fn learned_subcommands(&mut self, rule: &Rule, subject: &str, program: &Program<'_>) -> Vec<String> {
        let path = quoted(&paths::spelled(program.path));
        let name = program.path.rsplit('/').next().unwrap_or_default();
        let found = program.subcommands().unwrap_or_default();
        let rules = found.into_iter().map(|(word, evidence)| {
            let operation = format!("exec = {{ path = [{path}], args = {} }}", list(&[word]));
            let given = program.shown(Some(word)).iter().map(|words| format!("  {words}\n")).collect::<String>();
            let above = format!("{}\n{given}", told(&evidence));
            let from = BTreeMap::from([(format!("{} {word}", program.path), evidence)]);
            self.allows(rule, subject, &format!("{name} {word}"), &operation, &above, from)
        });
        rules.collect()
    }

    fn learned_connections(&mut self, rule: &Rule, subject: &str, seen: &Seen) -> Vec<String> {
        let mut by_port: BTreeMap<(u32, u16), BTreeMap<String, Evidence>> = BTreeMap::new();
        for (piece, evidence) in seen.iter().filter(|(piece, _)| !self.is_kept(piece)) {
            if let Piece::Connect(to, port, protocol) = piece {
                by_port.entry((*protocol, *port)).or_default().insert(to.to_string(), evidence.clone());
            }
        }
        let rules = by_port.into_iter().map(|((protocol, port), to)| {
            let lines = to.iter().map(|(text, from)| format!("    {},  # {}\n", quoted(text), told(from)));
            let protocol = only::protocol_words(protocol);
            let operation = format!(
                "connect = {{ to = [\n{}], port = [{port}], protocol = {} }}",
                lines.collect::<String>(),
                list(&protocol)
            );
            self.allows(rule, subject, &format!("{} {port}", protocol.concat()), &operation, "", to)
        });
        rules.collect()
    }

    /// A rule that allows what was seen.
    fn allows(
        &mut self,
        rule: &Rule,
        subject: &str,
        what: &str,
        operation: &str,
        above: &str,
        from: BTreeMap<String, Evidence>,
    ) -> String {
        let several = self.policy.subjects.len() > 1;
        let of = if several { format!(" of {subject}") } else { String::new() };
        let name = format!("{}: {what}{of}", rule.name);
        let sum = if from.len() > 1 { sum(from.values()) } else { None };
        let above = sum.map_or_else(String::new, |sum| told(&sum)) + above;
        let subject = several.then(|| subject.to_owned());
        let why = "learned: it was seen to do this, and no more";
        self.rule(&name, subject, &above, operation, Verdict::Allow, why, from)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a rule")]
    fn rule(
        &mut self,
        name: &str,
        subject: Option<String>,
        above: &str,
        operation: &str,
        then: Verdict,
        why: &str,
        from: BTreeMap<String, Evidence>,
    ) -> String {
        let name = self.fresh(name);
        let of = subject.iter().map(|subject| format!("subject = {}\n", list(&[subject]))).collect::<String>();
        let text = format!(
            "{}[[rule]]\nname = {}\n{of}{operation}\nthen = {}\nwhy = {}\n",
            comment(above),
            quoted(&name),
            self.then(then),
            quoted(why)
        );
        self.rules.push(Proposed { name, subject, then: verdict_word(then), from });
        text
    }

    /// A name that no rule has.
    fn fresh(&mut self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name} ({number})"));
        let name = [name.to_owned()].into_iter().chain(numbered).find(|name| !self.names.contains(name));
        let name = name.expect("numbers do not end");
        self.names.insert(name.clone());
        name
    }

    fn then(&self, verdict: Verdict) -> String {
        let word = quoted(verdict_word(verdict));
        match self.group.filter(|_| verdict == Verdict::Hold) {
            Some(group) => format!("{word}\nreviewers = {}\non_deny = \"fail\"", quoted(group)),
            None => word,
        }
    }

    /// The rule that audited, for what it has not seen; and as it was, for other subjects.
    fn rest(&mut self, rule: &Rule, block: &Block<'_>) -> Vec<String> {
        let scoped = self.scoped();
        let others = (0..).zip(&self.policy.subjects).filter(|(index, _)| scoped.is_some_and(|one| one != *index));
        let others: Vec<_> =
            others.filter(|(index, _)| rule.subjects.contains(index)).map(|(_, other)| &other.name).collect();
        let mut values: Vec<(&str, String)> = Vec::new();
        if let Some(subject) = &self.terms.subject {
            values.push(("subject", list(&[subject])));
        }
        let rest = match &rule.when {
            When::System { .. } => self.rest_of_words(rule, block, values, others.is_empty()),
            _ if self.is_taken_whole(rule) => String::new(),
            _ => {
                let name = self.fresh(&format!("{}: the rest", rule.name));
                values.push(("name", quoted(&name)));
                values.push(("then", self.then(self.terms.otherwise)));
                values.push(("why", quoted("it was not seen to do this")));
                format!("{}{}\n", self.left_to(rule), block.with(&values))
            }
        };
        let as_it_was = (!others.is_empty()).then(|| format!("{}\n", block.with(&[("subject", list(&others))])));
        [rest].into_iter().chain(as_it_was).collect()
    }

    /// Operations on the host stay on record, those that were seen: most of them cannot be held, and what no rule names
    /// is refused.
    fn rest_of_words(
        &mut self,
        rule: &Rule,
        block: &Block<'_>,
        mut values: Vec<(&str, String)>,
        is_for_all: bool,
    ) -> String {
        let of_rule = self.all().filter(|(asked, ..)| asked.name == rule.name);
        let mut words: BTreeMap<String, Evidence> = BTreeMap::new();
        for (piece, evidence) in of_rule.flat_map(|(_, _, seen)| seen) {
            if let Piece::System(system) = piece {
                let known = words.entry(system.word().to_owned());
                known.and_modify(|known| known.add(evidence)).or_insert_with(|| evidence.clone());
            }
        }
        if words.is_empty() {
            let text =
                format!("Rule {} is gone: nothing of it was seen, and what no rule names is refused.", rule.name);
            return comment(&shown(&text));
        }
        values.push(("system", list(&words.keys().collect::<Vec<_>>())));
        if !is_for_all {
            values.push(("name", quoted(&self.fresh(&format!("{}: those seen", rule.name)))));
        }
        format!("{}{}\n", comment(&listed(&words)), block.with(&values))
    }

    /// Whether all that the rule is about is learned, or sensitive: then a rule on the rest could never match.
    fn is_taken_whole(&self, rule: &Rule) -> bool {
        let (paths, access) = rule.paths();
        let wanted = rule.subjects.iter().filter(|subject| self.scoped().is_none_or(|scoped| scoped == **subject));
        let subjects = wanted.filter_map(|index| self.policy.subjects.get(*index as usize));
        let learned: Vec<Vec<Learned>> = match rule.when {
            When::Exec { .. } => subjects.map(|subject| self.whole_programs(rule, &subject.name)).collect(),
            _ => subjects
                .map(|subject| {
                    self.opens.get(&(rule.name.as_str(), subject.name.as_str())).cloned().unwrap_or_default()
                })
                .collect(),
        };
        let taken = |pattern: &Pattern, class: Class, learned: &[Learned]| {
            self.watches.iter().any(|watch| watch.covers(pattern, class))
                || learned.iter().any(|one| one.access & class.bit() != 0 && one.pattern.covers(pattern))
        };
        !paths.is_empty()
            && learned
                .iter()
                .all(|learned| paths.iter().all(|pattern| classes(access).all(|class| taken(pattern, class, learned))))
    }

    /// The programs that the subject may execute.
    fn programs(&self, rule: &Rule, subject: &str) -> Vec<Program<'a>> {
        let seen = self.all().filter(|(asked, asks, _)| asked.name == rule.name && *asks == subject);
        let mut programs: Vec<Program<'a>> = Vec::new();
        for (piece, evidence) in seen.flat_map(|(_, _, seen)| seen) {
            if let Piece::Exec(path, given) = piece
                && !self.is_kept(piece)
                && !self.is_written(subject, path)
            {
                // They are in the order of their paths.
                match programs.last_mut().filter(|last| last.path == path) {
                    Some(last) => last.given.push((given, evidence)),
                    None => programs.push(Program { path, given: vec![(given, evidence)] }),
                }
            }
        }
        programs
    }

    /// Those of which not some subcommands only are allowed.
    fn whole_programs(&self, rule: &Rule, subject: &str) -> Vec<Learned> {
        let programs = self.programs(rule, subject);
        programs.iter().filter(|program| program.subcommands().is_none()).filter_map(Program::learned).collect()
    }

    /// What was seen and is left to the rule on the rest, and why.
    fn left_to(&self, rule: &Rule) -> String {
        let untold = self.observed.untold.get(&rule.name).cloned().unwrap_or_default();
        let mut text = String::new();
        if !untold.is_empty() {
            text += &format!("Seen, and no rule can say it as narrow as it was asked:\n{}", listed(&untold));
        }
        let of_rule: Vec<_> = self.all().filter(|(asked, ..)| asked.name == rule.name).collect();
        let of_pieces = |wanted: &dyn Fn(&str, &Piece) -> bool| -> BTreeMap<String, Evidence> {
            let pieces = of_rule
                .iter()
                .flat_map(|(_, subject, seen)| seen.iter().map(move |(piece, from)| (subject, piece, from)));
            in_lines(pieces.filter(|(subject, piece, _)| wanted(subject, piece)).map(|(_, piece, from)| (piece, from)))
        };
        let refused = of_pieces(&|_, piece| self.is_refused(piece) && !self.is_watched(piece));
        if !refused.is_empty() {
            text += &format!("Seen, and not allowed, since without a rule it is refused:\n{}", listed(&refused));
        }
        let written = of_pieces(&|subject, piece| match piece {
            Piece::Exec(path, _) => !self.is_kept(piece) && self.is_written(subject, path),
            _ => false,
        });
        if !written.is_empty() {
            let why = "the subject writes these, so they could be any program";
            text += &format!("Seen, and not allowed, since {why}:\n{}", listed(&written));
        }
        if of_rule.is_empty() && text.is_empty() {
            text += "Nothing of it was seen.\n";
        }
        comment(&text)
    }

    /// What a rule kept back in the record, as comments: it stays so. What people approved they approved once each.
    fn kept_by(&self, rule: &Rule) -> String {
        self.observed.kept.get(&Some(rule.name.clone())).map_or_else(String::new, |kept| {
            comment(&format!("In the record it kept back, or would have:\n{}", kept_back(kept)))
        })
    }

    /// What was refused, or would have been, since no rule names it, or by rules that this policy does not have.
    fn unnamed(&self) -> String {
        let known = |rule: &Option<String>| rule.as_ref().is_some_and(|rule| self.names.contains(rule));
        let mut text = String::new();
        for (rule, kept) in self.observed.kept.iter().filter(|(rule, _)| !known(rule)) {
            let by = rule.as_ref().map_or("since no rule names it".to_owned(), |rule| format!("by {:?}", shown(rule)));
            text += &format!("Kept back, or would have been, {by}. Nothing in here allows it:\n{}", kept_back(kept));
        }
        comment(&text)
    }
}

/// Whether it audits all that it is about; of the subject with this index, if only that one is looked at.
fn is_learned_from(rule: &Rule, scoped: Option<u32>) -> bool {
    let is_for = scoped.is_none_or(|subject| rule.subjects.contains(&subject));
    is_for && rule.then == Then::Audit && rule.only.is_nothing()
}

fn index_of(policy: &Policy, subject: &str) -> Option<u32> {
    (0..).zip(&policy.subjects).find(|(_, known)| known.name == subject).map(|(index, _)| index)
}

/// Who is asked: who is named, or the only group.
fn group<'a>(policy: &'a Policy, terms: &'a Terms) -> Result<Option<&'a str>, Flaw> {
    let known: Vec<_> = policy.groups.keys().map(String::as_str).collect();
    let group = match &terms.reviewers {
        Some(named) => known.iter().find(|group| *group == named).copied(),
        None => (known.len() == 1).then(|| known[0]),
    };
    match (group, &terms.reviewers) {
        (None, Some(named)) => Err(Flaw::new(
            format!("the policy has no group of reviewers {named:?}"),
            format!("it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }),
        )),
        (None, None) if terms.otherwise == Verdict::Hold => Err(match known.as_slice() {
            [] => Flaw::new(
                "the policy has no reviewers, so nothing can be held",
                "add [reviewers] to it, or say --otherwise deny",
            ),
            several => Flaw::new(
                "the policy has several groups of reviewers",
                format!("say who is asked: --reviewers {}", several.join(" or --reviewers ")),
            ),
        }),
        (group, _) => Ok(group),
    }
}

fn kind(rule: &Rule) -> &'static str {
    match rule.when {
        When::Open { .. } => "open",
        When::Exec { .. } => "exec",
        When::Connect { .. } => "connect",
        When::System { .. } => "system",
    }
}

/// Whether it is about every file, or every address.
fn is_everything(rule: &Rule) -> bool {
    match &rule.when {
        When::Open { paths, .. } | When::Exec { paths } => paths.iter().any(Pattern::is_everything),
        When::Connect { to, .. } => to.contains(&super::Block::ANY),
        When::System { .. } => false,
    }
}

/// The piece as a request.
fn asked(subject: &str, piece: &Piece) -> Asked {
    let what = match piece {
        Piece::Open(path, access) => file(path, *access, Vec::new()),
        Piece::Exec(path, given) => file(path, Class::Exec.bit(), given.clone().unwrap_or_default()),
        Piece::Connect(to, port, protocol) => {
            let number = only::protocol_words(*protocol).first().and_then(|word| super::asked::protocol(word).ok());
            What::Connect { to: *to, port: *port, protocol: number.unwrap_or(0), names: Vec::new() }
        }
        Piece::System(system) => What::System(*system),
    };
    Asked {
        subject: subject.to_owned(),
        user: None,
        login: None,
        groups: Vec::new(),
        cwd: None,
        at: NOON,
        read: Vec::new(),
        what,
    }
}

fn file(path: &str, access: u32, args: Vec<String>) -> What {
    What::File { path: path.into(), access, args, owner: None, mode: 0 }
}

/// Pieces in a line each, and where they come from.
fn in_lines<'p>(pieces: impl Iterator<Item = (&'p Piece, &'p Evidence)>) -> BTreeMap<String, Evidence> {
    let mut lines = BTreeMap::new();
    pieces.for_each(|(piece, from)| observed::add(&mut lines, observed::said(asked("", piece).what), from));
    lines
}

/// Where all of it comes from.
fn sum<'a>(mut all: impl Iterator<Item = &'a Evidence>) -> Option<Evidence> {
    let mut sum = all.next()?.clone();
    all.for_each(|one| sum.add(one));
    Some(sum)
}

/// A pattern in a list, with where it comes from.
fn line(learned: &Learned) -> String {
    let files = match learned.files {
        files if files > 1 => format!("{files} files, "),
        _ if learned.pattern.is_exact() => String::new(),
        _ => "one such file, ".to_owned(),
    };
    format!("    {},  # {files}{}\n", quoted(&learned.text), told(&learned.evidence))
}

/// Where something comes from, in a line.
fn told(evidence: &Evidence) -> String {
    let Evidence { times, first, last, programs, lines } = evidence;
    let count = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
    let when = if first == last { at(first) } else { format!("{} to {}", at(first), at(last)) };
    let programs: Vec<_> = programs.iter().map(|program| shown(program)).collect();
    let by =
        if programs.is_empty() { String::new() } else { format!(", by {}", some(&programs, PROGRAMS, programs.len())) };
    let numbers: Vec<_> = lines.iter().map(usize::to_string).collect();
    let word = if *times == 1 { "line" } else { "lines" };
    format!("{count}, {when}{by}; {word} {}", some(&numbers, numbers.len(), *times))
}

/// The first ones, and how many there are more.
fn some(texts: &[String], listed: usize, all: usize) -> String {
    let first = texts.iter().take(listed).cloned().collect::<Vec<_>>().join(", ");
    match all.saturating_sub(listed.min(texts.len())) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn at(moment: &jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Operations, one a line, each with where it comes from.
fn listed(seen: &BTreeMap<String, Evidence>) -> String {
    let mut text: String =
        seen.iter().take(LISTED).map(|(what, from)| format!("  {}: {}\n", shown(what), told(from))).collect();
    if seen.len() > LISTED {
        text += &format!("  and {} more\n", seen.len() - LISTED);
    }
    text
}

/// Likewise, of what was kept back.
fn kept_back(kept: &BTreeMap<String, Kept>) -> String {
    let mut text = String::new();
    for (what, Kept { verdict, evidence, approved, by }) in kept.iter().take(LISTED) {
        text += &format!("  {verdict} {}: {}\n", shown(what), told(evidence));
        if *approved != 0 {
            let by: Vec<_> = by.iter().map(|who| shown(who)).collect();
            text += &format!(
                "    approved {approved} of {} times, by {}: to let it pass unasked, allow just that above this rule\n",
                evidence.times,
                by.join(", ")
            );
        }
    }
    if kept.len() > LISTED {
        text += &format!("  and {} more\n", kept.len() - LISTED);
    }
    text
}
