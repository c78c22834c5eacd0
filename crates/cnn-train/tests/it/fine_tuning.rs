//! Rates that fall towards the input, and a network that is thawed little by little.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{backend, checkpoint, run, run_steps, shades};
use cnn_core::Device;
use cnn_core::archive::Archive;
use cnn_core::nn::parameters;
use cnn_cpu::Cpu;
use cnn_data::Dataset;
use cnn_train::{Control, Event, FreezeRecipe, Recipe, RunFolder, Trainer};

fn dataset() -> Dataset {
    shades(64)
}

/// Four steps an epoch of a network with normalisations.
fn recipe() -> Recipe {
    Recipe { epochs: 3, batch: 16, ..Recipe::default_for("small", "made").unwrap() }
}

type Values = BTreeMap<String, Vec<f32>>;

/// The parameters as they are in memory.
fn values(trainer: &Trainer<Cpu<f32>>) -> Values {
    let value = |parameter: &cnn_core::nn::Param<_>| backend().download(parameter.value()).unwrap();
    parameters(trainer.model()).iter().map(|parameter| (parameter.name().to_owned(), value(parameter))).collect()
}

fn distance(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// How far each parameter moves in the first step.
fn moved(recipe: Recipe) -> BTreeMap<String, f64> {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = Trainer::new(&backend(), recipe, dataset()).unwrap();
    let before = values(&trainer);
    run_steps(&mut trainer, &folder, 1);
    let after = values(&trainer);
    before.into_iter().map(|(name, value)| (name.clone(), distance(&value, &after[&name]))).collect()
}

#[test]
fn a_block_moves_as_much_less_as_it_is_nearer_the_input() {
    let mut recipe = recipe();
    recipe.schedule.kind = cnn_train::ScheduleKind::Constant;
    let alike = moved(recipe.clone());
    recipe.optimizer.layer_decay = Some(0.5);
    let decayed = moved(recipe);
    let part = |name: &str| decayed[name] / alike[name];
    // In the order of the network: what each weight of a convolution or dense layer moves of what it moved.
    let names: Vec<String> = {
        let trainer = Trainer::new(&backend(), self::recipe(), dataset()).unwrap();
        parameters(trainer.model()).iter().filter(|p| p.shape().dims().len() > 1).map(|p| p.name().to_owned()).collect()
    };
    let parts: Vec<f64> = names.iter().map(|name| part(name)).collect();
    let last = parts.len() - 1;
    assert!(last >= 2, "{names:?}");
    for (at, part) in parts.iter().enumerate() {
        let expected = 0.5f64.powi((last - at) as i32);
        assert!((part / expected - 1.0).abs() < 0.02, "{} moves {part}, not {expected}", names[at]);
    }
}

/// The arrays of a run's weights file.
fn arrays(folder: &RunFolder) -> Archive {
    Archive::from_bytes(&fs::read(folder.weights()).unwrap()).unwrap()
}

#[test]
fn the_last_layer_is_trained_alone_and_the_rest_behind_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = Trainer::new(&backend(), Recipe { unfreeze: vec![1, 2], ..recipe() }, dataset()).unwrap();
    // The weights before the first step, and after each epoch.
    let mut saved = Vec::new();
    let mut observe = |event: &Event| {
        if matches!(event, Event::EpochBegin { .. } | Event::EpochEnd(_)) && saved.len() < 5 {
            saved.push(arrays(&folder));
        }
        Control::Continue
    };
    trainer.run(&folder, &mut observe).unwrap();
    let names: Vec<String> = parameters(trainer.model()).iter().map(|p| p.name().to_owned()).collect();
    let (first, last) = (names[0].clone(), names[names.len() - 1].clone());
    let head = last.rsplit_once('.').unwrap().0.to_owned();
    let changed = |one: &Archive, other: &Archive| -> Vec<String> {
        let differs =
            |name: &&String| one.arrays[*name] != other.arrays[*name] && !name.ends_with("num_batches_tracked");
        one.arrays.keys().filter(differs).cloned().collect()
    };
    // EpochBegin, EpochEnd, EpochBegin, EpochEnd, EpochBegin.
    let [begin, one, _, two, _] = &saved[..] else { panic!("{}", saved.len()) };
    let of_one = changed(begin, one);
    assert!(!of_one.is_empty() && of_one.iter().all(|name| name.starts_with(&head)), "{of_one:?}");
    let of_two = changed(one, two);
    assert!(of_two.iter().any(|name| !name.starts_with(&head)) && !of_two.contains(&first), "{of_two:?}");
    let of_three = changed(two, &arrays(&folder));
    assert!(of_three.contains(&first), "{of_three:?}");
    assert!(of_three.iter().any(|name| name.contains("running_mean")), "{of_three:?}");
}

#[test]
fn a_run_that_is_interrupted_at_and_around_a_thaw_ends_in_the_same_bits() {
    let mut recipe = Recipe { unfreeze: vec![1], ..recipe() };
    recipe.optimizer.kind = cnn_train::OptimizerKind::AdamW;
    (recipe.optimizer.lr, recipe.optimizer.layer_decay) = (1e-3, Some(0.75));
    let place = tempfile::tempdir().unwrap();
    let whole = RunFolder::create(place.path().join("whole")).unwrap();
    run(&mut Trainer::new(&backend(), recipe.clone(), dataset()).unwrap(), &whole);
    for stop in [3, 4, 5] {
        let parts = RunFolder::create(place.path().join(format!("parts{stop}"))).unwrap();
        run_steps(&mut Trainer::new(&backend(), recipe.clone(), dataset()).unwrap(), &parts, stop);
        run(&mut Trainer::resume(&backend(), &parts, dataset()).unwrap(), &parts);
        assert!(checkpoint(&whole) == checkpoint(&parts), "stopped after {stop} steps: the bits differ");
    }
}

#[test]
fn more_parts_than_blocks_are_refused() {
    let error = Trainer::new(&backend(), Recipe { unfreeze: (1..50).collect(), epochs: 60, ..recipe() }, dataset());
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.starts_with("unfreeze [1, 2, 3,") && error.contains("one for each block of the network"), "{error}");
}

#[test]
fn an_epoch_that_would_train_nothing_is_refused() {
    let with = |pattern: &str, before: u32, unfreeze: &[u32]| {
        let table = FreezeRecipe {
            pattern: pattern.to_owned(),
            before_epochs: Some(before),
            after_epochs: None,
            statistics: true,
        };
        let recipe = Recipe { freeze: vec![table], unfreeze: unfreeze.to_vec(), ..recipe() };
        Trainer::new(&backend(), recipe, dataset()).map(drop)
    };
    let refused = |result: cnn_train::Result<()>| result.unwrap_err().to_string();
    assert_eq!(refused(with("*", 9, &[])), "freeze *: leaves nothing to train in epoch 1");
    let error = refused(with("head", 2, &[1]));
    assert!(error.starts_with("freeze head, ") && error.ends_with("leaves nothing to train in epoch 1"), "{error}");
    with("backbone", 9, &[]).unwrap();
    with("head", 1, &[]).unwrap();
}
