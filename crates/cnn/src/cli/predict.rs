//! `cnn predict`: the classes of image files, with probabilities.

use std::path::Path;

use cnn::data::Pool;
use cnn::train::{Classifier, Prediction, Weights};
use cnn_measure::Machine;
use serde_json::json;

use super::args::PredictArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::output::{self, shown, table};

/// Images that are classified before their answers are shown.
const BATCH: usize = 32;

/// Runs the command.
pub(crate) fn run(args: &PredictArgs) -> Result<(), Failure> {
    if args.top == 0 {
        return Err(Failure::usage("top 0: must be at least 1"));
    }
    let weights = Weights::read(args.weights.file()?)?;
    let trained = weights.info();
    let device = Device::open(&args.device, args.precision.unwrap_or(trained.precision.stored()), &trained.conv_algo)?;
    device.run(Predict { weights, args, pool: device.pool()? })
}

struct Predict<'a> {
    weights: Weights,
    args: &'a PredictArgs,
    pool: Pool,
}

impl Command for Predict<'_> {
    /// A file that is no image does not keep the others from being classified.
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Predict { weights, args, pool } = self;
        let classifier = Classifier::from_weights(backend, weights)?.pool(pool).tta(args.tta);
        let (classes, several) = (&classifier.info().classes, classifier.info().multi_label);
        let mut failed = false;
        for paths in args.images.chunks(BATCH) {
            for (path, prediction) in paths.iter().zip(classifier.classify_files(paths)?) {
                match prediction {
                    Ok(Prediction { probabilities, labels, .. }) => {
                        let answer = labels.iter().map(|&label| classes[label].as_str()).collect::<Vec<_>>();
                        let answer = several.then_some(&*answer);
                        let mut ranked: Vec<(&str, f64)> =
                            classes.iter().map(String::as_str).zip(probabilities).collect();
                        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
                        let text = match args.json {
                            true => to_json(path, &ranked, answer),
                            false => to_text(path, &ranked, args.top, answer),
                        };
                        output::print(&text)?;
                    }
                    Err(error) => {
                        failed = true;
                        output::error(error);
                    }
                }
            }
        }
        if failed { Err(Failure::Reported) } else { Ok(()) }
    }
}

/// `answer` is that of a network of several labels.
fn to_json(path: &Path, ranked: &[(&str, f64)], answer: Option<&[&str]>) -> String {
    let all: Vec<_> = ranked.iter().map(|(class, p)| json!({ "class": class, "probability": p })).collect();
    let best = ranked.first();
    let (class, p) = (best.map(|best| best.0), best.map(|best| best.1));
    let mut said =
        json!({ "file": path.display().to_string(), "class": class, "probability": p, "probabilities": all });
    if let Some(answer) = answer {
        said["answer"] = json!(answer);
    }
    format!("{said}\n")
}

fn to_text(path: &Path, ranked: &[(&str, f64)], top: usize, answer: Option<&[&str]>) -> String {
    let line = |&(class, p): &(&str, f64)| vec![String::new(), class.to_owned(), format!("{:.2}%", 100.0 * p)];
    let lines: Vec<_> = ranked.iter().take(top).map(line).collect();
    let answer = answer.map(|answer| if answer.is_empty() { "no label".to_owned() } else { answer.join(", ") });
    let answer = answer.map(|answer| format!(": {answer}")).unwrap_or_default();
    format!("{}{answer}\n{}", shown(path), table(&lines, &[0, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_classes_come_first() {
        let ranked = [("dog", 0.75), ("cat", 0.2), ("emu", 0.05)];
        let text = |answer| to_text(Path::new("a.png"), &ranked, 2, answer);
        assert_eq!(text(None), "a.png\n  dog  75.00%\n  cat  20.00%\n");
        assert_eq!(text(Some(&["dog"])), "a.png: dog\n  dog  75.00%\n  cat  20.00%\n");
        assert!(text(Some(&[])).starts_with("a.png: no label\n"));
        assert!(!to_json(Path::new("a.png"), &ranked, None).contains("answer"));
        assert!(to_json(Path::new("a.png"), &ranked, Some(&["dog"])).contains(r#""answer":["dog"]"#));
    }
}
