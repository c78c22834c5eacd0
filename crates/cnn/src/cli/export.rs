//! `cnn export`: trained weights under another program's names.

use std::path::PathBuf;

use cnn::train::{Networks, Trained};
use cnn_measure::Machine;

use super::args::{ExportArgs, Format};
use super::device::{Command, Device};
use super::failure::Failure;
use super::output::{self, shown};

/// Runs the command.
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let ending = args.out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if let Some(ending) = ending.filter(|ending| ending != args.format.ending()) {
        let rule = format!("must end in .{}, the format that is written, and not in .{ending}", args.format.ending());
        return Err(Failure::usage(format!("out {}: {rule}", args.out.display())));
    }
    let out = output::replaceable(&args.out, args.force)?;
    Device::for_little()?.run(Export { args, out })
}

struct Export<'a> {
    args: &'a ExportArgs,
    out: PathBuf,
}

impl Command for Export<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Export { args, out } = self;
        let trained = Trained::load(backend, args.weights.file()?, &Networks::new())?;
        match args.format {
            Format::Safetensors => trained.export(args.names, &out)?,
        }
        output::print(&format!("saved {}\n", shown(&args.out)))
    }
}
