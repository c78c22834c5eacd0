#!/usr/bin/env bash
# What runs on a machine with a GPU, Python and PyTorch, and without Rust, a network or CUDA's toolkit: `cargo xtask gpu-pack` puts
# this beside what it needs. Everything that is found goes to stdout and to results.txt, in the folder that is named or here.
#
#   ./run.sh [OUT]      the suites, the bench beside PyTorch, the sanitizer where there is one, the CPU by threads: at most 8 minutes
#   QUICK=1 ./run.sh    the same commands on next to nothing, as a rehearsal (also on an emulated GPU)
set -uo pipefail
cd "$(dirname "$0")"
out=${1:-.}
mkdir -p "$out"
export CNN_CUDA_CACHE="$out/kernels"
# PyTorch's own copies of NVRTC and cuBLASLt, where they are in none of the usual places.
wheels=$(python3 -c 'import importlib.util as i; s = i.find_spec("nvidia"); print(":".join(f"{p}/{d}/lib" for p in s.submodule_search_locations for d in ("cu13", "cuda_nvrtc", "cublas")) if s else "")' 2>/dev/null)
export CNN_CUDA_LIBRARIES="${CNN_CUDA_LIBRARIES:-}${CNN_CUDA_LIBRARIES:+:}$wheels"
quick=${QUICK:+1}
total=480 suite="--skip planted --include-ignored" threads_of_cpu="1 2 4 8 16" model=resnet18 seconds=0.5
bench="./bench --backend cuda --rounds 1"
if [ "$quick" ]; then  # an emulated GPU takes minutes for what a GPU does at once
    total=3600 suite="conformance::on_bf16::linear cublaslt::a_1x1" threads_of_cpu=1 model=stepwise seconds=0
    bench="$bench --rehearse"
fi
peers=
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    peers="--peers python3"
fi
failed=0

# `part SECONDS NAME COMMAND...`: its lines, how long it took and how it ended. One that hangs does not take the others along.
part() {
    local limit=$1 name=$2 begun=$SECONDS left=$((total - SECONDS)) status
    shift 2
    [ "$quick" ] && limit=900
    [ "$limit" -gt "$left" ] && limit=$left
    printf '\n== %s: %s\n' "$name" "$*"
    if [ "$limit" -lt 5 ]; then
        status="none, no time is left"
    else
        timeout --kill-after=5 "$limit" "$@" 2>&1
        status=$?
    fi
    printf '== %s: status %s, %s s\n' "$name" "$status" $((SECONDS - begun))
    [ "$status" = 0 ] || failed=$((failed + 1))
}

everything() {
    date -u
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
    part 30 devices ./cnn devices
    part 150 suite env CNN_TEST_GPU=1 ./cuda-suite $suite
    for pixels in halo warpgroups; do  # not the default before they are measured
        part 60 "suite, pixels by $pixels" env CNN_TEST_GPU=1 CNN_CUDA_PIXELS=$pixels ./cuda-suite $suite
        for area in train infer layers; do
            part 40 "$area bf16, pixels by $pixels" env CNN_CUDA_PIXELS=$pixels $bench --only "$area" --precision bf16 \
                --json "$out/$area-bf16-$pixels.json"
        done
    done
    [ "$peers" ] || printf '\n== SKIPPED: no PyTorch with a GPU here\n'
    for area in train infer layers; do
        part 170 "$area bf16" $bench --only "$area" --precision bf16 $peers --json "$out/$area-bf16.json"
    done
    for area in train infer layers; do
        part 60 "$area f32" $bench --only "$area" --precision f32 --json "$out/$area-f32.json"
    done
    for threads in $threads_of_cpu; do
        [ "$threads" -le "$(nproc)" ] && part 30 "CPU $threads threads" ./cnn bench --backend cpu --threads "$threads" --only train --model "$model" --seconds "$seconds"
    done
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            part 60 "$tool" env CNN_TEST_GPU=1 CNN_TEST_CASES=4 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                ./cuda-suite conformance::large_bf16 conformance::on_bf16
        done
    else
        printf '\n== SKIPPED: no compute-sanitizer here\n'
    fi
    printf '\n== %s of the parts failed, %s s in all\n' "$failed" "$SECONDS"
    [ "$failed" = 0 ]
}

everything | tee "$out/results.txt"
exit "${PIPESTATUS[0]}"
