//! `cnn eval`: trained weights on the test images of a data set.

use std::fs;
use std::path::Path;

use cnn::data::{ImageSet, Known, OpenOptions, Pool};
use cnn::train::{Classifier, Evaluation, Recipe, Weights, WeightsInfo, evaluation_batch};
use cnn_measure::Machine;
use serde_json::json;

use super::args::EvalArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::multi_label;
use super::output::{self, grouped, percent, shown, table};
use super::progress::Progress;

/// Runs the command.
pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    if args.batch == Some(0) {
        return Err(Failure::usage("batch 0: must be at least 1"));
    }
    let weights = Weights::read(args.weights.file()?)?;
    let trained = weights.info();
    let device = Device::open(&args.device, args.precision.unwrap_or(trained.precision.stored()), &trained.conv_algo)?;
    device.run(Eval { weights, args, pool: device.pool()? })
}

struct Eval<'a> {
    weights: Weights,
    args: &'a EvalArgs,
    pool: Pool,
}

impl Command for Eval<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Eval { weights, args, pool } = self;
        let classifier = Classifier::from_weights(backend, weights)?;
        let info = classifier.info();
        let images = test_images(args, info, pool)?;
        let [height, width, _] = info.image;
        let batch = args.batch.unwrap_or(evaluation_batch([height, width]));
        let mut progress = Progress::new();
        let mut evaluate = |classifier: &Classifier<B>| {
            classifier.evaluate(&images, batch, &mut |done, total| progress.evaluating(done, total))
        };
        let plain = evaluate(&classifier);
        let classifier = classifier.tta(true);
        let views = plain.and_then(|plain| Ok((plain, args.tta.then(|| evaluate(&classifier)).transpose()?)));
        progress.finish();
        super::data::tell_mended([&images]);
        let ((plain, views), classes) = (views?, &classifier.info().classes);
        if let Some(several) = &plain.several {
            return match args.json {
                true => output::print_json(&multi_label::to_json(&plain, several, views.as_ref(), classes)),
                false => output::print(&multi_label::to_text(&plain, several, views.as_ref(), classes)),
            };
        }
        if args.json {
            return output::print_json(&to_json(&plain, views.as_ref(), classes));
        }
        output::print(&to_text(&plain, views.as_ref(), classes))
    }
}

/// The test images that are asked for: those of the weights' own data if nothing is said.
pub(super) fn test_images(args: &EvalArgs, info: &WeightsInfo, pool: Pool) -> Result<ImageSet, Failure> {
    let run = super::data::recipe_of(&args.weights);
    let place = run.as_ref().map(|recipe| recipe.find_data().to_owned());
    let recipe = run.filter(|_| args.data.is_none());
    let trained_on = recipe.as_ref().map(|recipe| recipe.find_data().to_owned());
    let data = match args.data.clone().or(trained_on) {
        Some(data) => data,
        // Weights alone know what their set was called, and no more.
        None if info.data == "shapes" || Known::meant(&info.data).is_some() || Path::new(&info.data).exists() => {
            info.data.clone()
        }
        None => {
            let rule = "is not here to be tested with: --data must say where images are";
            return Err(Failure::usage(format!(
                "{}: what it was trained on, {:?}, {rule}",
                shown(&args.weights.weights),
                info.data
            )));
        }
    };
    let source = recipe.as_ref().map_or(args.source.clone(), |recipe| super::data::found_before(&args.source, recipe));
    let whole = std::path::absolute(&data).unwrap_or_else(|_| (&data).into());
    let gone = recipe.as_ref().and_then(Recipe::data_that_is_gone);
    if let Some(gone) = gone.filter(|gone| Path::new(gone) != whole) {
        let used = shown(&whole);
        output::note(&format!("note: {gone}, which the run was trained on, is not there: {used} is tested with"));
    }
    let skip_bad = args.pictures.skip_bad || recipe.is_some_and(|recipe| recipe.skip_bad);
    let [height, width, _] = info.image;
    let options =
        OpenOptions::default().size([height, width]).preprocess(info.preprocess).test_all(args.all).pool(pool);
    let options = options.multi_label(info.multi_label);
    let options = options.used_classes(&info.classes).skip_bad(skip_bad).cache(args.pictures.cache.clone());
    let (images, report) = super::data::open_test(&data, &source, options)?;
    if report.tested_all && place.is_some_and(|place| same_place(&data, &place)) {
        let rule = "most of these pictures were trained on: this accuracy says little of new ones";
        output::note(&format!("warning: {rule}; without --all, only those that were not are tested"));
    }
    if args.all && !report.tested_all {
        let rule = "some of the images are marked to train on, and only those to test with are tested";
        output::note(&format!("note: --all does not hold here: {rule}"));
    }
    same_classes(images, &info.classes)
}

/// Whether both are one folder.
fn same_place(one: &str, other: &str) -> bool {
    let whole = |path: &str| fs::canonicalize(path).ok();
    whole(one).is_some_and(|one| Some(one) == whole(other))
}

/// The set's classes brought to those of the weights, where they are some of them or stand in another order.
fn same_classes(images: ImageSet, classes: &[String]) -> Result<ImageSet, Failure> {
    let known = images.classes();
    if known[..] == *classes {
        return Ok(images);
    }
    // A file of several labels need not have every one of them.
    if images.is_multi_label() && known.iter().all(|class| classes.contains(class)) {
        return Ok(images.of_classes(classes)?);
    }
    if !classes.iter().all(|class| known.contains(class)) {
        return Ok(images);
    }
    let unknown: Vec<&str> = known.iter().filter(|class| !classes.contains(class)).map(String::as_str).collect();
    let kept = images.keep_classes(classes)?;
    if !unknown.is_empty() {
        let (names, less) = (unknown.join(", "), images.len() - kept.len());
        let what = match images.is_multi_label() {
            true => format!("{} labels are not judged", images.labels().len() - kept.labels().len()),
            false => format!("{less} images are left out"),
        };
        output::note(&format!("note: classes that the weights do not know: {names}; {what}"));
    }
    Ok(kept)
}

/// Of one class: images, how many were recognised, how many were taken for it.
struct Row {
    images: u64,
    correct: u64,
    predicted: u64,
}

fn rows(evaluation: &Evaluation) -> Vec<Row> {
    let confusion = &evaluation.confusion;
    (0..confusion.len())
        .map(|class| Row {
            images: confusion[class].iter().sum(),
            correct: confusion[class][class],
            predicted: confusion.iter().map(|row| row[class]).sum(),
        })
        .collect()
}

fn to_json(evaluation: &Evaluation, views: Option<&Evaluation>, classes: &[String]) -> serde_json::Value {
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let rows: Vec<_> = (classes.iter().zip(rows(evaluation)))
        .map(|(class, row)| {
            let (recall, precision) = (ratio(row.correct, row.images), ratio(row.correct, row.predicted));
            json!({ "class": class, "count": row.images, "recall": recall, "precision": precision })
        })
        .collect();
    json!({
        "event": "result",
        "test_accuracy": evaluation.accuracy(),
        "test_accuracy_tta": views.map(Evaluation::accuracy),
        "test_top5_accuracy": evaluation.top5_accuracy(),
        "test_loss": evaluation.loss,
        "correct": evaluation.correct,
        "count": evaluation.count,
        "classes": rows,
        "confusion": evaluation.confusion,
    })
}

/// The most classes whose confusion fits a terminal.
const MOST_COLUMNS: usize = 20;

fn to_text(evaluation: &Evaluation, views: Option<&Evaluation>, classes: &[String]) -> String {
    let Evaluation { correct, top5, count, loss, confusion, .. } = evaluation;
    let mut out = format!(
        "test accuracy {} ({correct} of {count}{})",
        percent(*correct, *count),
        output::margin(*correct, *count)
    );
    if classes.len() > 5 {
        out += &format!(", top-5 {}", percent(*top5, *count));
    }
    out += &format!(", loss {loss:.4}\n");
    if let Some(Evaluation { correct, count, loss, .. }) = views {
        out += &format!(
            "by six views of each image {} ({correct} of {count}), loss {loss:.4}\n",
            percent(*correct, *count)
        );
    }
    out += "\n";

    let mut lines =
        vec![["class", "images", "recall", "precision", "most often taken for"].map(str::to_owned).to_vec()];
    for (class, row) in rows(evaluation).into_iter().enumerate() {
        let mistakes = confusion[class].iter().enumerate().filter(|&(other, &times)| other != class && times > 0);
        // Of several, the first.
        let worst = mistakes.rev().max_by_key(|&(_, times)| times);
        lines.push(vec![
            classes[class].clone(),
            grouped(row.images),
            percent(row.correct, row.images),
            percent(row.correct, row.predicted),
            worst.map(|(other, times)| format!("{} ({times})", classes[other])).unwrap_or_default(),
        ]);
    }
    out += &table(&lines, &[0, 4]);

    if classes.len() > MOST_COLUMNS {
        return out + &format!("\nthe confusion matrix of {} classes is in the output of --json\n", classes.len());
    }
    out += "\nconfusion: a row is the true class, a column the predicted one\n";
    let header = ["", "class"].map(str::to_owned).into_iter().chain((0..classes.len()).map(|class| class.to_string()));
    let mut lines = vec![header.collect()];
    for (class, row) in confusion.iter().enumerate() {
        let cells = row.iter().map(u64::to_string);
        lines.push([class.to_string(), classes[class].clone()].into_iter().chain(cells).collect());
    }
    out + &table(&lines, &[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_never_seen_has_no_recall() {
        let confusion = vec![vec![3, 1, 0], vec![0, 0, 0], vec![2, 0, 4]];
        let evaluation = Evaluation { loss: 0.5, correct: 7, top5: 10, count: 10, confusion, ..Evaluation::default() };
        let classes = ["cat", "dog", "emu"].map(str::to_owned);
        let text = to_text(&evaluation, None, &classes);
        let expected = "\
test accuracy 70.00% (7 of 10; with so few, of others 40% to 89% may be right), loss 0.5000

class  images  recall  precision  most often taken for
cat         4  75.00%     60.00%  dog (1)
dog         0       -      0.00%
emu         6  66.67%    100.00%  cat (2)

confusion: a row is the true class, a column the predicted one
   class  0  1  2
0  cat    3  1  0
1  dog    0  0  0
2  emu    2  0  4
";
        assert_eq!(text, expected);
        let views = Evaluation { loss: 0.25, correct: 9, ..evaluation.clone() };
        let text = to_text(&evaluation, Some(&views), &classes);
        assert!(
            text.contains("loss 0.5000\nby six views of each image 90.00% (9 of 10), loss 0.2500\n\nclass"),
            "{text}"
        );
        assert_eq!(to_json(&evaluation, None, &classes)["classes"][1]["recall"], serde_json::Value::Null);
    }
}
