//! Every file of a run's folder is cut off, and has its bits flipped: that is refused, or said in a warning, or the run ends in
//! the bits of one that nothing happened to.

use std::fs;
use std::path::Path;

use cnn_core::archive::{Archive, Values};
use cnn_core::rng::{Philox, Purpose};

use crate::fault_tests::{cpu, dataset, left, place, watched};
use crate::{Control, Error, Event, RunFolder, Trainer};

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// An error or a warning names it.
    Told,
    /// The run ended as it should.
    Harmless,
    /// The run ended otherwise, without a word.
    Undetected,
}

/// A run that was stopped, or has ended.
struct Intact {
    files: Vec<(String, Vec<u8>)>,
    /// What it leaves at its end.
    end: [Vec<u8>; 4],
}

impl Intact {
    fn new(place: &Path, steps: u32) -> Self {
        let path = place.join(format!("intact-{steps}"));
        let folder = RunFolder::create(&path).unwrap();
        let mut made = 0;
        let mut observe = |event: &Event| {
            made += u32::from(matches!(event, Event::Step(_)));
            if made >= steps { Control::Stop } else { Control::Continue }
        };
        Trainer::new(&cpu(), watched(), dataset()).unwrap().run(&folder, &mut observe).unwrap();
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        };
        let files = fs::read_dir(&path).unwrap().map(read).filter(|(name, _)| name != "lock").collect();
        let mut trainer = Trainer::resume(&cpu(), &folder, dataset()).unwrap();
        assert_eq!(trainer.warnings(), <[String; 0]>::default());
        trainer.run(&folder, &mut |_| Control::Continue).unwrap();
        Intact { files, end: left(&path) }
    }

    fn file(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("{name}")).1
    }

    /// What comes of `name` with these contents.
    fn with(&self, place: &Path, name: &str, contents: &[u8]) -> Outcome {
        let path = place.join("damaged");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        for (file, bytes) in &self.files {
            fs::write(path.join(file), if file == name { contents } else { bytes }).unwrap();
        }
        let folder = RunFolder::open(&path).unwrap();
        let mut trainer = match Trainer::resume(&cpu(), &folder, dataset()) {
            Ok(trainer) => trainer,
            Err(error) => {
                let told = error.to_string();
                // What a changed recipe asks for may be refused by its key.
                let by_key = name == "recipe.toml" && !matches!(error, Error::File { .. });
                assert!(!told.contains('\n') && (told.contains(name) || by_key), "{name}: {told}");
                return Outcome::Told;
            }
        };
        let told = trainer.warnings().iter().any(|warning| warning.contains(name));
        assert!(told || trainer.warnings().is_empty(), "{name}: {:?}", trainer.warnings());
        if told {
            return Outcome::Told;
        }
        trainer.run(&folder, &mut |_| Control::Continue).unwrap();
        if left(&path) == self.end { Outcome::Harmless } else { Outcome::Undetected }
    }
}

/// `count` damages of the file: truncations, or flipped bits, half of them in its first 2000 bytes.
fn damages(good: &[u8], count: [u32; 2]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut random = Philox::new(5, Purpose::Test, good.len() as u32, 0).stream();
    let all = good.len() as u32;
    (0..count[0] + count[1]).map(move |number| {
        let mut bytes = good.to_vec();
        if number < count[0] {
            bytes.truncate(random.below(all) as usize);
            return (format!("cut off at {}", bytes.len()), bytes);
        }
        let bit = random.below(8 * if number % 2 == 0 { all } else { all.min(2000) });
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        (format!("bit {bit} flipped"), bytes)
    })
}

#[test]
fn damages_to_every_file_of_a_run_are_told_or_harmless() {
    told_or_harmless([20, 150], [3, 12]);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn thousands_of_damages_to_every_file_of_a_run_are_told_or_harmless() {
    told_or_harmless([1000, 10_000], [1000, 10_000]);
}

/// Tries `many` damages to each file that a resume reads, and `few` to each of the others: truncations and flipped bits.
fn told_or_harmless(many: [u32; 2], few: [u32; 2]) {
    let place = place();
    let (stopped, ended) = (Intact::new(place.path(), 3), Intact::new(place.path(), u32::MAX));
    // How many of the damages have to be told: all but letters of names that nobody asks for, and minutes between two saves.
    for (intact, name, count, told) in [
        (&stopped, "model.safetensors", many, 0.9),
        (&stopped, "state.safetensors", many, 0.9),
        (&stopped, "best.safetensors", many, 0.9),
        (&stopped, "recipe.toml", many, 0.6),
        (&stopped, "metrics.csv", many, 1.0),
        // They are not read as long as the newest is whole.
        (&stopped, "model-previous.safetensors", few, 0.0),
        (&stopped, "state-previous.safetensors", few, 0.0),
        // It is written again.
        (&ended, "results.json", few, 0.0),
    ] {
        let outcomes: Vec<_> = damages(intact.file(name), count)
            .map(|(damage, bytes)| (intact.with(place.path(), name, &bytes), damage))
            .collect();
        let of = |wanted| outcomes.iter().filter(|(outcome, _)| *outcome == wanted).collect::<Vec<_>>();
        assert!(of(Outcome::Undetected).is_empty(), "{name}: {:?}", of(Outcome::Undetected));
        let harmless = of(Outcome::Harmless);
        let least = told * outcomes.len() as f64;
        assert!(of(Outcome::Told).len() as f64 >= least, "{name}: of {} harmless: {harmless:?}", outcomes.len());
    }
}

/// The test above can fail.
#[test]
fn a_flip_that_is_hidden_from_the_digest_is_undetected() {
    let place = place();
    let stopped = Intact::new(place.path(), 3);
    let mut state = Archive::from_bytes(stopped.file("state.safetensors")).unwrap();
    let velocity = state.arrays.iter_mut().find(|(name, _)| name.starts_with("velocity.")).unwrap().1;
    let Values::F32(values) = &mut velocity.values else { panic!("velocity") };
    values[0] = f32::from_bits(values[0].to_bits() ^ 1 << 22);
    let planted = state.to_bytes().unwrap();
    assert_eq!(stopped.with(place.path(), "state.safetensors", &planted), Outcome::Undetected);
}

/// The checkpoint before is used, and a damage to one file never costs the run.
#[test]
fn a_run_with_a_damaged_file_ends_as_it_should() {
    let place = place();
    let stopped = Intact::new(place.path(), 3);
    for name in ["model.safetensors", "state.safetensors", "metrics.csv"] {
        let good = stopped.file(name);
        assert_eq!(stopped.with(place.path(), name, &good[..good.len() - 20]), Outcome::Told, "{name}");
        let path = place.path().join("damaged");
        let folder = RunFolder::open(&path).unwrap();
        let mut trainer = Trainer::resume(&cpu(), &folder, dataset()).unwrap();
        assert_eq!(trainer.warnings(), <[String; 0]>::default(), "{name} was put right");
        trainer.run(&folder, &mut |_| Control::Continue).unwrap();
        assert!(left(&path) == stopped.end, "{name}: the bits differ");
    }
}
