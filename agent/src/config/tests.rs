use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::approval::{review, sample};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

/// A directory with a secret `ops` in it, gone at the end of the test.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        Self::below(&std::env::temp_dir(), test)
    }

    /// One of which nobody else can change the directories above.
    fn guarded(test: &str) -> Self {
        Self::below(&std::env::home_dir().expect("a home"), test)
    }

    fn below(directory: &Path, test: &str) -> Self {
        let path = directory.join(format!("holdpoint-config-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let place = Self(path);
        place.file("ops", SECRET, 0o600);
        place
    }

    fn file(&self, name: &str, content: &str, mode: u32) {
        fs::write(self.0.join(name), content).unwrap();
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What becomes of `text` with the directory's path for `@`.
    fn parse(&self, text: &str) -> Result<Config, String> {
        self.parse_whole(text).map(|(config, _)| config)
    }

    /// The same, with the files of its secrets.
    fn parse_whole(&self, text: &str) -> Result<(Config, Vec<PathBuf>), String> {
        let text = text.replace('@', &self.0.display().to_string());
        let source = Source::one("config.toml", text);
        parse(source, Some(&self.0)).map_err(|refusal| refusal.to_string().replace(&self.0.display().to_string(), "@"))
    }

    /// The same, of a channel with `line` in the place of the line with the same key.
    fn channel(&self, line: &str) -> Result<Config, String> {
        let key = line.split(" =").next().unwrap();
        let lines = CHANNEL.lines().map(|old| if old.starts_with(&format!("{key} =")) { line } else { old });
        self.parse(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CHANNEL: &str = r#"[[channel]]
name = "ops"
kind = "webhook"
url = "https://reviews.example/hook/token"
secret_file = "@/ops"
reviewers = ["security"]
"#;

#[test]
fn without_a_file_nobody_is_asked_and_nothing_listens() {
    let (config, secrets) = load(Path::new("/nonexistent/config.toml"), None).unwrap();
    assert!(secrets.is_empty());
    assert!(config.listener.is_none() && config.channels.is_empty());
}

#[test]
fn a_listener_is_called_by_its_address_unless_it_has_a_url() {
    let place = Place::new("listener");
    let plain = place.parse("[listener]\naddress = \"127.0.0.1:8700\"").unwrap().listener.unwrap();
    assert_eq!(plain.url, "http://127.0.0.1:8700");
    let named = place.parse("[listener]\naddress = \"0.0.0.0:8700\"\nurl = \"https://hp.example/a/\"").unwrap();
    assert_eq!(named.listener.unwrap().url, "https://hp.example/a");
}

#[test]
fn the_page_is_off_unless_configured_and_on_this_host_unless_said() {
    let place = Place::new("page");
    assert!(place.parse("").unwrap().page.is_none());
    let plain = place.parse("[page]").unwrap().page.unwrap();
    assert_eq!((plain.url.as_str(), plain.address.ip().is_loopback()), ("http://127.0.0.1:8701", true));
    let named = place.parse("[page]\nurl = \"https://hp.example/a/\"").unwrap().page.unwrap();
    assert_eq!((named.url.as_str(), named.prefix().as_str()), ("https://hp.example/a", "/a"));
    assert!(place.parse("[page]\naddress = \"0.0.0.0:8701\"").unwrap_err().contains("add url"));
}

#[test]
fn teams_opens_the_page_unless_it_is_given_another_one() {
    let place = Place::new("review");
    place.file("teams", "https://flows.example/x", 0o600);
    let opened = |page: &str, review: &str| {
        let channel = "[[channel]]\nname = \"office\"\nkind = \"teams\"\nreviewers = [\"security\"]";
        let config = place.parse(&format!("{page}\n{channel}\nurl_file = \"@/teams\"\n{review}")).unwrap();
        let card = sample::preview(&config.channels[0], "host-1").message;
        card.pointer("/attachments/0/content/actions/0/url").map(|url| url.as_str().unwrap().to_owned())
    };
    let (page, review) = ("[page]\nurl = \"https://hp.example/a\"", "review_url = \"https://other.example/r\"");
    assert_eq!(opened("", ""), None);
    assert_eq!(opened(page, "").unwrap(), "https://hp.example/a/h/0000000000000000");
    assert_eq!(opened(page, review).unwrap(), "https://other.example/r/0000000000000000");
}

#[test]
fn a_reader_is_logged_in_on_the_page_and_is_one_of_those_who_are_asked() {
    let place = Place::new("reader");
    let config = |page: &str| format!("{page}{CHANNEL}reader = \"alice\"\n");
    let refused = place.parse(&config("")).unwrap_err();
    assert!(refused.starts_with("config.toml:7:10: there is no page to log the reader in (add [page]"), "{refused}");
    let read = place.parse(&config("[page]\nurl = \"https://hp.example\"\n")).unwrap();
    for (group, member, good) in [("security", "alice", true), ("security", "bob", false), ("other", "alice", false)] {
        let groups = [(group.to_owned(), vec![member.to_owned()])].into();
        let judged = review::judge(&read.channels, &groups);
        assert_eq!(judged.is_ok(), good, "{judged:?}");
        assert!(judged.err().is_none_or(|why| why.contains("\"ops\": the reader \"alice\" is in none of the groups")));
    }
    let shown = sample::preview(&read.channels[0], "host-1").message;
    assert_eq!(shown["data"]["review_url"], "https://hp.example/r?for=alice&signature=made-when-it-is-sent");

    place.file("teams", "https://flows.example/x", 0o600);
    let teams =
        "[page]\n[[channel]]\nname = \"dm\"\nkind = \"teams\"\nreviewers = [\"security\"]\nreader = \"alice\"\n";
    let teams = format!("{teams}url_file = \"@/teams\"\nreview_url = \"https://other.example/r\"\n");
    let refused = place.parse(&teams).unwrap_err();
    assert!(refused.starts_with("config.toml:8:14: a reader is logged in on the agent's own page"), "{refused}");
}

#[test]
fn a_channel_is_read_and_shows_neither_secret_nor_url() {
    let place = Place::new("channel");
    let (config, secrets) = place.parse_whole(CHANNEL).unwrap();
    assert_eq!(secrets, [place.0.join("ops")]);
    assert_eq!(config.channels[0].reviewers, ["security"]);
    assert_eq!(
        format!("{config:?}"),
        r#"Config { listener: None, page: None, sso: None, channels: [Channel { name: "ops", kind: "webhook", reviewers: ["security"], review: None, way: Webhook { host: "reviews.example", .. } }], trusted: [] }"#
    );
}

#[test]
fn problems_have_a_place_and_a_remedy() {
    let place = Place::new("problems");
    for (line, problem) in [
        ("name = \"a.b\"", "config.toml:2:8: not a channel's name (1 to 64 letters, digits, - and _)"),
        ("kind = \"fax\"", "config.toml:3:8: unknown kind \"fax\" (one of: exec, slack, teams, webhook)"),
        ("reviewers = []", "config.toml:6:13: this channel asks nobody (name groups of the policy's [reviewers])"),
        (
            "secret_file = \"@/none\"",
            "config.toml:5:15: @/none: No such file or directory (os error 2) (name a file that exists)",
        ),
        ("secret_file = \"@\"", "config.toml:5:15: @ is not a regular file (name a regular file)"),
    ] {
        assert_eq!(place.channel(line).unwrap_err(), problem);
    }
    let insecure = place.channel("url = \"http://reviews.example\"").unwrap_err();
    assert!(insecure.starts_with("config.toml:4:7: http to another host"), "{insecure}");
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_helps() {
    let place = Place::new("mode");
    place.file("ops", SECRET, 0o640);
    let expected = "config.toml:5:15: @/ops has mode 0640 (chmod 0600 @/ops)";
    assert_eq!(place.parse(CHANNEL).unwrap_err(), expected);
}

#[test]
fn what_is_no_secret_is_not_repeated() {
    let place = Place::new("nosecret");
    place.file("ops", "hunter2", 0o600);
    let refused = place.parse(CHANNEL).unwrap_err();
    assert!(refused.contains("not a secret: it does not begin with whsec_") && !refused.contains("hunter2"));
}

#[test]
fn a_secret_can_be_a_credential_of_systemd() {
    let place = Place::new("credential");
    let credential = |name: &str| CHANNEL.replace("secret_file = \"@/ops\"", &format!("credential = \"{name}\""));
    assert!(place.parse(&credential("ops")).is_ok());
    assert!(place.parse(&credential("../ops")).unwrap_err().contains("is not a credential's name"));
    assert!(place.parse(&format!("{CHANNEL}credential = \"ops\"")).unwrap_err().contains("two secrets"));
}

const EXEC: &str = r#"[[channel]]
name = "desk"
kind = "exec"
command = ["@/ask", "@/script", "--loud"]
reviewers = ["security"]
"#;

#[test]
fn a_program_is_read_and_nobody_else_can_change_it() {
    let place = Place::guarded("exec");
    place.file("script", "", 0o644);
    place.file("ask", "", 0o755);
    assert_eq!(place.parse(EXEC).unwrap().trusted, [place.0.join("script"), place.0.join("ask")]);
    for timeout in ["0s", "25h", "soon"] {
        let refused = place.parse(&format!("{EXEC}timeout = \"{timeout}\"")).unwrap_err();
        assert!(refused.starts_with("config.toml:6:11:"), "{refused}");
    }
    for (mode, flaw) in [
        (0o775, "@/ask can be changed by others (chown root @/ask; chmod go-w @/ask)"),
        (0o644, "@/ask is not a program (chmod +x @/ask)"),
    ] {
        place.file("ask", "", mode);
        assert_eq!(place.parse(EXEC).unwrap_err(), format!("config.toml:4:12: {flaw}"));
    }
    let refused = place.parse(&EXEC.replace("@/ask", "ask")).unwrap_err();
    assert_eq!(refused, "config.toml:4:12: ask is not an absolute path (write the whole path)");
    let refused = place.parse(&EXEC.replace("\"@/ask\", \"@/script\", \"--loud\"", "")).unwrap_err();
    assert!(refused.starts_with("config.toml:4:11: command is an empty list"), "{refused}");
}

#[test]
fn who_can_change_a_script_or_a_directory_above_it_would_answer() {
    let place = Place::guarded("script");
    place.file("ask", "", 0o755);
    place.file("script", "", 0o666);
    // The column depends on how long the directory's name is.
    let refused = place.parse(EXEC).unwrap_err();
    let open = "@/script can be changed by others (chown root @/script; chmod go-w @/script)";
    assert!(refused.starts_with("config.toml:4:") && refused.ends_with(open), "{refused}");
    fs::create_dir(place.0.join("open")).unwrap();
    fs::set_permissions(place.0.join("open"), fs::Permissions::from_mode(0o1777)).unwrap();
    place.file("open/script", "", 0o644);
    for words in [r#""@/ask", "@/open/script""#, r#""@/ask", "@/open/later""#, r#""@/ask", "@/link""#, r#""@/link""#] {
        let _ = fs::remove_file(place.0.join("link"));
        std::os::unix::fs::symlink("open/script", place.0.join("link")).unwrap();
        place.file("open/script", "", 0o755);
        let refused = place.parse(&EXEC.replace(r#""@/ask", "@/script", "--loud""#, words)).unwrap_err();
        assert!(refused.contains("is below @/open, which can be changed by others (move it"), "{words}: {refused}");
    }
    let swapped = EXEC.replace("@/script", "@/open/..");
    assert!(place.parse(&swapped).is_ok(), "a directory is no script");
}

#[test]
fn who_can_change_the_authorities_would_be_trusted() {
    let place = Place::guarded("authorities");
    place.file("ca", "no certificate", 0o644);
    let channel = format!("{CHANNEL}ca_file = \"@/ca\"\n");
    let refused = place.parse(&channel).unwrap_err();
    assert!(refused.starts_with("config.toml:7:11: no certificate in it"), "{refused}");
    place.file("ca", "no certificate", 0o664);
    let refused = place.parse(&channel).unwrap_err();
    assert!(refused.starts_with("config.toml:7:11: @/ca can be changed by others"), "{refused}");
}

const SLACK: &str = r#"[listener]
address = "127.0.0.1:8700"
[[channel]]
name = "team"
kind = "slack"
channel = "C0123ABCD"
token_file = "@/token"
secret_file = "@/signing"
api = "http://127.0.0.1:9/api"
reviewers = ["security"]
"#;

#[test]
fn slack_is_read_strictly_and_shows_no_secret() {
    let place = Place::new("slack");
    place.file("token", "xoxb-1-2-3\n", 0o600);
    place.file("signing", "8f742231b10e8888abcd99yyyzzz85a5\n", 0o600);
    let (config, secrets) = place.parse_whole(SLACK).unwrap();
    assert_eq!(secrets, [place.0.join("token"), place.0.join("signing")]);
    let shown = format!("{config:?}");
    assert!(shown.contains(r#"way: Slack { channel: "C0123ABCD", .. }"#) && !shown.contains("xoxb"), "{shown}");
    for (old, new, problem) in [
        ("C0123ABCD", "#general", "config.toml:6:11: not a conversation's id"),
        ("C0123ABCD", "U0123ABCD", "config.toml:6:11: not a conversation's id"),
        ("http://127.0.0.1:9/api", "https://slack.example/api", "config.toml:9:7: this is for tests, on this host"),
        (
            "[\"security\"]\n",
            "[\"security\"]\n[channel.users]\n\"T1/U1\" = \"alice\"\n",
            "config.toml:11:1: who is who in Slack is said by the policy (write in the policy: [[reviewer]] with",
        ),
        ("token_file = \"@/token\"", "", "config.toml:4:8: this channel has no token"),
        ("@/token", "@/signing", "config.toml:7:14: not a bot's token: it does not begin with xoxb-"),
        ("@/signing", "@/token", "config.toml:8:15: not a signing secret"),
        (
            "[listener]\naddress = \"127.0.0.1:8700\"\n",
            "",
            "config.toml:2:8: clicks cannot come back: there is no [listener]",
        ),
        ("api =", "url =", "config.toml:9:1: unknown field `url`, expected one of `channel`"),
    ] {
        let refused = place.parse(&SLACK.replace(old, new)).unwrap_err();
        assert!(refused.starts_with(problem), "{refused}");
    }
    place.file("token", "xoxb-1-2-3\n", 0o640);
    assert!(place.parse(SLACK).unwrap_err().starts_with("config.toml:7:14: @/token has mode 0640"));
}

#[test]
fn slack_hears_by_a_socket_or_by_a_listener() {
    let place = Place::new("socket");
    for (name, text) in [("token", "xoxb-1"), ("app", "xapp-1"), ("signing", "8f742231b10e8888abcd99yyyzzz85a5")] {
        place.file(name, text, 0o600);
    }
    let (_, table) = SLACK.split_once("8700\"\n").unwrap();
    let socket = table.replace("secret_file = \"@/signing\"", "app_token_file = \"@/app\"");
    let (config, secrets) = place.parse_whole(&socket).unwrap();
    assert_eq!(secrets, [place.0.join("token"), place.0.join("app")]);
    assert!(!format!("{config:?}").contains("xapp"));
    let both = SLACK.replace("secret_file", "app_token_file = \"@/app\"\nsecret_file");
    let refused = place.parse(&both).unwrap_err();
    assert!(refused.starts_with("config.toml:4:8: clicks cannot come by two ways (keep the app-level"), "{refused}");
    let refused = place.parse(&socket.replace("@/app", "@/token")).unwrap_err();
    assert!(refused.starts_with("config.toml:6:18: not an app-level token"), "{refused}");
    let second = socket.replace("\"team\"", "\"other\"").replace("@/token", "@/app");
    assert!(place.parse(&format!("{socket}{second}")).is_err());
}

#[test]
fn answers_are_fetched_where_questions_are_sent() {
    let place = Place::new("decisions");
    let with = |url: &str| place.parse(&format!("{CHANNEL}decision_url = \"{url}\"\n"));
    assert!(with("https://reviews.example/decisions/{hold}").is_ok());
    assert!(with("https://reviews.example:443/d?of={hold}&x=1").is_ok());
    for (url, flaw) in [
        ("https://reviews.example/decisions", "it is the same for every hold"),
        ("https://other.example/{hold}", "not where questions are sent"),
        ("https://{hold}.reviews.example/", "not where questions are sent"),
        ("https://reviews.example:8443/{hold}", "not where questions are sent"),
        ("http://reviews.example/{hold}", "not where questions are sent"),
        ("https://reviews.example/x#{hold}", "not where questions are sent"),
        ("/decisions/{hold}", "not a URL"),
    ] {
        let refused = with(url).map(|_| ()).unwrap_err();
        assert!(refused.starts_with(&format!("config.toml:7:16: {flaw}")), "{url}: {refused}");
    }
}

#[test]
fn an_app_of_slack_hears_for_one_channel() {
    let place = Place::new("apps");
    for (name, text) in [("token", "xoxb-1"), ("token2", "xoxb-2")] {
        place.file(name, text, 0o600);
    }
    for (name, digit) in [("signing", "1"), ("signing2", "2")] {
        place.file(name, &digit.repeat(32), 0o600);
    }
    let (_, table) = SLACK.split_once("8700\"\n").unwrap();
    let second = table.replace("\"team\"", "\"other\"").replace("C0123ABCD", "C0123ABCE");
    let both = |second: &str| place.parse(&format!("{SLACK}{second}"));
    let own = second.replace("@/token", "@/token2").replace("@/signing", "@/signing2");
    assert_eq!(both(&own).unwrap().channels.len(), 2);
    for shared in [own.replace("@/token2", "@/token"), own.replace("@/signing2", "@/signing")] {
        let refused = both(&shared).unwrap_err();
        let expected = "config.toml:12:8: channel \"other\" has the same app as \"team\" (make an app for each channel";
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn teams_url_is_a_secret() {
    const TEAMS: &str = r#"[[channel]]
name = "office"
kind = "teams"
url_file = "@/url"
review_url = "http://127.0.0.1:1/r"
reviewers = ["security"]
"#;
    let place = Place::new("teams");
    place.file("url", "http://127.0.0.1:9/workflows/x?sig=hidden\n", 0o600);
    let (config, secrets) = place.parse_whole(TEAMS).unwrap();
    assert_eq!(secrets, [place.0.join("url")]);
    assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    place.file("url", "http://flows.example/workflows/x?sig=hidden", 0o600);
    let refused = place.parse(TEAMS).unwrap_err();
    assert!(refused.starts_with("config.toml:4:12: http to another host") && !refused.contains("hidden"), "{refused}");
    let refused = place.parse(&TEAMS.replace("url_file", "url")).unwrap_err();
    assert!(refused.starts_with("config.toml:4:1: unknown field `url`, expected one of `url_file`,"), "{refused}");
}

#[test]
fn names_and_secrets_are_unique() {
    let place = Place::new("unique");
    let twice = place.parse(&format!("{CHANNEL}{CHANNEL}")).unwrap_err();
    assert!(twice.contains("config.toml:8:8: a channel named \"ops\" exists already"), "{twice}");
    assert!(twice.contains("has the same secret as"), "{twice}");
}

#[test]
fn unknown_keys_are_refused_at_their_place() {
    let refused = Place::new("unknown").parse("[listener]\naddress = \"127.0.0.1:1\"\nport = 3\n").unwrap_err();
    assert!(refused.starts_with("config.toml:3:1: unknown field `port`, expected"), "{refused}");
    let refused = Place::new("unknown-of-kind").parse(&format!("{CHANNEL}command = [\"/x\"]\n")).unwrap_err();
    assert!(refused.starts_with("config.toml:7:1: unknown field `command`, expected one of `url`,"), "{refused}");
}
