//! Where the network looked, and what it finds alike.

use super::Explanation;
use super::regions::Map;
use crate::html::{escape, figure, file_name, grouped, number, paragraphs, percent, short_name};
use crate::picture::Picture;

/// CSS pixels of a picture with a map over it.
const SIDE: usize = 200;

/// Grad-CAM of some classes, and the occlusion map.
pub(crate) fn places(of: &Explanation) -> String {
    let mut out = String::new();
    if of.class_maps.is_empty() {
        out +=
            "<p>This network has no feature maps that all of its answer goes through, so there is no Grad-CAM.</p>\n";
    } else {
        out += &paragraphs(&[
            "<strong>Grad-CAM</strong> asks the last feature maps: which places, had they been a little brighter, would have made the \
             class more probable? Bright places spoke for the class; each picture is scaled by itself.",
        ]);
        out += &class_maps(of);
    }
    let (name, probability) = (escape(of.answer().0), of.answer().1);
    let lowest = (probability - f64::from(of.occlusion.most)).max(0.0);
    let lost = if percent(lowest) == percent(probability) {
        format!("Here no one place is needed: wherever it lies, <bdi>{name}</bdi> keeps its {}.", percent(probability))
    } else {
        format!(
            "Bright is where <bdi>{name}</bdi> lost most: from {} down to {}.",
            percent(probability),
            percent(lowest)
        )
    };
    out += &paragraphs(&[&format!(
        "<strong>Occlusion</strong> asks the image itself: a grey square of a quarter of its sides covers one place after the other, \
         and the network answers again. {lost}"
    )]);
    out + "<div class=\"row\">\n" + &occlusion(of) + "</div>\n"
}

/// A picture for each class.
pub(crate) fn class_maps(of: &Explanation) -> String {
    let mut out = "<div class=\"row\">\n".to_owned();
    for map in &of.class_maps {
        let class = escape(&of.info.classes[map.class]);
        let caption = if map.map.most > 0.0 { String::new() } else { ": nothing spoke for it".to_owned() };
        let caption = format!("<bdi>{class}</bdi>, {}{caption}", percent(of.probabilities[map.class]));
        let alt = format!("Grad-CAM of {}", of.info.classes[map.class]);
        out += &figure(&laid_over(of, &map.map).photo(SIDE, &alt), &caption);
    }
    out + "</div>\n"
}

/// The occlusion map's picture.
pub(crate) fn occlusion(of: &Explanation) -> String {
    let caption = format!("covered here, <bdi>{}</bdi> loses", escape(of.answer().0));
    figure(&laid_over(of, &of.occlusion).photo(SIDE, "Occlusion map"), &caption)
}

fn laid_over(of: &Explanation, map: &Map) -> Picture {
    let picture = &of.shown;
    let longer = picture.width.max(picture.height).max(1);
    let (height, width) = (picture.height * SIDE / longer, picture.width * SIDE / longer);
    picture.resized(height.max(1), width.max(1)).under(&map.values, map.size)
}

/// The nearest training images.
pub(crate) fn neighbours(of: &Explanation) -> Option<String> {
    let found = of.neighbours.as_ref()?;
    let searched = if found.searched < found.of {
        format!("{} of the {} training images, drawn at random,", grouped(found.searched), grouped(found.of))
    } else {
        format!("the {} training images", grouped(found.of))
    };
    let mut out = paragraphs(&[&format!(
        "The numbers that enter the last layer are the network's summary of an image. Compared by the angle between their \
         summaries, these are the nearest of {searched} to yours. 1 means: the same direction."
    )]);
    if let Some(name) = of.learned_from() {
        out += &paragraphs(&[&format!(
            "<strong>This image is itself one of the training images</strong>: <bdi>{}</bdi> has the same pixels. The network learned \
             from it, so its answer here says little of how it answers for images that are new to it.",
            escape(name)
        )]);
    }
    out += "<div class=\"tiles plain\">\n";
    for near in &found.nearest {
        let picture = Picture::of_bytes(&near.bytes, of.info.image).photo(96, short_name(&near.name));
        let caption =
            format!("<bdi>{}</bdi> {}{}", escape(&near.class), number(near.similarity, 3), file_name(&near.name));
        out += &figure(&picture, &caption);
    }
    Some(out + "</div>\n")
}
