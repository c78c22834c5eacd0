//! How the network would learn from the image: one step of backpropagation, in numbers.

use std::fmt::Write;

use super::Explanation;
use super::dense::CLASSES;
use super::layers::What;
use super::sections::{Focus, colour, first_convolution};
use crate::html::{bar, escape, figure, grouped, number, paragraphs, percent, table};
use crate::picture::{Picture, channel, largest};
use crate::svg::short;

/// Filters whose gradients are shown.
const FILTERS: usize = 32;
/// Parameters whose gradients' lengths are shown.
const PARAMETERS: usize = 24;

/// The section.
pub(crate) fn learning(of: &Explanation) -> String {
    let step = &of.step;
    let name = escape(&of.info.classes[step.label]);
    let probability = step.probabilities[0][step.label];
    let mut out = paragraphs(&[
        &format!(
            "So far nothing was learned. In training, each image comes with its label. Suppose that this one's is \
             <bdi>{name}</bdi>{}. The <strong>loss</strong> says how wrong the answer is: minus the logarithm of the label's \
             probability, \u{2212}ln({}) = <strong>{}</strong>. It would be 0 for a probability of 1.",
            if step.label == of.ranked[0] { ", as the network thinks" } else { ", which the network does not think" },
            number(probability, 4),
            number(step.loss[0], 4)
        ),
        "<strong>Backpropagation</strong> asks of every number in the network: if you were a little larger, how would the loss \
         change? The answer is that number's gradient. For the logits it is simple: the probability, minus 1 for the label. From \
         there it is passed back through the layers by the same sums, run backwards, to every weight.",
    ]);
    let mut shown: Vec<usize> = of.ranked.iter().take(CLASSES).copied().collect();
    if !shown.contains(&step.label) {
        shown.push(step.label);
    }
    let rows: Vec<Vec<String>> = (shown.iter())
        .map(|&class| {
            let wanted = f64::from(u8::from(class == step.label));
            let [before, after] = [0, 1].map(|i| step.probabilities[i][class]);
            vec![
                format!("<bdi>{}</bdi>", escape(&of.info.classes[class])),
                percent(before),
                number(wanted, 0),
                number(before - wanted, 4),
                percent(after),
            ]
        })
        .collect();
    let columns = ["class", "probability", "wanted", "gradient of the logit", "after the step"];
    out += &table("The logits' gradients", &columns, &rows);
    out += &filters(of);
    out += &lengths(of);
    let [before, after] = step.loss;
    let verdict = if step.refused {
        "Something was not finite, so no weight was moved."
    } else if after < before {
        "The step did what it should: the loss is smaller."
    } else if after > before {
        "The loss is larger: this rate is too large for the step, which jumped over the valley that it should walk down into. Try a \
         smaller --lr."
    } else {
        "The loss is the same: there was nothing left to improve that this rate could move."
    };
    let _ = writeln!(
        out,
        "<p class=\"result\">All weights moved at once, by SGD with a learning rate of {}. Loss before: <strong>{}</strong>, after: \
         <strong>{}</strong>. Probability of <bdi>{name}</bdi>: {} before, {} after. {verdict}</p>",
        step.lr,
        number(before, 6),
        number(after, 6),
        percent(step.probabilities[0][step.label]),
        percent(step.probabilities[1][step.label]),
    );
    out + "<p class=\"note\">This step was made for this page alone, on this one image; the weights file is as it was. Training does the \
           same with many images at a time, thousands of times.</p>\n"
}

/// The first convolution's gradient, and one weight before and after.
fn filters(of: &Explanation) -> String {
    let Some(at) = first_convolution(&of.layers) else { return String::new() };
    let What::Conv(conv) = &of.layers[at].what else { return String::new() };
    let Some(moved) = &of.step.filters else {
        return "<p>The filters of the first convolution are frozen in this network: they have no gradient and stay as they are.</p>\n"
            .to_owned();
    };
    let [kh, kw, channels, filters] = conv.spec.weight_shape();
    let mut out = "<h3>What the filters hear</h3>\n".to_owned();
    out += &paragraphs(&[
        "Of each filter, its weights and below them their gradients, as pictures of the same kind. Where the gradient is bright, larger \
         weights would make the loss larger; the step goes the other way.",
    ]);
    let (most, steepest) = (largest(&moved.before), largest(&moved.gradient));
    out += "<div class=\"tiles plain\">\n";
    for k in 0..filters.min(FILTERS) {
        let tile = |values: &[f32], most: f32| {
            Picture::of_filter(&channel(values, filters, k), [kh, kw, channels], most).img(56, "")
        };
        let content = tile(&moved.before, most) + &tile(&moved.gradient, steepest);
        out += &figure(&content, &format!("filter {k}"));
    }
    out += "</div>\n";
    let focus = Focus::of(&of.layers[at]);
    let weights = [&moved.before, &moved.gradient, &moved.after].map(|values| channel(values, filters, focus.channel));
    let rows: Vec<Vec<String>> = (0..weights[0].len())
        .map(|i| {
            let (row, column, k) = (i / (kw * channels), i / channels % kw, i % channels);
            let [before, gradient, after] = [0, 1, 2].map(|which| number(weights[which][i].into(), 6));
            vec![format!("row {row}, column {column}, {}", colour(channels, k)), before, gradient, after]
        })
        .collect();
    let steep =
        (0..weights[1].len()).fold(0, |best, i| if weights[1][i].abs() > weights[1][best].abs() { i } else { best });
    let _ = writeln!(
        out,
        "<p>Each weight becomes: weight \u{2212} learning rate \u{d7} gradient. For the one of filter {} with the largest gradient ({}): \
         <span class=\"numbers\">{} \u{2212} {} \u{d7} {} = <strong>{}</strong></span></p>",
        focus.channel, rows[steep][0], rows[steep][1], of.step.lr, rows[steep][2], rows[steep][3]
    );
    let _ = writeln!(out, "<details><summary>All {} weights of filter {}</summary>", rows.len(), focus.channel);
    out += &table(&format!("Filter {}", focus.channel), &["weight", "before", "gradient", "after"], &rows);
    out + "</details>\n"
}

/// How long each parameter's gradient is.
fn lengths(of: &Explanation) -> String {
    let gradients = &of.step.gradients;
    let weights: Vec<_> = gradients.iter().filter(|(name, ..)| name.ends_with("weight")).collect();
    let Some(most) = weights.iter().map(|(.., length)| *length).reduce(f64::max).filter(|most| *most > 0.0) else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = (weights.iter().take(PARAMETERS))
        .map(|(name, count, length)| {
            vec![escape(name), grouped(*count), format!("{}{}", short(*length), bar(length / most))]
        })
        .collect();
    let mut out = "<h3>How far the error reaches</h3>\n<p>The length of each layer's gradient: where it is long, this image would change \
                   the layer most.</p>\n"
        .to_owned();
    out += &table("Gradients by layer", &["weights", "how many", "length of the gradient"], &rows);
    if weights.len() > PARAMETERS {
        let _ = writeln!(out, "<p class=\"note\">The first {PARAMETERS} of {} layers.</p>", weights.len());
    }
    out
}
