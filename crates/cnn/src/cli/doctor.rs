//! `cnn doctor`: what can be wrong with images, network and recipe before hours are spent on them.

mod images;
mod rates;

use cnn::data::{Dataset, OpenOptions, Pool};
use cnn::train::{Overfit, Recipe, Trainer};
use cnn_measure::Machine;
use serde_json::json;

use super::args::{DoctorArgs, RecipeArgs};
use super::device::{self, Command, Device};
use super::failure::Failure;
use super::output::{self, grouped};
use super::recipe;

/// Images that are to be learned by heart, and the most steps of it.
const IMAGES: usize = 32;
const STEPS: usize = 100;

/// Runs the command.
pub(crate) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let asked = RecipeArgs { data: args.images.or(args.recipe.data), ..args.recipe };
    let mut recipe = recipe::of(&asked, args.device.conv_algo.as_ref())?;
    // All is learned from, as long as it is only tried.
    recipe.validation = 0.0;
    let skip_bad = args.pictures.skip_bad || recipe.skip_bad;
    // Pictures that cannot be decoded are found here; the rest is looked at without them.
    recipe.skip_bad = true;
    let device = Device::open(&args.device, recipe.precision, &recipe.conv_algo)?;
    let pool: Pool = device.pool()?;
    let options = OpenOptions::default().pool(pool).cache(args.pictures.cache);
    let dataset = super::data::open_for(&recipe, recipe.find_data(), &args.source, options, |_| Ok(None))?;
    // By heart are learned as many as fit into memory at once, which a batch that was made smaller for more steps does not say.
    let at_once = IMAGES.min(recipe.batch);
    recipe::fit(&mut recipe, dataset.train.len(), &asked)
        .iter()
        .for_each(|said| output::note(&format!("note: {said}")));
    device.run(Doctor { recipe, dataset, at_once, skip_bad, json: args.json })
}

struct Doctor {
    recipe: Recipe,
    dataset: Dataset,
    /// Images of a step that are to be learned by heart.
    at_once: usize,
    skip_bad: bool,
    json: bool,
}

/// What was found, and whether it is as it should be; if not, its last words are what to do.
struct Finding {
    what: &'static str,
    good: bool,
    words: String,
}

impl Command for Doctor {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Doctor { recipe, dataset, at_once, skip_bad, json } = self;
        output::note(&device::describe(backend));
        let trainer = || Trainer::new(backend, recipe.clone(), dataset.clone());
        let (first, steps) = {
            let trainer = trainer()?;
            (trainer.first_rate(), trainer.steps())
        };
        if !json {
            output::print(&examined(&recipe, &dataset, first, steps))?;
        }
        let mut findings = images::look(&dataset, skip_bad);
        if !json {
            findings.iter().try_for_each(show)?;
        }
        let overfit = by_heart(recipe.optimizer.lr, at_once, &trainer)?;
        let learned = heart(&overfit, dataset.train.classes().len(), dataset.train.is_multi_label());
        if !json {
            show(&learned)?;
        }
        let rates = rates::Rates::found(&trainer, recipe.optimizer.lr)?;
        let verdict = rates.judged(first, recipe.optimizer.lr);
        if !json {
            return show(&verdict);
        }
        findings.extend([learned, verdict]);
        let words = |finding: &Finding| json!({ "what": finding.what, "good": finding.good, "words": finding.words });
        output::print_json(&json!({
            "event": "doctor",
            "model": recipe.model,
            "epochs": recipe.epochs,
            "batch": recipe.batch,
            "lr": recipe.optimizer.lr,
            "good": findings.iter().all(|finding| finding.good),
            "findings": findings.iter().map(words).collect::<Vec<_>>(),
            "overfit": overfit,
            "rates": rates.range,
            "explodes": rates.on_the_way,
            "suggested_lr": rates.suggested,
        }))
    }
}

/// The network and the recipe, in a line.
fn examined(recipe: &Recipe, dataset: &Dataset, first: f64, steps: u64) -> String {
    let [height, width, channels] = dataset.train.shown();
    let line = format!(
        "{} on {}: {height}x{width}x{channels}, {} epochs of {} steps of {} images, rates from {} up to {}",
        recipe.model,
        dataset.name,
        recipe.epochs,
        grouped(steps),
        recipe.batch,
        rates::short(first),
        rates::short(recipe.optimizer.lr)
    );
    output::printable(&line) + "\n"
}

fn show(finding: &Finding) -> Result<(), Failure> {
    let mark = if finding.good { "ok  " } else { "LOOK" };
    let words: String = finding.words.lines().map(|line| output::printable(line) + "\n").collect();
    output::print(&format!("{mark}  {:<11} {}\n", finding.what, words.trim_end().replace('\n', "\n                  ")))
}

/// Learns a few images by heart, by the recipe's rate or a lower one.
fn by_heart<B: Machine>(
    lr: f64,
    images: usize,
    trainer: &impl Fn() -> cnn::train::Result<Trainer<B>>,
) -> Result<Overfit, Failure> {
    let mut last = None;
    for lr in [1.0, 0.1, 0.01].map(|part| part * lr) {
        let overfit = trainer()?.overfit(images, STEPS, lr)?;
        if overfit.succeeded() {
            return Ok(overfit);
        }
        last = Some(overfit);
    }
    last.ok_or_else(|| Failure::fault("no rate was tried"))
}

fn heart(overfit: &Overfit, classes: usize, multi_label: bool) -> Finding {
    let Overfit { images, correct, loss, steps, lr, .. } = *overfit;
    let loss = loss.map_or("not finite".to_owned(), |loss| format!("{loss:.3}"));
    let guess = match multi_label {
        true => format!("guessing each label: {:.3}", 2f64.ln()),
        false => format!("guessing among {classes}: {:.3}", (classes as f64).ln()),
    };
    let words = match overfit.succeeded() {
        true => format!("{images} images are learned by heart in {steps} steps at a rate of {}", rates::short(lr)),
        false => format!(
            "of {images} images {correct} were right after {steps} steps, loss {loss} ({guess}), \
             at three rates down to {}\nthe labels may be wrong, the images all alike to the network, or its layers cut off: \
             look at a few images with their labels (cnn data DATA --sheet FILE), and try --model small and another --lr",
            rates::short(lr)
        ),
    };
    Finding { what: "by heart", good: overfit.succeeded(), words }
}
