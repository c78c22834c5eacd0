//! `cnn explain`: a page that takes an image through a network.

use std::path::Path;

use cnn::data::OpenOptions;
use cnn::train::{Networks, Precision, Trained, Weights, write_atomically};
use cnn_measure::Machine;
use cnn_pages::{ExplainOptions, Explanation, explain_page};

use super::args::ExplainArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::output::{self, percent, shown};

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let out = output::replaceable(&args.out, args.force)?;
    let mut networks = vec![(name(&args.weights.weights), Weights::read(args.weights.file()?)?)];
    if let Some(other) = &args.compare {
        networks.push((name(other), Weights::read(super::data::weights(other)?)?));
    }
    // Stored as f32 whatever the training was: what is spelt out is then what was computed.
    let device = Device::open(&args.device, Precision::F32, &networks[0].1.info().conv_algo)?;
    let mut options = ExplainOptions::default().classes(&args.classes);
    if let Some(lr) = args.lr {
        options = options.lr(lr);
    }
    if let Some(label) = &args.label {
        options = options.label(label);
    }
    if let Some(data) = &args.data {
        let info = networks[0].1.info();
        let [height, width, _] = info.image;
        let opened = OpenOptions::default().size([height, width]).preprocess(info.preprocess).pool(device.pool()?);
        let recipe = super::data::recipe_of(&args.weights);
        let source = recipe.map_or(args.source.clone(), |recipe| super::data::found_before(&args.source, &recipe));
        options = options.training(super::data::open(data, &source, opened)?.train);
    }
    let mut page = None;
    device.run(Explain { networks, args, options, page: &mut page })?;
    let Some((page, answer)) = page else { return Err(Failure::fault("no page was made")) };
    write_atomically(&out, page.as_bytes())?;
    output::print(&format!("{answer}\nsaved {}\n", shown(&args.out)))
}

/// What the page calls a network: its run's folder, or its file.
fn name(weights: &Path) -> String {
    let whole = std::path::absolute(weights).unwrap_or_else(|_| weights.to_owned());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

struct Explain<'a> {
    networks: Vec<(String, Weights)>,
    args: &'a ExplainArgs,
    options: ExplainOptions,
    /// The page, and the answer in a line.
    page: &'a mut Option<(String, String)>,
}

impl Command for Explain<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Explain { networks, args, options, page } = self;
        let mut explained = Vec::new();
        for (name, weights) in networks {
            let mut trained = Trained::from_weights(backend, weights, &Networks::new())?;
            explained.push(Explanation::of(&name, &mut trained, &args.image, &options)?);
        }
        let (class, probability) = explained[0].answer();
        let mut answer = format!("{}: {} {}", shown(&args.image), output::printable(class), percent_of(probability));
        if let Some(name) = explained[0].learned_from() {
            answer += &format!(
                "\nthis is one of the training images, {}: the network learned from it",
                output::printable(name)
            );
        }
        *page = Some((explain_page(&explained[0], explained.get(1)), answer));
        Ok(())
    }
}

fn percent_of(part: f64) -> String {
    percent((part * 1e6).round() as u64, 1_000_000)
}
