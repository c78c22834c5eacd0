//! What PyTorch computes: `tests/golden/golden.py` wrote it down, these tests compute it again.
//!
//! Neither inputs nor initial weights are stored: both sides make them from their names, see [`golden`].

mod files;
mod golden;
mod layers;
mod names;
mod runs;
mod schedules;
mod zoo;
