//! What a policy asks of this host and the host does not have. No root: what only the agent can show, it shows
//! (`holdpoint status`).

use std::{fs, path::Path};

use super::{
    Host, LoadError, Mounts, Policy, Problem,
    check::{self, Good},
    compile,
    compile::links_of_rules,
};

/// Most files that are named.
const SHOWN: usize = 8;
/// Where the agent reads what ways there are to reviewers, unless told otherwise.
const CONFIG: &str = "/etc/holdpoint/config.toml";
/// The first kernel that has what Holdpoint needs.
const FIRST_KERNEL: (u32, u32) = (6, 1);

/// The policy in `file`, if it could be put in force on this host, as the one that is named or as itself.
pub fn judge(file: &Path, named: Option<&Host>) -> Result<Good, LoadError> {
    let mounts =
        Mounts::now().map_err(|source| LoadError::Unreadable { file: "/proc/self/mountinfo".to_owned(), source })?;
    check::judge(file, named, &mounts)
}

/// What is not there, or not as the policy's author may believe.
pub fn lacks(policy: &Policy) -> Vec<Problem> {
    let mut problems = files(policy);
    problems.extend(links(policy));
    // What the configuration says is for the agent to judge; who may not read it is told nothing of it.
    problems.extend(fs::read_to_string(CONFIG).iter().flat_map(|config| ways(policy, config)));
    problems.extend(kernel());
    problems
}

fn files(policy: &Policy) -> Vec<Problem> {
    let absent =
        |path: &Path| matches!(fs::symlink_metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    let missing = |span: &super::Span, path: &Path| {
        let message = format!("{} does not exist on this host", path.display());
        Problem::new(span.clone(), message, "correct the path; if it comes later, the rule is for it then")
    };
    let exact = policy.rules.iter().flat_map(|rule| {
        let paths = rule.paths().0.iter().filter_map(super::Pattern::beginning);
        paths.filter(|(_, rest)| rest.is_empty()).map(|(path, _)| (&rule.span, path))
    });
    let starters =
        policy.subjects.iter().flat_map(|subject| subject.exe.iter().map(|path| (&subject.span, path.clone())));
    exact.chain(starters).filter(|(_, path)| absent(path)).map(|(span, path)| missing(span, &path)).collect()
}

/// Files that rules are about and that have further names.
fn links(policy: &Policy) -> Option<Problem> {
    let mounts = Mounts::now().ok()?;
    let mut tables = compile(policy, 1, &mounts, None).ok()?;
    links_of_rules(policy, 1, &mounts, &mut tables);
    let files = &tables.objects.files;
    let shown: Vec<_> = files.iter().take(SHOWN).map(|file| file.display().to_string()).collect();
    let message = format!("{} files that rules are about have further names: {}", files.len(), shown.join(", "));
    let remedy = "they are judged by each of their names; remove those that should not be (find -samefile)";
    (!files.is_empty()).then(|| Problem::new(0..0, message, remedy))
}

/// What the policy says of reviewers and nothing in the text of [`CONFIG`] leads to.
fn ways(policy: &Policy, config: &str) -> Vec<Problem> {
    let Ok(table) = config.parse::<toml::Table>() else { return vec![] };
    let lost = |message: String, remedy: &str| Problem::new(0..0, message, remedy);
    let people = &policy.people;

    let channels = table.get("channel").and_then(toml::Value::as_array).into_iter().flatten();
    let names: Vec<_> = channels.filter_map(|channel| channel.get("name")?.as_str()).collect();
    let channels = policy.missing_channels(&names).into_iter().map(|(person, channel)| {
        let message = format!("{channel:?} may speak for {person}, and {CONFIG} has no such channel");
        lost(message, "correct integrations in [[reviewer]], or add a [[channel]] of that name")
    });

    let login = table.get("page").and_then(|page| page.get("sso"));
    let issuer = login.and_then(|login| login.get("issuer")?.as_str());
    let logins = people.iter().flat_map(|person| person.sso.iter().map(|known| (&person.name, known)));
    let elsewhere = logins.filter_map(|(name, known)| Some((name, known.split_once(' ')?.0)));
    let elsewhere = elsewhere.filter(|(_, named)| Some(*named) != issuer).map(|(name, named)| {
        let message = format!("{name} logs in at {named}, and {CONFIG} has no such issuer");
        lost(message, "write sso in [[reviewer]] with the very issuer of [page.sso]")
    });

    let by_email = login.and_then(|login| login.get("email")?.as_bool()) == Some(true);
    let addressed = people.iter().filter(|person| !person.emails.is_empty() && person.integrations.is_empty());
    let unused = addressed.filter(|_| !by_email).map(|person| {
        let message =
            format!("nothing leads to {} by e-mail address: no integration may name it, and no login", person.name);
        lost(message, "add integrations to the [[reviewer]], or email = true to [page.sso]")
    });
    channels.chain(elsewhere).chain(unused).collect()
}

/// What can be seen of the kernel without root.
fn kernel() -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lacks = |message: String, remedy: &str| problems.push(Problem::new(0..0, message, remedy));
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) if modules.trim().split(',').any(|module| module == "bpf") => (),
        Ok(modules) => lacks(
            format!("this kernel enforces nothing: bpf is not among its security modules ({})", modules.trim()),
            "boot with lsm=<that list>,bpf",
        ),
        Err(_) => lacks(
            "the kernel's list of security modules cannot be read, so this was not looked at".to_owned(),
            "see /sys/kernel/security/lsm as root; `holdpoint status` shows which hooks are proven",
        ),
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        lacks("this kernel does not describe its types (BTF)".to_owned(), "run one with CONFIG_DEBUG_INFO_BTF");
    }
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    if version(&release).is_none_or(|version| version < FIRST_KERNEL) {
        let (major, minor) = FIRST_KERNEL;
        lacks(format!("this kernel is {release}"), &format!("run {major}.{minor} or later"));
    }
    problems
}

/// `6.12.3-amd64`: 6 and 12.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Source, parse};

    /// What is said of alice where the configuration is this.
    fn said(alice: &str, config: &str) -> Vec<String> {
        let text = format!(
            "[[subject]]\nname = \"agent\"\nexe = [\"/usr/bin/agent\"]\n\n[reviewers]\nsecurity = [\"alice\"]\n\n\
             [[reviewer]]\nname = \"alice\"\n{alice}\n"
        );
        let policy = parse(Source::one("p.toml", text), &Host::this()).unwrap_or_else(|error| panic!("{error}"));
        ways(&policy, config).into_iter().map(|problem| problem.message.replace(CONFIG, "FILE")).collect()
    }

    #[test]
    fn an_integration_that_is_no_channel_of_this_host_is_told() {
        let alice = "integrations = { ops = \"basic\", sso = \"medium\" }";
        let config = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\n";
        assert_eq!(said(alice, config), ["\"sso\" may speak for alice, and FILE has no such channel"]);
    }

    #[test]
    fn a_login_at_no_provider_of_this_host_is_told() {
        let alice = "sso = [\"https://login.example 7\"]";
        let at = |issuer: &str| format!("[page.sso]\nissuer = \"{issuer}\"\n");
        assert_eq!(said(alice, &at("https://login.example")), [""; 0]);
        for config in [String::new(), at("https://login.example/")] {
            assert_eq!(said(alice, &config), ["alice logs in at https://login.example, and FILE has no such issuer"]);
        }
    }

    #[test]
    fn an_address_that_nobody_uses_is_told() {
        let unused = "nothing leads to alice by e-mail address: no integration may name it, and no login";
        let (alice, ops) = ("email = [\"a@b.example\"]\n", "[[channel]]\nname = \"ops\"\n");
        assert_eq!(said(alice, ops), [unused]);
        assert_eq!(said(&format!("{alice}integrations = {{ ops = \"basic\" }}"), ops), [""; 0]);
        let login = |email: bool| format!("[page.sso]\nissuer = \"https://login.example\"\nemail = {email}\n");
        assert_eq!(said(alice, &login(true)), [""; 0]);
        assert_eq!(said(alice, &login(false)), [unused]);
    }
}
