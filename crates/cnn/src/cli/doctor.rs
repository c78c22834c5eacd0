//! `cnn doctor`: what can be wrong with images, network and recipe before hours are spent on them.

use std::collections::HashSet;

use cnn::data::{Dataset, ImageSet};
use cnn::train::{Overfit, RateRange, Recipe, Trainer};
use cnn_measure::Machine;
use serde_json::json;

use super::args::{DoctorArgs, RecipeArgs};
use super::device::{self, Command, Device};
use super::failure::Failure;
use super::output::{self, grouped, percent};
use super::recipe;
use super::sparkline::Sparkline;

/// Images that are to be learned by heart, and the most steps of it.
const IMAGES: usize = 32;
const STEPS: usize = 100;
/// The rates that are tried, and how many.
const RATES: (f64, f64, usize) = (1e-5, 10.0, 100);
/// Times the rate that is best in the first hundred steps to which a schedule may rise: later in a run the slopes are smaller.
const RISE: f64 = 25.0;
/// Times as many images as another class has that are worth a word.
const UNBALANCED: usize = 3;

/// Runs the command.
pub(crate) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let asked = RecipeArgs { data: args.images.or(args.recipe.data), ..args.recipe };
    let mut recipe = recipe::of(&asked, args.device.conv_algo.as_ref())?;
    recipe.skip_bad |= args.skip_bad;
    // All is learned from, as long as it is only tried.
    recipe.validation = 0.0;
    let device = Device::open(&args.device, recipe.precision, &recipe.conv_algo)?;
    let dataset = super::data::open_for(&recipe, recipe.find_data(), &args.source, device.pool()?)?;
    device.run(Doctor { recipe, dataset, json: args.json })
}

struct Doctor {
    recipe: Recipe,
    dataset: Dataset,
    json: bool,
}

/// What was found, and whether it is as it should be.
struct Finding {
    what: &'static str,
    good: bool,
    words: String,
}

impl Command for Doctor {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Doctor { recipe, dataset, json } = self;
        output::note(&device::describe(backend));
        let mut findings = vec![images(&dataset), balance(&dataset.train), leaks(&dataset)];
        if !json {
            findings.iter().try_for_each(show)?;
        }
        let trainer = || Trainer::new(backend, recipe.clone(), dataset.clone());
        let overfit = by_heart(&recipe, &trainer)?;
        let learned = heart(&overfit, dataset.train.classes().len());
        let (low, high, steps) = RATES;
        let first = trainer()?.first_rate();
        let range = trainer()?.rate_range(low, high, steps)?;
        let rates = rates(&range, [first, recipe.optimizer.lr]);
        if json {
            findings.extend([learned, rates]);
            let words =
                |finding: &Finding| json!({ "what": finding.what, "good": finding.good, "words": finding.words });
            return output::print_json(&json!({
                "event": "doctor",
                "good": findings.iter().all(|finding| finding.good),
                "findings": findings.iter().map(words).collect::<Vec<_>>(),
                "overfit": overfit,
                "rates": range,
            }));
        }
        show(&learned)?;
        show(&rates)
    }
}

fn show(finding: &Finding) -> Result<(), Failure> {
    let mark = if finding.good { "ok  " } else { "LOOK" };
    let words: String = finding.words.lines().map(|line| output::printable(line) + "\n").collect();
    output::print(&format!("{mark}  {:<11} {}\n", finding.what, words.trim_end().replace('\n', "\n                  ")))
}

fn images(dataset: &Dataset) -> Finding {
    let [height, width, channels] = dataset.train.size();
    let (train, test) = (dataset.train.len(), dataset.test.len());
    let mut words = format!(
        "{}: {} training and {} test images, {height}x{width}x{channels}, {} classes",
        dataset.name,
        grouped(train as u64),
        grouped(test as u64),
        dataset.train.classes().len()
    );
    let warnings = dataset.report.warnings();
    warnings.iter().for_each(|warning| words += &format!("\n{warning}"));
    Finding { what: "images", good: warnings.is_empty(), words }
}

fn balance(train: &ImageSet) -> Finding {
    let mut counts = vec![0usize; train.classes().len()];
    train.labels().iter().for_each(|&label| counts[label as usize] += 1);
    let named = |pick: Option<(usize, &usize)>| pick.map(|(class, &count)| (train.classes()[class].clone(), count));
    let least = named(counts.iter().enumerate().min_by_key(|&(_, count)| *count));
    let most = named(counts.iter().enumerate().rev().max_by_key(|&(_, count)| *count));
    let (Some((few, least)), Some((many, most))) = (least, most) else {
        return Finding { what: "balance", good: false, words: "there are no classes".into() };
    };
    let good = counts.len() > 1 && most <= UNBALANCED * least;
    let words = match (counts.len(), most == least) {
        (1, _) => format!("{many} is the only class: there is nothing to tell it from"),
        (_, true) => format!("every class has {} training images", grouped(most as u64)),
        _ => format!(
            "{few} has {} training images, {many} {}: whoever always says {many} is right for {}",
            grouped(least as u64),
            grouped(most as u64),
            percent(most as u64, train.len() as u64)
        ),
    };
    Finding { what: "balance", good, words }
}

/// Test images that are among the training images.
fn leaks(dataset: &Dataset) -> Finding {
    let what = "duplicates";
    let (train, test) = (&dataset.train, &dataset.test);
    if train.resident_bytes().is_none() || test.resident_bytes().is_none() {
        // Files are compared as they are opened, and the report has said so.
        let words = "files that are in both are among the notes above, if there are any".into();
        return Finding { what, good: true, words };
    }
    let known: HashSet<_> = (0..train.len()).filter_map(|i| train.image(i).ok()).collect();
    let twice = train.len() - known.len();
    let leaked = (0..test.len()).filter_map(|i| test.image(i).ok()).filter(|image| known.contains(image)).count();
    let mut words = match leaked {
        0 => "no test image is among the training images, pixel by pixel".to_owned(),
        leaked => format!("{} test images are among the training images: they test nothing", grouped(leaked as u64)),
    };
    if twice > 0 {
        words += &format!("\n{} training images are there more than once", grouped(twice as u64));
    }
    Finding { what, good: leaked == 0, words }
}

/// Learns a few images by heart, by the recipe's rate or a lower one.
fn by_heart<B: Machine>(
    recipe: &Recipe,
    trainer: &impl Fn() -> cnn::train::Result<Trainer<B>>,
) -> Result<Overfit, Failure> {
    let mut last = None;
    for lr in [1.0, 0.1, 0.01].map(|part| part * recipe.optimizer.lr) {
        let overfit = trainer()?.overfit(IMAGES.min(recipe.batch.max(1)), STEPS, lr)?;
        if overfit.succeeded() {
            return Ok(overfit);
        }
        last = Some(overfit);
    }
    last.ok_or_else(|| Failure::fault("no rate was tried"))
}

fn heart(overfit: &Overfit, classes: usize) -> Finding {
    let Overfit { images, correct, loss, steps, lr, .. } = *overfit;
    let loss = loss.map_or("not finite".to_owned(), |loss| format!("{loss:.3}"));
    let words = match overfit.succeeded() {
        true => format!("{images} images are learned by heart in {steps} steps at a rate of {}", short(lr)),
        false => format!(
            "of {images} images {correct} were right after {steps} steps, loss {loss} (guessing among {classes}: {:.3}), \
             at three rates down to {}\nthe labels may be wrong, the images all alike to the network, or its layers cut off",
            (classes as f64).ln(),
            short(lr)
        ),
    };
    Finding { what: "by heart", good: overfit.succeeded(), words }
}

/// The rates of the recipe, the first and the highest, beside those at which the loss fell.
fn rates(range: &RateRange, [first, highest]: [f64; 2]) -> Finding {
    let what = "rates";
    let (Some(&(low, start)), Some(&(high, _))) = (range.trials.first(), range.trials.last()) else {
        return Finding { what, good: false, words: "the loss was not finite at the lowest rate".to_owned() };
    };
    let mut curve = Sparkline::default();
    // What is far above the start would leave no room for the rest.
    range.trials.iter().for_each(|(_, loss)| curve.push(loss.min(1.5 * start)));
    let tried = format!("loss at rates from {} to {}: {}", short(low), short(high), curve.draw(32));
    let (Some(fastest), Some(lowest)) = (range.fastest, range.lowest) else {
        return Finding { what, good: false, words: format!("{tried}\nit never fell") };
    };
    let asked = format!("the recipe goes from {} up to {}", short(first), short(highest));
    let (good, verdict) = if first > lowest {
        (false, format!("{asked}: it begins too high: try a lower --lr, or a schedule that rises to it"))
    } else if highest > RISE * lowest {
        (false, format!("{asked}, more than {RISE} times as high: try a lower --lr"))
    } else if highest < fastest / 10.0 {
        (false, format!("{asked}, far below: it will learn slowly"))
    } else {
        (true, asked)
    };
    let found = format!("it falls fastest at {} and is lowest at {}", short(fastest), short(lowest));
    Finding { what, good, words: format!("{tried}\n{found}\n{verdict}") }
}

/// A rate in two digits.
fn short(rate: f64) -> String {
    let digits = (1 - rate.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{rate:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        let texts = [0.05, 0.0123, 1e-5, 10.0, 1.5, 0.1, 123.0].map(short);
        assert_eq!(texts, ["0.05", "0.012", "0.00001", "10", "1.5", "0.1", "123"]);
    }

    #[test]
    fn a_rate_that_is_too_high_or_low_is_said() {
        let steps: Vec<(f64, f64)> = (0..60).map(|i| (1e-4 * 1.2f64.powi(i), f64::from((i - 40).abs()))).collect();
        let range: RateRange = serde_json::from_value(serde_json::json!({
            "trials": steps, "lowest": 0.1, "fastest": 0.01, "diverged": true
        }))
        .unwrap();
        let verdict = |first, highest| {
            let Finding { good, words, .. } = rates(&range, [first, highest]);
            (good, words.lines().last().unwrap_or_default().to_owned())
        };
        assert_eq!(verdict(0.002, 0.05), (true, "the recipe goes from 0.002 up to 0.05".to_owned()));
        assert!(verdict(0.2, 0.5).1.contains("begins too high"));
        assert!(verdict(0.1, 5.0).1.contains("more than 25 times"));
        assert!(verdict(1e-5, 1e-4).1.contains("slowly"));
        assert!(!verdict(0.2, 0.5).0 && !verdict(0.1, 5.0).0 && !verdict(1e-5, 1e-4).0);
    }

    #[test]
    fn what_is_unbalanced_is_said() {
        let set = |labels: Vec<u32>| {
            let bytes = vec![0; labels.len() * 4];
            ImageSet::from_bytes("made", [2, 2, 1], &["cat", "dog"], labels, bytes).unwrap()
        };
        let even = balance(&set(vec![0, 1, 1, 0]));
        assert!(even.good && even.words == "every class has 2 training images", "{}", even.words);
        let odd = balance(&set(vec![0, 1, 1, 1, 1]));
        assert_eq!(odd.words, "cat has 1 training images, dog 4: whoever always says dog is right for 80.00%");
        assert!(!odd.good);
        // All images are alike.
        let dataset = Dataset::new("made", set(vec![0, 1, 1]), set(vec![0, 1])).unwrap();
        let leaks = leaks(&dataset);
        assert!(!leaks.good && leaks.words.starts_with("2 test images are among"), "{}", leaks.words);
        assert!(leaks.words.ends_with("2 training images are there more than once"));
    }
}
