//! Promise 4 on the review page: who has come by a link of their own, or whom a login provider knows, answers in their name, and
//! nobody else does.

use std::process::{Command, Stdio};

use holdpoint_tests::{
    Agent, Hold, LIMIT, User,
    agent::holdpoint,
    everything,
    provider::Provider,
    reviewer::{Message, Reviewer},
    site, ungoverned, wait_for, wait_until,
};
use serde_json::json;

/// Where the page is unless the configuration says otherwise.
const PAGE: &str = "http://127.0.0.1:8701";

fn agent() -> Agent {
    Agent::builder(&everything()).config("[page]\n").start()
}

/// What the page replies to curl with these words: its status, its headers, its body.
fn replied(words: &[&str]) -> (String, String) {
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--include"]).args(words).output().expect("curl");
    assert!(output.status.success(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let status = text.split_whitespace().nth(1).expect("a status").to_owned();
    (status, text)
}

/// The cookie of a session that begins with the link that `holdpoint page` prints for this user.
fn logged_in(agent: &Agent, user: User, words: &[&str]) -> String {
    let said = agent.say(user, [&["page"], words].concat());
    come_in(said.stdout.trim(), "/")
}

/// The cookie of a session that begins with this link, and leads to `path`.
fn come_in(link: &str, path: &str) -> String {
    let link = link.strip_prefix(PAGE).unwrap_or_else(|| panic!("{link}"));
    let fields = link.strip_prefix("/r?").expect("a link to the door");
    assert_eq!(replied(&[&format!("{PAGE}{link}")]).0, "200", "looking at it does not use it");
    let origin = format!("Origin: {PAGE}");
    let door = ["--header", &*origin, "--data", fields, &format!("{PAGE}/r")].map(str::to_owned);
    let door: Vec<&str> = door.iter().map(String::as_str).collect();
    let (status, text) = replied(&door);
    assert_eq!(status, "303", "{text}");
    assert!(text.contains(&format!("\nlocation: {path}\r\n")), "{text}");
    assert_eq!(replied(&door).0, "410", "a link is good once");
    let cookie = text.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    cookie.split(';').next().expect("its name and value").to_owned()
}

/// The value of a field of the form on the hold's page; none if there is no form.
fn field<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    rest.split('"').next()
}

/// What comes of saying `word` in the session of this cookie.
fn answered(hold: &Hold, cookie: &str, word: &str) -> String {
    answered_for(hold, cookie, word, "once")
}

/// Likewise for this scope.
fn answered_for(hold: &Hold, cookie: &str, word: &str, scope: &str) -> String {
    let (url, cookie) = (format!("{PAGE}/h/{}", hold.id()), format!("Cookie: {cookie}"));
    let (status, page) = replied(&["--header", &cookie, &url]);
    assert_eq!(status, "200", "{page}");
    let (Some(token), Some(digest)) = (field(&page, "token"), field(&page, "digest")) else {
        return "no form".to_owned();
    };
    assert_eq!(digest, hold.digest());
    let data = format!("token={token}&digest={digest}&word={word}&scope={scope}&why=because");
    let origin = format!("Origin: {PAGE}");
    replied(&["--header", &cookie, "--header", &origin, "--data", &data, &url]).0
}

#[test]
fn a_reviewer_decides_on_the_page() {
    let agent = agent();
    let cookie = logged_in(&agent, User::REVIEWER, &[]);
    for (word, said) in [("approve", "open ok\n"), ("deny", "open EPERM\n")] {
        let file = site::file("hold", "Ada\n");
        let open = format!("open {file} w+trunc");
        let actor = agent.act([&open]);
        let hold = agent.hold_of(&actor);
        assert_eq!(site::content(&file), "Ada\n", "nothing before the answer");
        assert_eq!(answered(&hold, &cookie, word), "303");
        assert_eq!(actor.end().stdout, said);
        assert_eq!(site::content(&file), if word == "approve" { "" } else { "Ada\n" });
        let decided =
            agent.wait_recorded("the decision", |line| line["event"] == "decided" && line["hold"] == hold.id());
        let proof = &decided["answer"]["proof"];
        assert_eq!((&proof["by"], &proof["user"]), (&json!("page"), &json!("reviewer")), "{decided}");
    }
}

#[test]
fn a_reviewer_approves_for_longer_on_the_page_and_takes_it_back() {
    let usual = "reviewers = \"people\"";
    let policy = everything().replace(usual, &format!("{usual}\nscope = [\"tree\"]"));
    let agent = Agent::builder(&policy).config("[page]\n").start();
    let cookie = logged_in(&agent, User::REVIEWER, &[]);
    let open = format!("open {} r", site::file("hold", "Ada\n"));
    let mut actor = agent.act([&*open, "line", &open, "line", &open]);
    let hold = agent.hold_of(&actor);
    assert_eq!(answered_for(&hold, &cookie, "approve", "process"), "403", "the rule does not offer that");
    agent.still_held(&actor, &hold);
    assert_eq!(answered_for(&hold, &cookie, "approve", "tree"), "303");
    actor.go_on();
    wait_until("it has passed again", || actor.stdout() == "open ok\nopen ok\n");

    let cookie = format!("Cookie: {cookie}");
    let list = || replied(&["--header", &cookie, &format!("{PAGE}/")]).1;
    let page = list();
    assert!(page.contains("Approved for more than once") && page.contains("uses: 1"), "{page}");
    let data = format!("token={}", field(&page, "token").expect("a token"));
    let revoke = format!("{PAGE}/g/{}/revoke", hold.id());
    let forged = ["--header", &cookie, "--header", "Origin: http://evil.test", "--data", &data, &revoke];
    assert_eq!(replied(&forged).0, "403", "from another site");
    let origin = format!("Origin: {PAGE}");
    assert_eq!(replied(&["--header", &cookie, "--header", &origin, "--data", &data, &revoke]).0, "303");
    assert!(!list().contains("Approved for more than once"));
    let ended = agent.wait_recorded("its end", |line| line["event"] == "grant-ended" && line["grant"] == hold.id());
    assert_eq!((&ended["reason"], &ended["by"]), (&json!("revoked"), &json!("reviewer")));
    actor.go_on();
    let again = agent.hold_of(&actor);
    agent.deny(&again);
    assert_eq!(actor.end().stdout, "open ok\nopen ok\nopen EPERM\n");
}

/// A policy with two groups of reviewers, of which its rules ask one: with these people.
fn asking(people: &str) -> String {
    let usual = "people = [\"root\", \"reviewer\"]";
    everything().replace(usual, &format!("people = [{people}]\nothers = [\"nobody\"]"))
}

#[test]
fn a_session_ends_with_its_identity() {
    let agent = Agent::builder(&asking(r#""root", "reviewer""#)).config("[page]\n").start();
    let cookies = [&[][..], &["--for", "root"]].map(|words| {
        let user = if words.is_empty() { User::REVIEWER } else { User::ROOT };
        format!("Cookie: {}", logged_in(&agent, user, words))
    });
    let list = || cookies.each_ref().map(|cookie| replied(&["--header", cookie, &format!("{PAGE}/")]));
    assert_eq!(list().map(|(status, _)| status), ["200", "200"], "the control");
    let unused = agent.say(User::ROOT, ["page", "--for", "reviewer"]).stdout;
    let mut watching = Command::new("curl");
    watching.args(["--silent", "--no-buffer", "--header", &cookies[0], &format!("{PAGE}/events")]);
    let watching = watching.stdout(Stdio::piped()).spawn().expect("curl");

    assert!(agent.reload(&asking(r#""root""#)).success());
    let [(of_reviewer, page), (of_root, _)] = list();
    assert_eq!((&*of_reviewer, &*of_root), ("401", "200"));
    assert!(page.contains("Your session is over"), "{page}");
    let watched = watching.wait_with_output().expect("curl ends with the stream");
    assert!(watched.stdout.starts_with(b"retry: "), "it had begun: {watched:?}");
    let fields = unused.trim().split_once('?').expect("a link").1;
    let origin = format!("Origin: {PAGE}");
    assert_eq!(
        replied(&["--header", &origin, "--data", fields, &format!("{PAGE}/r")]).0,
        "410",
        "nor is the link good"
    );
    let again = agent.say(User::REVIEWER, ["page"]);
    assert!(!again.success() && again.stderr.contains("no reviewer"), "{again:?}");

    assert!(agent.reload(&asking(r#""root", "reviewer""#)).success());
    assert_eq!(list().map(|(status, _)| status), ["401", "200"], "what is over stays over");
    let cookie = logged_in(&agent, User::REVIEWER, &[]);
    let (actor, hold, _) = agent.emptying("hold");
    assert_eq!(answered(&hold, &cookie, "approve"), "303");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn a_message_lets_in_who_reads_it_alone() {
    let side = Reviewer::start();
    let asks = "reviewers = [\"people\"]";
    let of = |reader: &str| side.config().replace(asks, &format!("{asks}\nreader = \"{reader}\""));
    let mut agent = Agent::builder(&everything()).config(format!("{}\n[page]\n", of("reviewer"))).start();
    let (actor, hold, file) = agent.emptying("hold");
    let url = |question: Message| question.data()["review_url"].as_str().expect("a URL").to_owned();
    let first = url(side.question(&hold));
    let shown = agent.say(User::ROOT, ["channel", "preview", "tests", "--hold", hold.id()]).stdout;
    assert!(shown.contains("made-when-it-is-sent") && !shown.contains(&first), "{shown}");

    agent.kill_9();
    agent.restart();
    let link = wait_for("the question of the new agent", LIMIT, || {
        side.questions(&hold).into_iter().map(url).find(|link| *link != first)
    });
    assert_eq!(replied(&[&first]).0, "403", "it has ended with its agent");
    let cookie = come_in(&link, &format!("/h/{}", hold.id()));
    let began = agent.wait_recorded("the session", |line| line["event"] == "logged-in");
    assert_eq!((&began["reviewer"], &began["channel"]), (&json!("reviewer"), &json!("tests")), "{began}");
    hold.check_waits(&file);
    assert_eq!(answered(&hold, &cookie, "approve"), "303");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open ok\n", ""));
    let decided = agent.wait_recorded("the decision", |line| line["event"] == "decided" && line["hold"] == hold.id());
    let proof = json!({ "by": "page", "user": "reviewer", "channel": "tests" });
    assert_eq!((&decided["answer"]["proof"], &decided["answer"]["assurance"]), (&proof, &json!("medium")), "{decided}");

    let (actor, hold, _) = agent.emptying("hold");
    let unused = url(side.question(&hold));
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\n");
    agent.wait_over(&hold);
    wait_until("the link has ended with the hold", || replied(&[&unused]).0 == "410");
    let written = format!("{:?}{}", agent.record(), agent.log());
    for link in [first, link, unused] {
        let (_, signature) = link.split_once("signature=").expect("a link that is signed");
        assert!(!written.contains(signature), "it is neither in the record nor in the log");
    }
}

/// What a response sets or says by this header.
fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    lines.next().unwrap_or_else(|| panic!("no {name}: {text}"))
}

#[test]
fn whom_the_login_provider_knows_decides_and_no_stranger() {
    let provider = Provider::start();
    let issuer = provider.issuer();
    let policy = |subject: &str| {
        let person = format!("name = \"reviewer\"\nuser = [\"reviewer\"]\nsso = [\"{issuer} {subject}\"]");
        format!("{}\n[[reviewer]]\n{person}\n", everything())
    };
    let agent = Agent::builder(&policy("42")).config(format!("[page]\n{}", provider.config())).start();
    let (actor, hold, file) = agent.emptying("hold");
    let start = format!("/sso?hold={}", hold.id());
    let (status, page) = replied(&[&format!("{PAGE}/h/{}", hold.id())]);
    assert!(status == "401" && page.contains(&start), "{page}");
    let comes_back_as = |subject: &str| {
        let (status, text) = replied(&[&format!("{PAGE}{start}")]);
        assert_eq!(status, "303", "{text}");
        let cookie = header(&text, "set-cookie").split(';').next().expect("its name and value");
        let query = provider.log_in(header(&text, "location"), subject);
        (format!("Cookie: {cookie}"), format!("{PAGE}/sso/done?{query}"))
    };

    let (cookie, url) = comes_back_as("mallory");
    let (status, text) = replied(&["--header", &cookie, &url]);
    assert!(status == "403" && !text.contains("set-cookie: holdpoint="), "{text}");
    let refused = agent.wait_recorded("the stranger", |line| line["event"] == "refused-answer");
    let why = format!("a login by SSO: no reviewer in the policy is mallory at {issuer}");
    assert_eq!(refused["refusal"], why);
    let (_, url) = comes_back_as("42");
    assert_eq!(replied(&["--header", &cookie, &url]).0, "403", "in another browser than the one that began it");
    hold.check_waits(&file);

    let (cookie, url) = comes_back_as("42");
    let (status, text) = replied(&["--header", &cookie, &url]);
    assert!(status == "200" && text.contains(&format!("url=/h/{}", hold.id())), "{text}");
    assert_eq!(replied(&["--header", &cookie, &url]).0, "403", "a login ends once");
    let session = header(&text, "set-cookie").split(';').next().expect("its name and value").to_owned();
    let began = agent.wait_recorded("the session", |line| line["event"] == "logged-in");
    let by = (&began["reviewer"], &began["issuer"], &began["subject"]);
    assert_eq!(by, (&json!("reviewer"), &json!(issuer), &json!("42")), "{began}");
    assert_eq!(answered(&hold, &session, "approve"), "303");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open ok\n", ""));
    let decided = agent.wait_recorded("the decision", |line| line["event"] == "decided" && line["hold"] == hold.id());
    let proof = json!({ "by": "page", "user": "reviewer", "issuer": issuer, "subject": "42" });
    assert_eq!((&decided["answer"]["proof"], &decided["answer"]["assurance"]), (&proof, &json!("medium")), "{decided}");

    let cookie = format!("Cookie: {session}");
    assert_eq!(replied(&["--header", &cookie, &format!("{PAGE}/")]).0, "200", "the control");
    assert!(agent.reload(&policy("43")).success());
    assert_eq!(replied(&["--header", &cookie, &format!("{PAGE}/")]).0, "401", "somebody else is the reviewer now");
}

#[test]
fn nobody_else_decides_on_the_page() {
    let agent = Agent::builder(&asking(r#""root", "reviewer""#)).config("[page]\n").start();
    let cookie = logged_in(&agent, User::REVIEWER, &[]);
    let file = site::file("hold", "Ada\n");
    let actor = agent.act([format!("open {file} r")]);
    let hold = agent.hold_of(&actor);
    let url = format!("{PAGE}/h/{}", hold.id());

    assert_eq!(replied(&[&url]).0, "401", "without a session");
    let forged =
        ["--header", &format!("Cookie: {cookie}"), "--header", "Origin: http://evil.test", "--data", "word=approve"];
    assert_eq!(replied(&[&forged[..], &[&url]].concat()).0, "403", "from another site");
    let stranger = logged_in(&agent, User::ROOT, &["--for", "nobody"]);
    assert_eq!(replied(&["--header", &format!("Cookie: {stranger}"), &url]).0, "404", "whom the rule does not name");
    for words in [&["page"][..], &["page", "--for", "reviewer"]] {
        let said = agent.say(User::AGENT, words);
        assert!(!said.status.success() && said.stdout.is_empty(), "who may not answer: {said:?}");
    }
    let said = agent.say(User::ROOT, ["page", "--for", "agent"]);
    assert!(!said.status.success() && said.stdout.is_empty(), "for nobody's name: {said:?}");
    let said = agent.say(User::REVIEWER, ["page", "--for", "root"]);
    assert!(!said.status.success() && said.stdout.is_empty(), "for somebody else: {said:?}");

    let governed = agent.spawn(User::REVIEWER, [&*holdpoint(), "page"]).end();
    assert_eq!((governed.stdout.as_str(), governed.status.success()), ("", false), "from a governed tree");
    let visits = ["curl", "--silent", "--show-error", PAGE];
    assert!(ungoverned(User::AGENT, visits).end().status.success(), "the control");
    assert!(!agent.spawn(User::AGENT, visits).end().status.success(), "the page is out of its reach");

    let pending = agent.say(User::ROOT, ["holds", "--json"]).stdout;
    assert!(pending.contains(hold.id()), "still held: {pending}");
    assert_eq!(answered(&hold, &cookie, "deny"), "303");
    assert_eq!(actor.end().stdout, "open EPERM\n");
}
