//! The arguments of the commands that write pages.

use std::path::PathBuf;

use super::{DataArgs, DeviceArgs, WeightsArgs};

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  cnn explain runs/stepwise-cifar10-001 cat.jpg -o cat.html
  cnn explain runs/resnet18-cifar10-001 cat.jpg -o cat.html --data cifar10 --compare runs/stepwise-cifar10-001";

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// A JPEG or PNG file of any size (also WebP, GIF, BMP or TIFF if built with --features formats)
    pub(crate) image: PathBuf,
    /// The HTML file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Class that the shown step of backpropagation is made towards [default: the one that the network finds, or the second
    /// where it is too sure of the first]
    #[arg(long, value_name = "CLASS")]
    pub(crate) label: Option<String>,
    /// Classes whose places in the image are shown, beside those of the three most probable ones
    #[arg(long = "class", value_name = "CLASSES", value_delimiter = ',')]
    pub(crate) classes: Vec<String>,
    /// Learning rate of that step, of plain SGD [default: 0.01, or less where that would be too far]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// Images, as for `train`, among which the nearest training images are looked for
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// A second weights file or run, whose answer, filters and maps are put beside the first's
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) compare: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cnn report runs/resnet18-cifar10-001")]
pub(crate) struct ReportArgs {
    /// The folder of a run
    pub(crate) run: PathBuf,
    /// The HTML file to write [default: report.html in the folder, which is replaced]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Images whose test split is read, as for `train` [default: those that the run was trained on]
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Replace the file of --out if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten, next_help_heading = "Machine")]
    pub(crate) device: DeviceArgs,
    #[command(flatten, next_help_heading = "Where sets with a name are")]
    pub(crate) source: DataArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cnn runs runs --html runs.html")]
pub(crate) struct RunsArgs {
    /// Folders of runs, or folders that hold some
    #[arg(value_name = "DIR", default_value = "runs")]
    pub(crate) folders: Vec<PathBuf>,
    /// Also write a page with a plot
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// One JSON object a line on stdout: every run, then every group of several
    #[arg(long)]
    pub(crate) json: bool,
}
