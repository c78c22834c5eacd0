//! The page: probabilities as lines, where the network looked, and the first filters, epoch by epoch.

use std::fmt::Write;

use super::{Followed, Grid, Timeline, largest_at};
use crate::explain::regions::Map;
use crate::html::{Page, counted, escape, figure, number, paragraphs, percent, table};
use crate::picture::{Colours, Picture, channel, largest};
use crate::svg::{Line, lines};

/// Classes that have a line.
const LINES: usize = 6;
/// Pixels of the longer side of a picture with a map over it.
const LOOKED: usize = 128;
/// CSS pixels of a picture in a strip, unless the style makes it narrower or wider.
const TILE: usize = 72;

impl Timeline {
    /// One file that needs nothing else; `run` is what it calls the network.
    pub(super) fn page(&self, run: &str) -> String {
        let what = match &self.followed[..] {
            [one] => one.name.clone(),
            several => format!("{} images", several.len()),
        };
        let [h, w, c] = self.image;
        let last = self.followed.iter().filter_map(|followed| followed.answers.keys().last()).max().copied();
        let lead = format!(
            "<p class=\"lead\">A network that tells {} apart by images of {h} \u{d7} {w} \u{d7} {c} numbers, and what it made of {} before \
             its first step of training and as it was trained, for {} so far. Looking changed nothing in it.</p>",
            counted(self.classes.len(), "class", "classes"),
            if self.followed.len() == 1 { "this image" } else { "these images" },
            counted(last.unwrap_or(0) as usize, "epoch", "epochs"),
        );
        let mut page = Page::new(&format!("How {run} learned to see {what}"), lead);
        for (i, followed) in self.followed.iter().enumerate() {
            page.section(&format!("image-{}", i + 1), &followed.name, self.answers(followed));
        }
        if let Some(body) = self.filters() {
            page.section("filters", "The first filters", body);
        }
        page.render()
    }

    fn class(&self, answer: &[f32]) -> String {
        let found = largest_at(answer);
        format!("<bdi>{}</bdi>", escape(self.classes.get(found).map_or("", String::as_str)))
    }

    /// What became of the answer for one image.
    fn answers(&self, followed: &Followed) -> String {
        let Followed { name, shown, answers, .. } = followed;
        let (Some((&begin, first)), Some((&end, last))) = (answers.first_key_value(), answers.last_key_value()) else {
            return "<p>Nothing is recorded yet.</p>\n".to_owned();
        };
        let sure = |answer: &[f32]| percent(answer[largest_at(answer)].into());
        let mut told = format!("{} it was taken for {} ({}).", when(begin), self.class(first), sure(first));
        if end > begin {
            let _ = write!(told, " {}: {} ({}).", when(end), self.class(last), sure(last));
            let found = largest_at(last);
            let since = answers.iter().rev().take_while(|(_, answer)| largest_at(answer) == found).last();
            match since {
                Some((&since, _)) if since == begin => told += " The answer was the same all the time.",
                Some((&since, _)) if since < end => {
                    let _ = write!(told, " That has been its answer since epoch {since}.");
                }
                _ => told += " Only the last epoch brought it to that.",
            }
        }
        let mut out = "<div class=\"row\">\n".to_owned();
        out += &figure(&shown.photo(160, &format!("The picture {name}")), &format!("<bdi>{}</bdi>", escape(name)));
        let _ = writeln!(out, "<p class=\"beside-picture\">{told}</p>\n</div>");
        let classes = self.lines(followed);
        let line = |&class: &usize| Line {
            name: self.classes[class].clone(),
            points: answers.iter().map(|(&epoch, answer)| (f64::from(epoch), f64::from(answer[class]))).collect(),
        };
        let drawn: Vec<Line> = classes.iter().map(line).collect();
        let chart = lines("Probability", "epoch", &drawn, true);
        let _ = writeln!(out, "<div class=\"charts one\"><figure>{chart}</figure></div>");
        if classes.len() < self.classes.len() {
            let _ = writeln!(
                out,
                "<p class=\"note\">Of {} classes the {} that came to the highest probabilities.</p>",
                self.classes.len(),
                classes.len()
            );
        }
        out += &self.looked(followed);
        let names = classes.iter().map(|&class| format!("<bdi>{}</bdi>", escape(&self.classes[class])));
        let columns: Vec<String> = ["epoch".to_owned(), "answer".to_owned()].into_iter().chain(names).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let row = |(epoch, answer): (&u32, &Vec<f32>)| {
            let cells = classes.iter().map(|&class| percent(answer[class].into()));
            [epoch.to_string(), self.class(answer)].into_iter().chain(cells).collect()
        };
        let rows: Vec<Vec<String>> = answers.iter().map(row).collect();
        out += "<details><summary>Every epoch in numbers</summary>\n";
        out += &table("Probabilities", &columns, &rows);
        out + "</details>\n"
    }

    /// Classes that have a line, the most probable one of the last epoch first.
    fn lines(&self, followed: &Followed) -> Vec<usize> {
        let ever = |class: usize| followed.answers.values().map(|answer| answer[class]).fold(0.0, f32::max);
        let now = |class: usize| followed.answers.values().last().map_or(0.0, |answer| answer[class]);
        let mut classes: Vec<usize> = (0..self.classes.len()).collect();
        classes.sort_by(|&a, &b| ever(b).total_cmp(&ever(a)));
        classes.truncate(LINES);
        classes.sort_by(|&a, &b| now(b).total_cmp(&now(a)));
        classes
    }

    /// Grad-CAM of each epoch that is shown.
    fn looked(&self, followed: &Followed) -> String {
        let mut tiles = String::new();
        for (&epoch, seen) in &followed.seen {
            let (Some(Map { size, values, most }), Some(answer)) = (&seen.places, followed.answers.get(&epoch)) else {
                continue;
            };
            let class = &self.classes[largest_at(answer)];
            let alt = format!("Grad-CAM of {class}, {}", when(epoch).to_lowercase());
            let caption = format!("{epoch}: {}", self.class(answer));
            let caption = if *most > 0.0 { caption } else { caption + ", for which nothing spoke" };
            tiles += &figure(&enlarged(&followed.shown).under(values, *size).photo(TILE, &alt), &caption);
        }
        if tiles.is_empty() {
            return tiles;
        }
        format!(
            "<h3>Where it looked</h3>\n<p>Bright places spoke for the answer of that epoch (Grad-CAM); each picture is scaled by itself. \
             Below it are the epoch, 0 before the first step, and the answer.</p>\n<div class=\"tiles strip\">\n{tiles}</div>\n"
        )
    }

    /// The first filters and what they make of the images.
    fn filters(&self) -> Option<String> {
        let (begin, first) = self.filters.first_key_value()?;
        let (end, last) = self.filters.last_key_value()?;
        let [kh, kw, channels, count] = first.dims[..] else { return None };
        let mut moved: Vec<(usize, f64)> = (0..count).map(|k| (k, moved(first, last, k))).collect();
        moved.sort_by(|a, b| b.1.total_cmp(&a.1));
        let names: Vec<String> =
            self.followed.iter().map(|followed| format!("<bdi>{}</bdi>", escape(&followed.name))).collect();
        let mut out = paragraphs(&[
            &format!(
                "The network begins with a convolution: filters of {kh} \u{d7} {kw} pixels slide over the image. Of each epoch, the filter as \
                 a little picture (grey is a weight of 0, brighter is positive, for each colour by itself) and below it what it makes \
                 of {}: orange is positive, blue negative.",
                names.join(", and below that of ")
            ),
            "The number is the epoch; 0 is before the first step. Each filter, and what it makes of an image, is \
             scaled by its largest number in any epoch, so that what grows is seen to grow.",
        ]);
        let have_moved = moved.first().is_some_and(|(_, by)| *by > 0.0);
        if have_moved {
            out += "<p>The filters that moved most come first. How far one moved is told in per cent of its length before the first \
                    step, the length being the root of the sum of its squared weights: at 100% it is as far from where it began \
                    as it was from nothing there.</p>\n";
        } else if end > begin {
            let _ = writeln!(out, "<p>Until epoch {end} none of them has moved: they are not trained.</p>");
        }
        for (k, by) in moved {
            let by = match have_moved {
                true => format!(" <span class=\"note\">moved by {}% of its length</span>", number(100.0 * by, 0)),
                false => String::new(),
            };
            let weights = |grid: &Grid| channel(&grid.values, count, k);
            let most = self.filters.values().map(|grid| largest(&weights(grid))).fold(0.0, f32::max);
            let strongest = |followed: &Followed| {
                let maps = self.filters.keys().filter_map(|&epoch| followed.maps(epoch));
                maps.map(|maps| largest(&channel(&maps.values, count, k))).fold(0.0, f32::max)
            };
            let strongest: Vec<f32> = self.followed.iter().map(strongest).collect();
            let _ = writeln!(out, "<h3>Filter {k}{by}</h3>\n<div class=\"tiles strip\">");
            for (epoch, grid) in &self.filters {
                let mut content = Picture::of_filter(&weights(grid), [kh, kw, channels], most).img(TILE, "");
                for (followed, strongest) in self.followed.iter().zip(&strongest) {
                    let Some(maps) = followed.maps(*epoch) else { continue };
                    let size = [maps.dims[0], maps.dims[1]];
                    let map = channel(&maps.values, count, k);
                    content += &Picture::of_map(&map, size, Colours::Signed, *strongest).img(TILE, "");
                }
                out += &figure(&content, &epoch.to_string());
            }
            out += "</div>\n";
        }
        Some(out)
    }
}

impl Followed {
    /// What the filters made of it at an epoch.
    fn maps(&self, epoch: u32) -> Option<&Grid> {
        self.seen.get(&epoch)?.maps.as_ref()
    }
}

/// How far a filter is from where it began, in lengths that it had there.
fn moved(first: &Grid, last: &Grid, filter: usize) -> f64 {
    let count = first.dims.last().copied().unwrap_or(1);
    let [was, is] = [first, last].map(|grid| channel(&grid.values, count, filter));
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let began = length(&mut was.iter().copied());
    let way = length(&mut was.iter().zip(&is).map(|(was, is)| is - was));
    if began > 0.0 { way / began } else { 0.0 }
}

/// At which time, to begin a sentence with.
fn when(epoch: u32) -> String {
    match epoch {
        0 => "Before the first step".to_owned(),
        epoch => format!("After epoch {epoch}"),
    }
}

/// A picture large enough for a map to lie on.
fn enlarged(picture: &Picture) -> Picture {
    let longer = picture.width.max(picture.height).max(1);
    let [height, width] = [picture.height, picture.width].map(|side| (side * LOOKED / longer).max(1));
    picture.resized(height, width)
}
