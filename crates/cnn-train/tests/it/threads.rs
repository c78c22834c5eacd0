//! A run ends in the same bits on any number of threads, and on any mix of them over its parts.

use crate::support::{checkpoint, shades};
use cnn_core::{Backend, bf16};
use cnn_cpu::Cpu;
use cnn_data::Dataset;
use cnn_train::{Control, Event, Precision, Recipe, RunFolder, Trainer};

const THREADS: [usize; 6] = [1, 2, 3, 4, 7, 16];

/// Images of 16x16 and batches of 32: every kernel has more than one task.
fn dataset() -> Dataset {
    shades(96)
}

/// Convolutions with normalisations, pooling, a shortcut-free way to a dense layer; nine steps.
fn recipe(precision: Precision) -> Recipe {
    let recipe = Recipe::default_for("small", "made").unwrap();
    Recipe { epochs: 3, batch: 32, precision, ..recipe }
}

/// What a run leaves that has this many threads in each of its parts, which are of two steps but for the last.
fn run<B: Backend>(precision: Precision, parts: &[usize], backend: impl Fn(usize) -> B) -> [Vec<u8>; 2] {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    for (part, &threads) in parts.iter().enumerate() {
        let mut trainer = match part {
            0 => Trainer::new(&backend(threads), recipe(precision), dataset()).unwrap(),
            _ => Trainer::resume(&backend(threads), &folder, dataset()).unwrap(),
        };
        let (mut steps, last) = (0, part + 1 == parts.len());
        let mut observe = |event: &Event| {
            steps += u32::from(matches!(event, Event::Step(_)));
            if steps == 2 && !last { Control::Stop } else { Control::Continue }
        };
        assert_eq!(trainer.run(&folder, &mut observe).unwrap().interrupted, !last);
    }
    checkpoint(&folder)
}

fn any_number_gives_the_same<B: Backend>(precision: Precision, backend: impl Fn(usize) -> B) {
    let expected = run(precision, &[1], &backend);
    for threads in &THREADS[1..] {
        assert!(run(precision, &[*threads], &backend) == expected, "{precision}, {threads} threads: the bits differ");
    }
    for mix in [[16, 1, 7, 3], [2, 4, 1, 16], [3, 7, 2, 1]] {
        assert!(run(precision, &mix, &backend) == expected, "{precision}, {mix:?} threads: the bits differ");
    }
}

#[test]
fn a_run_in_f32_ends_in_the_same_bits_on_any_number_of_threads() {
    any_number_gives_the_same(Precision::F32, |threads| Cpu::<f32>::with_threads(threads).unwrap());
}

#[test]
fn a_run_in_bf16_ends_in_the_same_bits_on_any_number_of_threads() {
    any_number_gives_the_same(Precision::Bf16, |threads| Cpu::<bf16>::with_threads(threads).unwrap());
}
