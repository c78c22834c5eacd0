//! Classes with very different numbers of images: weights in the loss, and epochs that are balanced.

use std::fs;

use crate::support::{SIZE, backend, checkpoint, resume, run, run_steps};
use cnn_core::rng::{Philox, Purpose};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, ImageSet};
use cnn_train::{ClassWeightsRecipe, Control, Event, Recipe, RunFolder, Trainer};

/// `dark` and `bright` images, which noise makes hard to tell apart, the former first.
fn split(dark: usize, bright: usize, stream: u32) -> ImageSet {
    let mut random = Philox::new(7, Purpose::Test, stream, 0).stream();
    let labels = [vec![0; dark], vec![1; bright]].concat();
    let mut picture = |label: u32| {
        let light = random.below(90) + 24 * label;
        (0..192).map(|_| (light + random.below(120)) as u8).collect::<Vec<_>>()
    };
    let bytes = labels.iter().flat_map(|&label| picture(label)).collect();
    ImageSet::from_bytes("made", SIZE, &["dark", "bright"], labels, bytes).unwrap()
}

fn dataset() -> Dataset {
    Dataset::new("made", split(100, 10, 0), split(50, 50, 1)).unwrap()
}

fn recipe() -> Recipe {
    let mut recipe = Recipe { epochs: 4, batch: 16, ..Recipe::default_for("stepwise", "made").unwrap() };
    recipe.augment.crop_padding = 1;
    recipe
}

fn weighted(weights: &str) -> Recipe {
    Recipe { class_weights: Some(weights.parse::<ClassWeightsRecipe>().unwrap()), ..recipe() }
}

/// Test images of each class that were taken for `bright`.
fn taken_for_bright(recipe: Recipe) -> [u64; 2] {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let summary = run(&mut Trainer::new(&backend(), recipe, dataset()).unwrap(), &folder);
    let confusion = summary.test.unwrap().confusion;
    [confusion[0][1], confusion[1][1]]
}

#[test]
fn a_rare_class_is_found_more_often_where_it_counts_or_is_seen_as_much_as_the_other() {
    let [_, plain] = taken_for_bright(recipe());
    for even in [weighted("balanced"), Recipe { balanced: true, ..recipe() }] {
        let [wrong, right] = taken_for_bright(even.clone());
        assert!(right > plain && right > wrong, "{right} of 50, {wrong} wrongly, plainly {plain}: {even:?}");
    }
}

#[test]
fn what_is_done_is_told_with_the_numbers() {
    let told = |recipe| Trainer::new(&backend(), recipe, dataset()).unwrap().tell_classes();
    assert_eq!(told(recipe()), None);
    let expected = "classes: dark has 100 training images, bright 10; \
                    in the loss an image of dark counts 0.550, one of bright 5.500";
    assert_eq!(told(weighted("balanced")).unwrap(), expected);
    // Of what is left to train on.
    let held_out = Recipe { validation: 0.2, balanced: true, ..recipe() };
    let expected =
        "classes: dark has 80 training images, bright 8; an epoch has 44 of each class, those of bright up to 6 times";
    assert_eq!(told(held_out).unwrap(), expected);
    let error = Trainer::new(&backend(), weighted("1,2,3"), dataset()).map(drop).unwrap_err().to_string();
    assert_eq!(error, "class_weights of 3 classes: must be 2, one for each of dark, bright");
}

#[test]
fn an_interrupted_run_ends_in_the_same_bits() {
    for recipe in [weighted("balanced"), Recipe { balanced: true, ..weighted("1,2.5") }] {
        let place = tempfile::tempdir().unwrap();
        let [whole, parts] = ["whole", "parts"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
        run(&mut Trainer::new(&backend(), recipe.clone(), dataset()).unwrap(), &whole);
        let one = Cpu::with_threads(1).unwrap();
        run_steps(&mut Trainer::new(&one, recipe, dataset()).unwrap(), &parts, 10);
        run(&mut resume(&parts, dataset()).unwrap(), &parts);
        assert!(checkpoint(&whole) == checkpoint(&parts), "the bits differ");
        let text = fs::read_to_string(whole.recipe()).unwrap();
        assert!(text.contains("\nclass_weights = "), "{text}");
    }
}

/// Losses of the first steps.
fn losses(recipe: Recipe) -> Vec<f64> {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut losses = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::Step(report) = event {
            losses.push(report.loss);
        }
        if losses.len() == 7 { Control::Stop } else { Control::Continue }
    };
    Trainer::new(&backend(), recipe, dataset()).unwrap().run(&folder, &mut observe).unwrap();
    losses
}

#[test]
fn a_step_in_parts_has_the_mean_over_the_weights_of_all_of_them() {
    // Without normalisation a step in parts is the same step.
    let whole = losses(weighted("0.25,4"));
    let parts = losses(Recipe { accumulate: 4, ..weighted("0.25,4") });
    for (whole, part) in whole.iter().zip(&parts) {
        assert!((whole - part).abs() < 1e-4 * whole, "{whole} and {part}");
    }
    assert_ne!(whole, losses(recipe()));
    // Weights that are all alike change nothing but the last bits.
    for (plain, alike) in losses(recipe()).iter().zip(losses(weighted("3,3"))) {
        assert!((plain - alike).abs() < 1e-4 * plain, "{plain} and {alike}");
    }
}
