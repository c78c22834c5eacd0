//! Each layer alone: output, gradients and running statistics.

use cnn_core::nn::{BatchNorm2d, Conv2d, Init, Linear, Module, name_fields, parameters};
use cnn_core::ops::{ClassWeights, Labels, Loss, Targets};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{Backend, Conv2dOptions, DType, Element, Naive, Padding, Pass, Pool2dOptions, Result, Var};
use cnn_cpu::Cpu;
use serde_json::Value;

use super::golden::*;

#[test]
fn naive_f64() {
    check(&Naive::<f64>::new());
}

#[test]
fn cpu_f64() {
    check(&Cpu::<f64>::with_threads(2).unwrap());
}

#[test]
fn cpu_f32() {
    check(&Cpu::<f32>::with_threads(2).unwrap());
}

/// Runs every case; all that fail are reported.
fn check<B: Backend>(backend: &B) {
    let golden = Golden::open("layers.safetensors");
    let failed = |(name, case): (&String, &Value)| match (Layer { backend, golden: &golden, name, case }).run() {
        Ok(mismatches) => mismatches,
        Err(error) => vec![format!("{name}: {error}")],
    };
    let failures: Vec<String> = golden.cases().iter().flat_map(failed).collect();
    assert!(failures.is_empty(), "{}:\n{}", backend.describe(), failures.join("\n"));
}

/// A case on a backend.
struct Layer<'a, B> {
    backend: &'a B,
    golden: &'a Golden,
    name: &'a str,
    case: &'a Value,
}

impl<B: Backend> Layer<'_, B> {
    /// What differs from PyTorch.
    fn run(&self) -> Result<Vec<String>> {
        let Layer { golden, name, case, .. } = self;
        let got = self.compute()?;
        assert_eq!(got.len(), golden.under(name).count(), "{name}: not everything is compared");
        let bound = if B::Elem::DTYPE == DType::F64 { 1e-12 } else { 1e-5 };
        let compare = |(what, got): &(String, Vec<f64>)| {
            let least = case["terms"].as_f64().unwrap_or(0.0) * (got.len() as f64).sqrt();
            let what = format!("{name}/{what}");
            close(&what, got, &golden.array(&what), bound, least).err()
        };
        Ok(got.iter().filter_map(compare).collect())
    }

    /// Outputs by the names that the fixture gives them.
    fn compute(&self) -> Result<Vec<(String, Vec<f64>)>> {
        let Layer { backend, name, case, .. } = self;
        let decimal = |key: &str, default| case[key].as_f64().unwrap_or(default);
        let shape: Vec<usize> = case["input"].as_array().expect("a shape").iter().map(number).collect();
        let mut x = noise(&format!("{name} x"), shape.iter().product());
        x.iter_mut().for_each(|x| *x = *x * decimal("scale", 1.0) + decimal("offset", 0.0));

        let train = case["train"] != Value::Bool(false);
        let pass = if train { Pass::train(*backend, 0) } else { Pass::eval_recorded(*backend) };
        let x = pass.input(tensor(*backend, &shape, &x)?)?.keep_gradient();
        let mut got = Vec::new();
        let gradients = if let Some(loss) = self.loss(&x, [shape[0], shape[1]])? {
            got.push(("y".to_owned(), vec![loss.to_f64()?]));
            loss.backward()?
        } else {
            let mut layer = self.layer(&shape)?;
            let y = match &mut layer {
                Some(layer) => layer.call(&if case["op"] == "linear" { x.flatten()? } else { x.clone() })?,
                None => self.apply(&x)?,
            };
            got.push(("y".to_owned(), wide(y.to_vec()?)));
            let dy = noise(&format!("{name} dy"), y.shape().numel());
            let gradients = y.backward_from(tensor(*backend, y.shape().dims(), &dy)?)?;
            if let Some(layer) = &layer {
                for parameter in parameters(&**layer) {
                    let gradient = gradients.parameter(parameter).expect("every parameter is used");
                    let gradient = parameter.layout().to_file(&backend.download(gradient)?);
                    got.push((format!("gradient/{}", parameter.name()), wide(gradient)));
                }
                let after = state_dict(*backend, &**layer, Naming::Torchvision)?.arrays;
                let statistics = after.iter().filter(|(name, _)| name.starts_with("running"));
                got.extend(
                    statistics.map(|(name, array)| (format!("after/{name}"), array.to_float().expect("numbers"))),
                );
            }
            gradients
        };
        got.push(("x".to_owned(), wide(backend.download(&backend.widen(gradients.of(&x)?)?)?)));
        Ok(got)
    }

    /// The loss of logits of this shape, if that is the operation.
    fn loss(&self, x: &Var<B>, [rows, classes]: [usize; 2]) -> Result<Option<Loss<B>>> {
        let Layer { backend, name, case, .. } = self;
        let decimal = |key: &str, default| case[key].as_f64().unwrap_or(default);
        let weights = case["weights"].as_array().map(|weights| {
            let weights: Vec<f64> = weights.iter().map(|weight| weight.as_f64().expect("a weight")).collect();
            ClassWeights::new(*backend, &weights)
        });
        let (weights, own) = (weights.transpose()?, decimal("own", 1.0));
        let drawn = || labels(&format!("{name} labels"), rows, classes);
        match case["op"].as_str() {
            Some("cross_entropy") => {
                let labels = match &weights {
                    Some(weights) => Labels::weighted(*backend, &drawn(), weights)?,
                    None => Labels::new(*backend, &drawn())?,
                };
                x.cross_entropy_with(&labels.mixed(own)?, decimal("smoothing", 0.0)).map(Some)
            }
            Some("binary_cross_entropy") => {
                let labels = drawn();
                // As golden.py has it: of each image its class and that of the one before, then mixed with the image before.
                let has = |row: usize, class: u32| labels[row] == class || labels[(row + rows - 1) % rows] == class;
                let part = |row: usize, class| f64::from(u8::from(has(row, class)));
                let target = |i: usize| {
                    let (row, class) = (i / classes, (i % classes) as u32);
                    (own * part(row, class) + (1.0 - own) * part((row + rows - 1) % rows, class)) as f32
                };
                let targets = Targets::new(*backend, classes, &(0..rows * classes).map(target).collect::<Vec<_>>())?;
                let targets = match &weights {
                    Some(weights) => targets.weighted(weights)?,
                    None => targets,
                };
                x.binary_cross_entropy(&targets).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The layer with the parameters that its name stands for, if the operation has any.
    fn layer(&self, shape: &[usize]) -> Result<Option<Box<dyn Module<B>>>> {
        let Layer { backend, name, case, .. } = self;
        let init = &mut Init::new(*backend, 0);
        let mut layer: Box<dyn Module<B>> = match case["op"].as_str() {
            Some("conv2d") => {
                let [top, left, bottom, right] = numbers(&case["padding"]);
                let options = Conv2dOptions {
                    kernel: numbers(&case["kernel"]),
                    stride: numbers(&case["stride"]),
                    dilation: numbers(&case["dilation"]),
                    padding: Padding { top, left, bottom, right },
                    groups: number(&case["groups"]),
                };
                Box::new(Conv2d::new(init, shape[3], number(&case["out"]), options)?)
            }
            Some("linear") => Box::new(match *shape {
                [_, h, w, c] => Linear::from_image(init, [h, w, c], number(&case["out"]))?,
                _ => Linear::new(init, shape[1], number(&case["out"]))?,
            }),
            Some("batch_norm2d") => Box::new(BatchNorm2d::new(init, shape[3])?),
            _ => return Ok(None),
        };
        name_fields(&mut *layer);
        initialise(*backend, &mut *layer, &format!("{name} "))?;
        Ok(Some(layer))
    }

    /// An operation without parameters.
    fn apply(&self, x: &Var<B>) -> Result<Var<B>> {
        let case = self.case;
        let pool = || Pool2dOptions {
            window: numbers(&case["window"]),
            stride: numbers(&case["stride"]),
            padding: Padding::all(number(&case["padding"])),
            ceil_mode: case["ceil_mode"] == Value::Bool(true),
            count_include_pad: case["count_include_pad"] == Value::Bool(true),
        };
        match case["op"].as_str() {
            Some("max_pool2d") => x.max_pool2d(&pool()),
            Some("avg_pool2d") => x.avg_pool2d(&pool()),
            Some("global_avg_pool2d") => x.global_avg_pool2d(),
            Some("relu") => x.relu(),
            Some("gelu") => x.gelu(),
            Some("softmax") => x.softmax(),
            other => panic!("{}: {other:?} is not known here", self.name),
        }
    }
}
