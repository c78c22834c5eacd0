#!/usr/bin/env python3
"""PyTorch on this machine: one JSON line a result. `cargo xtask bench --peers` runs it.

    python3 pytorch.py train --model resnet18 --batch 128 --threads 2 --layout nhwc --mode eager
    python3 pytorch.py infer --model resnet18 --batch 1 --threads 2 --layout nhwc --mode freeze
    python3 pytorch.py layers --batch 128 --threads 2 --convolution NAME CHANNELS SIDE FILTERS KERNEL STRIDE ...
    python3 pytorch.py sweep --threads 2      # a convolution as a JSON line on stdin, its times as a line on stdout, and so on
"""

import argparse
import json
import sys
from contextlib import nullcontext

import torch
from torch.nn.functional import cross_entropy

from networks import NETWORKS, image, network
from timing import median_ms, report

FORMATS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("area", choices=["train", "infer", "layers", "sweep"])
    parser.add_argument("--model", choices=NETWORKS, default="resnet18")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layout", choices=FORMATS, default="nhwc")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--mode", choices=["eager", "compile", "graphs", "freeze"], default="eager")
    parser.add_argument("--convolution", nargs=6, action="append", default=[])
    args = parser.parse_args()
    if args.area == "train" and args.mode == "freeze":
        parser.error("--mode freeze: is for infer")
    if (args.batch is None) != (args.area == "sweep"):
        parser.error("--batch: all but the sweep want it")
    return args


# Steps that the CUDA backend lets a GPU be behind, see cnn-cuda/src/backend.rs.
BEHIND = 8


def median(args, run):
    if args.device == "cpu":
        return median_ms(run)
    return median_ms(run, BEHIND, torch.cuda.synchronize)


def memory(args):
    """The most of the GPU's memory that tensors had."""
    return {"peak_device_bytes": torch.cuda.max_memory_allocated()} if args.device == "cuda" else {}


def autocast(args):
    return torch.autocast(args.device, torch.bfloat16) if args.precision == "bf16" else nullcontext()


def compiled(args, network):
    """`graphs`: also with CUDA graphs, which PyTorch calls reduced overhead."""
    modes = {"compile": {}, "graphs": {"mode": "reduce-overhead"}}
    return torch.compile(network, **modes[args.mode]) if args.mode in modes else network


def train(args, network, images):
    labels = torch.arange(args.batch, device=args.device) % 10
    # `fused`: one pass over the parameters, PyTorch's fastest.
    sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
    run = compiled(args, network)

    def step():
        sgd.zero_grad(set_to_none=True)
        with autocast(args):
            loss = cross_entropy(run(images), labels)
        loss.backward()
        sgd.step()

    return median(args, step)


def infer(args, network, images):
    network.eval()
    # A compiled network may not be called in inference mode.
    with torch.no_grad() if args.mode in ("compile", "graphs") else torch.inference_mode(), autocast(args):
        network = compiled(args, network)
        if args.mode == "freeze":
            network = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, images)))
        return median(args, lambda: network(images))


def dtype(args):
    return torch.bfloat16 if args.precision == "bf16" else torch.float32


def passes(x, w, dy, geometry):
    """The passes of a convolution, by name."""
    def backward(data, weight):
        return torch.ops.aten.convolution_backward(dy, x, w, None, *geometry, [data, weight, False])

    return {
        "forward": lambda: torch.ops.aten.convolution(x, w, None, *geometry),
        "backward data": lambda: backward(True, False),
        "backward weight": lambda: backward(False, True),
    }


def layers(args, layout):
    for name, *numbers in args.convolution:
        channels, side, filters, kernel, stride = map(int, numbers)
        padding = kernel // 2
        out = (side + 2 * padding - kernel) // stride + 1
        shapes = (args.batch, channels, side, side), (filters, channels, kernel, kernel), (args.batch, filters, out, out)
        x, w, dy = (torch.randn(shape).to(args.device, dtype(args), memory_format=layout) for shape in shapes)
        geometry = [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1
        with torch.inference_mode():
            for each, run in passes(x, w, dy, geometry).items():
                report(median(args, run), args.batch, torch.__version__, config=f"{name} {each}")


def frozen(x, w, stride, padding, dilation, groups):
    """The forward pass with a weight that oneDNN has brought into its own order before, as `torch.compile` has it when it freezes."""
    packed = torch.ops.mkldnn._reorder_convolution_weight(w, padding, stride, dilation, groups, list(x.shape))
    return lambda: torch.ops.mkldnn._convolution_pointwise(
        x, packed, None, padding, stride, dilation, groups, "none", [], ""
    )


def convolution(args, shape):
    """The times of a convolution's passes in milliseconds, each in the better of the two layouts."""
    stride, padding, dilation = ([shape[name]] * 2 for name in ("stride", "padding", "dilation"))
    geometry = stride, padding, dilation, False, [0, 0], shape["groups"]
    best = {}
    for layout in FORMATS.values():
        sizes = (
            (shape["batch"], shape["channels"], *shape["input"]),
            (shape["filters"], shape["channels"] // shape["groups"], *shape["kernel"]),
        )
        x, w = (torch.randn(size).to(args.device, dtype(args), memory_format=layout) for size in sizes)
        with torch.inference_mode():
            dy = torch.randn_like(torch.ops.aten.convolution(x, w, None, *geometry)).contiguous(memory_format=layout)
            runs = passes(x, w, dy, geometry)
            if args.device == "cpu":
                runs["frozen"] = frozen(x, w, stride, padding, dilation, shape["groups"])
            for each, run in runs.items():
                best[each] = min(best.get(each, float("inf")), median(args, run))
    # A weight that is not prepared is sometimes the quicker one.
    return {**best, "frozen": min(best["forward"], best.get("frozen", float("inf")))}


def sweep(args):
    for line in sys.stdin:
        try:
            answer = {"version": torch.__version__, **convolution(args, json.loads(line))}
        except RuntimeError as error:  # as PyTorch calls memory that is not there, or a shape that it does not have
            answer = {"error": f"pytorch: {str(error).splitlines()[0]}"}
        print(json.dumps(answer), flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = FORMATS[args.layout]
    if args.area == "layers":
        return layers(args, layout)
    if args.area == "sweep":
        return sweep(args)
    model = network(args.model).to(args.device, memory_format=layout)
    images = torch.randn(args.batch, *image(args.model)).to(args.device, memory_format=layout)
    measure = train if args.area == "train" else infer
    report(measure(args, model, images), args.batch, torch.__version__, **memory(args))


if __name__ == "__main__":
    main()
