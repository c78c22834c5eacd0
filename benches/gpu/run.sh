#!/usr/bin/env bash
# What runs on a machine with a GPU, Python and PyTorch, and without Rust, a network or CUDA's toolkit: `cargo xtask gpu-pack` puts
# this beside what it needs. Everything that is found goes to stdout and to results.txt, in the folder that is named or here.
#
#   ./run.sh [OUT]      the suites, the sanitizer where there is one, the bench beside PyTorch, the CPU by threads: some 8 minutes
#   QUICK=1 ./run.sh    the same commands on next to nothing, as a rehearsal (also on an emulated GPU)
set -uo pipefail
cd "$(dirname "$0")"
out=${1:-.}
mkdir -p "$out"
export CNN_CUDA_CACHE="$out/kernels" PYTHONPATH=peers
# PyTorch's own copy of NVRTC, where it is none of the usual places.
wheels=$(python3 -c 'import importlib.util as i; s = i.find_spec("nvidia"); print(":".join(f"{p}/{d}/lib" for p in s.submodule_search_locations for d in ("cu13", "cuda_nvrtc")) if s else "")' 2>/dev/null)
export CNN_CUDA_LIBRARIES="${CNN_CUDA_LIBRARIES:-}${CNN_CUDA_LIBRARIES:+:}$wheels"
quick=${QUICK:+1}
model=resnet18 train_batches="512 1024" infer_batches="1 128 1024" threads_of_cpu="1 2 4 8 16" seconds=0.5
[ "$quick" ] && model=stepwise train_batches=1 infer_batches=1 threads_of_cpu=1 seconds=0
failed=0

# `part SECONDS NAME COMMAND...`: its lines, how long it took and how it ended. One that hangs does not take the others along.
part() {
    local limit=$1 name=$2 begun=$SECONDS status
    shift 2
    [ "$quick" ] && limit=900  # an emulated GPU takes minutes for what a GPU does at once
    printf '\n== %s: %s\n' "$name" "$*"
    timeout --kill-after=5 "$limit" "$@" 2>&1
    status=$?
    printf '== %s: status %s, %s s\n' "$name" "$status" $((SECONDS - begun))
    [ "$status" = 0 ] || failed=$((failed + 1))
}

everything() {
    date -u
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
    part 60 devices ./cnn devices
    if [ "$quick" ]; then
        part 600 suite env CNN_TEST_GPU=1 ./cuda-suite conformance::chosen_bf16::linear
    else
        part 150 suite env CNN_TEST_GPU=1 ./cuda-suite --skip planted
    fi
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            part 60 "$tool" env CNN_TEST_GPU=1 CNN_TEST_CASES=4 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                ./cuda-suite conformance::large_bf16 conformance::on_bf16
        done
    else
        printf '\n== SKIPPED: no compute-sanitizer here\n'
    fi
    for precision in bf16 f32; do
        for batch in $train_batches; do
            part 40 "train $precision $batch" ./cnn bench --backend cuda --only train --model "$model" --batch "$batch" --precision "$precision" --seconds "$seconds"
        done
        for batch in $infer_batches; do
            part 30 "infer $precision $batch" ./cnn bench --backend cuda --only infer --model "$model" --batch "$batch" --precision "$precision" --seconds "$seconds"
        done
    done
    [ "$quick" ] || part 60 "layers bf16" ./cnn bench --backend cuda --only layers --batch 512 --precision bf16 --seconds 0.05
    if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        for batch in $train_batches; do
            for mode in eager compile; do
                part 90 "PyTorch train bf16 $batch $mode" python3 peers/pytorch.py train --device cuda --precision bf16 --batch "$batch" --threads 1 --mode "$mode"
            done
        done
        for batch in $infer_batches; do
            part 60 "PyTorch infer bf16 $batch" python3 peers/pytorch.py infer --device cuda --precision bf16 --batch "$batch" --threads 1 --mode eager
        done
        part 60 "PyTorch layers bf16" python3 peers/pytorch.py layers --device cuda --precision bf16 --batch 512 --threads 1 \
            --convolution "3, 32x32 -> 64" 3 32 64 3 1 --convolution "64, 32x32 -> 64" 64 32 64 3 1 \
            --convolution "64, 32x32 -> 128, stride 2" 64 32 128 3 2 --convolution "128, 16x16 -> 128" 128 16 128 3 1 \
            --convolution "256, 8x8 -> 256" 256 8 256 3 1 --convolution "512, 4x4 -> 512" 512 4 512 3 1
    else
        printf '\n== SKIPPED: no PyTorch with a GPU here\n'
    fi
    for threads in $threads_of_cpu; do
        [ "$threads" -le "$(nproc)" ] && part 30 "CPU $threads threads" ./cnn bench --backend cpu --threads "$threads" --only train --model "$model" --seconds "$seconds"
    done
    printf '\n== %s of the parts failed, %s s in all\n' "$failed" "$SECONDS"
    [ "$failed" = 0 ]
}

everything | tee "$out/results.txt"
exit "${PIPESTATUS[0]}"
