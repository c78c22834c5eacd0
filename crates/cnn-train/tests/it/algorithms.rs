//! Runs by the two algorithms for convolutions: what they leave, and how near they stay to each other.

use std::io::{Write, stderr};
use std::path::PathBuf;

use cnn_cpu::ConvAlgorithm::{self, Auto, Direct, Winograd};
use cnn_cpu::{Cpu, Isa, available_threads};
use cnn_data::{Dataset, OpenOptions, open};
use cnn_train::{Classifier, Control, Event, Recipe, RunFolder, Trainer, Weights};

fn cpu(conv_algo: ConvAlgorithm) -> Cpu<f32> {
    Cpu::with_algorithm(available_threads(), Isa::detect().unwrap(), conv_algo).unwrap()
}

/// The losses of the first `steps` steps of a run, which is then stopped.
fn losses(cpu: &Cpu<f32>, recipe: &Recipe, dataset: &Dataset, folder: &RunFolder, steps: usize) -> Vec<f64> {
    let mut trainer = Trainer::new(cpu, recipe.clone(), dataset.clone()).unwrap();
    let mut losses = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::Step(report) = event {
            losses.push(report.loss);
        }
        if losses.len() < steps { Control::Continue } else { Control::Stop }
    };
    trainer.run(folder, &mut observe).unwrap();
    losses
}

/// The largest relative difference of two series of losses.
fn deviation(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max)
}

/// The relative difference of their means.
fn drift(a: &[f64], b: &[f64]) -> f64 {
    (b.iter().sum::<f64>() / a.iter().sum::<f64>() - 1.0).abs()
}

#[test]
fn a_run_goes_on_by_the_algorithm_that_it_began_with() {
    let place = tempfile::tempdir().unwrap();
    let dataset = open("shapes", "".as_ref(), &OpenOptions::default()).unwrap();
    let recipe =
        Recipe { batch: 8, conv_algo: Winograd.to_string(), ..Recipe::default_for("small", "shapes").unwrap() };
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    assert_eq!(losses(&cpu(Winograd), &recipe, &dataset, &folder, 2).len(), 2);

    let weights = Weights::read(folder.weights()).unwrap();
    assert_eq!(weights.info().conv_algo, "winograd");
    assert!(Trainer::resume(&cpu(Winograd), &folder, dataset.clone()).is_ok());
    for other in [Auto, Direct] {
        let error = Trainer::resume(&cpu(other), &folder, dataset.clone()).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, format!("conv_algo winograd: must be {other}, that of the backend"));
        // The weights themselves are of no algorithm.
        assert!(Classifier::from_weights(&cpu(other), weights.clone()).is_ok());
    }
}

/// ResNet-18, 50 steps of 64 images each way, from the same seed over the same batches.
///
/// A training from random weights is chaotic: one step multiplies a difference of rounding by a hundred, and after twenty
/// the losses of single batches differ by some percent, whatever rounded differently. So what is compared is the first two
/// steps, before that, and the mean of all; a third run, by direct convolution in another instruction set, says how far
/// rounding alone carries.
///
/// Takes minutes: runs where `CNN_LONG_TESTS=1`, on CIFAR-10 where `CNN_DATA` is a folder that holds it, otherwise on drawn
/// shapes.
#[test]
fn winograd_trains_resnet18_as_direct_convolution_does() {
    // Past the harness, which would keep it to itself.
    let say = |line: &str| writeln!(stderr(), "{line}").unwrap();
    if std::env::var_os("CNN_LONG_TESTS").is_none_or(|value| value != "1") {
        say("SKIPPED winograd_trains_resnet18_as_direct_convolution_does: takes minutes; CNN_LONG_TESTS=1 runs it");
        return;
    }
    let (data, root) = match std::env::var_os("CNN_DATA") {
        Some(root) => ("cifar10", PathBuf::from(root)),
        None => ("shapes", PathBuf::new()),
    };
    let dataset = open(data, &root, &OpenOptions::default()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let other = Cpu::with_algorithm(available_threads(), Isa::capped("portable").unwrap(), Direct).unwrap();
    let runs = [("direct", Direct, cpu(Direct)), ("winograd", Winograd, cpu(Winograd)), ("other", Direct, other)];
    let [direct, winograd, other] = runs.map(|(name, conv_algo, cpu)| {
        let recipe =
            Recipe { batch: 64, conv_algo: conv_algo.to_string(), ..Recipe::default_for("resnet18", data).unwrap() };
        let folder = RunFolder::create(place.path().join(name)).unwrap();
        losses(&cpu, &recipe, &dataset, &folder, 50)
    });
    assert_eq!(direct.len(), 50);
    for (name, run) in [("Winograd", &winograd), ("other rounding", &other)] {
        let [most, mean] = [deviation(&direct, run), drift(&direct, run)].map(|x| 100.0 * x);
        say(&format!(
            "resnet18 on {data}, 50 steps, {name}: losses differ by at most {most:.2}%, their means by {mean:.3}%"
        ));
    }
    let message = || format!("losses by direct convolution {direct:?}, by Winograd's {winograd:?}");
    assert!(deviation(&direct, &winograd) > 0.0, "both runs were by the same algorithm");
    assert!(deviation(&direct[..2], &winograd[..2]) < 1e-4, "{}", message());
    assert!(drift(&direct, &winograd) < 0.01, "{}", message());
}
