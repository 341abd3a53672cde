//! What the agent tells the kernel about one hold: written once, looked up when the call is executed again.

/// What becomes of a hold. An answer is not a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Decision {
    /// The call goes on.
    Approve = 1,
    /// The call fails with `EPERM`; the process lives.
    Fail = 2,
    /// The process is killed; the call never happens.
    Kill = 3,
    /// The hold is over without a decision on the operation: the same call again is a new request.
    Withdraw = 4,
}

impl TryFrom<u32> for Decision {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        match raw {
            1 => Ok(Self::Approve),
            2 => Ok(Self::Fail),
            3 => Ok(Self::Kill),
            4 => Ok(Self::Withdraw),
            other => Err(other),
        }
    }
}

/// Bytes of a digest: SHA-256.
pub const DIGEST_BYTES: usize = 32;

/// The record in the decision map, keyed by hold id.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DecisionRecord {
    /// A [`Decision`]; anything else counts as [`Decision::Kill`].
    pub decision: u32,
    /// Always zero.
    pub reserved: u32,
    /// Digest of what was decided about: what reviewers were shown, and what the record says.
    pub digest: [u8; DIGEST_BYTES],
}
