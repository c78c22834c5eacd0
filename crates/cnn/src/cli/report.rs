//! `cnn report`, and the report that a training leaves in its folder.

use std::fs;
use std::path::{Path, PathBuf};

use cnn::data::{ImageSet, Pool};
use cnn::train::{Classifier, Evaluation, RunFolder, Weights, evaluation_batch, write_atomically};
use cnn_measure::Machine;
use cnn_pages::{MACHINE, Run, report_page};
use serde_json::json;

use super::args::{EvalArgs, PicturesArgs, ReportArgs, WeightsArgs};
use super::device::{self, Command, Device};
use super::eval::test_images;
use super::failure::Failure;
use super::output::{self, shown};
use super::progress::Progress;

/// The report's file in a run's folder.
const REPORT: &str = "report.html";

/// Runs the command.
pub(crate) fn run(args: ReportArgs) -> Result<(), Failure> {
    let out = match &args.out {
        Some(out) => output::replaceable(out, args.force)?,
        None => args.run.join(REPORT),
    };
    let run = Run::read(&args.run).map_err(Failure::usage)?;
    let weights = Weights::read(super::data::weights(&args.run)?)?;
    let trained = weights.info();
    let device = Device::open(&args.device, trained.precision.stored(), &trained.conv_algo)?;
    let ReportArgs { run: folder, data, device: on, source, .. } = args;
    let asked = EvalArgs {
        weights: WeightsArgs { weights: folder, best: false },
        data,
        all: false,
        batch: None,
        tta: false,
        precision: None,
        pictures: PicturesArgs { cache: None, skip_bad: false },
        device: on,
        source,
        json: false,
    };
    let pool = device.pool()?;
    device.run(Report { run, weights, asked, pool, out })
}

struct Report {
    run: Run,
    weights: Weights,
    asked: EvalArgs,
    pool: Pool,
    out: PathBuf,
}

impl Command for Report {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Report { run, weights, asked, pool, out } = self;
        let images = test_images(&asked, weights.info(), pool)?;
        let [height, width, _] = weights.info().image;
        let batch = evaluation_batch([height, width]);
        let classifier = Classifier::from_weights(backend, weights)?;
        let mut progress = Progress::new();
        let evaluation = classifier.evaluate(&images, batch, &mut |done, total| progress.evaluating(done, total));
        progress.finish();
        write_atomically(&out, report_page(&run, &evaluation?, &images)?.as_bytes())?;
        output::print(&format!("saved {}\n", shown(&out)))
    }
}

/// Writes the report of a run that has ended, and on what it ran. One that cannot be written is no reason to call the run a
/// failure: it is said, and `cnn report` makes it again.
pub(super) fn at_the_end<B: Machine>(backend: &B, folder: &RunFolder, evaluation: &Evaluation, test: &ImageSet) {
    let written = (|| -> cnn::Result<()> {
        write_atomically(&folder.path().join(MACHINE), machine(backend).as_bytes())?;
        let page = report_page(&Run::read(folder.path())?, evaluation, test)?;
        write_atomically(&folder.path().join(REPORT), page.as_bytes())
    })();
    if let Err(error) = written {
        output::note(&format!(
            "warning: no {REPORT}: {error}; make it by: cnn report {}",
            output::quoted(folder.path())
        ));
    }
}

/// What computes, and what it took.
fn machine<B: Machine>(backend: &B) -> String {
    let facts = json!({
        "device": device::describe(backend),
        "processor": processor(),
        "instruction_set": backend.isa(),
        "threads": backend.threads(),
        "system": format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
        "program": concat!("cnn ", env!("CARGO_PKG_VERSION")),
        "peak_memory_bytes": cnn_measure::timing::peak_memory(),
    });
    format!("{facts:#}\n")
}

/// What the system calls the processor.
fn processor() -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/cpuinfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
