//! Who is a reviewer by the policy in force, and by what each is known.

use std::collections::BTreeSet;

use super::Reviewer;
use crate::{
    identity,
    policy::{Person, Policy},
    request::Entrance,
};

/// All reviewers. The default: nobody.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    names: BTreeSet<String>,
    people: Vec<Person>,
}

impl Roll {
    /// Reviewers of these names; `people` says who they are of whom it is said.
    pub fn new(names: impl IntoIterator<Item = String>, people: Vec<Person>) -> Self {
        Self { names: names.into_iter().collect(), people }
    }

    /// Those of the policy: the members of all groups.
    pub fn of(policy: &Policy) -> Self {
        Self::new(policy.groups.values().flatten().cloned(), policy.people.clone())
    }

    /// Which of them the entrance leads to.
    pub fn who(&self, entrance: &Entrance) -> Option<String> {
        let leads_to = identity::on_page(&self.people, "", Some(entrance)).ok()?;
        self.names.contains(&leads_to).then_some(leads_to)
    }

    /// Whether that is one of them, and is still who the entrance leads to.
    pub fn has(&self, Reviewer { user, entrance }: &Reviewer) -> bool {
        let leads_to = identity::on_page(&self.people, user, entrance.as_ref());
        self.names.contains(user) && leads_to.is_ok_and(|who| who == *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Caller;

    fn reviewer(user: &str, name: Option<&str>) -> Reviewer {
        let local = |name: &str| Entrance::Local(Caller { uid: 1, login: None, name: name.into() });
        Reviewer { user: user.into(), entrance: name.map(local) }
    }

    #[test]
    fn a_reviewer_is_in_a_group_and_still_the_same_person() {
        let with = |user: &str| Person { name: "alice".into(), users: vec![user.into()], ..Person::default() };
        let names = || ["alice", "bob"].map(str::to_owned);
        let (plain, al, other) =
            (Roll::new(names(), vec![]), Roll::new(names(), vec![with("al")]), Roll::new(names(), vec![with("x")]));
        for (user, name, known) in [
            ("alice", None, [true, true, true]),
            ("alice", Some("al"), [false, true, false]),
            ("alice", Some("alice"), [true, false, false]),
            ("bob", Some("bob"), [true, true, true]),
            ("bob", Some("al"), [false, false, false]),
            ("carol", None, [false, false, false]),
            ("carol", Some("carol"), [false, false, false]),
        ] {
            let reviewer = reviewer(user, name);
            assert_eq!([&plain, &al, &other].map(|roll| roll.has(&reviewer)), known, "{reviewer:?}");
        }
    }
}
