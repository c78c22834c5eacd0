//! A run is resumed as what it was, wherever it was interrupted, and as nothing else.

use std::fs;

use crate::support::{backend, checkpoint, dataset, named_split, recipe, resume, run, run_steps, split, trainer};
use cnn_core::Naive;
use cnn_cpu::{Cpu, Isa};
use cnn_data::Dataset;
use cnn_train::{Control, Event, RunFolder, Trainer};

/// A finished run to compare with.
fn undisturbed(place: &tempfile::TempDir) -> [Vec<u8>; 2] {
    let folder = RunFolder::create(place.path().join("undisturbed")).unwrap();
    run(&mut trainer(), &folder);
    checkpoint(&folder)
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_from_step_0() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    fs::write(folder.recipe(), recipe().to_toml().unwrap()).unwrap();
    let mut resumed = resume(&folder, dataset()).unwrap();
    run(&mut resumed, &folder);
    assert!(checkpoint(&folder) == undisturbed(&place), "the bits differ");
}

#[test]
fn a_run_that_goes_on_with_other_arithmetic_says_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let portable = Cpu::<f32>::with_isa(2, Isa::capped("portable").unwrap()).unwrap();
    let mut first = Trainer::new(&portable, recipe(), dataset()).unwrap();
    assert_eq!(first.other_arithmetic(), None);
    run_steps(&mut first, &folder, 2);
    let same = Trainer::resume(&portable, &folder, dataset()).unwrap();
    assert_eq!(same.other_arithmetic(), None);
    let other = Trainer::resume(&Naive::<f32>::default(), &folder, dataset()).unwrap();
    assert_eq!(other.other_arithmetic(), Some("cpu portable"));
}

#[test]
fn a_run_that_ended_before_it_saved_anything_is_started_again_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let mut other = recipe();
    other.seed = 5;
    fs::create_dir(&path).unwrap();
    let there = path.join("recipe.toml");
    fs::write(&there, format!("# by hand\n{}", other.to_toml().unwrap())).unwrap();
    let folder = RunFolder::create(&path).unwrap();
    let error = trainer().run(&folder, &mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("recipe.toml: is of another run, which ended before it saved anything"), "{error}");
    assert!(fs::read_to_string(&there).unwrap().starts_with("# by hand"), "it is as it was");
    fs::write(&there, recipe().to_toml().unwrap()).unwrap();
    run(&mut trainer(), &folder);
    assert!(checkpoint(&folder) == undisturbed(&place), "the bits differ");
    drop(folder);
    let error = RunFolder::create(&path).unwrap_err().to_string();
    assert!(error.contains("a run is never overwritten"), "{error}");
}

#[test]
fn a_crash_between_the_renames_of_the_first_checkpoint_is_repaired() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 2);
    fs::rename(folder.state(), folder.path().join("state.safetensors.tmp")).unwrap();
    run(&mut resume(&folder, dataset()).unwrap(), &folder);
    assert!(checkpoint(&folder) == undisturbed(&place), "the bits differ");
}

#[test]
fn a_staged_state_takes_the_place_of_a_broken_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 2);
    fs::rename(folder.state(), folder.path().join("state.safetensors.tmp")).unwrap();
    fs::write(folder.state(), b"half a fi").unwrap();
    run(&mut resume(&folder, dataset()).unwrap(), &folder);
    assert!(checkpoint(&folder) == undisturbed(&place), "the bits differ");
}

#[test]
fn other_data_is_refused_and_the_difference_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 2);

    let made = |train, test| Dataset::new("made", train, test).unwrap();
    let names = &["zebra", "apple"];
    let renamed = made(named_split(names, 100, 0), named_split(names, 40, 1));
    let swapped = dataset().keep_classes(&["bright", "dark"]).unwrap();
    // As many steps an epoch: 90 or 89 images in batches of 16.
    let one_less = made(split(99, 0), split(40, 1));
    let other_pictures = made(split(100, 2), split(40, 1));
    let mut relabelled = dataset();
    let labels = relabelled.train.labels().iter().map(|label| 1 - label).collect();
    let bytes = relabelled.train.resident_bytes().unwrap().to_vec();
    let classes = ["dark", "bright"];
    relabelled.train = cnn_data::ImageSet::from_bytes("made", crate::support::SIZE, &classes, labels, bytes).unwrap();

    for (data, difference) in [
        (renamed, "classes zebra, apple: must be dark, bright"),
        (swapped, "classes bright, dark: must be dark, bright"),
        (one_less, "99 training images: must be 100"),
        (other_pictures, "mean of the pixels"),
        (relabelled, "labels"),
    ] {
        let error = resume(&folder, data).map(|_| ()).unwrap_err();
        assert!(error.contains(difference) && error.contains("the data is not that of the run"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    run(&mut resume(&folder, dataset()).unwrap(), &folder);
    assert!(checkpoint(&folder) == undisturbed(&place), "the bits differ");
}

#[test]
fn weights_of_another_run_at_the_same_step_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
    run_steps(&mut trainer(), &one, 2);
    let mut seeded = recipe();
    seeded.seed = 9;
    seeded.optimizer.lr = 0.001;
    run_steps(&mut Trainer::new(&backend(), seeded, dataset()).unwrap(), &other, 2);
    fs::copy(other.weights(), one.weights()).unwrap();
    let error = resume(&one, dataset()).map(|_| ()).unwrap_err();
    assert!(error.contains("state.safetensors") && error.contains("belongs to other weights"), "{error}");
}

#[test]
fn a_run_folder_is_one_process_s() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let folder = RunFolder::create(&path).unwrap();
    let taken = format!("{}: is in use by another process", path.display());
    // A lock belongs to an opened folder: opening it again is what another process does.
    assert_eq!(RunFolder::create(&path).unwrap_err().to_string(), taken);
    run_steps(&mut trainer(), &folder, 2);
    assert_eq!(RunFolder::open(&path).unwrap_err().to_string(), taken);
    drop(folder);
    RunFolder::open(&path).unwrap();
    let error = RunFolder::create(&path).unwrap_err().to_string();
    assert!(error.contains("never overwritten"), "{error}");
}

#[test]
fn rows_of_metrics_that_are_torn_or_too_many_are_written_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut epochs = 0;
    let mut until_second = |event: &Event| {
        epochs += u32::from(matches!(event, Event::EpochEnd(_)));
        if epochs == 2 { Control::Stop } else { Control::Continue }
    };
    trainer().run(&folder, &mut until_second).unwrap();
    let metrics = fs::read_to_string(folder.metrics()).unwrap();
    for tail in ["3,18,0.1,0.2,0.3,0.4,0.5,0.6,0.7\n", "1", "3,18,", "2,12,0.1\n"] {
        fs::write(folder.metrics(), metrics.clone() + tail).unwrap();
        drop(resume(&folder, dataset()).unwrap());
        assert_eq!(fs::read_to_string(folder.metrics()).unwrap(), metrics, "after {tail:?}");
    }
}
