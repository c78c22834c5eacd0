//! `cargo xtask data`: fetches a data set, as `cnn train` does when it is missing.

use std::path::PathBuf;

use cnn_data::Known;
use cnn_data::download::{FetchOptions, Progress, fetch};

pub(crate) fn data(arguments: &[String]) -> Result<(), String> {
    let names = || Known::ALL.map(|set| set.name()).join(", ");
    let [name, options @ ..] = arguments else { return Err(format!("data needs the name of a set: {}", names())) };
    let set = Known::parse(name).ok_or_else(|| format!("{name}: must be one of {}", names()))?;
    let mut root = PathBuf::from("data");
    let mut fetching = FetchOptions::default();
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(format!("{}: needs a value", pair[0])) };
        match option.as_str() {
            "--dir" => root = value.into(),
            "--mirror" => fetching.mirror = Some(value.clone()),
            "--archive" => fetching.archive = Some(value.into()),
            _ => return Err(format!("{option}: must be --dir, --mirror or --archive")),
        }
    }
    let mut shown = u64::MAX;
    let path = fetch(set, &root, &fetching, &mut |Progress { file, done, total }| {
        let tens = done / 10_000_000;
        if tens != shown {
            shown = tens;
            let total = total.map(|total| format!(" of {} MB", total / 1_000_000)).unwrap_or_default();
            eprintln!("{file}: {} MB{total}", done / 1_000_000);
        }
    });
    println!("{}", path.map_err(|error| error.to_string())?.display());
    Ok(())
}
