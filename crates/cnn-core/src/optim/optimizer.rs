//! An optimiser: the state that it keeps for each parameter, and one call to the backend for all of them.

use num_traits::Float;

use super::muon;
use super::options::{Method, OptimizerOptions, Treatment};
use crate::archive::{Archive, Array};
use crate::backend::{Accum, AdamParam, AdamStep, Backend, Health, SgdParam, SgdStep, Wide, download_one};
use crate::element::{Element, Real};
use crate::nn::{Fields, Param, model_of, parameters, parameters_mut};
use crate::shape::Shape;
use crate::tape::Identity;
use crate::{Error, Gradients, Result};

/// An optimiser with its state.
#[derive(Debug)]
pub struct Optimizer<B: Backend> {
    backend: B,
    options: OptimizerOptions,
    /// Whose parameters it moves; none if it has none.
    model: Option<Identity>,
    /// Calls of `step`.
    steps: u64,
    /// By parameter key.
    treatments: Vec<Treatment>,
    /// By parameter key; none for a parameter that was never trained.
    states: Vec<Option<State<B>>>,
}

/// What a method keeps for a parameter.
#[derive(Debug)]
enum State<B: Backend> {
    /// Of SGD and of Muon.
    Velocity(Wide<B>),
    Adam {
        m: Wide<B>,
        v: Wide<B>,
        /// Steps that moved this parameter: one number, on the device, where alone it is known that a step was refused.
        steps: B::Buffer<u32>,
    },
}

/// The parameters of one method in a step: those with a velocity and their shapes, or Adam's.
struct Together<'a, B: Backend> {
    method: Method,
    moving: Vec<SgdParam<'a, B>>,
    shapes: Vec<Shape>,
    adam: Vec<AdamParam<'a, B>>,
}

/// An array of a state in a file.
struct StateArray {
    name: &'static str,
    /// What no number of it is below.
    least: f64,
}

const VELOCITY: StateArray = StateArray { name: "velocity", least: f64::NEG_INFINITY };
const M: StateArray = StateArray { name: "m", least: f64::NEG_INFINITY };
const V: StateArray = StateArray { name: "v", least: 0.0 };

impl<B: Backend> State<B> {
    /// That of a parameter of `len` numbers before its first step.
    fn new(backend: &B, method: Method, len: usize) -> Result<Self> {
        Self::of(backend, method, 0, |_| backend.fill(len, Accum::<B>::default()))
    }

    /// Of these arrays.
    fn of(backend: &B, method: Method, steps: u32, array: impl Fn(StateArray) -> Result<Wide<B>>) -> Result<Self> {
        Ok(match method {
            Method::Sgd { .. } | Method::Muon { .. } => State::Velocity(array(VELOCITY)?),
            Method::Adam { .. } => State::Adam { m: array(M)?, v: array(V)?, steps: backend.fill(1, steps)? },
        })
    }

    /// The arrays as files have them.
    fn arrays(&self) -> Vec<(StateArray, &Wide<B>)> {
        match self {
            State::Velocity(velocity) => vec![(VELOCITY, velocity)],
            State::Adam { m, v, .. } => vec![(M, m), (V, v)],
        }
    }
}

impl<B: Backend> Optimizer<B> {
    /// An optimiser for `model`, its state zero. Parameters that are frozen get state when they are first trained.
    ///
    /// # Errors
    /// Parameters that were not named by one [`name_fields`](crate::nn::name_fields), a group that matches none of them,
    /// and [options](OptimizerOptions::check) that no step can be made with in the precision of the parameters.
    pub fn new(backend: &B, model: &(impl Fields<B> + ?Sized), options: OptimizerOptions) -> Result<Self> {
        let parameters = parameters(model);
        let model = model_of(parameters.iter().copied())?.cloned();
        options.check::<Accum<B>>()?;
        options.check_groups(&parameters.iter().map(|parameter| parameter.name()).collect::<Vec<_>>())?;
        let treatment =
            |parameter: &&Param<B>| options.treatment(parameter.name(), parameter.kind(), parameter.shape());
        let treatments: Vec<_> = parameters.iter().map(treatment).collect();
        let state = |(parameter, treatment): (&&Param<B>, &Treatment)| match parameter.requires_grad() {
            true => State::new(backend, treatment.method, parameter.shape().numel()).map(Some),
            false => Ok(None),
        };
        let states = parameters.iter().zip(&treatments).map(state).collect::<Result<_>>()?;
        Ok(Optimizer { backend: backend.clone(), options, model, steps: 0, treatments, states })
    }

    /// Moves the trained parameters of `model` along their gradients by the learning rate `lr`. When the gradients (for Adam,
    /// which keeps them, also their squares) or the loss that they are of are not finite, nothing moves, and the returned
    /// [`Health`] says so.
    ///
    /// # Errors
    /// `model` is not the model that this optimiser was made for, or was named anew, the gradients are another model's, or
    /// `lr` is below 0 or not finite in the precision of the parameters. Nothing has moved then.
    pub fn step(
        &mut self,
        lr: f64,
        model: &mut (impl Fields<B> + ?Sized),
        gradients: &Gradients<B>,
    ) -> Result<Health<B>> {
        let parameters = parameters_mut(model);
        self.check_model(parameters.iter().map(|parameter| &**parameter))?;
        gradients.check_model(self.model.as_ref(), "must be those of the optimiser's model")?;
        self.check_rate(lr)?;
        let largest = self.largest_norm();
        let Optimizer { backend, options: OptimizerOptions { clip_grad_norm: max_norm, .. }, .. } = self;
        let (backend, max_norm) = (&*backend, *max_norm);
        let all: Vec<&Wide<B>> = gradients.parameters().map(|(_, gradient)| gradient).collect();
        let health = backend.gradient_health(gradients.loss(), &all, largest)?;

        let mut together: Vec<Together<'_, B>> = Vec::new();
        let rules = self.treatments.iter().zip(&mut self.states).enumerate();
        for (parameter, (key, (&Treatment { method, lr_scale, weight_decay }, state))) in
            parameters.into_iter().zip(rules)
        {
            let Some(gradient) = gradients.by_key(key).filter(|_| parameter.requires_grad()) else { continue };
            let shape = parameter.shape();
            let len = shape.numel();
            if backend.len(gradient) != len {
                let what = format!("gradient of {} with elements", parameter.name());
                return Err(Error::invalid(what, backend.len(gradient), format!("must have {len}")));
            }
            let state = match state {
                Some(state) => state,
                none => none.insert(State::new(backend, method, len)?),
            };
            let value = parameter.value_mut();
            let at = together.iter().position(|together| together.method == method).unwrap_or_else(|| {
                together.push(Together { method, moving: Vec::new(), shapes: Vec::new(), adam: Vec::new() });
                together.len() - 1
            });
            let Together { moving, shapes, adam, .. } = &mut together[at];
            match state {
                State::Velocity(velocity) => {
                    moving.push(SgdParam { value, gradient, velocity, lr_scale, weight_decay });
                    shapes.push(shape);
                }
                State::Adam { m, v, steps } => {
                    adam.push(AdamParam { value, gradient, m, v, steps, lr_scale, weight_decay });
                }
            }
        }
        for Together { method, mut moving, shapes, mut adam } in together {
            match method {
                Method::Sgd { momentum, nesterov } => {
                    backend.sgd(&SgdStep { lr, momentum, nesterov, max_norm }, &mut moving, &health)?;
                }
                Method::Adam { beta1, beta2, eps, decoupled } => {
                    let step = AdamStep { lr, beta1, beta2, eps, decoupled, max_norm };
                    backend.adam(&step, &mut adam, &health)?;
                }
                Method::Muon { momentum, nesterov, ns_steps, rescale } => {
                    let step = SgdStep { lr, momentum, nesterov, max_norm };
                    muon::step(backend, &step, (ns_steps, rescale), moving.into_iter().zip(shapes), &health)?;
                }
            }
        }
        self.steps += 1;
        Ok(health)
    }

    /// Refuses another model than that of the optimiser: its keys mean other parameters.
    fn check_model<'a>(&self, parameters: impl ExactSizeIterator<Item = &'a Param<B>>) -> Result<()> {
        let count = parameters.len();
        if model_of(parameters)? == self.model.as_ref() && count == self.states.len() {
            return Ok(());
        }
        let rule = "must be the one that the optimiser was made for, in the names that it had then";
        Err(Error::invalid("model with", format!("{count} parameters"), rule))
    }

    /// The largest norm that gradients may have. Adam keeps their squares, once clipped, and one that is infinite would stop
    /// its weight for good.
    fn largest_norm(&self) -> f64 {
        let root = Accum::<B>::max_value().as_f64().sqrt();
        let adam = self.treatments.iter().any(|treatment| matches!(treatment.method, Method::Adam { .. }));
        if adam && self.options.clip_grad_norm > root { root } else { f64::INFINITY }
    }

    /// Refuses a rate whose products would not be finite where parameters are computed with: infinite or no number, it
    /// would reach the weights although every gradient is finite.
    fn check_rate(&self, lr: f64) -> Result<()> {
        if lr < 0.0 {
            return Err(Error::invalid("learning rate", lr, "must be at least 0"));
        }
        for &Treatment { method, lr_scale, weight_decay } in &self.treatments {
            let rate = lr * lr_scale;
            // Adam's first step divides by as much; AdamW multiplies its weights by what the decay leaves.
            let largest = match method {
                Method::Sgd { .. } | Method::Muon { .. } => rate,
                Method::Adam { beta1, .. } => rate / (1.0 - beta1),
            };
            check_finite::<B>("learning rate", lr, largest)?;
            check_finite::<B>("learning rate", lr, rate * weight_decay)?;
        }
        Ok(())
    }

    /// How often [`Optimizer::step`] was called, refused steps included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds the state to an archive: `velocity.conv1.weight`, and the number of steps.
    ///
    /// # Errors
    /// `model` is not the model that this optimiser was made for, and those of the device.
    pub fn save(&self, model: &(impl Fields<B> + ?Sized), archive: &mut Archive) -> Result<()> {
        let Optimizer { backend, steps, states, .. } = self;
        let parameters = parameters(model);
        self.check_model(parameters.iter().copied())?;
        archive.arrays.insert("steps".into(), Array::count(*steps));
        for (parameter, state) in parameters.into_iter().zip(states) {
            let Some(state) = state else { continue };
            if let State::Adam { steps, .. } = state {
                let steps = download_one(backend, "a parameter's steps", steps)?;
                archive.arrays.insert(format!("steps.{}", parameter.name()), Array::count(steps.into()));
            }
            for (array, values) in state.arrays() {
                let values = parameter.layout().to_file(&backend.download(values)?);
                let name = format!("{}.{}", array.name, parameter.name());
                archive.arrays.insert(name, Array::float(parameter.file_shape(), &values));
            }
        }
        Ok(())
    }

    /// Takes the state back from an archive that [`Optimizer::save`] wrote. An archive of version 0.1 has one number of
    /// steps, which is that of every parameter.
    ///
    /// # Errors
    /// `model` is not the model that this optimiser was made for, an array of a trained parameter is missing, or one has
    /// another shape or numbers that no training leaves behind; the state stays as it was.
    pub fn load(&mut self, model: &(impl Fields<B> + ?Sized), archive: &Archive) -> Result<()> {
        let fail = |name: &str, rule: String| Error::StateDict(format!("optimiser state: {name} {rule}"));
        let find = |name: &str| archive.arrays.get(name).ok_or_else(|| fail(name, "is missing".into()));
        let count = |name: &str| -> Result<u32> {
            let count = find(name)?.to_count().map_err(|error| fail(name, error.to_string()))?;
            u32::try_from(count).map_err(|_| fail(name, format!("is {count}: must be at most {}", u32::MAX)))
        };
        let parameters = parameters(model);
        self.check_model(parameters.iter().copied())?;
        let steps = count("steps")?;
        let mut states = Vec::new();
        for (parameter, treatment) in parameters.into_iter().zip(&self.treatments) {
            let name = |array: &str| format!("{array}.{}", parameter.name());
            let values = |StateArray { name: array, least }: StateArray| {
                let name = name(array);
                let array = find(&name)?;
                if array.shape != parameter.file_shape() {
                    let rule = format!("is {:?}, the model has {:?}", array.shape, parameter.file_shape());
                    return Err(fail(&name, rule));
                }
                let numbers = array.to_finite::<Accum<B>>(least).map_err(|error| fail(&name, error.to_string()))?;
                self.backend.upload(&parameter.layout().from_file(&numbers))
            };
            // What was frozen all along has no state.
            let known = [VELOCITY, M, V].iter().any(|array| archive.arrays.contains_key(&name(array.name)));
            states.push(match parameter.requires_grad() || known {
                true => {
                    let own = name("steps");
                    let steps = if archive.arrays.contains_key(&own) { count(&own)? } else { steps };
                    Some(State::of(&self.backend, treatment.method, steps, values)?)
                }
                false => None,
            });
        }
        self.steps = steps.into();
        self.states = states;
        Ok(())
    }
}

/// Refuses `value` when `number`, which is computed from it, is not finite in the precision of parameters.
fn check_finite<B: Backend>(what: &str, value: f64, number: f64) -> Result<()> {
    if Accum::<B>::from_f64(number).as_f64().is_finite() {
        return Ok(());
    }
    Err(Error::invalid(what, value, format!("must be finite in {}, and its products too", Accum::<B>::DTYPE)))
}
