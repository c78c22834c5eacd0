//! From a path to the module that defines what it names.

use super::modules::Crate;

/// A chain of re-exports is never longer; a longer one is a circle of globs.
const MOST_STEPS: usize = 32;

impl Crate {
    /// The module that defines what `path` names in `module`, or is it; none for what other crates define.
    pub(super) fn resolve(&self, module: usize, path: &[String]) -> Option<usize> {
        self.start(module, path, MOST_STEPS)
    }

    fn start(&self, module: usize, path: &[String], steps: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(0, rest, steps),
            "self" => self.walk(module, rest, steps),
            "super" => {
                let mut parent = self.modules[module].parent?;
                let mut rest = rest;
                while let Some((_, after)) = rest.split_first().filter(|(first, _)| *first == "super") {
                    (parent, rest) = (self.modules[parent].parent?, after);
                }
                self.walk(parent, rest, steps)
            }
            _ => self.named(module, path, steps),
        }
    }

    /// What `path` names from `module` on; what nobody is seen to define, a macro has made in the module itself.
    fn walk(&self, module: usize, path: &[String], steps: usize) -> Option<usize> {
        if path.is_empty() { Some(module) } else { self.named(module, path, steps).or(Some(module)) }
    }

    /// What `path`, whose first name is one of `module`, names.
    fn named(&self, module: usize, path: &[String], steps: usize) -> Option<usize> {
        let (steps, (first, rest)) = (steps.checked_sub(1)?, path.split_first()?);
        let here = &self.modules[module];
        if let Some(&child) = here.children.get(first) {
            return self.walk(child, rest, steps);
        }
        if here.defines.contains(first) {
            return Some(module);
        }
        if let Some(import) = here.imports.iter().find(|import| import.name.as_ref() == Some(first)) {
            return self.start(module, &[&import.path, rest].concat(), steps);
        }
        let globs = here.imports.iter().filter(|import| import.name.is_none());
        globs.filter_map(|glob| self.start(module, &glob.path, steps)).find_map(|from| self.named(from, path, steps))
    }
}
