//! `escalate` and `remind`: what follows while nobody decides.

use std::{ops::RangeInclusive, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{Names, reviewers, rule::duration};
use crate::{
    ladder::{Escalation, STEPS},
    policy::{
        problem::{Flaw, Problem},
        section::Section,
    },
    request::span_of,
};

/// Keys of a step.
pub const ESCALATION_KEYS: [&str; 2] = ["after", "reviewers"];
const AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// More often than that, nobody looks any more.
const REMIND: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24);

/// Who else is asked of a hold that waits as long as `patience`; none if something is wrong with it.
pub fn read(
    section: &Section<'_>,
    names: &Names,
    patience: Duration,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Escalation>> {
    let Some((span, _)) = section.entry("escalate") else { return Some(vec![]) };
    let elements = section.list("escalate", problems)?;
    let before = problems.len();
    if elements.len() > STEPS {
        let message = format!("escalate has {} steps", elements.len());
        problems.push(Problem::new(span, message, format!("at most {STEPS}")));
    }
    let mut steps: Vec<Escalation> = vec![];
    for element in elements {
        let earlier = steps.last().map_or(Duration::ZERO, |step| step.after);
        steps.extend(step(element, names, earlier, patience, problems));
    }
    (problems.len() == before).then_some(steps)
}

fn step(
    value: &Spanned<DeValue<'_>>,
    names: &Names,
    earlier: Duration,
    patience: Duration,
    problems: &mut Vec<Problem>,
) -> Option<Escalation> {
    let section = Section::of("escalate", value, &ESCALATION_KEYS, problems)?;
    let reviewers = reviewers::asked(&section, names, problems);
    let text = section.required("after", "add after = \"5m\": how long nobody has decided", problems)?;
    match duration(text.get_ref(), &AFTER).and_then(|after| between(after, earlier, patience)) {
        Ok(after) => Some(Escalation { after, reviewers: reviewers? }),
        Err(flaw) => {
            problems.push(flaw.at(text.span()));
            None
        }
    }
}

fn between(after: Duration, earlier: Duration, patience: Duration) -> Result<Duration, Flaw> {
    if after >= patience {
        return Err(never(patience));
    }
    if after <= earlier {
        let message = "this step is not later than the one before it";
        return Err(Flaw::new(message, "write the steps in their order; those of one time are one: { a = 1, b = 1 }"));
    }
    Ok(after)
}

/// How often those who are asked of such a hold are reminded.
pub fn remind(text: &str, patience: Duration) -> Result<Duration, Flaw> {
    let every = duration(text, &REMIND)?;
    if every < patience { Ok(every) } else { Err(never(patience)) }
}

fn never(patience: Duration) -> Flaw {
    let message = format!("the hold is over by then: its timeout is {}", span_of(patience));
    Flaw::new(message, "write less, or a longer timeout")
}
