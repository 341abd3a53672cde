//! Debian archives, from the mirrors that this host uses already.
//!
//! The addresses come from apt's own configuration. A private apt directory per suite lets us fetch from a suite that the host
//! does not have (trixie on bookworm) without touching the host's apt; signatures are checked against Debian's archive keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{output_of, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The only one: the kernel programs are written for it (system call numbers, page tables).
const ARCHITECTURE: &str = "amd64";

/// The archive of one Debian suite, seen through a private apt directory.
pub struct Archive {
    directory: PathBuf,
    sources: String,
}

impl Archive {
    /// Reads the package lists of `suite` into `directory`.
    pub fn open(directory: PathBuf, suite: &str) -> Result<Self> {
        let archive = Self { sources: sources(suite)?, directory };
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = archive.directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        fs::write(archive.directory.join("status"), "").context("failed to write apt's status file")?;
        fs::write(archive.directory.join("suite.sources"), &archive.sources)
            .context("failed to write apt's sources")?;
        run(archive.apt("apt-get").args(["update", "-qq"]))?;
        Ok(archive)
    }

    /// The packages that `package` depends on.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = output_of(self.apt("apt-cache").args(["depends", "--important", package]))?;
        Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect())
    }

    /// Downloads `package` and unpacks its files below `target`, without running its scripts.
    pub fn unpack(&self, package: &str, target: &Path) -> Result<()> {
        let debs = self.directory.join("debs").join(package);
        fs::create_dir_all(&debs).with_context(|| format!("failed to create {}", debs.display()))?;
        run(self.apt("apt-get").args(["download", "-qq", package]).current_dir(&debs))?;
        let deb = fs::read_dir(&debs)?.next().with_context(|| format!("apt-get downloaded no {package}"))??;
        run(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(target))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let below = |name: &str| self.directory.join(name).display().to_string();
        for option in [
            format!("Dir::State={}", self.directory.display()),
            format!("Dir::State::status={}", below("status")),
            format!("Dir::Cache={}", below("cache")),
            format!("Dir::Etc::sourcelist={}", below("suite.sources")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("APT::Architecture={ARCHITECTURE}"),
            // The cache may be in a home directory, which user _apt cannot enter.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// The sources of `suite` in deb822 format, with its updates and security fixes.
pub fn sources(suite: &str) -> Result<String> {
    let mirrors = Mirrors::of_host()?;
    ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing; install the package debian-archive-keyring");
    let stanza = |uri: &str, suites: &str| {
        format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n")
    };
    Ok([
        stanza(&mirrors.debian, &format!("{suite} {suite}-updates")),
        stanza(&mirrors.security, &format!("{suite}-security")),
    ]
    .join("\n"))
}

/// Where the host gets its Debian packages.
#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    debian: String,
    security: String,
}

impl Mirrors {
    fn of_host() -> Result<Self> {
        let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
        let targets =
            output_of(Command::new("apt-get").args(["indextargets", "--format", format, "Identifier: Packages"]))?;
        match Self::parse(&targets) {
            Some(mirrors) => Ok(mirrors),
            None => bail!(
                "apt knows no Debian archive with security updates; run `apt-get update`, or add them to \
                 /etc/apt/sources.list (suites bookworm and bookworm-security)"
            ),
        }
    }

    /// Origin and label are what the archive says of itself in its signed Release file, whatever the mirror is called.
    fn parse(targets: &str) -> Option<Self> {
        let with = |wanted: &str| {
            targets.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('|')).map(str::to_owned)
        };
        Some(Self { debian: with("Debian|Debian")?, security: with("Debian|Debian-Security")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirrors_are_those_that_call_themselves_debian() {
        let targets = "nodesource|nodesource|https://other.example/\n\
                       Debian|Debian|http://mirror.example/debian/\n\
                       Debian|Debian-Security|http://mirror.example/security/\n";
        let expected = Mirrors {
            debian: "http://mirror.example/debian/".into(),
            security: "http://mirror.example/security/".into(),
        };
        assert_eq!(Mirrors::parse(targets), Some(expected));
    }

    #[test]
    fn a_host_without_security_updates_is_refused() {
        assert_eq!(Mirrors::parse("Debian|Debian|http://mirror.example/debian/\n"), None);
    }
}
