//! Charts: lines over epochs, and how far confidence can be trusted. They are drawn in the page's own colours.

use std::fmt::Write;

use crate::html::escape;

/// A line of a chart: what it is called and a value for each place of the horizontal axis, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 34.0;

/// A chart of lines. What is not finite is left out. `share` for values from 0 to 1 that are written in per cent.
pub(crate) fn lines(title: &str, across: &str, lines: &[Line], share: bool) -> String {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    if points().next().is_none() {
        return String::new();
    }
    let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (left, right) = range(&|point| point.0);
    let (least, most) = range(&|point| point.1);
    // A chart whose values are near 0 begins there; one of accuracies near 1 shows their differences.
    let low = if least < 0.5 * most { least.min(0.0) } else { least - 0.1 * (most - least) };
    let high = if most > low { most + 0.05 * (most - low) } else { low + 1.0 };
    let x = |value: f64| {
        let part = if right > left { (value - left) / (right - left) } else { 0.5 };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut out = open(&format!("{title}, {across}: {}", told(lines, share)));
    let _ = writeln!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"16\">{}</text>", escape(title));
    for value in ticks(low, high) {
        let (at, text) = (y(value), if share { percents(value) } else { short(value) });
        let _ = writeln!(
            out,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for value in ticks(left, right).into_iter().filter(|value| value.fract() == 0.0) {
        let _ = writeln!(
            out,
            "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(value),
            HEIGHT - 18.0,
            short(value)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"tick middle\" x=\"{:.1}\" y=\"{}\">{}</text>",
        (LEFT + WIDTH) / 2.0,
        HEIGHT - 4.0,
        escape(across)
    );
    for (index, line) in lines.iter().enumerate() {
        let drawn: Vec<String> = (line.points.iter())
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|&(place, value)| format!("{:.1},{:.1}", x(place), y(value)))
            .collect();
        let class = index % COLOURS;
        match &drawn[..] {
            [one] => {
                let (x, y) = one.split_once(',').unwrap_or_default();
                let _ = writeln!(out, "<circle class=\"fill{class}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>");
            }
            some => {
                let _ = writeln!(out, "<polyline class=\"line{class}\" points=\"{}\"/>", some.join(" "));
            }
        }
    }
    out + "</svg>\n" + &legend(lines)
}

/// Colours of lines that the style knows.
const COLOURS: usize = 6;

fn open(label: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(label))
}

/// The lines' names with their colours, where there are several.
fn legend(lines: &[Line]) -> String {
    if lines.len() < 2 {
        return String::new();
    }
    let entry = |(i, line): (usize, &Line)| {
        format!(
            "<li><span class=\"key key{}\" aria-hidden=\"true\"></span><bdi>{}</bdi></li>",
            i % COLOURS,
            escape(&line.name)
        )
    };
    format!("<ul class=\"legend\">{}</ul>\n", lines.iter().enumerate().map(entry).collect::<String>())
}

/// Where each line begins and ends, for who hears the chart.
fn told(lines: &[Line], share: bool) -> String {
    let value = |v: f64| if share { percents(v) } else { short(v) };
    let one = |line: &Line| match (line.points.first(), line.points.last()) {
        (Some(first), Some(last)) => format!("{} from {} to {}", line.name, value(first.1), value(last.1)),
        _ => String::new(),
    };
    lines.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Round numbers from `low` to `high`: about five.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let step = (high - low) / 5.0;
    if step.is_nan() || step <= 0.0 || !step.is_finite() {
        return vec![low];
    }
    let power = 10f64.powf(step.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|&round| round >= step).unwrap_or(step);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|&value| value <= high + 1e-9 * step).collect()
}

/// A number in few digits.
pub(crate) fn short(value: f64) -> String {
    let text = if value != 0.0 && !(0.001..1e6).contains(&value.abs()) {
        format!("{value:.1e}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('e') || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn percents(value: f64) -> String {
    format!("{}%", short((1e4 * value).round() / 1e2))
}

/// A group of predictions of about the same confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bin {
    pub(crate) count: usize,
    /// Means over the group.
    pub(crate) confidence: f64,
    pub(crate) accuracy: f64,
}

/// How often predictions of each confidence are right; on the diagonal they are as often as they say.
pub(crate) fn reliability(bins: &[Bin]) -> String {
    let (x, y) = (
        |part: f64| LEFT + part * (WIDTH - LEFT - RIGHT),
        |part: f64| HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM),
    );
    let told: Vec<String> = (bins.iter().filter(|bin| bin.count > 0))
        .map(|bin| {
            format!(
                "of {} with confidence {} {} are right",
                bin.count,
                percents(bin.confidence),
                percents(bin.accuracy)
            )
        })
        .collect();
    let mut out = open(&format!("Reliability: {}", told.join("; ")));
    let _ = writeln!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"16\">How often it is right, by confidence</text>");
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(
            out,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>\
             <text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(part) + 4.0,
            x(part),
            HEIGHT - 18.0,
            at = y(part),
            text = percents(part)
        );
    }
    let width = (WIDTH - LEFT - RIGHT) / bins.len() as f64;
    for (i, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        let (left, top) = (LEFT + i as f64 * width, y(bin.accuracy));
        let _ = writeln!(
            out,
            "<rect class=\"fill0\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            left + 1.0,
            width - 2.0,
            y(0.0) - top
        );
    }
    let _ = writeln!(
        out,
        "<line class=\"line1 dashed\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    let _ = writeln!(
        out,
        "<text class=\"tick middle\" x=\"{:.1}\" y=\"{}\">confidence</text>",
        (LEFT + WIDTH) / 2.0,
        HEIGHT - 4.0
    );
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(0.0, 1.0).len(), 6);
        assert_eq!(ticks(1.0, 10.0), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 3.0), [3.0]);
        assert_eq!([0.0, 0.25, 1.0, 1234.0, 1.5e-5].map(short), ["0", "0.25", "1", "1234", "1.5e-5"]);
    }

    #[test]
    fn a_chart_survives_what_is_not_a_number() {
        let line = |points: &[(f64, f64)]| Line { name: "<b>".to_owned(), points: points.to_vec() };
        assert_eq!(lines("loss", "epoch", &[line(&[(1.0, f64::NAN)])], false), "");
        let chart = lines("loss", "epoch", &[line(&[(1.0, 2.0), (2.0, f64::INFINITY)]), line(&[(1.0, 2.0)])], false);
        assert!(!chart.contains("NaN") && !chart.contains("inf,") && !chart.contains("<b>"), "{chart}");
    }
}
