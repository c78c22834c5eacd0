//! The contact sheet.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cnn_data::{OpenOptions, open};
use cnn_pages::sheet_page;
use cnn_train::Recipe;

use crate::browser::{self, Look, chromium, look};

/// The pictures of a page, decoded.
fn pictures(page: &str) -> Vec<image::RgbImage> {
    let addresses = page.split("data:image/png;base64,").skip(1).filter_map(|rest| rest.split('"').next());
    addresses.map(|text| image::load_from_memory(&STANDARD.decode(text).unwrap()).unwrap().into_rgb8()).collect()
}

#[test]
fn a_sheet_shows_what_the_network_is_given() {
    let place = tempfile::tempdir().unwrap();
    // Photographs of several sizes, none of which is the network's.
    for (class, [width, height]) in [("left & right", [90, 60]), ("up", [40, 100])] {
        let folder = place.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..6u8 {
            let colour = |x: u32, y: u32| image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 40 * i]);
            image::RgbImage::from_fn(width, height, colour).save(folder.join(format!("<{i}>.png"))).unwrap();
        }
    }
    let photos = place.path().join("photos");
    let dataset = open(photos.to_str().unwrap(), place.path(), &OpenOptions::default().size([24, 32])).unwrap();
    let mut recipe = Recipe::default_for("small", "photos").unwrap();
    recipe.augment.crop_padding = 0;
    let page = sheet_page(&dataset, &recipe).unwrap();
    assert!(page.contains("left &amp; right") && page.contains("&lt;") && !page.contains("<0>.png"));
    let shown = pictures(&page);
    let rows = shown.chunks_exact(6);
    assert!(rows.len() >= 8, "{} pictures", shown.len());
    for row in rows {
        assert_eq!(row[0].dimensions(), (32, 24));
        let mirrored = image::imageops::flip_horizontal(&row[0]);
        let near = |a: &image::RgbImage, b: &image::RgbImage| {
            a.as_raw().iter().zip(b.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1)
        };
        let sides: Vec<bool> = row[1..].iter().map(|view| near(view, &mirrored)).collect();
        assert!(row[1..].iter().zip(&sides).all(|(view, &flipped)| flipped || near(view, &row[0])));
        assert!(sides.windows(2).all(|pair| pair[0] != pair[1]), "mirrored in every other epoch: {sides:?}");
    }
    // What is blanked has the mean colour, which is 0 for the network.
    recipe.augment.cutout = 8;
    let page = sheet_page(&dataset, &recipe).unwrap();
    assert!(page.contains("A square of 8 \u{d7} 8 pixels is blanked."));
    let mean: Vec<u8> = dataset.mean.iter().map(|mean| (255.0 * mean).round() as u8).collect();
    let blank = |view: &image::RgbImage| view.pixels().filter(|pixel| pixel.0[..] == mean[..]).count();
    assert!(pictures(&page).chunks_exact(6).all(|row| row[1..].iter().all(|view| blank(view) >= 16)));

    // Half of two images, or a rectangle of another one: not what either looks like.
    (recipe.augment.cutout, recipe.augment.mixup, recipe.augment.cutmix) = (0, 8.0, 1.0);
    let page = sheet_page(&dataset, &recipe).unwrap();
    assert!(
        page.contains("In about half of the steps it is blended") && page.contains("a rectangle of it is replaced")
    );
    let mirrored_or_not = |row: &[image::RgbImage], view: &image::RgbImage| {
        *view == row[0] || *view == image::imageops::flip_horizontal(&row[0])
    };
    let mixed = pictures(&page);
    assert!(mixed.chunks_exact(6).all(|row| row[1..].iter().filter(|view| !mirrored_or_not(row, view)).count() >= 4));

    // Pictures without a label stand behind the classes.
    assert!(!page.contains("No label"));
    let rows = "file,labels\nup/<0>.png,up\nup/<1>.png,up\nup/<2>.png,\nup/<3>.png,\nup/<4>.png,\nup/<5>.png,up\n";
    fs::write(photos.join("labels.csv"), rows).unwrap();
    let labels = photos.join("labels.csv");
    let dataset = open(labels.to_str().unwrap(), place.path(), &OpenOptions::default().size([24, 32])).unwrap();
    let several = sheet_page(&dataset, &recipe).unwrap();
    let (_, without) = several.split_once("<h3>No label</h3>").unwrap();
    assert!(without.contains("images</p>") && !pictures(without).is_empty());

    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
    // As large as there is room for: three in a row on a phone, all six on a desk.
    let ask = r##"(() => {
      const boxes = [...page.querySelector(".views").querySelectorAll("img")].map((i) => i.getBoundingClientRect());
      return { columns: new Set(boxes.map((box) => box.left)).size, least: Math.min(...boxes.map((box) => box.width)) };
    })()"##;
    for (width, columns, least) in [(390, 3, 100.0), (1440, 6, 140.0)] {
        let asked = look(&chromium, &page, Look { width, dark: false, ask })["asked"].clone();
        assert_eq!(asked["columns"], columns, "{width}: {asked}");
        assert!(asked["least"].as_f64() >= Some(least), "{width}: {asked}");
    }
}
