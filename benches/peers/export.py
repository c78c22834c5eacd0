#!/usr/bin/env python3
"""A network as an ONNX file for any number of images: python3 export.py resnet18 resnet18.onnx"""

import sys

import torch

from networks import NETWORKS, image, network

name, path = sys.argv[1:]
if name not in NETWORKS:
    sys.exit(f"{name}: must be one of {', '.join(NETWORKS)}")
torch.manual_seed(0)
batch = {"images": {0: "batch"}, "logits": {0: "batch"}}
options = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": batch, "dynamo": False}
torch.onnx.export(network(name).eval(), torch.randn(1, *image(name)), path, **options)
