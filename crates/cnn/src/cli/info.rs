//! `cnn info`: what a model does to one image, layer by layer.
//!
//! The table is what an observer saw while the model ran on an empty image, so it cannot differ from what runs.

use std::collections::BTreeMap;
use std::path::Path;

use cnn::core::graph::{Graph, Op};
use cnn::core::nn::parameters;
use cnn::core::{Backend, Shape, bf16, names};
use cnn::cpu::available_threads;
use cnn::models::{Arch, Model};
use cnn::train::{EVALUATION_BATCH, Networks, Precision, Trained};
use cnn_measure::Machine;
use cnn_measure::memory::Network;
use serde_json::json;

use super::args::InfoArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::memory::{self, Steps};
use super::output::{self, grouped, table};

/// The most pixels that the model is run on: memory and time grow with them.
const MOST_PIXELS: usize = 1 << 20;
/// The most classes of a model that is only looked at.
const MOST_CLASSES: usize = 100_000;

/// Runs the command.
pub(crate) fn run(args: &InfoArgs) -> Result<(), Failure> {
    let asked = Asked::of(args)?;
    Device::for_little()?.run(Info(args, asked))
}

struct Info<'a>(&'a InfoArgs, Asked);

impl Command for Info<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Info(args, asked) = self;
        let network = |arch, image, classes| Network { arch, image, classes, threads: available_threads() };
        let summary = if let Some(arch) = named(&args.model) {
            let (image, classes) = (args.input.unwrap_or([32, 32, 3]), args.classes.unwrap_or(10));
            check(image, classes)?;
            let mut model = arch.build(backend, 0, image, classes)?;
            let summary = Summary::of(backend, &arch.to_string(), &mut model, image, classes)?;
            drop(model);
            Summary { memory: Some(asked.count(network(arch, image, classes), summary.parameters)?), ..summary }
        } else if !Path::new(&args.model).exists() {
            let error = names::unknown("model", &args.model, Arch::names());
            return Err(Failure::usage(format!("{error} (nor are there weights of that name)")));
        } else {
            let file = super::data::weights(Path::new(&args.model))?;
            let mut weights = Trained::load(backend, file, &Networks::new())?;
            let trained = weights.info().clone();
            let (image, classes) = (args.input.unwrap_or(trained.image), trained.classes.len());
            if args.classes.is_some_and(|asked| asked != classes) {
                let asked = args.classes.unwrap_or_default();
                return Err(Failure::usage(format!("classes {asked}: must be the {classes} of the weights")));
            }
            check(image, classes)?;
            let summary = Summary::of(backend, &trained.arch, weights.model_mut(), image, classes)?;
            // A network of a program's own is not known here.
            let arch = trained.arch.parse::<Arch>().ok();
            let count = |arch| asked.count(network(arch, image, classes), summary.parameters);
            Summary { memory: arch.map(count).transpose()?, ..summary }
        };
        if args.json { output::print_json(&summary.to_json()) } else { output::print(&summary.to_text()) }
    }
}

/// The architecture called `text`: by its own name or, where no file is called so, by one that differs in capitals.
fn named(text: &str) -> Option<Arch> {
    let own = Arch::names().any(|name| name == text);
    text.parse().ok().filter(|_| own || !Path::new(text).exists())
}

fn check([height, width, channels]: [usize; 3], classes: usize) -> Result<(), Failure> {
    let pixels = height.saturating_mul(width);
    if pixels == 0 || pixels > MOST_PIXELS || !(1..=64).contains(&channels) {
        let rule = format!("must have from 1 to {} pixels of 1 to 64 channels", grouped(MOST_PIXELS as u64));
        return Err(Failure::usage(format!("input {height}x{width}x{channels}: {rule}")));
    }
    if !(1..=MOST_CLASSES).contains(&classes) {
        return Err(Failure::usage(format!("classes {classes}: must be from 1 to {}", grouped(MOST_CLASSES as u64))));
    }
    Ok(())
}

/// One operation on one image.
struct Layer {
    path: String,
    /// The operation and its window.
    operation: String,
    name: String,
    macs: u64,
    shape: Vec<usize>,
    parameters: usize,
}

/// What a process takes of the machine's memory, in bytes.
struct Memory {
    batch: usize,
    threads: usize,
    precision: Precision,
    /// To train, the images not counted.
    training: u64,
    /// To classify.
    inference: u64,
}

/// What is asked for of the memory.
struct Asked {
    /// Images at a time; none for the usual number, of which a network may have too many to be counted.
    batch: Option<usize>,
    precision: Precision,
    /// The program itself, before it has a network.
    program: u64,
}

impl Asked {
    fn of(args: &InfoArgs) -> Result<Self, Failure> {
        let InfoArgs { batch, precision, .. } = *args;
        if batch == Some(0) {
            return Err(Failure::usage("batch 0: must be at least 1"));
        }
        if precision == Precision::Tf32 {
            return Err(Failure::usage("precision tf32: must be f32 or bf16: the memory that is counted is a CPU's"));
        }
        Ok(Asked { batch, precision, program: cnn_measure::timing::peak_memory().unwrap_or(0) })
    }

    /// Counts it for `network` of this many weights; the inner error is why there is no count, where none was asked for.
    fn count(&self, network: Network, parameters: usize) -> Result<Result<Memory, String>, Failure> {
        let batch = self.batch.unwrap_or(EVALUATION_BATCH);
        let steps = Steps { batch, precision: self.precision, states: 1 };
        let counted = memory::of_training(network, parameters, &steps).and_then(|training| {
            let inference = match self.precision {
                Precision::Bf16 => network.inference::<bf16>(batch)?,
                _ => network.inference::<f32>(batch)?,
            };
            Ok((training, inference))
        });
        let (training, inference) = match counted {
            Ok(counted) => counted,
            Err(error) if self.batch.is_some() => return Err(Failure::usage(format!("batch {batch}: {error}"))),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let [training, inference] = [training, inference].map(|taken| self.program + taken);
        Ok(Ok(Memory { batch, threads: network.threads, precision: self.precision, training, inference }))
    }
}

impl Memory {
    fn to_text(&self) -> String {
        let Memory { batch, threads, precision, .. } = self;
        let [training, inference] = [self.training, self.inference].map(output::bytes);
        format!(
            "training memory   {training} on a CPU by steps of {batch} in {precision} with momentum, and the bytes of the images\n\
             inference memory  {inference} for {batch} images at a time; both on {threads} threads\n",
        )
    }
}

struct Summary {
    /// None of a network that the program does not know; why there is no count, where it cannot be counted.
    memory: Option<Result<Memory, String>>,
    model: String,
    image: [usize; 3],
    classes: usize,
    layers: Vec<Layer>,
    parameters: usize,
    macs: u64,
    activation_bytes: u64,
}

impl Summary {
    /// What `model` does to one image.
    fn of<B: Backend>(
        backend: &B,
        name: &str,
        model: &mut Model<B>,
        image: [usize; 3],
        classes: usize,
    ) -> Result<Self, Failure> {
        let named = parameters(model).into_iter().map(|parameter| (parameter.name(), parameter.shape().numel()));
        let mut weights: BTreeMap<String, usize> = named.map(|(name, numel)| (name.to_owned(), numel)).collect();
        let total = weights.values().sum();
        // Those of a layer, which may be called as it is; each counts once.
        let mut take = |path: &str| {
            let of_layer = |name: &str| name == path || name.rsplit_once('.').map_or("", |(layer, _)| layer) == path;
            let mut sum = 0;
            weights.retain(|name, numel| {
                let own = of_layer(name);
                sum += if own { *numel } else { 0 };
                !own
            });
            sum
        };

        let [height, width, channels] = image;
        let graph = Graph::trace(backend, &mut **model, Shape::new(&[1, height, width, channels])?)?;
        let layers: Vec<Layer> = (graph.nodes.into_iter())
            .map(|node| {
                let weighty = matches!(
                    node.op,
                    Op::Conv2d { .. }
                        | Op::BatchNorm2d { .. }
                        | Op::LayerNorm { .. }
                        | Op::LayerScale { .. }
                        | Op::Linear { .. }
                );
                let parameters = if weighty { take(&node.path) } else { 0 };
                Layer {
                    operation: operation(&node.op),
                    name: node.op.name().into_owned(),
                    macs: node.op.macs(),
                    path: node.path,
                    shape: node.shape.dims().get(1..).unwrap_or_default().to_vec(),
                    parameters,
                }
            })
            .collect();
        let values = layers.iter().map(|layer| layer.shape.iter().product::<usize>() as u64).sum::<u64>();
        Ok(Summary {
            memory: None,
            model: name.to_owned(),
            image,
            classes,
            parameters: total,
            macs: layers.iter().map(|layer| layer.macs).sum(),
            activation_bytes: values * size_of::<B::Elem>() as u64,
            layers,
        })
    }

    fn to_text(&self) -> String {
        let [height, width, channels] = self.image;
        let mut rows = vec![["layer", "operation", "output", "parameters", "MACs"].map(str::to_owned).to_vec()];
        for layer in &self.layers {
            let number = |number: u64| if number == 0 { "-".to_owned() } else { grouped(number) };
            rows.push(vec![
                if layer.path.is_empty() { "-".to_owned() } else { layer.path.clone() },
                layer.operation.clone(),
                format!("{:?}", layer.shape),
                number(layer.parameters as u64),
                number(layer.macs),
            ]);
        }
        format!(
            "{}: images of {height}x{width}x{channels}, {} classes\n\n{}\n\
             parameters        {} ({})\nMACs              {} for one image\nactivation memory {} for one image, \
             every output kept\n{}",
            self.model,
            self.classes,
            table(&rows, &[0, 1, 2]),
            grouped(self.parameters as u64),
            output::bytes(self.parameters as u64 * 4),
            grouped(self.macs),
            output::bytes(self.activation_bytes),
            match &self.memory {
                Some(Ok(memory)) => memory.to_text(),
                Some(Err(why)) =>
                    format!("training memory   not counted by steps of {EVALUATION_BATCH}: {why}; see --batch\n"),
                None => String::new(),
            },
        )
    }

    fn to_json(&self) -> serde_json::Value {
        let layer = |layer: &Layer| {
            json!({
                "path": layer.path,
                "operation": layer.name,
                "output": layer.shape,
                "parameters": layer.parameters,
                "macs": layer.macs,
            })
        };
        let memory = self.memory.as_ref().and_then(|memory| memory.as_ref().ok());
        json!({
            "model": self.model,
            "input": self.image,
            "classes": self.classes,
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "parameters": self.parameters,
            "macs": self.macs,
            "activation_bytes": self.activation_bytes,
            "batch": memory.map(|memory| memory.batch),
            "training_bytes": memory.map(|memory| memory.training),
            "inference_bytes": memory.map(|memory| memory.inference),
        })
    }
}

/// An operation with its geometry.
fn operation<B: Backend>(op: &Op<B>) -> String {
    let window = |kernel: [usize; 2], stride: [usize; 2], padding: usize| {
        let mut text = format!(" {}x{}", kernel[0], kernel[1]);
        if stride != [1, 1] {
            text += &format!(", stride {}", stride[0]);
        }
        if padding > 0 {
            text += &format!(", padding {padding}");
        }
        text
    };
    op.name().into_owned()
        + &match op {
            Op::Conv2d { spec, .. } => window(spec.kernel, spec.stride, spec.padding.top),
            Op::MaxPool2d(spec) | Op::AvgPool2d(spec) => window(spec.window, spec.stride, spec.padding.top),
            _ => String::new(),
        }
}
