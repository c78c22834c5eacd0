//! Trains a small network on drawn figures for two epochs, and says how well it does:
//! `cargo run --release --example train -- FOLDER`

use cnn::prelude::*;

fn main() -> cnn::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/example".to_owned());
    let folder = RunFolder::create(folder)?;

    // Ten thousand images of ten classes, drawn on the spot. A path would mean the images in it.
    let dataset = open("shapes", "data".as_ref(), &OpenOptions::default())?;
    let recipe = Recipe { epochs: 2, ..Recipe::default_for("small", "shapes")? };

    let backend = Cpu::new()?;
    let mut trainer = Trainer::new(&backend, recipe, dataset)?;
    let summary = trainer.run(&folder, &mut |event| {
        if let Event::EpochEnd(epoch) = event {
            println!("epoch {}: loss {:.3}, {:.0} images/s", epoch.epoch, epoch.train_loss, epoch.images_per_second);
        }
        Control::Continue
    })?;

    if let Some(test) = summary.test {
        println!("test accuracy {:.2}%", 100.0 * test.accuracy());
    }
    println!("weights: {}", folder.weights().display());
    Ok(())
}
