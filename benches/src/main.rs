//! The program behind `cargo xtask bench`: this machine measured, and on request the peers beside it.
//!
//! Whole networks are measured in rounds, every engine in turn and each in a process of its own: so its peak memory is
//! its own, and what else the machine does meets them all alike. Kernels are measured in this process.

mod contender;
mod epoch;
mod layers;
mod on;
mod peers;
mod race;
mod setup;
mod sweep;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use cnn_core::Error;
use cnn_cpu::available_threads;
use cnn_measure::timing::peak_memory;
use cnn_measure::{Area, Machine, Repeat, Row, networks};
use cnn_models::Arch;
use serde_json::{Value, json};

use on::{On, Task};
use peers::Peers;
use race::Race;
use setup::Setup;
use sweep::Sweep;

/// Models with the batch sizes at which they are measured; another model has those of the first, or of the zoo.
type Networks = &'static [(&'static str, &'static [usize])];
const TRAINING: Networks = &[("resnet18", &[128]), ("stepwise", &[64])];
const INFERENCE: Networks = &[("resnet18", &[1, 16, 128]), ("stepwise", &[1, 64])];
const GPU_TRAINING: Networks = &[("resnet18", &[512, 1024])];
const GPU_INFERENCE: Networks = &[("resnet18", &[1, 128, 1024])];
const REHEARSAL: Networks = &[("stepwise", &[2])];
/// Batch sizes of the zoo, whose images are of 224x224 pixels.
const ZOO_TRAINING: &[usize] = &[16];
const ZOO_INFERENCE: &[usize] = &[1, 16];

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                                                  this machine
  cargo xtask bench --only layers --batch 32
  cargo xtask bench --peers python3 --only sweep --shape resnet50    convolutions beside PyTorch's
  cargo xtask bench --peers python3 --only train --model resnet18    beside PyTorch
  cargo xtask bench --peers python3 --rust-peers --only infer        beside every engine
  cargo xtask bench --peers python3 --only infer --zoo               the networks for 224x224 pixels
  CNN_ISA=avx2 cargo xtask bench --peers python3 --only train        the peers limited likewise
  cargo xtask bench --backend cuda --precision bf16 --peers python3  the first GPU, beside cuBLASLt and PyTorch";

/// Measure this machine: every layer, training steps, inference; and other engines beside it
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", after_help = EXAMPLES)]
struct Args {
    /// One area: layers, train or infer [default: these]; or sweep, the convolutions of the usual networks one by one
    #[arg(long, value_name = "AREA")]
    only: Option<Only>,
    /// With `--only sweep`: the shapes whose names have this part [default: all]
    #[arg(long, value_name = "PART")]
    shape: Option<String>,
    /// One network [default: resnet18 and stepwise]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What our side computes on: cpu, or cuda, the first GPU
    #[arg(long, value_name = "BACKEND", default_value = "cpu")]
    backend: On,
    /// Every network that is made for 224x224 pixels, each on such images
    #[arg(long, conflicts_with = "model")]
    zoo: bool,
    /// Images at a time [default: 128 and 64 for training, 1, 16 and 128 for inference, of the zoo 16, and 1 and 16; on a GPU 512 and
    /// 1024, and 1, 128, 1024; those of the sweep's table]
    #[arg(long, value_name = "N", value_parser = positive)]
    batch: Option<usize>,
    /// CPU threads [default: as many as this process may use; one beside a GPU]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// How activations are stored: f32 or bf16
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = ["f32", "bf16"])]
    precision: String,
    /// A Python that has benches/peers/requirements.txt: measure PyTorch, onnxruntime and OpenVINO beside
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Measure the inference of tract, burn and candle too; building them takes some ten minutes, once
    #[arg(long, requires = "peers")]
    rust_peers: bool,
    /// How often every engine has its turn; what counts is the median, in the sweep the quickest
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    rounds: usize,
    /// Also write the results here, a JSON object a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure next to nothing, once: to see that everything runs, as on an emulated GPU
    #[arg(long)]
    rehearse: bool,
    /// Measure one training or inference in this process and print one line of JSON: what each round starts
    #[arg(long, hide = true, requires_all = ["only", "model", "batch", "threads"])]
    here: bool,
    /// With `here`: how often at least, such as a thousand times to see whether memory grows
    #[arg(long, hide = true, requires = "here", value_name = "N", value_parser = positive)]
    least: Option<usize>,
    /// With `here`: an epoch of training, not a step
    #[arg(long, hide = true, requires = "here")]
    epoch: bool,
}

/// Rows and columns of the images that a network is measured on; a name that is not known is refused where it is run.
fn side(model: &str) -> usize {
    networks::usual(model).map_or(32, |([side, ..], _)| side)
}

/// What alone is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    /// An area that `cnn bench` has too.
    Area(Area),
    /// Convolutions one by one.
    Sweep,
}

impl FromStr for Only {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let rule = || Error::invalid("area", text, "must be layers, train, infer or sweep");
        if text == "sweep" { Ok(Only::Sweep) } else { text.parse().map(Only::Area).map_err(|_| rule()) }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "must be a number of at least 1".to_owned())
}

impl Args {
    fn threads(&self) -> usize {
        match self.backend {
            On::Cpu => self.threads.unwrap_or_else(available_threads),
            On::Cuda => 1,
        }
    }

    /// What is measured of an area if nothing else is asked for.
    fn known(&self, area: Area) -> Networks {
        match (self.rehearse, self.backend, area) {
            (true, ..) => REHEARSAL,
            (false, On::Cpu, Area::Train) => TRAINING,
            (false, On::Cpu, _) => INFERENCE,
            (false, On::Cuda, Area::Train) => GPU_TRAINING,
            (false, On::Cuda, _) => GPU_INFERENCE,
        }
    }

    /// The batch sizes of a model that is asked for by its name.
    fn batches(&self, area: Area, model: &str) -> &'static [usize] {
        let known = self.known(area);
        match known.iter().find(|(name, _)| *name == model) {
            Some((_, batches)) => batches,
            None if side(model) == 32 || self.rehearse => known[0].1,
            None if area == Area::Train => ZOO_TRAINING,
            None => ZOO_INFERENCE,
        }
    }

    /// The networks of an area, each with one batch size.
    fn networks(&self, area: Area) -> Vec<Setup> {
        let models: Vec<&str> = match &self.model {
            Some(only) => vec![only],
            None if self.zoo => Arch::described().map(|(name, _)| name).filter(|name| side(name) > 64).collect(),
            None => self.known(area).iter().map(|(name, _)| *name).collect(),
        };
        let mut setups = Vec::new();
        for model in models {
            for batch in self.batch.map_or(self.batches(area, model).to_vec(), |batch| vec![batch]) {
                setups.push(self.setup(area, model, batch));
            }
        }
        setups
    }

    fn setup(&self, area: Area, model: &str, batch: usize) -> Setup {
        let (threads, precision, on, rehearse) = (self.threads(), self.precision.clone(), self.backend, self.rehearse);
        Setup { area, model: model.to_owned(), side: side(model), batch, threads, precision, on, rehearse }
    }

    /// The layer table's.
    fn layers(&self) -> Setup {
        let batch = match (self.rehearse, self.backend) {
            (true, _) => 1,
            (false, On::Cpu) => 128,
            (false, On::Cuda) => 512,
        };
        self.setup(Area::Layers, "resnet18", self.batch.unwrap_or(batch))
    }

    /// The convolutions of the sweep, as JSON.
    fn sweep(&self) -> Result<Vec<Value>, String> {
        let (batch, rounds) = if self.rehearse { (Some(1), 1) } else { (self.batch, self.rounds) };
        let setup = &self.setup(Area::Layers, "", 1);
        let sweep = Sweep { setup, part: self.shape.as_deref(), batch, rounds, python: self.peers.as_deref() };
        setup.on.run(setup.threads, &setup.precision, sweep)
    }
}

/// One row, measured in this process, which does nothing else.
struct Here<'a> {
    setup: &'a Setup,
    least: Option<usize>,
    epoch: bool,
}

impl Task for Here<'_> {
    type Output = Row;

    fn run<B: Machine>(self, backend: &B) -> Result<Row, String> {
        let Here { setup, least, epoch } = self;
        let Setup { area, model, batch, .. } = setup;
        let usual = setup.repeat();
        let repeat = Repeat { least: least.unwrap_or(usual.least), ..usual };
        let row = match area {
            Area::Train if epoch => return Ok(with_peaks(backend, epoch::measure(backend, setup)?)),
            Area::Train => networks::train(backend, model, *batch, repeat),
            Area::Infer => networks::infer(backend, model, *batch, repeat),
            Area::Layers => Err(Error::invalid("area", "layers", "must be train or infer")),
        };
        Ok(with_peaks(backend, row.map_err(|error| error.to_string())?))
    }
}

fn with_peaks<B: Machine>(backend: &B, row: Row) -> Row {
    let own = backend.own_memory().ok().flatten();
    Row { peak_rss_bytes: peak_memory(), peak_device_bytes: own.map(|memory| memory.peak), ..row }
}

/// Measures what was asked for; whether all of ours ran.
fn run(args: &Args) -> Result<bool, String> {
    if args.shape.is_some() && args.only != Some(Only::Sweep) {
        return Err("--shape: is for --only sweep".to_owned());
    }
    if args.only == Some(Only::Sweep) {
        write(args, &args.sweep()?)?;
        return Ok(true);
    }
    let areas = Area::ALL.into_iter().filter(|area| args.only.is_none_or(|only| only == Only::Area(*area)));
    if args.here {
        for setup in areas.flat_map(|area| args.networks(area)) {
            let row = setup.on.run(
                setup.threads,
                &setup.precision,
                Here { setup: &setup, least: args.least, epoch: args.epoch },
            )?;
            println!("{}", json!(row));
        }
        return Ok(true);
    }
    let peers = match &args.peers {
        Some(python) => {
            let rust = args.rust_peers.then(peers::build_rust).transpose()?;
            Some(Peers { python: python.clone(), rust })
        }
        None => None,
    };
    let (mut lines, mut complete): (Vec<Value>, bool) = (Vec::new(), true);
    let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    for area in areas {
        if area == Area::Layers {
            lines.extend(layers::run(args.peers.as_deref(), &args.layers())?);
            continue;
        }
        for setup in args.networks(area) {
            let mut contenders = contender::own(&setup)?;
            contenders.extend(peers.iter().flat_map(|peers| peers::networks(peers, &setup, folder.path())));
            let race = Race::run(&setup, contenders, if args.rehearse { 1 } else { args.rounds });
            print!("{race}");
            complete &= race.own().is_some();
            lines.extend(race.entries().iter().map(|entry| json!(entry)));
        }
    }
    write(args, &lines)?;
    Ok(complete)
}

/// Where they are wanted as a file.
fn write(args: &Args, lines: &[Value]) -> Result<(), String> {
    let Some(path) = &args.json else { return Ok(()) };
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn setups(arguments: &[&str], area: Area) -> Vec<(String, usize)> {
        let args = Args::parse_from([&["bench"], arguments].concat());
        args.networks(area).into_iter().map(|setup| (setup.model, setup.batch)).collect()
    }

    #[test]
    fn the_arguments_choose_networks_and_batches() {
        Args::command().debug_assert();
        let of = |model: &str, batches: &[usize]| batches.iter().map(|&b| (model.to_owned(), b)).collect::<Vec<_>>();
        assert_eq!(setups(&[], Area::Train), [of("resnet18", &[128]), of("stepwise", &[64])].concat());
        assert_eq!(setups(&["--model", "stepwise"], Area::Infer), of("stepwise", &[1, 64]));
        assert_eq!(setups(&["--model", "resnet34"], Area::Infer), of("resnet34", &[1, 16, 128]));
        assert_eq!(setups(&["--model", "resnet18", "--batch", "3"], Area::Infer), of("resnet18", &[3]));
        assert_eq!(setups(&["--model", "mobilenet-v2"], Area::Infer), of("mobilenet-v2", &[1, 16]));
        assert_eq!(setups(&["--model", "mobilenet-v2"], Area::Train), of("mobilenet-v2", &[16]));
        let zoo = Args::parse_from(["bench", "--zoo", "--batch", "1"]).networks(Area::Infer);
        assert_eq!(zoo.len(), 20);
        assert!(zoo.iter().all(|setup| setup.side == 224 && setup.batch == 1 && setup.model != "resnet18"));
        assert_eq!(setups(&["--backend", "cuda"], Area::Train), of("resnet18", &[512, 1024]));
        assert_eq!(setups(&["--backend", "cuda", "--rehearse"], Area::Infer), of("stepwise", &[2]));
        let gpu = Args::parse_from(["bench", "--backend", "cuda", "--threads", "7"]);
        assert_eq!((gpu.threads(), gpu.layers().batch), (1, 512));
        assert!(Args::try_parse_from(["bench", "--backend", "tpu"]).is_err());
        assert!(Args::try_parse_from(["bench", "--batch", "0"]).is_err());
        assert!(Args::try_parse_from(["bench", "--rust-peers"]).is_err());
        let wings = Args::try_parse_from(["bench", "--only", "wings"]).unwrap_err().to_string();
        assert!(wings.contains("must be layers, train, infer or sweep"), "{wings}");
        let misplaced = run(&Args::parse_from(["bench", "--only", "train", "--shape", "tiny"]));
        assert_eq!(misplaced, Err("--shape: is for --only sweep".to_owned()));
    }

    #[test]
    fn the_sweep_measures_and_tells_which_python_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let asked = ["bench", "--only", "sweep", "--shape", "dw3-576", "--rehearse", "--threads", "1", "--json"];
        let peers = ["--peers", "/nonexistent/python"];
        let args = Args::parse_from([&asked[..], &[path.to_str().unwrap()], &peers].concat());
        assert_eq!(run(&args), Ok(true));
        let text = fs::read_to_string(path).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 4, "{text}");
        for pair in rows.chunks(2) {
            assert!(pair[0]["median_ms"]["backward weight"].as_f64() > Some(0.0) && pair[0]["batch"] == 1, "{text}");
            assert!(pair[1]["error"].as_str().unwrap().starts_with("/nonexistent/python: "), "{text}");
        }
    }
}
