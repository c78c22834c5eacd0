//! The error's way back from the logits, a product at a time: what each kind of layer passes on, in the network's numbers.

use std::fmt::Write;

use cnn_core::backend::Activation;
use cnn_core::graph::{Graph, Node, Op};
use cnn_core::{Backend, Pool2dSpec, Result};

use super::Explanation;
use super::dense::sum;
use super::layers::{Conv, Layer, What};
use super::pooling::window_choice;
use super::regions;
use super::sections::{Focus, colour, place};
use crate::html::{escape, grouped, paragraphs, precise};
use crate::picture::channel;

/// The gradient of a value: how the loss changes with each of its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Number of the value.
    pub(crate) id: usize,
    pub(crate) values: Vec<f32>,
}

/// Gradients of the values from the logits, whose gradient is given, back to where the layers are no longer of those kinds
/// that are told one by one: to the convolution that reads the image, or to the last normalisation.
pub(crate) fn errors<B: Backend>(
    backend: &B,
    graph: &Graph<B>,
    layers: &[Layer],
    logits: Vec<f32>,
) -> Result<Vec<Heard>> {
    let made = |id: usize| graph.nodes.iter().position(|node| node.output == id);
    let is_told = |node: &Node<B>| {
        matches!(node.op, Op::Linear { .. } | Op::Flatten | Op::Activation(_) | Op::MaxPool2d(_) | Op::AvgPool2d(_))
    };
    let mut errors = vec![Heard { id: graph.output, values: logits }];
    let mut at = made(graph.output);
    while let Some(node) = at.map(|at| &graph.nodes[at]).filter(|node| is_told(node)) {
        at = node.inputs.first().and_then(|&id| made(id));
        let Some(before) = at.filter(|&at| regions::is_cut(graph, at) && !matches!(graph.nodes[at].op, Op::Input))
        else {
            break;
        };
        let values = regions::gradient_at(backend, graph, layers, before, &errors[0].values)?;
        errors.push(Heard { id: graph.nodes[before].output, values });
    }
    Ok(errors)
}

/// One layer that the error goes back through.
struct Link<'a> {
    layer: &'a Layer,
    before: &'a Layer,
    /// Gradients of what the layer made and of what it read.
    above: &'a [f32],
    below: &'a [f32],
}

/// The weight of the first convolution whose gradient is spelt out: of the filter that is looked at closely, the one with the
/// largest gradient. Its place among the filter's weights.
pub(crate) fn steepest(gradient: &[f32], filters: usize, filter: usize) -> usize {
    let own = channel(gradient, filters, filter);
    (0..own.len()).fold(0, |best, i| if own[i].abs() > own[best].abs() { i } else { best })
}

/// The products, from the last layer to the filters.
pub(crate) fn products(of: &Explanation) -> String {
    let layer = |id: usize| of.layers.iter().find(|layer| layer.id == id);
    let links: Vec<Link<'_>> = (of.errors.windows(2))
        .filter_map(|pair| {
            let (layer, before) = (layer(pair[0].id)?, layer(pair[1].id)?);
            Some(Link { layer, before, above: &pair[0].values, below: &pair[1].values })
        })
        .collect();
    let Some((deepest, last)) = of.errors.last().and_then(|error| Some((error, layer(error.id)?))) else {
        return String::new();
    };
    let filter = last.image().and_then(|_| matches!(last.what, What::Conv(_)).then(|| Focus::of(last).channel));
    let Some(followed) = followed(&links, deepest, last, filter) else { return String::new() };
    let mut out = "<h3>The error's way back, product by product</h3>\n".to_owned();
    out += &paragraphs(&[
        "One path from the logits back, of the many that run side by side. Of every sum, the largest products come first.",
    ]);
    out += "<ol class=\"way\" id=\"way\">\n";
    for (i, link) in links.iter().enumerate() {
        // Numbers of the value above and below that are followed.
        let (to, from) = (followed[i], followed[i + 1]);
        let _ = writeln!(out, "<li>{}</li>", told(of, link, i == 0, to, from));
    }
    match &last.what {
        What::Conv(conv) if !conv.weight.is_empty() => {
            if let Some(text) = filter.and_then(|filter| at_filter(of, conv, filter, deepest)) {
                let _ = writeln!(out, "<li>{text}</li>");
            }
        }
        _ => {
            let _ = writeln!(
                out,
                "<li>Before that lie convolutions and normalisations. They pass the error on by the same sums: each of their \
                 numbers collects, over all sums that it was in, that sum's gradient times the weight that it had there; each \
                 weight collects, over all places, the gradient there times the number that it was multiplied by.</li>"
            );
        }
    }
    out + "</ol>\n"
}

/// Which number of each value is followed, the logits first: from the deepest one that hears most, along the largest
/// products. None where no error arrives.
fn followed(links: &[Link<'_>], deepest: &Heard, last: &Layer, filter: Option<usize>) -> Option<Vec<usize>> {
    let channels = last.image().map_or(1, |[_, _, c]| c);
    let numbers = (0..deepest.values.len()).filter(|i| filter.is_none_or(|filter| i % channels == filter));
    let mut at =
        numbers.reduce(|best, i| if deepest.values[i].abs() > deepest.values[best].abs() { i } else { best })?;
    if !(deepest.values[at].abs() > 0.0 && deepest.values.iter().all(|value| value.is_finite())) {
        return None;
    }
    let mut numbers = vec![at];
    for link in links.iter().rev() {
        at = match &link.layer.what {
            What::Linear { weight, .. } => {
                let outputs = link.above.len();
                let part = |j: usize| (link.above[j] * weight[at * outputs + j]).abs();
                (0..outputs).fold(0, |best, j| if part(j) > part(best) { j } else { best })
            }
            What::MaxPool(pool) => output_of(pool, at, |windows| chooses(link.before, pool, windows, at))?,
            What::AvgPool(pool) => output_of(pool, at, |_| true)?,
            _ => at,
        };
        numbers.push(at);
    }
    numbers.reverse();
    Some(numbers)
}

/// The first output of a pooling whose window holds number `at` of its input, and that `accepts`.
fn output_of(pool: &Pool2dSpec, at: usize, accepts: impl Fn([usize; 2]) -> bool) -> Option<usize> {
    let ([_, w], c, [oh, ow]) = (pool.input, pool.channels, pool.output);
    let (row, column) = (at / (w * c), at / c % w);
    let found = (0..oh)
        .flat_map(|y| (0..ow).map(move |x| [y, x]))
        .find(|&[y, x]| pool.span(0, y).0.contains(&row) && pool.span(1, x).0.contains(&column) && accepts([y, x]))?;
    Some((found[0] * ow + found[1]) * c + at % c)
}

/// Whether the window at this place of the output takes number `at` of the input.
fn chooses(before: &Layer, pool: &Pool2dSpec, window: [usize; 2], at: usize) -> bool {
    let c = pool.channels;
    window_choice(&channel(&before.values, c, at % c), pool, window) == Some(at / c)
}

/// What one layer passes on to number `from` of its input, of number `to` of its output.
fn told(of: &Explanation, link: &Link<'_>, is_last: bool, to: usize, from: usize) -> String {
    let Link { layer, before, above, below } = link;
    let small = |value: f32| precise(value.into(), 6);
    match &layer.what {
        What::Linear { weight, .. } => {
            let outputs = above.len();
            let whose = if is_last {
                format!("the logit of <bdi>{}</bdi>", escape(&of.info.classes[to]))
            } else {
                format!("number {to} of the layer")
            };
            let which = if is_last { "The last layer" } else { "The dense layer" };
            let terms: Vec<(f64, f64)> =
                (0..outputs).map(|j| (above[j].into(), weight[from * outputs + j].into())).collect();
            format!(
                "<strong>{which}.</strong> A weight's gradient is the gradient of the sum that it is in, times the number that it \
                 is multiplied by. For the weight from number {} to {whose}: <span class=\"numbers\">{} \u{d7} {} = \
                 <b>{}</b></span>. The bias is multiplied by 1, so its gradient is {}. Number {} itself is in all {outputs} sums, \
                 so it hears from all of them, each sum's gradient times its weight there: <span class=\"numbers\">{}</span>.",
                grouped(from),
                small(above[to]),
                small(before.values[from]),
                small(above[to] * before.values[from]),
                small(above[to]),
                grouped(from),
                sum(&terms, None, |value| precise(value, 4), |value| precise(value, 6))
            )
        }
        What::Activation(Activation::Relu) => {
            let closed = before.values.iter().filter(|value| **value <= 0.0).count();
            format!(
                "<strong>ReLU</strong> is a gate. {} was {} before it: positive, so ReLU left it as it was, and its gradient goes \
                 through as it is, {}. {} of the {} numbers were not positive; whatever the layers behind ask of them, their gradient \
                 is 0.",
                named(before, from),
                small(before.values[from]),
                small(below[from]),
                grouped(closed),
                grouped(before.values.len())
            )
        }
        What::Activation(other) => format!(
            "<strong>{}.</strong> {} was {} before it; there its curve has the slope {}, and the gradient is multiplied by that: {}.",
            other.name(),
            named(before, from),
            small(before.values[from]),
            precise(f64::from(below[from]) / f64::from(above[to]), 4),
            small(below[from])
        ),
        What::Flatten => format!(
            "<strong>Flatten.</strong> Nothing was computed, so nothing changes: number {} of the row is again {}, with the gradient \
             {}.",
            grouped(to),
            place(before, from),
            small(below[from])
        ),
        What::MaxPool(pool) => {
            let [rows, columns] = pool.window;
            let overlap = pool.stride[0] < rows || pool.stride[1] < columns;
            format!(
                "<strong>Max-pooling.</strong> {} of the result, with the gradient {}, came from {}, the largest of its {rows} \u{d7} \
                 {columns} numbers. Only that place hears of it: {}{}. The others of the window could have been a little larger \
                 without changing anything: 0.",
                capital(&place(layer, to)),
                small(above[to]),
                place(before, from),
                small(below[from]),
                if overlap { ", with what it hears from other windows that chose it" } else { "" }
            )
        }
        What::AvgPool(pool) => {
            let single = pool.output == [1, 1] && pool.window == pool.input;
            let heard = if single {
                let places = pool.window[0] * pool.window[1];
                format!("{} / {places} = <b>{}</b>", small(above[to]), small(below[from]))
            } else {
                format!("<b>{}</b>, from all windows that it is in", small(below[from]))
            };
            format!(
                "<strong>Average.</strong> {} of the result is the mean of a window, in which every place has the same part. For {}: \
                 <span class=\"numbers\">{heard}</span>.",
                named(layer, to),
                place(before, from)
            )
        }
        _ => String::new(),
    }
}

/// The sum over all places that is the gradient of one weight of a filter.
fn at_filter(of: &Explanation, conv: &Conv, filter: usize, error: &Heard) -> Option<String> {
    let moved = of.step.filters.as_ref()?;
    let [_, kw, channels, filters] = conv.spec.weight_shape();
    let tap = steepest(&moved.gradient, filters, filter);
    let (row, column, k) = (tap / (kw * channels), tap / channels % kw, tap % channels);
    let ([oh, ow], image) = (conv.spec.output, &of.layers.first()?.values);
    let terms: Vec<(f64, f64)> = (0..oh * ow)
        .map(|at| {
            let error = error.values[at * filters + filter];
            let below = conv.below(at / ow, at % ow, filter, tap);
            (f64::from(error), below.map_or(0.0, |below| f64::from(image[below])))
        })
        .collect();
    let silent = terms.iter().filter(|(error, _)| *error == 0.0).count();
    Some(format!(
        "<strong>The filter.</strong> Its weights are the same at every place, so a weight hears from all of them: for each of the {} \
         places, the gradient there times the pixel that the weight lay on. ({} of them have the gradient 0.) For the weight of \
         filter {filter} at row {row}, column {column}, {}: <span class=\"numbers\" id=\"way-filter\">{}</span>. That is the number \
         that the table of this filter's weights below has for it. The filter's bias is multiplied by 1 at every place: its gradient \
         is the sum of the places' gradients, {}.",
        grouped(oh * ow),
        grouped(silent),
        colour(conv.spec.input_shape()[3], k),
        sum(&terms, None, |value| precise(value, 4), |value| precise(value, 6)),
        precise(terms.iter().map(|(error, _)| error).sum(), 6)
    ))
}

/// A number of a value, as a place of it if it is an image.
fn named(layer: &Layer, at: usize) -> String {
    match layer.image() {
        Some(_) => capital(&place(layer, at)),
        None => format!("Number {}", grouped(at)),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}
