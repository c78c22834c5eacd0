#!/usr/bin/env python3
"""onnxruntime or OpenVINO on this machine's CPU: one JSON line. `cargo xtask bench --peers` runs it.

    python3 runtimes.py onnxruntime|openvino --model resnet18 --onnx resnet18.onnx --batch 1 --threads 2

The file is exported first if it is not there, which needs torch and onnx, by a process of its own: its memory does not
count.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from timing import median_ms, report


def onnxruntime(args, images):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": images}), onnxruntime.__version__


def openvino(args, images):
    import openvino

    core = openvino.Core()
    network = core.read_model(args.onnx)
    network.reshape(images.shape)
    config = {
        "INFERENCE_NUM_THREADS": args.threads,
        "INFERENCE_PRECISION_HINT": args.precision,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(network, "CPU", config).create_infer_request()
    return lambda: request.infer([images], share_inputs=True, share_outputs=True), openvino.__version__


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--side", type=int, default=32, help="rows and columns of an image")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    args = parser.parse_args()
    if args.engine == "onnxruntime" and args.precision == "bf16":
        parser.error("--precision bf16: onnxruntime has no convolution in bf16 for a CPU")
    if not Path(args.onnx).exists():
        export = [sys.executable, Path(__file__).with_name("export.py"), args.model, args.onnx]
        subprocess.run(export, check=True, stdout=sys.stderr)
    shape = args.batch, 3, args.side, args.side
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    run, version = ENGINES[args.engine](args, images)
    report(median_ms(run), args.batch, version)


if __name__ == "__main__":
    main()
