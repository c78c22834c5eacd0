//! What the crate does, from outside.

mod graph;
mod muon;
mod norm;
mod optim;
mod own_layer;
mod pretrained;
mod state;
mod tape;
