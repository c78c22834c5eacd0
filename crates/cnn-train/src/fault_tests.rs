//! A small run is ended, and its disk made to fail, at every single operation on its files: what is left can be resumed,
//! and ends in the bits of a run that nothing happened to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cnn_core::archive::Archive;
use cnn_core::rng::{Philox, Purpose};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, ImageSet};

use crate::disk::faults::{Fault, count, plan, plan_both};
use crate::{Control, EarlyStoppingRecipe, Error, Monitor, Recipe, Result, RunFolder, Trainer, Weights};

/// Where a process that is to be ended finds what to do: the folder, and the number of the operation.
const FOLDER: &str = "CNN_FAULT_FOLDER";
const AT: &str = "CNN_FAULT_AT";
/// The folder of a process that is to be killed.
const KILLED: &str = "CNN_FAULT_KILLED";

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

/// The same with images held out, so that the best weights are kept, and a patience that does not run out.
pub(crate) fn watched() -> Recipe {
    let early_stopping = Some(EarlyStoppingRecipe { patience: 9, by: Monitor::Loss });
    Recipe { validation: 0.25, batch: 9, early_stopping, ..recipe() }
}

/// Where files are put: in memory where that is possible, as syncing them is most of what these tests would wait for.
pub(crate) fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn cpu() -> Cpu<f32> {
    Cpu::with_threads(1).unwrap()
}

/// Starts a run in the folder at `path`, or goes on with the one that is there.
fn run(path: &Path) -> Result<()> {
    run_of(path, &watched)
}

fn run_of(path: &Path, recipe: &dyn Fn() -> Recipe) -> Result<()> {
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
pub(crate) fn left(path: &Path) -> [Vec<u8>; 4] {
    let [weights, state] = ["model.safetensors", "state.safetensors"].map(|file| fs::read(path.join(file)).unwrap());
    let mut state = Archive::from_bytes(&state).unwrap();
    state.arrays.retain(|name, _| !name.starts_with("timed."));
    let state = state.to_bytes().unwrap();
    let metrics = fs::read_to_string(path.join("metrics.csv")).unwrap();
    let untimed = metrics.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_owned() + "\n");
    // A letter of its digest's name may be another one: its contents are the same.
    let best = fs::read(path.join("best.safetensors")).ok();
    let best = best.map_or(Vec::new(), |best| Archive::from_bytes(&best).unwrap().to_bytes().unwrap());
    [weights, state, best, untimed.collect::<String>().into_bytes()]
}

/// A run that nothing happens to, and how many operations it takes.
fn undisturbed(place: &Path) -> ([Vec<u8>; 4], u32) {
    let path = place.join("undisturbed");
    plan(u32::MAX, Fault::Full);
    run(&path).unwrap();
    (left(&path), count())
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
    let place = place();
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
    let place = place();
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

/// What is done after a failure fails as well: at one of the next eight operations, another one after each.
#[test]
fn a_disk_that_is_full_twice_leaves_a_run_that_can_be_resumed() {
    full_twice(|first, second| second - first == 1 + first % 8);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn a_disk_that_is_full_at_any_two_operations_leaves_a_run_that_can_be_resumed() {
    full_twice(|_, _| true);
}

fn full_twice(tried: impl Fn(u32, u32) -> bool) {
    let place = place();
    let (expected, operations) = undisturbed(place.path());
    for first in 0..operations {
        for second in (first + 1..first + 9).filter(|&second| tried(first, second)) {
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

/// Not a test of its own: the process that another test kills.
#[test]
fn process_that_is_killed() {
    let Some(folder) = std::env::var_os(KILLED) else { return };
    plan(u32::MAX, Fault::Full);
    run_of(Path::new(&folder), &|| Recipe { epochs: 40, ..watched() }).unwrap();
}

#[test]
fn twenty_kills_at_random_end_in_the_same_bits() {
    let place = place();
    let process = |name: &str| {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "fault_tests::process_that_is_killed"]).env(KILLED, place.path().join(name));
        process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begun = Instant::now();
    assert!(process("whole").wait().unwrap().success());
    let whole = begun.elapsed();
    let mut random = Philox::new(std::process::id().into(), Purpose::Test, 0, 0).stream();
    let mut killed = 0;
    for number in 0..20 {
        let mut process = process("killed");
        // The whole run takes as long as its parts together, and each of them starts anew.
        std::thread::sleep(whole * (200 + random.below(600)) / 1000);
        killed += u32::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
        // One that ended before it was killed has nothing to go on with.
        let path = place.path().join("killed");
        if fs::exists(path.join("results.json")).unwrap() {
            fs::rename(path, place.path().join(format!("done-{number}"))).unwrap();
        }
    }
    assert!(process("killed").wait().unwrap().success());
    assert!(killed >= 10, "only {killed} of 20 processes were killed before they ended");
    for entry in fs::read_dir(place.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(left(&path) == left(&place.path().join("whole")), "{}: the bits differ", path.display());
    }
}

#[test]
fn two_checkpoints_are_there_and_the_older_one_is_whole() {
    let place = place();
    let path = place.path().join("run");
    plan(u32::MAX, Fault::Full);
    run(&path).unwrap();
    let expected = left(&path);
    let folder = RunFolder::open(&path).unwrap();
    let step = |path| Weights::read(path).unwrap().info().step;
    assert_eq!([folder.weights(), folder.previous_weights()].map(step), [4, 3]);
    fs::rename(folder.previous_weights(), folder.weights()).unwrap();
    fs::rename(folder.previous_state(), folder.state()).unwrap();
    drop(folder);
    run(&path).unwrap();
    assert!(left(&path) == expected, "the bits differ");
}
