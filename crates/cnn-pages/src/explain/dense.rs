//! The end of a network: a row of numbers, dense layers, and probabilities.

use std::fmt::Write;

use super::Explanation;
use super::layers::{Layer, What, shape};
use super::sections::BIAS;
use crate::html::{bar, escape, figure, grouped, number, paragraphs, percent, precise, table};
use crate::picture::{Colours, Picture, largest};

/// From an image of channels to a row of numbers; `weight` is the name of the dense weight that reads the row and whose columns
/// a file has in PyTorch's order.
pub(crate) fn flatten(before: &Layer, after: &Layer, weight: Option<&str>) -> String {
    let [h, w, c] = before.image().unwrap_or([1, 1, 1]);
    let count = after.values.len();
    let mut out = paragraphs(&[&format!(
        "The dense layers that follow do not know of rows and columns: the {} numbers are put into one row of <strong>{}</strong>, \
         place by place, the {c} channels of a place together. Nothing is computed.",
        shape(&before.dims),
        grouped(count)
    )]);
    if h * w > 1 {
        let largest_at = (0..count).fold(0, |best, i| if after.values[i] > after.values[best] { i } else { best });
        let (row, column, k) = (largest_at / (w * c), largest_at / c % w, largest_at % c);
        out += &paragraphs(&[&format!(
            "The largest number, {}, for example was row {row}, column {column}, channel {k}. It is number {} of the row here, counted \
             from 0.",
            number(after.values[largest_at].into(), 3),
            grouped(largest_at)
        )]);
        if let Some(weight) = weight {
            out += &paragraphs(&[&format!(
                "Who looks into the weights file finds it elsewhere: its weights are column <span id=\"file-column\">{}</span> of \
                 <code>{}</code> there. The file follows PyTorch, which puts one channel after the other: channel, row, column, and so \
                 {k} \u{d7} {} + {row} \u{d7} {w} + {column}.",
                grouped(k * h * w + row * w + column),
                escape(weight),
                h * w
            )]);
        }
        let columns = (count as f64 * 3.0).sqrt().ceil() as usize;
        let rows = count.div_ceil(columns);
        let padded: Vec<f32> = (0..rows * columns).map(|i| after.values.get(i).copied().unwrap_or(0.0)).collect();
        let colours = if padded.iter().any(|&v| v < 0.0) { Colours::Signed } else { Colours::Heat };
        let picture = Picture::of_map(&padded, [rows, columns], colours, largest(&padded));
        let alt = format!("The {count} numbers in a row, broken into lines");
        out += &figure(
            &picture.img(columns.min(600), &alt),
            &format!("the row, broken into {rows} lines so that it fits"),
        );
    }
    out
}

/// Contributions to a sum that are written out.
const WRITTEN: usize = 6;

/// A sum of products, the largest first, the rest of them together, and a bias. `factor` and `total` write numbers.
pub(crate) fn sum(
    products: &[(f64, f64)],
    bias: Option<f64>,
    factor: impl Fn(f64) -> String,
    total: impl Fn(f64) -> String,
) -> String {
    let mut order: Vec<(f64, f64)> = products.iter().copied().filter(|(a, b)| a * b != 0.0).collect();
    order.sort_by(|a, b| (b.0 * b.1).abs().total_cmp(&(a.0 * a.1).abs()));
    let written = order.len().min(WRITTEN);
    let terms: Vec<String> =
        (order[..written].iter()).map(|&(a, b)| format!("{} \u{d7} {}", factor(a), factor(b))).collect();
    let mut text = if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") };
    let rest: f64 = order[written..].iter().map(|(a, b)| a * b).sum();
    if products.len() > written {
        let _ = write!(text, " + {} (the other {})", total(rest), grouped(products.len() - written));
    }
    if let Some(bias) = bias.filter(|bias| *bias != 0.0) {
        let _ = write!(text, " + {} (bias)", total(bias));
    }
    let all: f64 = order.iter().map(|(a, b)| a * b).sum();
    format!("{text} = <strong>{}</strong>", total(all + bias.unwrap_or(0.0)))
}

/// The sum of one output of a dense layer.
fn spelt_out(input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: usize) -> String {
    let outputs = weight.len() / input.len().max(1);
    let products: Vec<(f64, f64)> =
        (input.iter().enumerate()).map(|(i, &x)| (x.into(), weight[i * outputs + output].into())).collect();
    let bias = bias.map(|bias| f64::from(bias[output]));
    sum(&products, bias, |value| number(value, 3), |value| number(value, 3))
}

/// A dense layer in the middle: `after` is what its activation left, `before` what it read.
pub(crate) fn hidden(
    before: &Layer,
    dense: &Layer,
    after: &Layer,
    weight: &[f32],
    bias: Option<&[f32]>,
    places: Option<[usize; 3]>,
) -> String {
    let (inputs, outputs) = (before.values.len(), dense.values.len());
    let strongest = (0..outputs).fold(0, |best, i| if after.values[i] > after.values[best] { i } else { best });
    let silent = after.values.iter().filter(|value| **value == 0.0).count();
    let mut out = paragraphs(&[
        &format!(
            "Each of the {outputs} numbers of this layer is a sum over <em>all</em> {} numbers before it, each times a weight of its own: \
             {} \u{d7} {outputs} = {} weights. Here the network combines what the filters found in different places.",
            grouped(inputs),
            grouped(inputs),
            grouped(inputs * outputs)
        ),
        &format!("The strongest answer is number {strongest}. Its sum, the largest products first:"),
    ]);
    let _ = writeln!(out, "<p class=\"numbers\">{}</p>", spelt_out(&before.values, weight, bias, strongest));
    if silent > 0 {
        let _ = writeln!(out, "<p>After ReLU, {silent} of the {outputs} numbers are 0.</p>");
    }
    out += "<div class=\"row\">\n";
    let columns = outputs.min(32);
    let rows = outputs.div_ceil(columns.max(1));
    let padded: Vec<f32> = (0..rows * columns).map(|i| after.values.get(i).copied().unwrap_or(0.0)).collect();
    let picture = Picture::of_map(&padded, [rows, columns], Colours::Heat, largest(&padded));
    out += &figure(
        &picture.img(320, "The layer's answers"),
        &format!("the {outputs} answers, {columns} a line; bright is large"),
    );
    if let Some([h, w, c]) = places {
        let place = |p: usize| -> f32 {
            (0..c).map(|k| before.values[p * c + k] * weight[(p * c + k) * outputs + strongest]).sum()
        };
        let map: Vec<f32> = (0..h * w).map(place).collect();
        let picture = Picture::of_map(&map, [h, w], Colours::Signed, largest(&map));
        out += &figure(
            &picture.img(200, "Contributions by place"),
            &format!("what each place of the image adds to number {strongest} (orange) or takes from it (blue)"),
        );
    }
    out + "</div>\n"
}

/// Rows of a table of classes.
pub(crate) const CLASSES: usize = 10;

/// The last layer: a number for each class.
pub(crate) fn logits(of: &Explanation, before: &Layer, weight: &[f32], bias: Option<&[f32]>) -> String {
    let best = of.ranked[0];
    let classes = &of.info.classes;
    let met = |layer: &Layer| match &layer.what {
        What::Conv(conv) => conv.bias.is_some(),
        // The last layer's own is there, too.
        What::Linear { bias, weight: own } => bias.is_some() && own.len() != weight.len(),
        _ => false,
    };
    let explained = if bias.is_none() || of.layers.iter().any(met) { String::new() } else { format!(" {BIAS}") };
    let mut out = paragraphs(&[
        &format!(
            "The last layer has one number for each of the {} classes, called a logit: again a sum of products, of the {} numbers \
             before it. The larger it is, the more speaks for the class.{explained}",
            classes.len(),
            grouped(before.values.len())
        ),
        &format!("For <bdi>{}</bdi>, the largest, the sum is:", escape(&classes[best])),
    ]);
    let _ = writeln!(out, "<p class=\"numbers\">{}</p>", spelt_out(&before.values, weight, bias, best));
    out
}

/// From logits to probabilities.
pub(crate) fn softmax(of: &Explanation) -> String {
    let largest = f64::from(of.logits[of.ranked[0]]);
    let powers: Vec<f64> = of.logits.iter().map(|&z| (f64::from(z) - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let best = of.ranked[0];
    let mut out = paragraphs(&[&format!(
        "Logits may be any numbers. Softmax makes probabilities of them: e to the power of each, divided by the sum of all, so that they \
         are between 0 and 1 and add up to 1. (The largest logit, {}, is subtracted from all first; that changes nothing but keeps the \
         powers small.) For <bdi>{}</bdi>: e<sup>0</sup> / {} = <strong>{}</strong>.",
        number(largest, 3),
        escape(&of.info.classes[best]),
        number(sum, 4),
        percent(of.probabilities[best])
    )]);
    let rows: Vec<Vec<String>> = (of.ranked.iter().take(CLASSES))
        .map(|&class| {
            vec![
                format!("<bdi>{}</bdi>", escape(&of.info.classes[class])),
                number(of.logits[class].into(), 3),
                precise(powers[class], 4),
                format!("{}{}", percent(of.probabilities[class]), bar(of.probabilities[class])),
            ]
        })
        .collect();
    let caption = if of.ranked.len() > CLASSES {
        format!("The {CLASSES} most probable classes")
    } else {
        "All classes".to_owned()
    };
    out += &table(&caption, &["class", "logit", "e to the power", "probability"], &rows);
    out
}
