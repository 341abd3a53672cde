//! Promise 8, as the policy says it: other routes to a guarded effect are held by the same rules or refused, and what a
//! process may do to the host it must be allowed. `no_way_round.rs` tries the routes themselves.

use std::{
    ffi::OsStr,
    fs,
    net::UdpSocket,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt, chown},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::Path,
    process::Command,
};

use holdpoint_tests::{
    Agent, User, actor::with_actor, agent::holdpoint, control, everything, policy, shared, shared::Shared, site,
    ungoverned, wait_until,
};

/// A Python program with arguments: what it prints is what came of it.
fn python<'a>(program: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["python3", "-c", program], arguments].concat()
}

/// Prints "done", or the name of the error.
const ATTEMPT: &str = "
import errno, os, signal, socket, sys
def attempt(what):
    try:
        what()
        print('done')
    except OSError as error:
        print(errno.errorcode[error.errno])
";

fn attempt(step: &str) -> String {
    format!("{ATTEMPT}\nattempt(lambda: {step})")
}

#[test]
fn a_datagram_without_a_connection_is_held() {
    let listener = UdpSocket::bind(("127.0.0.1", policy::port("hold"))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let send =
        attempt("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'Ada', ('127.0.0.1', int(sys.argv[1])))");
    let received = || {
        let mut bytes = [0; 8];
        listener.recv(&mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned()).ok()
    };
    assert_eq!(ungoverned(User::AGENT, python(&send, &[&port])).end().stdout, "done\n", "the control");
    assert_eq!(received().as_deref(), Some("Ada"));

    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, python(&send, &[&port]));
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("operation"), hold.text("protocol")), ("connect", "udp"));
    assert_eq!(received(), None);
    agent.deny(&hold);
    assert_eq!((actor.end().stdout.as_str(), received()), ("EPERM\n", None));

    let actor = agent.spawn(User::AGENT, python(&send, &[&port]));
    let hold = agent.hold_of(&actor);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "done\n");
    assert_eq!(received().as_deref(), Some("Ada"));
    assert_eq!((received(), agent.questions(hold.tree())), (None, 1));
}

#[test]
fn a_socket_that_does_the_work_is_held_by_its_path_and_refused_without_one() {
    let path = site::nothing("hold");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let connect = attempt("socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace('@', chr(0)))");
    assert_eq!(ungoverned(User::AGENT, python(&connect, &[&path])).end().stdout, "done\n", "the control");
    drop(listener.accept().unwrap());

    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, python(&connect, &[&path]));
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("operation"), hold.text("action"), hold.text("path")), ("file", "connect", &*path));
    assert!(listener.accept().is_err());
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "EPERM\n");
    assert!(listener.accept().is_err());

    let actor = agent.spawn(User::AGENT, python(&connect, &[&path]));
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "done\n");
    drop(listener.accept().unwrap());

    let elsewhere = site::nothing("free");
    let _listener = UnixListener::bind(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o666)).unwrap();
    let name = format!("holdpoint-tests-{}", site::fresh());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for path in [elsewhere, format!("@{name}")] {
        assert_eq!(ungoverned(User::AGENT, python(&connect, &[&path])).end().stdout, "done\n", "the control");
        assert_eq!(agent.spawn(User::AGENT, python(&connect, &[&path])).end().stdout, "EPERM\n", "{path}");
    }
}

#[test]
fn a_socket_of_the_tree_itself_is_its_own_business() {
    let path = site::nothing("free");
    let program = format!(
        "{ATTEMPT}
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
attempt(lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]))
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
attempt(lambda: one.send(b'Ada'))
server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
attempt(lambda: accepted.send(b'Ada'))
attempt(lambda: os.kill(os.getpid(), 0))"
    );
    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, python(&program, &[&path]));
    assert_eq!(actor.end().stdout, "done\n".repeat(4));
}

#[test]
fn a_datagram_to_a_socket_outside_is_refused() {
    let path = site::nothing("free");
    let receiver = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let send = attempt("socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'Ada', sys.argv[1])");
    assert_eq!(ungoverned(User::AGENT, python(&send, &[&path])).end().stdout, "done\n", "the control");
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 3);
    let agent = shared(&everything());
    assert_eq!(agent.spawn(User::AGENT, python(&send, &[&path])).end().stdout, "EPERM\n");
    assert!(receiver.recv(&mut [0; 8]).is_err());
}

#[test]
fn an_attribute_of_a_held_file_is_refused_at_once() {
    let agent = shared(&everything());
    assert_eq!(control([format!("setxattr {}", site::file("free", "Ada\n"))]).stdout, "setxattr ok\n", "the control");
    let actor = agent.act([format!("setxattr {}", site::file("hold", "Ada\n"))]);
    let pid = actor.pid();
    assert_eq!(actor.end().stdout, "setxattr EPERM\n");
    let line = agent.wait_recorded("why", |line| line["event"] == "not-held" && line["pid"] == pid);
    assert_eq!((&line["action"], &line["reason"]), (&"xattr".into(), &"at_once".into()));
}

#[test]
fn what_moves_takes_all_that_is_below_along() {
    let place = site::directory("free");
    let [above, away, own] = ["above", "away", "own"].map(|name| place.join(name).display().to_string());
    let protected = format!("{above}/folder/secret");
    let rule = format!(
        "[[rule]]\nname = \"below\"\nopen = {{ path = [\"{protected}\"], access = [\"create\"] }}\nthen = \"deny\"\n"
    );
    let agent = shared(&format!("[[subject]]\nname = \"tests\"\n\n{rule}"));
    // Of the subject's own, with a file of the protected name, and, if it `stands`, an empty directory in the way of that.
    let reset = |stands: bool| {
        let _ = fs::remove_file(&above);
        for directory in [&above, &away, &own] {
            let _ = fs::remove_dir_all(directory);
        }
        fs::create_dir_all(format!("{own}/folder")).unwrap();
        fs::write(format!("{own}/folder/secret"), "forged\n").unwrap();
        chown(&own, Some(site::AGENT), Some(site::AGENT)).unwrap();
        if stands {
            fs::create_dir(&above).unwrap();
            chown(&above, Some(site::AGENT), Some(site::AGENT)).unwrap();
        }
    };
    let routes = [
        ("a directory that has it moves there", false, "rename"),
        ("a link leads to another", false, "symlink"),
        ("two directories change places", true, "exchange"),
    ];
    for (what, stands, step) in routes {
        let steps = [format!("{step} {own} {above}")];
        reset(stands);
        assert_eq!(control(&steps).stdout, format!("{step} ok\n"), "the control: {what}");
        assert!(site::exists(&protected), "{what}");
        reset(stands);
        assert_eq!(agent.act(&steps).end().stdout, format!("{step} EPERM\n"), "{what}");
        assert!(!site::exists(&protected), "{what}");
    }
    reset(true);
    assert_eq!(agent.act([format!("rename {above} {away}")]).end().stdout, "rename EPERM\n", "and from there");
}

#[test]
fn what_may_not_be_read_may_be_removed_but_not_moved_to_where_it_could_be() {
    let directory = site::directory("free");
    let [secret, elsewhere] = ["secret", "elsewhere"].map(|name| directory.join(name).display().to_string());
    let rule = format!(
        "[[rule]]\nname = \"unread\"\nopen = {{ path = [\"{secret}\"], access = [\"read\"] }}\nthen = \"deny\"\n"
    );
    let agent = shared(&format!("[[subject]]\nname = \"tests\"\n\n{rule}"));
    for path in [&secret, &elsewhere] {
        fs::write(path, "Ada\n").unwrap();
        chown(path, Some(site::AGENT), Some(site::AGENT)).unwrap();
    }
    let steps = [
        format!("open {secret} r"),
        format!("rename {secret} {elsewhere}"),
        format!("link {secret} {elsewhere}.link"),
        format!("exchange {elsewhere} {secret}"),
        format!("chmod {secret}"),
        format!("rename {elsewhere} {secret}"),
        format!("unlink {secret}"),
    ];
    // Another name of it would be free of the rule.
    let alias = directory.join("alias");
    fs::hard_link(&secret, &alias).unwrap();
    let [.., replaced, removed] = &steps;
    assert_eq!(agent.act([replaced, removed]).end().stdout, "rename EPERM\nunlink EPERM\n");
    fs::remove_file(&alias).unwrap();
    let expected = "open EPERM\nrename EPERM\nlink EPERM\nexchange EPERM\nchmod EPERM\nrename ok\nunlink ok\n";
    assert_eq!(agent.act(&steps).end().stdout, expected);
}

#[test]
fn what_is_allowed_of_one_name_is_not_of_the_other() {
    let place = site::directory("free");
    let [public, secret, alias] = ["public", "secret", "public/alias"].map(|name| place.join(name));
    fs::create_dir(&public).unwrap();
    for file in [&secret, &public.join("own")] {
        fs::write(file, "Ada\n").unwrap();
    }
    fs::hard_link(&secret, &alias).unwrap();
    for path in [&public, &secret, &public.join("own")] {
        chown(path, Some(site::AGENT), Some(site::AGENT)).unwrap();
    }
    let (place, public, secret) = (place.display(), public.display(), secret.display());
    // The exception stands before the rule.
    let policy = format!(
        "[[subject]]\nname = \"tests\"\n\n\
         [[rule]]\nname = \"public\"\nopen = {{ path = [\"{public}/**\"] }}\nthen = \"allow\"\n\n\
         [[rule]]\nname = \"all\"\nopen = {{ path = [\"{place}/**\"] }}\nthen = \"deny\"\n"
    );
    let steps = [
        format!("open {public}/own r"),
        format!("open {public}/alias r"),
        format!("link {secret} {public}/link"),
        format!("rename {public}/own {secret}"),
        format!("exchange {public}/own {secret}"),
        format!("rename {public}/own {public}/other"),
    ];
    let agent = shared(&policy);
    let expected = "open ok\nopen EPERM\nlink EPERM\nrename EPERM\nexchange EPERM\nrename ok\n";
    assert_eq!(agent.act(&steps).end().stdout, expected);
}

#[test]
fn a_directory_with_a_protected_mount_in_it_is_not_moved_away() {
    let place = site::directory("free");
    let [above, away] = ["above", "away"].map(|name| place.join(name));
    let mount = above.join("mount");
    fs::create_dir_all(&mount).unwrap();
    chown(&above, Some(site::AGENT), Some(site::AGENT)).unwrap();
    assert!(Command::new("mount").args(["-t", "tmpfs", "protected"]).arg(&mount).status().unwrap().success());
    let there = [format!("rename {} {}", above.display(), away.display())];
    let back = [format!("rename {} {}", away.display(), above.display())];
    for step in [&there, &back] {
        assert_eq!(control(step).stdout, "rename ok\n", "the control");
    }
    let rule = format!("[[rule]]\nname = \"all\"\nopen = {{ path = [\"{}/**\"] }}\nthen = \"deny\"\n", mount.display());
    let agent = shared(&format!("[[subject]]\nname = \"tests\"\n\n{rule}"));
    assert_eq!(agent.act(&there).end().stdout, "rename EPERM\n");
    assert!(Command::new("umount").arg(&mount).status().unwrap().success());
}

#[test]
fn where_a_name_has_several_spellings_each_is_held() {
    let place = site::directory("free");
    let (image, mount) = (place.join("image"), place.join("mount"));
    fs::write(&image, floppy()).unwrap();
    fs::create_dir(&mount).unwrap();
    let done = |program: &str, arguments: &[&OsStr]| Command::new(program).args(arguments).status().unwrap().success();
    // There is no udev in the guest to make its nodes.
    assert!(done("modprobe", &["loop".as_ref()]));
    let options = ["-t", "vfat", "-o", "loop,uid=1000"].map(OsStr::new);
    assert!(done("mount", &[&options[..], &[image.as_ref(), mount.as_ref()]].concat()), "vfat");
    let secret = mount.join("Secret").display().to_string();
    fs::write(&secret, "Ada\n").unwrap();
    let steps = ["Secret", "SECRET"].map(|name| format!("open {} r", mount.join(name).display()));
    assert_eq!(control(&steps).stdout, "open ok\nopen ok\n", "the control");
    let rule = format!("[[rule]]\nname = \"secret\"\nopen = {{ path = [\"{secret}\"] }}\nthen = \"deny\"\n");
    let agent = shared(&format!("[[subject]]\nname = \"tests\"\n\n{rule}"));
    assert_eq!(agent.act(&steps).end().stdout, "open EPERM\nopen EPERM\n");
    assert!(done("umount", &[mount.as_ref()]));
}

/// An empty FAT file system of 1440 KiB, as Microsoft's specification of 2000 (1.03) has it.
fn floppy() -> Vec<u8> {
    let mut image = vec![0; 2880 * 512];
    // 512 bytes a sector, one a cluster, one before two tables of nine; 224 entries in the root.
    image[..30].copy_from_slice(&[
        0xeb, 0x3c, 0x90, b'H', b'O', b'L', b'D', b'P', b'O', b'I', b'N', 0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0b, 0xf0,
        9, 0, 18, 0, 2, 0, 0, 0,
    ]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    for table in [512, 10 * 512] {
        image[table..table + 3].copy_from_slice(&[0xf0, 0xff, 0xff]);
    }
    image
}

#[test]
fn a_directory_above_a_protected_one_is_not_moved_away() {
    let agent = shared(&everything());
    let rename = [format!("rename {} /srv/moved", site::ROOT)];
    let actor = agent.spawn(User::ROOT, with_actor(rename));
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("action"), hold.text("path")), ("rename", site::ROOT));
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "rename EPERM\n");
    assert!(Path::new(site::ROOT).exists());
}

/// A policy that allows everything, and one that allows a little of what acts on the host.
fn generous() -> Shared {
    shared(
        "[[subject]]\nname = \"tests\"\n\n[[rule]]\nname = \"files\"\nopen = { path = [\"/**\"] }\nthen = \"allow\"\n\n\
         [[rule]]\nname = \"host\"\nsystem = [\"signal\", \"schedule\", \"mount\"]\nthen = \"audit\"\n",
    )
}

#[test]
fn what_acts_on_the_host_is_refused_unless_the_policy_allows_it() {
    let victim = ungoverned(User::ROOT, ["sleep", "600"]);
    let pid = victim.pid().to_string();
    let kill = attempt("os.kill(int(sys.argv[1]), signal.SIGTERM)");
    let clock = attempt("__import__('time').clock_settime(0, __import__('time').clock_gettime(0))");
    // Others would wait for it to be given up.
    let lease = attempt("__import__('fcntl').fcntl(open('/etc/hostname'), 1024, 1)");
    // The kernel would look for a module for it, with a helper outside the tree.
    let unfit = attempt("socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)");
    for (step, answer) in [(&clock, "done"), (&lease, "done"), (&unfit, "EPROTONOSUPPORT")] {
        assert_eq!(ungoverned(User::ROOT, python(step, &[])).end().stdout, format!("{answer}\n"), "the control");
    }

    let agent = shared(&everything());
    let actor = agent.spawn(User::ROOT, python(&kill, &[&pid]));
    let caller = actor.pid();
    assert_eq!(actor.end().stdout, "EPERM\n");
    let line = agent.wait_recorded("the refusal", |line| line["event"] == "denied" && line["pid"] == caller);
    assert_eq!((&line["operation"], &line["system"]), (&"system".into(), &"signal".into()));
    assert_eq!(line["process"].to_string(), pid);
    for step in [&clock, &lease, &unfit] {
        assert_eq!(agent.spawn(User::ROOT, python(step, &[])).end().stdout, "EPERM\n");
    }
    drop(agent);

    let agent = generous();
    assert_eq!(agent.spawn(User::ROOT, python(&clock, &[])).end().stdout, "EPERM\n", "still not named");
    assert_eq!(agent.spawn(User::ROOT, python(&kill, &[&pid])).end().stdout, "done\n");
    let mut victim = victim;
    wait_until("the victim ends", || victim.has_ended());
}

#[test]
fn no_policy_gives_the_agent_away() {
    let agent = generous();
    let kill = attempt("os.kill(os.getppid(), signal.SIGKILL)");
    let ended = agent.spawn(User::ROOT, python(&kill, &[])).end();
    assert_eq!(ended.stdout, "EPERM\n", "the `holdpoint run` that it was started with");
    let pid = agent.pid().to_string();
    let program = holdpoint();
    // The directory's name has the number of the contract between the agent and its programs.
    let pin = ungoverned(User::ROOT, ["sh", "-c", "printf %s /sys/fs/bpf/holdpoint/maps-*/TASKS"]).end().stdout;
    let steps = [
        ("os.kill(int(sys.argv[1]), signal.SIGKILL)", "EPERM"),
        ("open('/var/lib/holdpoint/record.jsonl', 'a')", "EPERM"),
        ("os.unlink(sys.argv[3])", "EPERM"),
        // The kernel's own refusal: the program runs.
        ("open(sys.argv[2], 'r+b')", "ETXTBSY"),
        ("os.rename(sys.argv[2], '/usr/bin/elsewhere')", "EPERM"),
        ("open('/proc/' + sys.argv[1] + '/mem', 'r+b')", "EACCES"),
        ("__import__('fcntl').fcntl(0, 8, int(sys.argv[1]))", "EPERM"), // F_SETOWN
        ("__import__('fcntl').fcntl(0, 10, signal.SIGKILL)", "EPERM"),  // F_SETSIG
        ("__import__('resource').prlimit(int(sys.argv[1]), 7, (1, 1))", "EPERM"),
    ];
    for (step, error) in steps {
        let actor = agent.spawn(User::ROOT, python(&attempt(step), &[&pid, &program, &pin]));
        assert_eq!(actor.end().stdout, format!("{error}\n"), "{step}");
    }
    assert!(agent.runs());
}

#[test]
fn a_hard_link_from_before_is_told_and_held_by_both_names() {
    let file = site::file("hold", "Ada\n");
    let alias = site::nothing("free");
    fs::hard_link(&file, &alias).unwrap();
    let open = format!("open {alias} r");
    assert_eq!(control([&open]).stdout, "open ok\n", "the control");
    let agent = Agent::start(&everything());
    assert!(agent.status()["hard_links"].as_u64().is_some_and(|count| count >= 1), "{}", agent.status());
    assert!(agent.log().contains(&file), "the log names it");
    for (name, answer) in [(&file, "open ok\n"), (&alias, "open EPERM\n")] {
        let actor = agent.act([format!("open {name} r")]);
        let hold = agent.hold_of(&actor);
        if answer.contains("ok") {
            agent.approve(&hold);
        } else {
            agent.deny(&hold);
        }
        assert_eq!(actor.end().stdout, answer, "{name}");
    }
}

#[test]
fn what_a_process_would_bring_along_is_judged_when_it_becomes_governed() {
    let [denied, free] = ["deny", "free"].map(|rule| site::file(rule, "Ada\n"));
    let agent = shared(&everything());
    let program = holdpoint();
    let started = |file: &str| {
        let script = format!("exec 7<{file}; exec {program} run -- cat <&7");
        ungoverned(User::ROOT, ["bash".to_owned(), "-c".to_owned(), script]).end()
    };
    assert_eq!(started(&free).stdout, "Ada\n", "the control");
    // Named as the kernel names handles that have no path.
    let notes = site::directory("free").join("bpf-notes").display().to_string();
    fs::rename(&free, &notes).unwrap();
    assert_eq!(started(&notes).stdout, "Ada\n");
    let refused = started(&denied);
    assert!(refused.stdout.is_empty() && refused.code() != Some(0), "{refused:?}");
    agent.wait_recorded("the refusal", |line| line["event"] == "denied" && line["path"] == denied);
}

#[test]
fn an_interpreter_is_judged_like_the_script_that_names_it() {
    let [refused, free] = ["bin-deny", "bin-free"].map(|rule| site::program(rule, "/usr/bin/echo"));
    let [by_refused, by_free] =
        [&refused, &free].map(|program| site::script("bin-free", &format!("#!{program} says\n")));
    for script in [&by_refused, &by_free] {
        assert!(control([format!("exec {script}")]).stdout.starts_with("says "), "the control");
    }
    let agent = shared(&everything());
    assert!(agent.act([format!("exec {by_free}")]).end().stdout.starts_with("says "));
    assert_eq!(agent.act([format!("exec {by_refused}")]).end().stdout, "exec EPERM\n");
    agent.wait_recorded("the interpreter", |line| line["event"] == "denied" && line["path"] == refused);
}

#[test]
fn rights_come_with_an_approval_of_the_program_that_gives_them_or_not_at_all() {
    let [held, free] = ["bin-hold", "bin-free"].map(|rule| {
        let program = site::program(rule, "/usr/bin/id");
        chown(&program, Some(0), Some(0)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        program
    });
    assert!(ungoverned(User::AGENT, [free.as_str()]).end().stdout.contains("euid=0"), "the control");
    let agent = shared(&everything());
    let refused = agent.spawn(User::AGENT, ["sh", "-c", "\"$1\" || echo refused", "sh", &free]).end();
    assert_eq!(refused.stdout, "refused\n");
    agent.wait_recorded("the refusal", |line| line["event"] == "denied" && line["system"] == "privilege");
    let actor = agent.spawn(User::AGENT, [held.as_str()]);
    agent.approve(agent.hold_of(&actor));
    assert!(actor.end().stdout.contains("euid=0"));
}
