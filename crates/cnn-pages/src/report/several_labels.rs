//! What a report has of images that may have none or several labels.

use cnn_data::ImageSet;
use cnn_train::{MultiLabelFigures, Result};

use crate::html::{cards, escape, figure, file_name, grouped, paragraphs, percent, short_name};
use crate::picture::Picture;

/// Pictures that are shown.
const SHOWN: usize = 16;

/// Each class's figures.
pub(super) fn by_class(several: &MultiLabelFigures, classes: &[String]) -> String {
    let out = paragraphs(&[
        "<strong>Average precision</strong>: from the most probable image to the least, how many of those so far have the class, on \
         average over those that have it; it needs no bound. The others count a class as said where it is at least 50% probable: \
         <strong>precision</strong>, of the images of which it was said, how many have it; <strong>recall</strong>, of those that have \
         it, of how many it was said; <strong>F1</strong>, the harmonic mean of both.",
    ]);
    let part = |value: Option<f64>| value.map_or("\u{2013}".to_owned(), percent);
    let rows: Vec<Vec<String>> = (classes.iter().zip(&several.classes))
        .map(|(class, of)| {
            let figures = [of.average_precision, of.precision(), of.recall(), of.f1()].map(part);
            [format!("<bdi>{}</bdi>", escape(class)), grouped(of.images as usize)].into_iter().chain(figures).collect()
        })
        .collect();
    out + &cards("Classes", &["class", "images", "average precision", "precision", "recall", "F1"], &rows)
}

/// The wrong answers that were given with the most confidence, of whatever class.
///
/// # Errors
/// An image cannot be decoded.
pub(super) fn mistakes(several: &MultiLabelFigures, images: &ImageSet) -> Result<String> {
    let classes = images.classes();
    let each = (0..images.len()).flat_map(|image| (0..classes.len()).map(move |class| (image, class)));
    let mut wrong: Vec<(f64, usize, usize, bool)> = each
        .filter_map(|(image, class)| {
            let (has, p) = (images.classes_of(image).contains(&(class as u32)), several.probability(image, class));
            (has != (p >= 0.5)).then_some(((p - 0.5).abs(), image, class, has))
        })
        .collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    wrong.truncate(SHOWN);
    if wrong.is_empty() {
        return Ok("<p>There is none: every class of every image is right.</p>\n".to_owned());
    }
    let mut out = "<p>Wrong, and sure of it. Some of these may be labelled wrongly: look.</p>\n\
                   <div class=\"tiles plain wide\">\n"
        .to_owned();
    for (_, image, class, has) in wrong {
        let picture = Picture::of_bytes(&images.image(image)?, images.size()).fitted(128);
        let labels = escape(&images.named(images.classes_of(image)).replace('|', ", "));
        let (class_name, said) = (escape(&classes[class]), percent(several.probability(image, class)));
        let verdict = if has { "not seen" } else { "seen" };
        let name = images.name(image);
        let caption =
            format!("<b><bdi>{labels}</bdi></b><br><bdi>{class_name}</bdi> {verdict}, {said}{}", file_name(&name));
        out += &figure(&picture.photo(112, short_name(&name)), &caption);
    }
    Ok(out + "</div>\n")
}
