//! An engine in one of its configurations, measured by a process of its own.

use std::process::{Command, Stdio};

use cnn_measure::{Area, Setting, networks};
use serde::Deserialize;

use crate::epoch;
use crate::on::On;
use crate::setup::Setup;

/// One of them.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Who it is.
    pub(crate) setting: Setting,
    /// What it is for.
    pub(crate) role: Role,
    /// Measures once, and prints one [`Measured`] as a line of JSON.
    pub(crate) command: Command,
}

/// What a contender is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// This workspace.
    Own,
    /// This workspace on one thread: what more threads are held against.
    OneThread,
    /// This workspace in an epoch of training, with all that it does beside its steps.
    Epoch,
    /// Another engine.
    Peer,
    /// Another engine that cannot be limited to our instruction set: shown, but no yardstick.
    Unlimited,
    /// Another engine whose memory is the yardstick: PyTorch as it is without any tuning.
    MemoryPeer,
}

/// What a measuring process prints.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Measured {
    /// Median time of a step or an answer.
    pub(crate) median_ms: f64,
    /// The most memory that the process held; none where the system does not say.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// The most of the device's own memory that it used; none of a CPU.
    pub(crate) peak_device_bytes: Option<u64>,
    /// The engine's version, where it is not ours.
    pub(crate) version: Option<String>,
    /// The layer, where several are measured.
    pub(crate) config: Option<String>,
}

impl Contender {
    /// Measures once.
    pub(crate) fn measure(&mut self) -> Result<Measured, String> {
        match measure(&mut self.command)?.as_slice() {
            [one] => Ok(one.clone()),
            several => Err(format!("{} results: must be one", several.len())),
        }
    }
}

/// Runs a measuring process to its end: every line that it prints, or the last thing that it said.
pub(crate) fn measure(command: &mut Command) -> Result<Vec<Measured>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{stderr}");
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        return Err(format!("{} ({})", last.trim_start_matches("error: "), output.status));
    }
    let parse = |line: &str| serde_json::from_str(line).map_err(|error| format!("{line:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).lines().map(parse).collect()
}

/// This workspace: on several threads also with one, and on a GPU also an epoch.
pub(crate) fn own(setup: &Setup) -> Result<Vec<Contender>, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let isa = setup.on.isa(&setup.precision)?;
    let contender = |role, threads: usize, config: &str| {
        let mut command = Command::new(&program);
        command.args(["--here", "--only", &setup.area.to_string(), "--model", &setup.model]);
        command.args(["--batch", &setup.batch.to_string(), "--threads", &threads.to_string()]);
        command.args(["--precision", &setup.precision, "--backend", &setup.on.to_string()]);
        command.args(setup.rehearse.then_some("--rehearse")).args((role == Role::Epoch).then_some("--epoch"));
        Contender { setting: Setting { threads, ..setup.setting("cnn", config, &isa) }, role, command }
    };
    let config = if setup.area == Area::Train { networks::TRAINS } else { networks::ANSWERS };
    let mut contenders = vec![contender(Role::Own, setup.threads, config)];
    if setup.threads > 1 {
        contenders.push(contender(Role::OneThread, 1, config));
    }
    if setup.on == On::Cuda && setup.area == Area::Train {
        contenders.push(contender(Role::Epoch, setup.threads, &epoch::name(setup)));
    }
    Ok(contenders)
}
