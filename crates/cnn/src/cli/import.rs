//! `cnn import`: weights of another program, with what this one needs to use them.

use std::fs;
use std::path::{Path, PathBuf};

use cnn::core::state_dict::Naming;
use cnn::data::Preprocess;
use cnn::models::Arch;
use cnn::train::{ImportOptions, Networks, import};
use cnn_measure::Machine;

use super::args::ImportArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::output::{self, shown};
use super::train::tell_loaded;

/// Names of ImageNet's thousand classes, a line each.
const IMAGENET: &str = include_str!("imagenet.txt");

/// Runs the command.
pub(crate) fn run(args: &ImportArgs) -> Result<(), Failure> {
    let out = output::replaceable(&args.out, args.force)?;
    let arch: Arch = args.model.parse().map_err(Failure::usage)?;
    let classes = match &args.classes {
        None => lines(IMAGENET),
        Some(path) => {
            let said = |error| Failure::usage(format!("classes {}: {error}", shown(path)));
            lines(&fs::read_to_string(path).map_err(said)?)
        }
    };
    Device::for_little()?.run(Import { args, arch, classes, out })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

struct Import<'a> {
    args: &'a ImportArgs,
    arch: Arch,
    classes: Vec<String>,
    out: PathBuf,
}

impl Command for Import<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Import { args, arch, classes, out } = self;
        let usual = ImportOptions::usual(arch, args.size.unwrap_or(arch.usual_size()), classes);
        let preprocess = Preprocess {
            resize: args.resize.or(usual.preprocess.resize),
            fit: args.fit.unwrap_or(usual.preprocess.fit),
            filter: args.filter.unwrap_or(usual.preprocess.filter),
        };
        // clap sees to it that one is not given without the other.
        let normalisation = args.mean.zip(args.std).map(|(mean, std)| [mean, std]);
        let options = ImportOptions { multi_label: args.multi_label, preprocess, normalisation, ..usual };
        let (trained, loaded) = import(backend, Path::new(&args.file), &arch.to_string(), options, &Networks::new())?;
        tell_loaded(&loaded).iter().for_each(|line| output::note(line));
        trained.export(Naming::Torchvision, &out)?;
        output::print(&format!("saved {}\n", shown(&args.out)))
    }
}
