//! Promise 8, by the words of the policy: wildcards, and what a rule asks for beside what it is about, are decided in the
//! kernel as the policy says them. Each is shown with what is next to it and passes.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use holdpoint_tests::{
    Agent, LIMIT, User,
    actor::with_actor,
    agent::holdpoint,
    shared,
    site::{self, ROOT},
    ungoverned,
};

/// Where this file's policies have their files.
const PLACE: &str = "words";

/// A policy with these rules, each of which denies, for a subject that these lines go on with.
fn denying(subject: &str, rules: &[&str]) -> String {
    let rules: String = (0..)
        .zip(rules)
        .map(|(index, rule): (u32, _)| format!("\n[[rule]]\nname = \"{index}\"\n{rule}\nthen = \"deny\"\n"))
        .collect();
    format!("[[subject]]\nname = \"words\"\n{subject}\n{rules}")
}

/// A file of that name, which everybody may read and write.
fn file(name: &str) -> String {
    let path = Path::new(ROOT).join(PLACE).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "Ada\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    path.display().to_string()
}

/// What comes of opening each of them.
fn opened(agent: &Agent, user: User, files: &[String]) -> Vec<String> {
    let steps: Vec<_> = files.iter().map(|file| format!("open {file} r")).collect();
    let ended = agent.spawn_as(user, "words", with_actor(&steps)).wait_end();
    ended.stdout.lines().map(str::to_owned).collect()
}

/// Under rules on these patterns, those files cannot be opened and these can; all can be without Holdpoint.
#[track_caller]
fn assert_meets(patterns: &[&str], denied: &[&str], passing: &[&str]) {
    let files: Vec<_> = denied.iter().chain(passing).map(|name| file(name)).collect();
    let control = ungoverned(User::AGENT, with_actor(files.iter().map(|file| format!("open {file} r")))).end();
    assert_eq!(control.stdout, "open ok\n".repeat(files.len()), "the control");
    let rules: Vec<_> = patterns.iter().map(|pattern| format!("open = {{ path = [\"{pattern}\"] }}")).collect();
    let agent = shared(&denying("", &rules.iter().map(String::as_str).collect::<Vec<_>>()));
    let expected = [vec!["open EPERM"; denied.len()], vec!["open ok"; passing.len()]].concat();
    assert_eq!(opened(&agent, User::AGENT, &files), expected, "{patterns:?} {files:?}");
}

#[test]
fn wildcards_in_a_name() {
    assert_meets(
        &[&format!("{ROOT}/{PLACE}/*/keys/id_*"), &format!("{ROOT}/{PLACE}/x/a?c.{{pem,key}}")],
        &["x/keys/id_a", "y/keys/id_", "x/abc.pem", "x/aéc.key"],
        &["x/keys/id", "x/id_a", "x/keys/z/id_a", "x/ac.pem", "x/abc.pub"],
    );
}

#[test]
fn wildcards_over_directories_and_anywhere() {
    assert_meets(
        &[&format!("{ROOT}/{PLACE}/**/deep/*.db"), "**/.aws/cred*", "**/*.secret"],
        &["deep/a.db", "x/y/deep/b.db", ".aws/credentials", "x/.aws/cred", "z.secret", "x/.secret"],
        &["deep/a.dbx", "x/deep/y/b.db", "aws/credentials", ".aws/x/cred", "secret"],
    );
}

#[test]
fn a_long_name_is_matched_by_its_letters() {
    let (long, other) = ("n".repeat(200) + ".pem", "n".repeat(200) + ".pub");
    assert_meets(&[&format!("{ROOT}/{PLACE}/long/*.pem")], &[&format!("long/{long}")], &[&format!("long/{other}")]);
}

#[test]
fn a_directory_that_leads_to_what_wildcards_mean_is_not_moved_away() {
    let secret = file("move/home/.ssh/id_a");
    let home = Path::new(&secret).ancestors().nth(2).unwrap().display().to_string();
    let other = Path::new(&file("moved/other/x")).parent().unwrap().display().to_string();
    let open = |directory: &str| fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    let places = ["move", "moved"].map(|name| format!("{ROOT}/{PLACE}/{name}"));
    [&home, &other, &places[0], &places[1]].into_iter().for_each(|directory| open(directory));
    let rename = |from: &str| format!("rename {from} {from}-2");
    let agent = shared(&denying("", &[&format!("open = {{ path = [\"{ROOT}/{PLACE}/move/*/.ssh/**\"] }}")]));
    let ended = agent.spawn_as(User::AGENT, "words", with_actor([rename(&home), rename(&other)])).wait_end();
    assert_eq!(ended.stdout, "rename EPERM\nrename ok\n");
    fs::rename(format!("{other}-2"), other).unwrap();
}

#[test]
fn a_rule_for_one_user_is_not_one_for_others() {
    let secret = file("user");
    let agent = shared(&denying("", &[&format!("open = {{ path = [\"{secret}\"] }}\nuser = [\"agent\"]")]));
    let secret = [secret];
    assert_eq!(opened(&agent, User::AGENT, &secret), ["open EPERM"]);
    assert_eq!(opened(&agent, User::ROOT, &secret), ["open ok"]);
}

#[test]
fn a_rule_for_a_working_directory_is_one_for_who_works_there() {
    let (secret, inside) = (file("cwd"), file("infra/prod/eu/x"));
    let (prod, test) =
        (format!("{ROOT}/{PLACE}/infra/prod"), Path::new(&file("infra/test/x")).parent().unwrap().to_owned());
    let link = format!("{ROOT}/{PLACE}/link-{}", site::fresh());
    std::os::unix::fs::symlink(&prod, &link).unwrap();
    let rule = format!("open = {{ path = [\"{secret}\"] }}\ncwd = [\"{prod}/**\"]");
    let step = |directory: &str| [format!("chdir {directory}"), format!("open {secret} r")];
    let (eu, test) = (Path::new(&inside).parent().unwrap().display().to_string(), test.display().to_string());
    let there = [prod.as_str(), &eu, &link];
    let elsewhere = [test.as_str(), "/", ROOT];
    let agent = shared(&denying("", &[&rule]));
    for (directories, said) in [(there, "EPERM"), (elsewhere, "ok")] {
        for directory in directories {
            let control = ungoverned(User::AGENT, with_actor(step(directory))).end();
            assert_eq!(control.stdout, "chdir ok\nopen ok\n", "the control: {directory}");
            let ended = agent.spawn_as(User::AGENT, "words", with_actor(step(directory))).wait_end();
            assert_eq!(ended.stdout, format!("chdir ok\nopen {said}\n"), "{directory}");
        }
    }
    let gone = format!("{eu}/gone-{}", site::fresh());
    fs::create_dir(&gone).unwrap();
    fs::set_permissions(&gone, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&eu, fs::Permissions::from_mode(0o777)).unwrap();
    let steps = [format!("chdir {gone}"), format!("rmdir {gone}"), format!("open {secret} r")];
    let ended = agent.spawn_as(User::AGENT, "words", with_actor(steps)).wait_end();
    assert_eq!(ended.stdout, "chdir ok\nrmdir ok\nopen EPERM\n", "where it was");
}

#[test]
fn what_is_held_for_a_working_directory_is_another_matter_elsewhere() {
    let program = site::program("words-run", "/bin/true");
    let prod = Path::new(&file("held/prod/x")).parent().unwrap().display().to_string();
    let agent = shared(&format!(
        "[[subject]]\nname = \"words\"\n[reviewers]\npeople = [\"reviewer\"]\n
        [[rule]]\nname = \"in prod\"\nexec = {{ path = [\"{program}\"], args = [\"apply\"] }}\ncwd = [\"{prod}\"]
        then = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"\npause = \"0s\"\n"
    ));
    let steps = |directory: &str| [format!("chdir {directory}"), format!("exec {program} apply")];
    let done = "chdir ok\n";
    assert_eq!(ungoverned(User::AGENT, with_actor(steps(&prod))).end().stdout, done, "the control");
    assert_eq!(agent.spawn_as(User::AGENT, "words", with_actor(steps("/"))).end().stdout, done, "elsewhere");
    for (approved, said) in [(true, done), (false, "chdir ok\nexec EPERM\n")] {
        let actor = agent.spawn_as(User::AGENT, "words", with_actor(steps(&prod)));
        let hold = agent.hold_of(&actor);
        assert_eq!((hold.text("rule"), &hold["context"]["cwd"]), ("in prod", &prod.as_str().into()));
        if approved {
            agent.approve(&hold)
        } else {
            agent.deny(&hold)
        }
        assert_eq!(actor.end().stdout, said);
    }
}

/// The actor, in these groups beside its own; `first` is its own.
fn in_groups(first: u32, others: &str, step: &str) -> Vec<std::ffi::OsString> {
    let change = format!("setpriv --reuid {} --regid {first} {others}", site::AGENT);
    [change.split(' ').map(Into::into).collect(), with_actor([step])].concat()
}

#[test]
fn a_rule_for_a_login_is_one_for_whoever_that_becomes() {
    let secret = file("login");
    let opened = |login: Option<u32>, user: u32, within: &str| {
        let log_in = login.map_or(String::new(), |login| format!("echo {login} >/proc/self/loginuid; "));
        let script = format!("{log_in}exec setpriv --reuid {user} --clear-groups {within} \"$0\" \"$@\"");
        let steps = with_actor([format!("open {secret} r")]);
        let words: Vec<_> = ["/bin/sh".into(), "-c".into(), script.into()].into_iter().chain(steps).collect();
        ungoverned(User::ROOT, words).end().stdout
    };
    let cases = [(Some(site::AGENT), site::AGENT), (Some(site::AGENT), 0), (Some(0), site::AGENT), (None, site::AGENT)];
    assert_eq!(cases.map(|(login, user)| opened(login, user, "")), ["open ok\n"; 4], "the control");
    let rule = format!("open = {{ path = [\"{secret}\"] }}\nlogin = [\"agent\"]");
    let _agent = shared(&denying("", &[&rule]));
    let run = format!("{} run --quiet --", holdpoint());
    let [same, root, other, none] = cases.map(|(login, user)| opened(login, user, &run));
    assert_eq!([same, root], ["open EPERM\n"; 2]);
    assert_eq!([other, none], ["open ok\n"; 2]);
}

#[test]
fn who_has_not_logged_in_does_not_say_who_has() {
    let script = format!("echo {} >/proc/self/loginuid && cat /proc/self/loginuid", site::AGENT);
    let said = |within: Vec<&str>| {
        let words = [within, vec!["/bin/sh", "-c", &script]].concat();
        ungoverned(User::AGENT, words).end()
    };
    assert_eq!(said(Vec::new()).stdout, site::AGENT.to_string(), "the control");
    let _agent = shared(&denying("", &["exec = { path = [\"/nowhere\"] }"]));
    let holdpoint = holdpoint();
    let governed = said(vec![&holdpoint, "run", "--quiet", "--"]);
    assert!(governed.stdout.is_empty() && governed.stderr.contains("not permitted"), "{governed:?}");
}

#[test]
fn a_rule_for_a_group_is_one_for_all_who_belong_to_it() {
    let secret = file("group");
    let opened = |first, others| {
        let within = in_groups(first, others, &format!("open {secret} r"));
        ungoverned(User::ROOT, within).end().stdout
    };
    let cases = [(7001, "--clear-groups"), (100, "--groups 50,7001,60"), (100, "--groups 50,60")];
    assert_eq!(cases.map(|(first, others)| opened(first, others)), ["open ok\n"; 3], "the control");
    let rule = format!("open = {{ path = [\"{secret}\"] }}\ngroup = [\"7001\"]");
    let agent = shared(&denying(&format!("exe = [\"{}\"]", site::actor()), &[&rule]));
    assert_eq!(cases.map(|(first, others)| opened(first, others)), ["open EPERM\n", "open EPERM\n", "open ok\n"]);
    drop(agent);
    shared::calm();
}

#[test]
fn a_subject_can_be_all_that_a_group_starts() {
    let secret = file("of-group");
    let opened = |first, others| {
        let within = in_groups(first, others, &format!("open {secret} r"));
        ungoverned(User::ROOT, within).end().stdout
    };
    let cases = [(7001, "--clear-groups"), (100, "--groups 50,7001,60"), (100, "--groups 50,60")];
    assert_eq!(cases.map(|(first, others)| opened(first, others)), ["open ok\n"; 3], "the control");
    let agent = shared(&denying("group = [\"7001\"]", &[&format!("open = {{ path = [\"{secret}\"] }}")]));
    let [own, further, other] = cases.map(|(first, others)| opened(first, others));
    assert_eq!([own, further], ["open EPERM\n"; 2]);
    assert_eq!(other, "open ok\n", "no subject of the policy");
    drop(agent);
    shared::calm();
}

#[test]
fn a_subject_can_be_what_one_program_executes() {
    let secret = file("parent");
    let subject = format!("exe = [\"{}\"]\nparent = [\"/usr/bin/env\"]", site::actor());
    let opened = |by: &[&str]| {
        let by = by.iter().map(Into::into).collect();
        ungoverned(User::AGENT, [by, with_actor([format!("open {secret} r")])].concat()).end().stdout
    };
    assert_eq!(opened(&["/usr/bin/env"]), "open ok\n", "the control");
    let agent = shared(&denying(&subject, &[&format!("open = {{ path = [\"{secret}\"] }}")]));
    assert_eq!(opened(&[]), "open ok\n", "no subject of the policy");
    assert_eq!(opened(&["/usr/bin/env"]), "open EPERM\n");
    assert_eq!(opened(&["/usr/bin/nice"]), "open ok\n");
    assert_eq!(opened(&["/usr/bin/env", "/usr/bin/nice"]), "open ok\n", "env has not executed it");
    assert_eq!(opened(&["/usr/bin/nice", "/usr/bin/env"]), "open EPERM\n");
    drop(agent);
    shared::calm();
}

#[test]
fn a_subject_can_be_a_container() {
    let secret = file("container");
    let id = "3f2a9c41d0e7".repeat(6)[..64].to_owned();
    let place = PathBuf::from("/sys/fs/cgroup/holdpoint-tests-words/machine.slice");
    let opened = |group: &str| {
        let group = place.join(group);
        fs::create_dir_all(&group).unwrap();
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$0\" \"$@\"", group.display());
        let within = vec!["/bin/sh".into(), "-c".into(), enter.into()];
        ungoverned(User::ROOT, [within, with_actor([format!("open {secret} r")])].concat()).end().stdout
    };
    let container = format!("libpod-{id}.scope");
    assert_eq!(opened(&container), "open ok\n", "the control");
    let agent = shared(&denying("container = [\"*\"]", &[&format!("open = {{ path = [\"{secret}\"] }}")]));
    assert_eq!(opened(&container), "open EPERM\n");
    assert_eq!(opened("words.scope"), "open ok\n", "no subject of the policy");
    assert_eq!(opened(&format!("libpod-conmon-{id}.scope")), "open ok\n");
    drop(agent);
    shared::calm();
}

#[test]
fn a_rule_on_a_kind_of_file_is_not_one_on_others() {
    let files = [file("kind/root"), file("kind/agent"), file("kind/setgid")];
    std::os::unix::fs::chown(&files[1], Some(site::AGENT), None).unwrap();
    fs::set_permissions(&files[2], fs::Permissions::from_mode(0o2666)).unwrap();
    let place = format!("{ROOT}/{PLACE}/kind/**");
    let rules = [
        format!("open = {{ path = [\"{place}\"], owner = [\"agent\"] }}"),
        format!("open = {{ path = [\"{place}\"], mode = [\"setgid\"] }}"),
    ];
    let agent = shared(&denying("", &rules.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(opened(&agent, User::AGENT, &files), ["open ok", "open EPERM", "open EPERM"]);
}

#[test]
fn a_rule_on_an_owner_is_about_what_a_rename_replaces() {
    let place = format!("{ROOT}/{PLACE}/replaced");
    let renamed = |agent: Option<&Agent>| {
        let _ = fs::remove_dir_all(&place);
        let [mine, theirs] = ["mine", "theirs"].map(|name| file(&format!("replaced/{name}")));
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::chown(&mine, Some(site::AGENT), None).unwrap();
        let steps = with_actor([format!("rename {mine} {theirs}")]);
        match agent {
            Some(agent) => agent.spawn_as(User::AGENT, "words", steps).end().stdout,
            None => ungoverned(User::AGENT, steps).end().stdout,
        }
    };
    assert_eq!(renamed(None), "rename ok\n", "the control");
    let rule = format!("open = {{ path = [\"{place}/**\"], access = [\"write\"], owner = [\"root\"] }}");
    let agent = shared(&denying("", &[&rule]));
    assert_eq!(renamed(Some(&agent)), "rename EPERM\n");
}

#[test]
fn a_rule_on_a_kind_of_file_holds_one_before_it_is_there() {
    let place = format!("{ROOT}/{PLACE}/new");
    fs::create_dir_all(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let make = |name: &str, umask: &str, how: &str| {
        let script = format!("umask {umask}; set -C; {how} {place}/{name}");
        ["sh".to_owned(), "-c".to_owned(), script]
    };
    let cases = [("owned", "022", ": >"), ("open", "000", ": >"), ("directory", "000", "mkdir")];
    for (name, umask, how) in cases {
        assert!(ungoverned(User::AGENT, make(name, umask, how)).end().status.success(), "the control");
        let made = Path::new(&place).join(name);
        fs::remove_file(&made).or_else(|_| fs::remove_dir(&made)).unwrap();
    }
    let hold = "then = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"";
    let agent = shared(&format!(
        "[[subject]]\nname = \"words\"\n[reviewers]\npeople = [\"reviewer\"]\n
        [[rule]]\nname = \"owner\"\nopen = {{ path = [\"{place}/owned\"], owner = [\"agent\"] }}\n{hold}\n
        [[rule]]\nname = \"mode\"\nopen = {{ path = [\"{place}/**\"], mode = [\"world-writable\"] }}\n{hold}\n"
    ));
    for (name, umask, how) in cases {
        let made = Path::new(&place).join(name);
        for approved in [false, true] {
            let actor = agent.spawn_as(User::AGENT, "words", make(name, umask, how));
            let hold = agent.hold_of(&actor);
            assert_eq!(hold.text("rule"), if name == "owned" { "owner" } else { "mode" });
            assert!(!made.exists(), "nothing before the answer");
            if approved {
                agent.approve_to_the_end(actor);
            } else {
                agent.deny(&hold);
                assert!(!actor.end().status.success());
            }
            assert_eq!(made.exists(), approved, "{name}");
        }
    }
    let free = agent.spawn_as(User::AGENT, "words", make("closed", "022", ": >"));
    assert!(free.end().status.success(), "neither rule means it");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_rule_for_some_times_is_not_one_for_others() {
    // The same moment in both, but for what midnight could bring between.
    let files = [file("now"), file("never")];
    let rules = [
        format!("open = {{ path = [\"{}\"] }}\nduring = [\"00:00-24:00\"]", files[0]),
        format!("open = {{ path = [\"{}\"] }}\nduring = [\"not 00:00-24:00\", \"not Mon-Sun\"]", files[1]),
    ];
    let agent = shared(&denying("", &rules.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(opened(&agent, User::AGENT, &files), ["open EPERM", "open ok"]);
}

#[test]
fn a_subject_can_be_all_that_one_user_starts() {
    let secret = file("started");
    let agent = shared(&denying("user = [\"agent\"]", &[&format!("open = {{ path = [\"{secret}\"] }}")]));
    let opens = |user| ungoverned(user, with_actor([format!("open {secret} r")])).end().stdout;
    assert_eq!(opens(User::AGENT), "open EPERM\n");
    assert_eq!(opens(User::REVIEWER), "open ok\n");
    drop(agent);
    shared::calm();
}

#[test]
fn a_subject_can_be_a_unit_wherever_its_control_group_is() {
    let secret = file("unit");
    let group = PathBuf::from("/sys/fs/cgroup/holdpoint-tests-words/some.slice/agent-words.service");
    fs::create_dir_all(&group).unwrap();
    let agent = shared(&denying("unit = [\"agent-words.service\"]", &[&format!("open = {{ path = [\"{secret}\"] }}")]));
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$0\" \"$@\"", group.display());
    let within = [vec!["/bin/sh".into(), "-c".into(), enter.into()], with_actor([format!("open {secret} r")])].concat();
    assert_eq!(ungoverned(User::ROOT, within).end().stdout, "open EPERM\n");
    assert_eq!(ungoverned(User::ROOT, with_actor([format!("open {secret} r")])).end().stdout, "open ok\n");
    drop(agent);
    shared::calm();
}

#[test]
fn a_rule_on_a_class_of_addresses_is_not_one_on_others() {
    // Nobody listens at the one, and nobody is at the other: what comes of that is seen without waiting for it.
    let step = |address: &str| with_actor([format!("connect {address} 9 nonblock")]);
    let [here, elsewhere] =
        ["127.0.0.1", "10.9.9.9"].map(|address| ungoverned(User::AGENT, step(address)).end().stdout);
    assert!(!here.contains("EPERM") && !elsewhere.contains("EPERM"), "the control: {here} {elsewhere}");
    let connected = |rule: &str| {
        let agent = shared(&denying("", &[rule]));
        ["127.0.0.1", "10.9.9.9"].map(|address| agent.spawn_as(User::AGENT, "words", step(address)).wait_end().stdout)
    };
    let refused = "connect EPERM\n".to_owned();
    assert_eq!(connected("connect = { to = [\"loopback\"] }"), [refused.clone(), elsewhere]);
    assert_eq!(connected("connect = { not = [\"loopback\"] }"), [here, refused]);
}

#[test]
fn a_rule_on_a_socket_holds_who_connects_to_it_and_is_not_one_on_files() {
    const CONNECT: &str = "
import errno, socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print('done')
except OSError as error:
    print(errno.errorcode[error.errno])";
    let [near, open_to_all] = ["sockets/a.sock", "sockets/free"].map(|name| {
        let path = file(name);
        fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        (path, listener)
    });
    let plain = file("sockets/plain.sock");
    let connect = |path: &str| ["python3", "-c", CONNECT, path].map(str::to_owned);
    for (path, listener) in [&near, &open_to_all] {
        assert_eq!(ungoverned(User::AGENT, connect(path)).end().stdout, "done\n", "the control");
        drop(listener.accept().unwrap());
    }
    let (path, listener) = near;

    let agent = shared(&format!(
        "[[subject]]\nname = \"words\"\n[reviewers]\npeople = [\"reviewer\"]\n
        [[rule]]\nname = \"held\"\nconnect = {{ unix = [\"{ROOT}/{PLACE}/**/*.sock\"] }}\nthen = \"hold\"
        reviewers = \"people\"\non_deny = \"fail\"\n
        [[rule]]\nname = \"free\"\nconnect = {{ unix = [\"{}\"] }}\nthen = \"allow\"\n",
        open_to_all.0
    ));
    let actor = agent.spawn_as(User::AGENT, "words", connect(&path));
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("action"), hold.text("path"), hold.text("rule")), ("connect", &*path, "held"));
    assert!(listener.accept().is_err());
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "EPERM\n");
    assert!(listener.accept().is_err());

    let actor = agent.spawn_as(User::AGENT, "words", connect(&path));
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "done\n");
    drop(listener.accept().unwrap());

    assert_eq!(agent.spawn_as(User::AGENT, "words", connect(&open_to_all.0)).end().stdout, "done\n");
    assert_eq!(opened(&agent, User::AGENT, &[plain]), ["open ok"], "which is no socket");
}

#[test]
fn what_others_rename_meanwhile_denies_nothing() {
    const OPENED: usize = 3000;
    let free = file("busy/a/b/c/d/e/f/free");
    let agent = shared(&denying("", &[&format!("open = {{ path = [\"{ROOT}/{PLACE}/busy/denied\"] }}")]));
    let over = AtomicBool::new(false);
    let renames = |name: &str| {
        let one = file(&format!("elsewhere/{name}"));
        let other = format!("{one}-other");
        let mut renamed = 0;
        while !over.load(Ordering::Relaxed) {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
            renamed += 2;
        }
        renamed
    };
    let steps = vec![[format!("open {free} r"), "close".to_owned()]; OPENED].concat();
    let mut actor = agent.spawn_as(User::AGENT, "words", with_actor(steps));
    let renamed = thread::scope(|scope| {
        let renaming = ["a", "b"].map(|name| scope.spawn(move || renames(name)));
        let end = Instant::now() + LIMIT;
        while !actor.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        renaming.map(|thread| thread.join().unwrap())
    });
    let opened = actor.wait_end().stdout;
    assert!(renamed.iter().all(|renamed| *renamed > 100), "the control: {renamed:?}");
    let said = |line: &str| opened.lines().filter(|said| *said == line).count();
    assert_eq!((said("open ok"), said("open EPERM")), (OPENED, 0));
}
