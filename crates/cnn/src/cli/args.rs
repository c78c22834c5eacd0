//! The arguments of every command. Numbers are only parsed here; whoever uses one checks it and words the error.

mod import;
mod pages;
mod train;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use cnn::core::state_dict::Naming;
use cnn::train::Precision;
use cnn_measure::Area;

pub(crate) use import::ImportArgs;
pub(crate) use pages::{ExplainArgs, ReportArgs, RunsArgs};
pub(crate) use train::{DoctorArgs, RecipeArgs, TrainArgs};

const EXAMPLES: &str = "\
Examples:
  cnn train --data shapes                               a first network, about a minute, nothing to download
  cnn train --model resnet18 --data cifar10 --epochs 20
  cnn predict runs/resnet18-cifar10-001 photo.jpg";

/// Train, evaluate and run convolutional image classifiers.
#[derive(Debug, Parser)]
#[command(name = "cnn", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network and test it once, at the end
    Train(Box<TrainArgs>),
    /// Test trained weights: accuracy, top-5, each class, confusion matrix
    Eval(EvalArgs),
    /// Classify image files
    Predict(PredictArgs),
    /// Write a page that takes an image through a network, layer by layer, and shows where it looked and how it would learn
    Explain(ExplainArgs),
    /// Write a run's report again: curves, confusion, calibration, mistakes as pictures, the machine, the recipe
    Report(ReportArgs),
    /// Compare runs: accuracy and time of each, mean and spread of those that differ in their seeds alone
    Runs(RunsArgs),
    /// Show what a data set holds: images of each class, what is left out and why, what cannot be decoded
    Data(DataCommandArgs),
    /// Look for what can be wrong before hours are spent: images, labels, whether the network learns, and at which rates
    Doctor(Box<DoctorArgs>),
    /// Show the layers of a model: shapes, parameters, multiplications, memory
    Info(InfoArgs),
    /// Write trained weights under the names that another program expects
    Export(ExportArgs),
    /// Make weights of PyTorch (.pth, .pt, .safetensors) a file that predict, eval and explain can use
    Import(ImportArgs),
    /// Measure this machine: its limits, every layer, training steps, inference
    Bench(BenchArgs),
    /// List what this machine can compute with, what is missing and how to get it
    Devices(DevicesArgs),
    /// Print the recipe that `train` would follow with these options: every default, each with a word on what it does
    #[command(after_help = train::with_networks(train::RECIPE_EXAMPLE))]
    Recipe(RecipeArgs),
    /// Explain the fields of every command's --json
    #[command(after_help = "Example:\n  cnn json | less")]
    Json,
    /// Print a shell's completion script
    #[command(after_help = "Example:\n  cnn completions bash > ~/.local/share/bash-completion/completions/cnn")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What computes, with how much of it, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// What computes: auto, cpu, or in a program that was built with GPUs also cuda, and cuda:N for GPU N
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) backend: String,
    /// CPU threads; by default as many as this process may use. The result does not depend on it
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How 3x3 convolutions are computed: auto, direct, or winograd, which rounds more in small layers (logits up to 2e-5
    /// off, not 1e-5) [default: as in training, or auto]
    #[arg(long, value_name = "NAME")]
    pub(crate) conv_algo: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cnn devices")]
pub(crate) struct DevicesArgs {
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where sets with a name are looked for.
pub(crate) const DATA_ROOT: &str = "data";

/// Where data sets are found.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// Folder in which the sets with a name are looked for, and to which they are downloaded
    #[arg(long, value_name = "DIR", default_value = DATA_ROOT)]
    pub(crate) data_root: PathBuf,
    /// Never download
    #[arg(long)]
    pub(crate) offline: bool,
    /// Download from here instead of the set's own server
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub(crate) mirror: Option<String>,
}

/// How pictures are read that are files.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PicturesArgs {
    /// Keep pictures decoded in this folder, in a file for each size: what is there and has not changed is not decoded again, in this
    /// run or another one
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Leave out pictures that cannot be decoded, and say so
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cnn data photos\n  cnn data photos --size 64 --sheet photos.html")]
pub(crate) struct DataCommandArgs {
    /// Images, as for `train`: the name of a set, or the path of a folder, archive or file of labels
    pub(crate) data: String,
    /// Height and width that a folder's images are resized to [default: 32x32]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
    /// An image may have none or several labels, with | between them in the file of labels [default: as the file says]
    #[arg(long)]
    pub(crate) multi_label: bool,
    /// Threads that decode; by default as many as this process may use
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Also write a page with some training images of every class, as a network will see them with their augmentation
    #[arg(long, value_name = "FILE")]
    pub(crate) sheet: Option<PathBuf>,
    /// The recipe whose augmentation the page shows, as for `train` [default: that of the data]
    #[arg(long, value_name = "FILE", requires = "sheet")]
    pub(crate) recipe: Option<PathBuf>,
    /// Replace the page's file if it exists
    #[arg(long, requires = "sheet")]
    pub(crate) force: bool,
    /// One JSON object on stdout: the classes, and every path
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
}

/// Which weights a command reads.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightsArgs {
    /// A weights file, or the folder of a run
    pub(crate) weights: PathBuf,
    /// Those of the run's best epoch on the images held out, not of its last
    #[arg(long)]
    pub(crate) best: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cnn eval runs/resnet18-cifar10-001 --data cifar10")]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Images whose test split is read, as for `train` [default: those that the weights were trained on]
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Test on all pictures of a folder, or a file of labels, that marks none of them to train on, and not on a tenth of them
    #[arg(long)]
    pub(crate) all: bool,
    /// Images that are classified at a time [default: 128; fewer above 64x64, 16 of 224x224]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// Also judge each image by six views: as it is, moved by a pixel each way along its diagonal, each also in a mirror
    #[arg(long)]
    pub(crate) tta: bool,
    /// How activations are stored: f32, bf16, or on a GPU tf32 [default: as in training, f32 for tf32]
    #[arg(long, value_name = "TYPE", value_parser = precision)]
    pub(crate) precision: Option<Precision>,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Pictures")]
    pub(crate) pictures: PicturesArgs,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cnn predict runs/resnet18-cifar10-001 cat.jpg dog.png --top 3")]
pub(crate) struct PredictArgs {
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// JPEG or PNG files of any size (also WebP, GIF, BMP and TIFF if built with --features formats)
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// Most classes that are shown for an image
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) top: usize,
    /// Judge each image by six views: as it is, moved by a pixel each way along its diagonal, each also in a mirror
    #[arg(long)]
    pub(crate) tta: bool,
    /// How activations are stored: f32, bf16, or on a GPU tf32 [default: as in training, f32 for tf32]
    #[arg(long, value_name = "TYPE", value_parser = precision)]
    pub(crate) precision: Option<Precision>,
    /// One JSON object a line on stdout, for each image, with every class
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
}

const INFO_EXAMPLES: &str = "\
Examples:
  cnn info resnet18 --input 32x32x3 --classes 10
  cnn info runs/resnet18-cifar10-001";

#[derive(Debug, clap::Args)]
#[command(after_help = INFO_EXAMPLES)]
pub(crate) struct InfoArgs {
    /// The name of a network, a weights file, or the folder of a run
    #[arg(value_name = "MODEL|WEIGHTS")]
    pub(crate) model: String,
    /// Height, width and channels of an image [default: the weights' own, or 32x32x3]
    #[arg(long, value_name = "HxWxC", value_parser = image_size)]
    pub(crate) input: Option<[usize; 3]>,
    /// Number of classes [default: the weights' own, or 10]
    #[arg(long, value_name = "N")]
    pub(crate) classes: Option<usize>,
    /// Images of a training step, and of an inference, whose memory on a CPU is counted [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// How activations are stored, for that count: f32 or bf16
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = precision)]
    pub(crate) precision: Precision,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// File formats that weights are exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Safetensors,
}

impl Format {
    /// How the names of its files end, without the dot.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cnn export runs/resnet18-cifar10-001 --names pytorch-cifar -o resnet18.safetensors"
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// File format
    #[arg(long, value_enum, default_value = "safetensors")]
    pub(crate) format: Format,
    /// Whose names the weights have: torchvision or pytorch-cifar
    #[arg(long, default_value = "torchvision", value_name = "NAMES", value_parser = naming)]
    pub(crate) names: Naming,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  cnn bench                                      about a minute
  cnn bench --only infer --model resnet18 --batch 1";

#[derive(Debug, clap::Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct BenchArgs {
    /// One area: layers, train or infer [default: all]
    #[arg(long, value_name = "AREA")]
    pub(crate) only: Option<Area>,
    /// The network that trains and answers
    #[arg(long, value_name = "NAME", default_value = "resnet18")]
    pub(crate) model: String,
    /// Images at a time [default: 128, and for inference 1 and 128; of networks for 224x224 pixels 16 in place of 128]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// The least time that each measurement is repeated for; the median counts
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How activations are stored: f32, bf16, or on a GPU tf32
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = precision)]
    pub(crate) precision: Precision,
    /// One JSON object a line on stdout: the limits first, then every measurement
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "must be a number of at least 0".to_owned())
}

fn sizes<const N: usize>(text: &str, form: &str) -> Result<[usize; N], String> {
    let sides: Option<Vec<usize>> = text.split(['x', 'X']).map(|side| side.parse().ok()).collect();
    sides.and_then(|sides| sides.try_into().ok()).ok_or_else(|| format!("must have the form {form}"))
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let size = match text.parse() {
        Ok(side) => [side; 2],
        Err(_) => sizes(text, "HEIGHTxWIDTH, such as 64x48, or one number for both")?,
    };
    let most = cnn::data::decode::MAX_SIDE as usize;
    let fits = size.iter().all(|side| (1..=most).contains(side));
    fits.then_some(size).ok_or_else(|| format!("sides must be from 1 to {most}"))
}

fn image_size(text: &str) -> Result<[usize; 3], String> {
    sizes(text, "HEIGHTxWIDTHxCHANNELS, such as 32x32x3")
}

fn naming(text: &str) -> Result<Naming, String> {
    text.parse().map_err(|_| "must be torchvision or pytorch-cifar".to_owned())
}

fn precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|_| "must be f32, tf32 or bf16".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_have_as_many_sides_as_asked() {
        assert_eq!([size("64x48"), size("64X48"), size("64")], [Ok([64, 48]), Ok([64, 48]), Ok([64, 64])]);
        assert_eq!(image_size("28x28x1"), Ok([28, 28, 1]));
        for wrong in ["0x0", "99999", "", "64x", "64x48x3", "ax3", "-1x4"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
