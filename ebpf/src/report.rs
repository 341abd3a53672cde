//! Telling the agent. What does not fit in the ring is lost and counted; no hold is lost with it.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use holdpoint_common::{
    event::{Bell, ExecReport, Kind, Reason, Report},
    request::Operation,
};

use crate::{
    decide::Judged,
    facts,
    kernel::increment,
    maps::{COUNTERS, EVENTS},
    strings,
};

/// Counts one more of `reason`.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        increment(counter);
    }
}

/// Something happened to hold or tree `id` of the current process.
#[inline(always)]
pub fn bell(kind: Kind, id: u64) {
    bell_of(kind, id, (bpf_get_current_pid_tgid() >> 32) as u32);
}

/// Likewise of process `tgid`.
#[inline(always)]
pub fn bell_of(kind: Kind, id: u64, tgid: u32) {
    let Some(mut entry) = EVENTS.reserve::<Bell>(0) else {
        return count(Reason::RingFull);
    };
    entry.write(Bell { kind: kind as u32, tgid, id });
    entry.submit(0);
}

/// A request is over: audited, denied, killed or refused; or it reads data with these labels. False if that could not be
/// told. What an exec was given is told as far as it can be read, and as there is room.
#[inline(always)]
pub fn request(kind: Kind, reason: u32, labels: u64, judged: &Judged) -> bool {
    if judged.operation == Operation::Exec
        && let Some(mut entry) = EVENTS.reserve::<ExecReport>(0)
    {
        let record = entry.as_mut_ptr();
        // SAFETY: the reserved record is this program's until it is submitted.
        unsafe {
            write(&raw mut (*record).report, kind, reason, labels, judged);
            strings::write(&raw mut (*record).strings, judged.request.bprm);
        }
        entry.submit(0);
        return true;
    }
    let Some(mut entry) = EVENTS.reserve::<Report>(0) else {
        count(Reason::RingFull);
        return false;
    };
    write(entry.as_mut_ptr(), kind, reason, labels, judged);
    entry.submit(0);
    true
}

#[inline(always)]
fn write(report: *mut Report, kind: Kind, reason: u32, labels: u64, judged: &Judged) {
    // SAFETY: the callers' record is theirs until they submit it.
    unsafe {
        (*report).kind = kind as u32;
        (*report).reason = reason;
        (*report).labels = labels;
        facts::write(&raw mut (*report).facts, judged);
    }
}
