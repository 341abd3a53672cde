//! `--sign`, `--statement`, `--signature`: answers with a reviewer's SSH key. The signing itself is `ssh-keygen`'s, which knows
//! passphrases, ssh-agent and keys in hardware.

use std::{
    env, fs,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;

use crate::{
    signature::{LIMIT, NAMESPACE},
    sockets::Declined,
};

/// How an answer is signed, if it is.
#[derive(Clone, Debug, Default, Args)]
pub struct Signing {
    /// Sign the answer with your SSH key, whoever you are on this host
    #[arg(long, conflicts_with_all = ["statement", "signature"])]
    sign: bool,
    /// The key; a public one if ssh-agent has the other half [default: ~/.ssh/id_ed25519]
    #[arg(long, value_name = "FILE", requires = "sign")]
    key: Option<PathBuf>,
    /// Print what is to be signed, for another machine; answers nothing
    #[arg(long, conflicts_with_all = ["signature", "why", "json"])]
    pub statement: bool,
    /// Send a signature that was made elsewhere; - is standard input
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

impl Signing {
    /// The signature of `statement` that goes with the answer; none if it is not to be signed.
    pub fn of(&self, statement: &str) -> Result<Option<String>, Declined> {
        match &self.signature {
            Some(file) => read(file).map(Some).map_err(|error| unreadable(file, &error)),
            None if self.sign => sign(&self.key()?, statement).map(Some),
            None => Ok(None),
        }
    }

    fn key(&self) -> Result<PathBuf, Declined> {
        let usual = || env::home_dir().unwrap_or_default().join(".ssh/id_ed25519");
        let key = self.key.clone().unwrap_or_else(usual);
        if key.is_file() {
            return Ok(key);
        }
        let remedy = "name yours: --key FILE; `ssh-keygen -t ed25519` makes one";
        Err(Declined::new(format!("there is no key {}", key.display())).remedy(remedy))
    }
}

/// No more than it takes to see that it is too long.
fn read(file: &Path) -> io::Result<String> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(fs::File::open(file)?) };
    let mut text = String::new();
    source.take(LIMIT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(file: &Path, error: &io::Error) -> Declined {
    let remedy = "name the file that `ssh-keygen -Y sign` has written, or - for standard input";
    Declined::new(format!("cannot read the signature {}: {error}", file.display())).remedy(remedy)
}

fn sign(key: &Path, statement: &str) -> Result<String, Declined> {
    let mut signing = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        // Since standard input is the statement, it would look for a window to ask for a passphrase in.
        .env("SSH_ASKPASS_REQUIRE", "never")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| unsigned(format!("cannot run ssh-keygen: {error}"), "install openssh-client"))?;
    // Where it does not read to the end, it fails and says why.
    let _ = signing.stdin.take().map(|mut stdin| stdin.write_all(statement.as_bytes()));
    let output = signing.wait_with_output().map_err(|error| unsigned(error.to_string(), "try again"))?;
    match (output.status.success(), String::from_utf8(output.stdout)) {
        (true, Ok(signature)) => Ok(signature),
        _ => Err(unsigned(format!("ssh-keygen has not signed: {}", output.status), "it says why")),
    }
}

fn unsigned(cause: String, remedy: &str) -> Declined {
    Declined::new(cause).remedy(format!("{remedy}; or sign elsewhere: --statement, then --signature FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::Desk;

    #[test]
    fn ssh_keygen_signs_with_the_key_that_is_named() {
        let desk = Desk::new("sign");
        let with = |key: &str| Signing { sign: true, key: Some(desk.path(key)), ..Signing::default() }.of("x\n");
        let signature = with("alice").unwrap().unwrap();
        assert!(desk.verifies("alice", "x\n", &signature));
        let declined = with("alice.pub.none").unwrap_err();
        assert!(declined.cause.starts_with("there is no key "), "{declined}");
        fs::write(desk.path("none"), "no key\n").unwrap();
        assert_eq!(with("none").unwrap_err().cause, "ssh-keygen has not signed: exit status: 255");
    }

    #[test]
    fn a_key_that_is_not_there_is_named_with_the_remedy() {
        let signing = Signing { sign: true, key: Some("/nowhere/id_ed25519".into()), ..Signing::default() };
        let declined = signing.of("x").unwrap_err();
        assert_eq!(declined.cause, "there is no key /nowhere/id_ed25519");
        assert!(declined.remedy.unwrap().contains("--key FILE"));
    }

    #[test]
    fn a_signature_that_is_not_there_is_named_and_a_long_one_is_not_read_to_its_end() {
        let signature = |file: &str| Signing { signature: Some(file.into()), ..Signing::default() }.of("x");
        assert!(
            signature("/nowhere/x.sig").unwrap_err().cause.starts_with("cannot read the signature /nowhere/x.sig: ")
        );
        assert_eq!(read(Path::new("/dev/zero")).unwrap().len(), LIMIT + 1);
    }

    #[test]
    fn an_answer_that_is_not_to_be_signed_is_not() {
        assert_eq!(Signing::default().of("x"), Ok(None));
    }
}
