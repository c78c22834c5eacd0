//! The modules of a crate, read from its root on: where each is, what it declares, and what its code names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::names::{self, Import, is_test};

/// Where sources come from.
pub(super) trait Reader {
    /// The text of a file, if there is one.
    fn read(&mut self, path: &Path) -> Option<String>;
}

/// A crate, its tests left out.
#[derive(Debug)]
pub(super) struct Crate {
    /// The root first.
    pub(super) modules: Vec<Module>,
    pub(super) files: Vec<PathBuf>,
}

/// A module: a file, or a part of one.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The module that it is declared in; the root has none.
    pub(super) parent: Option<usize>,
    /// Which of the crate's files it stands in.
    pub(super) file: usize,
    pub(super) children: BTreeMap<String, usize>,
    /// What it defines itself.
    pub(super) defines: BTreeSet<String>,
    /// Its `use` declarations.
    pub(super) imports: Vec<Import>,
    /// The paths in its code, `use` declarations inside of functions among them.
    pub(super) paths: BTreeSet<Vec<String>>,
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub(super) fn read(root: &Path, reader: &mut impl Reader) -> Result<Self, String> {
        let mut tree = Crate { modules: Vec::new(), files: Vec::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.file(root, &folder, None, reader)?;
        Ok(tree)
    }

    /// Reads a file as a module, whose own modules are files in `folder`.
    fn file(
        &mut self,
        path: &Path,
        folder: &Path,
        parent: Option<usize>,
        reader: &mut impl Reader,
    ) -> Result<usize, String> {
        let text = reader.read(path).ok_or_else(|| format!("{}: cannot be read", path.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        self.files.push(path.to_owned());
        let file = self.files.len() - 1;
        self.module(&parsed.items, file, folder, parent, reader)
    }

    fn module(
        &mut self,
        items: &[syn::Item],
        file: usize,
        folder: &Path,
        parent: Option<usize>,
        reader: &mut impl Reader,
    ) -> Result<usize, String> {
        let id = self.modules.len();
        self.modules.push(Module { parent, file, ..Module::default() });
        for item in items.iter().filter(|item| !is_test(item)) {
            match item {
                syn::Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let inside = folder.join(&name);
                    let child = match &module.content {
                        Some((_, items)) => self.module(items, file, &inside, Some(id), reader)?,
                        None => {
                            let (own, nested) = (folder.join(format!("{name}.rs")), inside.join("mod.rs"));
                            let path = if reader.read(&nested).is_some() { nested } else { own };
                            self.file(&path, &inside, Some(id), reader)?
                        }
                    };
                    self.modules[id].children.insert(name, child);
                }
                syn::Item::Use(item) => self.modules[id].imports.extend(names::imports(item)),
                item => {
                    self.modules[id].defines.extend(names::defined(item));
                    self.modules[id].paths.extend(names::paths(item));
                }
            }
        }
        Ok(id)
    }

    /// Whether one of the modules is inside the other, and the outer one is not the crate's root.
    pub(super) fn are_nested(&self, a: usize, b: usize) -> bool {
        let inside = |mut inner: usize, outer: usize| {
            while let Some(parent) = self.modules[inner].parent {
                if parent == outer {
                    return outer != 0;
                }
                inner = parent;
            }
            false
        };
        inside(a, b) || inside(b, a)
    }
}
