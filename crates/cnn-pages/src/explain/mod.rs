//! A network's way through one image, and the page that shows it.

mod backwards;
mod blocks;
mod dense;
pub(crate) mod layers;
mod learning;
mod neighbours;
mod page;
mod places;
mod pooling;
pub(crate) mod regions;
pub(crate) mod sections;
pub(crate) mod seen;
mod step;

use std::path::Path;

use cnn_core::nn::{self, Layout};
use cnn_core::{Backend, names};
use cnn_data::{ImageSet, decode_image};
use cnn_train::{Error, Result, Trained, WeightsInfo};

use backwards::Heard;
use layers::Layer;
use neighbours::Neighbours;
use regions::{ClassMap, Map};
use seen::{as_seen, shown, tensor};
use step::Step;

use crate::html::short_name;
use crate::picture::Picture;

pub use page::explain_page;

/// What is to be explained beside the answer.
#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    label: Option<String>,
    classes: Vec<String>,
    lr: Option<f64>,
    training: Option<ImageSet>,
}

impl ExplainOptions {
    /// The class that the step of backpropagation is made towards; by default the one that the network finds, or where it is
    /// so sure of it that there is nothing to learn, the second likeliest.
    pub fn label(self, label: impl Into<String>) -> Self {
        ExplainOptions { label: Some(label.into()), ..self }
    }

    /// Classes whose places in the image are shown, beside those of the most probable ones.
    pub fn classes(self, classes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        ExplainOptions { classes: classes.into_iter().map(Into::into).collect(), ..self }
    }

    /// Learning rate of that step, of plain SGD; by default 0.01, or less where the gradient would predict that the step takes
    /// away more than half of the loss.
    pub fn lr(self, lr: f64) -> Self {
        ExplainOptions { lr: Some(lr), ..self }
    }

    /// Training images among which the nearest are looked for.
    pub fn training(self, images: ImageSet) -> Self {
        ExplainOptions { training: Some(images), ..self }
    }
}

/// A network's way through one image: every layer's numbers, where it looked, and a step of training.
#[derive(Debug)]
pub struct Explanation {
    /// What the page calls the network.
    name: String,
    info: WeightsInfo,
    parameters: usize,
    /// What the page calls the image.
    image_name: String,
    /// The image as the network is given it, \[H, W, C\].
    bytes: Vec<u8>,
    /// The same part of it, as large as a reader likes it.
    shown: Picture,
    layers: Vec<Layer>,
    /// Names of dense weights whose columns a file has in PyTorch's order of an image's numbers, not in this memory's.
    from_images: Vec<String>,
    logits: Vec<f32>,
    probabilities: Vec<f64>,
    /// Classes, the most probable first.
    ranked: Vec<usize>,
    step: Step,
    /// Gradients of the values on the way back from the logits, in that order.
    errors: Vec<Heard>,
    /// Whether the step is made towards the second likeliest class because the likeliest leaves nothing to learn.
    second: bool,
    class_maps: Vec<ClassMap>,
    occlusion: Map,
    neighbours: Option<Neighbours>,
}

/// How many of the most probable classes have maps of their own.
const MAPPED: usize = 3;

/// A loss below which a step would show nothing but zeros.
const NOTHING_TO_LEARN: f64 = 1e-3;

impl Explanation {
    /// Runs the picture file at `image` through a trained network, which may be a program's own; `name` is what the page calls
    /// it. The network is left as it was.
    ///
    /// # Errors
    /// A network of several labels, a picture that cannot be read, a class that the network does not know, a learning rate that no step can be made
    /// with, logits that are not finite, and those of the model.
    pub fn of<B: Backend>(
        name: &str,
        trained: &mut Trained<B>,
        image: &Path,
        options: &ExplainOptions,
    ) -> Result<Explanation> {
        let (backend, info) = (trained.backend().clone(), trained.info().clone());
        if info.multi_label {
            let rule =
                "answers with none or several labels, and the page tells how one answer of all classes comes about";
            return Err(invalid("explain", name, rule.to_owned()));
        }
        let parameters = trained.parameter_count();
        let label = options.label.as_deref().map(|label| class(&info, "label", label)).transpose()?;
        let asked = options.classes.iter().map(|name| class(&info, "class", name)).collect::<Result<Vec<_>>>()?;
        let bytes = decode_image(image, info.image, &info.preprocess)?;
        let shown = shown(image, &bytes, info.image, &info.preprocess)?;
        let tensor = tensor(&backend, &info, &bytes)?;
        let bytes = as_seen(&bytes, info.stored(), [info.image[0], info.image[1]])?;
        let run = layers::observe(&backend, &mut **trained.model_mut(), tensor.clone())?;
        let classes = info.classes.len();
        if run.logits.len() != classes {
            return Err(invalid("logits", run.logits.len(), format!("must be one for each of {classes} classes")));
        }
        if run.probabilities.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFiniteLogits { image: image.display().to_string() });
        }
        let mut ranked: Vec<usize> = (0..classes).collect();
        ranked.sort_by(|&a, &b| run.probabilities[b].total_cmp(&run.probabilities[a]));
        let best = ranked[0];

        let mut mapped: Vec<usize> = ranked.iter().take(MAPPED).copied().collect();
        mapped.extend(label.into_iter().chain(asked));
        let mut seen = Vec::new();
        mapped.retain(|class| {
            !seen.contains(class) && {
                seen.push(*class);
                true
            }
        });
        let class_maps = match regions::last_maps(&run.graph, &run.layers) {
            Some(at) => regions::class_maps(&backend, &run.graph, &run.layers, at, &mapped)?,
            None => Vec::new(),
        };
        let input = run.layers.first().map_or(&[][..], |layer| &layer.values);
        let occlusion = regions::occlusion(&backend, &run.graph, input, info.image, best, run.probabilities[best])?;
        let neighbours = match (&options.training, regions::features(&run.layers, run.graph.output)) {
            (Some(images), Some(feature)) => {
                let own = run.layers.iter().find(|layer| layer.id == feature).map_or(&[][..], |layer| &layer.values);
                Some(neighbours::search(&backend, &run.graph, feature, own, &info, images)?)
            }
            _ => None,
        };
        let filters = sections::first_convolution(&run.layers).map(|at| format!("{}.weight", run.layers[at].path));
        let second = label.is_none() && classes > 1 && -run.probabilities[best].ln() < NOTHING_TO_LEARN;
        let label = label.unwrap_or(ranked[usize::from(second)]);
        let model = &mut **trained.model_mut();
        let from_images = nn::parameters(model)
            .into_iter()
            .filter(|parameter| matches!(parameter.layout(), Layout::Transposed { dims: [h, w, ..] } if h * w > 1))
            .filter(|parameter| parameter.shape().dims().len() == 2)
            .map(|parameter| parameter.name().to_owned())
            .collect();
        let step = step::step(&backend, model, &tensor, label, options.lr, filters.as_deref())?;
        let wanted = |class: usize| f64::from(u8::from(class == label));
        let logits = step.probabilities[0].iter().enumerate().map(|(class, p)| (p - wanted(class)) as f32).collect();
        let errors = backwards::errors(&backend, &run.graph, &run.layers, logits)?;
        let image_name = image.file_name().unwrap_or(image.as_os_str()).to_string_lossy().into_owned();
        Ok(Explanation {
            name: name.to_owned(),
            info,
            parameters,
            image_name,
            bytes,
            shown,
            layers: run.layers,
            from_images,
            logits: run.logits,
            probabilities: run.probabilities,
            ranked,
            step,
            errors,
            second,
            class_maps,
            occlusion,
            neighbours,
        })
    }

    /// The name of the training image that this image is, if it was found among those that were searched: its pixels are the same.
    pub fn learned_from(&self) -> Option<&str> {
        let nearest = &self.neighbours.as_ref()?.nearest;
        nearest.iter().find(|near| near.bytes == self.bytes).map(|near| short_name(&near.name))
    }

    /// The most probable class and its probability.
    pub fn answer(&self) -> (&str, f64) {
        let best = self.ranked[0];
        (&self.info.classes[best], self.probabilities[best])
    }
}

fn invalid(field: &str, value: impl ToString, rule: String) -> Error {
    Error::Recipe { field: field.to_owned(), value: value.to_string(), rule }
}

/// The label of a class.
fn class(info: &WeightsInfo, field: &str, name: &str) -> Result<usize> {
    let found = info.classes.iter().position(|class| class == name);
    found.ok_or_else(|| invalid(field, name, names::one_of(name, info.classes.iter().map(String::as_str))))
}
