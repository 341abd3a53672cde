//! What goes into the state machine and what comes out of it.

use std::sync::Arc;

use holdpoint_common::decision::Decision;

use super::{
    Crowd,
    grants::{Ending, Grant},
};
use crate::{
    record::{Entry, Recorded},
    request::{Answer, Hold, HoldId, Outcome, Refusal, Standing, Withdrawal},
};

/// Whom the result of an answer goes to: chosen by the caller, handed back in [`Effect::Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The kernel's pending map has this hold. Repeating it is harmless, and mends what a crash left undone.
    Held {
        /// The hold.
        hold: Box<Hold>,
        /// The decision that stands for it in the kernel.
        kernel: Option<Decision>,
        /// Whether the kernel has let the held call through.
        passed: bool,
        /// The decision that the record has of it, made by an agent before this one.
        recorded: Option<Recorded>,
    },
    /// A reviewer said something.
    Answered {
        /// What, and who.
        answer: Answer,
        /// Who waits for the result.
        ticket: Ticket,
    },
    /// Time has passed.
    Tick,
    /// The line that decides this hold is on disk.
    Recorded(HoldId),
    /// It could not be written.
    RecordFailed(HoldId),
    /// The held call is no more.
    Gone(HoldId, Withdrawal),
    /// The kernel let the held call through.
    Passed(HoldId),
    /// The kernel refused the held call as decided.
    Refused(HoldId),
    /// The granted call is over, or the thread made another call instead of the held one.
    Left(HoldId),
    /// Another policy is in force.
    PolicyChanged,
    /// This grant ends. Of [`Ending::Time`] the machine knows by itself.
    GrantOver(HoldId, Ending),
    /// Enforcement is about to end: whatever is pending, and whatever still comes, is denied.
    Close,
    /// Enforcement goes on after all.
    Reopen,
}

/// Something to do. Effects are carried out in the order in which they were handed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the channels of the hold's reviewers.
    Ask(Box<Hold>),
    /// Append this line. If it decides a hold ([`Entry::decides`]), say [`Input::Recorded`] or
    /// [`Input::RecordFailed`]: nothing follows from the decision before that.
    Record(Entry),
    /// Show that a hold waits behind another one, about which reviewers are asked.
    Join(Box<Hold>),
    /// Tell the tree, and nobody else, that a hold is over about which nobody was asked.
    TellTree {
        /// The hold.
        hold: Box<Hold>,
        /// How it ended.
        standing: Standing,
        /// Why nobody was, where that is not since a grant covered it.
        crowd: Option<Crowd>,
    },
    /// Ask those whose turn it is now, the last of [`Hold::asked`]; of a hold that waits behind another one, they may answer.
    Escalate(Box<Hold>),
    /// Say once more that the hold waits.
    Remind {
        /// The hold.
        hold: Box<Hold>,
        /// How many reminders there have been, with this one.
        number: u32,
    },
    /// Show who has approved so far, and that others must.
    Counted {
        /// The hold.
        hold: Box<Hold>,
        /// Whose approvals are missing: [`crate::quorum::phrase`].
        missing: String,
    },
    /// Write the decision for the kernel to find, over an approval if there is one (a withdrawal can follow
    /// it), then wake the process.
    Decide {
        /// The hold.
        hold: HoldId,
        /// What becomes of it.
        decision: Decision,
    },
    /// Wake the process: the decision is in place.
    Wake(HoldId),
    /// Tell the sender of an answer what came of it.
    Reply {
        /// Who waits.
        ticket: Ticket,
        /// What came of it.
        result: Result<Outcome, Refusal>,
    },
    /// Tell reviewers who were asked, and the waiting `holdpoint run`, that the hold is over.
    Tell {
        /// The hold.
        hold: Box<Hold>,
        /// How it ended.
        standing: Standing,
    },
    /// Show these grants, which are all that there are.
    Grants(Vec<Arc<Grant>>),
    /// Drop what the kernel maps still have under this id.
    Forget(HoldId),
}
