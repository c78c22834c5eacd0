//! Frozen inference: a model as a fixed list of fused operations, run by any number of threads.
//!
//! [`Frozen::new`] watches one evaluation pass of a model, folds every batch normalisation into the convolution before
//! it, gives additions and activations to the epilogues of convolutions and dense layers (the file `lower`), and brings the
//! filters into the form that kernels read. The first run at a batch size plans it: specs, and filters that none of the
//! other sizes has. Of many sizes the plans of those that ran last are kept.
//!
//! Memory is planned without addresses. Liveness is known ahead, so each value has a *place*, and a place is used
//! again as soon as the last reader of its value has run: the dropped buffer goes to the backend's free list, and the
//! next operation of that size gets it from there, still in the cache. From the second run at a batch size on, the
//! free list has a block for every request, and two runs at once share nothing but the weights. A device that gains by it
//! records the second run, and plays the recording from then on.

mod lower;

use std::collections::{HashMap, VecDeque};
use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::backend::{Affine, Backend, Data, Epilogue, Inference, Input, Norm, Recorded, Rectifier, Uses, Wide};
use crate::graph::Graph;
use crate::nn::Module;
use crate::tape::VarId;
use crate::{Conv2dSpec, Error, Result, Shape, Tensor};
use lower::{Extent, Layer, Lowered, Work, at_batch, lower};

/// A model for inference. Its weights are those that the model had when it was frozen.
///
/// ```
/// use cnn_core::nn::{Conv2d, Init, Relu, Sequential, name_fields};
/// use cnn_core::{Conv2dOptions, Frozen, Naive, Tensor};
///
/// # fn main() -> cnn_core::Result<()> {
/// let backend = Naive::<f32>::new();
/// let conv = Conv2d::new(&mut Init::new(&backend, 0), 3, 8, Conv2dOptions::square(3))?;
/// let mut model = Sequential::new().push(conv).push(Relu::default());
/// name_fields(&mut model);
///
/// let frozen = Frozen::new(&backend, &mut model, &[5, 5, 3])?;
/// assert_eq!(format!("{frozen:?}"), "Frozen of 1 operations for samples of [5, 5, 3]");
/// for batch in [1, 4] {
///     let images = Tensor::from_slice(&backend, [batch, 5, 5, 3], &vec![0.5; batch * 5 * 5 * 3])?;
///     assert_eq!(frozen.run(images)?.shape().dims(), [batch, 3, 3, 8]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Frozen<B: Inference> {
    backend: B,
    /// Of one sample: \[1, ...\].
    input: Shape,
    output: Shape,
    layers: Vec<Layer<B>>,
    /// Learned arrays that layers read as values.
    parameters: Vec<Data<B>>,
    places: Places,
    /// By batch size; the one that was used last is at the end.
    plans: Mutex<VecDeque<(usize, Arc<Plan<B>>)>>,
}

/// How many plans are kept: a program that is asked for any number of images does not grow without a bound.
const MAX_PLANS: usize = 32;

/// The layers at a batch size.
struct Plan<B: Inference> {
    work: Vec<Work<B, B::Filter>>,
    runs: AtomicU32,
    /// What the device plays in their place.
    recorded: OnceLock<Recorded<B>>,
}

/// The first run prepares what the device computes with; after the last the device has had its chances.
const RECORDED_RUNS: std::ops::Range<u32> = 1..4;

/// Where the values are.
#[derive(Debug)]
struct Places {
    /// Of the values of each layer.
    layers: Vec<LayerPlaces>,
    count: usize,
    output: usize,
}

/// The place of the input; those of the parameters follow.
const INPUT: usize = 0;

#[derive(Debug)]
struct LayerPlaces {
    inputs: Vec<usize>,
    residual: Option<usize>,
    output: usize,
    /// Those whose value no later layer reads.
    free: Vec<usize>,
}

/// What the liveness of values promises.
const ALIVE: &str = "a value stays in its place until its last reader has run";

impl<B: Backend> Frozen<B> {
    /// Freezes `model` for any number of samples of this shape, such as \[height, width, channels\].
    ///
    /// # Errors
    /// Those of the model for such samples.
    pub fn new(backend: &B, model: &mut (impl Module<B> + ?Sized), sample: &[usize]) -> Result<Self> {
        let input = Shape::new(&[&[1], sample].concat())?;
        Self::from_graph(backend, &Graph::trace(backend, model, input)?)
    }
}

impl<B: Inference> Frozen<B> {
    /// Freezes what `graph` does to its input, for any number of samples.
    ///
    /// # Errors
    /// Those of [`Graph::check`], a graph without an input or with several, an output that does not depend on it, an
    /// operation that is none of inference, one other than [`Var::custom`](crate::Var::custom) that reads a learned array
    /// beside samples, and those of the device.
    pub fn from_graph(backend: &B, graph: &Graph<B>) -> Result<Self> {
        let lowered = lower(backend, graph)?;
        let places = Places::new(&lowered);
        let Lowered { layers, parameters, input_shape: input, output_shape: output, .. } = lowered;
        let parameters = parameters.into_iter().map(|(_, data)| data).collect();
        Ok(Frozen { backend: backend.clone(), input, output, layers, parameters, places, plans: Mutex::default() })
    }

    /// What the model computes of `input` \[N, ...\] in evaluation, up to rounding. Threads may call it at once.
    ///
    /// # Errors
    /// Samples of another shape than the model was frozen for, and those of the device.
    pub fn run(&self, input: Tensor<B>) -> Result<Tensor<B>> {
        let (shape, sample) = (input.shape(), &self.input.dims()[1..]);
        let batch = match shape.dims() {
            [batch, rest @ ..] if rest == sample => *batch,
            _ => {
                let rule = format!("must be a batch of the samples {sample:?} that the model was frozen for");
                return Err(Error::invalid("input", shape, rule));
            }
        };
        let plan = self.plan(batch)?;
        let data = self.run_plan(&plan, input.into_data())?;
        Tensor::from_data(&self.backend, at_batch(self.output, batch)?, data)
    }

    /// Runs a plan, or plays it where the device has recorded it.
    fn run_plan(&self, plan: &Plan<B>, input: Data<B>) -> Result<Data<B>> {
        if let Some(recorded) = plan.recorded.get() {
            return recorded.play(&input);
        }
        // What others have written may do anything else besides, each time.
        let custom = |work: &Work<B, B::Filter>| matches!(work, Work::Custom(..));
        if !RECORDED_RUNS.contains(&plan.runs.fetch_add(1, Ordering::Relaxed)) || plan.work.iter().any(custom) {
            return self.run_layers(&plan.work, input);
        }
        let (output, recorded) = self.backend.record(input, &|input| self.run_layers(&plan.work, input))?;
        if let Some(recorded) = recorded {
            let _ = plan.recorded.set(recorded); // another thread's serves as well
        }
        Ok(output)
    }

    fn run_layers(&self, plan: &[Work<B, B::Filter>], input: Data<B>) -> Result<Data<B>> {
        let mut values: Vec<Option<Data<B>>> = vec![None; self.places.count];
        values[INPUT] = Some(input);
        for (value, parameter) in values[INPUT + 1..].iter_mut().zip(&self.parameters) {
            *value = Some(parameter.clone());
        }
        for ((layer, work), at) in self.layers.iter().zip(plan).zip(&self.places.layers) {
            let made = self.compute(layer, work, at, &mut values).map_err(|error| error.in_layer(&layer.path))?;
            for &place in &at.free {
                values[place] = None;
            }
            values[at.output] = Some(made);
        }
        Ok(values[self.places.output].take().expect(ALIVE))
    }

    fn compute(
        &self,
        layer: &Layer<B>,
        work: &Work<B, B::Filter>,
        at: &LayerPlaces,
        values: &mut [Option<Data<B>>],
    ) -> Result<Data<B>> {
        let (backend, activation) = (&self.backend, layer.activation);
        let first = at.inputs[0];
        // A value that ends here may be overwritten.
        let owned = |values: &mut [Option<Data<B>>]| {
            let read_twice = at.inputs[1..].contains(&first);
            let ends = at.free.contains(&first) && !read_twice;
            if ends { values[first].take() } else { values[first].clone() }.expect(ALIVE)
        };
        let x = values[first].as_ref().expect(ALIVE);
        let residual = at.residual.map(|place| values[place].as_ref().expect(ALIVE));
        let epilogue = |bias| Epilogue { bias, residual, activation };
        match work {
            Work::Conv2d { spec, filter, bias } => {
                backend.conv2d(spec, &Input::Plain(x.clone()), filter, epilogue(bias.as_ref()))
            }
            Work::Linear { spec, weight, bias } => backend.linear(spec, x, weight, epilogue(bias.as_ref())),
            Work::Norm { scale, shift, channels } => {
                let (rectifier, late) = Rectifier::split(activation);
                let (scale, shift, channels) = (scale.clone(), shift.clone(), *channels);
                let residual = residual.map(|residual| Input::Plain(residual.clone()));
                let y =
                    backend.normalise(&Norm { x: x.clone(), scale, shift, channels, rectifier }, residual.as_ref())?;
                match late {
                    Some(activation) => backend.activate(activation, y),
                    None => Ok(y),
                }
            }
            Work::LayerNorm { spec, gamma, beta } => backend.layer_norm(spec, x, Affine { gamma, beta }),
            Work::MaxPool2d(spec) => Ok(backend.max_pool2d(spec, x)?.0),
            Work::AvgPool2d(spec) => backend.avg_pool2d(spec, x),
            Work::AdaptiveAvgPool2d(spec) => backend.adaptive_avg_pool2d(spec, x),
            Work::ScaleChannels(spec) => {
                let x = owned(values);
                backend.scale_channels(spec, x, values[at.inputs[1]].as_ref().expect(ALIVE))
            }
            Work::Concat(channels) => {
                let part = |(&place, &channels): (&usize, &usize)| (values[place].as_ref().expect(ALIVE), channels);
                backend.concat(&at.inputs.iter().zip(channels).map(part).collect::<Vec<_>>())
            }
            Work::SliceChannels(spec) => backend.slice_channels(spec, x),
            Work::ShuffleChannels { channels, groups } => backend.shuffle_channels(x, *channels, *groups),
            Work::Softmax { classes } => backend.softmax(x, *classes),
            Work::Custom(custom, inputs, Extent { shape: output, .. }) => {
                let tensor = |(&place, input): (&usize, &Extent)| {
                    Tensor::from_data(backend, input.shape, values[place].clone().expect(ALIVE))
                };
                let inputs = at.inputs.iter().zip(inputs).map(tensor).collect::<Result<Vec<_>>>()?;
                let made = custom.run(backend, &inputs).map_err(|error| error.in_layer(&custom.place(&layer.path)))?;
                if made.shape() != *output {
                    let rule = format!("must be {output} for this batch, as when the model was frozen");
                    let error = Error::invalid("output", made.shape(), rule);
                    return Err(error.in_layer(&custom.place(&layer.path)));
                }
                Ok(made.into_data())
            }
            Work::Add => {
                let x = owned(values);
                backend.add(x, values[at.inputs[1]].as_ref().expect(ALIVE))
            }
            Work::Activation(activation) => backend.activate(*activation, owned(values)),
        }
    }

    /// The layers at a batch size, planned now if they were not yet.
    fn plan(&self, batch: usize) -> Result<Arc<Plan<B>>> {
        let mut plans = self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = plans.iter().position(|(size, _)| *size == batch).and_then(|at| plans.remove(at)) {
            let plan = known.1.clone();
            plans.push_back(known);
            return Ok(plan);
        }
        let prepare = |index: usize, spec: &Conv2dSpec, weight: &Wide<B>| {
            let serves = |(_, plan): &(usize, Arc<Plan<B>>)| match &plan.work[index] {
                Work::Conv2d { spec: prepared, filter, .. } if self.backend.filter_serves(prepared, spec) => {
                    Some(filter.clone())
                }
                _ => None,
            };
            match plans.iter().find_map(serves) {
                Some(filter) => Ok(filter),
                None => self.backend.prepare_filter(spec, weight, Uses::Forward),
            }
        };
        let work: Result<Vec<_>> = (self.layers.iter().enumerate())
            .map(|(index, layer)| {
                let work = layer.at_batch(batch, |spec, weight| prepare(index, spec, weight));
                work.map_err(|error| error.in_layer(&layer.path))
            })
            .collect();
        let plan = Arc::new(Plan { work: work?, runs: AtomicU32::new(0), recorded: OnceLock::new() });
        if plans.len() == MAX_PLANS {
            plans.pop_front();
        }
        plans.push_back((batch, plan.clone()));
        Ok(plan)
    }
}

impl Places {
    fn new<B: Inference>(lowered: &Lowered<B>) -> Self {
        let mut last: HashMap<VarId, usize> = HashMap::from([(lowered.output, usize::MAX)]);
        for (index, layer) in lowered.layers.iter().enumerate() {
            for &value in layer.inputs.iter().chain(&layer.residual) {
                let reader = last.entry(value).or_insert(index);
                *reader = index.max(*reader);
            }
        }
        let entering = [lowered.input].into_iter().chain(lowered.parameters.iter().map(|(value, _)| *value));
        let mut holds: Vec<Option<VarId>> = entering.map(Some).collect(); // by place
        let mut layers = Vec::with_capacity(lowered.layers.len());
        let find = |holds: &[Option<VarId>], value| holds.iter().position(|held| *held == Some(value)).expect(ALIVE);
        for (index, layer) in lowered.layers.iter().enumerate() {
            let inputs: Vec<usize> = layer.inputs.iter().map(|&value| find(&holds, value)).collect();
            let residual = layer.residual.map(|value| find(&holds, value));
            let output = holds.iter().position(Option::is_none).unwrap_or_else(|| {
                holds.push(None);
                holds.len() - 1
            });
            let mut free = Vec::new();
            for place in inputs.iter().copied().chain(residual) {
                if holds[place].is_some_and(|value| last[&value] == index) {
                    holds[place] = None;
                    free.push(place);
                }
            }
            holds[output] = Some(layer.output);
            layers.push(LayerPlaces { inputs, residual, output, free });
        }
        let output = find(&holds, lowered.output);
        Places { layers, count: holds.len(), output }
    }
}

impl<B: Inference> Debug for Frozen<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frozen of {} operations for samples of {:?}", self.layers.len(), &self.input.dims()[1..])
    }
}

/// Threads share a frozen model: this compiles only if they may.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn check<B: Inference>() {
        shared::<Frozen<B>>();
    }
    _ = check::<crate::Naive<f32>>;
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv2d, Init, Sequential, name_fields};
    use crate::{Conv2dOptions, Naive};

    #[test]
    fn of_many_batch_sizes_the_latest_are_kept() {
        let backend = Naive::<f64>::new();
        let mut model = Sequential::new();
        model = model.push(Conv2d::new(&mut Init::new(&backend, 0), 1, 2, Conv2dOptions::square(2)).unwrap());
        name_fields(&mut model);
        let frozen = Frozen::new(&backend, &mut model, &[3, 3, 1]).unwrap();
        let run = |batch: usize| {
            let values: Vec<f64> = (0..batch * 9).map(|i| (i % 9) as f64).collect();
            frozen.run(Tensor::from_slice(&backend, [batch, 3, 3, 1], &values).unwrap()).unwrap().to_vec(&backend)
        };
        let first = run(1).unwrap();
        for batch in 2..=3 * MAX_PLANS {
            assert_eq!(run(batch).unwrap()[..first.len()], first);
            // The first is used all along, so it stays.
            assert_eq!(run(1).unwrap(), first);
        }
        let kept: Vec<usize> = frozen.plans.lock().unwrap().iter().map(|(batch, _)| *batch).collect();
        let expected: Vec<usize> = (2 * MAX_PLANS + 2..=3 * MAX_PLANS).chain([1]).collect();
        assert_eq!(kept, expected);
        assert_eq!(run(2).unwrap()[..first.len()], first);
    }
}
