//! Runs that are stopped, resumed, refused, and behind their device.

use std::fs;

use cnn_core::archive::Archive;
use cnn_core::nn::{BatchNorm2d, Init, Linear, Module, Param, Scope, name_fields, parameters, parameters_mut};
use cnn_core::{Device, Mode, Var, named_fields};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, ImageSet};

use super::*;
use crate::fault_tests::{cpu, dataset, left, recipe};
use crate::report::StepReport;
use crate::{AugmentRecipe, AverageRecipe, FreezeRecipe, InitRecipe, Networks, Recipe, ScheduleKind};

#[test]
fn a_device_that_runs_behind_makes_the_same_run() {
    let place = tempfile::tempdir().unwrap();
    let run = |ahead: usize| {
        let folder = RunFolder::create(place.path().join(ahead.to_string())).unwrap();
        let mut trainer =
            Trainer::new(&cpu(), Recipe { batch: 6, checkpoint_minutes: 1e30, ..recipe() }, dataset()).unwrap();
        assert_eq!(trainer.behind, 0, "a CPU has made a step when it returns from it");
        trainer.behind = ahead;
        let mut events = Vec::new();
        let mut observe = |event: &Event| {
            events.push(match event {
                Event::Step(StepReport { step, loss, accuracy, lr, .. }) => {
                    format!("{step} {loss} {accuracy} {lr}")
                }
                Event::EpochEnd(EpochReport { step, train_loss, lr, .. }) => {
                    format!("end {step} {train_loss} {lr}")
                }
                Event::Evaluating { done, .. } => format!("evaluated {done}"),
                Event::EpochBegin { epoch, .. } => format!("epoch {epoch}"),
                Event::Saved { .. } => "saved".to_owned(),
                Event::Warning { text } => text.clone(),
            });
            Control::Continue
        };
        trainer.run(&folder, &mut observe).unwrap();
        (left(folder.path()), events)
    };
    let expected = run(0);
    assert_eq!(expected.1.iter().filter(|event| event.contains("end")).count(), 2);
    for ahead in [1, 2, 100] {
        let (files, events) = run(ahead);
        assert!(files == expected.0, "{ahead} steps ahead: the files differ");
        assert_eq!(events, expected.1, "{ahead} steps ahead");
    }
}

/// A network with running statistics, which refuses its training pass number `refused`.
struct Normalised<B: Backend> {
    norm: BatchNorm2d<B>,
    fc: Linear<B>,
    scope: Scope,
    passes: u64,
    refused: u64,
}

named_fields!(Normalised { norm, fc });

impl<B: Backend> Module<B> for Normalised<B> {
    fn forward(&mut self, x: &Var<B>) -> cnn_core::Result<Var<B>> {
        let y = self.fc.call(&self.norm.call(x)?.flatten()?)?;
        self.passes += u64::from(x.pass().mode() == Mode::Train);
        if self.passes == self.refused && x.pass().mode() == Mode::Train {
            return Err(cnn_core::Error::invalid("pass", self.passes, "is refused"));
        }
        Ok(y)
    }
}

/// Runs the network that refuses a pass, and returns what is saved and the error.
fn normalised(refused: u64, ahead: usize, lr: f64, stop_after: u64) -> ([Vec<u8>; 2], Option<String>) {
    let networks = Networks::new().with("normalised", move |backend: &Cpu<f32>, seed, [h, w, channels], classes| {
        let init = &mut Init::new(backend, seed);
        let (norm, fc) = (BatchNorm2d::new(init, channels)?, Linear::new(init, h * w * channels, classes)?);
        let mut model = Normalised { norm, fc, scope: Scope::default(), passes: 0, refused };
        name_fields(&mut model);
        Ok(model)
    });
    let mut recipe = Recipe { model: "normalised".into(), batch: 4, checkpoint_minutes: 1e30, ..recipe() };
    (recipe.optimizer.lr, recipe.schedule.kind) = (lr, ScheduleKind::Constant);
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = Trainer::with_networks(&cpu(), recipe, dataset(), &networks).unwrap();
    trainer.behind = ahead;
    let mut steps = 0;
    let result = trainer.run(&folder, &mut |event| {
        steps += u64::from(matches!(event, Event::Step(_)));
        if steps == stop_after { Control::Stop } else { Control::Continue }
    });
    ([folder.weights(), folder.state()].map(|file| fs::read(file).unwrap()), result.err().map(|e| e.to_string()))
}

/// Weights, statistics and the place in the epoch, of a state that also has what was timed.
fn untimed([weights, state]: [Vec<u8>; 2]) -> (Vec<u8>, Vec<f64>) {
    let state = Archive::from_bytes(&state).unwrap();
    (weights, state.arrays["progress.sums"].to_float::<f64>().unwrap()[..3].to_vec())
}

#[test]
fn a_step_that_fails_leaves_no_trace_in_what_is_saved() {
    for ahead in [0, 2] {
        let (saved, error) = normalised(4, ahead, 0.01, u64::MAX);
        assert!(error.is_some_and(|error| error.contains("is refused")));
        let (expected, error) = normalised(0, 0, 0.01, 3);
        assert_eq!(error, None);
        assert!(untimed(saved) == untimed(expected), "{ahead} steps ahead");
    }
}

#[test]
fn a_step_that_is_not_finite_leaves_no_trace_in_what_is_saved() {
    let (saved, error) = normalised(0, 0, 1e30, u64::MAX);
    let error = error.unwrap();
    let made = (1..9).find(|made| error.contains(&format!("step {}: ", made + 1)) && error.contains("is not finite"));
    let (expected, _) = normalised(0, 0, 1e30, made.unwrap_or_else(|| panic!("{error}")));
    assert!(untimed(saved) == untimed(expected), "{error}");
}

/// What is kept beside the weights, what is frozen on the way, both kinds of average, and images that are mixed.
#[test]
fn a_run_with_an_average_is_resumed_to_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    for kind in [AverageKind::Ema, AverageKind::Lookahead] {
        let with = || Recipe {
            batch: 6,
            epochs: 3,
            tta: true,
            checkpoint_minutes: 1e30,
            average: Some(AverageRecipe { kind, every: 2, decay: 0.5, ramp: 1.0 }),
            freeze: vec![FreezeRecipe { pattern: "fc*.bias".into(), after_epochs: Some(1), ..FreezeRecipe::default() }],
            augment: AugmentRecipe { mixup: 0.5, cutmix: 1.0, ..recipe().augment },
            ..recipe()
        };
        let run = |name: &str, stops: &[u64]| {
            let folder = RunFolder::create(place.path().join(format!("{kind:?}-{name}"))).unwrap();
            let mut trainer = Trainer::new(&cpu(), with(), dataset()).unwrap();
            for &stop in stops {
                let mut steps = 0;
                let summary = trainer.run(&folder, &mut |event| {
                    steps += u64::from(matches!(event, Event::Step(_)));
                    if steps >= stop { Control::Stop } else { Control::Continue }
                });
                assert!(summary.unwrap().interrupted);
                trainer = Trainer::resume(&cpu(), &folder, dataset()).unwrap();
            }
            let summary = trainer.run(&folder, &mut |_| Control::Continue).unwrap();
            (summary.test, summary.test_tta, left(folder.path()))
        };
        let whole = run("whole", &[]);
        assert!(whole.0.is_some() && whole.1.is_some());
        assert!(run("in parts", &[1, 2, 4]) == whole, "{kind:?}");
        let state = place.path().join(format!("{kind:?}-whole")).join("state.safetensors");
        let state = Archive::from_bytes(&fs::read(state).unwrap()).unwrap();
        assert!(state.arrays.keys().any(|name| name.starts_with("trained.")), "{:?}", state.arrays.keys());
    }
}

/// An average that moves all the way behind the last step, which is also the end of an epoch, is what that step left.
#[test]
fn the_last_step_of_a_run_is_in_its_average() {
    let place = tempfile::tempdir().unwrap();
    let run = |name: &str, average: Option<AverageRecipe>| {
        let folder = RunFolder::create(place.path().join(name)).unwrap();
        let recipe = Recipe { batch: 6, epochs: 2, average, ..recipe() };
        let mut trainer = Trainer::new(&cpu(), recipe, dataset()).unwrap();
        let steps = trainer.run(&folder, &mut |_| Control::Continue).unwrap().steps;
        (steps, Archive::from_bytes(&fs::read(folder.weights()).unwrap()).unwrap().arrays)
    };
    let (every, plain) = run("plain", None);
    for kind in [AverageKind::Ema, AverageKind::Lookahead] {
        let average = |every| Some(AverageRecipe { kind, every, decay: 0.0, ramp: 0.0 });
        assert!(run(&format!("{kind:?}"), average(every)).1 == plain, "{kind:?}");
        assert!(run(&format!("{kind:?} earlier"), average(every - 1)).1 != plain, "{kind:?}");
    }
}

#[test]
fn a_step_in_parts_is_the_same_step() {
    let place = tempfile::tempdir().unwrap();
    let run = |accumulate: usize| {
        let folder = RunFolder::create(place.path().join(accumulate.to_string())).unwrap();
        let mut reports = Vec::new();
        Trainer::new(&cpu(), Recipe { accumulate, ..recipe() }, dataset())
            .unwrap()
            .run(&folder, &mut |event| {
                if let Event::Step(StepReport { loss, accuracy, .. }) = event {
                    reports.push([*loss, *accuracy]);
                }
                Control::Continue
            })
            .unwrap();
        let weights = Archive::from_bytes(&fs::read(folder.weights()).unwrap()).unwrap();
        (reports, weights.arrays.values().flat_map(|array| array.to_float::<f64>().unwrap()).collect::<Vec<_>>())
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1e-2));
    let whole = run(1);
    assert_eq!(whole.0.len(), 4);
    // 12 images in parts of 12, of 3, and of 3 and 2.
    for accumulate in [4, 5] {
        let parts = run(accumulate);
        assert!(near(parts.0.as_flattened(), whole.0.as_flattened()), "{accumulate}: {:?} {:?}", parts.0, whole.0);
        assert!(near(&parts.1, &whole.1), "{accumulate} parts");
        assert!(parts.1 != whole.1, "the parts were not computed by themselves");
    }
    let error = Trainer::new(&cpu(), Recipe { accumulate: 13, ..recipe() }, dataset()).unwrap_err().to_string();
    assert_eq!(error, "accumulate 13: must be at least 1, and at most the batch");
}

#[test]
fn images_are_mixed_and_their_labels_with_them() {
    let with =
        |mixup: f64, cutmix: f64| AugmentRecipe { mixup, cutmix, crop_padding: 0, flip: false, ..recipe().augment };
    let inputs = |augment| {
        let trainer = Trainer::new(&cpu(), Recipe { augment, ..recipe() }, dataset()).unwrap();
        let augment = trainer.recipe.augment();
        let batch = trainer.loader.epoch(0, &augment).next().unwrap().unwrap();
        let (images, labels) = trainer.inputs(&batch, 5).unwrap();
        (images.to_vec(&cpu()).unwrap(), format!("{labels:?}"), batch.len())
    };
    let (plain, labels, count) = inputs(with(0.0, 0.0));
    assert!(labels.contains("own: 1.0"), "{labels}");
    for augment in [with(8.0, 0.0), with(0.0, 1.0)] {
        let mix = Recipe { augment: augment.clone(), ..recipe() }.mixing().draw(0, 5, [6, 6, 1]).unwrap();
        let (mixed, labels, _) = inputs(augment);
        assert!(labels.contains(&format!("own: {:?}", mix.own_label())) && mix.own_label() < 1.0, "{labels}");
        let [top, left, bottom, right] = mix.patch.map(usize::from);
        for (i, (mixed, plain_)) in mixed.iter().zip(&plain).enumerate() {
            let (image, row, column) = (i / 36, i % 36 / 6, i % 6);
            let before = f64::from(plain[(image + count - 1) % count * 36 + i % 36]);
            let inside = (top..bottom).contains(&row) && (left..right).contains(&column);
            let own = if inside { 0.0 } else { mix.own };
            let expected = own * f64::from(*plain_) + (1.0 - own) * before;
            assert!((f64::from(*mixed) - expected).abs() < 1e-6, "{i}: {mixed}, expected {expected}");
        }
    }
    let error = Trainer::new(&cpu(), Recipe { augment: with(-1.0, 0.0), ..recipe() }, dataset()).unwrap_err();
    assert_eq!(error.to_string(), "mixup -1: must be from 0 to 100");
}

#[test]
fn what_is_frozen_is_a_parameter() {
    let freeze = vec![FreezeRecipe { pattern: "layer9.*".into(), after_epochs: Some(1), ..FreezeRecipe::default() }];
    let error = Trainer::new(&cpu(), Recipe { freeze, ..recipe() }, dataset()).unwrap_err().to_string();
    assert!(error.starts_with("freeze layer9.*: must match a parameter of the model: conv.weight, "), "{error}");
}

#[test]
fn parameters_begin_as_the_recipe_says() {
    let init = |pattern: &str| vec![InitRecipe { pattern: pattern.into(), value: 0.25 }];
    let trainer = Trainer::new(&cpu(), Recipe { init: init("fc*.bias"), ..recipe() }, dataset()).unwrap();
    let of_a_quarter = |p: &&Param<Cpu<f32>>| cpu().download(p.value()).unwrap().iter().all(|&value| value == 0.25);
    let parameters = parameters(&*trainer.model);
    let (set, others): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|p| p.name().starts_with("fc") && p.name().ends_with(".bias"));
    assert!(!set.is_empty() && set.iter().all(of_a_quarter) && !others.iter().any(of_a_quarter));
    let error = Trainer::new(&cpu(), Recipe { init: init("layer9.*"), ..recipe() }, dataset()).unwrap_err().to_string();
    assert!(error.starts_with("init layer9.*: must match a parameter of the model: conv.weight, "), "{error}");
}

#[test]
fn units_that_died_are_told_of_and_looking_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let run = |name: &str, value: f64| {
        let folder = RunFolder::create(place.path().join(name)).unwrap();
        let init = vec![InitRecipe { pattern: "conv*.bias".into(), value }];
        let mut told = Vec::new();
        let mut trainer = Trainer::new(&cpu(), Recipe { init, ..recipe() }, dataset()).unwrap();
        let mut observe = |event: &Event| {
            told.extend(if let Event::Warning { text } = event { Some(text.clone()) } else { None });
            Control::Continue
        };
        trainer.run(&folder, &mut observe).unwrap();
        told
    };
    let none = run("alive", 0.0);
    assert!(none.is_empty(), "{none:?}");
    let told = run("dead", -2e4);
    let is = |text: &&String, words: &str| text.contains(words);
    assert!(is(&&told[0], "32 of 32 ReLUs behind conv are dead after epoch 1: 0 for all of 24"), "{told:?}");
    let large = told.iter().filter(|text| is(text, "the outputs of conv are large after epoch 1, 2.0e4")).count();
    assert_eq!(large, 1, "{told:?}");
}

/// One unit for each of two classes, each silent for the other.
struct ByClass<B: Backend> {
    fc1: Linear<B>,
    fc2: Linear<B>,
    scope: Scope,
}

named_fields!(ByClass { fc1, fc2 });

impl<B: Backend> Module<B> for ByClass<B> {
    fn forward(&mut self, x: &Var<B>) -> cnn_core::Result<Var<B>> {
        self.fc2.call(&self.fc1.call(&x.flatten()?)?.relu()?)
    }
}

/// A folder is stored class by class: who looks at its first images sees one class.
#[test]
fn units_of_one_class_are_not_dead() {
    let split = |count: u32| {
        let labels: Vec<u32> = (0..2 * count).map(|i| i / count).collect();
        let bytes = labels.iter().flat_map(|label| [50 + 100 * *label as u8; 36]).collect();
        ImageSet::from_bytes("sorted", [6, 6, 1], &["dark", "bright"], labels, bytes).unwrap()
    };
    let dataset = Dataset::new("sorted", split(70), split(2)).unwrap();
    let between = (100.0 / 255.0 - dataset.mean[0]) / dataset.std[0];
    let networks = Networks::new().with("by class", move |backend: &Cpu<f32>, seed, [h, w, c], classes| {
        let init = &mut Init::new(backend, seed);
        let (fc1, fc2) = (Linear::new(init, h * w * c, 2)?, Linear::new(init, 2, classes)?);
        let mut model = ByClass { fc1, fc2, scope: Scope::default() };
        name_fields(&mut model);
        let weights: Vec<f32> = [1.0 / 36.0, -1.0 / 36.0].repeat(36);
        for parameter in parameters_mut(&mut model) {
            match parameter.name() {
                "fc1.weight" => *parameter.value_mut() = backend.upload(&weights)?,
                "fc1.bias" => *parameter.value_mut() = backend.upload(&[-between, between])?,
                _ => {}
            }
        }
        Ok(model)
    });
    let mut recipe = Recipe { model: "by class".into(), epochs: 1, ..recipe() };
    recipe.optimizer.lr = 1e-12;
    for (batch, accumulate) in [(12, 1), (12, 12)] {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path().join("run")).unwrap();
        let recipe = Recipe { batch, accumulate, ..recipe.clone() };
        let mut trainer = Trainer::with_networks(&cpu(), recipe, dataset.clone(), &networks).unwrap();
        let mut told = Vec::new();
        trainer
            .run(&folder, &mut |event| {
                told.extend(if let Event::Warning { text } = event { Some(text.clone()) } else { None });
                Control::Continue
            })
            .unwrap();
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn an_epoch_tells_its_norm_and_how_long_it_waited() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let (mut largest, mut told, mut of_epochs) = (0f64, 0, Vec::new());
    let mut trainer = Trainer::new(&cpu(), recipe(), dataset()).unwrap();
    (trainer.recipe.optimizer.lr, trainer.recipe.schedule.kind) = (1e-12, ScheduleKind::Constant);
    let summary = trainer.run(&folder, &mut |event| match event {
        Event::Step(step) => {
            largest = largest.max(step.gradient_norm);
            Control::Continue
        }
        Event::EpochEnd(report) => {
            of_epochs.push((report.gradient_norm, report.waiting));
            Control::Continue
        }
        Event::Warning { .. } => {
            told += 1;
            Control::Stop
        }
        _ => Control::Continue,
    });
    assert!(!summary.unwrap().interrupted && told == 0);
    assert_eq!(of_epochs.len(), 2);
    assert!(of_epochs.iter().all(|(norm, waiting)| norm.unwrap() > 0.0 && (0.0..=1.0).contains(&waiting.unwrap())));
    assert_eq!(of_epochs.iter().map(|(norm, _)| norm.unwrap()).fold(0.0, f64::max), largest);

    // A warning that is answered by a stop ends the run behind its epoch.
    let dead = vec![InitRecipe { pattern: "conv*.bias".into(), value: -2e4 }];
    let folder = RunFolder::create(place.path().join("stopped")).unwrap();
    let mut trainer = Trainer::new(&cpu(), Recipe { init: dead, ..recipe() }, dataset()).unwrap();
    let stop = |event: &Event| if matches!(event, Event::Warning { .. }) { Control::Stop } else { Control::Continue };
    let summary = trainer.run(&folder, &mut |event| stop(event)).unwrap();
    assert_eq!((summary.interrupted, summary.epochs), (true, 1));
    // Whoever has looked for too long for the time that the steps took looks no more.
    trainer.guards.looked = 1e9;
    let mut told = 0;
    trainer
        .run(&folder, &mut |event| {
            told += u32::from(matches!(event, Event::Warning { .. }));
            Control::Continue
        })
        .unwrap();
    assert_eq!(told, 0);
}

#[test]
fn a_run_is_not_written_over_another() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let new = || Trainer::new(&cpu(), recipe(), dataset()).unwrap();
    let mut first = new();
    first.run(&folder, &mut |_| Control::Continue).unwrap();
    let expected = left(folder.path());
    let error = new().run(&folder, &mut |_| Control::Continue).unwrap_err().to_string();
    assert!(error.contains("holds the checkpoint of another run"), "{error}");
    assert!(left(folder.path()) == expected);
    // The run whose it is may go on.
    assert!(!first.run(&folder, &mut |_| Control::Continue).unwrap().interrupted);
    let mut resumed = Trainer::resume(&cpu(), &folder, dataset()).unwrap();
    resumed.run(&folder, &mut |_| Control::Continue).unwrap();
    assert!(left(folder.path()) == expected);
}

#[test]
fn a_step_that_is_refused_does_not_count_however_late_that_is_read() {
    let place = tempfile::tempdir().unwrap();
    let end = |ahead: usize| {
        let folder = RunFolder::create(place.path().join(ahead.to_string())).unwrap();
        let mut wild = Recipe { batch: 6, checkpoint_minutes: 1e30, ..recipe() };
        wild.optimizer.lr = 1e30;
        wild.schedule.kind = ScheduleKind::Constant;
        let mut trainer = Trainer::new(&cpu(), wild, dataset()).unwrap();
        trainer.behind = ahead;
        let error = trainer.run(&folder, &mut |_| Control::Continue).unwrap_err();
        (error.to_string(), trainer.progress.step, trainer.info.step)
    };
    let (error, made, said) = end(0);
    assert!(error.contains(&format!("step {}: ", made + 1)) && error.contains("is not finite"), "{error}");
    assert_eq!(made, said);
    assert_eq!(end(2), (error, made, said));
}
