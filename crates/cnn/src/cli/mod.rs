//! The commands. Results go to stdout, progress to stderr; a command returns and never exits the process itself.

pub(crate) mod args;
mod bench;
mod bytes;
mod data;
mod device;
mod devices;
mod doctor;
mod eval;
mod explain;
mod export;
mod failure;
mod import;
mod info;
mod json;
mod memory;
pub(crate) mod multi_label;
pub(crate) mod output;
mod predict;
mod progress;
mod recipe;
mod report;
mod runs;
mod signals;
mod sparkline;
mod timeline;
mod train;

use args::{Args, Command};
use clap::CommandFactory;
use failure::Failure;

/// Runs the command that was asked for.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    signals::file_size_limit_is_an_error()?;
    match args.command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Report(args) => report::run(args),
        Command::Runs(args) => runs::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Doctor(args) => doctor::run(*args),
        Command::Info(args) => info::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Recipe(args) => recipe::run(&args),
        Command::Json => json::run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "cnn", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}
