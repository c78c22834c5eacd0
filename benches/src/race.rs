//! Rounds in which every contender has its turn, and what their medians say.

use std::fmt::{Display, Formatter};

use cnn_measure::{Area, Setting};
use serde::Serialize;

use crate::contender::{Contender, Measured, Role};
use crate::setup::Setup;

/// The result of a race.
pub(crate) struct Race {
    title: String,
    entries: Vec<Entry>,
}

/// One contender with its result.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    setting: Setting,
    #[serde(skip)]
    role: Role,
    #[serde(flatten)]
    result: Outcome,
    /// Images per second here over those of the fastest peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_best_peer: Option<f64>,
    /// Peak memory here over that of PyTorch without any tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_ratio: Option<f64>,
    /// Images per second on all threads over those on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    /// Medians over the rounds.
    Measured {
        median_ms: f64,
        images_s: f64,
        peak_rss_bytes: Option<u64>,
        peak_device_bytes: Option<u64>,
        rounds: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// It did not run.
    Missing { error: String },
}

impl Race {
    /// Lets every contender measure once a round. Whoever fails is out, with the reason on stderr.
    pub(crate) fn run(setup: &Setup, mut contenders: Vec<Contender>, rounds: usize) -> Self {
        let Setup { area, model, batch, threads, precision, on, .. } = setup;
        let several = if rounds == 1 { "1 round".to_owned() } else { format!("medians of {rounds} rounds") };
        let title = format!("{area} {model}, batch {batch}, {}, {precision}, {several}", on.title(*threads));
        let mut results: Vec<Result<Vec<Measured>, String>> = contenders.iter().map(|_| Ok(Vec::new())).collect();
        for round in 1..=rounds {
            for (contender, result) in contenders.iter_mut().zip(&mut results) {
                let Ok(measured) = result else { continue };
                let Setting { engine, config, threads, .. } = &contender.setting;
                let who = format!("{engine} {config}, {threads} thread{}", if *threads == 1 { "" } else { "s" });
                let name = format!("{area} {model}, batch {batch}, round {round}/{rounds}: {who}");
                match contender.measure() {
                    Ok(one) => {
                        eprintln!("{name}: {:.3} ms", one.median_ms);
                        measured.push(one);
                    }
                    Err(error) => {
                        eprintln!("{name}: missing: {error}");
                        *result = Err(error);
                    }
                }
            }
        }
        let entries = contenders.into_iter().zip(results).map(|(Contender { setting, role, .. }, result)| {
            let result = match result {
                Ok(measured) => Outcome::median(*batch, measured),
                Err(error) => Outcome::Missing { error },
            };
            Entry { setting, role, result, ratio_to_best_peer: None, memory_ratio: None, scaling: None }
        });
        let mut race = Race { title, entries: entries.collect() };
        race.compare(*area);
        race
    }

    fn compare(&mut self, area: Area) {
        let peer = |role| matches!(role, Role::Peer | Role::MemoryPeer);
        let speeds = |wanted: &dyn Fn(Role) -> bool| {
            let of = |entry: &Entry| entry.images_s().filter(|_| wanted(entry.role));
            self.entries.iter().filter_map(of).max_by(f64::total_cmp)
        };
        let (best, one_thread) = (speeds(&peer), speeds(&|role| role == Role::OneThread));
        let memory = |entry: &Entry| entry.peak().filter(|_| entry.role == Role::MemoryPeer);
        let yardstick = self.entries.iter().find_map(memory);
        let Some(own) = self.entries.iter_mut().find(|entry| entry.role == Role::Own) else { return };
        let over = |other: Option<f64>| Some(own.images_s()? / other?);
        let ratios = (over(best), over(one_thread));
        if area == Area::Train {
            own.memory_ratio = own.peak().zip(yardstick).map(|(own, other)| own as f64 / other as f64);
        }
        (own.ratio_to_best_peer, own.scaling) = ratios;
    }

    /// What ran here, if it did.
    pub(crate) fn own(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.role == Role::Own && entry.images_s().is_some())
    }

    /// Every contender.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Outcome {
    fn median(batch: usize, measured: Vec<Measured>) -> Self {
        let mut times: Vec<f64> = measured.iter().map(|one| one.median_ms).collect();
        times.sort_by(f64::total_cmp);
        let peak = |of: fn(&Measured) -> Option<u64>| {
            let mut peaks: Vec<u64> = measured.iter().filter_map(of).collect();
            peaks.sort_unstable();
            peaks.get(peaks.len() / 2).copied()
        };
        let median_ms = times[times.len() / 2];
        Outcome::Measured {
            median_ms,
            images_s: 1e3 * batch as f64 / median_ms,
            peak_rss_bytes: peak(|one| one.peak_rss_bytes),
            peak_device_bytes: peak(|one| one.peak_device_bytes),
            rounds: measured.len(),
            version: measured.into_iter().find_map(|one| one.version),
        }
    }
}

impl Entry {
    fn images_s(&self) -> Option<f64> {
        match self.result {
            Outcome::Measured { images_s, .. } => Some(images_s),
            Outcome::Missing { .. } => None,
        }
    }

    /// The most memory: of the device's own where it has some, or else the process's.
    fn peak(&self) -> Option<u64> {
        match self.result {
            Outcome::Measured { peak_rss_bytes, peak_device_bytes, .. } => peak_device_bytes.or(peak_rss_bytes),
            Outcome::Missing { .. } => None,
        }
    }
}

impl Display for Race {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let columns = ["engine", "config", "isa", "threads", "ms", "images/s", "peak MB", "here is"];
        let [engine, config, isa, threads, ms, speed, peak, ratio] = columns;
        writeln!(f, "\n{}", self.title)?;
        writeln!(f, "{engine:12} {config:30} {isa:8} {threads:>7} {ms:>10} {speed:>10} {peak:>8} {ratio:>8}")?;
        let own = self.own();
        for entry in &self.entries {
            let Setting { engine, config, isa, threads, .. } = &entry.setting;
            write!(f, "{engine:12} {config:30} {isa:8} {threads:7} ")?;
            match &entry.result {
                Outcome::Measured { median_ms, images_s, .. } => {
                    let peak = entry.peak().map(|bytes| (bytes / 1_000_000).to_string()).unwrap_or_default();
                    let ratio = own.and_then(Entry::images_s).filter(|_| entry.role != Role::Own);
                    let ratio = ratio.map(|own| format!("{:.2} x", own / images_s)).unwrap_or_default();
                    writeln!(f, "{median_ms:10.3} {images_s:10.1} {peak:>8} {ratio:>8}")?;
                }
                Outcome::Missing { error } => writeln!(f, "missing: {error}")?,
            }
        }
        let Some(own) = own else { return Ok(()) };
        let ratios = [
            (own.ratio_to_best_peer, "times the speed of the fastest peer"),
            (own.memory_ratio, "times the peak memory of PyTorch as it is without tuning"),
            (own.scaling, "times the speed on one thread"),
        ];
        ratios
            .iter()
            .filter_map(|(ratio, of)| Some((ratio.as_ref()?, of)))
            .try_for_each(|(r, of)| writeln!(f, "{r:.3} {of}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::on::On;
    use std::process::Command;

    /// A contender that prints this.
    fn contender(setup: &Setup, engine: &str, role: Role, threads: usize, prints: &str) -> Contender {
        let mut command = Command::new("echo");
        command.arg(prints);
        Contender { setting: Setting { threads, ..setup.setting(engine, "test", "best") }, role, command }
    }

    #[cfg(unix)]
    #[test]
    fn ratios_are_ours_over_theirs_and_who_fails_is_missing() {
        let (area, model, precision) = (Area::Train, "resnet18".to_owned(), "f32".to_owned());
        let setup = Setup { area, model, side: 32, batch: 10, threads: 2, precision, on: On::Cpu, rehearse: false };
        let mut contenders = vec![
            contender(&setup, "cnn", Role::Own, 2, r#"{"median_ms": 100, "peak_rss_bytes": 500}"#),
            contender(&setup, "cnn", Role::OneThread, 1, r#"{"median_ms": 180, "peak_rss_bytes": 400}"#),
            contender(&setup, "slow", Role::MemoryPeer, 2, r#"{"median_ms": 400, "peak_rss_bytes": 1000}"#),
            contender(&setup, "fast", Role::Peer, 2, r#"{"median_ms": 200, "peak_rss_bytes": 5, "version": "7"}"#),
            contender(&setup, "wide", Role::Unlimited, 2, r#"{"median_ms": 10, "peak_rss_bytes": 5}"#),
            contender(&setup, "broken", Role::Peer, 2, "no number"),
            contender(&setup, "absent", Role::Peer, 2, ""),
        ];
        contenders[6].command = Command::new("/nonexistent/python");
        let race = Race::run(&setup, contenders, 2);
        let own = race.own().unwrap();
        assert_eq!(own.images_s(), Some(100.0));
        assert_eq!((own.ratio_to_best_peer, own.memory_ratio, own.scaling), (Some(2.0), Some(0.5), Some(1.8)));

        let rows: Vec<serde_json::Value> = race.entries().iter().map(|entry| serde_json::json!(entry)).collect();
        assert_eq!(
            (&rows[3]["images_s"], &rows[3]["version"], &rows[3]["rounds"]),
            (&50.0.into(), &"7".into(), &2.into())
        );
        for missing in &rows[5..] {
            assert!(missing["error"].is_string() && missing.get("images_s").is_none(), "{missing}");
            assert!(missing.get("ratio_to_best_peer").is_none());
        }
        let text = race.to_string();
        assert!(text.contains("2.00 x") && text.contains("missing: /nonexistent/python: "), "{text}");
    }
}
