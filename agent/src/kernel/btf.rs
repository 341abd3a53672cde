//! A small reader of the kernel's BTF (`Documentation/bpf/btf.rst`): where a member lies in a structure.
//!
//! rustc has no CO-RE relocations, so the agent finds the offsets itself and hands them to the programs. A member
//! that is missing is an error, never a guess.

use std::{collections::HashMap, fs, path::Path, sync::OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use holdpoint_common::layout::{ABSENT, Layout};

/// Where the kernel shows its own type information (5.4 and later, `CONFIG_DEBUG_INFO_BTF`).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;
const KIND_UNION: u32 = 5;
/// Kinds that only lead on to another type: typedef, volatile, const, restrict, type tag.
const TRANSPARENT: [u32; 5] = [8, 9, 10, 11, 18];
/// Deepest nesting of members and qualifiers that is followed.
const NESTING: usize = 16;

/// Finds every field of [`Layout`] in the running kernel.
pub fn running_layout() -> Result<Layout> {
    let bytes = fs::read(Path::new(VMLINUX)).with_context(|| {
        format!("cannot read {VMLINUX}: this kernel shows no BTF (it needs CONFIG_DEBUG_INFO_BTF=y)")
    })?;
    layout(&Btf::parse(&bytes)?)
}

fn layout(btf: &Btf<'_>) -> Result<Layout> {
    let mut offsets = [0; Layout::FIELDS];
    for (offset, (structure, members)) in offsets.iter_mut().zip(Layout::MEMBERS) {
        let needed = members.trim_end_matches('?');
        *offset = needed
            .split('|')
            .find_map(|member| btf.offset(structure, member))
            .or((needed != members).then_some(ABSENT))
            .ok_or_else(|| anyhow!("this kernel's BTF has no member {structure}.{members}"))?;
    }
    Ok(Layout::from_offsets(offsets))
}

/// Number of parameters of the LSM hook `name`; none if the running kernel has no such hook.
pub fn parameters(name: &str) -> Result<Option<u32>> {
    /// Parsed once: it is some megabytes, and `status` asks each time.
    static HOOKS: OnceLock<HashMap<String, u32>> = OnceLock::new();
    let hooks = match HOOKS.get() {
        Some(hooks) => hooks,
        None => {
            let bytes = fs::read(VMLINUX).with_context(|| format!("cannot read {VMLINUX}"))?;
            let hooks = Btf::parse(&bytes)?.hooks();
            HOOKS.get_or_init(|| hooks)
        }
    };
    Ok(hooks.get(name).copied())
}

/// A parsed BTF blob.
struct Btf<'a> {
    strings: &'a [u8],
    /// Type `n` is `types[n - 1]`; 0 is void.
    types: Vec<Type>,
}

/// What is kept of one type.
struct Type {
    name: u32,
    kind: u32,
    /// The type it leads to, for the kinds in [`TRANSPARENT`] and functions.
    target: u32,
    /// Members, or parameters.
    count: u32,
    members: Vec<Member>,
}

#[derive(Clone, Copy)]
struct Member {
    name: u32,
    kind: u32,
    bits: u32,
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let head = Reader { bytes, at: 0 };
        if head.u16_at(0)? != MAGIC {
            bail!("not BTF in this machine's byte order");
        }
        let start = head.u32_at(4)? as usize;
        let part = |offset: usize| -> Result<&'a [u8]> {
            let from = start + head.u32_at(offset)? as usize;
            bytes.get(from..from + head.u32_at(offset + 4)? as usize).context("a section reaches past the end")
        };
        let mut reader = Reader { bytes: part(8)?, at: 0 };
        let mut types = Vec::new();
        while reader.at < reader.bytes.len() {
            types.push(reader.next_type()?);
        }
        Ok(Self { strings: part(16)?, types })
    }

    /// Byte offset of `path` (members joined by dots) in structure `name`.
    fn offset(&self, name: &str, path: &str) -> Option<u32> {
        let found = |kind: &&Type| {
            kind.kind == KIND_STRUCT && !kind.members.is_empty() && self.name(kind.name) == name.as_bytes()
        };
        let mut within = self.types.iter().find(found)?;
        let mut bits = 0;
        for member in path.split('.') {
            let (at, kind) = self.member(within, member.as_bytes(), NESTING)?;
            bits += at;
            within = self.resolve(kind).unwrap_or(within);
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The LSM hooks, with their numbers of parameters.
    fn hooks(&self) -> HashMap<String, u32> {
        let functions = self.types.iter().filter(|kind| kind.kind == KIND_FUNC);
        let hooks = functions.filter_map(|function| {
            let name = str::from_utf8(self.name(function.name)).ok()?.strip_prefix("bpf_lsm_")?;
            let prototype = self.types.get((function.target as usize).checked_sub(1)?)?;
            Some((name.to_owned(), prototype.count))
        });
        hooks.collect()
    }

    /// Bit offset and type of `wanted` in `within`, through anonymous members too.
    fn member(&self, within: &Type, wanted: &[u8], depth: usize) -> Option<(u32, u32)> {
        within.members.iter().find_map(|member| {
            if self.name(member.name) == wanted {
                return Some((member.bits, member.kind));
            }
            let inner = (member.name == 0 && depth > 0).then(|| self.resolve(member.kind)).flatten()?;
            self.member(inner, wanted, depth - 1).map(|(bits, kind)| (member.bits + bits, kind))
        })
    }

    /// The structure or union behind qualifiers and typedefs.
    fn resolve(&self, mut id: u32) -> Option<&Type> {
        for _ in 0..NESTING {
            let kind = self.types.get((id as usize).checked_sub(1)?)?;
            if !TRANSPARENT.contains(&kind.kind) {
                return matches!(kind.kind, KIND_STRUCT | KIND_UNION).then_some(kind);
            }
            id = kind.target;
        }
        None
    }

    fn name(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16_at(&self, at: usize) -> Result<u16> {
        let bytes = self.bytes.get(at..at + 2).context("BTF ends early")?;
        Ok(u16::from_ne_bytes(bytes.try_into()?))
    }

    fn u32_at(&self, at: usize) -> Result<u32> {
        let bytes = self.bytes.get(at..at + 4).context("BTF ends early")?;
        Ok(u32::from_ne_bytes(bytes.try_into()?))
    }

    fn next(&mut self) -> Result<u32> {
        let word = self.u32_at(self.at)?;
        self.at += 4;
        Ok(word)
    }

    fn next_type(&mut self) -> Result<Type> {
        let (name, info, target) = (self.next()?, self.next()?, self.next()?);
        let (count, kind) = ((info & 0xffff) as usize, info >> 24 & 0x1f);
        let mut members = Vec::new();
        if matches!(kind, KIND_STRUCT | KIND_UNION) {
            // With the kind flag the upper eight bits of an offset are the size of a bit field.
            let mask = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
            for _ in 0..count {
                members.push(Member { name: self.next()?, kind: self.next()?, bits: self.next()? & mask });
            }
        } else {
            self.at += 4 * trailing_words(kind, count)?;
        }
        Ok(Type { name, kind, target, count: u32::try_from(count)?, members })
    }
}

/// Words that follow a type's head, for the kinds whose content is not needed.
fn trailing_words(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        2 | 7..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 1,
        3 => 3,
        6 | 13 => 2 * count,
        15 | 19 => 3 * count,
        other => bail!("unknown BTF kind {other}: this kernel is newer than this reader"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_in_the_running_kernel() {
        if !Path::new(VMLINUX).exists() {
            // A container without /sys; the virtual machine always has it.
            return;
        }
        let layout = running_layout().unwrap();
        assert_eq!(layout.regs_orig_ax, 120, "pt_regs is user-visible ABI on x86-64");
        assert_ne!(layout.dentry_parent, layout.dentry_name);
    }

    #[test]
    fn what_is_not_btf_is_refused() {
        assert!(Btf::parse(b"\x7fELF").is_err());
        assert!(Btf::parse(&[]).is_err());
    }
}
