//! Whose answer it is: from the way that it came, and what was said there of who answers, to somebody whom the policy knows.
//! Pure; every answer passes here once, under the policy that is in force then.
//!
//! | way | whose |
//! |---|---|
//! | a user of this host, on the page too | whose `user` that is; of root, the one who has logged in |
//! | Slack | whose `slack` that is |
//! | webhook, exec | whose `name` or `email` is said, where the channel is among the person's `integrations` |
//! | a login by SSO on the page | whose `sso` that is, else whose `email`, where the configuration lets that count |
//! | a signature | whose key it is |
//!
//! Of who has no `[[reviewer]]` the name is all that is known: it is the user of that name, and any channel can say it.

use std::mem;

use crate::{
    policy::Person,
    quorum::Assurance,
    request::{Account, Answer, Caller, Entrance, Known, Proof, Refusal, shown},
};

/// Puts the answer in the name of whose it is, as `people` have it.
///
/// # Errors
/// It is nobody's whom the policy knows by this way; then it stays as it is.
pub fn identify(people: &[Person], answer: &mut Answer) -> Result<(), Refusal> {
    let (who, assurance) = match &answer.proof {
        Proof::Local(caller) => (local(people, caller)?, Assurance::Medium),
        Proof::Page { user, entrance } => (on_page(people, user, entrance.as_ref())?, Assurance::Medium),
        Proof::Slack { user, .. } => (slack(people, user)?, Assurance::Basic),
        Proof::Webhook { channel, .. } | Proof::Exec { channel, .. } => called(people, &answer.who, channel)?,
        Proof::Signed { .. } => (answer.who.clone(), Assurance::High),
    };
    let users = person(people, &who).map(|person| person.users.clone()).unwrap_or_default();
    let claimed = Some(mem::replace(&mut answer.who, who)).filter(|claimed| *claimed != answer.who);
    *answer.known = Known { assurance, claimed, users, ..Known::default() };
    Ok(())
}

/// Who the user of this host is.
///
/// # Errors
/// Nobody whom the policy knows; or one user, and another one by the login. That can be who has become the former by `sudo -u`,
/// but also the former alone: a process without a login gives itself the one that it likes, root or not
/// (`audit_set_loginuid_perm` in the kernel's kernel/audit.c). Root can become anybody in any case.
pub fn local(people: &[Person], caller: &Caller) -> Result<String, Refusal> {
    match caller {
        Caller { uid: 1.., login: Some(login), name } => {
            let name = shown(name);
            Err(Refusal::Stranger(format!("this is the user {name}, but user {login} by the login: it can be either")))
        }
        Caller { name, .. } => user(people, name),
    }
}

/// Who it is that came to the page by `entrance`, for the reviewer `user`.
///
/// # Errors
/// Nobody whom the policy knows: see [`local`].
pub fn on_page(people: &[Person], user: &str, entrance: Option<&Entrance>) -> Result<String, Refusal> {
    match entrance {
        Some(Entrance::Local(caller)) => local(people, caller),
        Some(Entrance::Sso(found)) => {
            let Account { issuer, subject, email } = &**found;
            let by_subject = people.iter().find(|person| person.logs_in(issuer, subject));
            let by_email = || people.iter().find(|person| email.as_ref().is_some_and(|email| person.has_email(email)));
            let stranger = || Refusal::Stranger(format!("no reviewer in the policy is {found}"));
            by_subject.or_else(by_email).map(|person| person.name.clone()).ok_or_else(stranger)
        }
        Some(Entrance::Message { .. }) | None => Ok(user.to_owned()),
    }
}

fn user(people: &[Person], name: &str) -> Result<String, Refusal> {
    let owner = people.iter().find(|person| person.users.iter().any(|user| user == name));
    match (owner, person(people, name)) {
        (Some(owner), _) => Ok(owner.name.clone()),
        (None, None) => Ok(name.to_owned()),
        (None, Some(_)) => {
            Err(Refusal::Stranger(format!("no reviewer in the policy is this host's user {}", shown(name))))
        }
    }
}

fn slack(people: &[Person], id: &str) -> Result<String, Refusal> {
    let owner = people.iter().find(|person| person.slack.iter().any(|user| user == id));
    let stranger = || Refusal::Stranger(format!("no reviewer in the policy is Slack's user {}", shown(id)));
    owner.map(|owner| owner.name.clone()).ok_or_else(stranger)
}

/// Who it is that the integration `channel` calls so, and how sure that is.
fn called(people: &[Person], claimed: &str, channel: &str) -> Result<(String, Assurance), Refusal> {
    let Some(owner) = people.iter().find(|person| person.is_called(claimed)) else {
        return Ok((claimed.to_owned(), Assurance::Basic));
    };
    let stranger = || Refusal::Stranger(format!("the channel {channel:?} may not speak for {}", shown(&owner.name)));
    owner.integrations.get(channel).map(|assurance| (owner.name.clone(), *assurance)).ok_or_else(stranger)
}

fn person<'a>(people: &'a [Person], name: &str) -> Option<&'a Person> {
    people.iter().find(|person| person.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::{Digest, HoldId, Word},
        scope::Scope,
    };

    /// Whose it is, and how sure that is; or why nobody's.
    type Found<T> = Result<(T, Assurance), String>;

    /// alice with everything but a key, bob with a key alone; carol has no section.
    fn people() -> Vec<Person> {
        let texts = |text: &str| vec![text.to_owned()];
        let alice = Person {
            name: "alice".into(),
            users: texts("al"),
            slack: texts("T1/U1"),
            emails: texts("a@b.example"),
            sso: texts("https://login.example 42"),
            integrations: [("ops".into(), Assurance::Basic), ("sso".into(), Assurance::Medium)].into(),
            keys: vec![],
        };
        vec![alice, Person { name: "bob".into(), ..Person::default() }]
    }

    fn local(uid: u32, login: Option<u32>, name: &str) -> Proof {
        Proof::Local(Caller { uid, login, name: name.into() })
    }

    fn page(user: &str, caller: Option<&str>) -> Proof {
        let caller = caller.map(|name| Caller { uid: 1, login: None, name: name.into() });
        Proof::Page { user: user.into(), entrance: caller.map(Entrance::Local) }
    }

    fn sso(issuer: &str, subject: &str, email: Option<&str>) -> Proof {
        let (issuer, subject, email) = (issuer.into(), subject.into(), email.map(Into::into));
        Proof::Page {
            user: "alice".into(),
            entrance: Some(Entrance::Sso(Box::new(Account { issuer, subject, email }))),
        }
    }

    fn slack(user: &str) -> Proof {
        Proof::Slack { channel: "team".into(), user: user.into(), asks: vec![] }
    }

    fn webhook(channel: &str) -> Proof {
        Proof::Webhook { channel: channel.into(), asks: vec![] }
    }

    fn exec(channel: &str) -> Proof {
        Proof::Exec { channel: channel.into(), asks: vec![] }
    }

    fn signed() -> Proof {
        Proof::Signed { key: "SHA256:x".into(), signature: "x".into(), uid: 0 }
    }

    fn answer(claimed: &str, proof: Proof) -> Answer {
        let (digest, word, scope) = (Digest("d".into()), Word::Approve, Scope::Once);
        let (hold, who, known) = (HoldId(1), claimed.into(), Box::default());
        Answer { hold, digest, word, scope, who, why: None, proof, known }
    }

    fn said(claimed: &str, proof: Proof) -> Found<String> {
        let mut answer = answer(claimed, proof);
        let before = answer.clone();
        let found = identify(&people(), &mut answer);
        found.map_err(|refusal| refusal.to_string()).inspect_err(|_| assert_eq!(answer, before, "as it was"))?;
        Ok((answer.who, answer.known.assurance))
    }

    #[test]
    fn each_way_leads_to_one_person_or_to_nobody() {
        use Assurance::{Basic, High, Medium};
        let no_user = |name| format!("no reviewer in the policy is this host's user {name}");
        let no_slack = |id| format!("no reviewer in the policy is Slack's user {id}");
        let unbound = |channel, who| format!("the channel {channel:?} may not speak for {who}");
        let no_subject = |who| format!("no reviewer in the policy is {who} at https://login.example");
        let login = "https://login.example";
        let rows: [(&str, Proof, Found<&str>); 32] = [
            ("al", local(7, None, "al"), Ok(("alice", Medium))),
            ("al", local(0, Some(7), "al"), Ok(("alice", Medium))),
            (
                "bob",
                local(9, Some(7), "bob"),
                Err("this is the user bob, but user 7 by the login: it can be either".into()),
            ),
            ("alice", local(8, None, "alice"), Err(no_user("alice"))),
            ("bob", local(9, None, "bob"), Err(no_user("bob"))),
            ("carol", local(10, None, "carol"), Ok(("carol", Medium))),
            ("al", page("alice", Some("al")), Ok(("alice", Medium))),
            ("alice", page("alice", Some("alice")), Err(no_user("alice"))),
            ("carol", page("carol", Some("carol")), Ok(("carol", Medium))),
            ("alice", page("alice", None), Ok(("alice", Medium))),
            ("alice", sso(login, "42", None), Ok(("alice", Medium))),
            ("alice", sso(login, "43", None), Err(no_subject("43"))),
            ("alice", sso(login, "43", Some("a@B.example")), Ok(("alice", Medium))),
            ("alice", sso(login, "43", Some("b@b.example")), Err(no_subject("43 (b@b.example)"))),
            ("alice", sso(login, "alice", None), Err(no_subject("alice"))),
            ("alice", sso(login, "4 2", None), Err(no_subject("4 2"))),
            (
                "alice",
                sso("https://other.example", "42", None),
                Err("no reviewer in the policy is 42 at https://other.example".into()),
            ),
            ("T1/U1", slack("T1/U1"), Ok(("alice", Basic))),
            ("T1/U2", slack("T1/U2"), Err(no_slack("T1/U2"))),
            ("T2/U1", slack("T2/U1"), Err(no_slack("T2/U1"))),
            ("alice", slack("alice"), Err(no_slack("alice"))),
            ("alice", webhook("ops"), Ok(("alice", Basic))),
            ("a@b.example", webhook("ops"), Ok(("alice", Basic))),
            ("a@B.Example", exec("sso"), Ok(("alice", Medium))),
            ("A@b.example", exec("sso"), Ok(("A@b.example", Basic))),
            ("alice", exec("other"), Err(unbound("other", "alice"))),
            ("a@b.example", webhook("other"), Err(unbound("other", "alice"))),
            ("bob", webhook("ops"), Err(unbound("ops", "bob"))),
            ("al", webhook("ops"), Ok(("al", Basic))),
            ("T1/U1", webhook("ops"), Ok(("T1/U1", Basic))),
            ("carol", webhook("other"), Ok(("carol", Basic))),
            ("bob", signed(), Ok(("bob", High))),
        ];
        for (claimed, proof, expected) in rows {
            let expected = expected.map(|(who, assurance)| (who.to_owned(), assurance));
            assert_eq!(said(claimed, proof.clone()), expected, "{claimed} {proof:?}");
        }
    }

    #[test]
    fn what_was_claimed_is_kept_where_it_is_another_name() {
        let known = |claimed: &str| {
            let mut answer = answer(claimed, webhook("ops"));
            identify(&people(), &mut answer).expect("alice");
            answer.known
        };
        assert_eq!(known("a@b.example").claimed.as_deref(), Some("a@b.example"));
        assert_eq!((known("alice").claimed, known("alice").users), (None, vec!["al".to_owned()]));
    }
}
