//! One row per measurement, for a table and for a program.

use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use cnn_core::Error;
use serde::Serialize;

use crate::kernels::Work;
use crate::machine::Machine;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Each kernel of ResNet-18 by itself.
    Layers,
    /// A whole training step.
    Train,
    /// Inference.
    Infer,
}

impl Area {
    /// Every area, in the order of a report.
    pub const ALL: [Area; 3] = [Area::Layers, Area::Train, Area::Infer];
}

impl Display for Area {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Area::Layers => "layers",
            Area::Train => "train",
            Area::Infer => "infer",
        })
    }
}

impl FromStr for Area {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Area::ALL.into_iter().find(|area| area.to_string() == text);
        found.ok_or_else(|| Error::invalid("area", text, "must be layers, train or infer"))
    }
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What is measured.
    pub area: Area,
    /// The network, or the one that the layer is from.
    pub model: String,
    /// What ran: `cnn`, or a peer.
    pub engine: String,
    /// The layer and pass, or how the network ran.
    pub config: String,
    /// The instruction set, or what caps it.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Images.
    pub batch: usize,
    /// Format of activations.
    pub dtype: String,
}

impl Setting {
    /// This device at work.
    pub fn new<B: Machine>(backend: &B, area: Area, model: &str, config: &str, batch: usize) -> Self {
        Setting {
            area,
            model: model.to_owned(),
            engine: "cnn".to_owned(),
            config: config.to_owned(),
            isa: backend.isa(),
            threads: backend.threads(),
            batch,
            dtype: backend.precision(),
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Of what.
    #[serde(flatten)]
    pub setting: Setting,
    /// Median time of one repetition.
    pub median_ms: f64,
    /// Images per second.
    pub images_s: f64,
    /// The most memory that the process held, where it did nothing else.
    pub peak_rss_bytes: Option<u64>,
    /// The most of a device's own memory that it used, likewise.
    pub peak_device_bytes: Option<u64>,
    /// How near to the machine's limit it is, for a single kernel.
    #[serde(flatten)]
    pub rate: Option<Rate>,
}

impl Row {
    /// `setting` took `time`.
    pub fn new(setting: Setting, time: Duration) -> Self {
        Row {
            median_ms: time.as_secs_f64() * 1e3,
            images_s: setting.batch as f64 / time.as_secs_f64(),
            peak_rss_bytes: None,
            peak_device_bytes: None,
            rate: None,
            setting,
        }
    }

    /// With the rate of `work` beside `limit`, the most that the machine does, in 10^9 a second.
    #[must_use]
    pub fn doing(self, work: Work, limit: f64) -> Self {
        let rate = |count: u64| 1e-6 * count as f64 / self.median_ms;
        let rate = match work {
            Work::Flops(count) => Rate::Arithmetic { gflop_s: rate(count), peak_gflop_s: limit },
            Work::Bytes(count) => Rate::Memory { gb_s: rate(count), triad_gb_s: limit },
        };
        Row { rate: Some(rate), ..self }
    }

    /// One line about a training step or inference.
    pub fn line(&self) -> String {
        let Row { setting: Setting { area, model, threads, batch, dtype, isa, .. }, median_ms, images_s, .. } = self;
        let threads = format!("{threads} thread{}", if *threads == 1 { "" } else { "s" });
        format!(
            "{:6} {model:10} batch {batch:4}, {threads}, {dtype}, {isa}: {median_ms:9.3} ms, {images_s:9.1} \
             images/s\n",
            area.to_string()
        )
    }
}

/// What a kernel does in a second, beside the most that the machine did at the same time.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Rate {
    /// The arithmetic of the direct algorithm: a faster algorithm can pass the peak.
    Arithmetic {
        /// 10^9 operations a second; a multiply-add counts as two.
        gflop_s: f64,
        /// Of nothing but multiply-adds.
        peak_gflop_s: f64,
    },
    /// What has to be read and written at least: arrays that stay in a cache can pass the memory's bandwidth.
    Memory {
        /// 10^9 bytes a second.
        gb_s: f64,
        /// Of a triad over arrays that no cache holds.
        triad_gb_s: f64,
    },
}

impl Display for Rate {
    /// ` 441 GFLOP/s  92%`; on GPUs, whose peaks have five digits and more, ` 441 TFLOP/s  92%`
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match *self {
            Rate::Arithmetic { gflop_s: rate, peak_gflop_s: peak } if peak >= 1e4 => {
                write!(f, "{:4.0} TFLOP/s {:3.0}%", 1e-3 * rate, 100.0 * rate / peak)
            }
            Rate::Arithmetic { gflop_s: rate, peak_gflop_s: peak } => {
                write!(f, "{rate:4.0} GFLOP/s {:3.0}%", 100.0 * rate / peak)
            }
            Rate::Memory { gb_s: rate, triad_gb_s: peak } => {
                write!(f, "{rate:4.0} GB/s    {:3.0}%", 100.0 * rate / peak)
            }
        }
    }
}

/// Rows of layers as a table: a line for each kernel, a column for each instruction set and peer.
pub fn layer_table(rows: &[Row]) -> String {
    let column =
        |row: &Row| if row.setting.engine == "cnn" { row.setting.isa.clone() } else { row.setting.engine.clone() };
    let (mut columns, mut names) = (Vec::new(), Vec::new());
    for row in rows {
        for (list, item) in [(&mut columns, column(row)), (&mut names, row.setting.config.clone())] {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    }
    let Some(Row { setting: Setting { model, batch, threads, dtype, .. }, .. }) = rows.first() else {
        return String::new();
    };
    let threads = format!("{threads} thread{}", if *threads == 1 { "" } else { "s" });
    let mut text = format!("layers of {model}, batch {batch}, {threads}, {dtype}\n{:40}", "");
    columns.iter().for_each(|name| text += &format!("{name:>30}"));
    for name in names {
        text += &format!("\n{name:40}");
        for set in &columns {
            let row = rows.iter().find(|row| row.setting.config == name && column(row) == *set);
            let rate = |row: &Row| row.rate.map(|rate| rate.to_string()).unwrap_or_default();
            let digits = |row: &Row| if row.median_ms < 1.0 { 3 } else { 2 };
            let cell = row.map(|row| format!("{:.*} ms {}", digits(row), row.median_ms, rate(row)));
            text += &format!("{:>30}", cell.unwrap_or_default());
        }
    }
    text + "\n"
}
