//! Optimisers, all parameters in one call to the backend, and learning-rate schedules.

mod schedule;

pub use schedule::{Anneal, Schedule};

use crate::archive::{Archive, Array};
use crate::backend::{Accum, AdamParam, AdamStep, Backend, Health, SgdParam, SgdStep, Wide};
use crate::element::Real;
use crate::nn::{Fields, Kind, Param, check_named, parameters, parameters_mut};
use crate::ops::Loss;
use crate::{Error, Gradients, Result};

/// How gradients become steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Stochastic gradient descent as PyTorch defines it: see [`SgdStep`].
    Sgd {
        /// Part of the previous velocity that is kept.
        momentum: f64,
        /// Look ahead along the velocity.
        nesterov: bool,
    },
    /// Adam as PyTorch defines it: see [`AdamStep`].
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
        /// AdamW: weight decay shrinks the weights themselves.
        decoupled: bool,
    },
}

impl Method {
    /// Plain SGD with momentum 0.9 and Nesterov's look-ahead.
    pub const NESTEROV: Method = Method::Sgd { momentum: 0.9, nesterov: true };
    /// Adam with PyTorch's defaults.
    pub const ADAM: Method = Method::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: false };
    /// AdamW with PyTorch's defaults.
    pub const ADAMW: Method = Method::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: true };

    /// Names of the arrays that the method keeps for each parameter.
    fn slots(self) -> &'static [&'static str] {
        match self {
            Method::Sgd { .. } => &["velocity"],
            Method::Adam { .. } => &["m", "v"],
        }
    }
}

/// Everything about an optimiser but its state and learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerOptions {
    /// How gradients become steps.
    pub method: Method,
    /// L2 penalty, or decay of the weights themselves for AdamW.
    pub weight_decay: f64,
    /// Whether biases and the scales and shifts of normalisations decay too (PyTorch: yes).
    pub decay_all: bool,
    /// Gradients are scaled down so that their norm is at most this; infinite for never.
    pub max_norm: f64,
}

/// An optimiser with its state.
#[derive(Debug)]
pub struct Optimizer<B: Backend> {
    backend: B,
    options: OptimizerOptions,
    steps: u64,
    /// By parameter key, then by slot.
    state: Vec<Vec<Wide<B>>>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimiser for `model`, its state zero.
    ///
    /// # Errors
    /// Parameters that were not named by one [`name_fields`](crate::nn::name_fields).
    pub fn new(backend: &B, model: &(impl Fields<B> + ?Sized), options: OptimizerOptions) -> Result<Self> {
        let zeros = |parameter: &Param<B>| {
            let slots = options.method.slots().iter();
            slots.map(|_| backend.fill(parameter.shape().numel(), Accum::<B>::from_f64(0.0))).collect()
        };
        let parameters = parameters(model);
        check_named(&parameters)?;
        let state = parameters.into_iter().map(zeros).collect::<Result<_>>()?;
        Ok(Optimizer { backend: backend.clone(), options, steps: 0, state })
    }

    /// Moves the trained parameters of `model` along their gradients by the learning rate `lr`. When loss or gradients
    /// are not finite nothing moves, and the returned [`Health`] says so.
    ///
    /// # Errors
    /// `model` is not the model that this optimiser was made for.
    pub fn step(
        &mut self,
        lr: f64,
        model: &mut (impl Fields<B> + ?Sized),
        gradients: &Gradients<B>,
        loss: &Loss<B>,
    ) -> Result<Health<B>> {
        let Optimizer { backend, options: OptimizerOptions { method, max_norm, .. }, .. } = self;
        let (backend, max_norm, method) = (&*backend, *max_norm, *method);
        let all: Vec<&Wide<B>> = gradients.parameters().map(|(_, gradient)| gradient).collect();
        let health = backend.gradient_health(loss.value(), &all)?;

        let parameters = parameters_mut(model);
        if parameters.len() != self.state.len() {
            let rule = format!("must be the model of the optimiser, which has {}", self.state.len());
            return Err(Error::invalid("model with parameters", parameters.len(), rule));
        }
        let options = self.options;
        let moved = parameters.into_iter().zip(&mut self.state).filter(|(parameter, _)| parameter.is_trained());
        let moved = moved.filter_map(|(parameter, state)| {
            let gradient = gradients.parameter(parameter)?;
            let decays = options.decay_all || parameter.kind() == Kind::Weight;
            let weight_decay = if decays { options.weight_decay } else { 0.0 };
            Some((parameter.value_mut(), gradient, state.as_mut_slice(), weight_decay))
        });
        self.steps += 1;
        match method {
            Method::Sgd { momentum, nesterov } => {
                let mut moved: Vec<SgdParam<'_, B>> = moved
                    .filter_map(|(value, gradient, state, weight_decay)| {
                        let [velocity] = state else { return None };
                        Some(SgdParam { value, gradient, velocity, lr_scale: 1.0, weight_decay })
                    })
                    .collect();
                backend.sgd(&SgdStep { lr, momentum, nesterov, max_norm }, &mut moved, &health)?;
            }
            Method::Adam { beta1, beta2, eps, decoupled } => {
                let mut moved: Vec<AdamParam<'_, B>> = moved
                    .filter_map(|(value, gradient, state, weight_decay)| {
                        let [m, v] = state else { return None };
                        Some(AdamParam { value, gradient, m, v, lr_scale: 1.0, weight_decay })
                    })
                    .collect();
                let step = AdamStep { lr, beta1, beta2, eps, t: self.steps, decoupled, max_norm };
                backend.adam(&step, &mut moved, &health)?;
            }
        }
        Ok(health)
    }

    /// How many steps were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds the state to an archive: `velocity.conv1.weight`, and the number of steps.
    pub fn save(&self, model: &(impl Fields<B> + ?Sized), archive: &mut Archive) -> Result<()> {
        archive.arrays.insert("steps".into(), Array::count(self.steps));
        for (parameter, state) in parameters(model).into_iter().zip(&self.state) {
            for (slot, values) in self.options.method.slots().iter().zip(state) {
                let values = parameter.layout().to_file(&self.backend.download(values)?);
                let name = format!("{slot}.{}", parameter.name());
                archive.arrays.insert(name, Array::float(parameter.file_shape(), &values));
            }
        }
        Ok(())
    }

    /// Takes the state back from an archive that [`Optimizer::save`] wrote.
    ///
    /// # Errors
    /// An array is missing or has another shape; the state stays as it was.
    pub fn load(&mut self, model: &(impl Fields<B> + ?Sized), archive: &Archive) -> Result<()> {
        let find = |name: &str| {
            archive.arrays.get(name).ok_or_else(|| Error::StateDict(format!("optimiser state: {name} is missing")))
        };
        let steps = find("steps")?.to_count()?;
        let mut state = Vec::new();
        for parameter in parameters(model) {
            let slots = self.options.method.slots().iter().map(|slot| {
                let name = format!("{slot}.{}", parameter.name());
                let array = find(&name)?;
                if array.shape != parameter.file_shape() {
                    let (found, expected) = (&array.shape, parameter.file_shape());
                    let message = format!("optimiser state: {name} is {found:?}, the model has {expected:?}");
                    return Err(Error::StateDict(message));
                }
                self.backend.upload(&parameter.layout().from_file(&array.to_float::<Accum<B>>()?))
            });
            state.push(slots.collect::<Result<Vec<_>>>()?);
        }
        self.steps = steps;
        self.state = state;
        Ok(())
    }
}
