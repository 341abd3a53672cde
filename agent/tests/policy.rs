//! The policy tools, from a shell: without root, without an agent, on any kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const POLICY: &str = r#"[[subject]]
name = "agent"

[reviewers]
security = ["alice", "bob"]

[[rule]]
name = "root reads keys"
open = { path = ["**/id_rsa"], access = ["read"] }
user = ["root"]
then = "allow"

[[rule]]
name = "keys need a person"
open = { path = ["**/id_rsa"] }
then = "hold"
reviewers = "security"
why = "keys open doors"

[[rule]]
name = "no curl"
exec = { path = ["/usr/bin/curl"] }
then = "deny"
"#;

const CASES: &str = r#"[[case]]
name = "a key is held"
subject = "agent"
open = { path = "/home/a/id_rsa" }
expect = "hold"
rule = "keys need a person"

[[case]]
name = "curl"
subject = "agent"
exec = { path = "/usr/bin/curl", args = ["-s"] }
expect = "deny"
"#;

/// A directory of its own with a policy and its cases, removed at the end. Commands run in it.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("holdpoint-policy-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let desk = Self(directory);
        desk.put("p.toml", POLICY);
        desk.put("p.test.toml", CASES);
        desk
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_holdpoint")).current_dir(&self.0).arg("policy").args(words).output().unwrap()
    }

    /// The exit code and the standard output.
    fn said(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn explain_names_the_rule_its_place_and_what_came_close() {
    let desk = Desk::new("explain");
    let asked = ["explain", "--policy", "p.toml", "--subject", "agent", "--user", "bob", "open", "/home/a/id_rsa"];
    let text = "open /home/a/id_rsa (read): hold by \"keys need a person\" (p.toml:14)\n  why        keys open doors\n  \
                reviewers  security (alice, bob)\ncame close:\n  \"root reads keys\" (p.toml:8): it is for root; who asks is bob\n";
    assert_eq!(desk.said(&asked), (0, text.to_owned()));
    let asked = ["explain", "--policy", "p.toml", "--subject", "agent", "--user", "0", "open", "/home/a/id_rsa"];
    assert!(desk.said(&asked).1.starts_with("open /home/a/id_rsa (read): allow by \"root reads keys\" (p.toml:8)\n"));
    let asked = ["explain", "--policy", "p.toml", "--subject", "agent", "--json", "system", "mount"];
    let (code, json) = desk.said(&asked);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, value["verdict"].as_str(), value["rule"].is_null()), (0, Some("deny"), true));
}

#[test]
fn what_explain_does_not_understand_has_a_cause_and_a_remedy() {
    let desk = Desk::new("misunderstood");
    let output = desk.run(&["explain", "--policy", "p.toml", "--subject", "x", "system", "mount"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "holdpoint: the policy has no subject \"x\"\n  help: one of: agent\n");
    assert_eq!(
        desk.run(&["explain", "--policy", "absent.toml", "--subject", "x", "system", "mount"]).status.code(),
        Some(2)
    );
}

#[test]
fn test_says_what_was_expected_and_what_came() {
    let desk = Desk::new("test");
    let good = "ok      a key is held  hold by \"keys need a person\" (p.toml:14)\n\
                ok      curl           deny by \"no curl\" (p.toml:21)\n2 cases, 0 failed\n";
    assert_eq!(desk.said(&["test", "p.toml"]), (0, good.to_owned()));
    assert_eq!(desk.said(&["test", "p.test.toml"]), (0, good.to_owned()));
    desk.put("p.test.toml", &CASES.replace("expect = \"deny\"", "expect = \"hold\""));
    let (code, text) = desk.said(&["test", "p.toml"]);
    let failed = "FAILED  curl           expected hold, came deny by \"no curl\" (p.toml:21)\n";
    assert!(code == 1 && text.contains(failed) && text.ends_with("2 cases, 1 failed\n"), "{text}");
    desk.put("p.test.toml", &CASES.replace("subject = \"agent\"", "subject = \"x\""));
    let output = desk.run(&["test", "p.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && said.contains("p.test.toml:2:8: the policy has no subject \"x\""),
        "{said}"
    );
}

#[test]
fn diff_sums_up_what_changes() {
    let desk = Desk::new("diff");
    assert_eq!(
        desk.said(&["diff", "p.toml", "p.toml"]),
        (0, "the rules are the same\n2 judged under both\n".to_owned())
    );
    desk.put("q.toml", &POLICY.replace("then = \"deny\"", "then = \"kill\"").replace("root reads keys", "root reads"));
    let request = r#""subject":"agent","uid":0,"at":"2026-11-20T12:00:00Z""#;
    let record = format!(
        "{{\"event\":\"denied\",{request},\"operation\":\"exec\",\"path\":\"/usr/bin/curl\",\"argv\":[\"curl\",\"-s\"]}}\n\
         {{\"event\":\"denied\",{request},\"operation\":\"file\",\"action\":\"rename\",\"path\":\"/a\",\"target\":\"/b\"}}\n\
         {{\"event\":\"started\"}}\ntorn {{\n"
    );
    desk.put("record.jsonl", &record);
    let text = "added    \"root reads\"\nremoved  \"root reads keys\"\nchanged  \"no curl\"\n\
                agent: exec /usr/bin/curl -s\n  before  deny by \"no curl\" (p.toml:21)\n  after   kill by \"no curl\" (q.toml:21)\n\
                agent: exec /usr/bin/curl -s\n  before  deny by \"no curl\" (p.toml:21)\n  after   kill by \"no curl\" (q.toml:21)\n\
                2 operations would now be denied and their processes killed\n3 judged under both, 1 could not be\n";
    assert_eq!(desk.said(&["diff", "p.toml", "q.toml", "--record", "record.jsonl"]), (1, text.to_owned()));
    assert_eq!(desk.run(&["diff", "p.toml", "absent.toml"]).status.code(), Some(2));
}

#[test]
fn show_lists_rules_and_tables() {
    let desk = Desk::new("show");
    let (code, text) = desk.said(&["show", "p.toml"]);
    assert_eq!(code, 0);
    assert!(text.contains("    2  hold   \"keys need a person\" (p.toml:14)\n"), "{text}");
    assert!(text.contains("    0  deny   \"built in: Holdpoint itself\" (built in)\n"), "{text}");
    assert!(text.contains("address blocks"), "{text}");
}

#[test]
fn check_warns_of_secrets_and_of_what_the_host_lacks() {
    let desk = Desk::new("check");
    desk.put("s.toml", &format!("{POLICY}# xoxb-1234567890-abcdefghij\n"));
    let (code, json) = desk.said(&["check", "--json", "s.toml"]);
    assert_eq!(code, 0);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[1]["severity"].as_str(), lines[1]["line"].as_u64()), (Some("warning"), Some(24)));
    desk.put("h.toml", &POLICY.replace("/usr/bin/curl", "/no-such/program"));
    let said = String::from_utf8(desk.run(&["check", "--host", "h.toml"]).stderr).unwrap();
    assert!(said.contains("h.toml:21:8: /no-such/program does not exist on this host"), "{said}");
    desk.put("u.toml", &POLICY.replace("user = [\"root\"]", "user = [\"no-such-user\"]"));
    let output = desk.run(&["check", "--host", "u.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("this host has no user \"no-such-user\""), "{said}");
}

#[test]
fn every_tool_takes_the_parts_of_the_host_that_is_named() {
    let desk = Desk::new("parts");
    fs::create_dir_all(desk.0.join("p.d")).unwrap();
    let part =
        "host = [\"zz-web-*\"]\n[[rule]]\nname = \"no wget\"\nexec = { path = [\"/usr/bin/wget\"] }\nthen = \"kill\"\n";
    desk.put("p.d/web.toml", part);
    let case = |host: &str, expect: &str| {
        format!(
            "{host}[[case]]\nname = \"wget\"\nsubject = \"agent\"\nexec = {{ path = \"/usr/bin/wget\" }}\nexpect = \"{expect}\"\n"
        )
    };
    let cases =
        [case("host = \"zz-web-1\"\n", "kill"), case("", "allow").replace("\nsubject", "\nhost = \"db\"\nsubject")];
    desk.put("p.test.toml", &cases.concat());

    let (code, said) = desk.said(&["check", "p.toml"]);
    assert!(code == 0 && said.starts_with("p.toml: ok, 2 files, 1 subject, 3 rules, revision "), "{said}");
    assert_eq!(desk.said(&["check", "p.d/web.toml"]), (code, said));
    let asked =
        |host| ["explain", "--policy", "p.toml", "--host-name", host, "--subject", "agent", "exec", "/usr/bin/wget"];
    let (_, web) = desk.said(&asked("zz-web-1.example.org"));
    assert!(web.starts_with("exec /usr/bin/wget: kill by \"no wget\" (p.d/web.toml:3)\n"), "{web}");
    let (_, db) = desk.said(&asked("zz-db"));
    assert!(db.starts_with("exec /usr/bin/wget: allow by no rule\n"), "{db}");
    let (code, said) = desk.said(&["test", "p.toml"]);
    assert!(code == 0 && said.ends_with("2 cases, 0 failed\n"), "{said}");

    let (_, shown) = desk.said(&["show", "p.toml", "--host-name", "zz-db"]);
    assert!(shown.contains("host zz-db\n\nfiles\n  p.toml\n  p.d/web.toml (for other hosts)\n"), "{shown}");
    desk.put("q.toml", POLICY);
    let on = |host| desk.said(&["diff", "p.toml", "q.toml", "--host-name", host]).1;
    assert!(on("zz-web-1").starts_with("removed  \"no wget\"\n"), "{}", on("zz-web-1"));
    let other = on("zz-db");
    assert!(other.starts_with("the rules are the same\n"), "{other}");
    assert!(other.contains("before  kill by \"no wget\"") && other.contains("2 judged under both"), "{other}");
}

#[test]
fn check_warns_of_a_list_that_nothing_uses() {
    let desk = Desk::new("idle");
    desk.put("p.toml", &format!("{POLICY}\n[lists]\nold = [\"/a\"]\n"));
    let output = desk.run(&["check", "p.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("warning: p.toml:26:1: nothing uses the list \"old\"\n"), "{said}");
}

#[test]
fn mask_shows_words_as_reviewers_are_shown_them() {
    let desk = Desk::new("mask");
    desk.put("own.toml", &format!("{POLICY}\n[[mask]]\ntext = ['pin-(\\d+)']\noff = [\"names\"]\n"));
    let shown = |policy: &str| desk.said(&["mask", "--policy", policy, "--", "mysql", "--token", "abc", "pin-12"]);
    assert_eq!(shown("p.toml"), (0, "mysql\n--token\n‹masked: 3 characters›\npin-12\n".into()));
    assert_eq!(shown("own.toml"), (0, "mysql\n--token\nabc\npin-‹masked: 2 characters›\n".into()));
    let (code, json) = desk.said(&["mask", "--policy", "p.toml", "--json", "--", "A_TOKEN=abc"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["masked"], &json["words"][0]), (0, &1.into(), &"A_TOKEN=‹masked: 3 characters›".into()));

    let (code, text) = desk.said(&["diff", "p.toml", "own.toml"]);
    assert!(code == 1 && text.contains("other things are masked"), "{text}");
    let (_, text) = desk.said(&["show", "own.toml"]);
    assert!(text.contains("\nmasks\n  built in: addresses, headers, tokens\n  text: pin-(\\\\d+)\n"), "{text}");
    // What stood behind a mask cannot be asked again.
    let line = |argv: &str, masked: &str| {
        format!(
            r#"{{"event":"denied","subject":"agent","uid":7,"at":"2026-11-20T12:00:00Z","operation":"exec","path":"/usr/bin/curl","argv":["curl",{argv}]{masked}}}"#
        ) + "\n"
    };
    desk.put("record.jsonl", &(line("\"-s\"", "") + &line("\"‹masked: 3 characters›\"", ",\"masked\":1")));
    let (_, text) = desk.said(&["diff", "p.toml", "p.toml", "--record", "record.jsonl", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["operations"]["left_out"], 1, "{text}");
}

#[test]
fn the_schema_is_json() {
    let (code, text) = Desk::new("schema").said(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, schema["title"].as_str()), (0, Some("Holdpoint policy")));
}

/// A policy that puts on record, and keeps some back.
const OBSERVING: &str = r#"mode = "observe"

[[subject]]
name = "agent"

[reviewers]
security = ["alice"]

# Not on record.
[[rule]]
name = "libraries"
open = { path = ["/usr/**"], access = ["read"] }
then = "allow"

[[rule]]
name = "customers"
open = { path = ["/srv/customers/**"] }
then = "hold"
reviewers = "security"

[[rule]]
name = "files"
open = { path = ["/**"] }
then = "audit"

[[rule]]
name = "programs"
exec = { path = ["/**"] }
then = "audit"

[[rule]]
name = "connections"
connect = {}
then = "audit"
"#;

/// Lines of a record as the agent writes them: what a job did under [`OBSERVING`].
fn observed() -> String {
    let mut second = 0;
    let mut line = |event: &str, rule: &str, rest: &str| {
        second += 1;
        format!(
            r#"{{"event":"{event}","subject":"agent","uid":7,"pid":9,"started":5,"at":"2026-11-20T12:00:{second:02}Z","rule":"{rule}",{rest}}}"#
        ) + "\n"
    };
    let file = |path: &str, access: &str| format!(r#""operation":"open","path":"{path}","access":[{access}]"#);
    let program =
        |path: &str, argv: &str| format!(r#""operation":"exec","path":"{path}","check":false,"argv":[{argv}]"#);
    let mut text = line("audited", "programs", &program("/usr/bin/sort", r#""sort","in.csv""#));
    for number in 0..9 {
        text += &line("audited", "files", &file(&format!("/srv/in/{number}.csv"), "\"read\""));
    }
    text += &line("audited", "files", &file("/srv/out.csv", "\"write\",\"create\""));
    text += &line("audited", "files", &file("/tmp/sortkQz81B", "\"read\",\"write\",\"create\""));
    text += &line("audited", "files", &file("/home/a/.ssh/id_ed25519", "\"read\""));
    text += &line(
        "audited",
        "files",
        r#""operation":"file","action":"rename","path":"/srv/out.csv","target":"/srv/done.csv""#,
    );
    text += &line("audited", "programs", &program("/srv/done.csv", r#""/srv/done.csv""#));
    text +=
        &line("audited", "connections", r#""operation":"connect","address":"10.0.0.1","port":5432,"protocol":"tcp""#);
    for words in [r#""status""#, r#""status","--short""#] {
        text += &line("audited", "programs", &program("/usr/bin/git", &format!(r#""git",{words}"#)));
    }
    text += &line("audited", "programs", &program("/usr/bin/sort", r#""sort","--token","hunter2""#));
    let held = format!(r#""would":"hold",{}"#, file("/srv/customers/\\u001b[2J\\n/a", "\"read\""));
    text += &line("audited", "customers", &held);
    text + &line(
        "audited",
        "built in: what no rule names",
        r#""would":"deny","operation":"system","system":"mount","detail":0"#,
    )
}

#[test]
fn what_is_learned_allows_what_was_seen_and_holds_the_rest() {
    let desk = Desk::new("learn");
    desk.put("o.toml", OBSERVING);
    desk.put("record.jsonl", &observed());
    let (code, text) = desk.said(&["learn", "--policy", "o.toml", "--record", "record.jsonl"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(desk.said(&["learn", "--policy", "o.toml", "--record", "record.jsonl"]).1, text, "the same again");
    for part in [
        "    \"/srv/in/**\",  # 9 files, 9 times, 2026-11-20T12:00:02Z to 2026-11-20T12:00:10Z, by /usr/bin/sort; \
         lines 2, 3, 4 and 6 more\n], access = [\"read\"] }\nthen = \"allow\"\n",
        "    \"/tmp/sort*\",  # one such file, once, 2026-11-20T12:00:12Z, by /usr/bin/sort; line 12\n",
        "#   open /home/a/.ssh/id_ed25519 (read): once",
        "#   exec /srv/done.csv: once",
        "    \"10.0.0.1\",  # once",
        "port = [5432], protocol = [\"tcp\"]",
        "#   deny system mount: once",
        "# Not on record.\n[[rule]]\nname = \"libraries\"\n",
        "    \"/usr/bin/sort\",  # 2 times",
        "\n    #     --token ***\n    #     in.csv\n",
        "\n#   status\n#   status --short\n[[rule]]\nname = \"programs: git status\"\n\
         exec = { path = [\"/usr/bin/git\"], args = [\"status\"] }\nthen = \"allow\"\n",
        "Of 20 accesses that were audited (a rename is two) 18 pass under this policy, 2 do not.",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("observe") && !text.contains("hunter2"), "{text}");

    desk.put("learned.toml", &text);
    assert_eq!(desk.run(&["check", "learned.toml"]).status.code(), Some(0));
    for (words, verdict) in [
        (&["open", "/srv/in/other.csv"][..], "allow by \"files: read\""),
        (&["open", "--write", "/srv/in/0.csv"], "hold by \"files: the rest\""),
        (&["open", "--write", "--create", "/srv/out.csv"], "allow by"),
        (&["open", "--write", "/tmp/sortAbCdEf"], "allow by"),
        (&["open", "/home/a/.ssh/id_ed25519"], "hold by \"secrets need a person\""),
        (&["open", "/srv/in/.env"], "hold by \"secrets need a person\""),
        (&["open", "/srv/customers/b"], "hold by \"customers\""),
        (&["open", "/usr/lib/x"], "allow by \"libraries\""),
        (&["exec", "/usr/bin/sort"], "allow by \"programs: those seen\""),
        (&["exec", "/usr/bin/git", "status", "-s"], "allow by \"programs: git status\""),
        (&["exec", "/usr/bin/git", "push"], "hold by \"programs: the rest\""),
        (&["exec", "/usr/bin/curl"], "hold by \"programs: the rest\""),
        (&["exec", "/srv/done.csv"], "hold by \"programs: the rest\""),
        (&["connect", "10.0.0.1:5432"], "allow by \"connections: tcp 5432\""),
        (&["connect", "10.0.0.1:22"], "hold by \"connections: the rest\""),
        (&["system", "mount"], "deny by no rule"),
    ] {
        let asked = [&["explain", "--policy", "learned.toml", "--subject", "agent"], words].concat();
        let (_, said) = desk.said(&asked);
        assert!(said.lines().next().unwrap().contains(verdict), "{words:?}: {said}");
    }
    let (_, diff) = desk.said(&["diff", "o.toml", "learned.toml", "--record", "record.jsonl"]);
    assert!(diff.contains("3 operations would now be held\n"), "the key, the program, the customer: {diff}");
}

#[test]
fn what_is_learned_of_several_files_is_one_for_this_host() {
    let desk = Desk::new("learn-several");
    fs::create_dir_all(desk.0.join("s.d")).unwrap();
    let (people, rules) = OBSERVING.split_once("# Not on record.").unwrap();
    let (kept, seen) = rules.split_once("[[rule]]\nname = \"files\"").unwrap();
    desk.put("s.toml", people);
    desk.put("s.d/10-kept.toml", kept);
    desk.put("s.d/20-seen.toml", &format!("[reviewers]\nprivacy = [\"carol\"]\n\n[[rule]]\nname = \"files\"{seen}"));
    let elsewhere = "host = [\"no-such-host\"]\n[[rule]]\nname = \"elsewhere\"\nconnect = {}\nthen = \"deny\"\n";
    desk.put("s.d/30-elsewhere.toml", elsewhere);
    desk.put("record.jsonl", &observed());
    let words = ["learn", "--policy", "s.toml", "--record", "record.jsonl", "--reviewers", "security"];
    let (code, text) = desk.said(&words);
    assert_eq!(code, 0, "{text}");
    for part in [
        "# Made of s.toml, s.d/10-kept.toml, s.d/20-seen.toml, revision ",
        "in one file: put it in the place of all of them",
        "# From s.d/20-seen.toml:\nprivacy = [\"carol\"]\n",
        "# From s.d/10-kept.toml:\n\n[[rule]]\nname = \"libraries\"",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(!text.contains("\"elsewhere\""), "{text}");
    desk.put("learned.toml", &text);
    assert_eq!(desk.run(&["check", "learned.toml"]).status.code(), Some(0), "{text}");
    for (words, verdict) in [
        (&["open", "/usr/lib/x"][..], "allow by \"libraries\""),
        (&["open", "/srv/customers/b"], "hold by \"customers\""),
        (&["open", "/srv/in/other.csv"], "allow by \"files: read\""),
        (&["exec", "/usr/bin/git", "push"], "hold by \"programs: the rest\""),
    ] {
        let asked = [&["explain", "--policy", "learned.toml", "--subject", "agent"], words].concat();
        let (_, said) = desk.said(&asked);
        assert!(said.lines().next().unwrap().contains(verdict), "{words:?}: {said}");
    }
}

#[test]
fn what_cannot_be_learned_from_has_a_cause_and_a_remedy() {
    let desk = Desk::new("unlearned");
    desk.put("o.toml", OBSERVING);
    desk.put("empty.jsonl", "{\"event\":\"started\"}\n");
    desk.put("record.jsonl", &observed());
    desk.put("torn.jsonl", "no\nrecord\n");
    for (words, said) in [
        (
            &["--policy", "o.toml", "--record", "empty.jsonl"][..],
            "the record has nothing that a rule of o.toml audited",
        ),
        (&["--policy", "o.toml", "--record", "record.jsonl", "--since", "2026-11-21"], "the record has nothing"),
        (&["--policy", "o.toml", "--record", "record.jsonl", "--since", "noon"], "\"noon\" is not a moment"),
        (&["--policy", "o.toml", "--record", "record.jsonl", "--subject", "x"], "the policy has no subject \"x\""),
        (&["--policy", "o.toml", "--record", "record.jsonl", "--reviewers", "x"], "no group of reviewers \"x\""),
        (&["--policy", "o.toml", "--record", "record.jsonl", "-o", "o.toml"], "cannot write the proposal to o.toml"),
        (&["--policy", "o.toml", "--record", "torn.jsonl"], "torn.jsonl is no record"),
        (&["--policy", "p.toml", "--record", "record.jsonl"], "the policy has no rule that audits"),
    ] {
        let output = desk.run(&[&["learn"], words].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(said) && stderr.contains("help: "), "{stderr}");
    }
    let (code, said) =
        desk.said(&["learn", "--policy", "o.toml", "--record", "record.jsonl", "--otherwise", "deny", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &value["rules"][0]["then"]), (0, &"hold".into()), "{value:#}");
    assert!(
        value["policy"]
            .as_str()
            .unwrap()
            .contains("name = \"files: the rest\"\nopen = { path = [\"/**\"] }\nthen = \"deny\"\nwhy = \"")
    );
}

#[test]
fn every_ready_policy_is_good_and_does_what_its_cases_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let policies: Vec<_> = files.filter(|file| file.ends_with(".toml") && !file.ends_with(".test.toml")).collect();
    assert!(policies.len() >= 5, "{policies:?}");
    let desk = Desk::new("ready");
    for file in &policies {
        // A warning would be said, too.
        let output = desk.run(&["check", file]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.is_empty(), "{said}");

        let (code, text) = desk.said(&["test", file]);
        assert_eq!(code, 0, "{file}: {text}");
        let policy: toml::Table = toml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for rule in policy["rule"].as_array().unwrap() {
            let name = rule["name"].as_str().unwrap();
            assert!(rule.get("why").is_some_and(|why| why.as_str() != Some("")), "{file}: {name:?} has no why");
            assert!(text.contains(&format!(" by {name:?} (")), "{file}: no case is decided by {name:?}");
        }
    }
}
