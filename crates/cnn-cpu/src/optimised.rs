//! A word to whoever runs the kernels without optimisation, as `cargo run` does in a program of one's own.

use std::sync::Once;

/// Says so on stderr, once in a process, if this crate was built without optimisation: its kernels are then over a hundred
/// times slower, which looks like a fault and is a setting.
pub(crate) fn note_once() {
    static NOTE: Once = Once::new();
    if let Some(note) = note(env!("CNN_CPU_OPT_LEVEL")) {
        NOTE.call_once(|| eprintln!("{note}"));
    }
}

/// What there is to say of a build at `level`.
fn note(level: &str) -> Option<&'static str> {
    (level == "0").then_some(
        "note: cnn-cpu is built without optimisation and computes over 100 times slower; build with --release, or add to \
         Cargo.toml: [profile.dev.package.\"*\"] opt-level = 3",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_build_without_optimisation_is_worth_a_word() {
        assert!(note("0").is_some_and(|note| note.contains("--release") && note.contains("opt-level = 3")));
        assert!(["1", "2", "3", "s", "z"].into_iter().all(|level| note(level).is_none()));
    }
}
