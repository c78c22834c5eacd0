//! How gradients become steps, and which parameters are treated otherwise.

use serde::{Deserialize, Serialize};

use super::muon::matrix;
use crate::element::Real;
use crate::nn::Kind;
use crate::shape::Shape;
use crate::{Error, Result, names};

/// How gradients become steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Stochastic gradient descent as PyTorch defines it: see [`SgdStep`](crate::backend::SgdStep).
    Sgd {
        /// Part of the previous velocity that is kept, below 1.
        momentum: f64,
        /// Look ahead along the velocity.
        nesterov: bool,
    },
    /// Adam as PyTorch defines it: see [`AdamStep`](crate::backend::AdamStep).
    Adam {
        /// Decay of the first moment, below 1.
        beta1: f64,
        /// Decay of the second moment, below 1.
        beta2: f64,
        /// Added to the root of the second moment. Above 0, unlike PyTorch's: a weight whose gradients are all 0 would
        /// become 0 / 0.
        eps: f64,
        /// AdamW: weight decay shrinks the weights themselves.
        decoupled: bool,
    },
    /// Muon (K. Jordan et al. 2024) as PyTorch defines it, for weights of convolutions and dense layers: the step is SGD's,
    /// made orthogonal, so that every direction of it is as long as every other, times `sqrt(max(1, out / in))`; weight decay
    /// shrinks the weights themselves. Parameters that are no matrices take SGD's step, with the same momentum. Of a
    /// convolution in groups the filters of all groups are one matrix.
    Muon {
        /// Part of the previous velocity that is kept, below 1.
        momentum: f64,
        /// Look ahead along the velocity.
        nesterov: bool,
        /// Iterations of Newton and Schulz, from 1 to 100: about 5.
        ns_steps: u32,
        /// Each weight is brought to a norm of `sqrt(out)` before its step: for convolutions whose outputs are normalised, so
        /// that the rate is the part of the weights that a step replaces.
        #[serde(default)]
        rescale: bool,
    },
}

impl Method {
    /// Plain SGD with momentum 0.9 and Nesterov's look-ahead.
    pub const NESTEROV: Method = Method::Sgd { momentum: 0.9, nesterov: true };
    /// Adam with PyTorch's defaults.
    pub const ADAM: Method = Method::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: false };
    /// AdamW with PyTorch's defaults.
    pub const ADAMW: Method = Method::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: true };
    /// Muon with PyTorch's defaults.
    pub const MUON: Method = Method::Muon { momentum: 0.95, nesterov: true, ns_steps: 5, rescale: false };

    /// Refuses numbers by which no step in the precision of `A` can be made.
    fn check<A: Real>(&self) -> Result<()> {
        let fraction = |what: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(what, value, "must be at least 0 and below 1")),
        };
        match *self {
            Method::Sgd { momentum, .. } => fraction("momentum", momentum),
            Method::Adam { beta1, beta2, eps, .. } => {
                fraction("beta1", beta1)?;
                fraction("beta2", beta2)?;
                let rounded = A::from_f64(eps).as_f64();
                match rounded > 0.0 && rounded.is_finite() {
                    true => Ok(()),
                    false => Err(Error::invalid("eps", eps, format!("must be above 0 and finite in {}", A::DTYPE))),
                }
            }
            Method::Muon { momentum, ns_steps, .. } => {
                fraction("momentum", momentum)?;
                match (1..=100).contains(&ns_steps) {
                    true => Ok(()),
                    false => Err(Error::invalid("ns_steps", ns_steps, "must be from 1 to 100")),
                }
            }
        }
    }

    /// The method that a parameter of this kind and shape gets, where this one is asked for.
    fn of(self, kind: Kind, shape: Shape) -> Self {
        match self {
            Method::Muon { momentum, nesterov, .. } if kind != Kind::Weight || shape.rank() < 2 => {
                Method::Sgd { momentum, nesterov }
            }
            method => method,
        }
    }
}

/// Parameters with a learning rate, a weight decay or a method of their own: a backbone that is fine-tuned gently, biases that
/// do not decay, a last layer that SGD moves where the others have Muon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which parameters, by their names: `fc.weight`, `layer1.*`, `*.bias`. A `*` is any text. Of several groups that
    /// match a name the first counts.
    pub pattern: String,
    /// Factor on the learning rate.
    #[serde(default = "one")]
    pub lr_scale: f64,
    /// In place of [`OptimizerOptions::weight_decay`], for biases and normalisations too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// In place of [`OptimizerOptions::method`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

fn one() -> f64 {
    1.0
}

impl Group {
    /// Parameters whose names match `pattern`, the learning rate times `lr_scale`.
    pub fn new(pattern: impl Into<String>, lr_scale: f64) -> Self {
        Group { pattern: pattern.into(), lr_scale, weight_decay: None, method: None }
    }

    /// Whether the parameter of this name belongs to the group.
    pub fn matches(&self, name: &str) -> bool {
        let (first, rest) = match self.pattern.split_once('*') {
            Some(split) => split,
            None => return self.pattern == name,
        };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        // Between the first and the last star each part is taken where it stands first; the last part is the end.
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        true
    }
}

/// Everything about an optimiser but its state and learning rate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptimizerOptions {
    /// How gradients become steps.
    pub method: Method,
    /// L2 penalty, or decay of the weights themselves for AdamW.
    pub weight_decay: f64,
    /// Whether biases and the scales and shifts of normalisations decay too (PyTorch: yes).
    pub decay_all: bool,
    /// Gradients are scaled down so that their norm is at most this, which is above 0; infinite for never.
    pub clip_grad_norm: f64,
    /// Parameters that are treated otherwise.
    pub groups: Vec<Group>,
}

impl OptimizerOptions {
    /// A method without weight decay, clipping or groups.
    pub fn new(method: Method) -> Self {
        OptimizerOptions {
            method,
            weight_decay: 0.0,
            decay_all: true,
            clip_grad_norm: f64::INFINITY,
            groups: Vec::new(),
        }
    }

    /// With this weight decay.
    #[must_use]
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        OptimizerOptions { weight_decay, ..self }
    }

    /// With a decay of biases, scales and shifts too, or without.
    #[must_use]
    pub fn decay_all(self, decay_all: bool) -> Self {
        OptimizerOptions { decay_all, ..self }
    }

    /// With gradients of at most this norm.
    #[must_use]
    pub fn clip_grad_norm(self, clip_grad_norm: f64) -> Self {
        OptimizerOptions { clip_grad_norm, ..self }
    }

    /// With one more group.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Refuses numbers by which a step would make weights of the precision of `A` infinite or no numbers.
    ///
    /// # Errors
    /// A momentum or a decay of a moment outside of \[0, 1), no iterations of Muon or more than 100, a weight decay or a factor of a
    /// group that is below 0 or infinite in `A`, an `eps` that is 0 or infinite there, and a norm to clip to that is 0 or less.
    pub fn check<A: Real>(&self) -> Result<()> {
        let in_dtype = |rule: &str| format!("must be {rule} in {}", A::DTYPE);
        let rounded = |value: f64| A::from_f64(value).as_f64();
        self.method.check::<A>()?;
        let factor = |what: String, value: f64| match value >= 0.0 && rounded(value).is_finite() {
            true => Ok(()),
            false => Err(Error::invalid(what, value, in_dtype("at least 0 and finite"))),
        };
        factor("weight_decay".into(), self.weight_decay)?;
        for Group { pattern, lr_scale, weight_decay, method } in &self.groups {
            if let Some(Err(error)) = method.map(|method| method.check::<A>()) {
                return Err(Error::invalid("method of the parameter group", pattern, error.to_string()));
            }
            factor(format!("lr_scale of the parameter group {pattern}"), *lr_scale)?;
            factor(format!("weight_decay of the parameter group {pattern}"), weight_decay.unwrap_or_default())?;
        }
        match rounded(self.clip_grad_norm) > 0.0 {
            true => Ok(()),
            false => Err(Error::invalid("clip_grad_norm", self.clip_grad_norm, in_dtype("above 0"))),
        }
    }

    /// How the parameter of this name, kind and shape is treated.
    pub(super) fn treatment(&self, name: &str, kind: Kind, shape: Shape) -> Treatment {
        let group = self.groups.iter().find(|group| group.matches(name));
        let method = group.and_then(|group| group.method).unwrap_or(self.method);
        let usual = if self.decay_all || kind == Kind::Weight { self.weight_decay } else { 0.0 };
        let lr_scale = group.map_or(1.0, |group| group.lr_scale);
        let weight_decay = group.and_then(|group| group.weight_decay).unwrap_or(usual);
        match method.of(kind, shape) {
            // Of the decay, the rate is what it is without the factor.
            method @ Method::Muon { .. } => {
                let [rows, columns] = matrix(shape).map(|side| side as f64);
                let factor = (columns / rows.max(1.0)).max(1.0).sqrt();
                Treatment { method, lr_scale: lr_scale * factor, weight_decay: weight_decay / factor }
            }
            method => Treatment { method, lr_scale, weight_decay },
        }
    }

    /// Refuses groups that none of these names belongs to.
    pub(super) fn check_groups(&self, names: &[&str]) -> Result<()> {
        for group in &self.groups {
            if !names.iter().any(|name| group.matches(name)) {
                let rule = names::no_parameter(&group.pattern, names);
                return Err(Error::invalid("parameter group", &group.pattern, rule));
            }
        }
        Ok(())
    }
}

/// How one parameter is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    pub(super) method: Method,
    pub(super) lr_scale: f64,
    pub(super) weight_decay: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, expected) in [
            ("fc.weight", "fc.weight", true),
            ("fc", "fc.weight", false),
            ("layer1.*", "layer1.0.conv1.weight", true),
            ("layer1.*", "layer10.0.conv1.weight", false),
            ("*.bias", "fc.bias", true),
            ("*.bias", "fc.bias.weight", false),
            ("*", "anything", true),
            ("", "anything", false),
            ("layer*.bn*.weight", "layer1.0.bn2.weight", true),
            ("layer*.bn*.weight", "layer1.0.conv2.weight", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("**b", "ab", true),
        ] {
            assert_eq!(Group::new(pattern, 1.0).matches(name), expected, "{pattern} and {name}");
        }
    }
}
