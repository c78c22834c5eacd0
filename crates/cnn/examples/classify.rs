//! Says what is in an image: `cargo run --release --example classify -- RUN/model.safetensors photo.jpg`

use cnn::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, image] = arguments.as_slice() else {
        return Err("usage: classify WEIGHTS IMAGE".into());
    };

    // The weights file knows the network, its classes, and how its images were sized and normalised.
    let classifier = Classifier::load(&Cpu::new()?, weights)?;
    let prediction = classifier.classify_files(&[image])?.remove(0)?;
    for (class, probability) in classifier.info().classes.iter().zip(prediction.probabilities) {
        println!("{class:<16} {:6.2}%", 100.0 * probability);
    }
    Ok(())
}
