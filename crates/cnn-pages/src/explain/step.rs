//! One step of backpropagation on one image: loss, gradients, weights before and after, and the loss after the step.

use cnn_core::backend::Wide;
use cnn_core::nn::{Module, parameters, parameters_mut};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Backend, Pass, Real, Result, Tensor};

use super::layers::narrow;

/// What the step was and did.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) label: usize,
    pub(crate) lr: f64,
    /// Before and after.
    pub(crate) loss: [f64; 2],
    /// Squared length of the whole gradient.
    pub(crate) squared_length: f64,
    /// Of every class, before and after.
    pub(crate) probabilities: [Vec<f64>; 2],
    /// Of the first convolution's weight; none if it is not trained.
    pub(crate) filters: Option<Moved>,
    /// Of every parameter: its name, its number of values, and the length (L2 norm) of its gradient.
    pub(crate) gradients: Vec<(String, usize, f64)>,
    /// Whether the step was refused because something was not finite.
    pub(crate) refused: bool,
}

impl Step {
    /// By how much the loss would fall if it were as steep all the way as it is where the step begins.
    pub(crate) fn predicted(&self) -> f64 {
        self.lr * self.squared_length
    }
}

/// A parameter's values, in the order of memory.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) before: Vec<f32>,
    pub(crate) gradient: Vec<f32>,
    pub(crate) after: Vec<f32>,
}

/// The largest rate that is chosen.
const RATE: f64 = 0.01;

/// The rate of a step for which none was asked: [`RATE`], or less where the gradient is so long that it would predict a fall
/// of more than half of the loss, which no straight line can be trusted with. Rounded down to two digits.
fn chosen_rate(loss: f64, squared_length: f64) -> f64 {
    let most = loss / (2.0 * squared_length);
    if !(most > 0.0 && most < RATE) {
        return RATE;
    }
    let unit = 10f64.powi(most.log10().floor() as i32 - 1);
    // By way of text, as a product with a power of ten is not the number that a reader writes.
    let rounded = format!("{:.1e}", (most / unit).floor() * unit).parse().unwrap_or(most);
    if rounded <= most { rounded } else { most }
}

/// Makes a step of plain SGD by `lr`, or by a rate that suits it, towards `label`, looks at what it did, and puts the weights
/// back. Normalisations go by their running statistics, as a batch of one image has none worth the name.
pub(crate) fn step<B: Backend>(
    backend: &B,
    model: &mut (impl Module<B> + ?Sized),
    image: &Tensor<B>,
    label: usize,
    lr: Option<f64>,
    filters: Option<&str>,
) -> Result<Step> {
    let saved: Vec<Wide<B>> = parameters(model).iter().map(|parameter| parameter.value().clone()).collect();
    let result = moved(backend, model, image, label, lr, filters);
    for (parameter, value) in parameters_mut(model).into_iter().zip(saved) {
        *parameter.value_mut() = value;
    }
    result
}

fn moved<B: Backend>(
    backend: &B,
    model: &mut (impl Module<B> + ?Sized),
    image: &Tensor<B>,
    label: usize,
    lr: Option<f64>,
    filters: Option<&str>,
) -> Result<Step> {
    let host = |values: &Wide<B>| -> Result<Vec<f32>> { Ok(narrow(&backend.download(values)?)) };
    let pass = Pass::eval_recorded(backend);
    let logits = model.call(&pass.input(image.clone())?)?;
    let before = logits.softmax()?.to_vec()?;
    let loss = logits.cross_entropy(&[label as u32], 0.0)?;
    let loss_before = loss.to_f64()?;
    let gradients = loss.backward()?;
    let mut lengths = Vec::new();
    let mut moved = None;
    for parameter in parameters(model) {
        let Some(gradient) = gradients.parameter(parameter) else { continue };
        let values = host(gradient)?;
        let length = values.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        lengths.push((parameter.name().to_owned(), values.len(), length));
        if Some(parameter.name()) == filters {
            moved = Some(Moved { before: host(parameter.value())?, gradient: values, after: Vec::new() });
        }
    }
    let squared_length: f64 = lengths.iter().map(|(_, _, length)| length * length).sum();
    let lr = lr.unwrap_or_else(|| chosen_rate(loss_before, squared_length));
    let options = OptimizerOptions::new(Method::Sgd { momentum: 0.0, nesterov: false }).weight_decay(0.0);
    Optimizer::new(backend, model, options)?.step(lr, model, &gradients)?;
    if let Some(moved) = &mut moved {
        for parameter in parameters(model).into_iter().filter(|parameter| Some(parameter.name()) == filters) {
            moved.after = host(parameter.value())?;
        }
    }
    let pass = Pass::eval(backend);
    let logits = model.call(&pass.input(image.clone())?)?;
    let after = logits.softmax()?.to_vec()?;
    let loss_after = logits.cross_entropy(&[label as u32], 0.0)?.to_f64()?;
    let finite = loss_before.is_finite() && lengths.iter().all(|(_, _, length)| length.is_finite());
    Ok(Step {
        label,
        lr,
        loss: [loss_before, loss_after],
        squared_length,
        probabilities: [before, after].map(|row| row.iter().map(|p| p.as_f64()).collect()),
        filters: moved,
        gradients: lengths,
        refused: !finite,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_rate_predicts_a_fall_of_at_most_half_of_the_loss() {
        assert_eq!([chosen_rate(2.0, 50.0), chosen_rate(2.0, 100.0), chosen_rate(0.0, 0.0)], [0.01; 3]);
        assert_eq!([chosen_rate(5.99, 1000.0), chosen_rate(0.203, 46.0)], [0.0029, 0.0022]);
        assert_eq!([chosen_rate(f64::NAN, 1.0), chosen_rate(1.0, f64::INFINITY)], [0.01; 2]);
        for squared_length in (1..400).map(|i| 1.09f64.powi(i)) {
            let rate = chosen_rate(0.7, squared_length);
            assert!(rate > 0.0 && rate <= 0.01 && rate * squared_length <= 0.35, "{rate} of {squared_length}");
            assert!(rate == 0.01 || rate * squared_length > 0.31, "{rate} of {squared_length} is less than need be");
        }
    }
}
