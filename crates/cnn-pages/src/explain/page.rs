//! The page, from the image to the step of training, and two networks side by side.

use cnn_core::backend::Activation;

use super::blocks::{self, Block, feature_maps};
use super::layers::{Layer, What, shape};
use super::pooling;
use super::sections::{self, Focus, first_convolution};
use super::{Explanation, dense, learning, places};
use crate::html::{Page, bar, escape, figure, grouped, paragraphs, percent};
use crate::picture::{Colours, Picture, channel, largest};

const SCRIPT: &str = include_str!("../../assets/explain.js");

/// The page that explains a network's way through an image: one file that needs nothing else. With `other`, a second network's
/// answer, filters and maps stand beside the first's.
pub fn explain_page(of: &Explanation, other: Option<&Explanation>) -> String {
    let mut page = Page::new(&format!("How {} sees {}", of.name, of.image_name), lead(of));
    page.section("answer", "The answer", answer(of));
    if let Some(other) = other {
        page.section("beside", "Two networks side by side", beside(of, other));
    }
    page.section("input", "The image becomes numbers", sections::input(of));
    layer_by_layer(of, &mut page);
    page.section("softmax", "Softmax: probabilities", dense::softmax(of));
    page.section("places", "Where it looked", places::places(of));
    if let Some(neighbours) = places::neighbours(of) {
        page.section("neighbours", "What it finds alike", neighbours);
    }
    page.section("learning", "Backpropagation: how it would learn from this image", learning::learning(of));
    if first_convolution(&of.layers).is_some() {
        page.script(SCRIPT);
    }
    page.render()
}

fn lead(of: &Explanation) -> String {
    let [h, w, c] = of.info.image;
    format!(
        "<p class=\"lead\"><bdi>{}</bdi> is a convolutional network with {} weights that tells {} classes apart by images of {h} \u{d7} {w} \
         \u{d7} {c} numbers. This page follows one image through it. Every number on it was computed by the network.</p>",
        escape(&of.name),
        grouped(of.parameters),
        of.info.classes.len()
    )
}

/// Classes that are shown of an answer.
const ANSWERS: usize = 5;

fn answer(of: &Explanation) -> String {
    let mut out = "<div class=\"row\">\n".to_owned();
    out += &figure(
        &of.shown.photo(240, &format!("The picture {}", of.image_name)),
        &format!("<bdi>{}</bdi>", escape(&of.image_name)),
    );
    out + &answers(of) + "</div>\n"
}

fn answers(of: &Explanation) -> String {
    let mut out = "<ol class=\"answers\">\n".to_owned();
    for &class in of.ranked.iter().take(ANSWERS) {
        let (name, probability) = (escape(&of.info.classes[class]), of.probabilities[class]);
        out += &format!("<li><bdi>{name}</bdi> <span>{}</span>{}</li>\n", percent(probability), bar(probability));
    }
    out + "</ol>\n"
}

/// Sections for the layers, in their order: number by number where the image enters, in blocks after that, and the end.
fn layer_by_layer(of: &Explanation, page: &mut Page) {
    let blocks = blocks::blocks(&of.layers);
    let first = first_convolution(&of.layers);
    let focus = first.map_or(Focus { row: 0, column: 0, channel: 0 }, |at| Focus::of(&of.layers[at]));
    let mut number = 0;
    let mut rest: Vec<&Block<'_>> = Vec::new();
    let flush = |rest: &mut Vec<&Block<'_>>, page: &mut Page, number: usize| {
        if rest.is_empty() {
            return;
        }
        let mut body = paragraphs(&[&format!(
            "The layers that follow do the same again and again, no longer with the image's colours but with what the layers before \
             found: edges become corners and textures, these become parts, and parts become things. The maps get smaller and \
             more: {}. Of each block, the channels that vary most over this image.",
            rest.iter()
                .filter_map(|block| block.maps())
                .map(|maps| shape(&maps.dims))
                .collect::<Vec<_>>()
                .join(" \u{2192} ")
        )]);
        rest.drain(..).for_each(|block| body += &block.html());
        page.section(&format!("blocks-{number}"), "Through the network, block by block", body);
    };
    for block in &blocks {
        let is_first = block.layers.iter().any(|layer| first.is_some_and(|at| std::ptr::eq(*layer, &of.layers[at])));
        let is_deep = block.layers.iter().any(|layer| matches!(layer.what, What::Conv(_))) && !is_first;
        if is_deep {
            rest.push(block);
            // What follows a block's convolutions is told with them, but not the end of the network.
            for layer in block.layers.iter().filter(|layer| is_end(layer)) {
                number += 1;
                flush(&mut rest, page, number);
                end(of, layer, focus, number, page);
            }
            continue;
        }
        for layer in &block.layers {
            number += 1;
            flush(&mut rest, page, number);
            end(of, layer, focus, number, page);
        }
    }
    flush(&mut rest, page, number + 1);
}

fn is_end(layer: &Layer) -> bool {
    matches!(layer.what, What::Flatten | What::Linear { .. })
}

/// The section of one layer, if it has one: an activation behind a dense layer is told with it.
fn end(of: &Explanation, layer: &Layer, focus: Focus, number: usize, page: &mut Page) {
    let by_id = |id: usize| of.layers.iter().find(|layer| layer.id == id);
    let Some(before) = layer.inputs.first().and_then(|&id| by_id(id)) else { return };
    let id = format!("layer-{number}");
    match &layer.what {
        What::Conv(_) => {
            let Some(at) = of.layers.iter().position(|other| other.id == layer.id) else { return };
            page.section(&id, "Convolution: filters slide over the image", sections::convolution(of, at));
        }
        What::Norm { activation, .. } if layer.image().is_some() => {
            let heading = match activation {
                Some(activation) => format!("Normalisation and {}", activation.name()),
                None => "Normalisation".to_owned(),
            };
            page.section(&id, &heading, sections::pointwise(before, layer, focus));
        }
        What::Activation(activation) if layer.image().is_some() => {
            let heading = match activation {
                Activation::Relu => "ReLU: what is negative becomes 0",
                Activation::Relu6 => "ReLU6: what is negative becomes 0, and what is above 6 becomes 6",
                Activation::LeakyRelu => "LeakyReLU: what is negative becomes a hundredth of itself",
                Activation::Gelu => "GELU: what is negative nearly vanishes",
                Activation::Silu => "SiLU: what is negative nearly vanishes",
                Activation::Hardswish => "Hardswish: what is below -3 becomes 0",
                Activation::Sigmoid => "Sigmoid: every number becomes one between 0 and 1",
                Activation::Hardsigmoid => "Hardsigmoid: every number becomes one from 0 to 1",
            };
            page.section(&id, heading, sections::pointwise(before, layer, focus));
        }
        What::MaxPool(pool) if pool.output.iter().product::<usize>() > 1 => {
            let focus = focus_in(focus, before);
            page.section(
                &id,
                "Max-pooling: only the largest number stays",
                pooling::max_pooling(before, layer, pool, focus),
            );
        }
        What::MaxPool(_) | What::AvgPool(_) => {
            let what = if matches!(layer.what, What::MaxPool(_)) { "largest number" } else { "mean" };
            let mut body = paragraphs(&[&format!(
                "Of each channel only the {what} is kept: {} numbers become {}. What the channel stands for was found, or was not; where, \
                 no longer matters.",
                shape(&before.dims),
                shape(&layer.dims)
            )]);
            body += &feature_maps(before, 8);
            page.section(&id, "From maps to single numbers", body);
        }
        What::Flatten => {
            let reads = of.layers.iter().find(|other| other.inputs.first() == Some(&layer.id));
            let weight = reads.map(|reads| format!("{}.weight", reads.path));
            let weight = weight.filter(|weight| of.from_images.contains(weight));
            page.section(&id, "Flatten: one long row", dense::flatten(before, layer, weight.as_deref()));
        }
        What::Linear { weight, bias } => {
            let after = of
                .layers
                .iter()
                .find(|other| other.inputs.first() == Some(&layer.id) && matches!(other.what, What::Activation(_)));
            let is_last = of
                .layers
                .iter()
                .any(|other| other.inputs.first() == Some(&layer.id) && matches!(other.what, What::Softmax));
            if is_last {
                page.section(
                    &id,
                    "The last layer: a number for each class",
                    dense::logits(of, before, weight, bias.as_deref()),
                );
            } else {
                let heading = format!("Dense layer: {} sums over everything", layer.values.len());
                let flattened =
                    before.inputs.first().and_then(|&id| by_id(id)).filter(|_| matches!(before.what, What::Flatten));
                let places = flattened.and_then(Layer::image);
                let body = dense::hidden(before, layer, after.unwrap_or(layer), weight, bias.as_deref(), places);
                page.section(&id, &heading, body);
            }
        }
        _ => {}
    }
}

/// The same channel and place of other maps, as far as they go.
fn focus_in(focus: Focus, layer: &Layer) -> Focus {
    let [h, w, c] = layer.image().unwrap_or([1, 1, 1]);
    Focus { row: focus.row.min(h - 1), column: focus.column.min(w - 1), channel: focus.channel.min(c - 1) }
}

/// Filters of a network that are shown beside another's.
const FILTERS: usize = 32;

/// What two networks say of the image, side by side.
fn beside(of: &Explanation, other: &Explanation) -> String {
    let mut out = paragraphs(&[&format!(
        "The same image, seen by <bdi>{}</bdi> (left, or first) and by <bdi>{}</bdi>. The rest of the page is about the first.",
        escape(&of.name),
        escape(&other.name)
    )]);
    out += "<div class=\"beside\">\n";
    for one in [of, other] {
        let [h, w, c] = one.info.image;
        out += &format!(
            "<article>\n<h3><bdi>{}</bdi></h3>\n<p class=\"note\">{} weights, images of {h} \u{d7} {w} \u{d7} {c}</p>\n",
            escape(&one.name),
            grouped(one.parameters)
        );
        out += &answers(one);
        out += &filters(one);
        if !one.class_maps.is_empty() {
            out += "<h4>Grad-CAM</h4>\n";
            out += &places::class_maps(one);
        }
        out += "<h4>Occlusion</h4>\n<div class=\"row\">\n";
        out += &places::occlusion(one);
        out += "</div>\n</article>\n";
    }
    out + "</div>\n"
}

/// The first filters with what they make of the image.
fn filters(of: &Explanation) -> String {
    let Some(at) = first_convolution(&of.layers) else { return String::new() };
    let (layer, What::Conv(conv)) = (&of.layers[at], &of.layers[at].what) else { return String::new() };
    let [kh, kw, channels, filters] = conv.spec.weight_shape();
    let most = largest(&conv.weight);
    let mut out =
        "<h4>First filters, and what they make of the image</h4>\n<div class=\"tiles plain small\">\n".to_owned();
    for k in 0..filters.min(FILTERS) {
        let filter = Picture::of_filter(&channel(&conv.weight, filters, k), [kh, kw, channels], most).img(40, "");
        let map = channel(&layer.values, filters, k);
        let map = Picture::of_map(&map, conv.spec.output, Colours::Signed, largest(&map)).img(40, "");
        out += &figure(&(filter + &map), &format!("{k}"));
    }
    out + "</div>\n"
}
