//! Everything that decides a run, in one struct that is stored with it as TOML.

mod ending;
mod fitting;
mod presets;
mod reading;
mod rules;
mod tables;
mod uneven;

use std::path::Path;

use cnn_core::backend::AUTO;
use cnn_core::image::Border;
use cnn_core::optim::{Anneal, Group, Method, OptimizerOptions, Schedule};
use cnn_core::{Backend, DType, Element};
use cnn_data::{Augment, Distort, Known, Mixing, Policy, Preprocess};
use cnn_models::{Arch, VggConfig};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use ending::{EarlyStoppingRecipe, ExtensionRecipe, Monitor};
pub use fitting::Chosen;
pub use tables::{
    AugmentRecipe, AverageKind, AverageRecipe, BorderRecipe, FreezeRecipe, InitRecipe, OptimizerKind, OptimizerRecipe,
    Precision, PretrainedRecipe, ScheduleKind, ScheduleRecipe,
};
pub use uneven::{ClassWeightsRecipe, NamedWeights};

/// A training run, but for where its files go and what it runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A network's name: `stepwise`, `resnet18`, ..., or one that a program has given to its own.
    pub model: String,
    /// A data set's name, or the path of one.
    pub data: String,
    /// Where that was found, from the root, so that it is found again from another working directory: its path, or the
    /// folder in which a set with a name was looked for, if that was not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_path: Option<String>,
    /// Only these classes, in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Height and width of the images that the network is given, where they are not those of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Whether pictures that cannot be decoded are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_bad: bool,
    /// Times that every training image is seen.
    pub epochs: u32,
    /// Images per step.
    pub batch: usize,
    /// Parts of a step's images that pass through the network one after the other, and whose gradients are added up: as much
    /// less memory is needed. Each part is normalised, and mixed, by itself.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Fixes initial weights, order, augmentation and dropout.
    pub seed: u64,
    /// How activations are stored; f32 where a recipe does not say.
    #[serde(default)]
    pub precision: Precision,
    /// The device's tuning ([`Device::tuning`](cnn_core::Device::tuning)): on a CPU, which algorithm convolutions run
    /// by; auto where a recipe does not say. The device that is opened for the recipe knows which there are.
    #[serde(default = "auto")]
    pub conv_algo: String,
    /// Part of the training images that is held out and measured after every epoch.
    pub validation: f64,
    /// Part of each label that is spread over all classes; of several labels half for and half against each.
    pub label_smoothing: f64,
    /// Whether an image may have none, one or several of the classes, each of which is then judged by itself: binary cross entropy, of
    /// which `label_smoothing` is for every class, half for and half against it. The data says so of itself, a file of labels.
    #[serde(default, skip_serializing_if = "is_false")]
    pub multi_label: bool,
    /// What an image of each class counts in the loss, as PyTorch's `CrossEntropyLoss(weight=...)`; of several labels what a label
    /// counts beside its absence, as `BCEWithLogitsLoss(pos_weight=...)`; all alike where a recipe does not say. The figures of an evaluation know nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeightsRecipe>,
    /// Whether an epoch has as many images of every class, those of small ones several times.
    #[serde(default, skip_serializing_if = "is_false")]
    pub balanced: bool,
    /// Minutes after which the run is saved within an epoch too; 0 for after every step.
    #[serde(default = "checkpoint_minutes")]
    pub checkpoint_minutes: f64,
    /// Whether the test images are also judged by several views of each: as they are, mirrored, and moved by a pixel.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tta: bool,
    /// Seconds after which the run ends within an epoch too, is tested, and can be resumed with more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// How the pictures of a folder become the network's images.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preprocess: Preprocess,
    /// How gradients become steps.
    pub optimizer: OptimizerRecipe,
    /// The learning rate over the run.
    pub schedule: ScheduleRecipe,
    /// What is done to training images at random.
    pub augment: AugmentRecipe,
    /// Weights to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedRecipe>,
    /// The average of the weights that the run is about, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageRecipe>,
    /// Parameters that begin with one number instead of the model's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init: Vec<InitRecipe>,
    /// Parameters that are trained for some epochs only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeRecipe>,
    /// Epochs after which the network but for its last layer is thawed, which is trained alone before: all of it at once, or in as
    /// many parts as there are numbers, the part nearest the last layer first. Normalisations keep their statistics until then. Empty:
    /// nothing is frozen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfreeze: Vec<u32>,
    /// Whether the run ends where it gets no better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingRecipe>,
    /// Epochs that were added on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<ExtensionRecipe>,
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_false(value: &bool) -> bool {
    !value
}

fn checkpoint_minutes() -> f64 {
    5.0
}

/// The pattern of the last layer's parameters, whatever it is called.
pub(crate) const HEAD: &str = "head";
/// The pattern of all others.
pub(crate) const BACKBONE: &str = "backbone";

/// Whether `data` names one of the published sets, and is not the path of pictures of one's own.
fn is_published(data: &str) -> bool {
    Known::parse(data).is_some()
}

/// The tuning in files from before there was a choice.
pub(crate) fn auto() -> String {
    AUTO.to_owned()
}

impl Recipe {
    /// The model that is trained on `data` when none is named.
    ///
    /// The published sets get the step-by-step network, which is made for them; `shapes` needs more than its one
    /// convolution. Of one's own pictures (a path) nothing is known but their `size`. Up to 64x64, `small`: a few dozen
    /// pictures train it within seconds, and its dense layer stays below 200,000 weights, where the step-by-step network has
    /// 50 million at 224x224. Larger ones need a network that looks at all of the picture and not at 22 pixels across:
    /// `resnet18-imagenet`, whose stem divides the sides by four before anything is expensive.
    pub fn default_model(data: &str, size: Option<[usize; 2]>) -> &'static str {
        match (data, size) {
            ("shapes", _) => "small",
            (data, _) if is_published(data) => "stepwise",
            (_, Some([height, width])) if height.max(width) > 64 => "resnet18-imagenet",
            _ => "small",
        }
    }

    /// What `model` is trained with on `data` when nothing else is said.
    ///
    /// # Errors
    /// An architecture that does not exist.
    pub fn default_for(model: &str, data: &str) -> Result<Self> {
        let arch: Arch = model.parse()?;
        let (epochs, batch, lr) = match (arch, data) {
            (Arch::Small, "shapes") => (6, 64, 0.05),
            (Arch::Small, _) => (10, 64, 0.05),
            // Without normalisation: 0.05 and more hold it back.
            (Arch::Stepwise, _) => (10, 64, 0.015),
            // 80 steps an epoch are too few for the rate that suits CIFAR's 390.
            // As of the residual networks: the presets have what these networks are made for.
            (Arch::Fast(_), _) => (10, 128, 0.05),
            (Arch::ResNet(_), "shapes") => (2, 128, 0.02),
            (Arch::ResNet(_), data) if is_published(data) => (30, 128, 0.1),
            // Without normalisation a tenth of the others' rate, as in torchvision's training of VGG.
            (Arch::SqueezeNet | Arch::Vgg(VggConfig { norm: false, .. }), _) => (30, 32, 0.0025),
            // One's own pictures are hundreds, not tens of thousands: smaller batches, so that there are enough steps, and a
            // rate in proportion (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017).
            (
                Arch::ResNet(_)
                | Arch::MobileNetV2
                | Arch::EfficientNetLite0
                | Arch::Vgg(_)
                | Arch::MobileNetV3(_)
                | Arch::DenseNet(_)
                | Arch::ShuffleNetV2(_)
                | Arch::RegNet(_)
                | Arch::EfficientNetB0
                | Arch::ConvNeXtTiny,
                _,
            ) => (30, 32, 0.025),
        };
        // Digits and drawn figures are not looked at in a mirror.
        let flip = !matches!(data, "mnist" | "shapes");
        // The step-by-step network is too small to profit from wide crops.
        let crop_padding = if arch == Arch::Stepwise || data == "shapes" { 2 } else { 4 };
        Ok(Recipe {
            model: arch.to_string(),
            data: data.to_owned(),
            data_path: None,
            classes: None,
            size: None,
            preprocess: Preprocess::default(),
            skip_bad: false,
            epochs,
            batch,
            accumulate: 1,
            seed: 0,
            precision: Precision::F32,
            conv_algo: auto(),
            validation: 0.0,
            label_smoothing: 0.0,
            class_weights: None,
            balanced: false,
            multi_label: false,
            checkpoint_minutes: checkpoint_minutes(),
            tta: false,
            max_seconds: None,
            optimizer: OptimizerRecipe {
                kind: OptimizerKind::Sgd,
                lr,
                momentum: 0.9,
                nesterov: true,
                ns_steps: None,
                rescale: None,
                weight_decay: 5e-4,
                decay_all: true,
                clip_grad_norm: None,
                layer_decay: None,
                groups: Vec::new(),
            },
            schedule: ScheduleRecipe {
                kind: ScheduleKind::OneCycle,
                warmup_epochs: 0.0,
                pct_start: 0.3,
                start: 0.0,
                end: 0.0,
                step_epochs: 10.0,
                gamma: 0.1,
            },
            augment: AugmentRecipe {
                crop_padding,
                border: BorderRecipe::Zero,
                flip,
                resized_crop: 0.0,
                cutout: 0,
                random_erasing: 0.0,
                color_jitter: [0.0; 4],
                policy: Policy::None,
                mixup: 0.0,
                cutmix: 0.0,
            },
            pretrained: None,
            average: None,
            init: Vec::new(),
            freeze: Vec::new(),
            unfreeze: Vec::new(),
            early_stopping: None,
            extended: Vec::new(),
        })
    }

    /// What to open to find the data again: where it was found before, if it is a path that is still there, or
    /// [`Recipe::data`].
    pub fn find_data(&self) -> &str {
        let found = self.data_path.as_deref().filter(|path| self.data_is_a_path() && Path::new(path).exists());
        found.unwrap_or(&self.data)
    }

    /// Where the data was, if it is a path at which it is no more.
    pub fn data_that_is_gone(&self) -> Option<&str> {
        self.data_path.as_deref().filter(|path| self.data_is_a_path() && !Path::new(path).exists())
    }

    /// Whether the data is no set that has a name.
    pub(crate) fn data_is_a_path(&self) -> bool {
        self.data != "shapes" && Known::parse(&self.data).is_none()
    }

    /// What a run of `other` would do otherwise than one of `self` whose first `steps` steps are made, if anything: a key, its
    /// value here and there. How often and for how long a run is saved does not count, nor what only says how the data, which
    /// is compared by itself, is opened, nor epochs that are added behind those steps.
    pub(crate) fn difference(&self, other: &Recipe, steps: u64) -> Option<String> {
        let Recipe { checkpoint_minutes, max_seconds, size, preprocess, skip_bad, .. } = *self;
        let data_path = self.data_path.clone();
        let other = Recipe { checkpoint_minutes, max_seconds, size, preprocess, skip_bad, data_path, ..other.clone() };
        ending::difference(&self.before(steps), &other.before(steps))
    }

    /// Refuses a backend that would compute something else. f64, which no recipe asks for, passes as an f32 that rounds
    /// less.
    pub(crate) fn check_backend<B: Backend>(&self, backend: &B) -> Result<()> {
        let (precision, asked) = (backend.precision(), backend.tuning());
        let is_f64 = B::Elem::DTYPE == DType::F64 && self.precision == Precision::F32;
        if precision != self.precision.to_string() && !is_f64 {
            return Err(Error::recipe(
                "precision",
                self.precision,
                format!("must be {precision}, that of the backend"),
            ));
        }
        if self.conv_algo != asked {
            return Err(Error::recipe("conv_algo", &self.conv_algo, format!("must be {asked}, that of the backend")));
        }
        Ok(())
    }

    /// The optimiser's options, for a model whose last layer's names begin with `head`.
    pub(crate) fn optimizer_options(&self, head: &str) -> OptimizerOptions {
        let OptimizerRecipe { kind, momentum, nesterov, ns_steps, rescale, weight_decay, decay_all, .. } =
            self.optimizer;
        let clip_grad_norm = self.optimizer.clip_grad_norm;
        let method = match kind {
            OptimizerKind::Sgd => Method::Sgd { momentum, nesterov },
            OptimizerKind::Adam => Method::ADAM,
            OptimizerKind::AdamW => Method::ADAMW,
            OptimizerKind::Muon => {
                let (ns_steps, rescale) = (ns_steps.unwrap_or(5), rescale.unwrap_or(false));
                Method::Muon { momentum, nesterov, ns_steps, rescale }
            }
        };
        let options = OptimizerOptions::new(method).weight_decay(weight_decay).decay_all(decay_all);
        let named = |group: &Group| match &*group.pattern {
            HEAD => Group { pattern: format!("{head}*"), ..group.clone() },
            _ => group.clone(),
        };
        let options = self.optimizer.groups.iter().map(named).fold(options, OptimizerOptions::group);
        options.clip_grad_norm(clip_grad_norm.unwrap_or(f64::INFINITY))
    }

    /// The schedule of step `step`, counted from 0, of a run with this many steps an epoch: that of the whole run, as long as it
    /// was known to be at that step.
    pub(crate) fn schedule(&self, steps_per_epoch: u64, step: u64) -> Schedule {
        let ScheduleRecipe { kind, warmup_epochs, pct_start, start, end, step_epochs, gamma } = self.schedule;
        let steps = |epochs: f64| (epochs * steps_per_epoch as f64).round() as u64;
        let anneal = match kind {
            ScheduleKind::Constant => Anneal::Constant,
            ScheduleKind::Step => Anneal::Step { every: steps(step_epochs).max(1), gamma },
            ScheduleKind::Cosine => Anneal::Cosine,
            ScheduleKind::OneCycle => Anneal::OneCycle { pct_start },
            ScheduleKind::Linear => Anneal::Triangle { start: 1.0, pct_start: 0.0, end: 0.0 },
            ScheduleKind::Triangle => Anneal::Triangle { start, pct_start, end },
        };
        let total = steps_per_epoch * u64::from(self.epochs_at(step));
        Schedule { peak: self.optimizer.lr, anneal, warmup: steps(warmup_epochs), total }
    }

    /// The augmentation, as the loader takes it.
    pub fn augment(&self) -> Augment {
        let AugmentRecipe { crop_padding, border, flip, resized_crop, cutout, random_erasing, .. } = self.augment;
        let distort = Distort { policy: self.augment.policy, jitter: self.augment.color_jitter };
        let border = match border {
            BorderRecipe::Zero => Border::Zero,
            BorderRecipe::Reflect => Border::Reflect,
        };
        Augment { crop_padding, border, flip, resized_crop, cutout, random_erasing, distort }
    }

    /// How the images of a step are mixed.
    pub fn mixing(&self) -> Mixing {
        Mixing { mixup: self.augment.mixup, cutmix: self.augment.cutmix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_line() {
        let text = Recipe::default_for("small", "shapes").unwrap().to_toml().unwrap() + "[early_stopping]\nby = 3\n";
        let lines = text.lines().count();
        let error = |text: &str| Recipe::from_toml(text).unwrap_err().to_string();
        assert!(error(&text).starts_with(&format!("recipe line {lines}: ")), "{}", error(&text));
        let none = text.replace("by = 3\n", "");
        assert!(
            error(&none).starts_with(&format!("recipe line {}: misses the key patience", lines - 1)),
            "{}",
            error(&none)
        );
    }

    #[test]
    fn toml_round_trips() {
        let mut recipe = Recipe::default_for("resnet18", "cifar10").unwrap();
        recipe.classes = Some(vec!["cat".into(), "dog".into()]);
        recipe.optimizer.clip_grad_norm = Some(1.5);
        assert_eq!(Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap(), recipe);
    }

    #[test]
    fn a_recipe_from_before_there_was_a_choice_of_precision_is_of_f32() {
        let mut recipe = Recipe::default_for("small", "shapes").unwrap();
        let text = recipe.to_toml().unwrap();
        assert!(text.contains("\nprecision = \"f32\"\n"), "{text}");
        assert_eq!(Recipe::from_toml(&text.replace("precision = \"f32\"\n", "")).unwrap(), recipe);
        recipe.precision = "bf16".parse().unwrap();
        assert_eq!(Recipe::from_toml(&text.replace("\"f32\"", "\"bf16\"")).unwrap(), recipe);
        assert_eq!("f16".parse::<Precision>().unwrap_err().to_string(), "precision f16: must be f32, tf32 or bf16");
    }

    #[test]
    fn a_recipe_names_its_algorithm_or_leaves_it_to_the_backend() {
        let mut recipe = Recipe::default_for("small", "shapes").unwrap();
        let text = recipe.to_toml().unwrap();
        assert!(text.contains("\nconv_algo = \"auto\"\n"), "{text}");
        assert_eq!(Recipe::from_toml(&text.replace("conv_algo = \"auto\"\n", "")).unwrap(), recipe);
        for algorithm in ["direct", "winograd"] {
            recipe.conv_algo = algorithm.to_owned();
            let text = recipe.to_toml().unwrap();
            assert!(text.contains(&format!("\nconv_algo = \"{algorithm}\"\n")), "{text}");
            assert_eq!(Recipe::from_toml(&text).unwrap(), recipe);
        }
        // What there is, the device knows that is opened for the recipe; another one is refused.
        let other = Recipe::from_toml(&text.replace("\"auto\"", "\"fft\"")).unwrap();
        let error = other.check_backend(&cnn_core::Naive::<f32>::new()).unwrap_err().to_string();
        assert_eq!(error, "conv_algo fft: must be auto, that of the backend");
    }

    #[test]
    fn data_is_found_again_from_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let found = place.path().to_str().unwrap().to_owned();
        let mut recipe = Recipe::default_for("small", "photos").unwrap();
        assert_eq!(recipe.find_data(), "photos");
        recipe.data_path = Some(found.clone());
        assert_eq!(Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap(), recipe);
        assert_eq!(recipe.find_data(), found);
        let elsewhere = Recipe { data_path: None, ..recipe.clone() };
        assert_eq!(recipe.difference(&elsewhere, 9), None, "where it was is not what it is");
        // A set with a name is looked for where such sets are.
        for data in ["cifar10", "shapes"] {
            assert_eq!(Recipe { data: data.into(), ..recipe.clone() }.find_data(), data);
        }
        recipe.data_path = Some(found + "/gone");
        assert_eq!(recipe.find_data(), "photos");
    }

    #[test]
    fn a_default_suits_what_is_known_of_the_pictures() {
        let model = Recipe::default_model;
        assert_eq!(
            [model("shapes", None), model("cifar10", None), model("mnist", None)],
            ["small", "stepwise", "stepwise"]
        );
        assert_eq!([model("photos", None), model("photos", Some([64, 48]))], ["small"; 2]);
        assert_eq!(model("photos", Some([224, 224])), "resnet18-imagenet");
        let batch_and_rate = |data| {
            let recipe = Recipe::default_for("ResNet18", data).unwrap();
            (recipe.model, recipe.batch, recipe.optimizer.lr)
        };
        assert_eq!(batch_and_rate("cifar10"), ("resnet18".to_owned(), 128, 0.1));
        assert_eq!(batch_and_rate("photos"), ("resnet18".to_owned(), 32, 0.025));
    }
}
