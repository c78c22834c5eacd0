//! Negative controls: kernels with a fault do not pass. Each runs in a process of its own, as a device that was lost is lost
//! for good, with the fault planted in the sources that the emulated GPU's compiler is given.

use std::path::Path;
use std::process::{Command, Output};

/// A test that is run again.
const CONVOLUTIONS: &str = "conformance::large_bf16::conv2d";

fn run(test: &str, patch: Option<&Path>, cache: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--include-ignored", test]).env("CNN_CUDA_CACHE", cache).env("RUST_BACKTRACE", "0");
    if let Some(patch) = patch {
        command.env("EMULATOR_PATCH", patch);
    }
    command.output().unwrap()
}

/// `test` fails once `from` is `to` in a file of kernels, in one of these ways.
fn is_found(test: &str, file: &str, from: &str, to: &str, ways: &[&str]) {
    if std::env::var_os(crate::device::REAL).is_some() || cnn_emulator::folder().is_err() {
        println!("SKIPPED: faults are planted on the emulated GPU, which is not here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let patch = folder.path().join("patch");
    std::fs::write(&patch, format!("{file}\t{from}\t{to}\n")).unwrap();
    let output = run(test, Some(&patch), &folder.path().join("kernels"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("does not occur"), "{from:?} is not in {file}: {said}");
    assert!(!output.status.success(), "{test} passes with {to:?} for {from:?} in {file}");
    assert!(ways.iter().any(|way| said.contains(way)), "{test} fails otherwise: {said}");
}

#[test]
fn a_missing_barrier() {
    let barrier =
        "__syncthreads();  // all chunks of this step are there, and nobody reads the step before it any more";
    is_found(CONVOLUTIONS, "pipeline.cuh", barrier, "", &["race: thread"]);
}

#[test]
fn a_stage_too_few_that_is_waited_for() {
    is_found(
        CONVOLUTIONS,
        "pipeline.cuh",
        "copy_async_wait<AHEAD - 1>",
        "copy_async_wait<AHEAD>",
        &["NaN", "relative error", "race: thread"],
    );
}

#[test]
fn an_index_out_of_bounds() {
    let (from, to) = ("< u32(size[0])) << t", "< u32(size[0] + 40000000)) << t");
    is_found(CONVOLUTIONS, "conv2d.cuh", from, to, &["ILLEGAL_ADDRESS", "relative error", "exactly"]);
}

#[test]
fn a_missing_barrier_behind_the_rows_of_a_stem() {
    let barrier = "__syncthreads();  // the patch is there";
    is_found("stem::in_bf16", "conv2d_stem.cu", barrier, "", &["race: thread"]);
}

#[test]
fn a_stem_whose_padding_is_not_zero() {
    let (from, to) = ("u32(r) < u32(patch.spec.input[0])", "u32(r) <= u32(patch.spec.input[0])");
    is_found("stem::in_bf16", "conv2d_stem.cu", from, to, &["ILLEGAL_ADDRESS", "exactly", "relative error"]);
}

#[test]
fn a_part_of_a_sum_that_is_dropped() {
    is_found(
        "conformance::edges::conv2d_edges",
        "split.cu",
        "part < splits;",
        "part < splits - 1;",
        &["exactly", "relative error"],
    );
}

#[test]
fn rows_behind_the_last_that_are_written() {
    let (from, to) = ("if (m < count && chunk(j) < end) store", "if (chunk(j) < end) store");
    is_found(CONVOLUTIONS, "epilogue.cuh", from, to, &["exactly", "relative error"]);
}

#[test]
fn means_of_parts_that_are_taken_for_one() {
    let term = "difference * difference * weight";
    is_found("conformance::edges::statistics_edges", "moments.cuh", term, "0.0f * weight", &["relative error"]);
}

#[test]
fn rows_that_are_normalised_before_they_are_known() {
    for barrier in [
        "__syncthreads();  // what is known of these rows is there",
        "__syncthreads();  // the rows before are written",
    ] {
        is_found("conformance::on_f32::layer_norm", "layer_norm.cu", barrier, "", &["race: thread"]);
    }
}

#[test]
fn a_table_that_is_written_over_too_soon() {
    let (from, to) = ("left.look_up(step + AHEAD + 1)", "left.look_up(step + AHEAD + 2)");
    let many_steps = "splits::a_weight_whose_parts_have_many_steps";
    is_found(many_steps, "pipeline.cuh", from, to, &["race: thread", "left: "]);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn a_table_of_too_few_steps_and_one_that_is_not_waited_for() {
    let many_steps = "splits::a_weight_whose_parts_have_many_steps";
    is_found(many_steps, "conv2d_halo_weight.cu", "step % (STAGES + 1)", "step % STAGES", &["race: thread", "left: "]);
    let ways = ["race: thread", "NaN", "relative", "exactly", "_ADDRESS"];
    let (table, slice) = ("__syncthreads();  // the table is there", "__syncthreads();  // the first slice is there");
    // Warps read nothing of it before the next barrier.
    for (test, barrier) in [("halo::in_bf16", table), (WARPGROUPS, table), (WARPGROUPS, slice)] {
        is_found(test, "halo.cuh", barrier, "", &ways);
    }
}

/// Convolutions of pixels with their halo by warpgroups, and what is planted in their kernels.
const WARPGROUPS: &str = "halo::by_warpgroups";

#[test]
fn a_slice_of_channels_that_comes_a_step_late() {
    is_found(
        WARPGROUPS,
        "halo.cuh",
        "return halo.tap_count() - halo_ahead",
        "return halo.tap_count() + 1 - halo_ahead",
        &["NaN", "relative", "race"],
    );
}

#[test]
fn copies_that_warpgroups_are_not_told_of() {
    is_found(WARPGROUPS, "warpgroup.cuh", "{ fence_for_warpgroups(); }", "{}", &["fence.proxy.async"]);
}

#[test]
fn products_that_are_not_waited_for() {
    is_found(
        WARPGROUPS,
        "warpgroup.cuh",
        "warpgroup_wait<0>();",
        "",
        &["NaN", "relative", "exactly", "race", "no wgmma.fence"],
    );
}

#[test]
fn a_gap_between_images_that_is_too_narrow() {
    let (from, to) = ("image * rows.value + row", "image * size[0] + row");
    is_found(WARPGROUPS, "halo.cuh", from, to, &["relative", "exactly", "ILLEGAL_ADDRESS", "NaN"]);
}
