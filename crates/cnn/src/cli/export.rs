//! `cnn export`: trained weights under another program's names.

use cnn::core::Backend;
use cnn::train::Classifier;

use super::args::{ExportArgs, Format};
use super::device::Device;
use super::failure::Failure;
use super::output;

/// Runs the command.
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    if args.out.exists() && !args.force {
        return Err(Failure::usage(format!("{}: exists: give --force to replace it", args.out.display())));
    }
    export(&Device::for_little()?, args)
}

fn export<B: Backend>(backend: &B, args: &ExportArgs) -> Result<(), Failure> {
    let classifier = Classifier::load(backend, super::data::weights(&args.weights)?)?;
    match args.format {
        Format::Safetensors => classifier.export(args.names, &args.out)?,
    }
    output::print(&format!("saved {}\n", args.out.display()))
}
