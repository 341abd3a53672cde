//! What of a rule's terms the reviewers whom a policy names cannot meet, and what adds nothing. No reason to refuse it: they may
//! get what they lack, and what they cannot approve is denied.

use super::{Policy, Problem, Rule, Terms};
use crate::{
    quorum::{self, Assurance, Group},
    request::span_of,
};

/// What of the policy's terms nobody can meet, or adds nothing.
pub fn found(policy: &Policy) -> Vec<Problem> {
    let terms = policy.rules.iter().filter_map(|rule| Some((rule, rule.terms()?)));
    terms.flat_map(|(rule, terms)| of_terms(policy, rule, terms)).collect()
}

fn of_terms(policy: &Policy, rule: &Rule, terms: &Terms) -> Vec<Problem> {
    let escalated = terms.escalate.iter().map(|step| {
        let named = format!("the step of escalate after {}", span_of(step.after));
        (named, &step.reviewers[..])
    });
    let steps: Vec<_> = [("this rule".to_owned(), &terms.reviewers[..])].into_iter().chain(escalated).collect();
    let problem = |(index, (named, groups)): (usize, &(String, &[Group]))| {
        let (message, remedy) = match terms.assurance {
            Assurance::High if !quorum::can_be_met(&with_keys(policy, groups)) => {
                let message = format!(
                    "{named} asks for assurance \"high\", and too few of {} have an SSH key",
                    quorum::named(groups)
                );
                (message, "give them [[reviewer]] with ssh = [\"...\"], or ask for less")
            }
            _ if adds_nothing(groups, &steps[..index]) => {
                let message = format!("{named} never decides: whoever could has been asked before, for no more");
                (message, "ask other groups, or fewer approvals than before; remind asks the same again")
            }
            _ => return None,
        };
        Some(Problem::new(rule.span.clone(), message, remedy))
    };
    steps.iter().enumerate().filter_map(problem).collect()
}

/// The groups with those members alone who can sign.
fn with_keys(policy: &Policy, groups: &[Group]) -> Vec<Group> {
    let signs = |name: &&String| policy.people.iter().any(|person| person.name == **name && !person.keys.is_empty());
    let group =
        |group: &Group| Group { members: group.members.iter().filter(signs).cloned().collect(), ..group.clone() };
    groups.iter().map(group).collect()
}

/// Whether all of these are asked by then, and enough of them for this would have been enough for what was asked `before`.
fn adds_nothing(groups: &[Group], before: &[(String, &[Group])]) -> bool {
    let asked = |group: &Group| before.iter().flat_map(|(_, groups)| *groups).any(|other| other.name == group.name);
    let at_least =
        |less: &Group| groups.iter().any(|group| group.name == less.name && group.approvals >= less.approvals);
    groups.iter().all(asked) && before.iter().any(|(_, less)| less.iter().all(at_least))
}

#[cfg(test)]
mod tests {
    use crate::policy::{Host, Source, parse};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIl5TV74XP/dk14Bxt4im/p74e57elKx0LEpTS2juNet";

    /// What is said of a rule with these terms. Alice alone has a key.
    fn said(terms: &str) -> Vec<String> {
        let text = format!(
            "[[subject]]\nname = \"agent\"\nexe = [\"/usr/bin/agent\"]\n\n\
             [reviewers]\nsecurity = [\"alice\", \"bob\"]\nleads = [\"carol\"]\n\n\
             [[reviewer]]\nname = \"alice\"\nssh = [\"{KEY}\"]\n\n\
             [[reviewer]]\nname = \"bob\"\nuser = [\"bob\"]\n\n\
             [[rule]]\nname = \"r\"\nopen = {{ path = [\"/srv/x\"], access = [\"read\"] }}\nthen = \"hold\"\n{terms}\n"
        );
        let policy = parse(Source::one("p.toml", text), &Host::this()).unwrap_or_else(|error| panic!("{error}"));
        super::found(&policy).into_iter().map(|problem| problem.message).collect()
    }

    fn step(minutes: u32, reviewers: &str) -> String {
        format!("{{ after = \"{minutes}m\", reviewers = {reviewers} }}")
    }

    #[test]
    fn what_can_be_approved_raises_no_doubt() {
        let steps = [step(1, "{ security = 1 }"), step(2, "\"leads\""), step(3, "{ security = 1, leads = 1 }")];
        for terms in [
            "reviewers = \"security\"",
            "reviewers = \"leads\"\nassurance = \"medium\"",
            "reviewers = \"security\"\nassurance = \"high\"",
            "reviewers = { security = 2 }",
            &format!("reviewers = {{ security = 2 }}\nescalate = [{}, {}]", steps[0], steps[1]),
            &format!("reviewers = {{ security = 2 }}\nescalate = [{}]", steps[2]),
        ] {
            assert_eq!(said(terms), [""; 0], "{terms}");
        }
    }

    #[test]
    fn too_few_keys_for_what_must_be_signed_are_told() {
        let few =
            |of: &str, whom: &str| format!("{of} asks for assurance \"high\", and too few of {whom} have an SSH key");
        let high = |reviewers: &str| said(&format!("assurance = \"high\"\nreviewers = {reviewers}"));
        assert_eq!(high("\"leads\""), [few("this rule", "leads (carol)")]);
        assert_eq!(high("{ security = 2 }"), [few("this rule", "2 of security (alice, bob)")]);
        let escalated = format!("\"security\"\nescalate = [{}]", step(1, "\"leads\""));
        assert_eq!(high(&escalated), [few("the step of escalate after 1 min 0 s", "leads (carol)")]);
    }

    #[test]
    fn a_step_that_never_decides_is_told() {
        let never = |after: &str| {
            format!(
                "the step of escalate after {after} never decides: whoever could has been asked before, for no more"
            )
        };
        let escalated =
            |steps: &[String]| said(&format!("reviewers = \"security\"\nescalate = [{}]", steps.join(", ")));
        assert_eq!(escalated(&[step(1, "\"security\"")]), [never("1 min 0 s")]);
        let steps = [step(1, "\"leads\""), step(2, "{ security = 2 }"), step(3, "{ security = 1, leads = 1 }")];
        assert_eq!(escalated(&steps), [never("2 min 0 s"), never("3 min 0 s")]);
    }
}
