//! tract, on an ONNX file.

use std::path::Path;

use tract_onnx::prelude::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::{Answer, Result};

pub(crate) fn answer(onnx: &Path, batch: usize, threads: usize) -> Result<Answer> {
    set_default_executor(if threads > 1 { Executor::multithread(threads) } else { Executor::SingleThread });
    let shape = [batch, 3, 32, 32];
    let network = tract_onnx::onnx()
        .model_for_path(onnx)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let numbers =
        (0..shape.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<f32>>();
    let images: TValue = Tensor::from_shape(&shape, &numbers)?.into();
    Ok(Box::new(move || {
        let logits = network.run(tvec![images.clone()])?;
        Ok(logits[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }))
}
