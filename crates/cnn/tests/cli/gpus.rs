//! The program with GPUs, on an emulated one: what it finds, what it does without, what it trains there, and how it ends
//! where the GPU is too small or is lost.

use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

use crate::support::{Place, cnn, json_lines, refuses};

/// Two epochs of two steps.
const TRAIN: [&str; 13] = [
    "train", "--data", "photos", "--model", "stepwise", "--size", "12", "--epochs", "2", "--batch", "16", "--seed", "7",
];

/// A number of kernels that are of the second of those epochs; the whole run has some 130.
const IN_THE_SECOND_EPOCH: &str = "100";

/// A folder with pictures, and the emulated GPU's libraries.
struct Desk {
    place: Place,
    libraries: PathBuf,
}

impl Desk {
    /// None, said aloud past the harness, where there is no emulated GPU.
    fn new() -> Option<Self> {
        let libraries = match cnn_emulator::folder() {
            Ok(libraries) => libraries,
            Err(missing) => {
                say(&format!("no emulated GPU: {missing}"));
                return None;
            }
        };
        let place = Place::new();
        place.pictures("photos", 12);
        Some(Desk { place, libraries })
    }

    /// The program with the emulated GPU that these variables make of it.
    fn cnn(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = cnn(self.place.path());
        command.env("CNN_CUDA_LIBRARIES", &self.libraries).env("CNN_CUDA_CACHE", self.libraries.join("kernels"));
        command.envs(variables.iter().copied());
        command
    }

    /// What a command wrote that must succeed there: (stdout, stderr).
    fn succeeds(&self, variables: &[(&str, &str)], args: &[&str]) -> (String, String) {
        written(self.cnn(variables).args(args))
    }

    /// A run that was trained on the CPU, for commands that only read weights.
    fn run_of_the_cpu(&self) {
        self.place.succeeds(&[&TRAIN[..], &["--backend", "cpu", "--out", "run"]].concat());
    }
}

fn written(command: &mut Command) -> (String, String) {
    let output = command.assert().success().get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn say(why: &str) {
    stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

fn evaluated(printed: (String, String)) -> Value {
    json_lines(&printed.0).remove(0)
}

#[test]
fn devices_are_listed_with_where_their_libraries_are() {
    let Some(desk) = Desk::new() else { return };
    let (text, stderr) = desk.succeeds(&[], &["devices"]);
    assert!(stderr.is_empty(), "{stderr}");
    for (library, file) in
        [("CUDA driver", "libcuda.so.1"), ("NVRTC", "libnvrtc.so.13"), ("cuBLASLt", "libcublasLt.so.13")]
    {
        let line = format!("\ncuda  {library}: {}\n", desk.libraries.join(file).display());
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.starts_with("cpu   "), "{text}");
    assert!(text.ends_with("\ncuda  GPU 0: emulated GPU, 8 GiB, compute capability 9.0\n"), "{text}");

    let devices = |variables: &[(&str, &str)]| {
        json_lines(&desk.succeeds(variables, &["devices", "--json"]).0).remove(0)["cuda"]["gpus"].clone()
    };
    let gpus = devices(&[("EMULATOR_MEMORY", "5000000000")]);
    assert_eq!((&gpus[0]["capability"], &gpus[0]["usable"]), (&"9.0".into(), &true.into()), "{gpus}");
    assert_eq!(gpus[0]["memory_bytes"], 5_000_000_000_u64);
    let old = [("EMULATOR_CAPABILITY", "75")];
    assert_eq!(devices(&old)[0]["usable"], false);
    assert!(desk.succeeds(&old, &["devices"]).0.contains("compute capability 7.5: too old"));
    let none = [("EMULATOR_GPUS", "0")];
    assert_eq!(devices(&none), Value::Array(Vec::new()));
    assert!(desk.succeeds(&none, &["devices"]).0.ends_with("\ncuda  no GPU: the driver shows none\n"));
}

#[test]
fn a_library_that_is_missing_is_listed_with_how_to_get_it() {
    let Some(desk) = Desk::new() else { return };
    let Some(folder) = without_the_machines_own(&desk) else { return };
    let (text, _) = written(cnn(desk.place.path()).env("CNN_CUDA_LIBRARIES", &folder).arg("devices"));
    for (library, how) in [
        ("CUDA driver", "it comes with NVIDIA's driver"),
        ("NVRTC", "pip install nvidia-cuda-nvrtc"),
        ("cuBLASLt", "not needed: "),
    ] {
        let line =
            text.lines().find(|line| line.starts_with(&format!("cuda  {library}: missing, "))).unwrap_or_default();
        assert!(line.contains(how), "{text}");
    }
    assert!(text.ends_with(" WSL: the Windows driver)\n") && text.contains("\ncuda  no GPU: "), "{text}");
}

/// An empty folder, where the machine has none of the libraries itself, which would be found in their place.
fn without_the_machines_own(desk: &Desk) -> Option<PathBuf> {
    let devices = json_lines(&desk.place.succeeds(&["devices", "--json"]).0).remove(0);
    let libraries = devices["cuda"]["libraries"].as_array().unwrap();
    if let Some(found) = libraries.iter().find(|library| !library["path"].is_null()) {
        say(&format!("this machine has {}, which cannot be missing here", found["library"]));
        return None;
    }
    let folder = desk.place.path().join("libraries");
    fs::create_dir(&folder).unwrap();
    Some(folder)
}

/// Status 1 and the reason where a GPU is asked for; the CPU, and one line with the same reason, where it is not.
fn does_without(desk: &Desk, libraries: &Path, variables: &[(&str, &str)], words: &[&str]) {
    let program = || {
        let mut program = desk.cnn(variables);
        program.env("CNN_CUDA_LIBRARIES", libraries);
        program
    };
    let eval = ["eval", "run", "--json", "--backend"];
    let said = refuses(program(), &[&eval[..], &["cuda"]].concat(), 1, words);
    let reason = said.lines().last().unwrap().strip_prefix("error: ").unwrap();

    let (stdout, stderr) = written(program().args([&eval[..], &["auto"]].concat()));
    let notes: Vec<&str> = stderr.lines().filter(|line| line.starts_with("on the CPU: ")).collect();
    assert_eq!(notes, [format!("on the CPU: {reason}")], "{stderr}");
    let of_the_cpu = desk.place.succeeds(&[&eval[..], &["cpu"]].concat());
    assert_eq!(stdout, of_the_cpu.0);
    assert!(!of_the_cpu.1.contains("on the CPU"), "{}", of_the_cpu.1);

    // Of tf32 the CPU has none, so that there is nothing to fall back to.
    let train = [&TRAIN[..], &["--precision", "tf32", "--out", "none"]].concat();
    refuses(program(), &train, 1, words);
    assert!(!desk.place.path().join("none").exists());
}

#[test]
fn a_gpu_that_cannot_be_used_is_an_error_or_the_cpu_with_the_reason() {
    let Some(desk) = Desk::new() else { return };
    desk.run_of_the_cpu();
    let all = &desk.libraries;
    does_without(&desk, all, &[("EMULATOR_GPUS", "0")], &["GPU 0: the driver shows none", "CUDA_VISIBLE_DEVICES"]);
    let words = ["compute capability of GPU 0 (emulated GPU) 7.5: must be at least 8.0"];
    does_without(&desk, all, &[("EMULATOR_CAPABILITY", "75")], &words);
    let second = ["eval", "run", "--backend", "cuda:1"];
    refuses(desk.cnn(&[]), &second, 1, &["GPU 1: must be below 1, the GPUs that the driver shows"]);
    for wrong in ["cuda:", "cuda:first", "cuda:-1", "CUDA"] {
        refuses(
            desk.cnn(&[]),
            &["eval", "run", "--backend", wrong],
            2,
            &[&format!("backend {wrong}: must be auto, cpu")],
        );
    }
}

#[test]
fn a_library_that_is_missing_is_an_error_or_the_cpu_with_the_reason() {
    let Some(desk) = Desk::new() else { return };
    let Some(folder) = without_the_machines_own(&desk) else { return };
    desk.run_of_the_cpu();
    let driver = folder.join("libcuda.so.1");
    does_without(
        &desk,
        &folder,
        &[],
        &["no CUDA driver: libcuda.so.1 is in none of ", "it comes with NVIDIA's driver"],
    );
    fs::write(&driver, "no library").unwrap();
    let broken = format!("no CUDA driver: {}: ", driver.display());
    does_without(&desk, &folder, &[], &[&broken, "it comes with NVIDIA's driver"]);
    fs::copy(desk.libraries.join("libcuda.so.1"), &driver).unwrap();
    let words = ["no NVRTC: libnvrtc.so.13 or libnvrtc.so.12 is in none of ", "pip install nvidia-cuda-nvrtc"];
    does_without(&desk, &folder, &[], &words);
}

/// What was trained on the GPU is told apart from nothing that the CPU trains: it is evaluated, classified with, and gone on
/// with; the latter after the GPU was lost, by whoever finds it again.
fn from_training_to_prediction(precision: &str) {
    let Some(desk) = Desk::new() else { return };
    let train = [&TRAIN[..], &["--precision", precision]].concat();
    let on_cuda = [&train[..], &["--backend", "cuda", "--json", "--out", "whole"]].concat();
    let (stdout, stderr) = desk.succeeds(&[], &on_cuda);
    let activations = if precision == "f32" { "f32\n" } else { "bf16 activations\n" };
    assert!(stderr.contains("\ncuda: GPU 0, emulated GPU, ") && stderr.contains(activations), "{stderr}");
    assert!(stderr.contains(" MiB of the device's 8.00 GiB, by a step that was tried\n"), "{stderr}");
    let result = json_lines(&stdout).pop().unwrap();
    assert_eq!(result["test_accuracy"], 1.0, "{result}");

    let eval = |backend: &str| evaluated(desk.succeeds(&[], &["eval", "whole", "--json", "--backend", backend]));
    let (there, auto, here) = (eval("cuda"), eval("auto"), eval("cpu"));
    assert_eq!((&there["test_loss"], &there["correct"]), (&result["test_loss"], &result["correct"]));
    assert_eq!(there, auto, "a GPU that is there is used");
    let losses = [&there, &here].map(|evaluation| evaluation["test_loss"].as_f64().unwrap());
    assert!((losses[0] - losses[1]).abs() < 0.01 * losses[1], "{losses:?}");
    assert_eq!(there["confusion"], here["confusion"]);
    for backend in ["cuda", "cpu"] {
        let predict = ["predict", "whole", "photos/blue/3.png", "photos/red/3.png", "--backend", backend];
        let text = desk.succeeds(&[], &predict).0;
        assert!(text.starts_with("photos/blue/3.png\n  blue ") && text.contains("photos/red/3.png\n  red "), "{text}");
    }

    // Saved after every step.
    let recipe = String::from_utf8(desk.place.read("whole/recipe.toml")).unwrap();
    let often = recipe.replace("checkpoint_minutes = 5.0", "checkpoint_minutes = 0.0");
    assert_ne!(recipe, often);
    fs::write(desk.place.path().join("often.toml"), often).unwrap();
    let lost = desk.cnn(&[("EMULATOR_LOST", IN_THE_SECOND_EPOCH)]);
    let words = ["GPU 0 (emulated GPU): ", "CUDA_ERROR_ECC_UNCORRECTABLE (uncorrectable ECC error encountered)"];
    let train = ["train", "--recipe", "often.toml", "--backend", "cuda", "--out", "lost"];
    let said = refuses(lost, &train, 1, &words);
    assert!(said.contains("\nepoch 1/2 ") && !said.contains("\nepoch 2/2 "), "{said}");
    let (_, stderr) = desk.succeeds(&[], &["train", "--resume", "lost", "--backend", "cuda"]);
    assert!(stderr.contains("\nepoch 2/2 ") && !stderr.contains("\nepoch 1/2 "), "{stderr}");
    assert!(!stderr.contains("rounded by"), "the same arithmetic: {stderr}");
    assert!(
        desk.place.read("lost/model.safetensors") == desk.place.read("whole/model.safetensors"),
        "the weights differ"
    );
}

#[test]
fn f32_from_training_to_prediction() {
    from_training_to_prediction("f32");
}

#[test]
fn bf16_from_training_to_prediction() {
    from_training_to_prediction("bf16");
}

#[test]
fn a_run_of_the_gpu_goes_on_on_the_cpu_and_says_that_it_rounds_otherwise() {
    let Some(desk) = Desk::new() else { return };
    let train = [&TRAIN[..], &["--backend", "cuda", "--out", "run"]].concat();
    refuses(desk.cnn(&[("EMULATOR_LOST", IN_THE_SECOND_EPOCH)]), &train, 1, &["CUDA_ERROR_ECC_UNCORRECTABLE"]);
    let (stdout, stderr) = desk.place.succeeds(&["train", "--resume", "run", "--backend", "cpu"]);
    assert!(stdout.starts_with("test accuracy 100.00%"), "{stdout}");
    assert!(stderr.contains("note: the steps before were rounded by cuda emulated GPU"), "{stderr}");
}

#[test]
fn a_batch_that_is_too_large_is_named_with_one_that_fits() {
    let Some(desk) = Desk::new() else { return };
    let train = [&TRAIN[..9], &["--backend", "cuda", "--out", "run", "--batch"]].concat();
    let little = [("EMULATOR_MEMORY", "2400000")];
    let refused =
        ["batch 32: a step does not fit: ", "out of memory: ", " bytes were asked for, ", " are free: a batch of "];
    let said = refuses(desk.cnn(&little), &[&train[..], &["32"]].concat(), 2, &refused);
    assert!(!desk.place.path().join("run").exists(), "what was refused has left a folder");
    let number = |before: &str| -> usize {
        let rest = said.rsplit_once(before).unwrap().1;
        rest.split(' ').next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let (asked, free, fits) = (number("out of memory: "), number("asked for, "), number("a batch of "));
    assert!(asked > free && asked < 2_400_000 && fits < 32, "{said}");
    desk.succeeds(&little, &[&train[..], &[&fits.to_string()]].concat());

    // Where even less is there a look at the network is enough.
    let refused = ["batch 32: a step needs at least ", " MiB, and the device leaves ", " MiB: a batch of at most "];
    let even_less = desk.cnn(&[("EMULATOR_MEMORY", "2000000")]);
    let train = [&TRAIN[..9], &["--backend", "cuda", "--out", "small", "--batch", "32"]].concat();
    refuses(even_less, &train, 2, &refused);
    // And weights that do not fit are no matter of a batch.
    let nothing = desk.cnn(&[("EMULATOR_MEMORY", "100000")]);
    refuses(nothing, &train, 1, &["cuda: out of memory: ", " bytes were asked for, ", " are free"]);
}
