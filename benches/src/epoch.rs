//! An epoch of training, with all that it does beside its steps: batches drawn, cropped and mirrored on the device, losses read.

use std::time::Duration;

use cnn_data::{Dataset, ImageSet};
use cnn_measure::report::{Row, Setting};
use cnn_measure::{Area, Machine};
use cnn_train::{Control, Event, Recipe, RunFolder, Trainer};

use crate::setup::Setup;

/// As many as CIFAR-10 has.
const IMAGES: usize = 50_000;

fn images(setup: &Setup) -> usize {
    if setup.rehearse { 2 * setup.batch } else { IMAGES }
}

/// How the epoch is called in tables.
pub(crate) fn name(setup: &Setup) -> String {
    format!("epoch of {} images", images(setup))
}

/// Trains two epochs on noise, of which the second counts: the time of a batch in it.
pub(crate) fn measure<B: Machine>(backend: &B, setup: &Setup) -> Result<Row, String> {
    let text = |error: cnn_train::Error| error.to_string();
    let count = images(setup);
    let dataset = Dataset::new("noise", noise(count)?, noise(setup.batch)?).map_err(|error| error.to_string())?;
    let mut recipe = Recipe::default_for(&setup.model, "cifar10").map_err(text)?;
    (recipe.epochs, recipe.batch) = (2, setup.batch);
    recipe.optimizer.lr = 1e-3; // there is nothing to learn
    recipe.precision = setup.precision.parse().map_err(text)?;
    let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let folder = RunFolder::create(folder.path().join("run")).map_err(text)?;
    let mut seconds = None;
    let mut trainer = Trainer::new(backend, recipe, dataset).map_err(text)?;
    let mut observe = |event: &Event| {
        if let Event::EpochEnd(report) = event {
            seconds = Some(report.seconds);
        }
        Control::Continue
    };
    trainer.run(&folder, &mut observe).map_err(text)?;
    let seconds = seconds.ok_or("no epoch ended")?;
    let setting = Setting::new(backend, Area::Train, &setup.model, &name(setup), setup.batch);
    Ok(Row::new(setting, Duration::from_secs_f64(seconds * setup.batch as f64 / count as f64)))
}

/// So many 32x32x3 images in ten classes.
fn noise(count: usize) -> Result<ImageSet, String> {
    let classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let labels = (0..count).map(|i| (i % classes.len()) as u32).collect();
    // Knuth's multiplicative hash.
    let bytes = (0..count * 32 * 32 * 3).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    ImageSet::from_bytes("noise", [32, 32, 3], &classes, labels, bytes).map_err(|error| error.to_string())
}
