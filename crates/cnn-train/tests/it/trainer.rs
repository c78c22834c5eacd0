//! Runs of a small network on made images: what resumes, what stops, what a crash leaves.

use std::fs;

use crate::support::{backend, checkpoint, dataset, recipe, run, trainer};
use cnn_core::archive::{Archive, Values};
use cnn_core::{Backend, Device, bf16};
use cnn_cpu::Cpu;
use cnn_data::{OpenOptions, open};
use cnn_train::{Classifier, Control, Error, Event, Precision, Recipe, RunFolder, Summary, Trainer, Weights};

#[test]
fn a_run_learns_saves_and_evaluates_alike() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let summary = run(&mut Trainer::new(&backend(), recipe(), dataset()).unwrap(), &folder);
    let test = summary.test.unwrap();
    assert!(test.accuracy() > 0.9, "accuracy {}", test.accuracy());

    let classifier = Classifier::load(&backend(), folder.weights()).unwrap();
    let again = classifier.evaluate(&dataset().test, 16, &mut |_, _| {}).unwrap();
    assert_eq!(again, test);
    assert_eq!(classifier.info().classes, ["dark", "bright"]);
    let metrics = fs::read_to_string(folder.metrics()).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
    assert!(RunFolder::create(folder.path()).unwrap_err().to_string().contains("never overwritten"));
}

#[test]
fn an_interrupted_run_ends_in_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
    run(&mut Trainer::new(&backend(), recipe(), dataset()).unwrap(), &whole);

    // Stopped in the middle of the second epoch, then resumed by another process's worth of objects.
    let mut steps = 0;
    let summary = Trainer::new(&backend(), recipe(), dataset())
        .unwrap()
        .run(&parts, &mut |event| {
            steps += u32::from(matches!(event, Event::Step(_)));
            if steps == 8 { Control::Stop } else { Control::Continue }
        })
        .unwrap();
    assert!(summary.interrupted && summary.steps == 8, "{summary:?}");
    run(&mut Trainer::resume(&backend(), &parts, dataset()).unwrap(), &parts);

    assert!(checkpoint(&whole) == checkpoint(&parts), "the bits differ");
}

#[test]
fn a_crash_between_the_two_renames_is_repaired() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut epochs = 0;
    let mut old_state = Vec::new();
    Trainer::new(&backend(), recipe(), dataset())
        .unwrap()
        .run(&folder, &mut |event| {
            if matches!(event, Event::EpochEnd(_)) {
                epochs += 1;
                if epochs == 1 {
                    old_state = fs::read(folder.state()).unwrap();
                }
            }
            if epochs == 2 { Control::Stop } else { Control::Continue }
        })
        .unwrap();
    let staged = folder.path().join("state.safetensors.tmp");
    fs::rename(folder.state(), &staged).unwrap();
    fs::write(folder.state(), &old_state).unwrap();
    let summary = run(&mut Trainer::resume(&backend(), &folder, dataset()).unwrap(), &folder);
    assert_eq!(summary.epochs, 3);

    // Without the staged file the two do not belong together, and that is said.
    fs::write(folder.state(), &old_state).unwrap();
    let error = Trainer::resume(&backend(), &folder, dataset()).err().unwrap().to_string();
    assert!(error.contains("must be of step 18, that of the weights"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_before_the_weights() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut wild = recipe();
    wild.optimizer.lr = 1e30;
    wild.schedule.kind = cnn_train::ScheduleKind::Constant;
    let mut trainer = Trainer::new(&backend(), wild, dataset()).unwrap();
    let error = trainer.run(&folder, &mut |_| Control::Continue).unwrap_err();
    let Error::NotFinite { step, .. } = &error else { panic!("{error}") };
    assert!(*step >= 2 && error.to_string().contains("first seen in"), "{error}");
    for parameter in cnn_core::nn::parameters(&**trainer.model()) {
        let values = backend().download(parameter.value()).unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{} was touched", parameter.name());
    }
    let saved = Weights::read(folder.weights()).unwrap();
    assert_eq!(saved.info().step, step - 1, "what was saved is of the step before");
}

#[test]
fn weights_of_another_model_are_refused_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut short = recipe();
    short.epochs = 1;
    run(&mut Trainer::new(&backend(), short, dataset()).unwrap(), &folder);
    let text = fs::read_to_string(folder.recipe()).unwrap().replace("stepwise", "resnet18");
    fs::write(folder.recipe(), text).unwrap();
    let error = Trainer::resume(&backend(), &folder, dataset()).err().unwrap().to_string();
    assert!(!error.contains('\n') && error.contains("another recipe"), "{error}");
}

/// The training losses of the epochs of a run, and how it ended.
fn losses<B: Backend>(backend: &B, recipe: Recipe, folder: &RunFolder) -> (Vec<f64>, Summary) {
    let mut losses = Vec::new();
    let summary = Trainer::new(backend, recipe, dataset()).unwrap().run(folder, &mut |event| {
        if let Event::EpochEnd(report) = event {
            losses.push(report.train_loss);
        }
        Control::Continue
    });
    (losses, summary.unwrap())
}

#[test]
fn half_precision_learns_as_single_precision_does() {
    let place = tempfile::tempdir().unwrap();
    let [single, half] = ["single", "half"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
    let in_half = Recipe { precision: Precision::Bf16, ..recipe() };
    let cpu = Cpu::<bf16>::with_threads(2).unwrap();
    let (expected, _) = losses(&backend(), recipe(), &single);
    let (got, summary) = losses(&cpu, in_half.clone(), &half);
    assert!(got.iter().is_sorted_by(|a, b| a > b), "the loss falls: {got:?}");
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() < 0.05 * expected, "losses {got:?}, in f32 {expected:?}");
    }
    let test = summary.test.unwrap();
    assert!(test.accuracy() > 0.9, "accuracy {}", test.accuracy());

    // The file says how it was trained, holds f32, and loads in either precision.
    let weights = Weights::read(half.weights()).unwrap();
    assert_eq!(weights.info().precision, Precision::Bf16);
    let archive = Archive::from_bytes(&fs::read(half.weights()).unwrap()).unwrap();
    assert!(archive.arrays.values().all(|array| matches!(array.values, Values::F32(_))));
    let evaluate = |classifier: &Classifier<_>| classifier.evaluate(&dataset().test, 16, &mut |_, _| {}).unwrap();
    assert_eq!(evaluate(&Classifier::from_weights(&cpu, weights.clone()).unwrap()), test);
    let in_single = Classifier::from_weights(&backend(), weights).unwrap();
    let in_single = in_single.evaluate(&dataset().test, 16, &mut |_, _| {}).unwrap();
    assert!((in_single.loss - test.loss).abs() < 0.05 * test.loss, "{} and {}", in_single.loss, test.loss);

    // Nothing goes on in another precision than it began in.
    let error = Trainer::resume(&backend(), &half, dataset()).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "precision bf16: must be f32, that of the backend");
    let error = Trainer::new(&cpu, recipe(), dataset()).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "precision f32: must be bf16, that of the backend");
}

#[test]
fn an_interrupted_run_in_half_precision_ends_in_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
    let recipe = Recipe { precision: Precision::Bf16, ..recipe() };
    let cpu = |threads| Cpu::<bf16>::with_threads(threads).unwrap();
    losses(&cpu(1), recipe.clone(), &whole);
    let mut steps = 0;
    let mut trainer = Trainer::new(&cpu(2), recipe, dataset()).unwrap();
    let stop = |event: &Event| {
        steps += u32::from(matches!(event, Event::Step(_)));
        if steps == 8 { Control::Stop } else { Control::Continue }
    };
    assert!(trainer.run(&parts, &mut { stop }).unwrap().interrupted);
    Trainer::resume(&cpu(2), &parts, dataset()).unwrap().run(&parts, &mut |_| Control::Continue).unwrap();
    let [whole, parts] = [&whole, &parts].map(|folder| fs::read(folder.weights()).unwrap());
    assert!(whole == parts, "the weights differ");
}

#[test]
fn a_set_with_a_validation_split_of_its_own_is_watched_with_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut watched = dataset();
    watched.validation = Some(watched.test.clone());
    let plain = Recipe { validation: 0.0, epochs: 1, ..recipe() };
    let mut seen = None;
    Trainer::new(&backend(), plain.clone(), watched)
        .unwrap()
        .run(&folder, &mut |event| {
            if let Event::EpochEnd(report) = event {
                seen = report.validation.as_ref().map(|validation| validation.count);
            }
            Control::Continue
        })
        .unwrap();
    assert_eq!(seen, Some(dataset().test.len() as u64));

    // A fraction that leaves nothing to watch with is no fraction.
    let error = Trainer::new(&backend(), Recipe { validation: 1e-4, ..plain }, dataset()).err().unwrap().to_string();
    assert!(error.contains("validation 0.0001: holds out none of the "), "{error}");
}

#[test]
fn the_size_of_the_images_and_that_of_the_recipe_are_one() {
    let place = tempfile::tempdir().unwrap();
    for class in ["dark", "light"] {
        let folder = place.path().join("pictures").join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..12u8 {
            image::save_buffer(folder.join(format!("{i}.png")), &[9 * i; 300], 10, 10, image::ColorType::Rgb8).unwrap();
        }
    }
    let data = place.path().join("pictures").to_str().unwrap().to_owned();
    let data = open(&data, "".as_ref(), &OpenOptions::default().size([8, 6])).unwrap();
    let made = Recipe { validation: 0.0, ..recipe() };
    let trainer = Trainer::new(&backend(), made.clone(), data.clone()).unwrap();
    assert_eq!(trainer.recipe().size, Some([8, 6]));
    let error = Trainer::new(&backend(), Recipe { size: Some([8, 8]), ..made }, data).unwrap_err().to_string();
    assert!(error.starts_with("size 8x8: must be 8x6"), "{error}");
}

#[test]
fn weights_are_found_in_the_folder_of_their_run() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut trainer(), &folder);
    let [one, other] =
        [folder.path().to_owned(), folder.weights()].map(|path| Classifier::load(&backend(), path).unwrap());
    assert_eq!(one.info(), other.info());
}
