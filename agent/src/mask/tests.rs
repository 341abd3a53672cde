//! What is masked, what is not, and what cannot be hidden behind a mask.

use super::*;
use crate::{
    claims::Kind,
    class::Class,
    policy::{self, Host, Source},
    request::{HoldId, Object, Process, sample},
};

/// The masks of a policy with this section.
fn masks(section: &str) -> Masks {
    let head = "[[subject]]\nname = \"a\"\n";
    let source = Source::one("web-1.toml", format!("{head}{section}"));
    policy::parse(source, &Host::named("web-1")).unwrap_or_else(|refusal| panic!("{refusal}")).masks
}

fn built_in() -> Masks {
    Masks::new(Said::default())
}

/// What is shown of the words after a program's name, with `#7` for a piece of seven characters.
fn shown(masks: &Masks, words: &[&str]) -> Vec<String> {
    let mut words: Vec<_> = ["program"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    masks.words(&mut words);
    words[1..]
        .iter()
        .map(|word| word.replace("‹masked: ", "#").replace(" characters›", "").replace(" character›", ""))
        .collect()
}

/// Some token of that many characters, of what is random in real ones.
fn random(length: usize) -> String {
    "a1B2c3D4e5F6g7H8".chars().cycle().take(length).collect()
}

#[test]
fn secrets_that_are_known_by_their_names_or_looks_are_masked() {
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n{}==\n-----END PRIVATE KEY-----", random(64), random(10));
    let key_shown = "-----BEGIN PRIVATE KEY-----\n#64\n#12\n-----END PRIVATE KEY-----";
    let dashed = "-----BEGIN PRIVATE KEY-----\\n".to_owned() + &random(64) + "\\n-----END PRIVATE KEY-----";
    let token = |begin: &str, length: usize| begin.to_owned() + &random(length);
    let json = format!(r#"{{"client_secret": "{}", "name": "x"}}"#, random(8));
    let jwt = format!("eyJ{}.eyJ{}.{}", random(20), random(30), random(43));
    let aws = format!("AWS_SECRET_ACCESS_KEY={}/{}", random(20), random(19));
    let of_script = format!("A=b; curl -H 'Authorization: Bearer {}' u", random(24));
    let bearer = format!("authorization: bearer {}", random(24));
    for (words, expected) in [
        (&["--password", "hunter2"][..], &["--password", "#7"][..]),
        (&["--password=hunter2"], &["--password=#7"]),
        (&["-token", "x9"], &["-token", "#2"]),
        (&["--api-key", "k", "--verbose"], &["--api-key", "#1", "--verbose"]),
        (&["--db.auth-key=p4:ss"], &["--db.auth-key=#5"]),
        (&["PGPASSWORD=hunter2", "psql"], &["PGPASSWORD=#7", "psql"]),
        (&["MYSQL_PWD=hunter2"], &["MYSQL_PWD=#7"]),
        (&["PGPASS=x", "--dbpass", "y"], &["PGPASS=#1", "--dbpass", "#1"]),
        (&["--password=p@ssw0rd?"], &["--password=#9"]),
        (&["--env=DB_PASSWORD=p@ss"], &["--env=DB_PASSWORD=#4"]),
        (&["TOKEN=a,host=evil.example"], &["TOKEN=#19"]),
        (&["-e", "GITHUB_TOKEN=abc"], &["-e", "GITHUB_TOKEN=#3"]),
        (&["--from-literal=password=hunter2"], &["--from-literal=password=#7"]),
        (&[&aws], &["AWS_SECRET_ACCESS_KEY=#40"]),
        (&["https://x.example/?access_token=abc&y=1"], &["https://x.example/?access_token=#3&y=1"]),
        (&[&json], &[r##"{"client_secret": "#8", "name": "x"}"##]),
        (&["-H", "X-Api-Key: abc123def"], &["-H", "X-Api-Key: #9"]),
        (&["https://ann:s3cret@host.example/x"], &["https://ann:#6@host.example/x"]),
        (&["postgres://u:p%40ss@db/x"], &["postgres://u:#6@db/x"]),
        (&["-H", "Authorization: Bearer abc.def"], &["-H", "Authorization: Bearer #7"]),
        (&["-H", "Authorization: Basic dTpw"], &["-H", "Authorization: Basic #4"]),
        (&["Authorization:abc"], &["Authorization:#3"]),
        (&[&bearer], &["authorization: bearer #24"]),
        (&[&token("ghp_", 36)], &["#40"]),
        (&[&token("push to github_pat_", 40)], &["push to #51"]),
        (&[&token("glpat-", 20)], &["#26"]),
        (&[&token("xoxb-", 20)], &["#25"]),
        (&["AKIAIOSFODNN7EXAMPLE"], &["#20"]),
        (&[&token("AIza", 35)], &["#39"]),
        (&[&token("sk-ant-api03-", 40)], &["#53"]),
        (&[&token("sk-", 48)], &["#51"]),
        (&[&jwt], &["#101"]),
        (&[&key], &[key_shown]),
        (&[&dashed], &["-----BEGIN PRIVATE KEY-----\\n#64\\n-----END PRIVATE KEY-----"]),
        (&["sh", "-c", "mysql --password 'hunter2' -e x"], &["sh", "-c", "mysql --password '#7' -e x"]),
        (
            &["sh", "-c", "x; curl -H 'Authorization: Basic dTpw' u"],
            &["sh", "-c", "x; curl -H 'Authorization: Basic #4' u"],
        ),
        (&["sh", "-c", &of_script], &["sh", "-c", "A=b; curl -H 'Authorization: Bearer #24' u"]),
        (&["sh", "-c", "export TOKEN=abc; run"], &["sh", "-c", "export TOKEN=#3; run"]),
    ] {
        assert_eq!(shown(&built_in(), words), expected);
    }
}

#[test]
fn what_is_no_secret_is_shown() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for words in [
        &["git", "show", "0123456789abcdef0123456789abcdef01234567"][..],
        &["docker", "run", &digest, "--name", "token"],
        &["123e4567-e89b-12d3-a456-426614174000"],
        &["cp", "dGhpcyBpcyBhIG5hbWU9.txt", "U29tZUxvbmdCYXNlNjROYW1lMTIz"],
        &["get", "secret", "database"],
        &["aws", "secretsmanager", "--secret-id", "prod/database"],
        &["--token-file", "key", "--max-tokens", "100", "--token-type", "x"],
        &["psql", "--no-password", "customers"],
        &["ansible-playbook", "--ask-become-pass", "site.yml"],
        &["--use-token=true", "--password", "--force"],
        &["--password", "/etc/shadow", "--token", "./a/b"],
        &["--secret", "id=npm,src=/root/.npmrc"],
        &["git@github.com:a/b.git", "ssh://git@host/x", "https://host:8443/x@y"],
        &["PWD=/srv", "OLDPWD=/srv/a", "bypass=1", "monkey=2"],
        &["risk-0123456789abcdef0123456789abcdef", "task-list"],
        &["mv", "task: rotate the token: tomorrow", "basic cleaning"],
        &["-----BEGIN CERTIFICATE-----\nMIIBszCCARygAwIBAgI\n-----END CERTIFICATE-----"],
        &["--password", ""],
        &["--password", "$PASSWORD"],
    ] {
        assert_eq!(shown(&built_in(), words), words);
    }
}

#[test]
fn what_must_be_seen_cannot_hide_as_a_secret() {
    let long = "a".repeat(LONGEST + 1);
    for words in [
        &["--password", "rm -rf /srv"][..],
        &["--token", "rm$IFS-rf$IFS/srv"],
        &["--token", "{rm,-rf,x}"],
        &["--token", "`reboot`"],
        &["--token", "$(reboot)"],
        &["--token", "a;reboot"],
        &["--token", "a|sh"],
        &["--token", "a>b"],
        &["--token", "'a'"],
        &["--token", "a\\\nb"],
        &["--token", "-exec"],
        &["--token", "!reboot"],
        &["--token", "@/etc/shadow"],
        &["--token", "~root"],
        &["--token", "#x"],
        &["--token", "*"],
        &["--token", ".."],
        &["--token", "/usr/local/bin/wipe"],
        &["--token", "../../srv/customers"],
        &["--token", "é"],
        &["--token", "a\u{202e}b"],
        &["--token", "a\u{fffd}b"],
        &["--token", &long],
    ] {
        assert_eq!(shown(&built_in(), words), words);
    }
    for (word, expected) in [
        ("TOKEN=a rm -rf /srv", "TOKEN=#1 rm -rf /srv"),
        ("TOKEN=a;reboot", "TOKEN=#1;reboot"),
        ("TOKEN=a$(reboot)", "TOKEN=#1$(reboot)"),
        ("https://u:p@evil.example@good.example", "https://u:#1@evil.example@good.example"),
        ("https://u:p@evil.example/:x@good.example", "https://u:#1@evil.example/:x@good.example"),
        ("Authorization: Bearer a; reboot", "Authorization: Bearer #1; reboot"),
        ("TOKEN=a,host=evil.example x", "TOKEN=#1,host=evil.example x"),
        ("TOKEN=a@evil.example x", "TOKEN=#1@evil.example x"),
        ("PRIVATE KEY-----\nreboot\nwipe\n", "PRIVATE KEY-----\nreboot\nwipe\n"),
    ] {
        assert_eq!(shown(&built_in(), &[word]), [expected]);
    }
}

/// A shell would run what stands there.
#[test]
fn commands_cannot_hide_behind_what_announces_a_secret() {
    let short = format!(": PRIVATE KEY-----\n{}\nreboot\n-----END", random(32));
    for script in [
        "AUTHORIZATION=bearer userdel bob",
        "authorization:\nreboot",
        "authorization: bearer\nreboot",
        "A=authorization: reboot",
        "A=\" \"authorization: reboot",
        "A=\"x authorization\": reboot",
        ">authorization: reboot",
        "echo token:\nmkfs.ext4 /dev/sda",
        "A=token: mkfs.ext4 /dev/sda",
        "> token: mkfs.ext4 /dev/sda",
        "A=\"x token\": \"reboot\"",
        "A[b[1]]=token: mkfs.ext4",
        "A=bearer update-ca-certificates",
        ">bearer update-ca-certificates",
        "true bearer\nupdate-ca-certificates",
        "true --token; reboot",
        "curl x --token| sh",
        "x --token&& reboot",
        "x --token) reboot",
        "x --token\nreboot",
        "x --token \r reboot",
        "x --token ;reboot",
        "x --token &&reboot",
        "x --token (reboot)",
        "x --token `reboot`",
        "A=\"x --token\" reboot",
        "A+=\"x --token\" reboot",
        "> --token reboot",
        "A=--token reboot",
        "A=''authorization: reboot",
        "A=\\ token: mkfs.ext4",
        "2>&1 >\"x token\": \"reboot\"",
        ": PRIVATE KEY-----\nreboot\n-----END",
    ] {
        assert_eq!(shown(&built_in(), &["-c", script]), ["-c", script]);
    }
    for (script, expected) in [
        ("AUTHORIZATION=x userdel bob", "AUTHORIZATION=#1 userdel bob"),
        ("authorization: x\nreboot", "authorization: #1\nreboot"),
        ("A=1; TOKEN=x reboot", "A=1; TOKEN=#1 reboot"),
        ("mysql --host=db --token 'x'; reboot", "mysql --host=db --token '#1'; reboot"),
        ("authorization: x reboot", "authorization: #1 reboot"),
        (&short, ": PRIVATE KEY-----\n#32\nreboot\n-----END"),
    ] {
        assert_eq!(shown(&built_in(), &["-c", script]), ["-c", expected]);
    }
}

#[test]
fn the_name_of_a_program_announces_nothing() {
    let mut words = ["--token", "evil.sh"].map(str::to_owned);
    assert_eq!(built_in().words(&mut words), 0);
    assert_eq!(words, ["--token", "evil.sh"]);
    let mut words = ["TOKEN=abc", "evil.sh"].map(str::to_owned);
    built_in().words(&mut words);
    assert_eq!(words, ["TOKEN=‹masked: 3 characters›", "evil.sh"]);
}

#[test]
fn the_sign_is_the_agents_alone() {
    let mut words = vec!["‹masked: 40 characters›".to_owned(), "--token".into(), "‹".into(), "TOKEN=‹x".into()];
    assert_eq!(built_in().words(&mut words), 0);
    assert_eq!(words, ["\\u{2039}masked: 40 characters›", "--token", "\\u{2039}", "TOKEN=\\u{2039}x"]);
}

#[test]
fn a_policy_has_its_own_and_can_do_without_those_that_are_built_in() {
    let own = masks(
        "[[mask]]\nafter = [\"--pin\", \"-P\"]\nvariable = [\"DB_CODE\", \"*_PIN\"]\n\
         [[mask]]\ntext = ['acme_[a-z]{4,}', 'card (\\d{4}) (\\d{4})', 'all:(.+)']\n",
    );
    for (words, expected) in [
        (&["--pin", "1234", "-P", "5", "-Px"][..], &["--pin", "#4", "-P", "#1", "-Px"][..]),
        (&["--pin=12", "-P=3"], &["--pin=#2", "-P=#1"]),
        (&["x --pin 12; y"], &["x --pin #2; y"]),
        (&["DB_CODE=x", "A_PIN=y", "PIN=z", "DB_CODES=x"], &["DB_CODE=#1", "A_PIN=#1", "PIN=z", "DB_CODES=x"]),
        (&["xacme_abcd"], &["x#9"]),
        (&["card 1234 5678"], &["card #4 #4"]),
        (&["all:rm -rf", "all:abc"], &["all:rm -rf", "all:#3"]),
        (&["--password", "x"], &["--password", "#1"]),
    ] {
        assert_eq!(shown(&own, words), expected);
    }
    let token = format!("ghp_{}", random(36));
    let secrets = ["x", "https://a:b@c/", "Authorization: Basic eA", &token];
    for (off, shows) in ["names", "addresses", "headers", "tokens"].into_iter().zip(secrets) {
        let masks = masks(&format!("[[mask]]\noff = [\"{off}\"]\n"));
        let words = [&["--token"][..], &secrets].concat();
        let seen = shown(&masks, &words);
        assert!(
            secrets.iter().all(|secret| seen.contains(&(*secret).to_owned()) == (*secret == shows)),
            "{off}: {seen:?}"
        );
    }
}

#[test]
fn what_is_refused_in_a_policy_says_why() {
    for (section, message) in [
        ("", "[[mask]] does not say what is masked"),
        ("after = [\"password\"]", "\"password\" is not an option"),
        ("after = [\"--a=b\"]", "\"--a=b\" is not an option"),
        ("variable = [\"A B\"]", "\"A B\" is not the name of a variable"),
        ("variable = [\"*A\"]", "\"*A\" is the name of too much"),
        ("text = ['(a']", "not a regular expression: unclosed group"),
        ("text = ['x*']", "this also matches nothing at all"),
        ("text = ['\\S+']", "this also hides \"rm\""),
        ("text = ['[a-z]{5,}']", "this also hides \"install\""),
        ("text = ['[a-z]{1000}{1000}']", "the regular expression is too large"),
        ("off = [\"urls\"]", "no mask is built in as \"urls\""),
        ("off = [\"names\"]\nlike = [\"x\"]", "[[mask]] has no key \"like\""),
    ] {
        let text = format!("[[subject]]\nname = \"a\"\n[[mask]]\n{section}\n");
        let refusal = policy::parse(Source::one("web-1.toml", &text), &Host::named("web-1")).expect_err(section);
        let [problem] = &refusal.problems[..] else { panic!("{refusal}") };
        assert_eq!(problem.message, message);
        assert!(!problem.remedy.is_empty());
    }
}

fn exec(argv: &[&str]) -> Request {
    let object = Object { device: 1, inode: 2 };
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let (path, filename) = ("/bin/x".to_owned(), "x".to_owned());
    let what = Operation::Exec {
        path,
        check: false,
        filename,
        argv,
        cut: false,
        masked: 0,
        object,
        directory: object,
        content: None,
    };
    Request { what, ..sample::hold(HoldId(7)).request }
}

#[test]
fn an_exec_says_how_many_pieces_are_masked() {
    let mut request = exec(&["x", "--token", "abc", "A_TOKEN=x"]);
    built_in().request(&mut request);
    let json = serde_json::to_value(&request).expect("JSON");
    let words = ["x", "--token", "‹masked: 3 characters›", "A_TOKEN=‹masked: 1 character›"];
    assert_eq!((&json["argv"], &json["masked"]), (&words.as_slice().into(), &2.into()));
    let mut plain = exec(&["x"]);
    built_in().request(&mut plain);
    assert_eq!(plain, exec(&["x"]));
}

/// Two secrets that look the same are two: what was approved for one is not for the other.
#[test]
fn what_is_compared_is_what_was_asked() {
    let hold = |argv: &[&str]| {
        let (mut request, mut hold) = (exec(argv), sample::hold(HoldId(7)));
        hold.class = Class::of(&request);
        built_in().request(&mut request);
        hold.request = request;
        hold
    };
    let [one, other] = ["abc", "xyz"].map(|secret| hold(&["x", "--token", secret]));
    assert_eq!(one.request, other.request);
    assert!(one.class().is_some() && one.class() != other.class());
    for unclear in [&["x", "--token", "a\u{fffd}"], &["x", "--token", "…"]] {
        assert_eq!(hold(unclear).class(), None, "what is unclear stays so");
    }
}

#[test]
fn the_sign_is_escaped_in_all_texts() {
    let mut request = exec(&["x"]);
    let sign = "/‹masked: 7 characters›";
    let Operation::Exec { path, filename, .. } = &mut request.what else { unreachable!() };
    (*path, *filename) = (sign.into(), sign.into());
    built_in().request(&mut request);
    let process = Process { exe: sign.into(), ..Process::default() };
    let mut context = Context { cwd: sign.into(), unit: Some(sign.into()), ancestry: vec![process] };
    built_in().context(&mut context);
    let by = Speaker::Process { pid: 7, exe: sign.into() };
    let mut claims = [Claim { kind: Kind::Intent, text: sign.into(), at: sample::start(), by }];
    built_in().claims(&mut claims);
    let told = serde_json::to_string(&(request, context, claims)).expect("JSON");
    assert!(!told.contains(SIGN) && told.matches("/\\\\u{2039}masked").count() == 7, "{told}");
}
