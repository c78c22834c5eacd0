//! The protocol of `cnn-cpu`, alone.

#[cfg(test)]
#[path = "../../src/fork_join/mod.rs"]
mod fork_join;
