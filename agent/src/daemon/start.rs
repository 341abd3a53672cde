//! Starting: everything is read and judged before anything is attached, everything is attached before the policy
//! is in force, and the canary is refused before the agent says that it is ready.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use holdpoint_common::{
    tables::CANARY,
    task::{Enrolment, Switches},
};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procfs::process::{MMPermissions, MMapPath, Process};
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    CANARY_TREE, Daemon,
    labels::Readings,
    revisions::{self, Revisions},
    since_boot,
};
use crate::{
    approval::{
        Approval, Submission,
        callback::Callbacks,
        review::{self, Invites},
    },
    canary::{Canary, Finding},
    claims::Claims,
    cli::AgentArgs,
    config::{self, Config, Listener},
    holds::Holds,
    kernel::{Events, Kernel, Pins},
    page::{Page, Revocation},
    policy::{self, Host, Own, Policy},
    record::{self, Entry, Record},
    sockets::{self, Command},
};

/// Where programs and maps are pinned.
pub const PINS: &str = "/sys/fs/bpf/holdpoint";
/// Where the record is.
pub const STATE_DIR: &str = "/var/lib/holdpoint";
/// Messages that wait for the loop.
const QUEUE: usize = 256;

/// What the loop hears from.
pub struct Inbox {
    pub commands: mpsc::Receiver<Command>,
    pub answers: mpsc::Receiver<Submission>,
    pub revocations: mpsc::Receiver<Revocation>,
    pub notes: mpsc::Receiver<Entry>,
}

/// Starts the agent.
pub async fn start(run_dir: &Path, args: &AgentArgs) -> Result<(Daemon, Events, Inbox)> {
    raise_descriptor_limit()?;
    let (config, secrets, policy) = read(args)?;
    let record = open_record()?;
    let host = nix::unistd::gethostname().context("cannot read the host name")?.to_string_lossy().into_owned();
    let (notes_in, notes) = mpsc::channel(QUEUE);
    let (answers_in, answers) = mpsc::channel(QUEUE);
    let callbacks = bind(config.listener.as_ref(), "for callbacks").await?;
    let page_listener = bind(config.page.as_ref(), "for the review page").await?;
    let (revocations_in, revocations) = mpsc::channel(QUEUE);
    let page = |listener| {
        let page = Page::new(listener, host.clone(), answers_in.clone(), revocations_in, notes_in.clone());
        Arc::new(page.with_login(config.sso.clone()))
    };
    let page = config.page.as_ref().map(page);
    let invites = page.clone().map(|page| page as Arc<dyn Invites>);
    let approval = Approval::new(&config, host, answers_in.clone(), notes_in.clone()).inviting(invites);
    let control = sockets::bind::control(run_dir).context("cannot bind the control socket")?;
    let tree = sockets::bind::tree(run_dir).context("cannot bind the tree socket")?;
    let (control_device, control_inode) = control.identity().context("cannot identify the control socket")?;
    let (_, tree_inode) = tree.identity().context("cannot identify the tree socket")?;
    let agent = std::process::id();
    let monday = super::monday();
    let sockets = Switches { control_device, control_inode, tree_inode, agent, monday, ..Switches::default() };

    let own = own(run_dir, args, &config, &secrets)?;
    revisions::judge(&policy, &own)?;
    let pins = Pins::new(Path::new(PINS));
    let fresh = !pins.attached();
    let enforcing = enforce(run_dir, policy, own, sockets);
    if enforcing.is_err() && fresh {
        // What was not enforced before is not left half enforced.
        pins.remove()?;
    }
    let Enforcing { kernel, mut events, revisions, findings } = enforcing?;

    let (commands_in, commands) = mpsc::channel(QUEUE);
    tokio::spawn(sockets::control::serve(control.listen()?, commands_in.clone()));
    tokio::spawn(sockets::tree::serve(tree.listen()?, commands_in));
    if let (Some(listener), Some(page)) = (page_listener, &page) {
        tokio::spawn(Arc::clone(page).serve(listener));
    }
    approval.listen();
    if let Some(listener) = callbacks {
        tokio::spawn(Callbacks::new(&config, answers_in, notes_in).serve(listener));
    }
    let channels: Vec<_> = config.channels.iter().map(|channel| &*channel.name).collect();
    let boot = boot_moment(run_dir)?;
    let mut daemon = Daemon {
        pins: PathBuf::from(PINS),
        policy_file: args.policy.clone(),
        kernel,
        revisions,
        boot,
        since: Timestamp::now(),
        holds: Holds::default(),
        record,
        approval,
        page,
        watched: Default::default(),
        looked_at: crate::request::HoldId(0),
        readings: Readings::open(run_dir)?,
        claims: Claims::open(run_dir)?,
        waiting: Default::default(),
        tickets: 0,
        words: Default::default(),
        watchers: Default::default(),
        denials: Default::default(),
        intrusions: Default::default(),
        strangers: Default::default(),
        offers: Default::default(),
        canaries: Default::default(),
        findings,
        detaching: None,
    };
    daemon.enrol_reviewers();
    let policy = daemon.revisions.policy().revision().to_owned();
    match daemon.revisions.policy().observes {
        true => tracing::warn!(policy, "observing: nothing is held, denied or killed"),
        false => tracing::info!(policy, "enforcing"),
    }
    for (reviewer, channel) in daemon.revisions.policy().missing_channels(&channels) {
        tracing::warn!(reviewer, channel, "no channel has the name of this integration of the policy");
    }
    let event = record::Event::Started { version: env!("CARGO_PKG_VERSION"), policy };
    daemon.note(&Entry { time: daemon.now(), event });
    daemon.drain_all(&mut events);
    daemon.reconcile(true);
    // Nobody may have asked: the agent also runs without systemd.
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("cannot tell systemd that the agent is ready")?;
    Ok((daemon, events, Inbox { commands, answers, revocations, notes }))
}

/// What is there once the canary has been refused.
struct Enforcing {
    kernel: Kernel,
    events: Events,
    revisions: Revisions,
    findings: Vec<Finding>,
}

/// Attaches, puts the policy in force, and proves it.
fn enforce(run_dir: &Path, policy: Policy, own: Own, sockets: Switches) -> Result<Enforcing> {
    let (mut kernel, events) = Kernel::open(Path::new(PINS))?;
    kernel.end_offers()?;
    let Switches { revision, enrols, lineage, .. } = kernel.switches()?;
    kernel.set_switches(Switches { revision, enrols, lineage, ..sockets })?;
    let revisions = Revisions::begin(run_dir, policy, own, &mut kernel)?;
    let findings = prove(run_dir, &mut kernel)?;
    Ok(Enforcing { kernel, events, revisions, findings })
}

/// Each hold needs a descriptor, and the customary soft limit is for programs that call `select`.
fn raise_descriptor_limit() -> Result<()> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard);
    let raised = limit.and_then(|hard| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raised.context("cannot raise the limit of open files")
}

fn own(run_dir: &Path, args: &AgentArgs, config: &Config, secrets: &[PathBuf]) -> Result<Own> {
    let program = fs::read_link("/proc/self/exe").context("cannot find this program's own file")?;
    let credentials = config::credentials();
    let parts = policy::parts_directory(&args.policy);
    let optional = parts.as_deref().into_iter().chain(credentials.as_deref());
    let given = [run_dir, &args.config, &args.policy].into_iter().chain(optional);
    let customary = Own::customary().paths;
    let named = given.chain(secrets.iter().chain(&customary).map(PathBuf::as_path));
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("{} is no path", path.display()));
    let paths = named.map(absolute).chain([Ok(program)]).collect::<Result<_>>()?;
    let listeners = config.listener.iter().chain(&config.page).map(|listener| listener.address).collect();
    let trusted = config.trusted.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
    Ok(Own { paths, trusted, mapped: mapped()?, listeners })
}

/// The files that this process has mapped to execute.
pub fn mapped() -> Result<Vec<PathBuf>> {
    let maps = Process::myself().and_then(|myself| myself.maps()).context("cannot read this process's own mappings")?;
    let files = maps.into_iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE)).filter_map(|map| {
        match map.pathname {
            MMapPath::Path(file) => Some(file),
            _ => None,
        }
    });
    Ok(files.collect())
}

/// The moment of the calendar at which `CLOCK_BOOTTIME` was zero: taken by the first agent since boot and kept, so
/// that a deadline is the same moment for each.
fn boot_moment(run_dir: &Path) -> Result<Timestamp> {
    let file = run_dir.join("boot");
    if let Some(kept) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(kept);
    }
    let boot = Timestamp::now().saturating_sub(since_boot()).context("the clock is out of range")?;
    fs::write(&file, boot.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(boot)
}

/// Configuration, the files of its secrets, and policy: whole and judged, before anything is touched.
fn read(args: &AgentArgs) -> Result<(Config, Vec<PathBuf>, Policy)> {
    let (config, secrets) = config::load(&args.config, config::credentials().as_deref())?;
    let policy = policy::load(&args.policy, &Host::this())?;
    let judged = review::judge(&config.channels, &policy.groups).map_err(anyhow::Error::msg);
    judged.with_context(|| format!("{} does not fit the policy", args.config.display()))?;
    Ok((config, secrets, policy))
}

fn open_record() -> Result<Record> {
    let directory = Path::new(STATE_DIR);
    if !directory.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("cannot create {STATE_DIR}: is this root?"))?;
    }
    Record::open(&directory.join("record.jsonl")).with_context(|| format!("cannot open the record in {STATE_DIR}"))
}

async fn bind(listener: Option<&Listener>, what_for: &str) -> Result<Option<TcpListener>> {
    let Some(Listener { address, .. }) = listener else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    Ok(Some(bound.with_context(|| format!("cannot listen on {address} {what_for}"))?))
}

/// Lets the canary try every guarded action. An agent whose hooks do not fire does not pretend.
fn prove(run_dir: &Path, kernel: &mut Kernel) -> Result<Vec<Finding>> {
    let canary = Canary::start(run_dir)?;
    let pid = canary.pid();
    kernel.offer(pid, Enrolment { tree: CANARY_TREE, subject: CANARY, launcher: 0, taken: 0, reserved: 0 })?;
    let findings = canary.release();
    kernel.end_offer(pid);
    let findings = findings?;
    let silent: Vec<_> = findings.iter().filter(|finding| !finding.refused).map(|f| f.hook.as_str()).collect();
    if !silent.is_empty() {
        bail!(
            "this kernel does not enforce: the canary was not stopped at {}. The programs are loaded, but the kernel \
             calls them only if \"bpf\" is in its list of security modules: see /sys/kernel/security/lsm, and boot with \
             lsm=<that list>,bpf",
            silent.join(", ")
        );
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_and_the_code_that_runs_are_holdpoints_own() {
        let args = AgentArgs { config: "/c/config.toml".into(), policy: "/p/policy.toml".into() };
        let config = Config { trusted: vec!["/elsewhere/ask".into()], ..Config::default() };
        let own = own(Path::new("/r"), &args, &config, &["/elsewhere/ops.secret".into()]).unwrap();
        assert_eq!(own.trusted, [PathBuf::from("/elsewhere/ask")]);
        for path in [
            "/r",
            "/c/config.toml",
            "/p/policy.toml",
            "/p/policy.d",
            "/elsewhere/ops.secret",
            "/etc/credstore",
            PINS,
            STATE_DIR,
        ] {
            assert!(own.paths.contains(&PathBuf::from(path)), "{path}");
        }
        assert!(own.mapped.contains(&std::env::current_exe().unwrap()));
        assert!(own.mapped.iter().all(|file| file.is_file()), "{:?}", own.mapped);
    }
}
