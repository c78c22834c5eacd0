//! Whole models: logits, gradients, steps of every optimiser, statistics and what the trained model then answers.

use std::collections::BTreeMap;

use cnn_core::nn::{Module, parameters};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{Backend, DType, Element, Naive, Pass, Result, Var};
use cnn_cpu::Cpu;
use cnn_models::{Block, ResNet, ResNetConfig, Stem, Stepwise};
use serde_json::Value;

use super::golden::*;

/// A test for each run on each of the backends.
macro_rules! runs {
    ($($backend:ident: $make:expr => $($test:ident $run:literal)*;)*) => { $(
        mod $backend {
            use super::*;

            $( #[test]
            fn $test() {
                Run::check(&$make, $run);
            } )*
        }
    )* };
}

runs! {
    naive_f64: Naive::<f64>::new() =>
        narrow "narrow" narrow_imagenet "narrow imagenet" narrow_adam "narrow adam" narrow_muon "narrow muon" narrow_clipped "narrow clipped"
        stepwise_wide "stepwise wide";
    cpu_f64: Cpu::<f64>::with_threads(2).unwrap() =>
        stepwise "stepwise" stepwise_wide "stepwise wide" narrow "narrow" narrow_imagenet "narrow imagenet"
        narrow_adam "narrow adam" narrow_muon "narrow muon" narrow_clipped "narrow clipped" resnet18 "resnet18"
        resnet18_imagenet "resnet18 imagenet";
    cpu_f32: Cpu::<f32>::with_threads(2).unwrap() =>
        stepwise "stepwise" stepwise_wide "stepwise wide" narrow "narrow" narrow_imagenet "narrow imagenet"
        narrow_adam "narrow adam" narrow_muon "narrow muon" narrow_clipped "narrow clipped" resnet18 "resnet18"
        resnet18_imagenet "resnet18 imagenet";
}

/// How far results may be from PyTorch's in f64, relative to their norm.
struct Bounds {
    logits: f64,
    gradients: f64,
    /// Of the losses themselves, not relative.
    losses: f64,
    /// What each parameter and statistic moved by.
    moved: f64,
    /// Logits after that.
    after: f64,
}

impl Bounds {
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Bounds { logits: 1e-12, gradients: 1e-11, losses: 1e-9, moved: 1e-9, after: 1e-9 },
            _ => Bounds { logits: 1e-5, gradients: 1e-4, losses: 1e-3, moved: 1e-2, after: 1e-3 },
        }
    }
}

/// A run of a model on a backend.
struct Run<'a, B: Backend> {
    backend: &'a B,
    name: &'a str,
    case: &'a Value,
    golden: &'a Golden,
    model: Box<dyn Module<B> + Send>,
    bounds: Bounds,
    failures: Vec<String>,
}

impl<'a, B: Backend> Run<'a, B> {
    fn check(backend: &'a B, name: &'a str) {
        let golden = &Golden::open("runs.safetensors");
        let case = &golden.cases()[name];
        let bounds = Bounds::of(B::Elem::DTYPE);
        let model = model(backend, case).expect("a model");
        let mut run = Run { backend, name, case, golden, model, bounds, failures: Vec::new() };
        run.run().unwrap_or_else(|error| panic!("{name}: {error}"));
        let failures = run.failures.join("\n");
        assert!(failures.is_empty(), "{name} on {}:\n{failures}", backend.describe());
    }

    fn run(&mut self) -> Result<()> {
        initialise(self.backend, &mut *self.model, "")?;
        let start = self.state()?;
        self.evaluate("eval before", self.bounds.logits)?;
        self.train()?;
        let end = self.state()?;
        for (key, end) in &end {
            let moved: Vec<f64> = end.iter().zip(&start[key]).map(|(end, start)| end - start).collect();
            let expected = self.golden.array(&format!("{}/moved/{key}", self.name));
            let result = close_digest(&format!("what {key} moved by"), &moved, &expected, self.bounds.moved);
            self.failures.extend(result.err());
        }
        let keys = self.golden.under(&format!("{}/moved", self.name)).count();
        assert_eq!(end.len(), keys, "entries of the state dict");
        self.evaluate("eval after", self.bounds.after)
    }

    /// Compares logits of the first batch in evaluation.
    fn evaluate(&mut self, what: &str, bound: f64) -> Result<()> {
        let x = self.images(&Pass::eval(self.backend), 0)?;
        let logits = wide(self.model.call(&x)?.to_vec()?);
        let expected = self.golden.array(&format!("{}/{what}", self.name));
        self.failures.extend(close(what, &logits, &expected, bound, 0.0).err());
        Ok(())
    }

    fn train(&mut self) -> Result<()> {
        let Run { backend, name, case, golden, .. } = *self;
        let (options, lr) = optimizer(&case["optimizer"]);
        let mut optimizer = Optimizer::new(backend, &*self.model, options)?;
        let [batch, classes] = ["batch", "classes"].map(|key| number(&case[key]));
        let smoothing = case["smoothing"].as_f64().expect("smoothing");
        let mut losses = Vec::new();
        for step in 0..number(&case["steps"]) {
            let x = self.images(&Pass::train(backend, 0), step)?;
            let logits = self.model.call(&x)?;
            let loss =
                logits.cross_entropy(&labels(&format!("{name} labels {}", step % 2), batch, classes), smoothing)?;
            let gradients = loss.backward()?;
            if step == 0 {
                let (got, expected) = (wide(logits.to_vec()?), golden.array(&format!("{name}/logits")));
                self.failures.extend(close("logits", &got, &expected, self.bounds.logits, 0.0).err());
                for parameter in parameters(&*self.model) {
                    let key = parameter.name();
                    let gradient = gradients.parameter(parameter).expect("every parameter is used");
                    let gradient = wide(parameter.layout().to_file(&backend.download(gradient)?));
                    let expected = golden.array(&format!("{name}/gradient/{key}"));
                    let result =
                        close_digest(&format!("gradient of {key}"), &gradient, &expected, self.bounds.gradients);
                    self.failures.extend(result.err());
                }
            }
            optimizer.step(lr, &mut *self.model, &gradients)?;
            losses.push(loss.to_f64()?);
        }
        let mut references = vec!["losses"];
        references.extend((B::Elem::DTYPE == DType::F32).then_some("losses f32"));
        for reference in references {
            let expected = golden.array(&format!("{name}/{reference}"));
            let apart = losses.iter().zip(&expected).map(|(got, expected)| (got - expected).abs());
            if losses.len() != expected.len() || !apart.clone().all(|apart| apart <= self.bounds.losses) {
                let bound = self.bounds.losses;
                self.failures.push(format!("{reference}: got {losses:?}, expected {expected:?}, within {bound:.0e}"));
            }
        }
        Ok(())
    }

    fn images(&self, pass: &Pass<B>, step: usize) -> Result<Var<B>> {
        let Run { backend, name, case, .. } = self;
        let [h, w] = numbers(&case["image"]);
        let shape = [number(&case["batch"]), h, w, 3];
        let images = format!("{name} images {} of {}", step % 2, case["draw"]);
        pass.input(tensor(*backend, &shape, &noise(&images, shape.iter().product()))?)
    }

    /// Parameters, statistics and counts, as PyTorch has them.
    fn state(&self) -> Result<BTreeMap<String, Vec<f64>>> {
        let arrays = state_dict(self.backend, &*self.model, Naming::Torchvision)?.arrays;
        let entries = arrays.into_iter().map(|(key, array)| {
            let values = array.to_float().or_else(|_| array.to_count().map(|count| vec![count as f64]));
            Ok((key, values?))
        });
        entries.collect()
    }
}

fn model<B: Backend>(backend: &B, case: &Value) -> Result<Box<dyn Module<B> + Send>> {
    let classes = number(&case["classes"]);
    if case["model"] == "stepwise" {
        let [h, w] = numbers(&case["image"]);
        return Ok(Box::new(Stepwise::new(backend, 0, [h, w, 3], classes)?));
    }
    let stem = if case["stem"] == "imagenet" { Stem::ImageNet } else { Stem::Cifar };
    let config = ResNetConfig {
        stem,
        block: Block::Basic,
        blocks: numbers(&case["blocks"]),
        channels: numbers(&case["channels"]),
    };
    Ok(Box::new(ResNet::new(backend, 0, &config, 3, classes)?))
}

/// The optimiser of a case and its learning rate.
fn optimizer(case: &Value) -> (OptimizerOptions, f64) {
    let decimal = |key: &str| case[key].as_f64().unwrap_or_else(|| panic!("no {key} in {case}"));
    let nesterov = case["nesterov"] == Value::Bool(true);
    let method = match case["method"].as_str() {
        Some("sgd") => Method::Sgd { momentum: decimal("momentum"), nesterov },
        Some("muon") => {
            let ns_steps = number(&case["ns_steps"]) as u32;
            Method::Muon { momentum: decimal("momentum"), nesterov, ns_steps, rescale: false }
        }
        kind => Method::Adam {
            beta1: decimal("beta1"),
            beta2: decimal("beta2"),
            eps: decimal("eps"),
            decoupled: kind == Some("adamw"),
        },
    };
    let max_norm = case["max_norm"].as_f64().unwrap_or(f64::INFINITY);
    let options = OptimizerOptions::new(method).weight_decay(decimal("weight_decay")).clip_grad_norm(max_norm);
    (options, decimal("lr"))
}
