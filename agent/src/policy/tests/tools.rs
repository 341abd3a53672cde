//! The tools' own answers, which are those of the tables.

use holdpoint_common::{
    system::System,
    tables::{CANARIES, Verdict},
};

use super::*;
use crate::policy::{
    Answer, Asked, Judge, Own, Site, User, What, asked, cases, near,
    replay::{Line, Replay},
    usage, verdict_word,
};

const POLICY: &str = r#"
[[subject]]
name = "agent"
[[subject]]
name = "other"
[reviewers]
security = ["alice", "bob"]
[[rule]]
name = "alice reads"
subject = ["agent"]
open = { path = ["/srv/**"], access = ["read"] }
user = ["alice"]
during = ["Mon-Fri 09:00-17:00"]
then = "allow"
[[rule]]
name = "the rest is held"
open = { path = ["/srv/**"] }
then = "hold"
reviewers = "security"
why = "customer data"
[[rule]]
name = "web"
connect = { to = ["10.0.0.0/8"], port = [443] }
then = "audit"
[[rule]]
name = "docker"
connect = { unix = ["/run/docker.sock"] }
then = "kill"
"#;

fn judge() -> Judge {
    Judge::new(policy(POLICY), &Own::customary(), Site::Anywhere).expect("a good policy")
}

fn open(path: &str, access: u32) -> What {
    What::File { path: path.into(), access, args: Vec::new(), owner: None, mode: 0 }
}

fn asks(user: &str, at: &str, what: What) -> Asked {
    Asked {
        subject: "agent".to_owned(),
        user: Some(User::parse(user).expect("a user")),
        login: None,
        groups: Vec::new(),
        cwd: None,
        at: asked::moment(at).expect("a moment"),
        read: Vec::new(),
        what,
    }
}

/// The verdict and the rule.
fn said(judge: &Judge, asked: &Asked) -> (&'static str, Option<String>) {
    let Answer { rule, verdict, would: _ } = judge.ask(asked).expect("an answer");
    (verdict_word(verdict), rule.and_then(|rule| judge.policy.rule(rule)).map(|rule| rule.name.clone()))
}

fn by(verdict: &'static str, rule: &str) -> (&'static str, Option<String>) {
    (verdict, Some(rule.to_owned()))
}

#[test]
fn the_judge_says_what_the_tables_say() {
    let judge = judge();
    let ask = |asked: Asked| said(&judge, &asked);
    assert_eq!(ask(asks("alice", "Mon 14:30", open("/srv/x", READ))), by("allow", "alice reads"));
    assert_eq!(ask(asks("alice", "Sat 14:30", open("/srv/x", READ))), by("hold", "the rest is held"));
    assert_eq!(ask(asks("bob", "Mon 14:30", open("/srv/x", READ))), by("hold", "the rest is held"));
    assert_eq!(ask(asks("alice", "Mon 14:30", open("/srv/x", READ | WRITE))), by("hold", "the rest is held"));
    assert_eq!(ask(asks("alice", "Mon 14:30", open("/tmp/x", READ))), ("allow", None));
    assert_eq!(ask(asks("alice", "Mon 14:30", open("/sys/x", WRITE))), by("deny", "built in: the kernel's settings"));
    let to = |port| What::Connect { to: "10.1.2.3".parse().expect("an address"), port, protocol: 6, names: Vec::new() };
    assert_eq!(ask(asks("alice", "Mon 14:30", to(443))), by("audit", "web"));
    assert_eq!(ask(asks("alice", "Mon 14:30", to(80))), ("allow", None));
    let mount = What::System(asked::system("mount").expect("a word"));
    assert_eq!(ask(asks("alice", "Mon 14:30", mount)), ("deny", None));
}

#[test]
fn a_socket_that_no_rule_accepts_is_a_deputy() {
    let judge = judge();
    let ask = |path: &str| {
        said(&judge, &asks("alice", "Mon 14:30", What::Socket { path: path.into(), owner: None, mode: 0 }))
    };
    assert_eq!(ask("/run/docker.sock"), by("kill", "docker"));
    assert_eq!(ask("/srv/x"), by("hold", "the rest is held"));
    assert_eq!(ask("/run/other.sock"), ("deny", None));
    let allowing = format!("{POLICY}\n[[rule]]\nname = \"any\"\nsystem = [\"deputy\"]\nthen = \"allow\"\n");
    let judge = Judge::new(policy(&allowing), &Own::customary(), Site::Anywhere).expect("a good policy");
    let asked = asks("alice", "Mon 14:30", What::Socket { path: "/run/other.sock".into(), owner: None, mode: 0 });
    assert_eq!(said(&judge, &asked), by("allow", "any"));
}

#[test]
fn a_socket_has_an_owner_and_a_mode() {
    let rule = "[[rule]]\nname = \"open to all\"\nopen = { path = [\"/run/**\"], owner = [\"0\"], mode = [\"world-writable\"] }";
    let policy = policy(&format!("{POLICY}{rule}\nthen = \"kill\"\n"));
    let judge = Judge::new(policy, &Own::customary(), Site::Anywhere).expect("a good policy");
    let ask = |owner: u32, mode: u32| {
        let what = What::Socket { path: "/run/x.sock".into(), owner: Some(User::Number(owner)), mode };
        said(&judge, &asks("alice", "Mon 14:30", what))
    };
    assert_eq!(ask(0, 0o666), by("kill", "open to all"));
    assert_eq!(ask(0, 0o660), ("deny", None));
    assert_eq!(ask(7, 0o666), ("deny", None));
}

#[test]
fn rules_that_came_close_say_what_differs() {
    let judge = judge();
    let differs = |asked: &Asked| -> Vec<String> {
        let near = near(&judge, asked, judge.ask(asked).expect("an answer"));
        near.iter().map(|near| format!("{}: {}", near.rule.name, near.differs.join("; "))).collect()
    };
    assert_eq!(
        differs(&asks("bob", "Sat 14:30", open("/srv/x", READ | WRITE))),
        ["alice reads: it lets pass read only; asked for is write too; it is for alice; who asks is bob; its time \
             does not include Sat 14:30"]
    );
    assert_eq!(
        differs(&asks("bob", "Mon 14:30", open("/run/docker.sock", READ))),
        ["docker: it is about connecting to sockets"]
    );
    let to = What::Connect { to: "10.1.2.3".parse().expect("an address"), port: 80, protocol: 6, names: Vec::new() };
    assert_eq!(differs(&asks("bob", "Mon 14:30", to)), ["web: it is about other ports than 80"]);
    assert_eq!(differs(&asks("alice", "Mon 14:30", open("/srv/x", READ))), ["the rest is held: it comes later"]);
}

#[test]
fn rules_are_found_where_they_stand() {
    let judge = judge();
    let places: Vec<_> = judge.policy.rules.iter().map(|rule| judge.place(rule)).collect();
    assert_eq!(
        places,
        [
            "built in",
            "web-1.toml:9",
            "web-1.toml:16",
            "web-1.toml:22",
            "web-1.toml:26",
            "built in",
            "built in",
            "built in"
        ]
    );
}

#[test]
fn each_table_says_how_much_of_it_is_used() {
    let judge = judge();
    for row in usage(&judge.tables, judge.policy.subjects.len()) {
        assert!(row.rows <= row.limit, "{row:?}");
        assert!(row.rows == 0 || row.bytes != 0 || row.what == "subjects", "{row:?}");
    }
}

fn case(lines: &str) -> String {
    let text = format!("[[case]]\nname = \"c\"\nsubject = \"agent\"\n{lines}\n");
    match cases::parse(source(&text)) {
        Ok(cases) => {
            cases.cases.iter().map(|case| format!("{} {}", case.asked.what, verdict_word(case.expect))).collect()
        }
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn a_case_is_an_operation_and_what_should_follow() {
    for (lines, said) in [
        (
            "open = { path = \"/a\", access = [\"read\", \"write\"], mode = \"4755\" }\nexpect = \"hold\"",
            "open /a (read, write) hold",
        ),
        ("exec = { path = \"/a\", args = [\"-x\", \"-x\"] }\nexpect = \"deny\"", "exec /a -x -x deny"),
        ("connect = { to = \"::1\", port = 443 }\nexpect = \"allow\"", "connect [::1]:443 (tcp) allow"),
        ("connect = { unix = \"/run/x.sock\", owner = \"root\" }\nexpect = \"hold\"", "connect /run/x.sock hold"),
        ("system = \"mount\"\nexpect = \"kill\"", "system mount kill"),
    ] {
        assert_eq!(case(lines), said);
    }
}

#[test]
fn a_bad_case_is_refused_with_line_and_column() {
    for (lines, said) in [
        (
            "system = \"mount\"\nexpect = \"ask\"",
            "web-1.toml:5:10: unknown verdict \"ask\" (one of: allow, audit, hold, deny, kill)",
        ),
        (
            "open = { path = \"a\" }\nexpect = \"deny\"",
            "web-1.toml:4:17: \"a\" is not an absolute path (begin it with /, and leave out ..)",
        ),
        (
            "system = \"mount\"\nat = \"14:30\"\nexpect = \"deny\"",
            "web-1.toml:5:6: \"14:30\" is not a moment of the week (write a day and a time: \"Mon 14:30\")",
        ),
        (
            "connect = { to = \"::1\", port = \"x\" }\nexpect = \"deny\"",
            "web-1.toml:4:32: port is not an integer but text (write a number)",
        ),
    ] {
        assert_eq!(case(lines), said);
    }
}

#[test]
fn what_the_record_has_is_asked_again() {
    let line = |text: &str| Replay::default().line(&serde_json::from_str(text).expect("JSON"));
    let held = r#"{"event":"held","hold":"00","request":{"subject":"agent","uid":7,"at":"2026-11-20T12:00:00Z",
        "operation":"open","path":"/srv/x","access":["read","write"],"owner":"root","mode":384}}"#;
    let Line::Asks(asked) = line(held) else { panic!("not asked") };
    assert_eq!((asked.what.to_string().as_str(), asked.user), ("open /srv/x (read, write)", Some(User::Number(7))));
    let connect = r#"{"event":"denied","subject":"agent","uid":7,"at":"2026-11-20T12:00:00Z","operation":"file",
        "action":"connect","path":"/run/docker.sock"}"#;
    let Line::Asks(asked) = line(connect) else { panic!("not asked") };
    assert_eq!(asked.what.to_string(), "connect /run/docker.sock");
    let rename = r#"{"event":"denied","subject":"agent","uid":7,"at":"2026-11-20T12:00:00Z","operation":"file",
        "action":"rename","path":"/a","target":"/b"}"#;
    assert_eq!(line(rename), Line::CannotBeAsked);
    assert_eq!(line(r#"{"event":"started"}"#), Line::SomethingElse);
}

#[test]
fn a_rule_for_a_login_is_not_one_for_whoever_else_asks() {
    let text = format!("{HEAD}{}", rule("0", "open = { path = [\"/srv/**\"] }\nlogin = [\"1000\"]"));
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let by_login = |user, login: Option<u32>| Asked {
        login: login.map(User::Number),
        ..asks(user, "Mon 12:00", open("/srv/x", READ))
    };
    assert_eq!(said(&judge, &by_login("0", Some(1000))), by("deny", "0"));
    assert_eq!(said(&judge, &by_login("1000", Some(0))), ("allow", None));
    let service = by_login("1000", None);
    assert_eq!(said(&judge, &service), ("allow", None));
    let near = near(&judge, &service, judge.ask(&service).expect("an answer"));
    assert_eq!(near[0].differs, ["it is for who has logged in as 1000; nobody has"]);
}

#[test]
fn where_who_asks_works_counts() {
    let text = format!(
        "{HEAD}{}{}",
        rule("0", "open = { path = [\"/srv/**\"] }\ncwd = [\"/infra/prod/**\", \"**/.git\"]"),
        rule("1", "open = { path = [\"/srv/**\"] }\ncwd = [\"/infra/**\"]").replace("deny", "allow"),
    );
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let works =
        |cwd: Option<&str>| Asked { cwd: cwd.map(Into::into), ..asks("1000", "Mon 12:00", open("/srv/x", READ)) };
    for cwd in ["/infra/prod", "/infra/prod/eu", "/home/a/.git"] {
        assert_eq!(said(&judge, &works(Some(cwd))), by("deny", "0"), "{cwd}");
    }
    assert_eq!(said(&judge, &works(Some("/infra/test"))), by("allow", "1"));
    for elsewhere in [None, Some("/"), Some("/infrastructure"), Some("/srv/infra/prod")] {
        assert_eq!(said(&judge, &works(elsewhere)), ("allow", None), "{elsewhere:?}");
    }
    let near = near(&judge, &works(Some("/")), judge.ask(&works(Some("/"))).expect("an answer"));
    assert_eq!(near[1].differs, ["it is for who works in /infra/**; the working directory is /"]);
}

#[test]
fn a_directory_that_cannot_be_told_is_where_rules_stand_in_the_way() {
    let text = format!(
        "{HEAD}{}{}",
        rule("0", "open = { path = [\"/srv/**\"] }\ncwd = [\"/a/**\"]").replace("deny", "allow"),
        rule("1", "open = { path = [\"/srv/**\"] }\ncwd = [\"/a/**\", \"/b\"]"),
    );
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let deep = "/d".repeat(65);
    let asked = Asked { cwd: Some(deep.into()), ..asks("1000", "Mon 12:00", open("/srv/x", READ)) };
    assert_eq!(said(&judge, &asked), by("deny", "1"));
}

#[test]
fn what_was_read_before_counts() {
    let text = format!(
        "{HEAD}[labels]\nsecret = [\"/srv/**\"]\nother = [\"/opt/**\"]\n{}",
        rule("0", "connect = {}\nif_read = [\"secret\"]")
    );
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let to = || What::Connect { to: [10, 0, 0, 1].into(), port: 443, protocol: 6, names: Vec::new() };
    let after = |labels: &[&str]| Asked {
        read: labels.iter().map(ToString::to_string).collect(),
        ..asks("1000", "Mon 12:00", to())
    };
    assert_eq!(said(&judge, &after(&["secret", "other"])), by("deny", "0"));
    assert_eq!(said(&judge, &after(&["other"])), ("allow", None));
    let near = near(&judge, &after(&[]), judge.ask(&after(&[])).expect("an answer"));
    assert_eq!(near[0].differs, ["it is for who has read secret"]);
    assert_eq!(judge.ask(&after(&["secrets"])).expect_err("a slip").remedy, "it has: secret, other");
    let mut replay = Replay::default();
    let mut line = |text: &str| replay.line(&serde_json::from_str(text).expect("JSON"));
    let connects = |tree: &str| {
        format!(
            r#"{{"event": "audited", "tree": "{tree}", "at": "2026-01-05T12:00:00Z", "subject": "agent", "uid": 7, "operation": "connect", "address": "10.0.0.1", "port": 443, "protocol": "tcp"}}"#
        )
    };
    assert_eq!(line(r#"{"event": "labelled", "tree": "a", "label": "secret"}"#), Line::SomethingElse);
    let mut read = |tree| match line(&connects(tree)) {
        Line::Asks(asked) => asked.read,
        other => panic!("{other:?}"),
    };
    assert_eq!((read("a"), read("b")), (vec!["secret".to_owned()], vec![]));
}

#[test]
fn the_arguments_of_an_exec_count() {
    let text = format!("{HEAD}{}", rule("0", "exec = { path = [\"/usr/bin/aws\"], args = [\"s3\", \"{cp,sync}\"] }"));
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let exec = |args: &[&str]| What::File {
        path: "/usr/bin/aws".into(),
        access: EXEC,
        args: args.iter().map(ToString::to_string).collect(),
        owner: None,
        mode: 0,
    };
    let asks = |args: &[&str]| asks("1000", "Mon 12:00", exec(args));
    assert_eq!(said(&judge, &asks(&["--quiet", "s3", "sync", "a", "b"])), by("deny", "0"));
    assert_eq!(said(&judge, &asks(&["s3", "ls"])), ("allow", None));
    let near = near(&judge, &asks(&["s3", "ls"]), judge.ask(&asks(&["s3", "ls"])).expect("an answer"));
    assert_eq!(near[0].differs, ["no argument is {cp,sync}"]);
}

#[test]
fn a_policy_that_observes_lets_pass_and_says_what_it_would_do() {
    let text = format!("mode = \"observe\"\n{HEAD}{}", rule("0", "open = { path = [\"/srv/**\"] }"));
    let judge = Judge::new(policy(&text), &Own::customary(), Site::Anywhere).expect("a good policy");
    let verdicts = |what| {
        let Answer { verdict, would, .. } = judge.ask(&asks("1000", "Mon 12:00", what)).expect("an answer");
        (verdict, would)
    };
    assert_eq!(verdicts(open("/srv/a", READ)), (Verdict::Audit, Verdict::Deny));
    assert_eq!(verdicts(open("/home/a", READ)), (Verdict::Allow, Verdict::Allow));
    assert_eq!(verdicts(What::System(System::Mount)), (Verdict::Audit, Verdict::Deny));
    assert_eq!(verdicts(open("/proc/kcore", READ)), (Verdict::Audit, Verdict::Deny));
    assert_eq!(verdicts(open("/etc/holdpoint/policy.toml", READ)), (Verdict::Deny, Verdict::Deny), "Holdpoint's own");
    // What canaries meet, to show that denying works, stays in force.
    let of_canaries = judge.policy.rules.iter().filter(|rule| rule.subjects.contains(&CANARIES[0]));
    assert!(
        of_canaries.clone().count() >= 4
            && of_canaries.clone().all(|rule| judge.policy.in_force(rule) == Verdict::Deny)
    );
    let refused = read(source(&format!("mode = \"audit\"\n{HEAD}"))).expect_err("an unknown mode").to_string();
    assert_eq!(refused, "web-1.toml:1:8: unknown mode \"audit\" (one of: enforce, observe)");
}

#[test]
fn a_rule_that_observes_is_noted_where_what_comes_after_it_lets_pass() {
    let observed = |name: &str, when: &str| format!("{}mode = \"observe\"\n", rule(name, when));
    let text = [
        HEAD,
        &observed("1", "open = { path = [\"/srv/**\"], access = [\"read\"] }"),
        &observed("2", "exec = { path = [\"/usr/bin/aws\"], args = [\"s3\"] }"),
        &observed("3", "connect = { to = [\"10.0.0.0/8\"] }\nuser = [\"1000\"]"),
        &rule("4", "open = { path = [\"/srv/secret\"] }"),
    ];
    let judge = Judge::new(policy(&text.concat()), &Own::customary(), Site::Anywhere).expect("a good policy");
    let exec = |args: &[&str]| What::File {
        path: "/usr/bin/aws".into(),
        access: EXEC,
        args: args.iter().map(ToString::to_string).collect(),
        owner: None,
        mode: 0,
    };
    let connect = What::Connect { to: [10, 0, 0, 1].into(), port: 1, protocol: 6, names: Vec::new() };
    let asks = |what| asks("1000", "Mon 12:00", what);
    assert_eq!(said(&judge, &asks(open("/srv/a", READ))), by("audit", "1"));
    assert_eq!(judge.ask(&asks(open("/srv/a", READ))).expect("an answer").would, Verdict::Deny);
    assert_eq!(said(&judge, &asks(open("/srv/a", WRITE))), ("allow", None));
    assert_eq!(said(&judge, &asks(open("/srv/secret", READ))), by("deny", "4"), "what is refused is told as that");
    assert_eq!(said(&judge, &asks(exec(&["s3", "ls"]))), by("audit", "2"));
    assert_eq!(said(&judge, &asks(exec(&["ec2"]))), ("allow", None));
    assert_eq!(said(&judge, &asks(connect)), by("audit", "3"));
}

#[test]
fn a_rule_that_lets_pass_has_nothing_to_observe() {
    let text =
        format!("{HEAD}[[rule]]\nname = \"1\"\nopen = {{ path = [\"/a\"] }}\nthen = \"allow\"\nmode = \"observe\"\n");
    let refused = read(source(&text)).expect_err("nothing to observe").to_string();
    assert!(refused.contains("the rule lets pass already: there is nothing to observe"), "{refused}");
}
