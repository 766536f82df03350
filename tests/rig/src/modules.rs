//! Kernel modules: found in an unpacked tree, decompressed, in an order in which they can be loaded.
//!
//! What a module needs is written in the module itself (`depends=` in `.modinfo`), so that no `depmod` is needed.

use crate::{
    error::{Error, FileContext, Result},
    tools::Tools,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// One module of a kernel, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The `.ko` file.
    pub path: PathBuf,
    /// The names of the modules that must be loaded before it.
    pub depends: Vec<String>,
}

/// The file that lists the modules of a directory in load order, a line each: file name, name, dependencies.
const LIST: &str = "modules.list";

/// Copies `wanted` modules with all that they need from the tree of a kernel to `into`, and writes the list.
///
/// What is built into the kernel, or not there at all in its version, is left out; `required` must be one or the other.
pub(crate) fn collect(
    tools: &Tools,
    tree: &Path,
    wanted: &[&str],
    required: &[&str],
    into: &Path,
) -> Result<()> {
    fs::create_dir_all(into).file("create", into)?;
    let mut collector =
        Collector { tools, files: BTreeMap::new(), done: BTreeSet::new(), list: String::new(), into };
    find(&tree.join("kernel"), &mut collector.files)?;
    for name in wanted {
        collector.add(name)?;
    }
    let builtin = tree.join("modules.builtin");
    let builtin = fs::read_to_string(&builtin).file("read", &builtin)?;
    let builtin: BTreeSet<_> = builtin.lines().map(|line| module_name(Path::new(line))).collect();
    if let Some(missing) =
        required.iter().find(|name| !collector.done.contains(**name) && !builtin.contains(**name))
    {
        return Err(Error::new(
            format!("the kernel in {} cannot be used", tree.display()),
            format!("it has no module `{missing}`, and it is not built in"),
            "tell the project: the distribution's kernel has changed",
        ));
    }
    let path = into.join(LIST);
    fs::write(&path, collector.list).file("write", &path)
}

/// Reads the list that [`collect`] wrote.
pub(crate) fn read(dir: &Path) -> Result<Vec<Module>> {
    let list = dir.join(LIST);
    let list = fs::read_to_string(&list).file("read", &list)?;
    Ok(list
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let path = dir.join(words.next()?);
            Some(Module { path, name: words.next()?.to_owned(), depends: words.map(str::to_owned).collect() })
        })
        .collect())
}

/// The `wanted` modules and all that they need, in load order.
pub(crate) fn closure<'a>(modules: &'a [Module], wanted: &[&str]) -> Vec<&'a Module> {
    let mut names: BTreeSet<&str> = wanted.iter().copied().collect();
    // Dependencies come first in the list, so one walk from the end finds them all.
    for module in modules.iter().rev() {
        if names.contains(module.name.as_str()) {
            names.extend(module.depends.iter().map(String::as_str));
        }
    }
    modules.iter().filter(|module| names.contains(module.name.as_str())).collect()
}

struct Collector<'a> {
    tools: &'a Tools,
    files: BTreeMap<String, PathBuf>,
    done: BTreeSet<String>,
    list: String,
    into: &'a Path,
}

impl Collector<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        let Some(file) = self.files.get(name).cloned() else { return Ok(()) };
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let bytes = self.tools.read_compressed(&file)?;
        let depends = depends(&bytes);
        for needed in &depends {
            self.add(needed)?;
        }
        let target = format!("{name}.ko");
        let path = self.into.join(&target);
        fs::write(&path, bytes).file("write", &path)?;
        self.list.push_str(&format!("{target} {name}"));
        for needed in depends.iter().filter(|needed| self.files.contains_key(*needed)) {
            self.list.push(' ');
            self.list.push_str(needed);
        }
        self.list.push('\n');
        Ok(())
    }
}

/// The names after `depends=` in a module's `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// `kernel/net/vmw_vsock/vsock-x.ko.xz` is called `vsock_x`.
fn module_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().replace('-', "_")).unwrap_or_default();
    name.split(".ko").next().unwrap_or_default().to_owned()
}

fn find(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).file("read", dir)? {
        let path = entry.file("read", dir)?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.insert(module_name(&path), path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str]) -> Module {
        Module {
            name: name.into(),
            path: name.into(),
            depends: depends.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(depends(b"\x7fELF\0license=GPL\0depends=vsock,a-b\0name=x\0"), ["vsock", "a_b"]);
        assert_eq!(depends(b"\0depends=\0name=x\0"), [""; 0]);
        assert_eq!(depends(b"no modinfo"), [""; 0]);
    }

    #[test]
    fn names_have_underscores() {
        assert_eq!(module_name(Path::new("kernel/drivers/virtio-rng.ko.xz")), "virtio_rng");
    }

    #[test]
    fn a_closure_keeps_the_order_and_nothing_else() {
        let all = [module("a", &[]), module("b", &["a"]), module("other", &[]), module("c", &["b"])];
        let names: Vec<_> = closure(&all, &["c"]).iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
