//! Whatever ends a run, the work that was done is on the disk.

use std::fs;
use std::path::Path;

use crate::support::{backend, checkpoint, dataset, recipe, resume, run, run_steps, split, trainer};
use cnn_core::archive::{Archive, Values};
use cnn_data::{Dataset, OpenOptions, open};
use cnn_train::{Classifier, Control, Event, OptimizerKind, Recipe, RunFolder, ScheduleKind, Trainer, Weights};

#[test]
fn a_checkpoint_is_written_before_the_first_step() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut saved = 0;
    let mut observe = |event: &Event| {
        saved += u32::from(matches!(event, Event::Saved { .. }));
        Control::Stop
    };
    let summary = trainer().run(&folder, &mut observe).unwrap();
    assert_eq!((summary.steps, saved), (0, 1));
    assert_eq!(Weights::read(folder.weights()).unwrap().info().step, 0);
    run(&mut resume(&folder, dataset()).unwrap(), &folder);
    let whole = RunFolder::create(place.path().join("whole")).unwrap();
    run(&mut trainer(), &whole);
    assert!(checkpoint(&folder) == checkpoint(&whole), "the bits differ");
}

#[test]
fn a_run_is_saved_within_an_epoch_when_its_time_has_come() {
    let place = tempfile::tempdir().unwrap();
    let saved = |minutes: f64, name: &str| {
        let folder = RunFolder::create(place.path().join(name)).unwrap();
        let recipe = Recipe { checkpoint_minutes: minutes, epochs: 2, ..recipe() };
        let mut steps = Vec::new();
        let mut observe = |event: &Event| {
            if let Event::Saved { path } = event {
                steps.push(Weights::read(path).unwrap().info().step);
            }
            Control::Continue
        };
        Trainer::new(&backend(), recipe, dataset()).unwrap().run(&folder, &mut observe).unwrap();
        steps
    };
    assert_eq!(saved(0.0, "always"), (0..=12).collect::<Vec<u64>>());
    assert_eq!(saved(1e30, "never"), [0, 6, 12]);

    // How often a run is saved is not what it computes: it may be changed before a resume.
    let folder = RunFolder::create(place.path().join("changed")).unwrap();
    run_steps(&mut trainer(), &folder, 2);
    let text = fs::read_to_string(folder.recipe()).unwrap();
    assert!(text.contains("checkpoint_minutes = 5.0"), "{text}");
    fs::write(folder.recipe(), text.replace("checkpoint_minutes = 5.0", "checkpoint_minutes = 1.5")).unwrap();
    run(&mut resume(&folder, dataset()).unwrap(), &folder);
    assert_eq!(fs::read(folder.weights()).unwrap(), {
        let whole = RunFolder::create(place.path().join("whole")).unwrap();
        run(&mut trainer(), &whole);
        fs::read(whole.weights()).unwrap()
    });
}

/// A folder of small pictures that are decoded as they are needed.
fn pictures(root: &Path) -> Dataset {
    for (class, value) in [("dark", 40u8), ("light", 200)] {
        for (split, count) in [("train", 20), ("test", 4)] {
            let folder = root.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                let pixels: Vec<u8> =
                    (0..8 * 8 * 3).map(|at| value.wrapping_add((at * 7 + i * 13) as u8 % 50)).collect();
                image::save_buffer(folder.join(format!("{i}.png")), &pixels, 8, 8, image::ColorType::Rgb8).unwrap();
            }
        }
    }
    let options = OpenOptions::default().size([8, 8]).resident_limit(0);
    open(root.to_str().unwrap(), "".as_ref(), &options).unwrap()
}

#[test]
fn a_picture_that_does_not_decode_ends_a_run_whose_steps_are_saved() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("pictures");
    let data = pictures(&root);
    let recipe = Recipe { batch: 4, validation: 0.0, epochs: 2, ..recipe() };
    let new = || Trainer::new(&backend(), recipe.clone(), data.clone()).unwrap();
    let whole = RunFolder::create(place.path().join("whole")).unwrap();
    run(&mut new(), &whole);
    let written = Recipe::from_toml(&fs::read_to_string(whole.recipe()).unwrap()).unwrap();
    assert_eq!((written.data.as_str(), written.find_data()), ("made", root.canonicalize().unwrap().to_str().unwrap()));

    let broken = root.join("train/light/7.png");
    let good = fs::read(&broken).unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = new();
    fs::write(&broken, &good[..good.len() / 2]).unwrap();
    let error = trainer.run(&folder, &mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("7.png") && !error.contains('\n'), "{error}");
    let saved = Weights::read(folder.weights()).unwrap().info().step;
    assert!((1..10).contains(&saved), "saved at step {saved}");

    fs::write(&broken, &good).unwrap();
    run(&mut resume(&folder, data.clone()).unwrap(), &folder);
    assert!(checkpoint(&folder) == checkpoint(&whole), "the bits differ");
}

#[test]
fn a_run_is_stopped_within_an_evaluation() {
    let place = tempfile::tempdir().unwrap();
    // Both evaluations are of more images than are evaluated at a time.
    let data = || Dataset::new("made", split(300, 0), split(140, 1)).unwrap();
    let new = || Trainer::new(&backend(), Recipe { epochs: 1, validation: 0.5, ..recipe() }, data()).unwrap();
    let whole = RunFolder::create(place.path().join("whole")).unwrap();
    let expected = run(&mut new(), &whole);
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = new();
    for (images, epochs) in [(150, 0), (140, 1)] {
        let mut evaluated = Vec::new();
        let summary = trainer.run(&folder, &mut |event| match *event {
            Event::Evaluating { done, total } if total == images => {
                evaluated.push(done);
                Control::Stop
            }
            _ => Control::Continue,
        });
        let summary = summary.unwrap();
        assert!(summary.interrupted && summary.test.is_none() && summary.epochs == epochs, "{summary:?}");
        assert_eq!(evaluated, [128]);
        drop(trainer);
        trainer = resume(&folder, data()).unwrap();
    }
    assert_eq!(run(&mut trainer, &folder).test, expected.test);
    assert!(checkpoint(&folder) == checkpoint(&whole), "the bits differ");
    let rows = |folder: &RunFolder| fs::read_to_string(folder.metrics()).unwrap().lines().count();
    assert_eq!(rows(&folder), rows(&whole));
}

#[test]
fn a_run_that_diverges_leaves_a_checkpoint_of_numbers() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut wild = recipe();
    wild.optimizer.lr = 1e30;
    wild.schedule.kind = ScheduleKind::Constant;
    let mut trainer = Trainer::new(&backend(), wild, dataset()).unwrap();
    trainer.run(&folder, &mut |_| Control::Continue).unwrap_err();
    for path in [folder.weights(), folder.state()] {
        let archive = Archive::from_bytes(&fs::read(path).unwrap()).unwrap();
        for (name, array) in &archive.arrays {
            if let Values::F32(values) = &array.values {
                assert!(values.iter().all(|value| value.is_finite()), "{name}");
            }
        }
    }
    // It can be resumed, and ends as it did.
    let error = resume(&folder, dataset()).unwrap().run(&folder, &mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("is not finite"), "{error}");
}

#[test]
fn an_update_that_overflows_is_not_saved() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut recipe = recipe();
    (recipe.optimizer.kind, recipe.optimizer.lr, recipe.optimizer.momentum) = (OptimizerKind::Sgd, 2.0, 0.9);
    recipe.schedule.kind = ScheduleKind::Constant;
    run_steps(&mut Trainer::new(&backend(), recipe, dataset()).unwrap(), &folder, 1);
    // A velocity that is a number and makes weights that are none.
    let mut state = Archive::from_bytes(&fs::read(folder.state()).unwrap()).unwrap();
    for (name, array) in state.arrays.iter_mut().filter(|(name, _)| name.starts_with("velocity.")) {
        let Values::F32(velocity) = &mut array.values else { panic!("{name}") };
        velocity.fill(f32::MAX);
    }
    fs::write(folder.state(), state.to_bytes().unwrap()).unwrap();
    let mut trainer = resume(&folder, dataset()).unwrap();
    let error = trainer.run(&folder, &mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    assert_eq!(Weights::read(folder.weights()).unwrap().info().step, 1, "the checkpoint before is kept");
    resume(&folder, dataset()).unwrap();
}

#[test]
fn logits_that_are_not_finite_are_an_error_and_not_an_accuracy() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 2);
    let mut archive = Archive::from_bytes(&fs::read(folder.weights()).unwrap()).unwrap();
    let Values::F32(weight) = &mut archive.arrays.get_mut("fc2.weight").unwrap().values else { panic!() };
    weight.fill(f32::MAX);
    fs::write(folder.weights(), archive.to_bytes().unwrap()).unwrap();
    let classifier = Classifier::load(&backend(), folder.weights()).unwrap();
    let error = classifier.evaluate(&dataset().test, 16, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.starts_with("made: image 0: the logits are not finite"), "{error}");
}
