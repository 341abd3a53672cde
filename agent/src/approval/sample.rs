//! A question about something that is not held: to look at, and to try channels with.

use std::{sync::Arc, time::Duration};

use holdpoint_common::decision::Decision;
use jiff::{SignedDuration, Timestamp};

use super::{
    channel::{Channel, Message, Preview, Says},
    delivery::{self, Delivered, Failure, Limit},
    lane::Lanes,
    review::Link,
};
use crate::{
    claims::{Claim, Kind, Speaker},
    quorum::{Assurance, Group, SelfAnswer},
    request::{Answer, Context, Digest, End, Hold, HoldId, Object, Operation, Process, Request, Standing},
    scope::Scope,
};

/// No hold has it: the kernel gives others.
const NOBODY: HoldId = HoldId(0);
/// For one attempt.
const TRIAL: Limit = Limit { time: Duration::from_secs(60), attempts: 1 };

/// What came of trying a channel.
#[derive(Debug)]
pub struct Tried {
    /// Of the question: an answer, if it came back at once, or what went wrong.
    pub question: Result<Option<Box<Answer>>, String>,
    /// Of saying that it is over; nothing if the question was not taken.
    pub outcome: Option<Result<(), String>>,
}

/// What `channel` would send of a sample.
pub fn preview(channel: &Channel, host: &str) -> Preview {
    let review = channel.review.as_ref().map(|review| review.shown(NOBODY));
    channel.way.preview(&question(host, review, false))
}

/// Sends a question marked as a test to `channel`, and that it is over: after `clicked`, if there is something to click.
pub async fn try_out(channel: &Channel, host: &str, clicked: impl Future<Output = ()>) -> Tried {
    // Nobody is logged in by a test: the links are the agent's.
    let review = channel.review.as_ref().map(|review| review.plain(NOBODY));
    let question = question(host, review, true);
    let standing = Standing { hold: NOBODY, state: End::Withdrawn, decision: Decision::Withdraw, by: None };
    let outcome = Message { says: Says::Outcome(standing), review: None, ..question.clone() };
    match send(channel, question).await {
        Err(failure) => Tried { question: Err(failure.error), outcome: None },
        Ok(Delivered { answer, .. }) => {
            if channel.way.hears_clicks() {
                clicked.await;
            }
            let told = send(channel, outcome).await.map(|_| ()).map_err(|failure| failure.error);
            Tried { question: Ok(answer), outcome: Some(told) }
        }
    }
}

async fn send(channel: &Channel, message: Message) -> Result<Delivered, Failure> {
    let (patience, message) = (channel.way.patience(&message), Arc::new(message));
    delivery::deliver(TRIAL, patience, &Lanes::new(1).of(&message), || channel.way.send(channel, &message)).await
}

fn question(host: &str, review: Option<Link>, test: bool) -> Message {
    let at = Timestamp::now();
    Message { at, host: host.into(), hold: hold(NOBODY, at), says: Says::Question { callback: None }, review, test }
}

/// A hold of this id that nobody holds, asked about at that moment.
pub fn hold(id: HoldId, at: Timestamp) -> Hold {
    let request = request(at);
    let process = |pid, exe: &str, argv: &[&str]| {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Process { pid, exe: exe.into(), argv, user: "agent".into() }
    };
    let ancestry = vec![
        process(4243, "/usr/bin/bash", &["bash", "-c", "git push origin main"]),
        process(4242, "/usr/local/bin/agent", &["agent", "--task", "release"]),
    ];
    Hold {
        id,
        digest: Digest::of(id, &request),
        deadline: at + SignedDuration::from_mins(5),
        reviewers: vec![Group { name: "sample".into(), approvals: 1, members: vec!["alice".into(), "bob".into()] }],
        escalation: vec![],
        remind: None,
        assurance: Assurance::Basic,
        own: SelfAnswer::Refused,
        scopes: vec![Scope::Process, Scope::Tree, Scope::Time(1800)],
        approved: vec![],
        on_deny: Decision::Kill,
        on_timeout: Decision::Kill,
        pause: Duration::ZERO,
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
            claim(at, "publish release 1.4", Speaker::Launcher { user: "laura".into() }),
            claim(at, "correct a typo", Speaker::Process { pid: 4242, exe: "/usr/local/bin/agent".into() }),
        ],
        context: Context { cwd: "/srv/project".into(), unit: Some("agent.service".into()), ancestry },
    }
}

fn claim(at: Timestamp, text: &str, by: Speaker) -> Claim {
    Claim { kind: Kind::Intent, text: text.into(), at, by }
}

fn request(at: Timestamp) -> Request {
    let path = "/usr/bin/git".to_owned();
    let argv = ["git", "push", "origin", "main"].map(Into::into).into();
    let object = Object { device: 1, inode: 2 };
    Request {
        tree: "0000000000000000".into(),
        subject: "sample".into(),
        rule: Some("a sample".into()),
        why: Some("nothing is held: this is what a question looks like".into()),
        policy: "0000000000000000".into(),
        what: Operation::Exec {
            filename: path.clone(),
            path,
            check: false,
            argv,
            cut: false,
            masked: 0,
            object,
            directory: object,
            content: None,
        },
        pid: 4243,
        tid: 4243,
        started: 0,
        uid: 1000,
        gid: 1000,
        login: None,
        launcher: 1001,
        at,
    }
}
