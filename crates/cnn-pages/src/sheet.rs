//! A contact sheet: what a network will see of its training images.

use std::fmt::Write;

use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::{Backend, Device, Inference, Naive};
use cnn_data::{Augment, Dataset, Mixing, Policy};
use cnn_train::{Recipe, Result};

use crate::html::{Page, counted, escape, figure, grouped, paragraphs, short_name};
use crate::picture::Picture;

/// Views of an image beside the image itself.
const VIEWS: u32 = 5;
/// Images in all, unless there are more classes.
const IMAGES: usize = 24;
/// Images of a class at most.
const OF_A_CLASS: usize = 4;
/// Classes at most.
const CLASSES: usize = 40;
/// Pixels of the longer side of a picture in the page at most.
const SIDE: usize = 160;

/// Some training images of every class, each as it is brought to the network's size and as it is seen in the first epochs of a
/// training by `recipe`. The views come from the same functions that a training uses.
///
/// # Errors
/// An image cannot be decoded.
pub fn sheet_page(dataset: &Dataset, recipe: &Recipe) -> Result<String> {
    let set = &dataset.train;
    let [h, w, c] = set.shown();
    let classes = set.classes();
    let lead = format!(
        "<p class=\"lead\">{} training images of {}, each brought to {h} \u{d7} {w} \u{d7} {c}. This is what the network is given.</p>",
        grouped(set.len()),
        counted(classes.len(), "class", "classes")
    );
    let mut page = Page::new(&format!("What a network sees of {}", dataset.name), lead);
    page.section("augmentation", "What is done to them", told(&recipe.augment(), &recipe.mixing()));
    let each = (IMAGES / classes.len().max(1)).clamp(1, OF_A_CLASS);
    let mut body = String::new();
    let those = |asked: &dyn Fn(&[u32]) -> bool| -> Vec<usize> {
        (0..set.len()).filter(|&i| asked(set.classes_of(i))).collect()
    };
    let of_class = |(class, name): (usize, &String)| {
        (format!("<bdi>{}</bdi>", escape(name)), those(&|labels| labels.contains(&(class as u32))))
    };
    let without = those(&|labels| labels.is_empty());
    let without = Some(("No label".to_owned(), without)).filter(|(_, images)| !images.is_empty());
    for (title, images) in classes.iter().enumerate().take(CLASSES).map(of_class).chain(without) {
        let _ = writeln!(body, "<h3>{title}</h3>\n<p class=\"note\">{} images</p>", grouped(images.len()));
        let count = each.min(images.len());
        for sample in (0..count).map(|i| images[i * images.len() / count]) {
            body += &row(dataset, recipe, sample)?;
        }
    }
    if classes.len() > CLASSES {
        let _ = writeln!(body, "<p class=\"note\">The first {CLASSES} of {} classes.</p>", classes.len());
    }
    page.section("images", "Image by image", body);
    Ok(page.render())
}

/// An image, and what the first epochs show of it.
fn row(dataset: &Dataset, recipe: &Recipe, sample: usize) -> Result<String> {
    let set = &dataset.train;
    let bytes = set.image(sample)?;
    let name = set.name(sample);
    let name = short_name(&name);
    let picture = |bytes: &[u8], size| Picture::of_bytes(bytes, size).fitted(SIDE);
    let mut out = "<div class=\"views\">\n".to_owned();
    out += &figure(&picture(&bytes, set.size()).photo(96, name), "as it is");
    for epoch in 0..VIEWS {
        let seen = seen(dataset, recipe, sample, epoch)?;
        out += &figure(
            &picture(&seen, set.shown()).photo(96, &format!("As seen in epoch {}", epoch + 1)),
            &format!("epoch {}", epoch + 1),
        );
    }
    Ok(out + &format!("</div>\n<p class=\"note name\">{}</p>\n", escape(name)))
}

/// The bytes that show what the network reads: its numbers, with the normalisation undone. Where images are mixed, it is with any
/// other one: whose turn comes before in a training, the order of the epoch says.
fn seen(dataset: &Dataset, recipe: &Recipe, sample: usize, epoch: u32) -> Result<Vec<u8>> {
    let (set, augment) = (&dataset.train, recipe.augment());
    let (size, [rows, columns, _]) = (set.shown(), set.size());
    let (stored, image) = ([rows, columns], [size[0], size[1]]);
    let view = |index: u32, sample: usize| {
        let view = augment.view(recipe.seed, epoch, set.stored(sample), stored, image);
        SampleView { index, ..view }
    };
    let backend = Naive::<f32>::default();
    let spec = ImageSpec::new(set.size(), augment.border, &dataset.mean, &dataset.std).with_output(image);
    let image = |sample: usize| -> Result<Vec<u8>> {
        let mut bytes = set.image(sample)?.into_owned();
        augment.distort.apply(recipe.seed, epoch, set.stored(sample), &mut bytes, set.size());
        Ok(bytes)
    };
    let mut bytes = image(sample)?;
    let values = match recipe.mixing().draw(recipe.seed, u64::from(epoch), size) {
        None => backend.load_images(&spec, &backend.upload(&bytes)?, &[view(0, sample)])?,
        Some(mix) => {
            let other = (sample + 1 + epoch as usize % set.len().saturating_sub(1).max(1)) % set.len();
            bytes.extend_from_slice(&image(other)?);
            // An image is mixed with the one before it, the first with the last.
            let both = backend.load_images(&spec, &backend.upload(&bytes)?, &[view(0, sample), view(1, other)])?;
            backend.mix_images(&mix, &both)?
        }
    };
    let mut values = backend.download(&backend.widen(&values)?)?;
    values.truncate(spec.numel());
    let channels = dataset.mean.len().max(1);
    let byte = |(i, value): (usize, &f32)| {
        let scaled = value * dataset.std[i % channels] + dataset.mean[i % channels];
        (255.0 * scaled).round().clamp(0.0, 255.0) as u8
    };
    Ok(values.iter().enumerate().map(byte).collect())
}

/// The augmentation in words.
fn told(augment: &Augment, mixing: &Mixing) -> String {
    let Augment { crop_padding, flip, resized_crop, cutout, random_erasing, distort, .. } = *augment;
    let mut done = Vec::new();
    if distort.jitter != [0.0; 4] {
        done.push("Its brightness, contrast, colours and hue are changed at random.".to_owned());
    }
    match distort.policy {
        Policy::None => {}
        Policy::TrivialAugment => {
            done.push("One operation of fourteen on its colours or its shape is done.".to_owned())
        }
        Policy::RandAugment => done.push("Two operations of fourteen on its colours or its shape are done.".to_owned()),
    }
    if crop_padding > 0 {
        done.push(format!("It is moved by up to {crop_padding} pixels each way."));
    }
    if resized_crop > 0.0 {
        let least = 100.0 * resized_crop;
        done.push(format!("A random part of it, of at least {least:.0}% of its area, is stretched over the whole."));
    }
    if flip {
        done.push("In every other epoch it is mirrored.".to_owned());
    }
    if random_erasing > 0.0 {
        done.push(format!("Of {:.0}% of the images a random rectangle is blanked.", 100.0 * random_erasing));
    }
    if cutout > 0 {
        done.push(format!("A square of {cutout} \u{d7} {cutout} pixels is blanked."));
    }
    let half = |one: &str| {
        if mixing.mixup > 0.0 && mixing.cutmix > 0.0 {
            format!("In about half of the steps {one}")
        } else {
            {
                let mut one = one.to_owned();
                one[..1].make_ascii_uppercase();
                one
            }
        }
    };
    if mixing.mixup > 0.0 {
        done.push(half("it is blended with another image, and the network shall say both classes in that proportion."));
    }
    if mixing.cutmix > 0.0 {
        done.push(half(
            "a rectangle of it is replaced by another image, and the network shall say both classes by their areas.",
        ));
    }
    if done.is_empty() {
        done.push("Nothing: every epoch shows it as it is.".to_owned());
    }
    paragraphs(&[
        &format!(
            "Each time an image is seen in training it looks a little different, so that the network cannot learn it by heart. {}",
            done.join(" ")
        ),
        "Look whether you can still tell the classes apart. If you cannot, the network will not learn to.",
    ])
}
