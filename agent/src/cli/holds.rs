//! Holds as people read them. Text that a subject can choose goes through [`shown`] before it is printed.

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    claims::Claim,
    ladder::{self, Step},
    quorum::{Assurance, Group, SelfAnswer},
    record::Before,
    request::{Digest, HoldId, Login, Process, Reading, Same, shown, span},
    scope::{self, Scope},
    sockets::Declined,
};

/// Fewest digits that name a hold.
const FEWEST_DIGITS: usize = 4;
/// Longest operation in the table; `show` has the whole.
const OPERATION_WIDTH: usize = 72;

/// What the client reads of [`crate::sockets::message::view`].
#[derive(Debug, Deserialize)]
pub(super) struct View {
    pub(super) id: String,
    pub(super) digest: Digest,
    pub(super) sentence: String,
    user: Option<String>,
    launcher_name: Option<String>,
    at: Timestamp,
    deadline: Timestamp,
    on_deny: String,
    on_timeout: String,
    reviewers: Vec<Group>,
    #[serde(default)]
    escalation: Vec<Step>,
    assurance: Assurance,
    #[serde(rename = "self", default)]
    own: SelfAnswer,
    #[serde(default)]
    pub(super) scopes: Vec<Scope>,
    #[serde(default)]
    same: Vec<Same>,
    #[serde(default)]
    behind: Option<HoldId>,
    #[serde(default)]
    approved: Vec<String>,
    pub(super) subject: String,
    tree: String,
    launcher: u32,
    rule: Option<String>,
    why: Option<String>,
    policy: String,
    pid: u32,
    tid: u32,
    uid: u32,
    gid: u32,
    #[serde(default)]
    login: Option<Login>,
    #[serde(default)]
    carried: Vec<String>,
    #[serde(default)]
    read: Vec<Reading>,
    #[serde(default)]
    before: Vec<Before>,
    #[serde(default)]
    claims: Vec<Claim>,
    context: Context,
    /// The operation with its objects.
    #[serde(flatten)]
    operation: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Context {
    cwd: String,
    #[serde(default)]
    unit: Option<String>,
    ancestry: Vec<Process>,
}

impl View {
    /// Who asks, by name or number.
    pub(super) fn user(&self) -> String {
        self.user.as_deref().map_or_else(|| self.uid.to_string(), shown)
    }

    /// Who started the tree, likewise.
    fn launcher(&self) -> String {
        self.launcher_name.as_deref().map_or_else(|| self.launcher.to_string(), shown)
    }

    /// What is asked on one line, and how often, or that it waits behind another hold.
    pub(super) fn line(&self) -> String {
        let note = match self.behind {
            Some(first) => format!(" (behind {:.8}…)", first.to_string()),
            None if self.same.is_empty() => String::new(),
            None => format!(" ({} times)", self.same.len() + 1),
        };
        format!("{}{note}", shown(&self.sentence))
    }

    /// Whoever names one hold is not to approve others by that.
    pub(super) fn is_one_call(&self) -> Result<(), Declined> {
        let (id, count) = (shown(&self.id), self.same.len() + 1);
        let several = || Declined::new(format!("an approval of {id} is for {count} calls that ask for the same"));
        let remedy = || format!("look at `holdpoint show {id}`, then `holdpoint approve {id} --all`");
        if self.same.is_empty() { Ok(()) } else { Err(several().remedy(remedy())) }
    }

    /// How long there is until the deadline.
    pub(super) fn left(&self, now: Timestamp) -> String {
        span(self.deadline.duration_since(now).as_secs())
    }

    /// What the agent sent.
    pub(super) fn read(hold: &Value) -> Result<Self, Declined> {
        Self::deserialize(hold)
            .map_err(|error| Declined::new(format!("the agent sent a hold that is not one: {error}")))
    }
}

/// The pending hold whose id begins with `digits`.
pub(super) fn resolve(digits: &str, pending: &[Value]) -> Result<HoldId, Declined> {
    named(digits, pending.iter().filter_map(|hold| hold["id"].as_str()), "hold")
}

/// The one of `ids` that begins with `digits`; `what` it is of is how `holdpoint` calls it that lists them.
pub(super) fn named<'a>(digits: &str, ids: impl Iterator<Item = &'a str>, what: &str) -> Result<HoldId, Declined> {
    let list = format!("`holdpoint {what}s`");
    let wanted = digits.to_ascii_lowercase();
    if wanted.len() < FEWEST_DIGITS || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let cause = format!("\"{}\" does not name a {what}", shown(digits));
        return Err(Declined::new(cause).remedy(format!("give its id, or at least the first 4 digits: see {list}")));
    }
    let matching: Vec<&str> = ids.filter(|id| id.starts_with(&wanted)).collect();
    match matching[..] {
        [] => Err(Declined::new(format!("no {what} begins with {wanted}")).remedy(format!("see {list}"))),
        [id] => id.parse().map_err(Declined::new),
        _ => {
            Err(Declined::new(format!("{wanted} is the beginning of: {}", matching.join(", ")))
                .remedy("give more digits"))
        }
    }
}

/// One line per hold.
pub(super) fn table(holds: &[View], now: Timestamp) -> String {
    if holds.is_empty() {
        return "nothing is held\n".to_owned();
    }
    let head = ["ID", "AGE", "LEFT", "USER", "SUBJECT", "REVIEWERS", "OPERATION"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(holds.iter().map(|hold| row(hold, now))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..6).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn row(hold: &View, now: Timestamp) -> [String; 7] {
    [
        shown(&hold.id),
        span(now.duration_since(hold.at).as_secs()),
        hold.left(now),
        hold.user(),
        shown(&hold.subject),
        shown(&ladder::brief(&hold.reviewers, &hold.escalation)),
        shortened(&hold.line(), OPERATION_WIDTH),
    ]
}

/// The last column is as long as it is.
fn line(row: &[String; 7], widths: &[usize]) -> String {
    let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
    format!("{}{}\n", padded.collect::<String>(), row[6])
}

/// Text of at most `width` characters: its beginning and its end.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let all: Vec<_> = text.chars().collect();
    if all.len() <= width {
        return text.to_owned();
    }
    let (head, tail) = (width.saturating_sub(1) / 2, width / 2);
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
}

/// Everything about one hold; what the kernel saw apart from what was read beside it, and from what is claimed.
pub(super) fn details(hold: &View, now: Timestamp, zone: &TimeZone) -> String {
    let facts = [times(hold, now, zone), operation(hold), asker(hold), read(hold, zone)].concat();
    let parts = [facts, context(hold), claims(hold, zone)];
    parts.concat()
}

fn times(hold: &View, now: Timestamp, zone: &TimeZone) -> String {
    let moment = |at| moment_text(at, zone);
    let age = span(now.duration_since(hold.at).as_secs());
    let left = hold.left(now);
    let mut text = [
        field("hold", &hold.id),
        field("digest", &hold.digest.0),
        field("asked", &format!("{} ({age} ago)", moment(hold.at))),
        field("deadline", &format!("{} (in {left}), then {}", moment(hold.deadline), effect(&hold.on_timeout))),
        field("a no means", effect(&hold.on_deny)),
        ladder::named(&hold.reviewers, &hold.escalation, moment)
            .iter()
            .map(|line| field("reviewers", &shown(line)))
            .collect(),
    ]
    .concat();
    if hold.assurance > Assurance::Basic {
        text += &field("approve", &format!("only {}", hold.assurance.way()));
    }
    if hold.own == SelfAnswer::Allowed {
        text += &field("requester", "may answer: the rule says so");
    }
    if !hold.carried.is_empty() {
        text += &field("has read", &shown(&hold.carried.join(", ")));
    }
    if !hold.scopes.is_empty() {
        text += &field("scope", &scope::listed(&hold.scopes));
    }
    for before in &hold.before {
        text += &field("before", &shown(&before.sentence(moment)));
    }
    for Same { hold, pid, exe, carried, deadline, .. } in &hold.same {
        let read =
            if carried.is_empty() { String::new() } else { format!(", has read {}", shown(&carried.join(", "))) };
        let line = format!(
            "hold {hold} of process {pid}, {}{read}, until {}: approved with it",
            shown(exe),
            moment(*deadline)
        );
        text += &field("and", &line);
    }
    if let Some(first) = hold.behind {
        text += &field("behind", &format!("hold {first}, which asks for the same: a no there is for this one, too"));
    }
    if !hold.approved.is_empty() {
        text += &field("approved", &shown(&hold.approved.join(", ")));
    }
    text
}

pub(super) fn moment_text(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

fn effect(word: &str) -> &'static str {
    if word == "fail" { "the call fails with EPERM" } else { "the process is killed" }
}

fn operation(hold: &View) -> String {
    let mut text = format!("\nWhat is asked, as the kernel sees it: {}\n", shown(&hold.sentence));
    for (name, value) in &hold.operation {
        match value {
            Value::Array(items) if name == "argv" => {
                for (index, item) in items.iter().enumerate() {
                    text += &field(&format!("argv[{index}]"), &json(item));
                }
            }
            Value::Null => {}
            _ => text += &field(&shown(name), &json(value)),
        }
    }
    text
}

/// Octal is how people read permission bits, but guessing which number is one is not: as JSON has it.
fn json(value: &Value) -> String {
    shown(&value.to_string())
}

fn asker(hold: &View) -> String {
    let View { pid, tid, uid, gid, tree, .. } = hold;
    [
        "\nWho asks, as the kernel sees it\n".to_owned(),
        field("subject", &format!("{} (tree {}, started by {})", shown(&hold.subject), shown(tree), hold.launcher())),
        field("process", &format!("{pid}, thread {tid}, user {} (uid {uid}, gid {gid})", hold.user())),
        field("login", &login(hold.login.as_ref())),
        field("rule", &shown(hold.rule.as_deref().unwrap_or("none: the policy's default"))),
        field("why", &shown(hold.why.as_deref().unwrap_or("-"))),
        field("policy", &shown(&hold.policy)),
    ]
    .concat()
}

fn login(login: Option<&Login>) -> String {
    let Some(Login { uid, user, session }) = login else { return "none".to_owned() };
    format!("{} (uid {uid}), session {session}", user.as_deref().map_or_else(|| uid.to_string(), shown))
}

/// What labelled data was read before.
fn read(hold: &View, zone: &TimeZone) -> String {
    let mut text = String::new();
    if !hold.read.is_empty() {
        text += "\nLabelled data that was read before, as the kernel saw it\n";
    }
    for Reading { label, lineage, path, pid, exe, at, .. } in &hold.read {
        let exe = exe.as_deref().map_or_else(String::new, |exe| format!(" ({})", shown(exe)));
        let by = if *lineage { "this line of processes" } else { "the tree" };
        let line = format!("{}, at {} by process {pid}{exe}; {by} carries it", shown(path), moment_text(*at, zone));
        text += &field(&shown(label), &line);
    }
    text
}

fn context(hold: &View) -> String {
    let head = "\nContext, read from /proc meanwhile; the process can have influenced it\n";
    let mut text = format!("{head}{}", field("directory", &shown(&hold.context.cwd)));
    if let Some(unit) = &hold.context.unit {
        text += &field("unit", &shown(unit));
    }
    for process in hold.context.ancestry.iter().rev() {
        let argv: Vec<_> = process.argv.iter().map(|argument| shown(argument)).collect();
        let line = format!("{} {} [{}]", shown(&process.user), shown(&process.exe), argv.join(" "));
        text += &field(&process.pid.to_string(), &line);
    }
    text
}

/// What is said of the tree. Last: nothing follows it that it could imitate.
fn claims(hold: &View, zone: &TimeZone) -> String {
    let mut text = String::new();
    if !hold.claims.is_empty() {
        text += "\nClaimed, not verified\n";
    }
    for Claim { kind, text: said, at, by } in &hold.claims {
        text += &field(kind.word(), &format!("said by {by}, at {}: {}", moment_text(*at, zone), shown(said)));
    }
    text
}

pub(super) fn field(name: &str, value: &str) -> String {
    format!("  {name:<11}{value}\n")
}

#[cfg(test)]
mod tests {
    use holdpoint_common::decision::Decision;

    use super::*;
    use crate::{
        request::{Context, Hold, Object, Operation, Request, sample},
        sockets::message::view,
    };

    fn moment(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn hold(id: u64, path: &str) -> Value {
        let process =
            Process { pid: 7, exe: "/bin/cat".into(), argv: vec!["cat".into(), path.into()], user: "agent".into() };
        let what = Operation::Open {
            path: path.into(),
            access: vec!["read"],
            flags: 0,
            object: Object { device: 1, inode: 2 },
            content: None,
            length: None,
            owner: Some("root".into()),
            mode: Some(0o600),
            size: Some(12),
        };
        view(&Hold {
            id: HoldId(id),
            digest: Digest("d1".into()),
            deadline: moment(60),
            reviewers: vec![
                Group { name: "security".into(), approvals: 1, members: vec!["alice".into(), "bob".into()] },
                Group { name: "privacy".into(), approvals: 2, members: vec!["carol".into(), "dan".into()] },
            ],
            escalation: vec![Step {
                at: moment(30),
                reviewers: vec![Group { name: "leads".into(), approvals: 1, members: vec!["dave".into()] }],
                asked: false,
            }],
            remind: None,
            assurance: Assurance::High,
            own: SelfAnswer::Refused,
            scopes: vec![Scope::Tree, Scope::Time(1800)],
            same: vec![],
            alone: None,
            behind: None,
            approved: vec!["carol".into()],
            on_deny: Decision::Fail,
            on_timeout: Decision::Kill,
            pause: std::time::Duration::ZERO,
            user: Some("agent".into()),
            launcher_name: None,
            class: None,
            request: Request {
                tree: "00000000000000aa".into(),
                subject: "coding-agent".into(),
                rule: Some("secrets need a person".into()),
                why: None,
                policy: "p1".into(),
                what,
                pid: 7,
                tid: 8,
                started: 1,
                uid: 1000,
                gid: 1000,
                login: None,
                launcher: 1001,
                at: moment(0),
            },
            if_read: vec![],
            carried: vec![],
            read: Vec::new(),
            before: vec![],
            claims: sample::hold(HoldId(id)).claims,
            context: Context { cwd: "/home/agent".into(), unit: Some("agent.service".into()), ancestry: vec![process] },
        })
    }

    #[test]
    fn what_the_agent_sends_is_what_the_client_reads() {
        let read = View::read(&hold(0x3f9c_0000_0000_0001, "/srv/x")).unwrap();
        assert_eq!(
            (read.id.as_str(), read.user(), read.launcher()),
            ("3f9c000000000001", "agent".into(), "1001".into())
        );
        assert_eq!(read.sentence, "open /srv/x (read)");
        assert_eq!((read.on_deny.as_str(), read.on_timeout.as_str()), ("fail", "kill"));
        assert_eq!(read.operation["operation"], "open");
    }

    #[test]
    fn the_table_is_in_columns() {
        let views = [View::read(&hold(1, "/srv/x")).unwrap(), View::read(&hold(2, &"/long".repeat(30))).unwrap()];
        let text = table(&views, moment(5));
        let lines: Vec<_> = text.lines().collect();
        let between = " ".repeat("security and 2 of privacy".len() - "REVIEWERS".len());
        assert_eq!(
            lines[0],
            format!("ID                AGE  LEFT  USER   SUBJECT       REVIEWERS{between}  OPERATION")
        );
        let first = "0000000000000001  5 s  55 s  agent  coding-agent  security and 2 of privacy  open /srv/x (read)";
        assert_eq!(lines[1], first);
        assert!(lines[2].contains('…') && lines[2].ends_with("/long (read)"), "both ends are shown: {}", lines[2]);
        assert_eq!(table(&[], moment(0)), "nothing is held\n");
    }

    #[test]
    fn what_asks_for_the_same_is_told_and_not_approved_by_naming_one() {
        let mut first = hold(1, "/srv/x");
        assert!(View::read(&first).unwrap().is_one_call().is_ok());
        first["same"] = serde_json::json!([{
            "hold": HoldId(2), "digest": "d2", "pid": 9, "exe": "/tmp/a\n", "deadline": moment(50)
        }]);
        let mut second = hold(2, "/srv/x");
        second["behind"] = HoldId(1).to_string().into();
        let [first, second] = [first, second].map(|hold| View::read(&hold).unwrap());
        assert_eq!(first.line(), "open /srv/x (read) (2 times)");
        assert_eq!(second.line(), "open /srv/x (read) (behind 00000000…)");
        let refused = first.is_one_call().unwrap_err();
        assert!(refused.cause.contains("for 2 calls") && refused.remedy.is_some_and(|text| text.contains("--all")));
        let text = details(&first, moment(0), &TimeZone::UTC);
        let same = "and        hold 0000000000000002 of process 9, /tmp/a\\u{a}, until 2027-01-15 08:00:50 +00:00";
        assert!(text.contains(same), "{text}");
        assert!(details(&second, moment(0), &TimeZone::UTC).contains("behind     hold 0000000000000001"));
    }

    #[test]
    fn a_subject_cannot_forge_a_line_or_the_terminal() {
        let text = "/srv/x\n\u{1b}[2Jfake\u{202e}";
        let mut hold = hold(1, text);
        for claim in hold["claims"].as_array_mut().unwrap() {
            (claim["text"], claim["exe"]) = (text.into(), text.into());
        }
        let read = View::read(&hold).unwrap();
        let text = table(std::slice::from_ref(&read), moment(0)) + &details(&read, moment(0), &TimeZone::UTC);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(!text.lines().any(|line| line.starts_with("fake") || line.starts_with("\u{1b}")));
    }

    #[test]
    fn details_keep_facts_and_context_apart() {
        let text = details(&View::read(&hold(1, "/srv/x")).unwrap(), moment(90), &TimeZone::UTC);
        let context = text.find("Context").unwrap();
        assert!(text.find("\"/srv/x\"").unwrap() < context);
        assert!(text.find("/home/agent").unwrap() > context);
        let claims = "\nClaimed, not verified\n  \
             intent     said by laura, who launched it, at 2026-11-20 12:00:00 +00:00: publish the release\n  \
             intent     said by process 100, /usr/bin/curl, at 2026-11-20 12:00:00 +00:00: read the weather\n";
        assert!(text.ends_with(claims), "{text}");
        assert!(text.contains("deadline   2027-01-15 08:01:00 +00:00 (in 0 s), then the process is killed"), "{text}");
        assert!(text.contains("a no means the call fails with EPERM"), "{text}");
        assert!(text.contains("reviewers  security (alice, bob) and 2 of privacy (carol, dan)\n"), "{text}");
        assert!(text.contains("approve    only by `holdpoint approve --sign`\n"), "{text}");
        assert!(text.contains("scope      once, tree, 30m\n"), "{text}");
        assert!(text.contains("approved   carol\n"), "{text}");
    }

    #[test]
    fn a_hold_is_named_by_four_digits_or_more_if_they_are_its_own() {
        let pending = [hold(0x3f9c_1200_0000_0000, "/a"), hold(0x3f9c_3400_0000_0000, "/b")];
        assert_eq!(resolve("3F9C1", &pending), Ok(HoldId(0x3f9c_1200_0000_0000)));
        let cause = |digits| resolve(digits, &pending).unwrap_err().cause;
        assert_eq!(cause("3f9c"), "3f9c is the beginning of: 3f9c120000000000, 3f9c340000000000");
        assert_eq!(cause("0000"), "no hold begins with 0000");
        assert_eq!(cause("3f9"), "\"3f9\" does not name a hold");
        assert_eq!(cause("zzzz"), "\"zzzz\" does not name a hold");
    }
}
