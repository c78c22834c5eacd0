//! Whole runs on the GPU, through the trainer that every device has.

use std::fs;
use std::path::Path;

use cnn_core::Device;
use cnn_core::nn::parameters;
use cnn_cuda::{Cuda, CudaElement};
use cnn_data::{Dataset, ImageSet};
use cnn_train::{Control, Event, Recipe, RunFolder, Trainer};
use half::bf16;

use crate::device::{again, cuda};

fn dataset() -> Dataset {
    let split = |count: u32, seed: u32| {
        let labels: Vec<u32> = (0..count).map(|i| i % 2).collect();
        let value = |(i, &label): (usize, &u32)| {
            (0..36).map(move |p| ((p * 37 + i as u32 * 11 + seed) % 90 + label * 120) as u8).collect::<Vec<u8>>()
        };
        let bytes = labels.iter().enumerate().flat_map(value).collect();
        ImageSet::from_bytes("made", [6, 6, 1], &["dark", "bright"], labels, bytes).unwrap()
    };
    Dataset::new("made", split(26, 0), split(8, 5)).unwrap()
}

/// Three steps an epoch, the last of two images.
fn recipe() -> Recipe {
    let of_network = Recipe::default_for("stepwise", "made").unwrap();
    Recipe { epochs: 3, batch: 12, precision: "bf16".parse().unwrap(), checkpoint_minutes: 1e30, ..of_network }
}

/// The weights' file, and the rows of metrics but for what was timed.
fn left(folder: &Path) -> (Vec<u8>, String) {
    let metrics = fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let untimed = metrics.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_owned() + "\n").collect();
    (fs::read(folder.join("model.safetensors")).unwrap(), untimed)
}

/// Runs to the end; `stops` ends the process's part of it after so many steps, and goes on in a new trainer.
fn train<T: CudaElement>(cuda: &Cuda<T>, folder: &Path, stop: Option<u64>) -> (Vec<u8>, String) {
    let run = RunFolder::create(folder).unwrap();
    let mut trainer = Trainer::new(cuda, recipe(), dataset()).unwrap();
    let (mut steps, mut loss) = (0, f64::NAN);
    let mut observe = |event: &Event| {
        if let Event::Step(step) = event {
            (steps, loss) = (steps + 1, step.loss);
        }
        if Some(steps) == stop { Control::Stop } else { Control::Continue }
    };
    let summary = trainer.run(&run, &mut observe).unwrap();
    if stop.is_some() {
        assert!(summary.interrupted);
        let mut resumed = Trainer::resume(cuda, &run, dataset()).unwrap();
        assert!(resumed.rehearse().unwrap().is_some());
        resumed.run(&run, &mut |_| Control::Continue).unwrap();
    } else {
        assert_eq!((steps, summary.steps), (9, 9));
        assert!(loss < 0.5 && summary.test.unwrap().accuracy() > 0.7, "{loss}");
    }
    left(folder)
}

/// A run learns, and gives the same bits each time and when it is interrupted.
#[test]
fn a_run_learns_and_is_resumed_to_the_same_bits() {
    let Some(cuda) = cuda::<bf16>() else { return };
    let place = tempfile::tempdir().unwrap();
    let expected = train(&cuda, &place.path().join("whole"), None);
    assert!(train(&cuda, &place.path().join("stopped"), Some(4)) == expected, "the resumed run differs");
}

fn weights(trainer: &Trainer<Cuda<bf16>>, cuda: &Cuda<bf16>) -> Vec<u32> {
    let numbers = parameters(trainer.model()).into_iter().flat_map(|p| cuda.download(p.value()).unwrap());
    numbers.map(f32::to_bits).collect()
}

#[test]
fn a_rehearsal_leaves_everything_as_it_was() {
    let Some(cuda) = cuda::<bf16>() else { return };
    let mut trainer = Trainer::new(&cuda, recipe(), dataset()).unwrap();
    let before = weights(&trainer, &cuda);
    let memory = trainer.rehearse().unwrap().unwrap();
    assert!(memory.peak > 0 && memory.peak <= memory.total && memory.free <= memory.total);
    assert_eq!(weights(&trainer, &cuda), before);
}

const LITTLE: &str = "training::where_memory_is_short_a_batch_that_fits_is_named";

/// On a GPU with less and less memory a run is refused before it begins, with a batch that does fit then.
#[test]
fn where_memory_is_short_a_batch_that_fits_is_named() {
    if std::env::var_os("EMULATOR_MEMORY").is_none() {
        let Some((passed, said)) = again(&[LITTLE], &[("EMULATOR_MEMORY", "16000000")]) else { return };
        return assert!(passed, "{said}");
    }
    let recipe = |batch: usize| Recipe { batch, ..recipe() };
    let prepared = |cuda: &Cuda<bf16>, batch: usize| {
        let mut trainer = Trainer::new(cuda, recipe(batch), dataset())?;
        trainer.rehearse().map(|_| ())
    };
    let (mut fits, mut estimated, mut tried) = (0, 0, 0);
    for left in (1..40).map(|i| i * 40_000) {
        let cuda = cuda::<bf16>().unwrap();
        let free = cuda.own_memory().unwrap().unwrap().free as usize;
        const BLOCK: usize = 32 << 10;
        let _others: Vec<_> = (0..(free - left) / BLOCK).map(|_| cuda.fill(BLOCK / 4, 0.0f32).unwrap()).collect();
        let Err(error) = prepared(&cuda, 26) else {
            fits += 1;
            continue;
        };
        let error = error.to_string();
        if error.contains("out of memory") {
            tried += 1;
        } else if error.contains("needs at least") {
            estimated += 1;
        }
        // What is only estimated says how many would do at most.
        if let Some((_, batch)) = error.split_once("a batch of ").filter(|(_, batch)| !batch.starts_with("at most ")) {
            let batch: usize = batch.split(' ').next().unwrap().parse().unwrap();
            assert!(batch < 26, "{error}");
            prepared(&cuda, batch).unwrap_or_else(|again| panic!("{left} bytes: {error}; but {again}"));
        }
    }
    assert!(fits > 0 && estimated > 0 && tried > 0, "{fits} fit, {estimated} did not as estimated, {tried} as tried");
}
