//! `cnn export`: trained weights under another program's names.

use std::fs;
use std::path::{Path, PathBuf};

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
    let out = replaceable(&args.out, args.force)?;
    Device::for_little()?.run(Export { args, out })
}

/// The file that is written when `out` is asked for: behind a link, the file that it leads to. What is there already must
/// be a file, and `force` given to replace it.
fn replaceable(out: &Path, force: bool) -> Result<PathBuf, Failure> {
    let refused = |rule: &str| Failure::usage(format!("out {}: {rule}", out.display()));
    if fs::symlink_metadata(out).is_err() {
        return Ok(out.to_owned());
    }
    if !force {
        return Err(refused("exists: give --force to replace it"));
    }
    let file = fs::canonicalize(out).map_err(|error| refused(&error.to_string()))?;
    if file.is_file() { Ok(file) } else { Err(refused("is not a file: only files are replaced")) }
}

struct Export<'a> {
    args: &'a ExportArgs,
    out: PathBuf,
}

impl Command for Export<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Export { args, out } = self;
        let trained = Trained::load(backend, super::data::weights(&args.weights)?, &Networks::new())?;
        match args.format {
            Format::Safetensors => trained.export(args.names, &out)?,
        }
        output::print(&format!("saved {}\n", shown(&args.out)))
    }
}
