#!/usr/bin/env bash
# What runs on a machine with a GPU, Python and PyTorch, and without Rust, a network or CUDA's toolkit: `cargo xtask gpu-pack` puts
# this beside what it needs. Everything that is found goes to stdout and to results.txt, in the folder that is named or here.
#
#   ./run.sh [OUT]      the suites and the sanitizers while PyTorch compiles its networks, then the race with it, every layer beside
#                       cuDNN, the kernels of a step, a thousand steps, the CPU by threads: at most 8 minutes, the worthiest first
#   QUICK=1 ./run.sh    the same commands on next to nothing, as a rehearsal (also on an emulated GPU)
set -uo pipefail
cd "$(dirname "$0")"
out=${1:-.}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CNN_CUDA_CACHE="$work/kernels" TORCHINDUCTOR_CACHE_DIR="$work/inductor"
# PyTorch's own copies of NVRTC and cuBLASLt, where they are in none of the usual places.
wheels=$(python3 -c 'import importlib.util as i; s = i.find_spec("nvidia"); print(":".join(f"{p}/{d}/lib" for p in s.submodule_search_locations for d in ("cu13", "cuda_nvrtc", "cublas")) if s else "")' 2>/dev/null)
export CNN_CUDA_LIBRARIES="${CNN_CUDA_LIBRARIES:-}${CNN_CUDA_LIBRARIES:+:}$wheels"
quick=${QUICK:+1}
total=480 suite="--skip planted" long="--ignored halo stem" checked="conformance::large_bf16 conformance::on_bf16 halo::in_bf16 halo::by_warpgroups"
threads_of_cpu="1 2 4 8 16" model=resnet18 seconds=0.5 thousand=1000
bench="./bench --backend cuda --rounds 1"
if [ "$quick" ]; then  # an emulated GPU takes minutes for what a GPU does at once
    total=3600 suite="conformance::on_bf16::linear cublaslt::a_1x1" long=conformance::on_bf16::linear checked=conformance::on_bf16::linear
    threads_of_cpu=1 model=stepwise seconds=0 thousand=2
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

# PyTorch compiles a network for half a minute and more: once, before it is measured.
compiled() {
    for run in "train 1024" "train 512" "infer 1024" "infer 128" "infer 1"; do
        set -- $run
        python3 peers/pytorch.py "$1" --model resnet18 --batch "$2" --mode graphs --threads 1 --precision bf16 --device cuda --layout nhwc &
    done
    wait
}

# A part beside others: its lines come when it has ended.
beside() {
    (failed=0; part "$@" >"$work/$2" 2>&1; cat "$work/$2"; exit "$failed") &
    others+=($!)
}

everything() {
    date -u
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
    part 30 devices ./cnn devices
    others=()
    beside 100 suite env CNN_TEST_GPU=1 ./cuda-suite $suite
    beside 100 long env CNN_TEST_GPU=1 ./cuda-suite $long
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            beside 90 "$tool" env CNN_TEST_GPU=1 CNN_TEST_CASES=3 compute-sanitizer --tool "$tool" --error-exitcode 9 ./cuda-suite $checked
        done
    else
        printf '\n== SKIPPED: no compute-sanitizer here\n'
    fi
    if [ "$peers" ]; then
        beside 75 compiled bash -c "$(declare -f compiled); compiled"
    else
        printf '\n== SKIPPED: no PyTorch with a GPU here\n'
    fi
    for other in "${others[@]}"; do
        wait "$other" || failed=$((failed + 1))
    done
    for area in train infer layers; do
        part 100 "$area bf16" $bench --only "$area" --precision bf16 $peers --json "$out/$area-bf16.json"
    done
    if command -v ncu >/dev/null; then
        part 30 kernels ncu --clock-control none --cache-control none --graph-profiling node --metrics gpu__time_duration.sum -c 380 --csv \
            --log-file "$out/kernels.csv" ./bench --here --backend cuda --only train --model resnet18 --batch 512 --threads 1 --precision bf16
    else
        printf '\n== SKIPPED: no ncu here\n'
    fi
    for steps in 1 "$thousand"; do  # the most memory must be the same
        part 30 "$steps steps and more" ./bench --here --backend cuda --only train --model "$model" --batch 512 --threads 1 --precision bf16 \
            --least "$steps" ${quick:+--rehearse}
    done
    for area in train infer; do
        part 40 "$area f32" $bench --only "$area" --precision f32 --json "$out/$area-f32.json"
    done
    for threads in $threads_of_cpu; do
        [ "$threads" -le "$(nproc)" ] && part 30 "CPU $threads threads" ./cnn bench --backend cpu --threads "$threads" --only train --model "$model" --seconds "$seconds"
    done
    printf '\n== %s of the parts failed, %s s in all\n' "$failed" "$SECONDS"
    [ "$failed" = 0 ]
}

everything | tee "$out/results.txt"
exit "${PIPESTATUS[0]}"
