//! The program `cnn`: reads its arguments, runs one command, and turns what happened into an exit status.
//!
//! 0: done; 1: a fault (a broken file, a full disk, training that diverged); 2: arguments that cannot be meant;
//! 129, 130 and 143: stopped by SIGHUP, SIGINT or SIGTERM, with everything saved. A reader of stdout that goes away is no
//! fault.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(reason) = failure.message() {
                cli::output::error(reason);
            }
            ExitCode::from(failure.status())
        }
    }
}
