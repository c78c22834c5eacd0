//! The first layers, number by number: the image, the convolution that reads it, what follows each of its sums.

use std::fmt::Write;

use cnn_core::backend::Activation;
use cnn_data::Fit;
use serde_json::json;

use super::Explanation;
use super::layers::{Conv, Layer, What, shape};
use crate::html::{data, figure, grouped, number, paragraphs, percent};
use crate::picture::{Colours, Picture, base64, base64_f32, channel, largest, luminance};

/// Which convolution reads the image, if the network begins with one.
pub(crate) fn first_convolution(layers: &[Layer]) -> Option<usize> {
    layers.iter().position(|layer| matches!(&layer.what, What::Conv(conv) if !conv.weight.is_empty()))
}

/// A place of the first convolution's output that is looked at closely: where a filter answers most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Focus {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) channel: usize,
}

impl Focus {
    pub(crate) fn of(layer: &Layer) -> Focus {
        let [_, w, c] = layer.image().unwrap_or([1, 1, 1]);
        let better = |best: usize, i: usize| if layer.values[i] > layer.values[best] { i } else { best };
        let at = (0..layer.values.len()).fold(0, better);
        Focus { row: at / (w * c), column: at / c % w, channel: at % c }
    }
}

/// Number `at` of an image by its row, column and channel.
pub(crate) fn place(layer: &Layer, at: usize) -> String {
    let [_, w, c] = layer.image().unwrap_or([1, 1, 1]);
    format!("row {}, column {}, channel {}", at / (w * c), at / c % w, at % c)
}

/// What one colour channel of an image is called.
pub(crate) fn colour(channels: usize, channel: usize) -> &'static str {
    match (channels, channel) {
        (3, 0) => "red",
        (3, 1) => "green",
        (3, 2) => "blue",
        _ => "grey",
    }
}

/// The most pixels across of an image that is written out as a whole.
const WRITTEN: usize = 64;

/// From a picture to the array that enters.
pub(crate) fn input(of: &Explanation) -> String {
    let [h, w, c] = of.info.image;
    let own = Picture::of_bytes(&of.bytes, of.info.image);
    let brought = match of.info.preprocess.fit {
        Fit::Crop => "cut to the network's proportions and resized",
        Fit::Pad => "put on black of the network's proportions and resized",
        Fit::Squash => "resized, whatever its proportions,",
    };
    let mut out = paragraphs(&[&format!(
        "A network reads numbers. The picture is {brought} to {h} \u{d7} {w} pixels; each pixel is \
         {} from 0 to 255. That makes an array of {h} \u{d7} {w} \u{d7} {c} = <strong>{}</strong> numbers, and this is all that \
         the network ever sees.",
        if c == 3 { "three numbers, red, green and blue," } else { "one number" },
        grouped(h * w * c)
    )]);
    out += "<div class=\"row\">\n";
    out += &figure(&of.shown.photo(240, "The picture"), "the picture");
    out += &figure(&own.img(240, &format!("The picture at {h} by {w} pixels")), "what the network is given");
    out += "</div>\n<div class=\"row\">\n";
    for k in 0..if c == 3 { 3 } else { 0 } {
        let bytes: Vec<u8> = of.bytes.iter().skip(k).step_by(c).copied().collect();
        let name = colour(c, k);
        let alt = format!("The {name} numbers as brightness");
        out += &figure(&Picture::of_bytes(&bytes, [h, w, 1]).img(150, &alt), &format!("{name}: {h} \u{d7} {w}"));
    }
    out += "</div>\n";
    let (mean, std) = (&of.info.mean, &of.info.std);
    let [row, column] = [h / 2, w / 2];
    let at = (row * w + column) * c;
    let read = of.layers.first().map_or(0.0, |layer| layer.values[at]);
    out += &paragraphs(&[&format!(
        "Before they enter, the numbers are shifted and scaled so that each colour has mean 0 and spread 1 over the training \
         images. The pixel in the middle, for example, has {} {}: ({} / 255 \u{2212} {}) / {} = <strong>{}</strong>.",
        colour(c, 0),
        of.bytes[at],
        of.bytes[at],
        number(mean[0].into(), 3),
        number(std[0].into(), 3),
        number(read.into(), 3)
    )]);
    let (rows, columns) = (h.min(WRITTEN), w.min(WRITTEN));
    let what = if rows < h || columns < w {
        format!("Its first {rows} \u{d7} {columns} pixels in numbers")
    } else {
        "The whole array in numbers".to_owned()
    };
    let _ = writeln!(out, "<details><summary>{what}</summary>");
    for k in 0..c {
        let name = colour(c, k);
        let _ = writeln!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The {name} numbers\"><table class=\"array\">\
             <caption>{name}</caption>"
        );
        for y in 0..rows {
            out += "<tr>";
            (0..columns).for_each(|x| out += &format!("<td>{}", of.bytes[(y * w + x) * c + k]));
            out += "\n";
        }
        out += "</table></div>\n";
    }
    out + "</details>\n"
}

/// One product of an output's sum.
struct Tap {
    /// Of the input; outside of it there are zeros.
    inside: bool,
    channel: usize,
    x: f32,
    weight: f32,
}

impl Conv {
    /// Which number of the image weight `tap` of a filter lies on for the output at this place; none outside of the image.
    /// `tap` counts rows, columns and channels of the filter.
    pub(crate) fn below(&self, row: usize, column: usize, filter: usize, tap: usize) -> Option<usize> {
        let [_, kw, channels, filters] = self.spec.weight_shape();
        let [_, h, w, c] = self.spec.input_shape();
        let (dy, dx, channel) = (tap / (kw * channels), tap / channels % kw, tap % channels);
        let y = (row * self.spec.stride[0] + dy * self.spec.dilation[0]).checked_sub(self.spec.padding.top)?;
        let x = (column * self.spec.stride[1] + dx * self.spec.dilation[1]).checked_sub(self.spec.padding.left)?;
        let first = filter / (filters / self.spec.groups) * channels;
        (y < h && x < w).then_some((y * w + x) * c + first + channel)
    }
}

/// The products that the output at `focus` is the sum of, by rows, columns and channels of the filter.
fn taps(conv: &Conv, input: &[f32], focus: Focus) -> Vec<Tap> {
    let [kh, kw, channels, filters] = conv.spec.weight_shape();
    let first = focus.channel / (filters / conv.spec.groups) * channels;
    let tap = |i: usize| {
        let at = conv.below(focus.row, focus.column, focus.channel, i);
        let weight = conv.weight[i * filters + focus.channel];
        Tap { inside: at.is_some(), channel: first + i % channels, x: at.map_or(0.0, |at| input[at]), weight }
    };
    (0..kh * kw * channels).map(tap).collect()
}

/// What a bias is, where one is first met.
pub(crate) const BIAS: &str =
    "The bias is one more learned number that is added to every sum, whatever the layer is given.";

/// At how many places the filter fits, and why.
fn places(conv: &Conv) -> String {
    let [_, h, w, _] = conv.spec.input_shape();
    let ([kh, kw], [oh, ow], [down, right]) = (conv.spec.kernel, conv.spec.output, conv.spec.stride);
    let padding = conv.spec.padding;
    let around = padding.top + padding.bottom + padding.left + padding.right;
    let edges = if around == 0 {
        format!(
            "A window of {kh} \u{d7} {kw} stays inside of the image (there is no <strong>padding</strong>), so it cannot be centred on \
             the outermost pixels"
        )
    } else {
        format!(
            "<strong>Padding</strong> puts zeros around the image ({} above, {} below, {} left, {} right), so that the window can be \
             centred on pixels at the edge, too",
            padding.top, padding.bottom, padding.left, padding.right
        )
    };
    let steps = if down * right > 1 {
        format!(", and it moves by {down} rows and {right} columns at a time")
    } else {
        String::new()
    };
    format!(
        "{edges}{steps}: {h} \u{d7} {w} pixels become {oh} \u{d7} {ow} numbers of each filter. Rows, columns, channels and filters are \
         counted from 0 on this page."
    )
}

/// Most filters that are shown.
const FILTERS: usize = 64;

/// The convolution that reads the image.
pub(crate) fn convolution(of: &Explanation, at: usize) -> String {
    let (layer, What::Conv(conv)) = (&of.layers[at], &of.layers[at].what) else { return String::new() };
    let [kh, kw, channels, filters] = conv.spec.weight_shape();
    let [oh, ow] = conv.spec.output;
    let (count, focus) = (kh * kw * channels, Focus::of(layer));
    let mut out = paragraphs(&[
        &format!(
            "A filter is a small window of {kh} \u{d7} {kw} pixels that slides over the image. At every place it multiplies \
             the {count} numbers below it by its own {count} weights and adds up the products: one number, large where the image \
             looks like the filter. This layer has <strong>{filters} filters</strong>, so its output is {} numbers.",
            shape(&layer.dims)
        ),
        &if conv.bias.is_some() { format!("{} {BIAS}", places(conv)) } else { places(conv) },
        "The weights were not written by anybody: training found them. Below, each filter is shown as a little picture (grey is a weight \
         of 0, brighter is positive, for each colour by itself) beside what it makes of this image: orange is positive, blue \
         negative, each scaled by its own largest number. Choose one to look at it closely.",
    ]);
    let most = largest(&conv.weight);
    out += "<div class=\"tiles\" role=\"group\" aria-label=\"Filters and what they make of the image\">\n";
    for k in 0..filters.min(FILTERS) {
        let weights = channel(&conv.weight, filters, k);
        let filter = Picture::of_filter(&weights, [kh, kw, channels], most);
        let map = channel(&layer.values, filters, k);
        let map = Picture::of_map(&map, [oh, ow], Colours::Signed, largest(&map));
        let _ = writeln!(
            out,
            "<button type=\"button\" class=\"tile\" data-filter=\"{k}\" aria-pressed=\"{}\">{}{}<span>filter {k}</span></button>",
            k == focus.channel,
            filter.img(46, ""),
            map.img(46, "")
        );
    }
    out += "</div>\n";
    if filters > FILTERS {
        out += &format!("<p class=\"note\">The first {FILTERS} of {filters} filters.</p>\n");
    }
    out += "<h3>One number of the output, spelt out</h3>\n";
    out += &paragraphs(&[
        "Point at the right picture, or move with the sliders or the arrow keys: the frame on the left shows which pixels that \
         number comes from, and below is its sum.",
    ]);
    out + &explorer(of, conv, layer, focus)
}

/// The image beside a filter's output, to be pointed at.
fn explorer(of: &Explanation, conv: &Conv, layer: &Layer, focus: Focus) -> String {
    let [oh, ow] = conv.spec.output;
    let [h, w, c] = of.info.image;
    let filters = conv.spec.out_channels;
    let input = &of.layers[0].values;
    let map = channel(&layer.values, filters, focus.channel);
    let map = Picture::of_map(&map, [oh, ow], Colours::Signed, largest(&map));
    let own = Picture::of_bytes(&of.bytes, of.info.image);
    let slider = |id: &str, name: &str, most: usize, value: usize| {
        format!("<label>{name} <input type=\"range\" id=\"{id}\" min=\"0\" max=\"{most}\" value=\"{value}\"></label>\n")
    };
    let mut out =
        "<div class=\"explorer\" id=\"explorer\">\n<div class=\"controls\">\n<label>Filter <select id=\"x-filter\">"
            .to_owned();
    for k in 0..filters {
        let selected = if k == focus.channel { " selected" } else { "" };
        let _ = write!(out, "<option value=\"{k}\"{selected}>{k}</option>");
    }
    out += "</select></label>\n";
    out += &slider("x-row", "Row", oh - 1, focus.row);
    out += &slider("x-column", "Column", ow - 1, focus.column);
    out += "</div>\n<div class=\"row\">\n";
    let stack = |picture: &Picture, alt: &str, canvas: &str| {
        format!("<div class=\"stack\">{}{canvas}</div>", picture.img(300, alt))
    };
    let input_canvas = "<canvas id=\"x-input\" aria-hidden=\"true\"></canvas>";
    let map_canvas = "<canvas id=\"x-map\" tabindex=\"0\" role=\"application\" aria-describedby=\"x-sum\" \
                      aria-label=\"The filter's output: arrow keys move to another number\"></canvas>";
    out += &figure(
        &stack(&own, "What the network is given", input_canvas),
        "the image: the frame is what the filter sees",
    );
    let caption =
        format!("the output of filter <span id=\"x-name\">{}</span>: {oh} \u{d7} {ow} numbers", focus.channel);
    out += &figure(&stack(&map, "What the filter makes of it", map_canvas), &caption);
    out += "</div>\n";

    let taps = taps(conv, input, focus);
    out += &grids(&taps, conv, c);
    let bias = conv.bias.as_ref().map_or(0.0, |bias| f64::from(bias[focus.channel]));
    let by_channel: Vec<f64> = (0..c)
        .map(|k| taps.iter().filter(|tap| tap.channel == k).map(|tap| f64::from(tap.x) * f64::from(tap.weight)).sum())
        .collect();
    let sums: Vec<String> = (by_channel.iter().enumerate())
        .map(|(k, sum)| format!("{} <span data-sum=\"{k}\">{}</span>", colour(c, k), number(*sum, 4)))
        .collect();
    let computed = layer.values[(focus.row * ow + focus.column) * filters + focus.channel];
    let _ = writeln!(
        out,
        "<p id=\"x-sum\" class=\"result\" aria-live=\"polite\">Row <span data-at=\"row\">{}</span>, column \
         <span data-at=\"column\">{}</span>: {}{} = <strong data-total>{}</strong></p>",
        focus.row,
        focus.column,
        sums.join(" + "),
        if conv.bias.is_some() { format!(" + bias <span data-bias>{}</span>", number(bias, 4)) } else { String::new() },
        number(by_channel.iter().sum::<f64>() + bias, 4)
    );
    let term = |tap: &Tap| format!("{} \u{d7} {}", number(tap.x.into(), 3), number(tap.weight.into(), 3));
    let terms: Vec<String> = taps.iter().map(term).collect();
    let _ = writeln!(
        out,
        "<details><summary>All {} products in one line</summary><p class=\"numbers\" id=\"x-terms\">{}</p></details>\n\
         <p class=\"note\">For row {}, column {} and filter {} the network itself computed <span id=\"x-network\">{}</span>.</p>\n</div>",
        taps.len(),
        terms.join(" + "),
        focus.row,
        focus.column,
        focus.channel,
        number(computed.into(), 4)
    );
    let spec = &conv.spec;
    out + &data(
        "x-data",
        &json!({
            "image": [h, w, c],
            "bytes": base64(&of.bytes),
            "mean": of.info.mean,
            "std": of.info.std,
            "kernel": spec.kernel,
            "stride": spec.stride,
            "dilation": spec.dilation,
            "padding": [spec.padding.top, spec.padding.left],
            "groups": spec.groups,
            "filters": filters,
            "output": spec.output,
            "weight": base64_f32(&conv.weight),
            "bias": conv.bias.as_ref().map(|bias| base64_f32(bias)),
            "palette": base64(&Colours::Signed.palette()),
        }),
    )
}

/// For each colour, the pixels below the filter, its weights, and their products. A picture of the sum, which is told in words
/// below it.
fn grids(taps: &[Tap], conv: &Conv, channels: usize) -> String {
    let [_, kw] = conv.spec.kernel;
    let (most_x, most_w) = taps.iter().fold((0.0f32, 0.0f32), |(x, w), t| (x.max(t.x.abs()), w.max(t.weight.abs())));
    let mut out =
        "<div class=\"scroll grids\" tabindex=\"0\" role=\"region\" aria-label=\"The products as a picture\">\n"
            .to_owned();
    let tight = if kw > 5 { " tight" } else { "" };
    let used: Vec<usize> = (0..channels).filter(|&k| taps.iter().any(|tap| tap.channel == k)).collect();
    for k in used {
        let cells = |kind: &str, value: &dyn Fn(&Tap) -> f32, most: f32| {
            let mut grid = format!("<div class=\"grid{tight}\" style=\"grid-template-columns:repeat({kw},auto)\">");
            for (i, tap) in taps.iter().enumerate().filter(|(_, tap)| tap.channel == k) {
                let colour @ [r, g, b] = Colours::Signed.of(value(tap), most);
                let light = if luminance(colour) < 0.179 { "light" } else { "" };
                let outside = if tap.inside { "" } else { " outside" };
                let _ = write!(
                    grid,
                    "<span data-{kind}=\"{i}\" class=\"{light}{outside}\" style=\"background:rgb({r},{g},{b})\">{}</span>",
                    number(value(tap).into(), 2)
                );
            }
            grid + "</div>"
        };
        let _ = writeln!(
            out,
            "<div class=\"product\" aria-hidden=\"true\"><span class=\"name\">{}</span>{}<span>\u{d7}</span>{}<span>=</span>{}</div>",
            colour(channels, k),
            cells("x", &|tap| tap.x, most_x),
            cells("w", &|tap| tap.weight, most_w),
            cells("p", &|tap| tap.x * tap.weight, most_x * most_w)
        );
    }
    out + "</div>\n"
}

/// What an activation does to a number, as the rest of a sentence.
fn curve(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "replaces every negative number by 0 and leaves the others as they are",
        Activation::Relu6 => {
            "replaces every negative number by 0 and every number above 6 by 6, and leaves the others as they are"
        }
        Activation::LeakyRelu => {
            "leaves positive numbers as they are and divides negative ones by 100, so that a little of them still comes through"
        }
        Activation::Gelu => {
            "leaves large numbers as they are and takes negative ones nearly to 0, by a smooth bend: x \u{d7} the part of a bell \
             curve that lies below x"
        }
        Activation::Silu => {
            "leaves large numbers as they are and takes negative ones nearly to 0, by a smooth bend: x \u{d7} sigmoid(x), a part \
             that grows with x from 0 to 1"
        }
        Activation::Hardswish => {
            "is 0 up to -3 and x itself from 3 on; between them it is x \u{d7} (x + 3) / 6, a bend that is cheap to compute"
        }
        Activation::Sigmoid => {
            "presses every number between 0 and 1 along an S: 1 / (1 + exp(-x)), which makes a part of it"
        }
        Activation::Hardsigmoid => {
            "is 0 up to -3, 1 from 3 on and a straight line between them, (x + 3) / 6: a sigmoid that is cheap to compute"
        }
    }
}

/// What becomes of each number by itself: ReLU, GELU, a normalisation.
pub(crate) fn pointwise(before: &Layer, after: &Layer, focus: Focus) -> String {
    let [h, w, c] = after.image().unwrap_or([1, after.values.len(), 1]);
    let mut out = String::new();
    let (normalises, adds, activation) = match &after.what {
        What::Norm { add, activation } => (true, *add, *activation),
        What::Activation(activation) => (false, false, Some(*activation)),
        _ => (false, false, None),
    };
    if normalises {
        out += "<p>Batch normalisation shifts and scales each channel by what training measured and learned, so that no channel is \
                much louder than the others.</p>\n";
    }
    if adds {
        out += "<p>Then the shortcut is added: what entered the block goes past it unchanged.</p>\n";
    }
    let negative = before.values.iter().filter(|value| **value < 0.0).count();
    let zero = after.values.iter().filter(|value| **value == 0.0).count();
    let part = |count: usize| percent(count as f64 / after.values.len().max(1) as f64);
    match activation {
        Some(Activation::Relu) => {
            if normalises {
                out += "<p>";
            } else {
                let _ = write!(
                    out,
                    "<p>Of its {} numbers, {} are negative. ",
                    grouped(before.values.len()),
                    grouped(negative)
                );
            }
            let _ = writeln!(
                out,
                "ReLU replaces every negative number by 0 and leaves the others as they are: max(x, 0). Now <strong>{}</strong> of \
                 {} numbers ({}) are 0: the filter found nothing there. Without such a bend in it, any number of layers could \
                 do no more than one.</p>",
                grouped(zero),
                grouped(after.values.len()),
                part(zero)
            );
        }
        Some(other) => {
            let _ = writeln!(
                out,
                "<p>{} {}. Without such a bend in it, any number of layers could do no more than one.</p>",
                other.name(),
                curve(other)
            );
        }
        None => {}
    }
    let silent = (0..c).filter(|&k| after.values.iter().skip(k).step_by(c).all(|&value| value == 0.0)).count();
    if silent > 0 {
        let are = if silent == 1 { "is" } else { "are" };
        out += &format!("<p>{silent} of {c} channels {are} 0 everywhere in this image.</p>\n");
    }
    let (was, is) = (channel(&before.values, c, focus.channel), channel(&after.values, c, focus.channel));
    // What was scaled anew is not to be compared in size.
    let together = largest(&was).max(largest(&is));
    let [before, after] = if normalises { [largest(&was), largest(&is)] } else { [together; 2] };
    let by_itself = if normalises { ", each scaled by its own largest number" } else { "" };
    out += "<div class=\"row\">\n";
    out += &figure(
        &Picture::of_map(&was, [h, w], Colours::Signed, before).img(240, "Before"),
        &format!("channel {} before", focus.channel),
    );
    let caption = format!("and after{by_itself}");
    out += &figure(&Picture::of_map(&is, [h, w], Colours::Signed, after).img(240, "After"), &caption);
    out + "</div>\n"
}
