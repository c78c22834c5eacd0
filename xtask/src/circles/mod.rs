//! No circle of imports among the files of a crate.
//!
//! Every file of every crate of the workspace is parsed, every path in it is followed through re-exports to the file that
//! defines what it names, and files that reach each other are reported. A module and the modules inside it may use each
//! other, as a folder's `mod.rs` and its files do; a crate's root may not: it declares and re-exports, and whoever defines
//! things there puts them in a circle with everything that uses them. Tests are left out.

mod graph;
mod modules;
mod names;
mod resolve;

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::root;
use modules::{Crate, Reader};

/// Fails with a list of the circles in any crate of the workspace.
pub(crate) fn circles() -> Result<(), String> {
    let mut found = Vec::new();
    let (mut roots, mut files) = (0, 0);
    for source in crate_roots(&root())? {
        let tree = Crate::read(&source, &mut Disk)?;
        (roots, files) = (roots + 1, files + tree.files.len());
        found.extend(graph::circles(&tree));
    }
    eprintln!("imports of {files} files in {roots} crates: {} circles", found.len());
    if found.is_empty() { Ok(()) } else { Err(format!("circles of imports:\n{}", found.join("\n"))) }
}

/// `lib.rs` and `main.rs` of every package of the workspace.
fn crate_roots(root: &Path) -> Result<Vec<PathBuf>, String> {
    let crates = root.join("crates");
    let entries = fs::read_dir(&crates).map_err(|error| format!("{}: {error}", crates.display()))?;
    let mut packages: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    packages.extend(["benches", "tests", "xtask"].map(|name| root.join(name)));
    packages.sort();
    let sources = packages.iter().flat_map(|package| ["lib.rs", "main.rs"].map(|name| package.join("src").join(name)));
    let sources: Vec<PathBuf> = sources.filter(|source| source.is_file()).collect();
    match sources.len() {
        0 => Err(format!("{}: has no crate", root.display())),
        _ => Ok(sources),
    }
}

struct Disk;

impl Reader for Disk {
    fn read(&mut self, path: &Path) -> Option<String> {
        fs::read_to_string(path).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    impl Reader for HashMap<PathBuf, String> {
        fn read(&mut self, path: &Path) -> Option<String> {
            self.get(path).cloned()
        }
    }

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let mut files: HashMap<PathBuf, String> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        graph::circles(&Crate::read(Path::new("src/lib.rs"), &mut files).unwrap())
    }

    #[test]
    fn two_files_that_import_each_other() {
        let found = circles_of(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "use crate::b::B; pub struct A(B);"),
            ("src/b.rs", "use crate::a::A; pub struct B; pub fn f(_: A) {}"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("src/a.rs -> src/b.rs (crate::b::B)"), "{}", found[0]);
        assert!(found[0].contains("src/b.rs -> src/a.rs (crate::a::A)"), "{}", found[0]);
    }

    #[test]
    fn one_direction_is_no_circle() {
        let files = [
            ("src/lib.rs", "mod a; mod b; pub use a::A;"),
            ("src/a.rs", "use crate::b::B; pub struct A(B);"),
            ("src/b.rs", "pub struct B;"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }

    #[test]
    fn re_exports_are_followed_and_are_no_import() {
        let found = circles_of(&[
            ("src/lib.rs", "mod a; mod b; pub use a::*; pub(crate) use b::B as Renamed;"),
            ("src/a.rs", "pub struct A; pub fn f() { crate::Renamed::new(); }"),
            ("src/b.rs", "use super::A; pub struct B(A);"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        let through_lib = [
            ("src/lib.rs", "mod a; mod b; pub use a::A;"),
            ("src/a.rs", "pub struct A;"),
            ("src/b.rs", "use crate::A; pub struct B(A);"),
        ];
        assert_eq!(circles_of(&through_lib), [""; 0]);
    }

    #[test]
    fn what_the_root_defines_is_in_a_circle_with_its_users() {
        let found = circles_of(&[
            ("src/lib.rs", "mod a; use a::A; pub struct Root(A);"),
            ("src/a.rs", "pub struct A; pub fn f(_: &crate::Root) {}"),
        ]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_folder_and_its_files_may_use_each_other() {
        let files = [
            ("src/lib.rs", "mod a;"),
            ("src/a/mod.rs", "mod b; pub struct A(b::B);"),
            ("src/a/b.rs", "pub struct B; impl B { pub fn f(_: &super::A) {} }"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }

    #[test]
    fn paths_in_bodies_macros_and_nested_imports_count_and_tests_do_not() {
        let a = "pub struct A; pub fn f() { assert!(crate::b::ok()); }";
        for back in ["fn g() { crate::a::f() }", "fn g() { use crate::a::f; f() }", "fn g() { dbg!(crate::a::A) }"] {
            let b = format!("pub fn ok() -> bool {{ true }} {back}");
            assert_eq!(circles_of(&[("src/lib.rs", "mod a; mod b;"), ("src/a.rs", a), ("src/b.rs", &b)]).len(), 1);
        }
        let b = "pub fn ok() -> bool { true } #[cfg(test)] mod tests { use crate::a::A; }";
        assert_eq!(circles_of(&[("src/lib.rs", "mod a; mod b;"), ("src/a.rs", a), ("src/b.rs", b)]), [""; 0]);
    }

    #[test]
    fn circles_of_three_are_found() {
        let found = circles_of(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::c::C; pub struct B;"),
            ("src/c.rs", "use crate::a; pub struct C; fn f() { a::g() }"),
        ]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_file_that_is_missing_is_an_error() {
        let mut files = HashMap::from([(PathBuf::from("src/lib.rs"), "mod a;".to_owned())]);
        assert!(Crate::read(Path::new("src/lib.rs"), &mut files).unwrap_err().contains("src/a.rs"));
    }
}
