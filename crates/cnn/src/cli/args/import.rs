//! The arguments of `cnn import`.

use std::path::PathBuf;

use cnn::data::{Filter, Fit};

use super::{size, train};

#[derive(Debug, clap::Args)]
#[command(after_help = train::with_networks(
    "Example:\n  cnn import efficientnet-lite0.pth --model efficientnet-lite0 -o lite0.safetensors\n  cnn predict lite0.safetensors cat.jpg"
))]
pub(crate) struct ImportArgs {
    /// A file that PyTorch has written, of the network that --model names
    pub(crate) file: PathBuf,
    /// Network, one of the list below
    #[arg(long)]
    pub(crate) model: String,
    /// A text file with the name of each class on a line of its own [default: the thousand of ImageNet]
    #[arg(long, value_name = "FILE")]
    pub(crate) classes: Option<PathBuf>,
    /// The network answers with none, one or several of the classes, each by its sigmoid
    #[arg(long)]
    pub(crate) multi_label: bool,
    /// Height and width of the images that are classified [default: 224x224, and 32x32 for the networks of small images]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
    /// Height and width that pictures are resized to, of which the middle is taken [default: 256 for 224, and 236 for convnext-tiny]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) resize: Option<[usize; 2]>,
    /// What becomes of pictures of other proportions: crop, pad or squash [default: crop]
    #[arg(long, value_name = "NAME")]
    pub(crate) fit: Option<Fit>,
    /// What pictures are resized by, as by Pillow: bicubic or bilinear [default: as the network's published weights were made]
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<Filter>,
    /// What is subtracted from red, green and blue, which are from 0 to 1, such as 0.5,0.5,0.5 [default: as the network's published
    /// weights were made]
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "std", allow_negative_numbers = true)]
    pub(crate) mean: Option<[f32; 3]>,
    /// What they are divided by then
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "mean")]
    pub(crate) std: Option<[f32; 3]>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

fn three(text: &str) -> Result<[f32; 3], String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "must be three numbers, such as 0.5,0.5,0.5".to_owned())
}
