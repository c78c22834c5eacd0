//! Central differences.
//!
//! Of a function of some inputs and parameters, the gradient of `sum(y * dy)` for a random `dy` is compared with
//! `(f(x + h) - f(x - h)) / 2h`, h = 1e-5 * max(1, |x|): for an array of up to 256 numbers one by one (every column of
//! the Jacobian), else along 8 random directions of -1s and 1s. The distance of the two, over all numbers of an array,
//! must be at most 1e-6 of the norm of its gradient; of a gradient smaller than 1e-3 of the norm of `dy` (a bias before
//! a normalisation has none) it is taken from that, for the differences are rounded too.
//!
//! The differences are taken with an observer, which has every activation written; the gradient without one, which
//! reads activations that never were. A draw for which some activation goes from one of its straight lines to another between
//! x - h and x + h has no derivative to compare with: whether it does is seen in the values alone, and then other numbers are
//! drawn.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use cnn_core::backend::{Accum, Activation, Wide};
use cnn_core::graph::{Event, Observer, Op};
use cnn_core::nn::{Fields, parameters, parameters_mut};
use cnn_core::ops::Loss;
use cnn_core::rng::{Philox, Purpose, Stream};
use cnn_core::{Backend, Error, Gradients, Mode, Pass, Real, Result, Tensor, Var};
use cnn_tests::Effort;
use proptest::strategy::Strategy;

const FULL: usize = 256;
const DIRECTIONS: usize = 8;
const STEP: f64 = 1e-5;
const BOUND: f64 = 1e-6;
const LEAST: f64 = 1e-3;
/// The most numbers that are [`apart`](Draw::apart).
pub(super) const APART: usize = 40_000;

/// Random numbers of a case.
pub(super) struct Draw(Stream);

impl Draw {
    /// Numbers between -1 and 1.
    pub(super) fn numbers(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.0.range(-1.0, 1.0)).collect()
    }

    /// Numbers at least 1e-2 from 0.
    pub(super) fn clear_of_zero(&mut self, n: usize) -> Vec<f64> {
        self.numbers(n).into_iter().map(|v| v + 1e-2f64.copysign(v)).collect()
    }

    /// Numbers between -8 and 8, at least 1e-2 from every multiple of 3: where straight lines end.
    pub(super) fn clear_of_threes(&mut self, n: usize) -> Vec<f64> {
        let clear = |x: f64| x + 1e-2f64.copysign(x - 3.0 * (x / 3.0).round());
        self.numbers(n).into_iter().map(|x| clear(8.0 * x)).collect()
    }

    /// Numbers at least 1e-2 apart, around 0: up to [`APART`], as the differences' steps grow with the numbers.
    pub(super) fn apart(&mut self, n: usize) -> Vec<f64> {
        assert!(n <= APART, "{n} numbers: two steps of the largest would be more than what they are apart");
        let mut numbers: Vec<f64> = (0..n).map(|i| 1e-2 * (i as f64 - n as f64 / 2.0)).collect();
        self.0.shuffle(&mut numbers);
        numbers
    }

    /// Numbers from 0.5 to 1.5.
    pub(super) fn positive(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.0.range(0.5, 1.5)).collect()
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0.below(n as u32) as usize
    }
}

/// What follows a normalisation in the same op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Relu,
    Relu6,
    Silu,
    Add,
    AddRelu,
    AddRelu6,
    AddHardswish,
}

impl After {
    pub(super) const ALL: [After; 8] = [
        After::Nothing,
        After::Relu,
        After::Relu6,
        After::Silu,
        After::Add,
        After::AddRelu,
        After::AddRelu6,
        After::AddHardswish,
    ];

    /// Whether a second value is added.
    pub(super) fn adds(self) -> bool {
        matches!(self, After::Add | After::AddRelu | After::AddRelu6 | After::AddHardswish)
    }

    /// Whether numbers end at 6.
    pub(super) fn ends(self) -> bool {
        matches!(self, After::Relu6 | After::AddRelu6)
    }
}

/// An array that goes in.
#[derive(Clone, Debug)]
pub(super) struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    pub(super) fn new(shape: &[usize], values: impl FnOnce(usize) -> Vec<f64>) -> Self {
        Array { shape: shape.to_vec(), values: values(shape.iter().product()) }
    }
}

/// What a function gives.
pub(super) enum Output<B: Backend> {
    /// Activations.
    Var(Var<B>),
    /// A mean loss.
    Loss(Loss<B>),
}

impl<B: Backend> From<Var<B>> for Output<B> {
    fn from(var: Var<B>) -> Self {
        Output::Var(var)
    }
}

impl<B: Backend> From<Loss<B>> for Output<B> {
    fn from(loss: Loss<B>) -> Self {
        Output::Loss(loss)
    }
}

/// Why a gradient was not confirmed.
enum Refusal {
    Kink,
    Wrong(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Wrong(error.to_string())
    }
}

/// A function of some inputs, which holds parameters and may hold none.
trait Model<B: Backend> {
    fn fields(&mut self) -> &mut dyn Fields<B>;
    fn forward(&mut self, xs: &[Var<B>]) -> Result<Output<B>>;
}

/// The function of a case.
struct Of<'a, C, M, F> {
    case: &'a C,
    fields: M,
    forward: &'a F,
}

impl<B, C, M, O, F> Model<B> for Of<'_, C, M, F>
where
    B: Backend,
    M: Fields<B>,
    O: Into<Output<B>>,
    F: Fn(&C, &mut M, &[Var<B>]) -> Result<O>,
{
    fn fields(&mut self) -> &mut dyn Fields<B> {
        &mut self.fields
    }
    fn forward(&mut self, xs: &[Var<B>]) -> Result<Output<B>> {
        (self.forward)(self.case, &mut self.fields, xs).map(O::into)
    }
}

/// What every perturbed run tells: the output, and on which side of its kink each ReLU was.
type Values = (Vec<f64>, Vec<u8>);

/// The gradient check of the ordinary number of cases. `make` gives the model and its inputs, `forward` is the function.
pub(super) fn check<B, C, M, O>(
    backend: &B,
    mode: Mode,
    cases: impl Strategy<Value = C>,
    make: impl Fn(&C, &mut Draw) -> Result<(M, Vec<Array>)>,
    forward: impl Fn(&C, &mut M, &[Var<B>]) -> Result<O>,
) -> Result<(), String>
where
    B: Backend,
    C: Debug,
    M: Fields<B>,
    O: Into<Output<B>>,
{
    let effort = Effort { shrink: 64, ..Effort::ordinary() };
    effort.run(cases, |case| {
        for attempt in 0..100 {
            let mut draw = Draw(Philox::new(attempt, Purpose::Test, 0, 0).stream());
            let (mut fields, inputs) = make(case, &mut draw).map_err(|error| error.to_string())?;
            cnn_core::nn::name_fields(&mut fields);
            let mut model = Of { case, fields, forward: &forward };
            match (Function { backend, mode, model: &mut model, inputs }).check(&mut draw) {
                Ok(()) => return Ok(()),
                Err(Refusal::Wrong(error)) => return Err(format!("{}: {error}", backend.describe())),
                Err(Refusal::Kink) => {}
            }
        }
        Err("no draw keeps clear of the kinks".into())
    })
}

/// A function with its arguments. It knows its model by a trait only: this code is compiled once for each backend.
struct Function<'a, B: Backend> {
    backend: &'a B,
    mode: Mode,
    model: &'a mut dyn Model<B>,
    inputs: Vec<Array>,
}

impl<B: Backend> Function<'_, B> {
    fn check(&mut self, draw: &mut Draw) -> Result<(), Refusal> {
        let (y, sides) = self.values()?;
        let loss = y.len() == 1;
        let dy = if loss { vec![1.0] } else { draw.numbers(y.len()) };
        let (written, gradients) = self.gradients(&dy)?;
        let apart: Vec<f64> = written.iter().zip(&y).map(|(a, b)| a - b).collect();
        if !within(norm(&apart), 1e-12 * norm(&y)) {
            return Err(Refusal::Wrong(format!("the observed output is {y:?}, the unobserved {written:?}")));
        }
        let least = LEAST * norm(&dy);
        for (which, gradient) in gradients.iter().enumerate() {
            let n = gradient.len();
            let (name, x) = self.get(which)?;
            let mut slope = |direction: &dyn Fn(usize) -> f64| {
                let scale = x.iter().enumerate().map(|(i, x)| x.abs() * direction(i).abs()).fold(1.0, f64::max);
                let mut run = |sign: f64| {
                    let moved = x.iter().enumerate().map(|(i, x)| x + sign * STEP * scale * direction(i)).collect();
                    self.set(which, moved)?;
                    let (y, now) = self.values()?;
                    if now == sides { Ok(y) } else { Err(Refusal::Kink) }
                };
                let (above, below) = (run(1.0)?, run(-1.0)?);
                let slopes = above.iter().zip(&below).zip(&dy).map(|((a, b), dy)| (a - b) * dy);
                Ok::<f64, Refusal>(slopes.sum::<f64>() / (2.0 * STEP * scale))
            };
            if n <= FULL {
                let expected = (0..n).map(|j| slope(&|i| f64::from(i == j))).collect::<Result<Vec<_>, _>>()?;
                let apart: Vec<f64> = gradient.iter().zip(&expected).map(|(a, b)| a - b).collect();
                if !within(norm(&apart), BOUND * norm(&expected).max(least)) {
                    let relative = norm(&apart) / norm(&expected).max(least);
                    let message =
                        format!("gradient of {name}: got {gradient:?}, expected {expected:?} ({relative:.1e})");
                    return Err(Refusal::Wrong(message));
                }
            } else {
                for _ in 0..DIRECTIONS {
                    let signs: Vec<f64> = (0..n).map(|_| if draw.below(2) == 0 { -1.0 } else { 1.0 }).collect();
                    let expected = slope(&|i| signs[i])?;
                    let got: f64 = signs.iter().zip(gradient).map(|(sign, g)| sign * g).sum();
                    let scale = norm(gradient).max(least);
                    if !within((got - expected).abs(), BOUND * scale) {
                        let relative = (got - expected).abs() / scale;
                        let message = format!("gradient of {name} along a direction: got {got}, expected {expected}");
                        return Err(Refusal::Wrong(format!("{message} ({relative:.1e} of the gradient's norm)")));
                    }
                }
            }
            self.set(which, x)?;
        }
        Ok(())
    }

    fn pass(&self, recorded: bool) -> Pass<B> {
        let pass = match (self.mode, recorded) {
            (Mode::Train, _) => Pass::train(self.backend, 5),
            (Mode::Eval, true) => Pass::eval_recorded(self.backend),
            (Mode::Eval, false) => Pass::eval(self.backend),
        };
        pass.at_step(7)
    }

    fn enter(&self, pass: &Pass<B>) -> Result<Vec<Var<B>>> {
        let numbers = |values: &[f64]| values.iter().map(|&v| Accum::<B>::from_f64(v)).collect::<Vec<_>>();
        let inputs = self.inputs.iter();
        inputs
            .map(|x| {
                let tensor = Tensor::from_slice(self.backend, x.shape.as_slice(), &numbers(&x.values))?;
                Ok(pass.input(tensor)?.keep_gradient())
            })
            .collect()
    }

    /// The output, every activation written.
    fn values(&mut self) -> Result<Values> {
        let sides = Rc::new(RefCell::new(Sides::default()));
        let pass = self.pass(false).observed(sides.clone());
        let y = match self.model.forward(&self.enter(&pass)?)? {
            Output::Var(y) => wide(y.to_vec()?),
            Output::Loss(loss) => vec![loss.to_f64()?],
        };
        let sides = std::mem::take(&mut sides.borrow_mut().0);
        Ok((y, sides))
    }

    /// The output, and the gradients of all inputs and then all parameters.
    fn gradients(&mut self, dy: &[f64]) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
        let pass = self.pass(true);
        let inputs = self.enter(&pass)?;
        let (y, gradients): (_, Gradients<B>) = match self.model.forward(&inputs)? {
            Output::Var(y) => {
                let dy: Vec<Accum<B>> = dy.iter().map(|&v| Accum::<B>::from_f64(v)).collect();
                let dy = Tensor::from_slice(self.backend, y.shape().dims(), &dy)?;
                (wide(y.to_vec()?), y.backward_from(dy)?)
            }
            Output::Loss(loss) => (vec![loss.to_f64()?], loss.backward()?),
        };
        let download = |gradient: &Wide<B>| Ok::<_, Error>(wide(self.backend.download(gradient)?));
        let mut all = Vec::new();
        for input in &inputs {
            all.push(download(&self.backend.widen(gradients.of(input)?)?)?);
        }
        for parameter in parameters(self.model.fields()) {
            let unused = || Error::invalid("parameter", parameter.name(), "has no gradient");
            all.push(download(gradients.parameter(parameter).ok_or_else(unused)?)?);
        }
        Ok((y, all))
    }

    /// Name and values of an input, or of a parameter after them.
    fn get(&mut self, which: usize) -> Result<(String, Vec<f64>)> {
        match self.inputs.get(which) {
            Some(input) => Ok((format!("input {which}"), input.values.clone())),
            None => {
                let parameter = parameters(self.model.fields())[which - self.inputs.len()];
                Ok((parameter.name().to_owned(), wide(self.backend.download(parameter.value())?)))
            }
        }
    }

    fn set(&mut self, which: usize, values: Vec<f64>) -> Result<()> {
        let inputs = self.inputs.len();
        match self.inputs.get_mut(which) {
            Some(input) => input.values = values,
            None => {
                let values: Vec<Accum<B>> = values.into_iter().map(Accum::<B>::from_f64).collect();
                *parameters_mut(self.model.fields())[which - inputs].value_mut() = self.backend.upload(&values)?;
            }
        }
        Ok(())
    }
}

/// On which of its straight lines every activation was.
#[derive(Default)]
struct Sides(Vec<u8>);

impl<B: Backend> Observer<B> for Sides {
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()> {
        let last = match event.op {
            Op::Activation(activation) => Some(*activation),
            Op::BatchNorm2d { after, .. } => after.activation,
            _ => None,
        };
        if let Some(activation) = last {
            self.0.extend(event.output.to_vec()?.into_iter().map(|y| line(activation, y.as_f64())));
        }
        Ok(())
    }
}

/// Which of an activation's straight lines an output is on; a smooth one has none.
fn line(activation: Activation, y: f64) -> u8 {
    match activation {
        Activation::Relu | Activation::LeakyRelu => u8::from(y > 0.0),
        Activation::Relu6 => u8::from(y > 0.0) + u8::from(y >= 6.0),
        Activation::Hardsigmoid => u8::from(y > 0.0) + u8::from(y >= 1.0),
        Activation::Hardswish => u8::from(y != 0.0) + u8::from(y >= 3.0),
        Activation::Gelu | Activation::Silu | Activation::Sigmoid => 0,
    }
}

pub(super) fn wide<A: Real>(values: Vec<A>) -> Vec<f64> {
    values.into_iter().map(Real::as_f64).collect()
}

/// Whether an error passes; NaN does not.
fn within(error: f64, bound: f64) -> bool {
    error <= bound
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}
