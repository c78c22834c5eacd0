//! A GPU that is lost in the middle of its work: each later call is an error that says so, of the same type, in whatever way
//! work was handed over; nothing panics, and everything that holds of the device can still be let go.

use std::cell::RefCell;
use std::env::var_os;

use cnn_core::backend::{Inference, Later};
use cnn_core::ops::Labels;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions, Outcome};
use cnn_core::{Device, Error, Frozen, Pass, Result, Tensor};
use cnn_cuda::{Buffer, Cuda};
use cnn_models::{Arch, Model};
use half::bf16;

use crate::device::{again, open, options};

const IMAGE: [usize; 3] = [6, 6, 3];
const BATCH: usize = 4;
/// Whether steps and passes are graphs.
const GRAPHS: &str = "CNN_TEST_GRAPHS";

fn is_lost(error: &Error) -> bool {
    match error {
        Error::Layer { error, .. } => is_lost(error),
        Error::Device { backend: "cuda", message } => {
            message.starts_with("GPU 0 ")
                && message.ends_with(": CUDA_ERROR_ECC_UNCORRECTABLE (uncorrectable ECC error encountered)")
        }
        _ => false,
    }
}

/// All that is asked for meanwhile and not let go.
#[derive(Default)]
struct Kept {
    buffers: Vec<Buffer<bf16>>,
    later: Vec<Later<f32>>,
    outcomes: Vec<Outcome<Cuda<bf16>>>,
}

fn images(cuda: &Cuda<bf16>) -> Result<Tensor<Cuda<bf16>>> {
    Tensor::from_slice(cuda, [BATCH, IMAGE[0], IMAGE[1], IMAGE[2]], &[0.5; BATCH * 108])
}

/// A step, and a pass of what it has trained, in every way in which a device is used.
fn step(
    cuda: &Cuda<bf16>,
    model: &mut Model<Cuda<bf16>>,
    optimizer: &mut Optimizer<Cuda<bf16>>,
    kept: &RefCell<Kept>,
) -> Result<()> {
    let (images, labels) = (images(cuda)?, Labels::new(cuda, &[0, 1, 0, 1])?);
    let (loss, health) = cuda.at_once(|| {
        let pass = Pass::train(cuda, 1);
        let loss = model.call(&pass.input(images.clone())?)?.cross_entropy_with(&labels, 0.0)?;
        let health = optimizer.step(1e-3, model, &loss.backward()?)?;
        Ok((loss, health))
    })?;
    let outcome = Outcome::new(cuda, &loss, &health)?;
    let mut kept = kept.borrow_mut();
    kept.outcomes.push(outcome);
    kept.later.push(cuda.download_later(&cuda.upload(&[1.0f32, 2.0])?)?);
    kept.buffers.push(cuda.upload(&[bf16::ONE; 7])?);
    kept.outcomes.last().unwrap().read().map(|_| ())
}

/// Every later call, by name.
fn every_call(cuda: &Cuda<bf16>, frozen: Option<&Frozen<Cuda<bf16>>>, kept: &Kept) -> Vec<(&'static str, Result<()>)> {
    let numbers = kept.buffers.first();
    let mut calls = vec![
        ("upload", cuda.upload(&[1.0f32; 3]).map(|_| ())),
        ("upload of much", cuda.upload(&vec![1.0f32; 9 << 20]).map(|_| ())),
        ("fill", cuda.fill(12_345, 0.0f32).map(|_| ())),
        ("fill at once", cuda.at_once(|| cuda.fill(3, 1u32).map(|_| ()))),
        ("synchronise", cuda.synchronise()),
        ("memory", cuda.own_memory().map(|_| ())),
        ("another device", Cuda::<f32>::open(&options().unwrap()).map(|_| ())),
    ];
    if let Some(numbers) = numbers {
        calls.push(("download", cuda.download(numbers).map(|_| ())));
        calls.push(("download later", cuda.download_later(numbers).and_then(|later| later.get().map(|_| ()))));
        calls.push(("add", cuda.add(numbers.clone(), numbers).map(|_| ())));
        let pass = |input: Buffer<bf16>| cuda.add(input.clone(), &input);
        calls.push(("record", cuda.record(numbers.clone(), &pass).map(|_| ())));
    }
    if let Some(frozen) = frozen {
        calls.push(("a frozen pass", images(cuda).and_then(|images| frozen.run(images).map(|_| ()))));
    }
    calls
}

/// Works until the device is lost, and then goes on asking.
fn until_it_is_lost() {
    let cuda = open::<bf16>(&options().unwrap().graphs(var_os(GRAPHS).is_some_and(|graphs| graphs == "yes")));
    let kept = RefCell::new(Kept::default());
    let (mut frozen, mut steps) = (None, 0);
    let work = || -> Result<()> {
        let mut model = "stepwise".parse::<Arch>().unwrap().build(&cuda, 3, IMAGE, 2)?;
        let mut optimizer = Optimizer::new(&cuda, &model, OptimizerOptions::new(Method::NESTEROV))?;
        let frozen = frozen.insert(Frozen::new(&cuda, &mut *model, &IMAGE)?);
        while steps < 100 {
            step(&cuda, &mut model, &mut optimizer, &kept)?;
            frozen.run(images(&cuda)?)?.to_vec(&cuda)?;
            steps += 1;
        }
        Ok(())
    };
    let error = { work }().expect_err("the device was not lost");
    assert!(is_lost(&error), "after {steps} steps: {error}");
    println!("lost after {steps} steps");
    for round in 0..2 {
        for (call, result) in every_call(&cuda, frozen.as_ref(), &kept.borrow()) {
            let Err(error) = result else { panic!("{call} of round {round} succeeds") };
            assert!(is_lost(&error), "{call} of round {round}: {error}");
        }
    }
    // What was on its way may have arrived.
    let kept = kept.into_inner();
    let arrived = kept.later.iter().map(|later| later.get().map(|_| ()));
    let read = kept.outcomes.iter().map(|outcome| outcome.read().map(|_| ()));
    arrived.chain(read).filter_map(Result::err).for_each(|error| assert!(is_lost(&error), "{error}"));
    // The device first, which its buffers outlive.
    drop(cuda);
    drop(frozen);
    drop(kept);
}

/// While the network is made, in its first step, and once steps and passes are played.
#[test]
fn a_device_that_is_lost_is_an_error_whenever_it_is() {
    const SELF: &str = "lost::a_device_that_is_lost_is_an_error_whenever_it_is";
    if var_os("EMULATOR_LOST").is_some() {
        return until_it_is_lost();
    }
    for (streams, graphs) in [("at_once", "yes"), ("late", "yes"), ("late:0", "yes"), ("late:1", "yes"), ("late", "no")]
    {
        for lost in ["0", "1", "17", "50", "200", "211"] {
            let variables = [("EMULATOR_LOST", lost), ("EMULATOR_STREAMS", streams), (GRAPHS, graphs)];
            let Some((passed, said)) = again(&[SELF], &variables) else { return };
            assert!(passed, "lost at kernel {lost}, streams {streams}, graphs {graphs}: {said}");
        }
    }
}
