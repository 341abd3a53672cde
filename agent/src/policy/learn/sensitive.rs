//! What is never allowed because it was seen: a person decides about it each time, until somebody writes a rule.

use holdpoint_common::request::Class;

use super::observed::Piece;
use crate::policy::{Block, Pattern};

/// Something that is held whoever was seen doing it.
pub struct Sensitive {
    /// Name of the rule that is proposed.
    pub name: &'static str,
    /// What it is about.
    pub what: What,
    /// Why it is.
    pub why: &'static str,
}

/// What it is about.
pub enum What {
    /// Files by their patterns, and the access, as a policy writes it.
    Open(&'static [&'static str], &'static [Class]),
    /// Programs by their patterns.
    Exec(&'static [&'static str]),
    /// Addresses by their blocks.
    Connect(&'static [&'static str]),
}

const READ: &[Class] = &[Class::Read];
const CHANGE: &[Class] = &[Class::Write, Class::Append, Class::Create, Class::Truncate];
const CONNECT: &[Class] = &[Class::Read, Class::Write, Class::Append];

/// All of it.
pub const SENSITIVE: [Sensitive; 5] = [
    Sensitive {
        name: "secrets need a person",
        what: What::Open(
            &[
                "/etc/shadow",
                "/etc/shadow-",
                "/etc/gshadow",
                "/etc/gshadow-",
                "/etc/sudoers",
                "/etc/sudoers.d/**",
                "/etc/ssh/ssh_host_*_key",
                "/etc/ssl/private/**",
                "/etc/pki/tls/private/**",
                "/etc/krb5.keytab",
                "/etc/wireguard/**",
                "/etc/letsencrypt/**",
                "/etc/NetworkManager/system-connections/**",
                "**/.ssh/**",
                "**/.gnupg/**",
                "**/.aws/**",
                "**/.azure/**",
                "**/.kube/**",
                "**/.config/gcloud/**",
                "**/.docker/config.json",
                "**/id_rsa",
                "**/id_dsa",
                "**/id_ecdsa",
                "**/id_ed25519",
                "**/*.kdbx",
                "**/.env",
                "**/.env.*",
                "**/.netrc",
                "**/.git-credentials",
                "**/.npmrc",
                "**/.pypirc",
                "**/.pgpass",
                "**/.my.cnf",
                "**/.vault-token",
                "**/kubeconfig",
                "**/credentials",
                "**/*credentials*.{json,ini,csv,yml,yaml}",
                "**/secrets.{json,yml,yaml,toml}",
                "**/*.keytab",
                "**/*.{p12,pfx,jks,keystore}",
                "**/*private*.{key,pem}",
                "/proc/*/environ",
            ],
            READ,
        ),
        why: "keys, tokens and passwords leave through whoever can read them",
    },
    Sensitive {
        name: "what acts later or for others needs a person",
        what: What::Open(
            &[
                "/etc/crontab",
                "/etc/cron.*/**",
                "/var/spool/cron/**",
                "/var/spool/at/**",
                "/etc/systemd/**",
                "/usr/{bin,sbin,lib,lib64,libexec}/**",
                "/boot/**",
                "/run/systemd/system/**",
                "/etc/init.d/**",
                "/etc/passwd",
                "/etc/group",
                "/etc/shadow",
                "/etc/gshadow",
                "/etc/sudoers",
                "/etc/sudoers.d/**",
                "/etc/pam.d/**",
                "/etc/ssh/**",
                "/etc/profile",
                "/etc/profile.d/**",
                "/etc/environment",
                "/etc/ld.so.preload",
                "/etc/hosts",
                "/home/*/.config/{systemd,autostart}/**",
                "/root/.config/{systemd,autostart}/**",
                "**/.ssh/**",
                "**/authorized_keys",
                "**/.{bashrc,bash_profile,profile,zshrc,zshenv,zprofile}",
                "**/.git/hooks/**",
            ],
            CHANGE,
        ),
        why: "what is written here acts later, or for others, where no rule reaches",
    },
    Sensitive {
        name: "programs that do the work for others need a person",
        what: What::Open(
            &[
                "/run/docker.sock",
                "/run/containerd/**",
                "/run/podman/**",
                "/run/crio/**",
                "/run/libvirt/**",
                "/run/snapd.socket",
                "/var/lib/lxd/unix.socket",
                "/run/dbus/system_bus_socket",
                "/run/systemd/private",
                "/run/user/*/{bus,docker.sock,wayland-*}",
                "/run/user/*/{podman,systemd,gnupg,keyring}/**",
                "/tmp/ssh-*/**",
                "/tmp/.X11-unix/**",
                "/tmp/tmux-*/**",
                "/run/screen/**",
            ],
            CONNECT,
        ),
        why: "what they do for the subject happens outside its tree",
    },
    Sensitive {
        name: "another identity, and work outside the tree, need a person",
        what: What::Exec(&[
            "**/{sudo,sudoedit,su,pkexec,doas,run0,runuser,newgrp,sg}",
            "**/{passwd,chsh,chfn,gpasswd}",
            "**/{docker,podman,nerdctl,ctr,crictl,kubectl,machinectl,busctl,systemd-run,systemctl}",
            "**/{at,batch,crontab}",
            "**/{ssh,scp,sftp,ssh-add,ssh-agent}",
        ]),
        why: "what they do happens as somebody else, elsewhere, or later",
    },
    Sensitive {
        name: "the cloud's metadata service needs a person",
        what: What::Connect(&["169.254.0.0/16", "fd00:ec2::/32", "100.100.100.200"]),
        why: "it hands out the host's own credentials",
    },
];

impl Sensitive {
    /// The kind of operation that it is about, as a policy calls it.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Open(..) => "open",
            What::Exec(_) => "exec",
            What::Connect(_) => "connect",
        }
    }
}

/// One of them, understood.
pub struct Watch {
    /// Which.
    pub sensitive: &'static Sensitive,
    patterns: Vec<Pattern>,
    blocks: Vec<Block>,
}

impl Watch {
    /// All of them.
    pub fn all() -> Vec<Self> {
        SENSITIVE.iter().map(Self::new).collect()
    }

    fn new(sensitive: &'static Sensitive) -> Self {
        let (patterns, blocks): (&[&str], &[&str]) = match sensitive.what {
            What::Open(patterns, _) | What::Exec(patterns) => (patterns, &[]),
            What::Connect(blocks) => (&[], blocks),
        };
        let patterns = patterns.iter().flat_map(|text| Pattern::parse(text).expect("a pattern of this file"));
        let blocks = blocks.iter().flat_map(|text| Block::parse(text).expect("a block of this file"));
        Self { sensitive, patterns: patterns.collect(), blocks: blocks.collect() }
    }

    /// Whether it is about this.
    pub fn is_about(&self, piece: &Piece) -> bool {
        let accepts = |path: &String| self.patterns.iter().any(|pattern| pattern.accepts(path.as_ref()));
        match (&self.sensitive.what, piece) {
            (What::Open(_, classes), Piece::Open(path, access)) => access & mask(classes) != 0 && accepts(path),
            (What::Exec(_), Piece::Exec(path, _)) => accepts(path),
            (What::Connect(_), Piece::Connect(to, ..)) => {
                self.blocks.iter().any(|block| block.contains(Block::only(*to)))
            }
            _ => false,
        }
    }

    /// Whether it is about all that the pattern accepts, for this class.
    pub fn covers(&self, pattern: &Pattern, class: Class) -> bool {
        let has_class = match self.sensitive.what {
            What::Open(_, classes) => classes.contains(&class),
            What::Exec(_) => class == Class::Exec,
            What::Connect(_) => false,
        };
        has_class && self.patterns.iter().any(|wide| wide.covers(pattern))
    }
}

fn mask(classes: &[Class]) -> u32 {
    classes.iter().fold(0, |mask, class| mask | class.bit())
}
