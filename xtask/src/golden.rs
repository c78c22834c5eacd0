//! `cargo xtask golden`: the fixtures of the parity tests, computed again by PyTorch.

use std::process::Command;

use crate::run::{root, run};

pub(crate) fn golden(arguments: &[String]) -> Result<(), String> {
    let python = match arguments {
        [] => std::env::var("PYTHON").unwrap_or_else(|_| "python3".into()),
        [python] => python.clone(),
        [_, more, ..] => return Err(format!("{more}: golden takes one argument, a Python that has torch")),
    };
    let pillow = ["pillow", "kinds"].map(|name| format!("crates/cnn-data/tests/pillow/{name}.py"));
    let scripts = ["golden", "zoo", "foreign"].map(|name| format!("tests/golden/{name}.py"));
    for script in scripts.into_iter().chain(pillow) {
        run(Command::new(&python).arg(root().join(script)))?;
    }
    Ok(())
}
