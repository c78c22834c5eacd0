//! The timeline of a training: networks of several seeds stand for its epochs.

use std::fs;
use std::path::Path;

use cnn_core::Device;
use cnn_core::nn::parameters;
use cnn_pages::{ExplainOptions, Explanation, TIMELINE, Timeline};
use cnn_train::Trained;

use crate::browser::{self, Look, chromium, look};
use crate::support::{Backend, CLASSES, picture, trained};

const SIDE: usize = 12;

/// The network that stands for the one after `epoch` epochs.
fn after_epoch(place: &Path, arch: &str, epoch: u32) -> Trained<Backend> {
    trained(place, arch, SIDE, 100 + u64::from(epoch))
}

/// A timeline of these epochs, recorded in this order and saved in `place`, and the page.
fn recorded(place: &Path, arch: &str, epochs: impl IntoIterator<Item = u32>) -> (Timeline, String) {
    let file = picture(place, 3 * SIDE as u32);
    let mut timeline = Timeline::new(after_epoch(place, arch, 0).info());
    timeline.follow(&file).unwrap();
    for epoch in epochs {
        timeline.record(epoch, &mut after_epoch(place, arch, epoch)).unwrap();
    }
    timeline.save(place).unwrap();
    (timeline, fs::read_to_string(place.join(TIMELINE)).unwrap())
}

/// The cells of the row of an epoch in the table of probabilities.
fn row(page: &str, epoch: u32) -> Vec<String> {
    let start = format!("<th scope=\"row\">{epoch}</th>");
    let mut rows = page.split(&start).skip(1);
    let row = rows.next().unwrap_or_else(|| panic!("no epoch {epoch}")).split("</tr>").next().unwrap();
    assert!(rows.next().is_none(), "epoch {epoch} is there twice");
    row.split("<td>").skip(1).map(|cell| cell.trim_end().trim_end_matches("</td>").to_owned()).collect()
}

#[test]
fn probabilities_are_the_networks_and_pictures_are_of_some_epochs() {
    let place = tempfile::tempdir().unwrap();
    let (_, page) = recorded(place.path(), "stepwise", 0..=20);
    for epoch in 0..=20 {
        let mut network = after_epoch(place.path(), "stepwise", epoch);
        let bits = |network: &Trained<Backend>| -> Vec<Vec<f32>> {
            parameters(network.model()).iter().map(|p| network.backend().download(p.value()).unwrap()).collect()
        };
        let before = bits(&network);
        let file = picture(place.path(), 3 * SIDE as u32);
        let explained = Explanation::of("a", &mut network, &file, &ExplainOptions::default()).unwrap();
        assert_eq!(before, bits(&network));
        let (class, probability) = explained.answer();
        let class = class.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let cells = row(&page, epoch);
        assert_eq!((cells.len(), &cells[0]), (1 + CLASSES.len(), &format!("<bdi>{class}</bdi>")));
        let most = format!("{:.2}%", 100.0 * f64::from(probability as f32));
        assert!(cells[1..].contains(&most), "{cells:?} without {most}");
    }
    let first = page.split("<h3>Filter ").nth(1).unwrap();
    let shown: Vec<u32> =
        first.split("<figcaption>").skip(1).map(|rest| rest.split('<').next().unwrap().parse().unwrap()).collect();
    assert_eq!(shown, [0, 1, 4, 8, 12, 16, 20]);
    assert_eq!(page.matches("<h3>Filter ").count(), 16);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(!page.contains("alert(1)</script>") && page.contains("it&#39;s &lt;b&gt;.png"));
}

#[test]
fn filters_that_are_not_trained_are_said_to_stay() {
    let place = tempfile::tempdir().unwrap();
    let page = |epoch: u32| {
        let (mut timeline, _) = recorded(place.path(), "stepwise", [0]);
        timeline.record(1, &mut after_epoch(place.path(), "stepwise", epoch)).unwrap();
        timeline.save(place.path()).unwrap();
        fs::read_to_string(place.path().join(TIMELINE)).unwrap()
    };
    let [same, other] = [0, 1].map(page);
    let (stayed, moved) = ("Until epoch 1 none of them has moved", "% of its length</span>");
    assert_eq!((same.contains(stayed), same.matches(moved).count()), (true, 0));
    assert_eq!((other.contains(stayed), other.matches(moved).count()), (false, 16));
}

#[test]
fn a_record_goes_on_where_it_was_left() {
    let [whole, place] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (_, page) = recorded(whole.path(), "small", 0..=14);
    // As a run does that was killed and went on from an older checkpoint.
    recorded(place.path(), "small", 0..=12);
    let info = after_epoch(place.path(), "small", 0).info().clone();
    let mut timeline = Timeline::read(place.path(), &info).unwrap().unwrap();
    timeline.forget_after(9);
    assert!(timeline.has(9) && !timeline.has(10));
    for epoch in [10, 11, 11, 12, 13, 14] {
        timeline.record(epoch, &mut after_epoch(place.path(), "small", epoch)).unwrap();
    }
    // The same pixels, and then others.
    timeline.follow(&picture(place.path(), 3 * SIDE as u32)).unwrap();
    timeline.save(place.path()).unwrap();
    let name = |place: &Path| place.file_name().unwrap().to_string_lossy().into_owned();
    let again = fs::read_to_string(place.path().join(TIMELINE)).unwrap();
    assert!(again.replace(&name(place.path()), &name(whole.path())) == page, "the pages differ");
    let files = [&whole, &place].map(|place| fs::read(place.path().join("timeline.safetensors")).unwrap());
    assert!(files[0] == files[1], "the records differ");
    assert!(files[0].len() < 1_000_000, "{} bytes", files[0].len());
    for i in 0..Timeline::MOST_IMAGES {
        let file = place.path().join(format!("{i}.png"));
        image::RgbImage::from_pixel(20, 20, image::Rgb([50 * i as u8; 3])).save(&file).unwrap();
        let followed = timeline.follow(&file).map_err(|error| error.to_string());
        assert_eq!(followed.is_ok(), i + 1 < Timeline::MOST_IMAGES, "{followed:?}");
    }
    assert!(!timeline.has(14), "the new ones are not recorded yet");
}

#[test]
fn a_damaged_record_is_told_from_none() {
    let place = tempfile::tempdir().unwrap();
    let info = after_epoch(place.path(), "stepwise", 0).info().clone();
    assert!(Timeline::read(place.path(), &info).unwrap().is_none());
    recorded(place.path(), "stepwise", 0..=1);
    let file = place.path().join("timeline.safetensors");
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], info: &cnn_train::WeightsInfo| {
        fs::write(&file, bytes).unwrap();
        let error = Timeline::read(place.path(), info).unwrap_err().to_string();
        assert!(error.contains("timeline.safetensors: "), "{error}");
        error
    };
    for cut in [0, 7, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..cut], &info);
    }
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        refused(&changed, &info);
    }
    let other = cnn_train::WeightsInfo { classes: vec!["a".into(), "b".into(), "c".into()], ..info.clone() };
    assert!(refused(&whole, &other).contains("other classes"));
    // A weights file is an archive with a digest too.
    let weights = fs::read(place.path().join("stepwise-100.safetensors")).unwrap();
    assert!(refused(&weights, &info).contains("is no timeline"));
}

#[test]
fn the_timeline_is_drawn() {
    let place = tempfile::tempdir().unwrap();
    let (mut timeline, page) = recorded(place.path(), "small", 0..=20);
    assert!(page.contains("in per cent of its length before the first step"));
    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
    let ask = r##"(() => {
      const strip = [...page.querySelectorAll("#filters .strip")][0];
      const sides = [...strip.querySelectorAll("img")].map((i) => i.getBoundingClientRect().width);
      return { lines: page.querySelectorAll("#image-1 polyline").length, strips: page.querySelectorAll("#filters .strip").length,
               looked: page.querySelectorAll("#image-1 .strip img").length, least: Math.min(...sides), shown: sides.length };
    })()"##;
    let asked = look(&chromium, &page, Look { width: 390, dark: true, ask })["asked"].clone();
    assert_eq!((&asked["lines"], &asked["strips"]), (&3.into(), &16.into()), "{asked}");
    assert_eq!((&asked["looked"], &asked["shown"]), (&7.into(), &14.into()), "{asked}");
    assert!(asked["least"].as_f64() >= Some(40.0), "{asked}");

    // Two images, of which one came later.
    let file = place.path().join("later.png");
    image::RgbImage::from_pixel(20, 20, image::Rgb([200, 30, 60])).save(&file).unwrap();
    timeline.follow(&file).unwrap();
    timeline.record(21, &mut after_epoch(place.path(), "small", 21)).unwrap();
    timeline.save(place.path()).unwrap();
    browser::check(&chromium, &fs::read_to_string(place.path().join(TIMELINE)).unwrap());
}
