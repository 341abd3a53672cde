//! Promises 1 and 8, for the policies that are ready to use (`policies/`): what a day's work needs passes, unheld; what each
//! is about is held by the rule that says so, goes on after approval and fails after denial; what it refuses is refused.

use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use holdpoint_tests::{Actor, Hold, User, agent::holdpoint, shared, shared::Shared, site, ungoverned};
use serde_json::json;

/// A ready policy in force.
struct Ready {
    agent: Shared,
    subject: &'static str,
    /// What does the steps of its subject: `actor`, or a copy of it.
    program: String,
}

impl Ready {
    fn new(policy: &str, subject: &'static str) -> Self {
        Self { agent: shared(policy), subject, program: site::actor().to_owned() }
    }

    /// Steps of the actor as a command.
    fn steps(&self, steps: &[&str]) -> Vec<OsString> {
        [&self.program.as_str()].into_iter().chain(steps).map(OsString::from).collect()
    }

    /// Starts a governed command. Its launcher is announced, not the command: what is started here meets the policy from
    /// its first program on.
    fn start(&self, user: User, command: &[OsString]) -> Actor {
        let run = [&holdpoint(), "run", "--quiet", "--subject", self.subject, "--"].map(OsString::from);
        ungoverned(user, [&run, command].concat())
    }

    /// The command does governed what it does without Holdpoint, and nobody is asked.
    #[track_caller]
    fn passes(&self, command: &[OsString], reset: impl Fn()) {
        let control = ungoverned(User::AGENT, command).end();
        assert_eq!(control.code(), Some(0), "the control: {control:?}");
        reset();
        let before = self.agent.record().len();
        assert_eq!(self.start(User::AGENT, command).end(), control);
        let held: Vec<_> =
            self.agent.record().split_off(before).into_iter().filter(|line| line["event"] == "held").collect();
        assert!(held.is_empty(), "{held:#?}");
        reset();
    }

    /// Likewise, for steps.
    #[track_caller]
    fn steps_pass(&self, steps: &[&str], printed: &str) {
        assert_eq!(ungoverned(User::AGENT, self.steps(steps)).end().stdout, printed, "the control");
        self.passes(&self.steps(steps), || ());
    }

    /// The steps print `done` without Holdpoint; governed they are held by `rule`, print `refused` after denial and `done`
    /// after approval. Gives the hold.
    #[track_caller]
    fn needs_a_person(&self, rule: &str, steps: &[&str], done: &str, refused: &str) -> Hold {
        let command = self.steps(steps);
        assert_eq!(ungoverned(User::AGENT, &command).end().stdout, done, "the control");
        let held = || {
            let actor = self.start(User::AGENT, &command);
            let hold = self.agent.hold_of(&actor);
            assert_eq!((hold.text("rule"), actor.stdout().as_str()), (rule, ""));
            (actor, hold)
        };
        let (actor, hold) = held();
        self.agent.deny(&hold);
        assert_eq!(actor.end().stdout, refused, "denied");
        let (actor, hold) = held();
        self.agent.approve(&hold);
        assert_eq!(actor.end().stdout, done, "approved");
        assert_eq!(self.agent.questions(hold.tree()), 1);
        hold
    }

    /// The steps print `done` without Holdpoint and `refused` governed, by `rule`.
    #[track_caller]
    fn is_refused(&self, user: User, rule: &str, steps: &[&str], done: &str, refused: &str) {
        let command = self.steps(steps);
        assert_eq!(ungoverned(user, &command).end().stdout, done, "the control");
        let before = self.agent.record().len();
        assert_eq!(self.start(user, &command).end().stdout, refused);
        self.agent.wait_recorded(format!("refused by {rule:?}"), |line| {
            (line["event"] == "denied" || line["event"] == "killed") && line["rule"] == rule
        });
        assert!(!self.agent.record().split_off(before).iter().any(|line| line["event"] == "held"));
    }
}

/// A script as a command.
fn shell(script: &str) -> Vec<OsString> {
    ["sh", "-c", script].map(OsString::from).to_vec()
}

/// A file with this content, its directories made as needed, which everybody may read and the user `agent` write.
fn file(path: &str, content: &str) -> String {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    chown(path, Some(site::AGENT), Some(site::AGENT)).unwrap();
    path.display().to_string()
}

/// A tool of that name, which says what it is given.
fn tool(path: &str) -> String {
    let path = file(path, "#!/bin/sh\necho \"${0##*/} $*\"\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// An empty directory of the user `agent`.
fn directory(path: &str) -> String {
    fs::create_dir_all(path).unwrap();
    chown(path, Some(site::AGENT), Some(site::AGENT)).unwrap();
    path.to_owned()
}

/// A new directory that no policy names.
fn place() -> String {
    site::directory("free").display().to_string()
}

/// Somebody who listens at an address that this host has as long as this lives: the subject cannot tell.
struct Elsewhere {
    address: SocketAddr,
    listener: TcpListener,
}

impl Elsewhere {
    fn new(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        change_address("replace", address);
        Self { address, listener: TcpListener::bind(address).unwrap() }
    }

    /// The step that connects.
    fn connect(&self) -> String {
        format!("connect {} {}", self.address.ip(), self.address.port())
    }

    /// How many connections have come since this was last asked.
    fn connections(&self) -> usize {
        self.listener.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        change_address("del", self.address);
    }
}

/// What is in 127.0.0.0/8 belongs to this host anyway.
fn change_address(verb: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        let block = format!("{}/32", address.ip());
        assert!(Command::new("ip").args(["address", verb, &block, "dev", "lo"]).status().unwrap().success());
    }
}

#[test]
fn a_coding_agent_builds_and_commits_and_asks_for_keys_clusters_and_the_outside() {
    let ready = Ready::new(include_str!("../../policies/coding-agent.toml"), "coding-agent");
    let project = place();
    let work = format!(
        "cd {project} && git init -q . && echo 'int main(void) {{ return 0; }}' >main.c && echo A=1 >.env.example && git add . && \
         git -c user.name=a -c user.email=a@example.org commit -qm one && gcc -o main main.c && ./main && \
         python3 -c 'print(6 * 7)' && cat .env.example && mkdir -p {project}/.cache/x && rm -r {project}/.cache && \
         touch /tmp/ready-$$ && rm /tmp/ready-$$ && git status --short"
    );
    ready.passes(&shell(&work), || {
        fs::remove_dir_all(&project).unwrap();
        directory(&project);
    });
    let known = file(&format!("{project}/.ssh/known_hosts"), "a\n");
    ready.steps_pass(&[&format!("open {known} r"), "read"], "open ok\nread a\n");

    let key = file(&format!("{project}/.ssh/id_ed25519"), "key\n");
    let rule = "personal keys and passwords need a person";
    ready.needs_a_person(rule, &[&format!("open {key} r")], "open ok\n", "open EPERM\n");
    let settings = file(&format!("{project}/.env"), "A=2\n");
    let rule = "secrets beside the code need a person";
    ready.needs_a_person(rule, &[&format!("open {settings} r")], "open ok\n", "open EPERM\n");
    let kubectl = tool(&format!("{project}/bin/kubectl"));
    let hold = ready.needs_a_person(
        "clouds, clusters and other infrastructure need a person",
        &[&format!("exec {kubectl} delete namespace prod")],
        "kubectl delete namespace prod\n",
        "exec EPERM\n",
    );
    assert_eq!(hold["argv"], json!([kubectl, "delete", "namespace", "prod"]));
    let profile = file(&format!("{project}/.bashrc"), "");
    let rule = "start-up files of shells need a person";
    ready.needs_a_person(rule, &[&format!("open {profile} w")], "open ok\n", "open EPERM\n");

    let outside = Elsewhere::new("203.0.113.7:443");
    let rule = "everything outside needs a person";
    ready.needs_a_person(rule, &[&outside.connect()], "connect ok\n", "connect EPERM\n");
    assert_eq!(outside.connections(), 2, "the control's and the approved one");
    let metadata = Elsewhere::new("169.254.169.254:80");
    let rule = "the cloud's metadata service is closed";
    ready.is_refused(User::AGENT, rule, &[&metadata.connect()], "connect ok\n", "connect EPERM\n");
    assert_eq!(metadata.connections(), 1, "the control's");
}

#[test]
fn a_data_pipeline_moves_its_own_files_and_asks_for_dumps_exports_and_backups() {
    let ready = Ready::new(include_str!("../../policies/data-pipeline.toml"), "data-pipeline");
    let work = directory("/srv/pipeline/work");
    let sorted = format!(
        "cd {work} && printf '2\\n1\\n' >orders.csv && sort orders.csv | gzip >orders.csv.gz && gzip -dc orders.csv.gz && \
         python3 -c 'import csv' && mv orders.csv orders.dump && rm orders.dump orders.csv.gz"
    );
    ready.passes(&shell(&sorted), || ());
    let database = Elsewhere::new("127.0.0.1:5432");
    ready.steps_pass(&[&database.connect()], "connect ok\n");

    // A no kills it, as a policy does that says nothing else.
    let dump = tool(&format!("{}/postgresql/15/bin/pg_dump", place()));
    let hold = ready.needs_a_person(
        "a dump of a database needs its owner",
        &["fork", &format!("exec {dump} prod"), "end", "wait"],
        "pg_dump prod\nwait exited 0\n",
        "wait killed 9\n",
    );
    assert_eq!(hold["argv"], json!([dump, "prod"]));
    let export = file("/srv/exports/ready/orders.csv", "1\n");
    ready.needs_a_person("an export needs its owner", &[&format!("open {export} w")], "open ok\n", "open EPERM\n");
    ready.steps_pass(&[&format!("open {export} r")], "open ok\n");
    let records = file("/srv/customers/ready/orders.csv", "1\n");
    let rule = "customer records need their owner";
    ready.needs_a_person(rule, &[&format!("open {records} rw")], "open ok\n", "open EPERM\n");
    let backup = file("/srv/backups/ready/orders.tar", "1\n");
    let steps = ["fork", &format!("open {backup} r"), "end", "wait"];
    ready.needs_a_person("backups need a person", &steps, "open ok\nwait exited 0\n", "wait killed 9\n");
    let away = directory(&place());
    let compressed = file(&format!("{away}/orders.csv.gz"), "");
    let rule = "a dump outside the work directory needs its owner";
    ready.needs_a_person(rule, &[&format!("open {compressed} w")], "open ok\n", "open EPERM\n");

    let table = file("/var/lib/postgresql/ready/1259", "1\n");
    let rule = "the files of databases are the databases'";
    ready.is_refused(User::AGENT, rule, &[&format!("open {table} r")], "open ok\n", "open EPERM\n");
    for made in [
        "/srv/exports/ready",
        "/srv/customers/ready",
        "/srv/backups/ready",
        "/var/lib/postgresql/ready",
        "/srv/pipeline",
    ] {
        fs::remove_dir_all(made).unwrap();
    }
}

#[test]
fn an_infrastructure_agent_looks_and_asks_for_tools_credentials_and_sockets() {
    let ready = Ready::new(include_str!("../../policies/infrastructure-agent.toml"), "infrastructure-agent");
    let looking = tool("/opt/infrastructure-agent/readonly/bin/kubectl");
    let role = file("/etc/infrastructure-agent/readonly/kubeconfig", "a role\n");
    let place = place();
    let look = format!("cd {place} && {looking} get pods && cat {role} && git init -q . && echo a >deployment.yaml");
    ready.passes(&shell(&look), || fs::remove_dir_all(format!("{place}/.git")).unwrap());
    let api = Elsewhere::new("127.0.0.1:6443");
    ready.steps_pass(&[&api.connect()], "connect ok\n");

    let kubectl = tool(&format!("{place}/bin/kubectl"));
    let rule = "clusters need an operator";
    let hold =
        ready.needs_a_person(rule, &[&format!("exec {kubectl} scale web")], "kubectl scale web\n", "exec EPERM\n");
    assert_eq!(hold["argv"], json!([kubectl, "scale", "web"]));
    let terraform = tool(&format!("{place}/bin/terraform"));
    let rule = "plans need an operator";
    ready.needs_a_person(rule, &[&format!("exec {terraform} apply")], "terraform apply\n", "exec EPERM\n");
    let cluster = file(&format!("{place}/.kube/config"), "a key\n");
    let rule = "credentials of clusters need a person";
    ready.needs_a_person(rule, &[&format!("open {cluster} r")], "open ok\n", "open EPERM\n");
    let rule = "what runs later as this user needs an operator";
    ready.needs_a_person(rule, &[&format!("open {cluster} w")], "open ok\n", "open EPERM\n");
    let state = file(&format!("{place}/terraform.tfstate"), "{}\n");
    let rule = "the state of infrastructure needs a person";
    ready.needs_a_person(rule, &[&format!("open {state} rw")], "open ok\n", "open EPERM\n");

    let rule = "what looks is not changed by the agent";
    for path in [&looking, &role] {
        ready.is_refused(User::AGENT, rule, &[&format!("open {path} w")], "open ok\n", "open EPERM\n");
    }
    let metadata = Elsewhere::new("169.254.169.254:80");
    let rule = "the cloud's metadata service is closed";
    ready.is_refused(User::AGENT, rule, &[&metadata.connect()], "connect ok\n", "connect EPERM\n");
    for made in ["/opt/infrastructure-agent", "/etc/infrastructure-agent"] {
        fs::remove_dir_all(made).unwrap();
    }

    // A socket that no rule on paths knows: held, though it is an operation on the host.
    let path = format!("{place}/socket");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let program = "import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n\
                   except PermissionError: print('refused')\nelse: print('done')";
    let connect = ["python3", "-c", program, &path].map(OsString::from);
    assert_eq!(ungoverned(User::AGENT, &connect).end().stdout, "done\n", "the control");
    for (approved, printed) in [(false, "refused\n"), (true, "done\n")] {
        let actor = ready.start(User::AGENT, &connect);
        let hold = ready.agent.hold_of(&actor);
        assert_eq!(hold.text("rule"), "sockets that no rule knows need an operator");
        if approved {
            ready.agent.approve(&hold);
        } else {
            ready.agent.deny(&hold);
        }
        assert_eq!(actor.end().stdout, printed);
    }
}

#[test]
fn a_ci_job_builds_and_tests_and_asks_for_releases_and_leaves_nothing() {
    let ready = Ready::new(include_str!("../../policies/ci-runner.toml"), "ci-job");
    let workspace = place();
    let job = format!(
        "cd {workspace} && git init -q . && printf 'all: app\\n\\t./app\\n' >Makefile && \
         echo 'int main(void) {{ return 0; }}' >app.c && make -s && python3 -c 'import json; print(json.dumps([1]))' && \
         git add . && git -c user.name=a -c user.email=a@example.org commit -qm one && git clone -q . clone"
    );
    ready.passes(&shell(&job), || {
        fs::remove_dir_all(&workspace).unwrap();
        directory(&workspace);
    });
    let under_test = Elsewhere::new("127.0.0.1:8089");
    ready.steps_pass(&[&under_test.connect()], "connect ok\n");

    let release = tool(&format!("{workspace}/bin/gh"));
    let rule = "a release needs a release manager";
    ready.needs_a_person(rule, &[&format!("exec {release} release")], "gh release\n", "exec EPERM\n");
    let deployment = tool(&format!("{workspace}/bin/helm"));
    let rule = "a deployment needs a release manager";
    ready.needs_a_person(rule, &[&format!("exec {deployment} upgrade")], "helm upgrade\n", "exec EPERM\n");
    let token = file(&format!("{workspace}/home/.pypirc"), "a token\n");
    let rule = "credentials of releases need a release manager";
    ready.needs_a_person(rule, &[&format!("open {token} r")], "open ok\n", "open EPERM\n");

    let job = "/etc/cron.d/holdpoint-ready";
    fs::create_dir_all("/etc/cron.d").unwrap();
    let rule = "nothing of the job stays in the system";
    ready.is_refused(User::ROOT, rule, &[&format!("open {job} w+creat+trunc")], "open ok\n", "open EPERM\n");
    fs::remove_file(job).unwrap();
    let later = tool(&format!("{workspace}/bin/crontab"));
    let steps = [&*format!("exec {later} -")];
    ready.is_refused(User::AGENT, "nothing runs after the job", &steps, "crontab -\n", "exec EPERM\n");
    let raised = site::program("free", "/usr/bin/echo");
    chown(&raised, Some(0), Some(0)).unwrap();
    fs::set_permissions(&raised, fs::Permissions::from_mode(0o4755)).unwrap();
    let rule = "programs with the rights of another user are not for jobs";
    ready.is_refused(User::AGENT, rule, &[&format!("exec {raised} as root")], "as root\n", "exec EPERM\n");
    let metadata = Elsewhere::new("169.254.169.254:80");
    let steps = ["fork", &metadata.connect(), "end", "wait"];
    let rule = "the cloud's metadata service ends the job";
    ready.is_refused(User::AGENT, rule, &steps, "connect ok\nwait exited 0\n", "wait killed 9\n");
    assert_eq!(metadata.connections(), 1, "the control's");
}

#[test]
fn a_locked_down_service_does_its_work_and_nothing_else() {
    let worker = "/opt/service/bin/worker";
    let programs = [(worker, site::actor()), ("/opt/service/maintenance/migrate", "/usr/bin/echo")];
    let [_, (migrate, _)] = programs;
    for (path, original) in programs {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::copy(original, path).unwrap();
    }
    let [state, cache] = ["/var/lib/service", "/var/cache/service"].map(directory);
    let settings = file("/etc/service/worker.toml", "a setting\n");
    let ready = Ready::new(include_str!("../../policies/locked-down-service.toml"), "service");
    let ready = Ready { program: worker.to_owned(), ..ready };

    let database = Elsewhere::new("127.0.0.1:5432");
    ready.steps_pass(
        &[
            &format!("open {settings} r"),
            "read",
            &format!("open {state}/orders w+creat+trunc"),
            "write 1",
            &format!("rename {state}/orders {cache}/orders"),
            &format!("unlink {cache}/orders"),
            "open /etc/passwd r",
            "open /dev/null rw",
            &database.connect(),
            &format!("spawn {worker} join"),
        ],
        "open ok\nread a setting\nopen ok\nwrite ok\nrename ok\nunlink ok\nopen ok\nopen ok\nconnect ok\nspawn ok\nwait exited 0\n",
    );

    let other = site::file("free", "Ada\n");
    let rule = "reading anything else needs a person";
    ready.needs_a_person(rule, &[&format!("open {other} r")], "open ok\n", "open EPERM\n");
    let rule = "maintenance needs a person";
    ready.needs_a_person(rule, &[&format!("exec {migrate} done")], "done\n", "exec EPERM\n");
    let outside = Elsewhere::new("203.0.113.7:443");
    let rule = "an API outside needs a person";
    ready.needs_a_person(rule, &[&outside.connect()], "connect ok\n", "connect EPERM\n");
    assert_eq!(outside.connections(), 2, "the control's and the approved one");

    let steps = [&*format!("open {settings} w")];
    ready.is_refused(User::AGENT, "nothing else is written", &steps, "open ok\n", "open EPERM\n");
    let rule = "no other programs";
    ready.is_refused(User::AGENT, rule, &["exec /usr/bin/echo out"], "out\n", "exec EPERM\n");
    let fetched = format!("{state}/fetched");
    fs::copy("/usr/bin/echo", &fetched).unwrap();
    let rule = "nothing runs from where the service writes";
    ready.is_refused(User::AGENT, rule, &[&format!("exec {fetched} out")], "out\n", "exec EPERM\n");
    let steps = ["fork", "exec /bin/sh -c echo", "end", "wait"];
    ready.is_refused(User::AGENT, "a shell ends it", &steps, "\nwait exited 0\n", "wait killed 9\n");
    let key = file(&format!("{}/.ssh/id_ed25519", place()), "key\n");
    let steps = ["fork", &format!("open {key} r"), "end", "wait"];
    let rule = "keys and doors to root end it";
    ready.is_refused(User::AGENT, rule, &steps, "open ok\nwait exited 0\n", "wait killed 9\n");

    drop(ready);
    shared::calm();
    for made in ["/opt/service", "/etc/service", "/var/lib/service", "/var/cache/service"] {
        fs::remove_dir_all(made).unwrap();
    }
}
