//! Promise 15: labels follow the data. Once labelled data has been read, the rules that ask for it apply to the whole tree,
//! or to the process that has read and what it forks; and the reviewer is shown what was read.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    net::UdpSocket,
};

use holdpoint_tests::{
    Actor, Agent, Hold, Json, User,
    agent::holdpoint,
    listener::Listener,
    shared,
    shared::Shared,
    site::{self, actor},
    ungoverned,
};

const LABELS: [&str; 2] =
    ["customer-data = [\"/srv/hp/labelled/**\"]\n", "secrets = { path = [\"/srv/hp/secret/**\"], by = \"lineage\" }\n"];

/// A policy with these labels: whoever has read what has one does not connect unasked.
fn policy(labels: &[&str]) -> String {
    let hold = "then = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"\n";
    let rule = |label| format!("\n[[rule]]\nname = \"{label} stays\"\nconnect = {{}}\nif_read = [\"{label}\"]\n{hold}");
    let head = "[[subject]]\nname = \"tests\"\n\n[reviewers]\npeople = [\"root\", \"reviewer\"]\n";
    format!("{head}\n[labels]\n{}{}{}", labels.concat(), rule("customer-data"), rule("secrets"))
}

fn agent() -> Shared {
    shared(&policy(&LABELS))
}

/// A listener, and the step that connects to it.
fn there() -> (Listener, String) {
    let listener = Listener::v4("hold");
    let step = format!("connect {}", listener.target());
    (listener, step)
}

/// The actor is held as it connects, and the question names the file and whom it was read by.
#[track_caller]
fn held_for(agent: &Agent, actor: &Actor, label: &str, file: &str) -> Hold {
    let hold = agent.hold_of(actor);
    assert_eq!((hold.text("operation"), hold.text("rule")), ("connect", &*format!("{label} stays")));
    let read = &hold["read"][0];
    assert_eq!((&read["label"], &read["path"]), (&label.into(), &file.into()), "{hold:?}");
    assert!(hold.text("sentence").contains(&format!("after reading {label}: {file} (process ")), "{hold:?}");
    let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
    assert!(shown.contains("Labelled data that was read before") && shown.contains(file), "{shown}");
    let labelled = agent.wait_recorded("the label", |line| line["event"] == "labelled" && line["tree"] == hold.tree());
    let same = ["label", "path", "pid"].map(|field| labelled[field] == read[field]);
    assert_eq!(same, [true; 3], "{labelled}");
    hold
}

/// The usual rules, and one that asks whatever was read.
fn asking_about(file: &str) -> Shared {
    let rule = format!(
        "\n[[rule]]\nname = \"asks\"\nopen = {{ path = [\"{file}\"] }}\nthen = \"hold\"\nreviewers = \"people\"\n"
    );
    shared(&(policy(&LABELS) + &rule))
}

/// What the question of such a rule shows that was read before; it is approved, and not headed by that.
#[track_caller]
fn shown_by_asking(agent: &Agent, actor: &Actor) -> Vec<(String, String)> {
    let hold = agent.hold_of(actor);
    assert_eq!(hold.text("rule"), "asks");
    assert!(!hold.text("sentence").contains("after reading"), "not what the rule asks for: {hold:?}");
    agent.approve(&hold);
    let text = |reading: &Json, key| reading[key].as_str().expect("a text").to_owned();
    let read = hold["read"].as_array().cloned().unwrap_or_default();
    read.iter().map(|reading| (text(reading, "label"), text(reading, "path"))).collect()
}

#[test]
fn a_question_of_any_rule_shows_what_the_tree_has_read() {
    let (labelled, file) = (site::file("labelled", "Ada\n"), site::file("hold", "Ada\n"));
    let (read, open) = (format!("open {labelled} r"), format!("open {file} r"));
    let agent = asking_about(&file);

    let control = agent.act([&open]);
    assert_eq!(shown_by_asking(&agent, &control), [], "nothing was read");
    assert_eq!(control.end().stdout, "open ok\n");

    let actor = agent.act([&read, &open]);
    assert_eq!(shown_by_asking(&agent, &actor), [("customer-data".to_owned(), labelled)]);
    assert_eq!(actor.end().stdout, "open ok\nopen ok\n");
}

#[test]
fn by_lineage_a_question_shows_what_who_asks_carries_and_no_more() {
    let (secret, file) = (site::file("secret", "hush\n"), site::file("hold", "Ada\n"));
    let (read, ask) = (format!("open {secret} r"), format!("open {file} r"));
    let agent = asking_about(&file);
    let go = site::nothing("free");
    let (ask_then, then) = (format!("after {go} {ask}"), format!("open {go} w+creat"));

    // A child from before carries nothing of what its parent has read since.
    let mut actor = agent.act(["fork", &ask_then, "end", &read, &then, "wait", "line", &ask]);
    assert_eq!(shown_by_asking(&agent, &actor), [], "its parent has read it, later");
    actor.go_on();
    assert_eq!(shown_by_asking(&agent, &actor), [("secrets".to_owned(), secret.clone())], "the control: its parent");
    assert_eq!(actor.end().stdout.matches("open ok\n").count(), 4);
    fs::remove_file(&go).expect("made by the actor");

    // Whom a reader has forked asks, and nobody above it is the reader.
    let mut actor = agent.act([&read, "daemon", &ask_then, "end", &then, "line"]);
    assert_eq!(shown_by_asking(&agent, &actor), [("secrets".to_owned(), secret)]);
    actor.go_on();
    actor.end();
}

#[test]
fn what_one_process_has_read_holds_the_connection_of_another() {
    let (agent, (listener, connect)) = (agent(), there());
    let file = site::file("labelled", "Ada\n");
    let read = format!("{} 'open {file} r'", actor());
    let grandchild = format!("sh -c '{} \"{connect}\"; true'", actor());

    let control = agent.spawn(User::AGENT, ["sh", "-c", &format!("{grandchild}; true")]);
    assert_eq!(control.end().stdout, "connect ok\n", "the control: nothing was read");
    drop(listener.accept());

    for (answer, said) in [("approve", "connect ok"), ("deny", "connect EPERM")] {
        let actor = agent.spawn(User::AGENT, ["sh", "-c", &format!("{read}; {grandchild}; true")]);
        let hold = held_for(&agent, &actor, "customer-data", &file);
        assert!(listener.waiting().is_none(), "nothing before the answer");
        if answer == "approve" {
            agent.approve(&hold);
            drop(listener.accept());
        } else {
            agent.deny(&hold);
        }
        assert_eq!(actor.end().stdout, format!("open ok\n{said}\n"));
    }
    assert!(listener.waiting().is_none());
}

#[test]
fn nor_does_what_is_sent_on_a_connection_from_before() {
    let (agent, (listener, _)) = (agent(), there());
    let [free, file] = ["free", "labelled"].map(|rule| site::file(rule, "Ada\n"));
    let script = "import socket, sys\n\
                  there = socket.create_connection(sys.argv[1].split())\n\
                  open(sys.argv[2]).read()\n\
                  try:\n    for _ in range(2): there.send(b'Ada')\n    print('sent')\n\
                  except OSError as error: print(error.errno)";
    let started = |read: &str| agent.spawn(User::AGENT, ["python3", "-c", script, &listener.target(), read]);

    assert_eq!(started(&free).end().stdout, "sent\n", "the control: nothing was read");
    drop(listener.accept());
    for (approved, said) in [(true, "sent\n"), (false, "1\n")] {
        let actor = started(&file);
        let hold = held_for(&agent, &actor, "customer-data", &file);
        let mut there = listener.accept();
        there.set_nonblocking(true).expect("a socket");
        let nothing = there.read(&mut [0]).expect_err("nothing before the answer");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        if approved {
            agent.approve(&hold)
        } else {
            agent.deny(&hold)
        }
        assert_eq!(actor.end().stdout, said);
        there.set_nonblocking(false).expect("a socket");
        let mut got = String::new();
        there.read_to_string(&mut got).expect("what was sent");
        assert_eq!(got, if approved { "AdaAda" } else { "" }, "asked once, for all that follows");
    }
}

#[test]
fn nor_is_one_place_judged_for_another_on_the_same_socket() {
    let [there, allowed] = [0; 2].map(|port| UdpSocket::bind(("127.0.0.1", port)).expect("bind"));
    let allowed = allowed.local_addr().expect("an address").port().to_string();
    let rule = format!("\n[[rule]]\nname = \"known\"\nconnect = {{ port = [\"{allowed}\"] }}\nthen = \"allow\"\n");
    let text = policy(&LABELS);
    let (head, rules) = text.split_at(text.find("\n[[rule]]").expect("a rule"));
    let agent = shared(&format!("{head}{rule}{rules}"));
    let listener = Listener::v4("hold");
    let udp = there.local_addr().expect("an address").port().to_string();
    let [free, file] = ["free", "labelled"].map(|rule| site::file(rule, "Ada\n"));
    // What is tried with the allowed place comes back with an error where the socket is a connection already.
    let script = |kind: &str, call: &str| {
        format!(
            "import socket, sys\n\
             there, other = [('127.0.0.1', int(port)) for port in sys.argv[1:3]]\n\
             here = socket.socket(socket.AF_INET, socket.{kind})\n\
             here.connect(there)\n\
             open(sys.argv[3]).read()\n\
             try:\n    here.{call}\n    print('tried')\n\
             except OSError as error: print('tried', error.errno)\n\
             try:\n    here.send(b'Ada')\n    print('sent')\n\
             except OSError as error: print(error.errno)"
        )
    };
    let tcp = listener.address().port().to_string();
    for (place, script, tried) in [
        (&tcp, script("SOCK_STREAM", "connect(other)"), "tried 106\n"),
        (&udp, script("SOCK_DGRAM", "sendto(b'x', other)"), "tried\n"),
    ] {
        let started = |read: &str| agent.spawn(User::AGENT, ["python3", "-c", &script, place, &allowed, read]);
        assert_eq!(started(&free).end().stdout, format!("{tried}sent\n"), "the control: nothing was read");
        for (approved, said) in [(true, "sent\n"), (false, "1\n")] {
            let actor = started(&file);
            let hold = held_for(&agent, &actor, "customer-data", &file);
            assert_eq!(hold["port"].to_string(), *place);
            if approved {
                agent.approve(&hold)
            } else {
                agent.deny(&hold)
            }
            assert_eq!(actor.end().stdout, format!("{tried}{said}"));
        }
    }
}

#[test]
fn nor_does_a_name_that_the_kernel_does_not_look_at() {
    let (agent, listener) = (agent(), Listener::v4("hold"));
    let [free, file] = ["free", "labelled"].map(|rule| site::file(rule, "Ada\n"));
    let receiver = UdpSocket::bind(("127.0.0.1", 0)).expect("bind");
    let [tcp, udp] = [listener.address(), receiver.local_addr().expect("an address")].map(|to| to.port().to_string());
    let udp_socket = "here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)";
    // What was connected, but not to the end of it, is; a datagram that was begun (MSG_MORE) has its destination.
    let cases = [
        (
            "here = socket.socket()\nhere.setblocking(False)\nhere.connect_ex(there)\nselect.select([], [here], [])",
            &tcp,
            "here.sendto(b'Ada', socket.MSG_FASTOPEN, ('127.0.0.1', 9))",
            Some(&*tcp),
        ),
        (&format!("{udp_socket}\nhere.connect(('127.0.0.1', 0))"), &udp, "here.send(b'Ada')", Some("0")),
        (
            &format!("{udp_socket}\nhere.sendto(b'', 0x8000, there)"),
            &udp,
            "here.sendto(b'Ada', ('127.0.0.1', 9))",
            None,
        ),
    ];
    for (before, place, send, held) in cases {
        let script = format!(
            "import select, socket, sys\nthere = ('127.0.0.1', int(sys.argv[1]))\n{before}\nopen(sys.argv[2]).read()\n\
             try:\n    {send}\n    print('sent')\nexcept OSError as error: print(error.errno)"
        );
        let started = |read: &str| agent.spawn(User::AGENT, ["python3", "-c", &script, place, read]);
        assert_eq!(started(&free).end().stdout, "sent\n", "the control: nothing was read: {send}");
        let actor = started(&file);
        if let Some(port) = held {
            let hold = held_for(&agent, &actor, "customer-data", &file);
            assert_eq!(hold["port"].to_string(), port);
            agent.deny(&hold);
        }
        assert_eq!(actor.end().stdout, "1\n", "{send}");
    }
}

#[test]
fn a_pipe_does_not_hide_it() {
    let (agent, (listener, connect)) = (agent(), there());
    for (rule, held) in [("free", false), ("labelled", true)] {
        let file = site::file(rule, "Ada\n");
        let pipe = format!("cat {file} | {} line '{connect}'", actor());
        let actor = agent.spawn(User::AGENT, ["sh", "-c", &pipe]);
        if held {
            let hold = held_for(&agent, &actor, "customer-data", &file);
            agent.deny(&hold);
            assert_eq!(actor.end().stdout, "connect EPERM\n");
        } else {
            assert_eq!(actor.end().stdout, "connect ok\n", "the control");
            drop(listener.accept());
        }
    }
    assert!(listener.waiting().is_none());
}

#[test]
fn nor_does_another_name_or_a_descriptor_from_before() {
    let (agent, (_listener, connect)) = (agent(), there());
    for what in ["rename", "link"] {
        let (file, other) = (site::file("labelled", "Ada\n"), site::nothing("free"));
        let actor = agent.act([format!("{what} {file} {other}"), format!("open {other} r"), connect.clone()]);
        let hold = held_for(&agent, &actor, "customer-data", &file);
        agent.deny(&hold);
        assert_eq!(actor.end().stdout, format!("{what} ok\nopen ok\nconnect EPERM\n"));
    }
    let file = site::file("labelled", "Ada\n");
    let run = format!("exec {} run --quiet -- {} '{connect}' <{file}", holdpoint(), actor());
    let actor = ungoverned(User::AGENT, ["sh", "-c", &run]);
    let hold = held_for(&agent, &actor, "customer-data", &file);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "connect EPERM\n");
}

#[test]
fn by_lineage_it_follows_who_has_read_and_what_that_forks() {
    let (agent, (listener, connect)) = (agent(), there());
    let file = site::file("secret", "hush\n");
    let open = format!("open {file} r");

    let sibling = agent.act(["fork", &open, "end", "wait", "fork", &connect, "end", "wait", &connect]);
    assert_eq!(sibling.end().stdout, "open ok\nwait exited 0\nconnect ok\nwait exited 0\nconnect ok\n", "the control");
    drop((listener.accept(), listener.accept()));

    let heirs: [&[&str]; 2] = [
        &[&open, "fork", "fork", &connect, "end", "wait", "end", "wait"],
        &[&format!("thread {open}"), "join", &connect],
    ];
    for steps in heirs {
        let actor = agent.act(steps);
        let hold = held_for(&agent, &actor, "secrets", &file);
        agent.deny(&hold);
        assert!(actor.end().stdout.contains("connect EPERM\n"));
    }
    assert!(listener.waiting().is_none());
}

#[test]
fn labels_outlive_the_agent_and_another_policy() {
    let (_listener, connect) = there();
    let mut agent = Agent::start(&policy(&LABELS));
    let files = ["labelled", "secret"].map(|rule| site::file(rule, "Ada\n"));
    let mut actors =
        files.each_ref().map(|file| agent.act([&format!("open {file} r"), "print begun", "line", &connect]));
    actors.iter().for_each(|actor| actor.wait_line("begun"));
    for file in &files {
        agent.wait_recorded(file, |line| line["event"] == "labelled" && line["path"] == **file);
    }
    agent.kill_9();
    agent.restart();
    let [first, second] = LABELS;
    let reply = agent.reload(&policy(&["another = [\"/srv/hp/other/**\"]\n", second, first]));
    assert!(reply.success(), "{reply:?}");
    for ((actor, file), label) in actors.iter_mut().zip(&files).zip(["customer-data", "secrets"]) {
        actor.go_on();
        let hold = held_for(&agent, actor, label, file);
        agent.deny(&hold);
    }
    for actor in actors {
        assert_eq!(actor.end().stdout, "open ok\nbegun\nconnect EPERM\n");
    }
    let fresh = agent.act(["print begun", &*connect]);
    assert_eq!(fresh.end().stdout, "begun\nconnect ok\n", "the control: another tree has read nothing");
}
