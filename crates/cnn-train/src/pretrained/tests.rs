//! Runs that begin with the weights of others, and leave some of them as they are.

use std::fs;
use std::path::Path;

use cnn_core::archive::Archive;

use super::*;
use crate::fault_tests::{cpu, dataset, left, place, recipe};
use crate::{Control, FreezeRecipe, Recipe, RunFolder, Trainer};

/// A run in `folder`, which stops behind its first `stop` steps and then goes on.
fn run(recipe: Recipe, folder: &Path, stop: Option<u64>) -> Result<Option<Loaded>> {
    let folder = RunFolder::create(folder)?;
    let mut trainer = Trainer::new(&cpu(), recipe, dataset())?;
    let loaded = trainer.loaded().cloned();
    if let Some(stop) = stop {
        let mut steps = 0;
        trainer.run(&folder, &mut |event| {
            steps += u64::from(matches!(event, crate::Event::Step(_)));
            if steps >= stop { Control::Stop } else { Control::Continue }
        })?;
        trainer = Trainer::resume(&cpu(), &folder, dataset())?;
    }
    trainer.run(&folder, &mut |_| Control::Continue)?;
    Ok(loaded)
}

fn arrays(folder: &Path) -> Archive {
    Archive::from_bytes(&fs::read(folder.join("model.safetensors")).unwrap()).unwrap()
}

fn from(file: &Path) -> Option<PretrainedRecipe> {
    Some(PretrainedRecipe { file: file.to_str().unwrap().to_owned(), ..PretrainedRecipe::default() })
}

#[test]
fn a_run_from_the_weights_of_another_needs_them_once() {
    let place = place();
    let [first, whole, parts] = ["first", "whole", "parts"].map(|name| place.path().join(name));
    run(recipe(), &first, None).unwrap();
    let next = Recipe { seed: 5, pretrained: from(&first), ..recipe() };
    let loaded = run(next.clone(), &whole, None).unwrap().unwrap();
    assert_eq!((loaded.taken.taken, loaded.taken.new.len()), (6, 0), "{loaded:?}");

    // The folder of the run says which file that was, and what pixels are normalised by, so that the file may go.
    let moved = place.path().join("moved");
    fs::rename(&first, &moved).unwrap();
    assert!(run(next.clone(), &parts, None).unwrap_err().to_string().contains("first"));
    let next = Recipe { pretrained: from(&moved), ..next };
    run(next.clone(), &parts, Some(1)).unwrap();
    let [mut one, mut other] = [left(&whole), left(&parts)];
    // Only where the file was differs.
    for left in [&mut one, &mut other] {
        let mut state = Archive::from_bytes(&left[1]).unwrap();
        state.metadata.remove("recipe");
        left[1] = state.to_bytes().unwrap();
    }
    assert!(one == other);
    fs::remove_dir_all(&moved).unwrap();
    let folder = RunFolder::open(&parts).unwrap();
    assert!(Trainer::resume(&cpu(), &folder, dataset()).unwrap().is_complete());

    // Another file by the name is another run.
    run(Recipe { seed: 9, ..recipe() }, &moved, None).unwrap();
    let digest = Some(loaded.digest);
    let pretrained = next.pretrained.map(|pretrained| PretrainedRecipe { digest, ..pretrained });
    let error = run(Recipe { pretrained, ..recipe() }, &place.path().join("other"), None).unwrap_err().to_string();
    assert!(error.contains("the file is another one now"), "{error}");
}

#[test]
fn what_is_frozen_stays_for_as_long_as_the_recipe_says() {
    let place = place();
    let [first, next] = ["first", "next"].map(|name| place.path().join(name));
    run(recipe(), &first, None).unwrap();
    let before = arrays(&first);
    let freeze = |pattern: &str, before_epochs, after_epochs| {
        vec![FreezeRecipe { pattern: pattern.into(), before_epochs, after_epochs, statistics: true }]
    };
    for (freeze, moved) in [
        (freeze("backbone", None, Some(0)), ["fc2.bias", "fc2.weight"].as_slice()),
        (freeze("head", None, Some(0)), &["conv.bias", "conv.weight", "fc1.bias", "fc1.weight"]),
        (freeze("backbone", Some(2), None), &["fc2.bias", "fc2.weight"]),
        (
            freeze("conv.*", Some(1), None),
            &["conv.bias", "conv.weight", "fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"],
        ),
    ] {
        let _ = fs::remove_dir_all(&next);
        let said = format!("{freeze:?}");
        run(Recipe { pretrained: from(&first), freeze, ..recipe() }, &next, Some(1)).unwrap();
        let after = arrays(&next);
        let changed: Vec<&str> = after
            .arrays
            .iter()
            .filter(|(name, array)| before.arrays[*name] != **array)
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(changed, moved, "{said}");
    }
    let unknown = Recipe { freeze: freeze("fc9.*", None, Some(0)), ..recipe() };
    let error = Trainer::new(&cpu(), unknown, dataset()).map(drop).unwrap_err();
    assert!(error.to_string().contains("freeze fc9.*"), "{error}");
    let error = Recipe { freeze: freeze("head", None, None), ..recipe() }.check().unwrap_err();
    assert!(error.to_string().contains("freeze head: must say when"), "{error}");
}

#[test]
fn pixels_are_normalised_as_the_weights_want_them() {
    let place = place();
    let [first, next] = ["first", "next"].map(|name| place.path().join(name));
    run(recipe(), &first, None).unwrap();
    let with = |mean: Option<Vec<f64>>, std: Option<Vec<f64>>| {
        let pretrained = from(&first).map(|pretrained| PretrainedRecipe { mean, std, ..pretrained });
        Trainer::new(&cpu(), Recipe { pretrained, ..recipe() }, dataset()).map(|trainer| trainer.info().clone())
    };
    let own = crate::weights::Weights::read(&first).unwrap().info().clone();
    let read = with(None, None).unwrap();
    assert_eq!((&read.mean, &read.std), (&own.mean, &own.std));
    let given = with(Some(vec![0.25]), Some(vec![0.5])).unwrap();
    assert_eq!((given.mean, given.std), (vec![0.25], vec![0.5]));
    let refused = |mean, std| with(mean, std).unwrap_err().to_string();
    assert!(refused(Some(vec![0.5; 3]), Some(vec![0.5; 3])).contains("must be of 1 channels, as the images"));
    assert!(refused(Some(vec![0.5]), None).contains("pretrained.mean 0.5: must stand beside a std"));
    assert!(refused(Some(vec![0.5]), Some(vec![0.0])).contains("pretrained.std 0: must be from 1e-6"));
    assert!(refused(Some(vec![f64::NAN]), Some(vec![1.0])).contains("pretrained.mean NaN"));

    // A file that says nothing of itself, as one of another program: of one channel nothing is known.
    let mut foreign = arrays(&first);
    foreign.metadata.clear();
    fs::create_dir(&next).unwrap();
    let file = next.join("foreign.safetensors");
    fs::write(&file, foreign.to_bytes().unwrap()).unwrap();
    let recipe = Recipe { pretrained: from(&file), ..recipe() };
    let error = Trainer::new(&cpu(), recipe, dataset()).map(drop).unwrap_err().to_string();
    assert!(error.contains("pretrained.mean not set: must be set"), "{error}");
}
