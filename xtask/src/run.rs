//! What every command does: running cargo and other programs from the root of the workspace.

use std::path::PathBuf;
use std::process::Command;

/// One check, by the name under which its time is reported.
pub(crate) type Step = (&'static str, fn() -> Result<(), String>);

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A cargo command.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// A cargo command of the nightly toolchain, which sanitizers and libfuzzer need.
pub(crate) fn nightly(arguments: &[&str]) -> Command {
    // By name: only rustup's own cargo knows what `+nightly` means.
    let mut command = Command::new("cargo");
    command.current_dir(root()).arg("+nightly").args(arguments);
    command
}

/// Prints the command, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let text = describe(command);
    eprintln!("$ {text}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{text}: {status}")),
        Err(error) => Err(format!("{text}: {error}")),
    }
}

/// What the command prints on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let text = describe(command);
    let output = command.output().map_err(|error| format!("{text}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{text}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{text}: {error}"))
}

fn describe(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(name, |text, argument| format!("{text} {}", argument.to_string_lossy()))
}
