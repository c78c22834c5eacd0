//! Gradients of a residual block in f32, against differences of what the device itself computes.

use cnn_core::nn::{Init, Module, name_fields, parameters, parameters_mut};
use cnn_core::{Device, Pass, Tensor};
use cnn_cuda::Cuda;
use cnn_models::BasicBlock;

use crate::device::cuda;

const INPUT: [usize; 4] = [4, 6, 6, 8];
const OUTPUT: [usize; 4] = [4, 3, 3, 16];
/// Half the way between the two points of a difference. In f32 a shorter one drowns in rounding, and a longer one crosses the
/// kinks of more ReLUs.
const STEP: f32 = 1e-2;
/// How far a difference may be from the gradient, as a part of the gradient's norm.
const BOUND: f64 = 2e-2;

/// Numbers from -1 to 1, others for each seed.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// The sum of the block's outputs, each with a weight of its own.
fn weighted(cuda: &Cuda<f32>, block: &mut BasicBlock<Cuda<f32>>, x: &[f32]) -> f64 {
    let x = Tensor::from_slice(cuda, INPUT, x).unwrap();
    let y = block.call(&Pass::train(cuda, 0).input(x).unwrap()).unwrap().to_vec().unwrap();
    y.iter().zip(numbers(y.len(), 3)).map(|(&y, w)| f64::from(y) * f64::from(w)).sum()
}

/// Along directions of all signs: of each parameter, and of the input.
#[test]
fn of_a_downsampling_block_in_f32() {
    let Some(cuda) = cuda::<f32>() else { return };
    let mut block = BasicBlock::new(&mut Init::new(&cuda, 5), INPUT[3], OUTPUT[3], 2).unwrap();
    name_fields(&mut block);
    let x = numbers(INPUT.iter().product(), 1);
    let input = Pass::train(&cuda, 0).input(Tensor::from_slice(&cuda, INPUT, &x).unwrap()).unwrap().keep_gradient();
    let dy = Tensor::from_slice(&cuda, OUTPUT, &numbers(OUTPUT.iter().product(), 3)).unwrap();
    let gradients = block.call(&input).unwrap().backward_from(dy).unwrap();

    let agrees = |what: &str, gradient: &[f32], direction: &[f32], [above, below]: [f64; 2]| {
        let product = |(&g, &d): (&f32, &f32)| f64::from(g) * f64::from(d);
        let along: f64 = gradient.iter().zip(direction).map(product).sum();
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let difference = (above - below) / (2.0 * f64::from(STEP));
        assert!(norm > 0.0, "{what} has no gradient");
        assert!(
            (difference - along).abs() < BOUND * norm,
            "{what}: {along} by the gradient, {difference} by a difference"
        );
    };
    let unit = |numbers: &[f32]| -> Vec<f32> {
        let norm = numbers.iter().map(|v| v * v).sum::<f32>().sqrt();
        numbers.iter().map(|v| v / norm).collect()
    };
    // Half along the gradient, where a wrong one shows most, half anywhere; of length one, as the step is.
    let direction = |gradient: &[f32], seed: usize| {
        let anywhere = unit(&numbers(gradient.len(), seed));
        unit(&unit(gradient).iter().zip(anywhere).map(|(g, a)| g + a).collect::<Vec<_>>())
    };
    let moved = |from: &[f32], direction: &[f32], by: f32| -> Vec<f32> {
        from.iter().zip(direction).map(|(v, d)| v + by * d).collect()
    };

    let gradient = cuda.download(gradients.of(&input).unwrap()).unwrap();
    let along = direction(&gradient, 11);
    let ends = [STEP, -STEP].map(|by| weighted(&cuda, &mut block, &moved(&x, &along, by)));
    agrees("the input", &gradient, &along, ends);

    for key in 0..parameters(&block).len() {
        let (name, value) = {
            let parameter = parameters(&block)[key];
            (parameter.name().to_owned(), cuda.download(parameter.value()).unwrap())
        };
        let gradient = cuda.download(gradients.parameter(parameters(&block)[key]).unwrap()).unwrap();
        let along = direction(&gradient, 13 + key);
        let ends = [STEP, -STEP].map(|by| {
            *parameters_mut(&mut block)[key].value_mut() = cuda.upload(&moved(&value, &along, by)).unwrap();
            weighted(&cuda, &mut block, &x)
        });
        *parameters_mut(&mut block)[key].value_mut() = cuda.upload(&value).unwrap();
        agrees(&name, &gradient, &along, ends);
    }
}
