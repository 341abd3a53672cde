//! What rules ask for beside what is looked up, in the numbers of the kernel's tables.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_common::tables::{Conditions, MemberKey, NameKey, RuleKey, SOCKET, STARTERS, Schedule};

use super::{Tables, limits, workplaces::Workplaces};
use crate::policy::{
    Only, Places, Policy, Rule,
    host_name::HostName,
    only::User,
    problem::{Problem, Span},
};

/// Adds the conditions of the policy's rules.
pub fn compile(
    policy: &Policy,
    revision: u32,
    places: &dyn Places,
    workplaces: &Workplaces<'_>,
    tables: &mut Tables,
) -> Vec<Problem> {
    let mut numbering = Numbering {
        places,
        problems: Vec::new(),
        sets: BTreeMap::new(),
        hosts: BTreeMap::new(),
        schedules: BTreeMap::new(),
    };
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| !rule.only.is_unconditional()) {
        let labels = policy.labels_named(&rule.only.labels);
        let workplaces = workplaces.mask(rule);
        let conditions = Conditions { labels, workplaces, ..numbering.of(rule) };
        tables.conditions.insert(RuleKey { revision, rule: index }, conditions);
    }
    for (index, subject) in (0..).zip(&policy.subjects).filter(|(_, subject)| subject.has_conditions()) {
        let users = numbering.set(USERS, &subject.users, &subject.span);
        let groups = numbering.set(GROUPS, &subject.groups, &subject.span);
        let labels = if subject.parent.is_empty() { 0 } else { 1 << index };
        let conditions = Conditions { labels, users, groups, ..Conditions::default() };
        tables.conditions.insert(RuleKey { revision, rule: STARTERS + index }, conditions);
    }
    let Numbering { sets, hosts, schedules, problems, .. } = numbering;
    for (ids, set) in sets {
        tables.members.extend(ids.into_iter().map(|id| MemberKey { revision, set, id }));
    }
    for (names, set) in hosts {
        tables.host_names.extend(names.iter().map(|name| NameKey { revision, subject: set, name: name.key() }));
    }
    let mut numbered: Vec<_> = schedules.into_iter().collect();
    numbered.sort_by_key(|(_, number)| *number);
    tables.schedules = numbered.into_iter().map(|(schedule, _)| schedule).collect();
    problems
}

/// What names stand for, and how this host numbers them.
type Named = (&'static str, fn(&dyn Places, &str) -> Option<u32>);

const USERS: Named = ("user", |places, name| places.user(name));
const GROUPS: Named = ("group", |places, name| places.group(name));

/// Numbers, from 1, for what is the same in several rules.
struct Numbering<'a> {
    places: &'a dyn Places,
    sets: BTreeMap<BTreeSet<u32>, u32>,
    hosts: BTreeMap<BTreeSet<HostName>, u32>,
    schedules: BTreeMap<Schedule, u32>,
    problems: Vec<Problem>,
}

impl Numbering<'_> {
    fn of(&mut self, rule: &Rule) -> Conditions {
        let Only {
            labels: _,
            users,
            logins,
            groups,
            owners,
            modes,
            socket,
            protocols,
            hosts,
            workplaces: _,
            during,
            arguments: _,
            observes,
        } = &rule.only;
        Conditions {
            labels: 0,
            workplaces: 0,
            users: self.set(USERS, users, &rule.span),
            logins: self.set(USERS, logins, &rule.span),
            groups: self.set(GROUPS, groups, &rule.span),
            owners: self.set(USERS, owners, &rule.span),
            modes: *modes,
            protocols: *protocols,
            schedule: during.map_or(0, |schedule| self.schedule(schedule, &rule.span)),
            kind: if *socket { SOCKET } else { 0 },
            hosts: self.hosts(hosts),
            observes: (*observes).into(),
        }
    }

    fn hosts(&mut self, names: &[HostName]) -> u32 {
        if names.is_empty() {
            return 0;
        }
        let next = self.hosts.len() as u32 + 1;
        *self.hosts.entry(names.iter().cloned().collect()).or_insert(next)
    }

    fn set(&mut self, named: Named, members: &[User], span: &Span) -> u32 {
        if members.is_empty() {
            return 0;
        }
        let ids: BTreeSet<_> = members.iter().filter_map(|member| self.number(named, member, span)).collect();
        let next = self.sets.len() as u32 + 1;
        *self.sets.entry(ids).or_insert(next)
    }

    fn number(&mut self, (what, lookup): Named, member: &User, span: &Span) -> Option<u32> {
        let name = match member {
            User::Number(number) => return Some(*number),
            User::Name(name) => name,
        };
        let number = lookup(self.places, name);
        if number.is_none() {
            let message = format!("this host has no {what} {name:?}");
            self.problems.push(Problem::new(span.clone(), message, format!("create the {what}, or write the number")));
        }
        number
    }

    fn schedule(&mut self, schedule: Schedule, span: &Span) -> u32 {
        let next = self.schedules.len() as u32 + 1;
        let number = *self.schedules.entry(schedule).or_insert(next);
        if number as usize >= limits::SCHEDULES {
            let message = format!("the policy has more than {} different times in during", limits::SCHEDULES - 1);
            self.problems.push(Problem::new(span.clone(), message, "use the same times in several rules"));
        }
        number
    }
}
