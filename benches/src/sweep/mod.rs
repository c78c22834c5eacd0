//! The convolutions of the usual networks, one by one, beside PyTorch's in the better of its layouts.
//!
//! Both sides have their turns at a shape before the next one comes, never at the same time: what else the machine does meets
//! both. Every turn is a median; the quickest turn of each side counts, as a turn that was disturbed says nothing of a kernel.

mod peer;
mod shapes;
mod times;

use std::path::Path;

use cnn_core::{Error, Result as CoreResult};
use cnn_measure::kernels::{self, Kernel, Operands};
use cnn_measure::timing::median_on;
use cnn_measure::{Machine, Repeat};
use serde_json::{Value, json};

use crate::on::Task;
use crate::peers;
use crate::setup::Setup;
use peer::Peer;
use shapes::{Shape, chosen};
use times::Times;

/// What is swept over.
pub(crate) struct Sweep<'a> {
    /// Threads, precision and device; of its network nothing counts.
    pub(crate) setup: &'a Setup,
    /// A part of the shapes' names.
    pub(crate) part: Option<&'a str>,
    /// In the place of the shapes' own batch sizes.
    pub(crate) batch: Option<usize>,
    /// Turns of each side at a shape.
    pub(crate) rounds: usize,
    /// Whose PyTorch is measured beside.
    pub(crate) python: Option<&'a Path>,
}

/// One shape, measured.
struct Row {
    shape: Shape,
    /// 10^9 operations of a pass; a multiply-add counts as two.
    gflop: f64,
    ours: Times,
    /// PyTorch's times and its version, or why there are none; nothing if it was not asked.
    theirs: Option<Result<(Times, String), String>>,
}

impl Task for Sweep<'_> {
    type Output = Vec<Value>;

    /// Prints a line of the table when a shape is measured; the rows as JSON.
    fn run<B: Machine>(self, backend: &B) -> Result<Vec<Value>, String> {
        let shapes = chosen(self.part, self.batch)?;
        let mut peer = self.python.map(|python| Peer::start(peers::sweep(python, self.setup)));
        println!("{}", self.head());
        let mut lines = Vec::new();
        for shape in shapes {
            let row = self.row(backend, shape, peer.as_mut()).map_err(|error| error.to_string())?;
            println!("{}", row.line());
            lines.extend(row.json(self.setup, &backend.isa()));
        }
        Ok(lines)
    }
}

impl Sweep<'_> {
    fn head(&self) -> String {
        let Setup { threads, precision, on, .. } = self.setup;
        let turns =
            if self.rounds == 1 { "1 turn".to_owned() } else { format!("the quickest of {} turns", self.rounds) };
        let mut text = format!("convolutions, {}, {precision}, {turns}\n", on.title(*threads));
        text += &format!("{:26} {:>5} {:>7} | {:36}", "shape", "batch", "GFLOP", "ms: frozen, forward, data, weight");
        if self.python.is_some() {
            text += &format!("| {:36}| {}", "PyTorch", "times as quick as PyTorch; forward + data + weight");
        }
        text
    }

    fn row<B: Machine>(
        &self,
        backend: &B,
        shape: Shape,
        mut peer: Option<&mut Result<Peer, String>>,
    ) -> CoreResult<Row> {
        let gflop = 2e-9 * shape.spec()?.macs() as f64;
        let mut ours = measure(backend, &shape, self.setup.repeat())?;
        let mut theirs = peer.as_deref_mut().map(|peer| ask(peer, &shape));
        for _ in 1..self.rounds {
            ours = ours.zip(measure(backend, &shape, self.setup.repeat())?, f64::min);
            if let (Some(Ok((times, _))), Some(peer)) = (&mut theirs, peer.as_deref_mut()) {
                match ask(peer, &shape) {
                    Ok((again, _)) => *times = times.zip(again, f64::min),
                    Err(error) => theirs = Some(Err(error)),
                }
            }
        }
        Ok(Row { shape, gflop, ours, theirs })
    }
}

fn ask(peer: &mut Result<Peer, String>, shape: &Shape) -> Result<(Times, String), String> {
    peer.as_mut().map_err(|error| error.clone())?.measure(shape)
}

/// Ours, a turn.
fn measure<B: Machine>(backend: &B, shape: &Shape, repeat: Repeat) -> CoreResult<Times> {
    let (spec, mut times) = (shape.spec()?, Vec::new());
    let mut visit = |kernel: Kernel<'_>| {
        times.push(1e3 * median_on(backend, repeat, kernel.run)?.as_secs_f64());
        Ok(())
    };
    kernels::conv2d_frozen(backend, &spec, &shape.name, &mut visit)?;
    kernels::conv2d_passes(backend, &spec, &shape.name, Operands::Written, &mut visit)?;
    match times[..] {
        [frozen, forward, data, weight] => Ok(Times { frozen, forward, data, weight }),
        _ => Err(Error::invalid("passes", times.len(), "must be 4")),
    }
}

impl Row {
    fn line(&self) -> String {
        let Row { shape, gflop, ours, theirs } = self;
        let columns = |times: Times| times.columns().map(|ms| format!("{ms:8.3} ")).concat();
        let mut text = format!("{:26} {:5} {gflop:7.3} | {}", shape.name, shape.batch, columns(*ours));
        match theirs {
            Some(Ok((theirs, _))) => {
                let ratios = theirs.zip(*ours, |theirs, ours| theirs / ours).columns();
                text += &format!("| {}| {}", columns(*theirs), ratios.map(|ratio| format!("{ratio:5.2} ")).concat());
                text += &format!("; {:5.2}", theirs.training() / ours.training());
            }
            Some(Err(error)) => text += &format!("| pytorch: missing: {error}"),
            None => {}
        }
        text
    }

    /// A line for each engine.
    fn json(&self, setup: &Setup, isa: &str) -> Vec<Value> {
        let Row { shape, gflop, ours, theirs } = self;
        let line = |engine: &str, isa: &str| {
            json!({"area": "sweep", "model": shape.name, "engine": engine, "isa": isa, "threads": setup.threads,
                "batch": shape.batch, "dtype": setup.precision, "gflop": gflop})
        };
        let mut own = line("cnn", isa);
        own["median_ms"] = json!(ours);
        let Some(theirs) = theirs else { return vec![own] };
        let mut peer = line("pytorch", peers::isa());
        match theirs {
            Ok((times, version)) => {
                (peer["median_ms"], peer["version"]) = (json!(times), json!(version));
                own["ratio_to_best_peer"] = json!(times.zip(*ours, |theirs, ours| theirs / ours));
                own["ratio_to_best_peer"]["training"] = json!(times.training() / ours.training());
            }
            Err(error) => peer["error"] = json!(error),
        }
        vec![own, peer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::on::On;
    use cnn_measure::Area;

    fn row(theirs: Option<Result<(Times, String), String>>) -> Row {
        let ours = Times { frozen: 1.0, forward: 2.0, data: 4.0, weight: 4.0 };
        Row { shape: chosen(Some("tiny"), None).unwrap().remove(0), gflop: 0.5, ours, theirs }
    }

    fn setup() -> Setup {
        let (model, precision) = (String::new(), "f32".to_owned());
        Setup { area: Area::Layers, model, side: 32, batch: 1, threads: 2, precision, on: On::Cpu, rehearse: true }
    }

    #[test]
    fn ratios_are_their_times_over_ours() {
        let theirs = Times { frozen: 3.0, forward: 3.0, data: 2.0, weight: 10.0 };
        let row = row(Some(Ok((theirs, "7".to_owned()))));
        assert!(row.line().ends_with("|  3.00  1.50  0.50  2.50 ;  1.50"), "{}", row.line());
        let [own, peer] = &row.json(&setup(), "avx2")[..] else { panic!("two lines") };
        assert_eq!(
            own["ratio_to_best_peer"],
            json!({"frozen": 3.0, "forward": 1.5, "backward data": 0.5,
            "backward weight": 2.5, "training": 1.5})
        );
        assert_eq!(
            (&own["median_ms"]["backward data"], &own["batch"], &own["isa"]),
            (&4.0.into(), &64.into(), &"avx2".into())
        );
        assert_eq!((&peer["median_ms"]["forward"], &peer["version"]), (&3.0.into(), &"7".into()));
    }

    #[test]
    fn a_peer_that_is_missing_is_told_and_ours_stays() {
        let missing = row(Some(Err("/nonexistent/python: not found".to_owned())));
        assert!(missing.line().ends_with("pytorch: missing: /nonexistent/python: not found"), "{}", missing.line());
        let [own, peer] = &missing.json(&setup(), "avx2")[..] else { panic!("two lines") };
        assert!(own.get("ratio_to_best_peer").is_none() && own["median_ms"]["frozen"] == 1.0);
        assert!(peer.get("median_ms").is_none() && peer["error"] == "/nonexistent/python: not found");
        assert_eq!(row(None).json(&setup(), "avx2").len(), 1);
    }
}
