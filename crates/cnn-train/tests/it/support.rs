//! A small network on made images, which several tests train.

use std::fs;

use cnn_core::archive::Archive;
use cnn_core::rng::{Philox, Purpose};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, ImageSet};
use cnn_train::{Control, Event, Recipe, RunFolder, Summary, Trainer};

pub(crate) const SIZE: [usize; 3] = [8, 8, 3];

/// Two classes that differ in brightness, with noise.
pub(crate) fn split(count: usize, stream: u32) -> ImageSet {
    named_split(&["dark", "bright"], count, stream)
}

/// The same under other names.
pub(crate) fn named_split(classes: &[&str], count: usize, stream: u32) -> ImageSet {
    let mut random = Philox::new(1, Purpose::Test, stream, 0).stream();
    let labels: Vec<u32> = (0..count).map(|_| random.below(2)).collect();
    let bytes =
        labels.iter().flat_map(|&label| (0..192).map(|_| (random.below(150) + label * 60) as u8).collect::<Vec<_>>());
    let bytes = bytes.collect();
    ImageSet::from_bytes("made", SIZE, classes, labels, bytes).unwrap()
}

pub(crate) fn dataset() -> Dataset {
    Dataset::new("made", split(100, 0), split(40, 1)).unwrap()
}

/// So many training images of 16x16 of three classes in turn, and 24 to test with.
pub(crate) fn shades(train: u32) -> Dataset {
    let split = |count: u32, stream| {
        let mut random = Philox::new(3, Purpose::Test, stream, 0).stream();
        let labels: Vec<u32> = (0..count).map(|at| at % 3).collect();
        let pixels = |label: u32| (0..16 * 16 * 3).map(|_| (random.below(120) + label * 60) as u8).collect::<Vec<_>>();
        let bytes = labels.iter().copied().flat_map(pixels).collect();
        ImageSet::from_bytes("made", [16, 16, 3], &["dark", "grey", "bright"], labels, bytes).unwrap()
    };
    Dataset::new("made", split(train, 0), split(24, 1)).unwrap()
}

pub(crate) fn recipe() -> Recipe {
    let mut recipe = Recipe::default_for("stepwise", "made").unwrap();
    (recipe.epochs, recipe.batch, recipe.validation) = (3, 16, 0.1);
    recipe.augment.crop_padding = 1;
    recipe
}

pub(crate) fn backend() -> Cpu<f32> {
    Cpu::with_threads(2).unwrap()
}

pub(crate) fn trainer() -> Trainer<Cpu<f32>> {
    Trainer::new(&backend(), recipe(), dataset()).unwrap()
}

pub(crate) fn run(trainer: &mut Trainer<Cpu<f32>>, folder: &RunFolder) -> Summary {
    trainer.run(folder, &mut |_| Control::Continue).unwrap()
}

/// Runs until `steps` steps are made, and stops there.
pub(crate) fn run_steps(trainer: &mut Trainer<Cpu<f32>>, folder: &RunFolder, steps: u32) -> Summary {
    let mut made = 0;
    let mut observe = |event: &Event| {
        made += u32::from(matches!(event, Event::Step(_)));
        if made == steps { Control::Stop } else { Control::Continue }
    };
    trainer.run(folder, &mut observe).unwrap()
}

/// Goes on with the run in `folder` on other data than, or the same data as, it began with.
pub(crate) fn resume(folder: &RunFolder, dataset: Dataset) -> Result<Trainer<Cpu<f32>>, String> {
    Trainer::resume(&backend(), folder, dataset).map_err(|error| error.to_string())
}

/// Weights and state, byte for byte, but for what was timed.
pub(crate) fn checkpoint(folder: &RunFolder) -> [Vec<u8>; 2] {
    let [weights, state] = [folder.weights(), folder.state()].map(|path| fs::read(path).unwrap());
    let mut state = Archive::from_bytes(&state).unwrap();
    state.arrays.retain(|name, _| !name.starts_with("timed."));
    [weights, state.to_bytes().unwrap()]
}
