//! Event files are read by TensorBoard itself, where Python has it (`PYTHON` names one that does).

use std::process::Command;

use cnn_train::EventFile;

/// Prints what TensorBoard finds in a folder.
const READ: &str = r#"
import sys
from tensorboard.backend.event_processing import event_accumulator
found = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0, "images": 0})
found.Reload()
for tag in found.Tags()["scalars"]:
    print(tag, [(event.step, round(event.value, 6)) for event in found.Scalars(tag)])
for tag in found.Tags()["histograms"]:
    value = found.Histograms(tag)[0].histogram_value
    print(tag, value.min, value.max, value.num, value.sum, len(value.bucket), sum(value.bucket))
for tag in found.Tags()["images"]:
    image = found.Images(tag)[0]
    print(tag, image.step, image.width, image.height, len(image.encoded_image_string))
"#;

#[test]
fn tensorboard_reads_what_is_written() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has_it = Command::new(&python).args(["-c", "import tensorboard"]).output().is_ok_and(|o| o.status.success());
    if !has_it {
        eprintln!("SKIPPED: {python} has no tensorboard, which reads the event files");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut first = EventFile::create(place.path(), 0).unwrap();
    for step in [10, 20, 30] {
        first.scalars(step, [("loss/train", 1.0 / step as f64), ("lr", 0.5)]).unwrap();
    }
    first.histogram(10, "conv1.weight", [-1.0, 0.0, 0.25, 3.0, f64::NAN]).unwrap();
    first.histogram(10, "nothing", [f64::NAN]).unwrap();
    first.image(0, "training images", [2, 4], &[1, 2, 3]).unwrap();
    drop(first);
    // A run that was resumed after step 20: what was written of later steps is void.
    std::thread::sleep(std::time::Duration::from_millis(1100)); // the files' names are ordered by the second
    let mut second = EventFile::create(place.path(), 20).unwrap();
    second.scalars(30, [("loss/train", 0.25)]).unwrap();
    let output = Command::new(&python).args(["-c", READ]).arg(place.path()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let expected = "\
loss/train [(10, 0.1), (20, 0.05), (30, 0.25)]
lr [(10, 0.5), (20, 0.5)]
conv1.weight -1.0 3.0 4.0 2.25 64 4.0
training images 0 4 2 3
";
    assert_eq!(text, expected, "{errors}");
}
