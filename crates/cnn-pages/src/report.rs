//! The report of a run: how the training went, and what its network gets right and wrong.

use std::fmt::Write;

use cnn_data::ImageSet;
use cnn_train::{Evaluation, Judged, Result};
use serde_json::{Map, Value};

use crate::html::{Page, cards, escape, figure, file_name, grouped, number, paragraphs, percent, short_name, table};
use crate::picture::Picture;
use crate::run::{Epoch, Run};
use crate::svg::{Bin, Line, lines, reliability};

mod several_labels;

/// The report of `run`, whose network was judged on `images` with this `evaluation`: one file that needs nothing else.
///
/// # Errors
/// An image that is to be shown cannot be decoded.
pub fn report_page(run: &Run, evaluation: &Evaluation, images: &ImageSet) -> Result<String> {
    let classes = images.classes();
    let mut page = Page::new(&format!("Report of {}", run.name), lead(run, evaluation));
    page.section("result", "The result", result(run, evaluation));
    if !run.epochs.is_empty() {
        page.section("curves", "How the training went", curves(run));
    }
    match &evaluation.several {
        Some(several) => {
            page.section("classes", "Class by class", several_labels::by_class(several, classes));
            page.section("mistakes", "The most confident mistakes", several_labels::mistakes(several, images)?);
        }
        None => {
            page.section("classes", "Class by class", by_class(evaluation, classes));
            page.section("confusion", "What is taken for what", confusion(evaluation, classes));
            page.section("calibration", "Can its confidence be trusted?", calibration(evaluation));
            page.section("mistakes", "Mistakes and hard images", mistakes(evaluation, images)?);
        }
    }
    page.section("made", "How it was made", made(run));
    Ok(page.render())
}

fn lead(run: &Run, evaluation: &Evaluation) -> String {
    format!(
        "<p class=\"lead\">A network of the kind <bdi>{}</bdi>, trained on <bdi>{}</bdi>, judged on {} test images that it did not learn \
         from.</p>",
        escape(&run.recipe.model),
        escape(short_name(&run.recipe.data)),
        grouped(evaluation.count as usize)
    )
}

/// The figures that matter, large.
fn result(run: &Run, evaluation: &Evaluation) -> String {
    let mut facts = match &evaluation.several {
        None => vec![("test accuracy", percent(evaluation.accuracy()))],
        Some(several) => {
            let part = |value: Option<f64>| value.map_or("\u{2013}".to_owned(), percent);
            vec![
                ("mean average precision", part(several.mean_average_precision)),
                ("F1 at 0.5, over all answers", part(several.f1_micro)),
                ("every class right", percent(evaluation.accuracy())),
            ]
        }
    };
    if let Some(accuracy) = run.result("test_accuracy_tta") {
        let what = match evaluation.several {
            None => "by six views of each image",
            Some(_) => "every class right by six views",
        };
        facts.push((what, percent(accuracy)));
    }
    facts
        .push(("right", format!("{} of {}", grouped(evaluation.correct as usize), grouped(evaluation.count as usize))));
    if evaluation.confusion.len() > 5 {
        facts.push(("among the first five", percent(evaluation.top5_accuracy())));
    }
    facts.push(("loss", number(evaluation.loss, 4)));
    facts.push(("epochs", run.epochs.len().to_string()));
    if let Some(seconds) = run.training_seconds() {
        facts.push(("training", duration(seconds)));
    }
    let mut out = "<dl class=\"facts\">\n".to_owned();
    for (name, value) in facts {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    out + "</dl>\n"
}

/// A duration as a person says it.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// Loss, accuracy and rate of each epoch.
fn curves(run: &Run) -> String {
    let line = |name: &str, value: &dyn Fn(&Epoch) -> f64| Line {
        name: name.to_owned(),
        points: run.epochs.iter().map(|row| (row.epoch, value(row))).filter(|(_, value)| value.is_finite()).collect(),
    };
    let some = |lines: [Line; 2]| lines.into_iter().filter(|line| !line.points.is_empty()).collect::<Vec<_>>();
    let loss = some([line("training", &|row| row.train_loss), line("validation", &|row| row.validation_loss)]);
    let accuracy =
        some([line("training", &|row| row.train_accuracy), line("validation", &|row| row.validation_accuracy)]);
    let precision = [line("validation", &|row| row.validation_mean_average_precision)];
    let right = if run.recipe.multi_label { "every class right" } else { "accuracy" };
    let mut out = "<div class=\"charts\">\n".to_owned();
    for chart in [
        lines("Loss", "epoch", &loss, false),
        lines("Mean average precision", "epoch", &precision, true),
        lines(if run.recipe.multi_label { "Every class right" } else { "Accuracy" }, "epoch", &accuracy, true),
        lines("Learning rate", "epoch", &[line("learning rate", &|row| row.lr)], false),
        lines("Images per second", "epoch", &[line("images per second", &|row| row.images_per_second)], false),
    ]
    .into_iter()
    .filter(|chart| !chart.is_empty())
    {
        let _ = writeln!(out, "<figure>{chart}</figure>");
    }
    out += "</div>\n";
    out += "<p class=\"note\">Training figures are of each batch before its step, with augmentation, averaged over the epoch.</p>\n";
    let cell =
        |value: f64, decimals: usize| if value.is_finite() { number(value, decimals) } else { "\u{2013}".to_owned() };
    let rows: Vec<Vec<String>> = (run.epochs.iter())
        .map(|row| {
            let mut cells = vec![
                number(row.epoch, 0),
                cell(row.train_loss, 4),
                percent(row.train_accuracy),
                cell(row.validation_loss, 4),
                percent(row.validation_accuracy),
                cell(row.lr, 5),
                cell(row.seconds, 1),
            ];
            if run.recipe.multi_label {
                cells.push(percent(row.validation_mean_average_precision));
            }
            cells
        })
        .collect();
    out += "<details><summary>Every epoch in numbers</summary>\n";
    let mut columns = vec!["epoch", "training loss", right, "validation loss", right, "learning rate", "seconds"];
    if run.recipe.multi_label {
        columns.push("mean average precision");
    }
    out += &table("Epochs", &columns, &rows);
    out + "</details>\n"
}

/// Of one class: images, right ones, those taken for it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Class {
    count: u64,
    correct: u64,
    predicted: u64,
}

impl Class {
    fn of(confusion: &[Vec<u64>], class: usize) -> Class {
        Class {
            count: confusion[class].iter().sum(),
            correct: confusion[class][class],
            predicted: confusion.iter().map(|row| row[class]).sum(),
        }
    }

    fn recall(self) -> f64 {
        self.correct as f64 / self.count as f64
    }

    fn precision(self) -> f64 {
        self.correct as f64 / self.predicted as f64
    }

    /// The harmonic mean of both.
    fn f1(self) -> f64 {
        2.0 * self.correct as f64 / (self.count + self.predicted) as f64
    }
}

fn by_class(evaluation: &Evaluation, classes: &[String]) -> String {
    let mut out = paragraphs(&[
        "<strong>Recall</strong>: of the images of the class, how many were recognised. <strong>Precision</strong>: of the images taken for \
         the class, how many are. <strong>F1</strong> is the harmonic mean of both.",
    ]);
    let rows: Vec<Vec<String>> = (0..classes.len())
        .map(|class| {
            let of = Class::of(&evaluation.confusion, class);
            let mistakes =
                evaluation.confusion[class].iter().enumerate().filter(|&(other, &times)| other != class && times > 0);
            let worst = mistakes.rev().max_by_key(|&(_, times)| times);
            vec![
                format!("<bdi>{}</bdi>", escape(&classes[class])),
                grouped(of.count as usize),
                percent(of.precision()),
                percent(of.recall()),
                percent(of.f1()),
                worst.map_or("\u{2013}".to_owned(), |(other, times)| {
                    format!("<span><bdi>{}</bdi> ({times})</span>", escape(&classes[other]))
                }),
            ]
        })
        .collect();
    out += &cards("Classes", &["class", "images", "precision", "recall", "F1", "most often taken for"], &rows);
    out
}

/// The most classes whose confusion is a table.
const MOST_CLASSES: usize = 20;
/// Pairs that are listed of more.
const PAIRS: usize = 20;

fn confusion(evaluation: &Evaluation, classes: &[String]) -> String {
    let confusion = &evaluation.confusion;
    if classes.len() > MOST_CLASSES {
        let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
        for (class, row) in confusion.iter().enumerate() {
            pairs.extend(
                row.iter()
                    .enumerate()
                    .filter(|&(other, &n)| other != class && n > 0)
                    .map(|(other, &n)| (n, class, other)),
            );
        }
        pairs.sort_by_key(|&(times, class, other)| (std::cmp::Reverse(times), class, other));
        let name = |class: usize| format!("<bdi>{}</bdi>", escape(&classes[class]));
        let rows: Vec<Vec<String>> = pairs
            .iter()
            .take(PAIRS)
            .map(|&(times, class, other)| vec![name(class), name(other), times.to_string()])
            .collect();
        return table("The most frequent mistakes", &["class", "taken for", "times"], &rows);
    }
    let mut out = "<p>A row is the true class, a column what it was taken for. The stronger the colour, the larger the part of its row: blue \
                   where it is right, orange where it is wrong.</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion \
                   matrix\"><table class=\"confusion\">\n<caption>Confusion matrix</caption>\n<thead><tr><td></td>"
        .to_owned();
    classes
        .iter()
        .for_each(|class| out += &format!("<th scope=\"col\"><span><bdi>{}</bdi></span></th>", escape(class)));
    out += "</tr></thead>\n<tbody>\n";
    for (class, row) in confusion.iter().enumerate() {
        let total = row.iter().sum::<u64>().max(1) as f64;
        let _ = write!(out, "<tr><th scope=\"row\"><bdi>{}</bdi></th>", escape(&classes[class]));
        for (other, &times) in row.iter().enumerate() {
            // The root shows what is rare.
            let strength = 0.45 * (times as f64 / total).sqrt();
            let kind = if class == other { "right" } else { "wrong" };
            let _ = write!(out, "<td class=\"{kind}\" style=\"--strength:{strength:.3}\">{times}</td>");
        }
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

/// Groups of confidence.
const BINS: usize = 15;

/// Predictions by their confidence, and the expected calibration error: the mean distance between confidence and accuracy of a
/// group, weighed by its images (C. Guo et al., "On Calibration of Modern Neural Networks", 2017; 15 groups).
fn bins(images: &[Judged]) -> (Vec<Bin>, f64) {
    let mut bins = vec![Bin::default(); BINS];
    for image in images {
        let bin = &mut bins[((image.confidence * BINS as f32) as usize).min(BINS - 1)];
        bin.count += 1;
        bin.confidence += f64::from(image.confidence);
        bin.accuracy += f64::from(u8::from(image.label == image.predicted));
    }
    let mut error = 0.0;
    for bin in bins.iter_mut().filter(|bin| bin.count > 0) {
        error += (bin.accuracy - bin.confidence).abs();
        bin.accuracy /= bin.count as f64;
        bin.confidence /= bin.count as f64;
    }
    (bins, error / images.len().max(1) as f64)
}

fn calibration(evaluation: &Evaluation) -> String {
    let (bins, error) = bins(&evaluation.images);
    let mean = |value: &dyn Fn(&Judged) -> f64| {
        evaluation.images.iter().map(value).sum::<f64>() / evaluation.images.len().max(1) as f64
    };
    let confidence = mean(&|image| f64::from(image.confidence));
    let verdict = match confidence - evaluation.accuracy() {
        more if more > 0.02 => "It is surer of itself than it should be.",
        less if less < -0.02 => "It is less sure of itself than it could be, as label smoothing makes it.",
        _ => "On the whole its confidence is about right.",
    };
    let mut out = paragraphs(&[
        &format!(
            "Of the answers given with 80% confidence, 80% should be right: then the bars meet the dashed line. On average it is {} sure \
             and {} right. {verdict}",
            percent(confidence),
            percent(evaluation.accuracy())
        ),
        &format!(
            "The expected calibration error, the mean distance between the bars and the line, is <strong id=\"ece\">{}</strong>.",
            percent(error)
        ),
    ]);
    out += "<div class=\"charts\">\n";
    let _ = writeln!(out, "<figure>{}</figure>", reliability(&bins));
    let points = |value: &dyn Fn(&Bin) -> f64| {
        bins.iter().enumerate().map(|(i, bin)| (100.0 * (i as f64 + 0.5) / BINS as f64, value(bin))).collect()
    };
    let counts = Line { name: "images".to_owned(), points: points(&|bin| bin.count as f64) };
    let _ = writeln!(out, "<figure>{}</figure>", lines("How many images", "confidence in %", &[counts], false));
    out + "</div>\n"
}

/// Pictures of each kind.
const SHOWN: usize = 16;

fn mistakes(evaluation: &Evaluation, images: &ImageSet) -> Result<String> {
    let judged = &evaluation.images;
    let mut wrong: Vec<usize> = (0..judged.len()).filter(|&i| judged[i].label != judged[i].predicted).collect();
    wrong.sort_by(|&a, &b| judged[b].confidence.total_cmp(&judged[a].confidence).then(a.cmp(&b)));
    wrong.truncate(SHOWN);
    let mut hard: Vec<usize> = (0..judged.len()).filter(|i| !wrong.contains(i)).collect();
    hard.sort_by(|&a, &b| judged[a].probability.total_cmp(&judged[b].probability).then(a.cmp(&b)));
    hard.truncate(SHOWN);
    let mut out = "<h3>Most confident mistakes</h3>\n".to_owned();
    if wrong.is_empty() {
        out += "<p>There is none: every image was recognised.</p>\n";
    } else {
        out += "<p>Wrong, and sure of it. Some of these may be labelled wrongly: look.</p>\n";
        out += &gallery(&wrong, judged, images)?;
    }
    out += "<h3>Hardest images</h3>\n<p>Of the others, those to whose own class it gave the least probability.</p>\n";
    out += &gallery(&hard, judged, images)?;
    Ok(out)
}

fn gallery(which: &[usize], judged: &[Judged], images: &ImageSet) -> Result<String> {
    let classes = images.classes();
    let mut out = "<div class=\"tiles plain wide\">\n".to_owned();
    for &i in which {
        let Judged { label, predicted, confidence, probability } = judged[i];
        let picture = Picture::of_bytes(&images.image(i)?, images.size()).fitted(128);
        let [own, said] = [label, predicted].map(|class| escape(&classes[class as usize]));
        let said = if label == predicted {
            "recognised".to_owned()
        } else {
            format!("taken for <bdi>{said}</bdi>, {}", percent(confidence.into()))
        };
        let caption =
            format!("<b><bdi>{own}</bdi></b> {}<br>{said}{}", percent(probability.into()), file_name(&images.name(i)));
        out += &figure(&picture.photo(112, short_name(&images.name(i))), &caption);
    }
    Ok(out + "</div>\n")
}

/// Time, machine, recipe.
fn made(run: &Run) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(seconds) = run.result("seconds") {
        row("time of the whole run, with tests", duration(seconds));
    }
    if let Some(rate) = run.result("images_per_second") {
        row("images per second of training", number(rate, 0));
    }
    row("seed", run.recipe.seed.to_string());
    for (name, value) in run.machine.iter().flat_map(Map::iter) {
        let words = name.strip_suffix("_bytes").unwrap_or(name).replace('_', " ");
        row(&escape(&words), fact(name, value));
    }
    let mut out = table("Time and machine", &["what", "value"], &rows);
    match run.recipe.to_toml() {
        Ok(recipe) => {
            let _ = writeln!(
                out,
                "<h3>The recipe</h3>\n<p>Everything that decided this run. With it, <code>cnn train --recipe recipe.toml</code> makes it again.</p>\n\
                 <pre class=\"scroll\" tabindex=\"0\" aria-label=\"The recipe\">{}</pre>",
                escape(&recipe)
            );
        }
        Err(error) => out += &format!("<p>The recipe cannot be written: {}</p>\n", escape(&error.to_string())),
    }
    out
}

fn fact(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Number(bytes) if name.ends_with("_bytes") => {
            bytes.as_f64().map_or_else(|| value.to_string(), |bytes| format!("{} MiB", number(bytes / 1_048_576.0, 1)))
        }
        value => escape(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_is_the_mean_distance_to_the_diagonal() {
        let judged = |confidence: f32, right: bool| Judged {
            label: 0,
            predicted: u32::from(!right),
            confidence,
            probability: 0.5,
        };
        // Three of four right at 0.9, none of one at 0.5.
        let images =
            [(0.9, true), (0.9, true), (0.9, true), (0.9, false), (0.5, false)].map(|(c, right)| judged(c, right));
        let (bins, error) = bins(&images);
        assert!((error - (4.0 * 0.15 + 0.5) / 5.0).abs() < 1e-6, "{error}");
        assert_eq!((bins[13].count, bins[13].accuracy, bins[7].count), (4, 0.75, 1));
        assert_eq!(super::bins(&[judged(1.0, true)]).0[BINS - 1].count, 1);
    }

    #[test]
    fn a_class_has_precision_recall_and_their_mean() {
        let confusion = [vec![3, 1], vec![2, 4]];
        let class = Class::of(&confusion, 0);
        assert_eq!((class.recall(), class.precision()), (0.75, 0.6));
        assert!((class.f1() - 2.0 * 0.75 * 0.6 / 1.35).abs() < 1e-12);
        assert!(Class::of(&[vec![0, 0], vec![0, 1]], 0).precision().is_nan());
    }
}
