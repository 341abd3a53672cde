//! A hold to test with.

use super::*;
use crate::claims::{Kind, Speaker};

/// User id of the process, named `agent`.
pub const REQUESTER: u32 = 1000;
/// User id that launched the tree, named `laura`.
pub const LAUNCHER: u32 = 1001;

/// When it was asked.
pub fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// A connection that waits a minute for alice or bob of the group `security`.
pub fn hold(id: HoldId) -> Hold {
    let request = request();
    Hold {
        id,
        digest: Digest::of(id, &request),
        deadline: start() + jiff::SignedDuration::from_mins(1),
        reviewers: vec![Group {
            name: "security".into(),
            approvals: 1,
            members: ["alice", "bob", "laura"].map(Into::into).into(),
        }],
        escalation: vec![],
        remind: None,
        assurance: Assurance::Basic,
        own: SelfAnswer::Refused,
        scopes: vec![],
        approved: vec![],
        on_deny: Decision::Kill,
        on_timeout: Decision::Fail,
        pause: Duration::from_mins(10),
        user: Some("agent".into()),
        launcher_name: Some("laura".into()),
        class: None,
        request,
        same: vec![],
        alone: None,
        behind: None,
        if_read: vec![],
        carried: vec![],
        read: vec![],
        before: vec![],
        claims: vec![
            claim("publish the release", Speaker::Launcher { user: "laura".into() }),
            claim("read the weather", Speaker::Process { pid: 100, exe: "/usr/bin/curl".into() }),
        ],
        context: Context {
            cwd: "/srv".into(),
            unit: Some("agent.service".into()),
            ancestry: vec![process(100), process(1)],
        },
    }
}

/// One that asks for something else than every other one.
pub fn hold_of_its_own(id: HoldId) -> Hold {
    let mut hold = hold(id);
    if let Operation::Connect { port, .. } = &mut hold.request.what {
        *port = u16::try_from(id.0).expect("a small number");
    }
    hold.digest = Digest::of(hold.id, &hold.request);
    hold
}

fn claim(text: &str, by: Speaker) -> Claim {
    Claim { kind: Kind::Intent, text: text.into(), at: start(), by }
}

fn process(pid: u32) -> Process {
    let argv = ["/usr/bin/curl", "https://192.0.2.1/"].map(Into::into).into();
    Process { pid, exe: "/usr/bin/curl".into(), argv, user: "agent".into() }
}

fn request() -> Request {
    Request {
        tree: "0000000000000001".into(),
        subject: "coding-agent".into(),
        rule: Some("customer data stays".into()),
        why: Some("it is theirs".into()),
        policy: "1234567812345678".into(),
        what: Operation::Connect { address: [192, 0, 2, 1].into(), port: 443, protocol: "tcp".into(), names: vec![] },
        pid: 100,
        tid: 101,
        started: 5,
        uid: REQUESTER,
        gid: REQUESTER,
        login: None,
        launcher: LAUNCHER,
        at: start(),
    }
}
