//! Recipes that come with the program, each with what it was measured to give in its header.

use crate::{Error, Recipe, Result};

/// Their names and texts.
const PRESETS: [(&str, &str); 7] = [
    ("cifar10-94", include_str!("presets/cifar10-94.toml")),
    ("cifar10-94-sgd", include_str!("presets/cifar10-94-sgd.toml")),
    ("cifar10-95", include_str!("presets/cifar10-95.toml")),
    ("cifar10-96", include_str!("presets/cifar10-96.toml")),
    (Recipe::FINE_TUNING, include_str!("presets/finetune.toml")),
    ("resnet18-16", include_str!("presets/resnet18-16.toml")),
    ("resnet18-30", include_str!("presets/resnet18-30.toml")),
];

impl Recipe {
    /// The name of the one that begins with weights that are trained already, and is for data and a network of one's own.
    pub const FINE_TUNING: &str = "finetune";

    /// The names of the recipes that come with the program.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// The text of one of them.
    pub fn preset_text(name: &str) -> Option<&'static str> {
        PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn preset(name: &str) -> Result<Self> {
        let rule = || format!("must be one of {}", Recipe::presets().collect::<Vec<_>>().join(", "));
        Recipe::from_toml(Recipe::preset_text(name).ok_or_else(|| Error::recipe("recipe", name, rule()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_recipe_for_a_model_that_there_is() {
        for name in Recipe::presets() {
            let recipe = Recipe::preset(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            recipe.model.parse::<cnn_models::Arch>().unwrap();
            assert_eq!(Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap(), recipe);
        }
        let error = Recipe::preset("cifar10-93").unwrap_err().to_string();
        assert!(error.contains("cifar10-94"), "{error}");
    }
}
