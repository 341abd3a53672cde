//! Promise 8, by the name of a host: a connection is judged by the name by which its tree has looked the address up, as a
//! resolver that the policy names has answered. Nothing else gives an address a name, and no name outlives its answer.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use holdpoint_tests::{
    Actor, Ended, User,
    agent::holdpoint,
    process,
    resolver::{Asked, Resolver},
    shared, ungoverned,
};
use nix::sys::signal::Signal;

/// The resolver that the policy names, and another that it names and that nobody is.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
const ABSENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 79);

/// Hosts, all of them on this one.
const HOSTS: [(&str, [u8; 4], u32); 6] = [
    ("api.held.test", [127, 9, 0, 1], 300),
    ("a.b.wild.test", [127, 9, 0, 2], 300),
    ("wild.test", [127, 9, 0, 3], 300),
    ("good.test", [127, 9, 0, 4], 300),
    ("brief.test", [127, 9, 0, 5], 1),
    ("bad.test", [127, 9, 0, 6], 300),
];

const POLICY: &str = r#"
[[subject]]
name = "tests"

[dns]
resolvers = ["127.0.0.77", "127.0.0.79"]

[reviewers]
people = ["reviewer", "root"]

[[rule]]
name = "some hosts need a person"
connect = { name = ["api.held.test", "*.wild.test"] }
then = "hold"
reviewers = "people"
on_deny = "fail"

[[rule]]
name = "some are good"
connect = { name = ["good.test", "brief.test"] }
then = "allow"

[[rule]]
name = "no others"
connect = { to = ["127.9.0.0/16"] }
then = "deny"
"#;

/// Python: `ask` sends a question by a socket that hears everybody; `visit` says what comes of a connection.
const PYTHON: &str = r#"
import errno, os, socket, struct, sys, time
def ask(name, server):
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(30)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    asking.sendto(struct.pack(">6H", 0x1234, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1), server)
    return asking
def visit(address):
    try:
        socket.create_connection((address, int(sys.argv[1])), 30).close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
"#;

/// A page on every address of this host; its port.
fn page() -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.expect("accept"));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\npage\n");
}

fn curl(host: &str, port: u16) -> [String; 4] {
    let words = ["curl", "--silent", "--show-error", &format!("http://{host}:{port}/")];
    words.map(str::to_owned)
}

fn python(script: &str, port: u16) -> [String; 4] {
    ["python3".to_owned(), "-c".to_owned(), format!("{PYTHON}{script}"), port.to_string()]
}

fn got_the_page(ended: &Ended) -> bool {
    ended.status.success() && ended.stdout == "page\n"
}

#[test]
fn a_connection_is_judged_by_the_name_it_was_looked_up_by() {
    let (_resolver, _asked, port) = (Resolver::of(RESOLVER, &HOSTS), Asked::at(RESOLVER), page());
    let agent = shared(POLICY);
    for (host, name) in [("api.held.test", "api.held.test"), ("A.b.Wild.test", "a.b.wild.test")] {
        assert!(got_the_page(&ungoverned(User::AGENT, curl(host, port)).end()), "the control");
        for approved in [true, false] {
            let actor = agent.spawn(User::AGENT, curl(host, port));
            let hold = agent.hold_of(&actor);
            assert_eq!(hold.text("rule"), "some hosts need a person");
            assert!(hold.text("sentence").contains(&format!("looked up as {name})")), "{hold:?}");
            if approved {
                agent.approve(&hold);
            } else {
                agent.deny(&hold);
            }
            assert_eq!(got_the_page(&actor.end()), approved, "{host}");
        }
    }
    assert!(got_the_page(&agent.spawn(User::AGENT, curl("good.test", port)).end()), "allowed by its name");
    for host in ["wild.test", "bad.test"] {
        assert!(!got_the_page(&agent.spawn(User::AGENT, curl(host, port)).end()), "{host} has no rule of its own");
        assert!(got_the_page(&ungoverned(User::AGENT, curl(host, port)).end()), "the control");
    }
    let denied = agent.wait_recorded("bad.test", |line| line["event"] == "denied" && line["names"][0] == "bad.test");
    assert_eq!(denied["rule"], "no others");
}

#[test]
fn an_address_from_elsewhere_is_judged_by_address() {
    let (_resolver, _asked, port) = (Resolver::of(RESOLVER, &HOSTS), Asked::at(RESOLVER), page());
    let agent = shared(POLICY);
    for address in ["127.9.0.1", "127.9.0.4"] {
        assert!(
            !got_the_page(&agent.spawn(User::AGENT, curl(address, port)).end()),
            "no rule on its address lets it pass"
        );
        assert!(got_the_page(&ungoverned(User::AGENT, curl(address, port)).end()), "the control");
    }
    let both = "curl -s http://good.test:$0/; curl -s http://127.9.0.4:$0/ http://127.9.0.1:$0/; true";
    let command = ["sh", "-c", both, &port.to_string()];
    let tree = agent.spawn(User::AGENT, command);
    assert_eq!(tree.end().stdout, "page\npage\n", "what one process of a tree has looked up counts for all of it");
}

#[test]
fn a_name_does_not_outlive_its_answer() {
    let (_resolver, port) = (Resolver::of(RESOLVER, &HOSTS), page());
    let agent = shared(POLICY);
    let script = "
ask('brief.test', ('127.0.0.77', 53)).recv(512)
print(visit('127.9.0.5'))
end = time.monotonic() + 60
while time.monotonic() < end and (last := visit('127.9.0.5')) == 'ok':
    time.sleep(0.1)
print(last)
ask('brief.test', ('127.0.0.77', 53)).recv(512)
print(visit('127.9.0.5'))";
    assert_eq!(agent.spawn(User::AGENT, python(script, port)).end().stdout, "ok\nEPERM\nok\n");
}

#[test]
fn what_is_held_goes_on_by_the_name_it_was_held_for() {
    let hosts = &[("api.held.test", [127, 9, 0, 1], 1), ("brief.test", [127, 9, 0, 5], 1)];
    let (_resolver, port) = (Resolver::of(RESOLVER, hosts), page());
    let agent = shared(POLICY);
    let script = "
ask('api.held.test', ('127.0.0.77', 53)).recv(512)
print(visit('127.9.0.1'))";
    let held = [(); 2].map(|()| {
        let actor = agent.spawn(User::AGENT, python(script, port));
        let hold = agent.hold_of(&actor);
        (actor, hold)
    });
    // What is looked up later is over later.
    let script = "
ask('brief.test', ('127.0.0.77', 53)).recv(512)
while visit('127.9.0.5') == 'ok': time.sleep(0.1)
print('over')";
    assert_eq!(agent.spawn(User::AGENT, python(script, port)).end().stdout, "over\n");
    for ((actor, hold), approved) in held.into_iter().zip([true, false]) {
        process::signal(hold.pid(), Signal::SIGCONT);
        agent.still_held(&actor, &hold);
        if approved {
            agent.approve(&hold);
        } else {
            agent.deny(&hold);
        }
        assert_eq!(actor.end().stdout, if approved { "ok\n" } else { "EPERM\n" });
    }
}

#[test]
fn nobody_else_answers_for_a_resolver() {
    let port = page();
    let _resolver = Resolver::at(RESOLVER, |query, socket, from| {
        let forged = |number| Ipv4Addr::new(127, 9, 1, number);
        let others = [UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 78), 53)), UdpSocket::bind((RESOLVER, 0))];
        for (other, number) in others.iter().zip(1..) {
            other.as_ref().expect("bind").send_to(&query.answer(forged(number), 300), from).expect("send");
        }
        let wrong = [query.with_id(query.id ^ 1), query.about("bad.test"), query.about("xgood.test")];
        for (wrong, number) in wrong.iter().zip(3..) {
            socket.send_to(&wrong.answer(forged(number), 300), from).expect("send");
        }
        for address in [[127, 9, 0, 4].into(), forged(6)] {
            socket.send_to(&query.answer(address, 300), from).expect("send");
        }
    });
    let agent = shared(POLICY);
    let script = "
answers = ask('good.test', ('127.0.0.77', 53))
for _ in range(7): answers.recv(512)
print(*[visit(f'127.9.1.{number}') for number in range(1, 7)], visit('127.9.0.4'))";
    let said = |actor: Actor| actor.end().stdout;
    assert_eq!(said(ungoverned(User::AGENT, python(script, port))), "ok ok ok ok ok ok ok\n", "the control");
    let governed = said(agent.spawn(User::AGENT, python(script, port)));
    assert_eq!(governed, "EPERM EPERM EPERM EPERM EPERM EPERM ok\n", "only the first right answer counts");
}

/// Python: `serve` answers one question for itself, by a socket at `where`, and `visit`s what it has answered.
const SERVE: &str = r#"
def serve(server, where):
    asking = ask('good.test', where)
    query, asker = server.recvfrom(512)
    record = bytes.fromhex('c00c000100010000012c0004') + bytes([127, 9, 0, 4])
    server.sendto(query[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]) + query[12:] + record, asker)
    asking.recv(512)
    return visit('127.9.0.4')
def say(work, *arguments):
    try:
        print(work(*arguments))
    except OSError as error:
        print('refused', errno.errorcode[error.errno])
"#;

#[test]
fn a_resolver_inside_the_tree_teaches_nothing() {
    let (port, agent) = (page(), shared(POLICY));
    for (number, said) in [(53, "refused EPERM\n"), (5353, "EPERM\n")] {
        let script = format!(
            "{SERVE}
def begin(server, where):
    server.bind(where)
    return serve(server, where)
say(begin, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ('{ABSENT}', {number}))"
        );
        assert_eq!(ungoverned(User::ROOT, python(&script, port)).end().stdout, "ok\n", "the control");
        assert_eq!(agent.spawn(User::ROOT, python(&script, port)).end().stdout, said, "port {number}");
    }
}

#[test]
fn nor_does_one_that_had_the_port_before() {
    let (port, agent) = (page(), shared(POLICY));
    let serving = format!("{PYTHON}{SERVE}say(serve, socket.socket(fileno=0), ('{ABSENT}', 53))");
    let begin = format!(
        "
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('{ABSENT}', 53))
os.dup2(server.fileno(), 0)
os.execvp(sys.argv[2], sys.argv[2:])"
    );
    let command = |launcher: &[&str]| {
        let launcher = launcher.iter().map(|word| (*word).to_owned());
        let serving = ["python3", "-c", &serving].map(str::to_owned);
        python(&begin, port).into_iter().chain(launcher).chain(serving).chain([port.to_string()]).collect::<Vec<_>>()
    };
    assert_eq!(ungoverned(User::ROOT, command(&[])).end().stdout, "ok\n", "the control");
    let governed = command(&[&holdpoint(), "run", "--quiet", "--"]);
    assert_eq!(ungoverned(User::ROOT, governed).end().stdout, "refused EPERM\n");
    drop(agent);
}
