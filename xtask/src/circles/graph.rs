//! Which file uses which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::Crate;

/// From a file to those it uses, each with one path that shows it.
type Uses = Vec<BTreeMap<usize, String>>;

/// Imports of a circle that are listed.
const MOST_SHOWN: usize = 20;

/// Every circle as text: its files, and the imports that make it one.
pub(super) fn circles(tree: &Crate) -> Vec<String> {
    let uses = uses(tree);
    components(&uses).iter().map(|component| describe(tree, &uses, component)).collect()
}

fn uses(tree: &Crate) -> Uses {
    let mut uses = vec![BTreeMap::new(); tree.files.len()];
    for (id, module) in tree.modules.iter().enumerate() {
        let first_names: BTreeSet<&String> = module.paths.iter().filter_map(|path| path.first()).collect();
        // What is only passed on is used by whoever takes it.
        let is_used = |name: &Option<String>| name.as_ref().is_none_or(|name| first_names.contains(name));
        let imports = module.imports.iter().filter(|import| !import.exported || is_used(&import.name));
        let imported = imports.filter(|import| !(import.exported && import.name.is_none())).map(|import| &import.path);
        for path in imported.chain(&module.paths) {
            let Some(target) = tree.resolve(id, path) else { continue };
            let (from, to) = (module.file, tree.modules[target].file);
            if from != to && !tree.are_nested(id, target) {
                uses[from].entry(to).or_insert_with(|| path.join("::"));
            }
        }
    }
    uses
}

/// Files that reach each other (the strongly connected components of more than one file), smallest number first.
fn components(uses: &Uses) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..uses.len()).map(|file| reached_from(uses, file)).collect();
    let mut components: Vec<BTreeSet<usize>> = Vec::new();
    for file in 0..uses.len() {
        let component: BTreeSet<usize> =
            reached[file].iter().copied().filter(|&other| reached[other].contains(&file)).collect();
        if component.len() > 1 && !components.contains(&component) {
            components.push(component);
        }
    }
    components
}

fn reached_from(uses: &Uses, file: usize) -> BTreeSet<usize> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        next.extend(uses[file].keys().filter(|&&other| reached.insert(other)));
    }
    reached
}

fn describe(tree: &Crate, uses: &Uses, component: &BTreeSet<usize>) -> String {
    let name = |file: usize| {
        let path = tree.files[file].to_string_lossy();
        path.rsplit_once("../").map_or(path.as_ref(), |(_, name)| name).to_owned()
    };
    let inside = |file: usize| uses[file].iter().filter(|(other, _)| component.contains(other));
    let mut imports: Vec<_> =
        component.iter().flat_map(|&file| inside(file).map(move |(&other, path)| (file, other, path))).collect();
    // What imports the crate's root, the first file, is most often what closes a circle of many.
    imports.sort_by_key(|&(_, other, _)| other != 0);
    let lines: Vec<String> = imports
        .into_iter()
        .map(|(file, other, path)| format!("    {} -> {} ({path})", name(file), name(other)))
        .collect();
    let left_out = lines.len().saturating_sub(MOST_SHOWN);
    let mut text = format!("{} files\n{}", component.len(), lines[..lines.len() - left_out].join("\n"));
    if left_out > 0 {
        text += &format!("\n    and {left_out} more imports among them");
    }
    text
}
