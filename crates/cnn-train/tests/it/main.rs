//! Training from outside: one program for all of it, so that the trainer is compiled once.

mod algorithms;
mod classifier;
mod compatibility;
mod ending;
mod events;
mod fine_tuning;
mod interrupted;
mod networks;
mod preprocess;
mod resume;
mod support;
mod threads;
mod trainer;
mod uneven;
mod weights;
