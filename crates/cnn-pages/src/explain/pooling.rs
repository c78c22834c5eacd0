//! Max-pooling: which number each window takes.

use std::fmt::Write;

use cnn_core::Pool2dSpec;

use super::layers::{Layer, shape};
use super::sections::Focus;
use crate::html::{figure, number, paragraphs};
use crate::picture::{Colours, Picture, channel, largest};

/// Rows and columns of numbers that are shown of a pooling.
const WINDOW: usize = 8;

/// Max-pooling: of each window the largest number.
pub(crate) fn max_pooling(before: &Layer, after: &Layer, pool: &Pool2dSpec, focus: Focus) -> String {
    let ([h, w, c], [oh, ow]) = (before.image().unwrap_or([1, 1, 1]), pool.output);
    let [rows, columns] = pool.window;
    let map = channel(&before.values, c, focus.channel);
    let pooled = channel(&after.values, c, focus.channel);
    let chosen = chosen(&map, pool);
    let mut out = paragraphs(&[&format!(
        "Each window of {rows} \u{d7} {columns} numbers is replaced by its largest one. {} become {}: less to compute, and it matters less \
         where exactly in the window something was found. The other numbers are lost; on the way back, only the chosen places \
         hear of the error.",
        shape(&before.dims),
        shape(&after.dims)
    )]);
    let most = largest(&map);
    let kept = Picture::of_map(&map, [h, w], Colours::Signed, most).dimmed(|i| chosen.contains(&i));
    out += "<div class=\"row\">\n";
    out += &figure(
        &Picture::of_map(&map, [h, w], Colours::Signed, most).img(220, "Before pooling"),
        &format!("channel {}: {h} \u{d7} {w}", focus.channel),
    );
    out += &figure(&kept.img(220, "The chosen places"), "the chosen places; the others are grey");
    out += &figure(
        &Picture::of_map(&pooled, [oh, ow], Colours::Signed, most).img(220, "After pooling"),
        &format!("the result: {oh} \u{d7} {ow}"),
    );
    out += "</div>\n";

    // The numbers around the place that is looked at.
    let [down, right] = pool.stride;
    let corner = |place: usize, stride: usize, count: usize| {
        let windows = (WINDOW / stride.max(1)).clamp(1, count);
        let first = (place / stride.max(1)).saturating_sub(windows / 2).min(count - windows);
        first..first + windows
    };
    let (up, across) = (corner(focus.row, down, oh), corner(focus.column, right, ow));
    let span = |axis: usize, range: &std::ops::Range<usize>| {
        pool.span(axis, range.start).0.start..pool.span(axis, range.end - 1).0.end
    };
    let (ys, xs) = (span(0, &up), span(1, &across));
    let _ = write!(
        out,
        "<div class=\"row\">\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Numbers before pooling\"><table class=\"numbers windows\">\
         <caption>Rows {} to {}, columns {} to {} before; the chosen numbers are framed</caption>\n",
        ys.start,
        ys.end - 1,
        xs.start,
        xs.end - 1
    );
    for y in ys {
        out += "<tr>";
        for x in xs.clone() {
            let at = y * w + x;
            let text = number(map[at].into(), 2);
            out += &if chosen.contains(&at) {
                format!("<td class=\"chosen\"><b>{text}</b></td>")
            } else {
                format!("<td>{text}</td>")
            };
        }
        out += "</tr>\n";
    }
    out += "</table></div>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Numbers after pooling\"><table class=\"numbers\"><caption>The same after pooling</caption>\n";
    for y in up {
        out += "<tr>";
        across.clone().for_each(|x| out += &format!("<td>{}</td>", number(pooled[y * ow + x].into(), 2)));
        out += "</tr>\n";
    }
    out + "</table></div>\n</div>\n"
}

/// Places of a channel that some window takes.
fn chosen(map: &[f32], pool: &Pool2dSpec) -> std::collections::HashSet<usize> {
    let [oh, ow] = pool.output;
    (0..oh * ow).filter_map(|at| window_choice(map, pool, [at / ow, at % ow])).collect()
}

/// The place of a channel that the window at this place of the output takes; of equal ones the first.
pub(crate) fn window_choice(map: &[f32], pool: &Pool2dSpec, [y, x]: [usize; 2]) -> Option<usize> {
    let w = pool.input[1];
    let places = pool.span(0, y).0.flat_map(|row| pool.span(1, x).0.map(move |column| row * w + column));
    places.reduce(|best, at| if map[at] > map[best] { at } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn_core::Pool2dOptions;

    #[test]
    fn pooling_takes_the_first_of_equal_numbers() {
        let pool = Pool2dSpec::new([1, 2, 4, 1], &Pool2dOptions::square(2)).unwrap();
        let chosen = chosen(&[1.0, 2.0, 5.0, 5.0, 0.0, 2.0, 5.0, 1.0], &pool);
        assert_eq!(chosen, [1, 2].into());
    }
}
