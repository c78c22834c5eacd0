"""Writes the smallest valid file of each format, from which the fuzz targets start: python3 make.py (needs Pillow)."""
import gzip
import io
import json
import os
import struct
import tarfile

from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))


def write(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(data)


def safetensors(metadata):
    header = {"__metadata__": metadata, "fc.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack("<6f", *range(6))


write("safetensors", "plain", safetensors({"format": "pt"}))
write("safetensors", "described", safetensors({"cnn": json.dumps({"arch": "small", "classes": ["a", "b"]})}))
write("recipe", "short.toml", b'model = "small"\ndata = "shapes"\nepochs = 2\nbatch = 8\n')
write("idx", "images", struct.pack(">IIII", 0x803, 2, 2, 3) + bytes(range(12)))
write("idx", "labels", struct.pack(">II", 0x801, 2) + bytes([0, 9]))
write("labels", "table.csv", b'file,label,split\n"a ""1"".png",cat,train\r\nb.png,dog,test\n')
write("labels", "lines.jsonl", b'{"image": "a.png", "class": "cat"}\n{"image": "b.png", "class": 7}\n')
write("cifar", "one", bytes([3]) + bytes(3072))
write("cifar", "fine", bytes([1, 2]) + bytes(3072))

tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        info = tarfile.TarInfo("cifar-10-batches-bin/" + name)
        info.size = 3073
        archive.addfile(info, io.BytesIO(bytes(3073)))
write("archive", "cifar.tar.gz", gzip.compress(tar.getvalue(), mtime=0))

picture = Image.new("RGB", (5, 4), (200, 100, 50))
for name, kind, mode in [("rgb.png", "PNG", "RGB"), ("grey.png", "PNG", "L"), ("palette.png", "PNG", "P"),
                         ("rgba.png", "PNG", "RGBA"), ("rgb.jpg", "JPEG", "RGB"), ("grey.jpg", "JPEG", "L"),
                         ("cmyk.jpg", "JPEG", "CMYK"), ("lossy.webp", "WEBP", "RGB"), ("palette.gif", "GIF", "P"),
                         ("rgb.bmp", "BMP", "RGB"), ("palette.bmp", "BMP", "P"), ("rgb.tif", "TIFF", "RGB"),
                         ("palette.tif", "TIFF", "P")]:
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, kind)
    write("picture", name, buffer.getvalue())
for name, kind, options in [("lossless.webp", "WEBP", {"lossless": True}), ("lzw.tif", "TIFF", {"compression": "tiff_lzw"}),
                            ("deflate.tif", "TIFF", {"compression": "tiff_adobe_deflate"})]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    write("picture", name, buffer.getvalue())
