//! A recipe: what is accepted survives being written and read.
#![no_main]

use cnn_train::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(recipe) = Recipe::from_toml(text) else { return };
    let written = recipe.to_toml().expect("what was read can be written");
    let again = Recipe::from_toml(&written).expect("what was written can be read");
    assert_eq!(again.to_toml().expect("and written again"), written);
});
