//! What a reviewer approves, in one number.

use holdpoint_common::decision::DIGEST_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{HoldId, Request, hexadecimal};

/// SHA-256 over the canonical description of a held operation, in hexadecimal: what a reviewer approves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    /// The digest of `id` asking for `request`: the JSON of both, keys sorted.
    ///
    /// `at` is left out: every start of the agent converts it anew from the kernel's clock, and a hold keeps
    /// its digest over a restart. So are `names`, which are forgotten. `id` is random and used once, so no two holds share a digest.
    pub fn of(id: HoldId, request: &Request) -> Self {
        Self(hashed((id, without(request, &["at", "names"]))))
    }

    /// As the kernel keeps it with the decision.
    pub fn bytes(&self) -> [u8; DIGEST_BYTES] {
        let byte = |at: usize| self.0.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        std::array::from_fn(|at| byte(at).unwrap_or_default())
    }
}

/// What `data` is as JSON, without these fields.
pub fn without(data: &impl Serialize, fields: &[&str]) -> Value {
    let mut value = serde_json::to_value(data).expect("plain data always serialises");
    if let Some(object) = value.as_object_mut() {
        fields.iter().for_each(|field| drop(object.remove(*field)));
    }
    value
}

/// SHA-256 over the JSON of plain data, keys sorted, in hexadecimal.
pub fn hashed(data: impl Serialize) -> String {
    let mut value = serde_json::to_value(data).expect("plain data always serialises");
    value.sort_all_objects();
    hexadecimal(&Sha256::digest(value.to_string()))
}

#[cfg(test)]
mod tests {
    use holdpoint_common::request::Stamps;

    use super::*;
    use crate::request::{Object, Operation, sample};

    const ID: HoldId = HoldId(7);

    #[test]
    fn the_digest_is_the_same_after_a_restart_and_of_nothing_else() {
        let request = sample::hold(ID).request;
        let restarted = Request { at: request.at + jiff::SignedDuration::from_nanos(1), ..request.clone() };
        assert_eq!(Digest::of(ID, &request), Digest::of(ID, &restarted));
        assert_ne!(Digest::of(ID, &request), Digest::of(HoldId(8), &request));
        assert_ne!(Digest::of(ID, &request), Digest::of(ID, &Request { uid: 0, ..request.clone() }));
    }

    #[test]
    fn the_digest_is_of_all_that_the_kernel_compares() {
        let stamps = Stamps { size: 1, version: 2, modified: 3, changed: 4, modified_fraction: 5, changed_fraction: 6 };
        let digest = |stamps: Stamps, inode| {
            let what = Operation::Exec {
                path: "/x".into(),
                check: false,
                filename: "x".into(),
                argv: vec![],
                cut: false,
                masked: 0,
                object: Object { device: 1, inode },
                directory: Object { device: 1, inode: 3 },
                content: Some((&stamps).into()),
            };
            Digest::of(ID, &Request { what, ..sample::hold(ID).request })
        };
        let changed = [
            digest(Stamps { size: 0, ..stamps }, 1),
            digest(Stamps { version: 0, ..stamps }, 1),
            digest(Stamps { modified: 0, ..stamps }, 1),
            digest(Stamps { changed: 0, ..stamps }, 1),
            digest(Stamps { modified_fraction: 0, ..stamps }, 1),
            digest(Stamps { changed_fraction: 0, ..stamps }, 1),
            digest(Stamps { modified: i64::MAX, ..stamps }, 1),
            digest(stamps, 2),
        ];
        assert!(!changed.contains(&digest(stamps, 1)));
    }

    #[test]
    fn the_kernel_keeps_the_digest_byte_for_byte() {
        let digest = sample::hold(ID).digest;
        assert_eq!(hexadecimal(&digest.bytes()), digest.0);
    }
}
