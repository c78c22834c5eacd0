//! One row per measurement, for a table and for a program.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use cnn_cpu::{Cpu, CpuElement};
use serde::Serialize;

use crate::timing::peak_memory;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `layers`, `train` or `infer`.
    pub area: &'static str,
    /// The network, or the one that the layer is from.
    pub model: String,
    /// What ran: `cnn`.
    pub engine: &'static str,
    /// The layer and pass, or how the network ran.
    pub config: String,
    /// The instruction set.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Images.
    pub batch: usize,
    /// Format of activations.
    pub dtype: String,
    /// Median time of one repetition.
    pub median_ms: f64,
    /// Images per second.
    pub images_s: f64,
    /// The most memory that the process held meanwhile.
    pub peak_rss_bytes: Option<u64>,
    /// Arithmetic of the direct algorithm over time, where arithmetic is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflop_s: Option<f64>,
    /// The multiply-add peak measured beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_gflop_s: Option<f64>,
    /// Bytes read and written at least, over time, where memory is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gb_s: Option<f64>,
}

impl Row {
    /// A measurement of `batch` images on this device, without a rate.
    pub fn new<T: CpuElement>(
        cpu: &Cpu<T>,
        area: &'static str,
        model: &str,
        config: String,
        batch: usize,
        time: Duration,
    ) -> Self {
        Row {
            area,
            model: model.to_owned(),
            engine: "cnn",
            config,
            isa: cpu.isa().to_string(),
            threads: cpu.threads(),
            batch,
            dtype: T::DTYPE.to_string(),
            median_ms: time.as_secs_f64() * 1e3,
            images_s: batch as f64 / time.as_secs_f64(),
            peak_rss_bytes: peak_memory(),
            gflop_s: None,
            peak_gflop_s: None,
            gb_s: None,
        }
    }

    /// With the rate at which these bytes moved.
    #[must_use]
    pub fn moving(self, bytes: usize) -> Self {
        Row { gb_s: Some(1e-6 * bytes as f64 / self.median_ms), ..self }
    }
}

/// Writes rows as JSON, one a line.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut file, row)?;
        writeln!(file)?;
    }
    file.flush()
}

/// The layers as a table, one column per instruction set, and below it everything else.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let layers: Vec<&Row> = rows.iter().filter(|row| row.area == "layers").collect();
    let mut sets: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for row in &layers {
        for (list, item) in [(&mut sets, row.isa.as_str()), (&mut names, row.config.as_str())] {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    }
    if let Some(first) = layers.first() {
        text +=
            &format!("layers of {}, batch {}, {} threads, {}\n", first.model, first.batch, first.threads, first.dtype);
        text += &format!("{:40}", "");
        sets.iter().for_each(|set| text += &format!("{set:>28}"));
        text += "\n";
    }
    for name in names {
        text += &format!("{name:40}");
        for set in &sets {
            let cell = layers.iter().find(|row| row.config == name && row.isa == *set).map(|row| cell(row));
            text += &format!("{:>28}", cell.unwrap_or_default());
        }
        text += "\n";
    }
    for row in rows.iter().filter(|row| row.area != "layers") {
        let memory = row.peak_rss_bytes.map(|bytes| format!(", peak {} MB", bytes / 1_000_000)).unwrap_or_default();
        text += &format!(
            "{:6} {:10} {:10} batch {:4}, {} threads, {}, {}: {:9.3} ms, {:8.1} images/s{memory}\n",
            row.area, row.model, row.config, row.batch, row.threads, row.dtype, row.isa, row.median_ms, row.images_s
        );
    }
    text
}

/// `7.2 ms  441 GFLOP/s  92%`, or GB/s.
fn cell(row: &Row) -> String {
    let rate = match (row.gflop_s, row.peak_gflop_s, row.gb_s) {
        (Some(rate), Some(peak), _) => format!("{rate:5.0} GFLOP/s {:3.0}%", 100.0 * rate / peak),
        (_, _, Some(rate)) => format!("{rate:5.1} GB/s     "),
        _ => String::new(),
    };
    format!("{:.2} ms {rate}", row.median_ms)
}
