//! Which kernel modules must be loaded, and in what order, for some of them to work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What depmod found out about the modules of one kernel.
pub struct ModuleIndex {
    /// Name of a module to its file and the files that it needs, the ones to load first last.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl ModuleIndex {
    /// Reads `modules.dep` and `modules.builtin` of a module tree.
    pub fn read(tree: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = tree.join(name);
            fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        Self::parse(&read("modules.dep")?, &read("modules.builtin")?)
    }

    fn parse(dependencies: &str, builtin: &str) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for line in dependencies.lines() {
            let (file, needs) = line.split_once(':').with_context(|| format!("modules.dep: no colon in {line:?}"))?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            modules.insert(name(file), (file.to_owned(), needs));
        }
        Ok(Self { modules, builtin: builtin.lines().map(name).collect() })
    }

    /// The files of the modules `wanted` and of all that they need, each once and after what it needs.
    pub fn in_order_of_loading(&self, wanted: &[&str]) -> Result<Vec<String>> {
        let mut ordered: Vec<String> = Vec::new();
        for wanted in wanted {
            match self.modules.get(*wanted) {
                Some((file, needs)) => {
                    for file in needs.iter().rev().chain([file]) {
                        if !ordered.contains(file) {
                            ordered.push(file.clone());
                        }
                    }
                }
                None if self.builtin.contains(*wanted) => {}
                None => bail!("the kernel has no module {wanted}"),
            }
        }
        Ok(ordered)
    }
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`; `-` and `_` are the same to the kernel.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n\
                                kernel/fs/jbd2/jbd2.ko.xz:\n\
                                kernel/lib/crc16.ko.xz:\n\
                                kernel/net/9p/9pnet-virtio.ko: kernel/net/9p/9pnet.ko kernel/lib/crc16.ko.xz\n";

    fn index() -> ModuleIndex {
        ModuleIndex::parse(DEPENDENCIES, "kernel/drivers/virtio/virtio_pci.ko\n").unwrap()
    }

    #[test]
    fn a_module_comes_after_what_it_needs_and_only_once() {
        let order = index().in_order_of_loading(&["ext4", "9pnet_virtio", "ext4"]).unwrap();
        let names: Vec<_> = order.iter().map(|file| name(file)).collect();
        assert_eq!(names, ["crc16", "jbd2", "ext4", "9pnet", "9pnet_virtio"]);
    }

    #[test]
    fn what_is_built_in_needs_no_loading() {
        assert!(index().in_order_of_loading(&["virtio_pci"]).unwrap().is_empty());
    }

    #[test]
    fn an_unknown_module_is_an_error() {
        assert!(index().in_order_of_loading(&["ext5"]).is_err());
    }
}
