//! A folder to run the program in, and small data sets to run it on.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A variable that hides this machine's GPUs, on which sums would be rounded otherwise. Emulated ones it does not hide.
pub(crate) const NO_GPU: (&str, &str) = ("CUDA_VISIBLE_DEVICES", "");

/// The program, to be run in `folder`.
pub(crate) fn cnn(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnn"));
    command.current_dir(folder).env_remove("CNN_ISA").env_remove("CNN_CUDA_LIBRARIES").envs([NO_GPU]);
    command
}

/// Every line of `text` as JSON.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// As [`Place::refuses`], of a program with other surroundings.
pub(crate) fn refuses(mut program: Command, args: &[&str], status: i32, expected: &[&str]) -> String {
    let output = program.args(args).assert().code(status).get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{args:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
    let error = stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: "), "{args:?} said {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?} said {stderr}");
    for part in expected {
        assert!(error.contains(part), "{args:?} said {error:?}, without {part:?}");
    }
    stderr
}

/// A folder that is deleted with its contents at the end.
pub(crate) struct Place(TempDir);

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// What a command that must succeed wrote: (stdout, stderr).
    pub(crate) fn succeeds(&self, args: &[&str]) -> (String, String) {
        let output = cnn(self.path()).args(args).assert().success().get_output().clone();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// What a command wrote to stderr that must end with `status` and one line of error that has all of `expected`.
    pub(crate) fn refuses(&self, args: &[&str], status: i32, expected: &[&str]) -> String {
        refuses(cnn(self.path()), args, status, expected)
    }

    /// A folder `name` of 20 red and 20 blue pictures of `side` x `side`.
    pub(crate) fn pictures(&self, name: &str, side: u32) {
        for (class, colour) in [("red", [200, 30, 30]), ("blue", [30, 30, 200])] {
            let folder = self.path().join(name).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..20u8 {
                let shade = |c: u8, x: u32, y: u32| c.wrapping_add(number).wrapping_add((x ^ y) as u8 & 15);
                let picture = image::RgbImage::from_fn(side, side, |x, y| image::Rgb(colour.map(|c| shade(c, x, y))));
                picture.save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }

    /// A folder `name` of `count` pictures of 16 x 16 with a file `labels.csv` of their labels: "red" and "round" by themselves, so that
    /// a fourth of them has both, and a fourth none. The others are blue, and square.
    pub(crate) fn labelled(&self, name: &str, count: u32) {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut table = "file,labels\n".to_owned();
        for i in 0..count {
            let (red, round) = (i % 2 == 0, i / 2 % 2 == 0);
            let (cx, cy) = (6 + i / 4 % 5, 6 + i / 20 % 5);
            let inside = |x: u32, y: u32| {
                let [x, y] = [x.abs_diff(cx), y.abs_diff(cy)];
                if round { x * x + y * y <= 26 } else { x.max(y) <= 4 }
            };
            let figure = if red { [200, 40, 40] } else { [40, 40, 200] };
            let colour = |x, y| image::Rgb(if inside(x, y) { figure } else { [90 + (i * 7 % 60) as u8; 3] });
            image::RgbImage::from_fn(16, 16, colour).save(folder.join(format!("{i}.png"))).unwrap();
            let labels = [(red, "red"), (round, "round")].into_iter().filter(|(has, _)| *has);
            table += &format!("{i}.png,{}\n", labels.map(|(_, label)| label).collect::<Vec<_>>().join("|"));
        }
        fs::write(folder.join("labels.csv"), table).unwrap();
    }

    /// A folder `name` of CIFAR-10 files with `records` records each, their labels 0, 1, 2, ...
    pub(crate) fn cifar(&self, name: &str, records: u32) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut state = 1u32;
        let files = (1..=5).map(|batch| format!("data_batch_{batch}.bin")).chain(["test_batch.bin".to_owned()]);
        for file in files {
            let mut bytes = Vec::new();
            for record in 0..records {
                bytes.push((record % 10) as u8);
                for _ in 0..3072 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    bytes.push((state >> 24) as u8);
                }
            }
            fs::write(folder.join(file), bytes).unwrap();
        }
        folder
    }
}
