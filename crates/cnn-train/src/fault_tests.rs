//! A small run is ended, and its disk made to fail, at every single operation on its files: what is left can be resumed,
//! and ends in the bits of a run that nothing happened to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cnn_core::archive::Archive;
use cnn_core::rng::{Philox, Purpose};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, ImageSet};

use crate::disk::faults::{Fault, count, plan, plan_both};
use crate::{Control, Error, Recipe, Result, RunFolder, Trainer};

/// Where a process that is to be ended finds what to do: the folder, and the number of the operation.
const FOLDER: &str = "CNN_FAULT_FOLDER";
const AT: &str = "CNN_FAULT_AT";

pub(crate) fn dataset() -> Dataset {
    let split = |count: u32, stream| {
        let mut random = Philox::new(1, Purpose::Test, stream, 0).stream();
        let labels: Vec<u32> = (0..count).map(|i| i % 2).collect();
        let value = |label: u32| (0..36).map(|_| (random.below(150) + label * 60) as u8).collect::<Vec<u8>>();
        let bytes = labels.iter().copied().flat_map(value).collect();
        ImageSet::from_bytes("made", [6, 6, 1], &["dark", "bright"], labels, bytes).unwrap()
    };
    Dataset::new("made", split(24, 0), split(8, 1)).unwrap()
}

/// Two steps an epoch, saved after each.
pub(crate) fn recipe() -> Recipe {
    let recipe = Recipe::default_for("stepwise", "made").unwrap();
    Recipe { epochs: 2, batch: 12, checkpoint_minutes: 0.0, ..recipe }
}

pub(crate) fn cpu() -> Cpu<f32> {
    Cpu::with_threads(1).unwrap()
}

/// Starts a run in `folder`, or goes on with the one that is there.
fn run(path: &Path) -> Result<()> {
    let mut trainer;
    let folder;
    if RunFolder::holds_run(path) {
        folder = RunFolder::open(path)?;
        trainer = Trainer::resume(&cpu(), &folder, dataset())?;
    } else {
        folder = RunFolder::create(path)?;
        trainer = Trainer::new(&cpu(), recipe(), dataset())?;
    }
    trainer.run(&folder, &mut |_| Control::Continue).map(|_| ())
}

/// All that a run leaves, but for what was timed.
pub(crate) fn left(path: &Path) -> [Vec<u8>; 3] {
    let [weights, state] = ["model.safetensors", "state.safetensors"].map(|file| fs::read(path.join(file)).unwrap());
    let metrics = fs::read_to_string(path.join("metrics.csv")).unwrap();
    let untimed = metrics.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_owned() + "\n");
    [weights, state, untimed.collect::<String>().into_bytes()]
}

/// A run that nothing happens to, and how many operations it takes.
fn undisturbed(place: &Path) -> ([Vec<u8>; 3], u32) {
    let path = place.join("undisturbed");
    plan(u32::MAX, Fault::Full);
    run(&path).unwrap();
    (left(&path), count())
}

/// A process that is forked while a folder is open holds its lock until it runs its own program: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not a test of its own: the process that another test ends.
#[test]
fn process_that_is_ended() {
    let (Some(folder), Some(at)) = (std::env::var_os(FOLDER), std::env::var_os(AT)) else { return };
    plan(at.to_str().unwrap().parse().unwrap(), Fault::End);
    run(Path::new(&folder)).unwrap();
}

#[test]
fn a_process_that_ends_at_any_operation_is_resumed_to_the_same_bits() {
    let _turn = turn();
    let place = tempfile::tempdir().unwrap();
    let (expected, operations) = undisturbed(place.path());
    assert!(operations > 60, "{operations} operations");
    for at in 0..operations {
        let path = place.path().join(format!("ended-{at}"));
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "fault_tests::process_that_is_ended"]).env(FOLDER, &path).env(AT, at.to_string());
        let output = process.output().unwrap();
        assert!(!output.status.success(), "operation {at} did not end the process: {output:?}");
        plan(u32::MAX, Fault::Full);
        run(&path).unwrap_or_else(|error| panic!("ended at operation {at}: {error}"));
        assert!(left(&path) == expected, "ended at operation {at}: the bits differ");
        assert_eq!(staged(&path), <[PathBuf; 0]>::default(), "ended at operation {at}");
    }
}

#[test]
fn a_disk_that_is_full_at_any_operation_leaves_a_run_that_can_be_resumed() {
    let _turn = turn();
    let place = tempfile::tempdir().unwrap();
    let (expected, operations) = undisturbed(place.path());
    let mut failed = 0;
    for at in 0..operations {
        let path = place.path().join(format!("full-{at}"));
        plan(at, Fault::Full);
        match run(&path) {
            // To sync a folder may fail.
            Ok(()) => {}
            Err(error @ Error::File { .. }) => {
                failed += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
                let renamed = path.join("state.safetensors.tmp");
                // Only where its weights have their place already does a staged state stay.
                assert!(staged(&path).iter().all(|file| *file == renamed), "full at operation {at}");
            }
            Err(error) => panic!("full at operation {at}: {error}"),
        }
        plan(u32::MAX, Fault::Full);
        run(&path).unwrap_or_else(|error| panic!("full at operation {at}: {error}"));
        assert!(left(&path) == expected, "full at operation {at}: the bits differ");
    }
    assert!(failed > operations / 2, "{failed} of {operations} operations failed");
}

/// What is done after a failure fails as well.
#[test]
fn a_disk_that_is_full_twice_leaves_a_run_that_can_be_resumed() {
    let _turn = turn();
    let place = tempfile::tempdir().unwrap();
    let (expected, operations) = undisturbed(place.path());
    for first in 0..operations {
        for second in first + 1..first + 8 {
            let path = place.path().join(format!("full-{first}-{second}"));
            plan_both([first, second], Fault::Full);
            let _ = run(&path);
            plan(u32::MAX, Fault::Full);
            run(&path).unwrap_or_else(|error| panic!("full at operations {first} and {second}: {error}"));
            assert!(left(&path) == expected, "full at operations {first} and {second}: the bits differ");
            fs::remove_dir_all(&path).unwrap();
        }
    }
}

/// Files that were staged and are still there.
fn staged(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "tmp")).collect()
}

#[test]
fn every_damage_to_a_checkpoint_is_found() {
    let _turn = turn();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    plan(u32::MAX, Fault::Full);
    run(&path).unwrap();
    let folder = RunFolder::open(&path).unwrap();
    let resume = || Trainer::resume(&cpu(), &folder, dataset()).map(|_| ());
    resume().unwrap();
    let mut random = Philox::new(5, Purpose::Test, 0, 0).stream();
    for file in [folder.weights(), folder.state()] {
        let good = fs::read(&file).unwrap();
        let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as u32;
        let all = good.len() as u32;
        let bits = (0..600).map(|i| if i % 3 == 0 { random.below(8 * header) } else { random.below(8 * all) });
        let mut accepted = Vec::new();
        for bit in bits {
            let mut flipped = good.clone();
            flipped[bit as usize / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).unwrap();
            // A bit of the digest's own name can be flipped: then nothing is checked, and nothing else is wrong.
            if resume().is_ok() && Archive::from_bytes(&flipped).ok() != Archive::from_bytes(&good).ok() {
                accepted.push(bit);
            }
        }
        assert!(accepted.is_empty(), "{}: flipped bits {accepted:?} of {header} bytes were accepted", file.display());
        for _ in 0..50 {
            fs::write(&file, &good[..random.below(all) as usize]).unwrap();
            assert!(resume().is_err(), "{} was cut off", file.display());
        }
        fs::write(&file, &good).unwrap();
    }
    resume().unwrap();
}
