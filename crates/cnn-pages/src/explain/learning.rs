//! How the network would learn from the image: one step of backpropagation, in numbers.

use std::fmt::Write;

use super::Explanation;
use super::backwards;
use super::blocks::block_of;
use super::dense::CLASSES;
use super::layers::What;
use super::sections::{Focus, colour, first_convolution};
use super::step::Step;
use crate::html::{bar, escape, figure, grouped, number, paragraphs, percent, precise, table};
use crate::picture::{Picture, channel, largest};
use crate::svg::short;

/// Filters whose gradients are shown.
const FILTERS: usize = 32;
/// Of the weights' length: along a shorter gradient, a step of rate 0.01 moves the weights by less than f32 tells apart.
const NEGLIGIBLE: f64 = 1e-6;
/// Parameters of a network whose gradients are shown one by one.
const PARAMETERS: usize = 24;

/// The section.
pub(crate) fn learning(of: &Explanation) -> String {
    let step = &of.step;
    let name = escape(&of.info.classes[step.label]);
    let probability = step.probabilities[0][step.label];
    let supposed = if of.second {
        format!(
            "The network is so sure of <bdi>{}</bdi> that with this label there would be next to nothing to learn: the loss would be {}. \
             So suppose that the label is the second likeliest class, <bdi>{name}</bdi>, and that the network is wrong; \
             <code>--label CLASS</code> chooses another.",
            escape(of.answer().0),
            precise(-of.answer().1.ln(), 4)
        )
    } else {
        let thinks =
            if step.label == of.ranked[0] { "as the network thinks" } else { "which the network does not think" };
        format!("Suppose that this one's is <bdi>{name}</bdi>, {thinks}.")
    };
    let mut out = paragraphs(&[
        &format!(
            "So far nothing was learned. In training, each image comes with its label. {supposed} The <strong>loss</strong> says how \
             wrong the answer is: minus the logarithm of the label's probability, \u{2212}ln({}) = <strong>{}</strong>. It would be 0 \
             for a probability of 1.",
            precise(probability, 4),
            precise(step.loss[0], 6)
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
                precise(before - wanted, 6),
                percent(after),
            ]
        })
        .collect();
    let columns = ["class", "probability", "wanted", "gradient of the logit", "after the step"];
    out += &table("The logits' gradients", &columns, &rows);
    out += &backwards::products(of);
    out += &filters(of);
    out += &lengths(of);
    out += &outcome(step, &name);
    if short_form(&out) {
        out += "<p class=\"note\">Small numbers are written with an e: 1.20e-7 is 0.000000120.</p>\n";
    }
    out + "<p class=\"note\">This step was made for this page alone, on this one image; the weights file is as it was. Training does the \
           same with many images at a time, thousands of times.</p>\n"
}

/// Whether numbers with exponents are among the text.
fn short_form(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit();
    text.as_bytes().windows(4).any(|w| digit(w[0]) && w[1..3] == *b"e-" && digit(w[3]))
}

/// What the step did, beside what the gradient let expect of it.
fn outcome(step: &Step, name: &str) -> String {
    let [before, after] = step.loss;
    let mut out = format!(
        "<p class=\"result\">All weights moved at once, by SGD with a learning rate of {}. Loss before: <strong>{}</strong>, after: \
         <strong>{}</strong>. Probability of <bdi>{name}</bdi>: {} before, {} after. {}</p>\n",
        step.lr,
        precise(before, 6),
        precise(after, 6),
        percent(step.probabilities[0][step.label]),
        percent(step.probabilities[1][step.label]),
        verdict(step)
    );
    if !step.refused {
        let _ = writeln!(
            out,
            "<p>The gradient predicts a fall by the learning rate times the squared length of the whole gradient, as if the loss were \
             a straight slope: {} \u{d7} {} = <strong id=\"predicted\">{}</strong>. The real fall is <strong \
             id=\"fall\">{}</strong>.</p>",
            step.lr,
            precise(step.squared_length, 6),
            precise(step.predicted(), 6),
            precise(before - after, 6)
        );
    }
    out
}

/// The fall of the loss in words.
fn verdict(step: &Step) -> &'static str {
    let [before, after] = step.loss;
    let part = (before - after) / step.predicted();
    if step.refused {
        "Something was not finite, so no weight was moved."
    } else if after > before {
        "The loss rose: this rate is too large for the step, which jumped over the valley that it should walk down into. Try a smaller \
         --lr."
    } else if after == before {
        "The loss is the same: there was nothing left to improve that this rate could move."
    } else if step.predicted() > before {
        "The loss fell, but by less than the gradient predicts, which is more than the whole loss: a step of this rate goes much \
         further than the slope at its beginning can tell of. Try a smaller --lr."
    } else if part < AS_PREDICTED[0] {
        "The loss fell by less than the gradient predicts, because the loss is curved: it becomes flatter on the way."
    } else if part > AS_PREDICTED[1] {
        "The loss fell by more than the gradient predicts, because the loss is curved: it becomes steeper on the way."
    } else {
        "The loss fell about as the gradient predicts."
    }
}

/// Parts of the predicted fall that are about the whole of it.
const AS_PREDICTED: [f64; 2] = [0.8, 1.25];

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
    let (most, mut steepest) = (largest(&moved.before), largest(&moved.gradient));
    let [length, gradient] = [&moved.before, &moved.gradient]
        .map(|values| values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt());
    if gradient < NEGLIGIBLE * length {
        let _ = writeln!(
            out,
            "<p>Here the gradients are negligible: all together they are {} long, and the weights {}. So they are drawn grey; in \
             colours they would look like more than they are.</p>",
            precise(gradient, 4),
            precise(length, 4)
        );
        steepest = f32::INFINITY;
    }
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
            let [before, gradient, after] = [0, 1, 2].map(|which| precise(weights[which][i].into(), 6));
            vec![format!("row {row}, column {column}, {}", colour(channels, k)), before, gradient, after]
        })
        .collect();
    let steep = backwards::steepest(&moved.gradient, filters, focus.channel);
    let _ = writeln!(
        out,
        "<p>Each weight becomes: weight \u{2212} learning rate \u{d7} gradient. For the one of filter {} with the largest gradient ({}): \
         <span class=\"numbers\" id=\"update\">{} \u{2212} {} \u{d7} {} = <strong>{}</strong></span></p>",
        focus.channel, rows[steep][0], rows[steep][1], of.step.lr, rows[steep][2], rows[steep][3]
    );
    let _ = writeln!(out, "<details><summary>All {} weights of filter {}</summary>", rows.len(), focus.channel);
    out += &table(&format!("Filter {}", focus.channel), &["weight", "before", "gradient", "after"], &rows);
    out + "</details>\n"
}

/// Name, count and length of each parameter's gradient, or where there are many of them each block's.
fn grouped_gradients(gradients: &[(String, usize, f64)]) -> Vec<(&str, usize, f64)> {
    let mut rows: Vec<(&str, usize, f64)> = Vec::new();
    for (name, count, length) in gradients {
        let key = if gradients.len() > PARAMETERS { block_of(name) } else { name };
        match rows.last_mut().filter(|row| row.0 == key) {
            Some(row) => *row = (key, row.1 + count, row.2.hypot(*length)),
            None => rows.push((key, *count, *length)),
        }
    }
    rows
}

/// How long the gradients are.
fn lengths(of: &Explanation) -> String {
    let rows = grouped_gradients(&of.step.gradients);
    let Some(most) = rows.iter().map(|row| row.2).reduce(f64::max).filter(|most| *most > 0.0) else {
        return String::new();
    };
    let cells: Vec<Vec<String>> = (rows.iter())
        .map(|&(name, count, length)| {
            vec![escape(name), grouped(count), format!("{}{}", short(length), bar(length / most))]
        })
        .collect();
    let (each, what) = if of.step.gradients.len() > PARAMETERS {
        ("each block's gradient, of its weights and biases together", "block")
    } else {
        ("the gradient of each layer's weights and biases", "parameter")
    };
    format!(
        "<h3>How far the error reaches</h3>\n<p>The length of {each}: where it is long, this image would change the layer most. The \
         error starts at the last row.</p>\n"
    ) + &table("Gradients by layer", &[what, "how many", "length of the gradient"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_gradients_are_told_by_their_blocks_to_the_last() {
        let mut names = vec!["conv1.weight".to_owned(), "bn1.weight".to_owned(), "bn1.bias".to_owned()];
        for block in 0..8 {
            let parts = ["conv1.weight", "bn1.weight", "bn1.bias", "downsample.0.weight"];
            names.extend(parts.map(|part| format!("layer{}.{}.{part}", block / 2 + 1, block % 2)));
        }
        names.extend(["fc.weight".to_owned(), "fc.bias".to_owned()]);
        let gradients: Vec<(String, usize, f64)> = names.into_iter().map(|name| (name, 10, 3.0)).collect();
        let rows = grouped_gradients(&gradients);
        assert_eq!(rows.len(), 11);
        assert_eq!((rows[0], rows[2].0, rows[2].1, rows[10].0), (("conv1", 10, 3.0), "layer1.0", 40, "fc"));
        assert!((rows[2].2 - 6.0).abs() < 1e-9, "{rows:?}");
        assert_eq!(grouped_gradients(&gradients[..3])[2], ("bn1.bias", 10, 3.0));
    }

    #[test]
    fn a_step_is_judged_by_what_was_predicted() {
        let said = |loss: [f64; 2], predicted: f64| {
            verdict(&Step {
                label: 0,
                lr: 0.01,
                loss,
                squared_length: predicted / 0.01,
                probabilities: [vec![0.5], vec![0.5]],
                filters: None,
                gradients: Vec::new(),
                refused: false,
            })
        };
        assert!(said([1.0, 0.8], 0.21).contains("about as"));
        assert!(said([1.0, 0.8], 0.5).contains("flatter"));
        assert!(said([1.0, 0.5], 0.3).contains("steeper"));
        assert!(said([0.203, 0.000_002], 1.9).contains("more than the whole loss"));
        assert!(said([1.0, 1.1], 0.3).contains("rose"));
        assert!(said([1.0, 1.0], 1e-20).contains("the same"));
    }
}
