//! The arguments of the commands that follow a recipe: `train`, `recipe`, `doctor`.

use std::path::PathBuf;

use cnn::data::{Filter, Fit, Policy};
use cnn::models::Arch;
use cnn::train::{ClassWeightsRecipe, Precision};

use super::{DataArgs, DeviceArgs, PicturesArgs, precision, size};
use crate::cli::bytes::Bytes;

/// What a run is made by: `train` follows it, `recipe` prints it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RecipeArgs {
    /// Network, one of the list below [default: stepwise; small for shapes and a folder, and above 64x64 resnet18-imagenet]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Images: shapes, cifar10, cifar100, mnist, or the path of a folder, archive or file of labels [default: shapes]
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Train on these classes only, in this order
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) classes: Option<Vec<String>>,
    /// Height and width of the images that the network is given, such as 64x48, or 64 for both [default: 32x32, or the data's own]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
    /// Height and width that a folder's pictures are kept in [default: --size]; of larger ones the network is given the middle, as of 256
    /// for 224; smaller ones are stretched when they are used
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) resize: Option<[usize; 2]>,
    /// What becomes of pictures of other proportions: crop, pad or squash [default: crop]
    #[arg(long, value_name = "NAME")]
    pub(crate) fit: Option<Fit>,
    /// What pictures are resized by, as by Pillow: bicubic or bilinear [default: bicubic]
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<Filter>,
    /// Train on random parts of each image, stretched over the whole, of at least this part of its area, such as 0.35 [default: crops
    /// that move by a few pixels]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) resized_crop: Option<f64>,
    /// Brightness, contrast and saturation of each training image are multiplied by up to 1 more or less this, such as 0.4 [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) color_jitter: Option<f64>,
    /// Operations on the colours and shapes of training images: trivial-augment, rand-augment or none [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<Policy>,
    /// Part of the training images of which a random rectangle is blanked, such as 0.25 [default: 0]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) random_erasing: Option<f64>,
    /// Blend each training image, and its label, with another one, by parts that are drawn from a beta distribution of this parameter,
    /// such as 0.2 [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) mixup: Option<f64>,
    /// Put a rectangle of another image into each, and its part into the label, such as 1; beside --mixup every other step at random
    /// [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) cutmix: Option<f64>,
    /// Passes over the training images [default: by the model, 2 to 30]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u32>,
    /// Images in a step [default: by the model, 32 to 128]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// Highest learning rate [default: by model and optimizer]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// sgd, adam, adamw or muon [default: sgd]
    #[arg(long, value_name = "NAME")]
    pub(crate) optimizer: Option<String>,
    /// How activations are stored: f32, bf16 for half the memory, or tf32: f32 that a GPU multiplies faster, by 19 of its
    /// bits [default: f32]
    #[arg(long, value_name = "TYPE", value_parser = precision)]
    pub(crate) precision: Option<Precision>,
    /// Read everything from a recipe: finetune (with --init), cifar10-94, -94-sgd, -95, -96, resnet18-16 or -30, which come with the program, or a file such as the recipe.toml of an earlier run; other options override it
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    /// Begin with weights that are trained: of a run, or a file of PyTorch (.pth, .pt, .safetensors) for this network; the last layer
    /// is new where the classes are others
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,
    /// Leave parameters as they are, and the normalisations among them: backbone for all but the last layer, or names such as
    /// layer1.*; with :N, for the first N epochs
    #[arg(long, value_delimiter = ',', value_name = "NAMES[:N]")]
    pub(crate) freeze: Vec<String>,
    /// Learning rate of the last layer [default: the others'; with --init 10 times it, but for a recipe's, as finetune's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) head_lr: Option<f64>,
    /// Fixes the initial weights, the order of the images and their augmentation [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Part of the training images that is held out to watch the training with [default: 0]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) validation: Option<f64>,
    /// What an image of each class counts in the loss: balanced, so that small classes count as much as large ones, or numbers, one
    /// for each class, such as 1,2.5; of several labels what a label counts beside its absence [default: all alike]
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) class_weights: Option<ClassWeightsRecipe>,
    /// An image may have none or several labels, with | between them in the file of labels: each class is judged by itself [default:
    /// as the file says]
    #[arg(long)]
    pub(crate) multi_label: bool,
    /// Train on as many images of every class in an epoch: those of small classes several times, each time augmented anew
    #[arg(long)]
    pub(crate) balanced: bool,
    /// End after so many epochs in a row without a better accuracy (of several labels: mean average precision) of the images held
    /// out, which --validation sets, or the data has; or without a smaller loss, where the recipe says loss
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) early_stopping: Option<u32>,
    /// Seconds after which the run ends, is tested, and can be resumed with more; those before it was resumed count too
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) max_seconds: Option<f64>,
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  cnn train --data shapes
  cnn train --model resnet18 --data cifar10 --epochs 20 --lr 0.1
  cnn train --data photos --size 64x64           photos/CLASS/*.jpg, or photos/train/CLASS/* and photos/test/CLASS/*
  cnn train --data cifar10 --classes cat,dog
  cnn train --model resnet18 --data cifar10 --precision bf16
  cnn train --model fast --data cifar10 --explain cat.jpg
  cnn train --model resnet18-imagenet --init resnet18.pth --data photos   at 224x224, as the weights were trained
  cnn train --recipe finetune --init lite0.safetensors --data photos --size 96
  cnn train --resume runs/resnet18-cifar10-001   goes on where it stopped, to the same bits
  cnn train --resume runs/resnet18-cifar10-001 --extend 5

SIGINT, SIGTERM and SIGHUP end a training after the step it is at, with everything saved; SIGUSR1 saves and goes on.";

/// What a run is besides its recipe.
const RUN: &str = "Run";

/// The networks that have names, with what a network for ten classes learns, and then `text`.
pub(super) fn with_networks(text: &str) -> String {
    let line = |(name, words): (&str, &str)| {
        let of = |arch: Arch| arch.parameter_count([arch.usual_size()[0], arch.usual_size()[1], 3], 10);
        let count = name.parse().ok().and_then(of).unwrap_or(0);
        format!("  {name:18}  {:5.1} million parameters  {words}", count as f64 / 1e6)
    };
    let lines: Vec<String> = Arch::described().map(line).collect();
    format!("Networks:\n{}\n\n{text}", lines.join("\n"))
}

#[derive(Debug, clap::Args)]
#[command(after_help = with_networks(TRAIN_EXAMPLES))]
pub(crate) struct TrainArgs {
    #[command(flatten, next_help_heading = "Recipe")]
    pub(crate) recipe: RecipeArgs,
    /// Folder of the run; it must not hold one that has saved anything [default: a new one, runs/MODEL-DATA-001]
    #[arg(long, help_heading = RUN, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the run in this folder, by its own recipe
    #[arg(long, help_heading = RUN, value_name = "DIR", conflicts_with_all = ["model", "classes", "size", "resize", "fit", "filter", "resized_crop", "color_jitter", "policy", "random_erasing", "mixup", "cutmix", "epochs", "batch", "lr",
        "optimizer", "precision", "conv_algo", "recipe", "init", "freeze", "head_lr", "seed", "validation", "class_weights", "multi_label", "balanced", "early_stopping", "out"])]
    pub(crate) resume: Option<PathBuf>,
    /// Add epochs to the run that is resumed: from here on the learning rate is that of a run of so many. It is noted in its recipe,
    /// and is said once
    #[arg(long, help_heading = RUN, value_name = "N", requires = "resume")]
    pub(crate) extend: Option<u32>,
    /// Also write timeline.html into the run's folder: how the answer for this image and the first filters change from epoch to
    /// epoch. For up to 4 images; a run that is resumed goes on with those that it has
    #[arg(long, help_heading = RUN, value_name = "IMAGE")]
    pub(crate) explain: Vec<PathBuf>,
    #[command(flatten, next_help_heading = "Pictures")]
    pub(crate) pictures: PicturesArgs,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
    /// Memory that the run may take, such as 1GiB or 800MiB: pictures are kept in memory as far as that leaves room, and steps that
    /// need more are refused [default: as much as there is, of which pictures are kept in up to 1 GiB]
    #[arg(long, help_heading = "Machine", value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    /// One JSON object a line on stdout: every epoch, and the result last
    #[arg(long, help_heading = RUN)]
    pub(crate) json: bool,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  cnn doctor photos --size 64x64
  cnn doctor cifar10 --model resnet18 --lr 0.1";

#[derive(Debug, clap::Args)]
#[command(after_help = with_networks(DOCTOR_EXAMPLES))]
pub(crate) struct DoctorArgs {
    /// Images, as for `train`: the name of a set, or the path of a folder, archive or file of labels
    #[arg(value_name = "DATA", conflicts_with = "data")]
    pub(crate) images: Option<String>,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Recipe")]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten, next_help_heading = "Pictures")]
    pub(crate) pictures: PicturesArgs,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
}

pub(super) const RECIPE_EXAMPLE: &str = "\
Example:
  cnn recipe --model resnet18 --data photos > photos.toml
  cnn train --recipe photos.toml";
