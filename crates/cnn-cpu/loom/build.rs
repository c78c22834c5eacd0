//! The protocol is built from loom's parts here, without `RUSTFLAGS` of whoever runs the models.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
