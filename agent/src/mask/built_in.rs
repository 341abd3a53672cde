//! The masks that every policy has. What is known by its look alone is by a prefix that its issuer has given it; what
//! only looks random (hashes, digests of images, identifiers) is shown.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use serde::Serialize;

use super::Looks;

/// Built-in masks, as a policy calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltIn {
    /// What options, variables and fields are set to whose name says that it is a secret.
    Names,
    /// The password of an address.
    Addresses,
    /// What a header authorizes with.
    Headers,
    /// Tokens and keys that are known by their look.
    Tokens,
}

impl BuiltIn {
    /// All.
    pub const ALL: [Self; 4] = [Self::Names, Self::Addresses, Self::Headers, Self::Tokens];

    /// Its word in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Addresses => "addresses",
            Self::Headers => "headers",
            Self::Tokens => "tokens",
        }
    }
}

/// What names are made of.
const NAME: &str = "[A-Za-z0-9_.-]";
/// A name that says that it is a secret's. Not `secret-id` or `token-type`, and not `tokens`, which are counted.
const OF_SECRET: &str = "(?:[A-Za-z0-9_.-]*(?:password|passwd|passphrase|token|secret|(?:api|access|secret|auth)[-_.]?key)\
                         |[A-Za-z0-9_.-]*(?:[-_.]|db|my|pg|sql)(?:pass|pwd))";
/// Part of a word: without what stands between two settings, and between an address's parts.
const VALUE: &str = "[A-Za-z0-9+/=_.~!%^*-]";

/// `ghp_...`: https://github.blog/changelog/2021-03-31-authentication-token-format-updates-are-generally-available/.
/// `glpat-...`, `gldt-...`: https://gitlab.com/gitlab-org/gitlab/-/issues/335991, merge request 138438 there. `AKIA...`,
/// `sk-ant-...`: https://github.com/gitleaks/gitleaks (config/gitleaks.toml). JSON Web Tokens: RFC 7519, RFC 7515 7.1.
/// The others are by the prefixes that such tokens are commonly seen with, and take more than their issuers may give.
const TOKENS: [&str; 15] = [
    r"gh[pousr]_[A-Za-z0-9]{20,}",
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"gl(?:pat|rt|ptt|dt|soat|cbt|ft|imt|agent)-[A-Za-z0-9_.-]{16,}",
    r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}",
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
    r"AIza[A-Za-z0-9_-]{30,}",
    r"ya29\.[A-Za-z0-9_.-]{20,}",
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    r"sk-(?:(?:proj|svcacct|admin|ant-[a-z0-9]+|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"(?:npm_|hf_|dop_v1_|shpat_)[A-Za-z0-9]{30,}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"hv[sb]\.[A-Za-z0-9_-]{20,}",
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",
];

/// All, in the order in which they are put on.
static LOOKS: LazyLock<Vec<(BuiltIn, Looks)>> = LazyLock::new(|| {
    let [names, word] = named(&format!("(?i:{OF_SECRET})"));
    // Of a field whose value is in quotes, these say where it ends; of others, prose also has a colon.
    let field = format!(r#"(?i:{OF_SECRET})["'][ \t]?:[ \t]?["']({VALUE}+)["']"#);
    // At least four characters, one of them a digit. Without bounds, which would take a thousand times the work.
    let letter = VALUE.replace("0-9", "");
    let header = format!(r"(?i:{OF_SECRET})[ \t]?:[ \t]?({letter}*[0-9]{VALUE}{{3,}}|{letter}{{3,}}[0-9]{VALUE}*)");
    // RFC 7617, RFC 6750 and others that are in use. What follows a blank after `=` is a command to a shell.
    let schemes = "(?i:basic|bearer|digest|negotiate|ntlm|token|apikey|api-key|key)";
    let authorization =
        format!(r#"(?i:authorization)(?:["']?[ \t]?:[ \t]?["']?(?:{schemes}[ \t])?({VALUE}+)|["']?=["']?({VALUE}+))"#);
    let bearer = r"(?:^|:[ \t])(?i:bearer)[ \t]([A-Za-z0-9+/=_.~-]{20,})".to_owned();
    // RFC 3986 3.2.1: no @, : or / that is not encoded.
    let address = r#"(?i:[a-z][a-z0-9+.-]*)://[^\s/?#@:"'\\]*:([A-Za-z0-9._~%!*+=^-]+)@"#.to_owned();
    let hook =
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Z0-9]+/[A-Za-z0-9]+/([A-Za-z0-9]{16,})".to_owned();
    let known = [
        (BuiltIn::Names, names),
        (BuiltIn::Names, word),
        (BuiltIn::Names, field),
        (BuiltIn::Names, header),
        (BuiltIn::Addresses, address),
        (BuiltIn::Headers, authorization),
        (BuiltIn::Headers, bearer),
        (BuiltIn::Tokens, hook),
        (BuiltIn::Tokens, format!(r"(?-u:\b)(?:{})", TOKENS.join("|"))),
    ];
    known.into_iter().map(|(kind, text)| (kind, Looks(Regex::new(&text).expect("a regular expression")))).collect()
});

/// An option that announces a secret as the next word.
static ANNOUNCES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("^--?(?i:{OF_SECRET})$")).expect("a regular expression"));
/// An option that does something about secrets, and is given none: `--no-password`, `--ask-pass`.
static SWITCH: LazyLock<Regex> = LazyLock::new(|| {
    let verbs = "no|ask|prompt|skip|show|with|without|require|enable|disable|use|force|generate|create|list|get|delete";
    Regex::new(&format!("^--?(?i:(?:{verbs})-)")).expect("a regular expression")
});

/// What sets a variable, or names a file that is read or written: a shell runs what follows.
static SETS: LazyLock<Regex> = LazyLock::new(|| {
    let set = r#"[<>]|\]\+?=|(?:^|[^A-Za-z0-9_.?%/-])[A-Za-z_][A-Za-z0-9_]*\+?="#;
    Regex::new(set).expect("a regular expression")
});

/// The built-in ones but for those that are `off`.
pub fn looks(off: &[BuiltIn]) -> impl Iterator<Item = Looks> {
    LOOKS.iter().filter(|(kind, _)| !off.contains(kind)).map(|(_, looks)| looks.clone())
}

/// What variables of this name, in which `*` is anything, are set to.
pub fn variable(name: &str) -> [Looks; 2] {
    let name = name.split('*').map(regex::escape).collect::<Vec<_>>().join(&format!("{NAME}*"));
    named(&name).map(|text| Looks(Regex::new(&text).expect("an escaped name")))
}

/// Whether a secret must follow.
pub fn announces(word: &str) -> bool {
    ANNOUNCES.is_match(word) && !SWITCH.is_match(word)
}

/// Whether `text` sets a variable or names a file to be read or written, as a shell understands it.
pub fn sets(text: &str) -> bool {
    SETS.is_match(text)
}

/// The lines of private keys (RFC 7468: 64 characters; OpenSSH: 70), each a piece of its own: the line breaks are
/// shown, since commands can stand in lines, too.
pub fn key_lines(text: &str) -> Vec<Range<usize>> {
    const HEAD: &str = "PRIVATE KEY-----";
    /// A shorter line is the last one, follows a longer one, and looks random: no command.
    const LINE: usize = 32;
    fn next_line(text: &str) -> &str {
        text.trim_start_matches(['\r', '\n', ' ']).trim_start_matches("\\n")
    }
    let mut lines = Vec::new();
    for (at, _) in text.match_indices(HEAD) {
        let (mut from, before) = (at + HEAD.len(), lines.len());
        loop {
            let rest = next_line(&text[from..]);
            from = text.len() - rest.len();
            let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
            let is_last = next_line(&rest[length..]).starts_with("-----END");
            let is_short = is_last && lines.len() > before && super::is_mixed(&rest.as_bytes()[..length]);
            if length == 0 || length < LINE && !is_short {
                break;
            }
            lines.push(from..from + length);
            from += length;
        }
    }
    lines
}

/// What something of this name is set to, `--name=x`, `NAME=x`, `?name=x`, `"name"="x"`: part of a word, or all the rest
/// of it, as it would be of a next one.
fn named(name: &str) -> [String; 2] {
    [
        format!(r#"(?:^|[^A-Za-z0-9_.-])-{{0,2}}{name}["']?=["']?({VALUE}+)"#),
        format!(r"^(?:--?[A-Za-z0-9_.-]+=)?-{{0,2}}{name}=(\S+)$"),
    ]
}
