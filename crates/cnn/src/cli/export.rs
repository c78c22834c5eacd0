//! `cnn export`: trained weights under another program's names.

use cnn::train::{Networks, Trained};
use cnn_measure::Machine;

use super::args::{ExportArgs, Format};
use super::device::{Command, Device};
use super::failure::Failure;
use super::output;

/// Runs the command.
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    if args.out.exists() && !args.force {
        return Err(Failure::usage(format!("{}: exists: give --force to replace it", args.out.display())));
    }
    Device::for_little()?.run(Export(args))
}

struct Export<'a>(&'a ExportArgs);

impl Command for Export<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Export(args) = self;
        let trained = Trained::load(backend, super::data::weights(&args.weights)?, &Networks::new())?;
        match args.format {
            Format::Safetensors => trained.export(args.names, &args.out)?,
        }
        output::print(&format!("saved {}\n", args.out.display()))
    }
}
