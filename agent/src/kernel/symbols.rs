//! Addresses of kernel variables, from `/proc/kallsyms`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use anyhow::{Context, Result, bail};
use holdpoint_common::layout::Symbols;

/// Finds every address of [`Symbols`] in the running kernel.
pub fn running_symbols() -> Result<Symbols> {
    let file = File::open("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    find(BufReader::new(file))
}

fn find(lines: impl BufRead) -> Result<Symbols> {
    let mut symbols = Symbols::default();
    for line in lines.lines() {
        let line = line.context("cannot read /proc/kallsyms")?;
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            continue; // A fourth word is a module's name.
        };
        let slot = match name {
            "page_offset_base" => &mut symbols.page_offset_base,
            "__pgtable_l5_enabled" => &mut symbols.five_levels,
            "init_net" => &mut symbols.init_net,
            _ => continue,
        };
        *slot = u64::from_str_radix(address, 16).with_context(|| format!("bad address of {name} in /proc/kallsyms"))?;
    }
    for (name, address) in [
        ("page_offset_base", symbols.page_offset_base),
        ("__pgtable_l5_enabled", symbols.five_levels),
        ("init_net", symbols.init_net),
    ] {
        if address == 0 {
            bail!(
                "the address of {name} is not in /proc/kallsyms: run as root, with kernel.kptr_restrict at most 1, \
                 on a kernel with CONFIG_KALLSYMS_ALL=y"
            );
        }
    }
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_address_is_an_error() {
        let hidden = "0000000000000000 D page_offset_base\n0000000000000000 D __pgtable_l5_enabled\n";
        assert!(find(hidden.as_bytes()).unwrap_err().to_string().contains("kptr_restrict"));
    }

    #[test]
    fn module_symbols_are_not_mistaken_for_the_kernels() {
        let text = "ff01 D page_offset_base\nff02 D __pgtable_l5_enabled\nff03 B init_net\nff04 d init_net\t[evil]\n";
        assert_eq!(find(text.as_bytes()).unwrap().init_net, 0xff03);
    }
}
