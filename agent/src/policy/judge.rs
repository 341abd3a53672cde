//! What a policy says of a request, asked outside the kernel: of its compiled tables, by the kernel's own matcher. What
//! could be said otherwise is not said here.

use std::{
    ffi::{OsStr, OsString},
    fs, iter,
    os::unix::{ffi::OsStrExt, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use holdpoint_common::{
    matcher::{Asker, DEPTH, NO_LOGIN, Names},
    request::Class,
    system::System,
    tables::{LITERAL_BYTES, NO_RULE, SOCKET, Verdict, kind},
};

use super::{
    Own, Place, Places, Policy, Refusal, Rule, Tables,
    address::Block,
    asked::{Asked, What},
    check::OneFileSystem,
    compile,
    compile::links_of_rules,
    evaluate::{Circumstances, Evaluation},
    only::User,
    places::{self, Mounts},
    problem::Flaw,
};

/// The revision that is compiled to be asked.
const REVISION: u32 = 1;
/// A user that no policy names.
const NOBODY: u32 = u32::MAX;

/// Where the paths of a policy, and of what it is asked, live.
pub enum Site {
    /// Nowhere: one file system without links.
    Anywhere,
    /// On this host.
    Here(Mounts),
}

/// A compiled policy that can be asked.
pub struct Judge {
    /// The policy with the rules that every policy has.
    pub policy: Policy,
    /// Its tables.
    pub tables: Tables,
    site: Site,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of the rule that decides, if one does.
    pub rule: Option<u32>,
    /// What follows.
    pub verdict: Verdict,
    /// What would follow if the policy did not only observe.
    pub would: Verdict,
}

impl Site {
    fn places(&self) -> &dyn Places {
        match self {
            Self::Anywhere => &OneFileSystem,
            Self::Here(mounts) => mounts,
        }
    }
}

impl Judge {
    /// Compiles `policy`, with what every policy says of `own`.
    pub fn new(policy: Policy, own: &Own, site: Site) -> Result<Self, Refusal> {
        let policy = policy.with_built_in(own);
        let tables = compile(&policy, REVISION, site.places(), None);
        let mut tables = tables.map_err(|problems| policy.refused(problems))?;
        if matches!(site, Site::Here(_)) {
            links_of_rules(&policy, REVISION, site.places(), &mut tables);
        }
        Ok(Self { policy, tables, site })
    }

    /// What the policy says of the request.
    pub fn ask(&self, asked: &Asked) -> Result<Answer, Flaw> {
        let asker = Asker { revision: REVISION, subject: self.subject(&asked.subject)? };
        let circumstances = self.circumstances(asked)?;
        let evaluation = Evaluation::new(&self.tables, circumstances);
        let rule = match &asked.what {
            What::File { path, access, .. } => self.rule_on_path(&evaluation, asker, path, *access),
            What::Connect { to, port, .. } => evaluation.address_rule(asker, &Block::only(*to).octets(), *port),
            What::Socket { path, .. } => match self.rule_on_path(&evaluation, asker, path, Class::TALKING) {
                NO_RULE => evaluation.system_rule(asker, System::Deputy),
                rule => rule,
            },
            What::System(system) => evaluation.system_rule(asker, *system),
        };
        let unnamed =
            if matches!(asked.what, What::System(_) | What::Socket { .. }) { Verdict::Deny } else { Verdict::Allow };
        let rule = evaluation.or_noted(asker, rule, unnamed == Verdict::Deny);
        let decides = self.policy.rule(rule);
        Ok(Answer {
            rule: decides.map(|_| rule),
            verdict: decides.map_or(unnamed, |rule| self.policy.in_force(rule)),
            would: decides.map_or(unnamed, Rule::verdict),
        })
    }

    /// The index of a subject.
    pub fn subject(&self, name: &str) -> Result<u32, Flaw> {
        let index = self.policy.subjects.iter().position(|subject| subject.name == name);
        let known: Vec<_> = self.policy.subjects.iter().map(|subject| subject.name.as_str()).collect();
        let unknown =
            || Flaw::new(format!("the policy has no subject {name:?}"), format!("one of: {}", known.join(", ")));
        index.map(|index| index as u32).ok_or_else(unknown)
    }

    /// The number of a user.
    pub fn user(&self, user: &User) -> Result<u32, Flaw> {
        match user {
            User::Number(number) => Ok(*number),
            User::Name(name) => self.site.places().user(name).ok_or_else(|| {
                Flaw::new(format!("this host has no user {name:?}"), "write a name that it has, or a number")
            }),
        }
    }

    /// The number of a group.
    pub fn group(&self, group: &User) -> Result<u32, Flaw> {
        match group {
            User::Number(number) => Ok(*number),
            User::Name(name) => self.site.places().group(name).ok_or_else(|| {
                Flaw::new(format!("this host has no group {name:?}"), "write a name that it has, or a number")
            }),
        }
    }

    /// Whether the rule is one that every policy has.
    pub fn is_built_in(&self, rule: &Rule) -> bool {
        rule.span.is_empty()
    }

    /// Where the rule stands: `file:line`.
    pub fn place(&self, rule: &Rule) -> String {
        if self.is_built_in(rule) {
            return "built in".to_owned();
        }
        let place = self.policy.source.position(rule.span.start);
        format!("{}:{}", place.file.escape_debug(), place.line)
    }

    /// The path by which the kernel knows what `path` names.
    pub fn real(&self, path: &Path) -> PathBuf {
        match self.site {
            Site::Anywhere => path.to_owned(),
            Site::Here(_) => places::real(path),
        }
    }

    fn circumstances(&self, asked: &Asked) -> Result<Circumstances, Flaw> {
        let user = asked.user.as_ref().map_or(Ok(NOBODY), |user| self.user(user))?;
        let login = asked.login.as_ref().map_or(Ok(NO_LOGIN), |login| self.user(login))?;
        let groups = asked.groups.iter().map(|group| self.group(group)).collect::<Result<_, _>>()?;
        let unknown = |name: &&String| !self.policy.labels.iter().any(|label| label.name == **name);
        if let Some(name) = asked.read.iter().find(unknown) {
            let known: Vec<_> = self.policy.labels.iter().map(|label| label.name.as_str()).collect();
            let remedy = format!("it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") });
            return Err(Flaw::new(format!("the policy has no label {name:?}"), remedy));
        }
        let labels = self.policy.labels_named(&asked.read);
        let workplaces = asked.cwd.as_ref().map_or(0, |cwd| self.workplaces(cwd));
        let plain =
            Circumstances { user, login, groups, minute: asked.at, labels, workplaces, ..Circumstances::default() };
        Ok(match &asked.what {
            What::File { path, args, owner, mode, .. } => {
                let owner = self.owner(owner.as_ref())?;
                let name = path.as_os_str().as_bytes();
                let words = iter::once(name).chain(args.iter().map(String::as_bytes));
                let arguments = words.flat_map(|word| word.iter().copied().chain([0])).collect();
                Circumstances { owner, mode: *mode, arguments, ..plain }
            }
            What::Connect { protocol, names, .. } => {
                Circumstances { protocol: *protocol, hosts: names.clone(), ..plain }
            }
            What::Socket { owner, mode, .. } => {
                Circumstances { owner: self.owner(owner.as_ref())?, mode: SOCKET | mode, ..plain }
            }
            What::System(_) => plain,
        })
    }

    fn owner(&self, owner: Option<&User>) -> Result<Option<u32>, Flaw> {
        owner.map(|owner| self.user(owner)).transpose()
    }

    fn workplaces(&self, cwd: &Path) -> u64 {
        let walked = self.walked(&self.real(cwd));
        let evaluation = Evaluation::new(&self.tables, Circumstances::default());
        evaluation.workplaces(REVISION, walked.as_ref().map(|walked| (walked.place.device, walked)))
    }

    fn rule_on_path(&self, evaluation: &Evaluation<'_>, asker: Asker, path: &Path, access: u32) -> u32 {
        let real = self.real(path);
        let Some(walked) = self.walked(&real) else { return evaluation.unknown_path_rule(asker, access) };
        let device = walked.place.device;
        let rule = evaluation.path_rule(asker, device, &walked, access);
        match (&self.site, fs::metadata(&real)) {
            (Site::Here(_), Ok(file)) => evaluation.with_object(asker, rule, device, file.ino(), access),
            _ => rule,
        }
    }

    /// The path as the kernel walks it; none if it has more names than are walked.
    fn walked(&self, real: &Path) -> Option<Walked> {
        let mut places = self.site.places().resolve(real).into_iter();
        let place = places.next().filter(|place| place.components.len() <= DEPTH)?;
        // What is on a file system that the kernel makes itself is also at a pseudo device, which sorts behind.
        let kind = places.map(|place| place.device).find(|device| *device >= kind(0)).unwrap_or(kind(0));
        Some(Walked { place, kind })
    }
}

/// A path as the kernel walks it.
pub struct Walked {
    place: Place,
    kind: u32,
}

impl Walked {
    fn name(&self, level: usize) -> &[u8] {
        self.place.components.get(level).map_or(&[], |name: &OsString| OsStr::as_bytes(name))
    }
}

impl Names for Walked {
    fn depth(&self) -> usize {
        self.place.components.len()
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn component(&self, level: usize, name: &mut [u8; LITERAL_BYTES]) -> bool {
        let bytes = self.name(level);
        *name = [0; LITERAL_BYTES];
        let fits = bytes.len() < LITERAL_BYTES;
        if fits {
            name[..bytes.len()].copy_from_slice(bytes);
        }
        fits
    }

    fn start(&self, level: usize) -> u64 {
        level as u64
    }

    fn letter(&self, start: u64, index: usize) -> u8 {
        self.name(start as usize).get(index).copied().unwrap_or(0)
    }
}
