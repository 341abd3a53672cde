//! What a subject can write into its names and words must not become anything but text, on any channel.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdpoint_common::decision::Decision;
use serde_json::{Value, json};

use super::{
    card,
    channel::{Message, Says},
    review::{Link, Review},
    slack, teams,
};
use crate::{
    claims::{Claim, Kind, Speaker},
    mask::{Masks, Said},
    record::Before,
    request::{
        Content, End, Hold, HoldId, Object, Operation, Process, Reading, Request, Same, Standing, sample, shown,
    },
    scope::Scope,
};

const HOLD: HoldId = HoldId(7);
/// What can be clicked in Slack where all is shown: Approve, three scopes, and Deny.
const WHOLE: usize = 5;

/// What somebody could try.
pub fn hostile() -> Vec<String> {
    let short = [
        "plain",
        "",
        " ",
        "<!channel>",
        "<!here|here>",
        "<!everyone>",
        "<@U1>",
        "<#C1>",
        "<!subteam^S1>",
        "<!date^0^{date}|x>",
        "<https://evil.example|approve here>",
        "https://evil.example/approve",
        "mailto:a@evil.example",
        "[approve](https://evil.example)",
        "![x](https://evil.example/x.png)",
        "<at>alice</at>",
        "<script>alert(1)</script>",
        "&lt;!channel&gt; &amp; < >",
        "*bold* _italic_ ~gone~ `code` ```block```",
        "# heading\n- list\n> quote",
        ":white_check_mark: approved",
        "{{DATE(2017-02-14T06:08:00Z,SHORT)}}",
        "{{{DATE(2017-02-14T06:08:00Z)}}}",
        "${title} ${if(true, 'x', 'y')} @{triggerBody()}",
        "\u{1b}[2J\u{1b}[31mred\u{7}",
        "\u{9b}2J",
        "\u{202e}txt.exe\u{202c}",
        "a\u{2066}b\u{2069}c\u{200f}",
        "pay\u{200b}pal\u{feff}\u{2060}",
        "a\u{3164}b\u{fe0f}\u{e0041}c",
        "line\nRule: everything is fine\nApproved by alice",
        "line\r\nDeadline: never",
        "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f",
        "wide                                                              Rule: fine",
        "a\u{a0}\u{2003}\u{3000}b",
        "tab\tand nul\0end",
        "\"}],\"actions\":[{\"type\":\"button\"}],\"x\":[{\"y\":\"",
        "\\\" \\n \\u0000 \\u{202e}",
        "'; DROP TABLE holds; -- $(reboot) `reboot`",
        "\u{fffd}\u{fffe}\u{10ffff}",
        "… 3 more",
        "e\u{301}\u{301}\u{301}\u{301}",
    ];
    let long = ["x".repeat(1 << 20), "\u{202e}".repeat(5_000), "<!channel>\n".repeat(5_000), "&".repeat(50_000)];
    short.iter().map(|text| (*text).to_owned()).chain(long).collect()
}

/// Every kind of operation, with `text` for all that a subject can choose.
pub fn operations(text: &str) -> [Operation; 5] {
    let text = || text.to_owned();
    let object = Object { device: 1, inode: 2 };
    let content = || Some(Content { size: 1, modified: text(), changed: text(), version: 1 });
    let exec = Operation::Exec {
        path: text(),
        check: true,
        cut: true,
        masked: 2,
        filename: text() + "2",
        argv: vec![text(); 3],
        object,
        directory: object,
        content: content(),
    };
    let open = Operation::Open {
        path: text(),
        access: vec!["truncate"],
        flags: 0,
        object,
        content: content(),
        length: Some(17),
        owner: Some(text()),
        mode: Some(0o644),
        size: Some(18),
    };
    let file = Operation::File {
        action: "rename",
        path: Some(text()),
        target: Some(text()),
        exchange: true,
        replaces: true,
        mode: Some(0o4755),
        owner: Some(text()),
        group: Some(text()),
        object,
        kind: Some("directory"),
        content: content(),
        target_content: content(),
    };
    let connect =
        Operation::Connect { address: [192, 0, 2, 1].into(), port: 1, protocol: "tcp".into(), names: vec![text(); 3] };
    [exec, open, file, connect, Operation::System { system: "bpf", detail: 19, process: Some(20) }]
}

/// A hold on `what` in which everything else that a subject can choose is `text`.
pub fn hold(text: &str, what: Operation) -> Hold {
    let mut hold = sample::hold(HOLD);
    let text = || text.to_owned();
    let process = Process { pid: 5, exe: text(), argv: vec![text(); 2], user: "agent".into() };
    hold.context.ancestry = vec![process; 3];
    // As long as they are written.
    hold.scopes = vec![Scope::Process, Scope::Tree, Scope::Time(86_399)];
    hold.context.cwd = text();
    hold.context.unit = Some(text());
    hold.read = vec![Reading {
        tree: "0000000000000001".into(),
        label: "customer-data".into(),
        lineage: false,
        path: text(),
        pid: 7,
        started: 1,
        exe: Some(text()),
        at: sample::start(),
    }];
    let claim = |kind| speakers(&text()).map(|by| Claim { kind, text: text(), at: sample::start(), by });
    hold.claims = Kind::ALL.into_iter().flat_map(claim).collect();
    hold.request = Request { what, ..hold.request };
    hold.same = vec![Same::from(&hold); 3];
    hold.before = vec![Before {
        state: End::Denied,
        times: 3,
        by: "carol".into(),
        at: sample::start(),
        hold: HOLD,
        why: Some(text()),
    }];
    hold
}

/// Who launched the tree, and a process of it.
fn speakers(exe: &str) -> [Speaker; 2] {
    [Speaker::Launcher { user: "laura".into() }, Speaker::Process { pid: 5, exe: exe.into() }]
}

/// How a card shows some of its claims.
fn claimed(text: &str) -> [String; 2] {
    speakers(text).map(|by| format!("ticket, said by {by}: {text}"))
}

/// Where messages lead where there is a page.
fn review() -> Option<Link> {
    Some(Review { page: "https://review.example".into(), reader: None }.plain(HOLD))
}

/// Of each operation the question and its end.
pub(super) fn messages(text: &str) -> Vec<Message> {
    let (at, host) = (sample::start(), "host-1".to_owned());
    let standing = Standing { hold: HOLD, state: End::Denied, decision: Decision::Kill, by: Some(text.into()) };
    let says = [Says::Question { callback: None }, Says::Outcome(standing)];
    let message = |what: &Operation, says| Message {
        at,
        host: host.clone(),
        hold: hold(text, what.clone()),
        says,
        review: review(),
        test: false,
    };
    operations(text).iter().flat_map(|what| says.clone().map(|says| message(what, says))).collect()
}

/// The question about an exec.
fn exec(text: &str) -> Message {
    messages(text).swap_remove(0)
}

/// What a person should read of it, in a rule of its own: text as it is where it is short and plain.
pub fn is_plain(text: &str) -> bool {
    let spaces = text.contains("   ") || text.contains(|c: char| c.is_whitespace() && c != ' ');
    text.len() < 80 && shown(text) == text && !spaces
}

fn is_exec(message: &Message) -> bool {
    matches!(message.says, Says::Question { .. }) && matches!(message.hold.request.what, Operation::Exec { .. })
}

/// All values under this key, anywhere.
fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(fields) => {
            let here = fields.get(key).into_iter();
            here.chain(fields.values().flat_map(|field| all(field, key))).collect()
        }
        Value::Array(list) => list.iter().flat_map(|item| all(item, key)).collect(),
        _ => vec![],
    }
}

fn words<'a>(value: &'a Value, key: &str) -> BTreeSet<&'a str> {
    all(value, key).into_iter().filter_map(Value::as_str).collect()
}

/// No control character but our own line breaks, nothing hidden.
#[track_caller]
pub fn check_visible(text: &str) {
    let lines: String = text.split('\n').collect();
    assert_eq!(shown(&lines), lines);
}

#[test]
fn slack_shows_text_as_text() {
    let expected: Vec<_> = messages("plain").iter().map(slack::blocks::message).collect();
    let texts = |body: &Value| -> Vec<String> {
        let blocks = body["blocks"].as_array().unwrap().iter();
        blocks.filter_map(|block| block["text"]["text"].as_str().map(str::to_owned)).collect()
    };
    let labels = |body: &Value| -> Vec<String> {
        texts(body)[2..].iter().map(|text| text.split(':').next().unwrap().to_owned()).collect()
    };
    for text in hostile() {
        for (message, expected) in messages(&text).iter().zip(&expected) {
            let body = slack::blocks::message(message);
            let body: Value = serde_json::from_str(&body.to_string()).unwrap();
            let known = ["header", "section", "context", "divider", "actions", "button", "static_select", "plain_text"];
            assert!(words(&body, "type").is_subset(&known.into()), "{body}");
            let ours = review().map(|link| link.url().to_owned());
            assert!(all(&body, "url").into_iter().all(|url| url.as_str() == ours.as_deref()), "{body}");
            for key in ["accessory", "fields", "image_url", "attachments"] {
                assert!(all(&body, key).is_empty(), "{key}");
            }
            check_slack_limits(&body);
            texts(&body).iter().for_each(|text| check_visible(text));
            if let Says::Question { .. } = message.says {
                assert_eq!(body["text"], expected["text"], "nothing of the subject's is in the markup");
                let (cut, facts): (Vec<_>, Vec<_>) = labels(&body).into_iter().partition(|label| label == "Cut");
                assert_eq!(facts, labels(expected), "the facts are those of the template");
                assert_eq!((cut.len(), all(&body, "value").len()), if cut.is_empty() { (0, WHOLE) } else { (1, 1) });
                for ours in ["confirm", "placeholder"].into_iter().filter(|_| cut.is_empty()) {
                    assert_eq!(all(&body, ours), all(expected, ours), "{ours}");
                }
            }
            if is_plain(&text) && is_exec(message) {
                let shown = texts(&body);
                assert!(shown.contains(&format!("Program: {text}")), "{shown:#?}");
                assert!(shown.contains(&format!("Arguments:\n› {text}\n› {text}\n› {text}")), "{shown:#?}");
                assert!(shown.contains(&format!("Directory: {text}")), "{shown:#?}");
                let purpose = shown.iter().find(|shown| shown.starts_with("Purpose:\n")).unwrap();
                let lines: Vec<_> = purpose.lines().filter_map(|line| line.strip_prefix("› ")).collect();
                assert_eq!((lines.len(), &lines[4..6]), (8, &claimed(&text).each_ref().map(|line| &**line)[..]));
            }
        }
    }
}

#[test]
fn every_field_of_an_operation_is_a_fact() {
    let expected = [
        vec![
            "Check: only whether it could be executed",
            "Masked: 2 pieces of the arguments, by the policy",
            "More arguments: they are not all here",
        ],
        vec!["Truncated to: 17 bytes", "Mode: 0644", "Size: 18 bytes"],
        vec![
            "Kind: directory",
            "Exchange: the target gets the file's name",
            "Replaces: what has the target's name",
            "New mode: 4755",
            "New owner: plain",
            "New group: plain",
        ],
        vec!["Destination: 192.0.2.1:1 (tcp)"],
        vec!["System operation: bpf", "Detail: 19", "On process: 20"],
    ];
    for (message, expected) in messages("plain").iter().step_by(2).zip(expected) {
        let body = slack::blocks::message(message);
        assert!(expected.iter().all(|fact| words(&body, "text").contains(fact)), "{body:#}");
    }
}

#[track_caller]
fn check_slack_limits(body: &Value) {
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    let length = |value: &Value| value.as_str().unwrap().chars().count();
    let texts: Vec<_> = blocks.iter().filter_map(|block| block.pointer("/text/text")).map(length).collect();
    assert!(texts[0] <= 150 && texts.iter().all(|length| (1..=3000).contains(length)), "{texts:?}");
    assert!(texts.iter().sum::<usize>() <= 12_000);
    assert!(all(body, "value").into_iter().all(|value| length(value) <= 2000));
    let chosen = all(body, "options").into_iter().flat_map(|options| all(options, "value"));
    assert!(chosen.into_iter().all(|value| length(value) <= 150));
    assert!(all(body, "action_id").into_iter().chain(all(body, "block_id")).all(|id| length(id) <= 255));
    assert!(all(body, "emoji").iter().all(|emoji| **emoji == false));
}

/// The question about executing `argv`, by processes with these command lines.
fn padded(argv: Vec<String>, padding: &str) -> Message {
    let mut message = exec(padding);
    message.hold.context.ancestry = vec![Process { argv: vec![padding.to_owned(); 20], ..Process::default() }; 50];
    let Operation::Exec { path, filename, argv: words, .. } = &mut message.hold.request.what else { panic!("no exec") };
    (*path, *filename, *words) = ("/usr/bin/rm".into(), "/usr/bin/rm".into(), argv);
    message.hold.context.cwd = "/srv".into();
    message.hold.same.iter_mut().for_each(|same| same.exe = "/usr/bin/rm".into());
    message
}

#[test]
fn no_padding_hides_the_operation() {
    let argv = ["rm".to_owned(), "a".repeat(1200), "--no-preserve-root".into(), "/srv".into()];
    for padding in ["x", "é", "\"", "\u{202e}"].map(|text| text.repeat(2000)) {
        let message = padded(argv.to_vec(), &padding);
        let slack = slack::blocks::message(&message);
        let arguments = argv.iter().map(|word| format!("\n› {word}")).collect::<String>();
        assert!(words(&slack, "text").contains(&*format!("Arguments:{arguments}")), "{slack:#}");
        assert_eq!(all(&slack, "value").len(), WHOLE);
        let teams = teams::body(&message, None);
        assert!(argv.iter().all(|word| words(&teams, "text").contains(&**word)), "{teams:#}");
    }
}

#[test]
fn where_a_program_runs_is_seen_before_it_is_approved() {
    let mut message = padded(vec!["rm".into()], "x");
    assert_eq!(all(&slack::blocks::message(&message), "value").len(), WHOLE);
    message.hold.same[0].exe = format!("/{}/rm", "d".repeat(4000));
    assert_eq!(all(&slack::blocks::message(&message), "value").len(), 1, "no button to approve another program's call");
    message.hold.same.clear();
    assert_eq!(all(&slack::blocks::message(&message), "value").len(), WHOLE);
    message.hold.context.cwd = format!("/{}/srv", "d".repeat(4000));
    assert_eq!(all(&slack::blocks::message(&message), "value").len(), 1, "no button to approve");
}

#[test]
fn of_a_long_ancestry_the_newest_are_shown() {
    let mut message = padded(vec!["rm".into()], &"x".repeat(2000));
    let [asks, parent, ..] = &mut message.hold.context.ancestry[..] else { panic!("no ancestry") };
    (asks.pid, asks.exe) = (100, "/usr/bin/bash".into());
    (parent.pid, parent.exe) = (99, "/usr/sbin/sshd".into());
    let body = slack::blocks::message(&message);
    let shown = words(&body, "text");
    let last = "\n› ↳ 99 /usr/sbin/sshd ()\n› ↳ 100 /usr/bin/bash ()";
    let is_ancestry = |text: &&str| text.starts_with("Ancestry:\n› … ") && text.ends_with(last);
    assert!(shown.iter().any(is_ancestry), "{body:#}");
    let is_asking = |text: &&str| text.starts_with("Command lines:\n› … ") && text.contains("\n› 100: \"xx");
    assert!(shown.iter().any(is_asking), "{body:#}");
    assert!(shown.contains("Process: 100, thread 101, user agent (uid 1000), image /usr/bin/bash"), "{body:#}");
}

#[test]
fn a_path_is_told_from_what_follows_it() {
    let path = "/tmp/x (root)";
    let body = slack::blocks::message(&exec(path));
    let shown = words(&body, "text");
    let at = card::moment(sample::start());
    let read = format!("Read before: customer-data: \"/tmp/x (root)\" ({at}, process 7, \"/tmp/x (root)\")");
    assert!(shown.contains(&*read), "{body:#}");
    assert!(shown.iter().any(|text| text.starts_with("Ancestry:\n› 5 \"/tmp/x (root)\" (agent)\n› ↳ 5 ")), "{body:#}");
}

#[test]
fn what_is_not_shown_whole_is_not_approved_here() {
    for argv in [vec!["a".repeat(8000)], vec!["a".into(); 4000], vec!["a".repeat(150); 50]] {
        let message = padded(argv, "x");
        let elsewhere = "Too long to be shown whole here: `holdpoint show 0000000000000007`, and approve there";
        let slack = slack::blocks::message(&message);
        let button = serde_json::from_str::<Value>(all(&slack, "value")[0].as_str().unwrap()).unwrap();
        assert_eq!((all(&slack, "value").len(), &button["decision"]), (1, &"deny".into()), "{slack:#}");
        assert!(words(&slack, "text").contains(&*format!("Cut: {elsewhere}")), "{slack:#}");
        check_slack_limits(&slack);
    }
    let teams = teams::body(&padded(vec!["a".repeat(8000)], "x"), None);
    assert!(words(&teams, "text").iter().any(|text| text.starts_with("Too long to be shown whole here")), "{teams:#}");
}

#[test]
fn teams_shows_text_as_text() {
    let runs = |block: &Value| -> String {
        block["inlines"].as_array().unwrap().iter().map(|run| run["text"].as_str().unwrap()).collect()
    };
    let page = "https://review.example/holds".parse().unwrap();
    for text in hostile() {
        for message in messages(&text) {
            let body = teams::body(&message, Some(&page));
            let sent = body.to_string();
            assert!(sent.len() < 28_000, "{}", sent.len());
            let body: Value = serde_json::from_str(&sent).unwrap();
            let known = ["message", "AdaptiveCard", "RichTextBlock", "TextRun", "Container", "Action.OpenUrl"];
            assert!(words(&body, "type").is_subset(&known.into()), "{body}");
            for key in ["selectAction", "msteams", "entities", "backgroundImage", "mentioned"] {
                assert!(all(&body, key).is_empty(), "{key}");
            }
            let asks = matches!(message.says, Says::Question { .. });
            let pages = BTreeSet::from(["https://review.example/holds/0000000000000007"]);
            assert_eq!(words(&body, "url"), if asks { pages } else { BTreeSet::new() });
            assert!(words(&body, "text").iter().all(|text| !text.contains('\n')));
            let expanded = |text: &str| text.contains("{{DATE(") || text.contains("{{TIME(");
            assert!(!words(&body, "text").into_iter().any(expanded), "{body}");
            words(&body, "text").iter().for_each(|text| check_visible(text));
            let lines: Vec<_> = all(&body, "items").iter().flat_map(|it| it.as_array().unwrap()).map(runs).collect();
            if is_plain(&text) && is_exec(&message) {
                assert!(lines.windows(2).any(|pair| pair == ["Program", text.as_str()]), "{lines:#?}");
                let arguments = ["Arguments", &text, &text, &text];
                assert!(lines.windows(4).any(|four| four == arguments), "{lines:#?}");
                assert!(lines.windows(2).any(|two| two == claimed(&text)), "{lines:#?}");
            }
        }
    }
}

/// Where the agent describes a hold its secrets are masked: then none of them is on any channel.
#[test]
fn what_is_masked_is_on_no_channel() {
    let secrets =
        ["hunter2-of-x", "s3cret-of-y", "ghp_a1B2c3D4e5F6g7H8a1B2c3D4e5F6g7H8a1B2", "xoxb-1234567890-a1B2c3D4"];
    let argv = ["rm", "--password", secrets[0], &format!("https://ann:{}@host/x", secrets[1])].map(str::to_owned);
    let mut message = padded(argv.into(), "x");
    let line = format!("sh -c 'TOKEN=\"{}\" run'", secrets[2]);
    message.hold.context.ancestry.iter_mut().for_each(|process| process.argv = vec![line.clone()]);
    message.hold.claims.iter_mut().for_each(|claim| claim.text = format!("by {}", secrets[3]));
    let sent = |message: &Message| {
        let body = String::from_utf8(message.body().to_vec()).unwrap();
        [slack::blocks::message(message).to_string(), teams::body(message, None).to_string(), body]
    };
    let has = |text: &str| secrets.map(|secret| text.contains(secret));
    assert!(sent(&message).iter().all(|text| has(text) == [true; 4]), "the control");
    let (masks, hold) = (Masks::new(Said::default()), &mut message.hold);
    masks.request(&mut hold.request);
    masks.context(&mut hold.context);
    masks.claims(&mut hold.claims);
    for text in sent(&message) {
        assert_eq!(has(&text), [false; 4], "{text}");
        assert!(text.contains("https://ann:‹masked: 11 characters›@host/x"), "{text}");
    }
}

/// Messages with as much as can be in them, each with the text that fills it.
pub(super) fn longest() -> Vec<(String, Vec<Message>)> {
    let full = |text: &str| {
        let text = text.repeat(5000 / text.len());
        let messages = messages(&text).into_iter().map(|message| filled(message, &text)).collect();
        (text, messages)
    };
    ["{", "{{DATE(", "{{TIME({{DATE(", "\"", "\\", "<", "\u{1d11e}", "\u{202e}", "  ", "\n"].map(full).into()
}

fn filled(mut message: Message, text: &str) -> Message {
    let hold = &mut message.hold;
    hold.read = vec![hold.read[0].clone(); 10];
    let process = Process { argv: vec![text.to_owned(); 4], ..hold.context.ancestry[0].clone() };
    hold.context.ancestry = vec![process; 10];
    if let Operation::Exec { argv: list, .. } | Operation::Connect { names: list, .. } = &mut hold.request.what {
        *list = vec![text.to_owned(); 10];
    }
    message
}

#[test]
fn the_smallest_card_fits() {
    for message in longest().iter().flat_map(|(_, messages)| messages) {
        let sent = teams::body(message, Some(&"https://review.example/holds".parse().unwrap())).to_string();
        assert!(sent.len() <= 27_000, "{} of {sent}", sent.len());
        check_slack_limits(&slack::blocks::message(message));
    }
}

#[test]
fn json_says_it_exactly_or_says_that_it_is_cut() {
    for text in hostile() {
        let body: Bytes = exec(&text).body();
        assert!(body.len() < 20_000);
        let data = &serde_json::from_slice::<Value>(&body).unwrap()["data"];
        let path = data["operation"]["path"].as_str().unwrap();
        match data["cut"].as_bool().unwrap() {
            false => {
                assert_eq!(path, text);
                assert!(data["claims"].as_array().unwrap().iter().all(|claim| claim["text"] == *text));
            }
            true => assert!(path.ends_with("more characters") || path == text, "{path}"),
        }
        assert!(data["cut"] == true || text.len() < 4096);
    }
}

#[test]
#[ignore = "for the renderer: cargo xtask test --only page"]
fn hostile_cards_for_the_renderer() {
    let file = std::env::var_os("HOLDPOINT_CARDS").expect("HOLDPOINT_CARDS names the file to write");
    let page = "https://review.example/holds".parse().unwrap();
    let cards = |text: &str| -> Vec<Value> {
        let card = |message: &Message| teams::body(message, Some(&page))["attachments"][0]["content"].take();
        messages(text).iter().map(card).collect()
    };
    let sent: Vec<_> = hostile().iter().map(|text| cards(text)).collect();
    std::fs::write(file, json!({ "plain": cards("plain"), "sent": sent }).to_string()).unwrap();
}
