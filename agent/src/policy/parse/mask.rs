//! `[[mask]]`.

use super::{plain, tables};
use crate::{
    mask::{BuiltIn, Looks, Masks, Said},
    policy::{
        problem::{Flaw, Problem},
        section::Section,
    },
};

/// Keys of the table.
pub const MASK_KEYS: [&str; 4] = ["after", "variable", "text", "off"];

/// Most regular expressions of a policy: each is looked for in each word that is shown.
const LOOKS: usize = 64;
/// Fewest characters of a variable's name besides `*`.
const LEAST: usize = 3;
/// What nobody takes for a secret, and reviewers have to see.
const ORDINARY: [&str; 8] = ["rm", "push", "install", "origin", "main", "customers", "example.com", "10.0.0.1"];

/// All masks of the policy, and those that are built in.
pub fn read_all(top: &Section<'_>, problems: &mut Vec<Problem>) -> Masks {
    let mut all = Said::default();
    for value in tables(top, "mask", problems) {
        let Some(section) = Section::of("[[mask]]", value, &MASK_KEYS, problems) else { continue };
        if MASK_KEYS.iter().all(|key| section.entry(key).is_none()) {
            let remedy = "add after, variable, text or off, or remove it";
            problems.push(Problem::new(section.span.clone(), "[[mask]] does not say what is masked", remedy));
        }
        all.after.extend(plain(section.texts("after", problems, option)));
        all.variable.extend(plain(section.texts("variable", problems, variable)));
        all.text.extend(plain(section.texts("text", problems, looks)));
        all.off.extend(plain(section.texts("off", problems, built_in)));
        if all.text.len() > LOOKS {
            let message = format!("the policy has more than {LOOKS} masks by text");
            problems.push(Problem::new(section.span.clone(), message, "join some: a|b"));
            all.text.truncate(LOOKS);
        }
    }
    Masks::new(all)
}

fn option(text: &str) -> Result<String, Flaw> {
    match text.starts_with('-') && text.len() > 1 && !text.contains(|sign: char| sign.is_whitespace() || sign == '=') {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{text:?} is not an option"),
            "write it as it is given, without its value: \"--access-code\", \"-p\"",
        )),
    }
}

fn variable(text: &str) -> Result<String, Flaw> {
    let good = |sign: char| sign.is_ascii_alphanumeric() || "_.-*".contains(sign);
    if !text.chars().all(good) {
        return Err(Flaw::new(
            format!("{text:?} is not the name of a variable"),
            "letters, digits, _, . and -, and * for any of them: \"DB_CODE\", \"*_PIN\"",
        ));
    }
    match text.chars().filter(|sign| *sign != '*').count() >= LEAST {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{text:?} is the name of too much"),
            format!("at least {LEAST} characters besides *: reviewers have to see what is no secret"),
        )),
    }
}

fn looks(text: &str) -> Result<Looks, Flaw> {
    let looks = Looks::parse(text).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            Flaw::new("the regular expression is too large", "repeat less: {20,} instead of {20,200}")
        }
        error => {
            let cause = error.to_string();
            let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Flaw::new(format!("not a regular expression: {cause}"), "write it as https://docs.rs/regex has it")
        }
    })?;
    if looks.is_everything() {
        return Err(Flaw::new("this also matches nothing at all", "say what is there in any case: {20,} instead of *"));
    }
    match ORDINARY.iter().find(|word| looks.covers(word)) {
        None => Ok(looks),
        Some(word) => Err(Flaw::new(
            format!("this also hides {word:?}"),
            "say how the secret begins, what stands before it, or how long it is at least: reviewers have to see the rest",
        )),
    }
}

fn built_in(text: &str) -> Result<BuiltIn, Flaw> {
    BuiltIn::ALL.into_iter().find(|known| known.word() == text).ok_or_else(|| {
        let known = BuiltIn::ALL.map(BuiltIn::word).join(", ");
        Flaw::new(format!("no mask is built in as {text:?}"), format!("one of: {known}"))
    })
}
