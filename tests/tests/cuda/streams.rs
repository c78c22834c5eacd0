//! Steps and passes as graphs, and uploads beside them: the same results as call by call, whenever streams do their work.

use std::thread;

use cnn_core::backend::Inference;
use cnn_core::nn::parameters;
use cnn_core::ops::Labels;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions, Outcome};
use cnn_core::{Device, Frozen, Pass, Tensor};
use cnn_cuda::{Cuda, CudaElement, Launches};
use cnn_models::Arch;
use half::bf16;

use crate::device::{again, cuda, open, options};

const IMAGE: [usize; 3] = [16, 16, 3];
const STEPS: u32 = 9;
/// Batches of the last three steps are shorter, as those at the end of an epoch are.
const SHORT: u32 = STEPS - 3;

fn images<T: CudaElement>(cuda: &Cuda<T>, batch: usize, seed: u32) -> Tensor<Cuda<T>> {
    let pixel = |i: usize| ((i * 7919 + seed as usize * 104_729) % 1009) as f32 / 504.0 - 1.0;
    let pixels: Vec<f32> = (0..batch * 768).map(pixel).collect();
    Tensor::from_slice(cuda, [batch, IMAGE[0], IMAGE[1], IMAGE[2]], &pixels).unwrap()
}

/// The bits of what some steps come to: each loss, and the weights at the end. Nothing is read back before all steps were
/// asked for.
fn train<T: CudaElement>(cuda: &Cuda<T>, after_step: &mut dyn FnMut(u32)) -> Vec<u64> {
    let mut model = "small".parse::<Arch>().unwrap().build(cuda, 3, IMAGE, 10).unwrap();
    let mut optimizer = Optimizer::new(cuda, &model, OptimizerOptions::new(Method::ADAMW)).unwrap();
    let mut outcomes = Vec::new();
    for step in 0..STEPS {
        let batch = if step < SHORT { 4 } else { 2 };
        let images = images(cuda, batch, step);
        let labels: Vec<u32> = (0..batch as u32).map(|i| (i + step) % 10).collect();
        let labels = Labels::new(cuda, &labels).unwrap();
        let pass = Pass::train(cuda, 1).at_step(step);
        let made = cuda.at_once(|| {
            let loss = model.call(&pass.input(images)?)?.cross_entropy_with(&labels, 0.1)?;
            let health = optimizer.step(1e-3 / f64::from(step + 1), &mut model, &loss.backward()?)?;
            Ok((loss, health))
        });
        let (loss, health) = made.unwrap();
        outcomes.push(Outcome::new(cuda, &loss, &health).unwrap());
        after_step(step);
    }
    let mut bits: Vec<u64> = outcomes.iter().map(|outcome| outcome.read().unwrap().loss.to_bits()).collect();
    for parameter in parameters(&*model) {
        bits.extend(cuda.download(parameter.value()).unwrap().into_iter().map(|v| u64::from(v.to_bits())));
    }
    bits
}

/// Once memory and kernels are there a step is one graph, which is brought up to date and not made anew.
#[test]
fn a_step_is_one_graph() {
    let Some(options) = options() else { return };
    let expected = train(&open::<bf16>(&options.clone().graphs(false)), &mut |_| ());
    let cuda = open::<bf16>(&options);
    let mut launches = Vec::new();
    let mut count = |_| launches.push(cuda.launches().unwrap());
    assert!(train(&cuda, &mut count) == expected, "the bits differ");
    let between = |step: usize| {
        let [before, after] = [launches[step - 1], launches[step]];
        Launches {
            alone: after.alone - before.alone,
            graphs: after.graphs - before.graphs,
            new_graphs: after.new_graphs - before.new_graphs,
        }
    };
    for step in [3, 4, 5, 8] {
        let Launches { alone, graphs, new_graphs } = between(step);
        assert_eq!((graphs, new_graphs), (1, 0), "step {step}");
        // Uploads of images and labels, and three numbers to read later, with their events; the images are narrowed.
        assert!(alone <= 12, "step {step}: {alone}");
    }
}

/// A pass is played from its second or third run on, and gives what it gave before, also when memory has been used for
/// something else in between, to threads that all want something else.
#[test]
fn a_frozen_pass_is_recorded() {
    let Some(options) = options() else { return };
    let run = |cuda: &Cuda<bf16>| {
        let mut model = "small".parse::<Arch>().unwrap().build(cuda, 3, IMAGE, 10).unwrap();
        let frozen = Frozen::new(cuda, &mut *model, &IMAGE).unwrap();
        let logits = |batch: usize, seed: u32| frozen.run(images(cuda, batch, seed)).unwrap().to_vec(cuda).unwrap();
        let mut all = Vec::new();
        for seed in 0..6 {
            all.push(logits(2, seed));
            let other: Vec<_> = (1..30).map(|i| cuda.fill(i * 1000, f32::NAN).unwrap()).collect();
            drop(other);
        }
        let before = cuda.launches().unwrap();
        all.push(logits(2, 7));
        let played = cuda.launches().unwrap();
        let of_threads = thread::scope(|scope| {
            let logits = &logits;
            let thread = |batch: usize| scope.spawn(move || (0..4).map(|seed| logits(batch, seed)).collect::<Vec<_>>());
            let threads: Vec<_> = [1, 2, 3].map(thread).into();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.extend(of_threads);
        (all, played.graphs - before.graphs)
    };
    let (expected, graphs) = run(&open(&options.clone().graphs(false)));
    assert_eq!(graphs, 0);
    let (got, graphs) = run(&open(&options));
    assert_eq!(graphs, 1);
    assert_eq!(got, expected);
}

/// What waits in the middle is not lost, and nothing after it.
#[test]
fn work_that_waits_is_done_in_pieces() {
    let Some(cuda) = cuda::<f32>() else { return };
    let one = cuda.upload(&[1.0f32; 4]).unwrap();
    for _ in 0..3 {
        let (early, late) = cuda
            .at_once(|| {
                let two = cuda.add(one.clone(), &one)?;
                let early = cuda.download(&two)?;
                let three = cuda.add(two, &cuda.upload(&[1.0f32; 4])?)?;
                Ok((early, three))
            })
            .unwrap();
        assert_eq!((early, cuda.download(&late).unwrap()), (vec![2.0; 4], vec![3.0; 4]));
    }
    // What was asked for before an error is done, as it would be call by call.
    let mut sum = None;
    let error = cuda.at_once(|| {
        sum = Some(cuda.add(one.clone(), &one)?);
        cuda.add(one.clone(), &cuda.fill(3, 0.0f32)?)
    });
    assert!(error.is_err());
    assert_eq!(cuda.download(&sum.unwrap()).unwrap(), [2.0; 4]);
}

/// The same with streams that do their work as late as they may, or the one late and the other at once: a wait that is missing would
/// show.
#[test]
fn streams_wait_for_one_another() {
    wait_for_one_another(&["late"]);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn one_stream_waits_for_the_other() {
    wait_for_one_another(&["late:0", "late:1"]);
}

fn wait_for_one_another(late: &[&str]) {
    for &streams in late {
        for test in [
            "streams::a_step_is_the_same_whenever_it_is_done",
            "networks::numbers_on_their_way_are_those_of_their_time",
        ] {
            let Some((passed, said)) = again(&[test], &[("EMULATOR_STREAMS", streams)]) else { return };
            assert!(passed, "{test} with streams {streams}: {said}");
        }
    }
}

/// Two devices in turn: with graphs, whose streams are the first two, and without.
#[test]
fn a_step_is_the_same_whenever_it_is_done() {
    let Some(options) = options() else { return };
    let got = train(&open::<f32>(&options), &mut |_| ());
    assert!(got == train(&open::<f32>(&options.graphs(false)), &mut |_| ()), "the bits differ");
}
