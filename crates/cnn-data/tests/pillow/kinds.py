#!/usr/bin/env python3
"""Writes one small picture of every kind of pixels, and what Pillow makes of each: what decoding must make of it.

    python3 crates/cnn-data/tests/pillow/kinds.py              (cargo xtask golden does; needs pillow)

`kinds/NAME` is the picture, `kinds/rgb/NAME.png` its pixels in colours; what they are in grey follows from those.
"""
import io
import pathlib
import shutil
import struct
import zlib

from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent / "kinds"
WIDTH, HEIGHT = 24, 16
PIXELS = [(x, y) for y in range(HEIGHT) for x in range(WIDTH)]


def ramp(bits, by=(1, 1)):
    """A value of so many bits for every pixel."""
    return [(by[0] * x * 2711 + by[1] * y * 7919 + x * y * 131) % 65521 >> 16 - bits for x, y in PIXELS]


def smooth():
    """Colours that change as a photograph's do: what JPEG is made for."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([(40 + 8 * x, 30 + 7 * y + 3 * x, 220 - 5 * x - 4 * y) for x, y in PIXELS])
    return image


def busy():
    """Colours with edges."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([((x // 5 * 60 + 9 * y) % 256, (x * y * 3) % 256, 255 if (x - 12) ** 2 + (y - 8) ** 2 < 30 else 20) for x, y in PIXELS])
    return image


def png(depth, colour, samples, *chunks):
    """A PNG, written by hand because Pillow writes not all of its kinds; `samples` are a list for each channel."""
    rows = []
    for y in range(HEIGHT):
        row = [channel[y * WIDTH + x] for x in range(WIDTH) for channel in samples]
        if depth == 16:
            packed = struct.pack(f">{len(row)}H", *row)
        else:
            bits = "".join(f"{value:0{depth}b}" for value in row)
            packed = bytes(int(bits[at:at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))
        rows.append(b"\0" + packed)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pngs():
    grey, colours = 0, 2
    palette, grey_alpha, alpha = 3, 4, 6
    ways = [(1, 1), (3, 2), (2, 5), (5, 3)]
    for depth in (1, 2, 4, 8, 16):
        yield f"grey{depth}.png", png(depth, grey, [ramp(depth)])
    for depth in (1, 2, 4, 8):
        entries = bytes((37 * i + 11 * k) % 256 for i in range(1 << depth) for k in (3, 9, 20))
        # Of transparent entries too the colour counts.
        opacity = bytes((i * 90) % 256 for i in range(1 << depth))
        yield f"palette{depth}.png", png(depth, palette, [ramp(depth)], (b"PLTE", entries))
        yield f"palette{depth}_alpha.png", png(depth, palette, [ramp(depth)], (b"PLTE", entries), (b"tRNS", opacity))
    for depth in (8, 16):
        channels = [ramp(depth, by) for by in ways]
        yield f"rgb{depth}.png", png(depth, colours, channels[:3])
        yield f"rgba{depth}.png", png(depth, alpha, channels)
        yield f"la{depth}.png", png(depth, grey_alpha, channels[:2])
        first = [channel[0] for channel in channels]
        yield f"rgb{depth}_key.png", png(depth, colours, channels[:3], (b"tRNS", struct.pack(">3H", *first[:3])))
        yield f"grey{depth}_key.png", png(depth, grey, channels[:1], (b"tRNS", struct.pack(">H", first[0])))


def jpegs():
    best = {"quality": 92}
    yield "grey.jpg", saved(busy().convert("L"), "JPEG", **best)
    yield "444.jpg", saved(busy(), "JPEG", subsampling=0, **best)
    yield "422.jpg", saved(smooth(), "JPEG", subsampling=1, **best)
    yield "420.jpg", saved(smooth(), "JPEG", subsampling=2, **best)
    yield "edges420.jpg", saved(busy(), "JPEG", subsampling=2, **best)
    yield "progressive.jpg", saved(smooth(), "JPEG", subsampling=2, progressive=True, **best)
    yield "progressive_grey.jpg", saved(busy().convert("L"), "JPEG", progressive=True, **best)
    yield "rgb.jpg", saved(busy(), "JPEG", keep_rgb=True, **best)
    black = Image.new("L", (WIDTH, HEIGHT))
    black.putdata([(5 * x + 3 * y) % 160 for x, y in PIXELS])
    turned = smooth().transpose(Image.Transpose.ROTATE_180)
    cmyk = saved(Image.merge("CMYK", [*smooth().split(), black]), "JPEG", **best)
    yield "cmyk.jpg", cmyk
    # The same numbers, called luminance, chrominances and black.
    adobe = cmyk.index(b"Adobe")
    assert cmyk[adobe + 11] == 0
    ycck = saved(Image.merge("CMYK", [*(band.point(lambda v: 255 - v) for band in turned.convert("YCbCr").split()), black]), "JPEG", **best)
    yield "ycck.jpg", ycck[:adobe + 11] + b"\2" + ycck[adobe + 12:]
    # And without a word of Adobe: its inks are counted from the same end by Pillow.
    yield "cmyk_plain.jpg", cmyk[:adobe - 4] + cmyk[adobe + 12:]


def turned():
    """Two of the ways in which a camera is held; that all eight are known is tested without a file."""
    for way, kind in ((6, "JPEG"), (5, "PNG")):
        exif = Image.Exif()
        exif[0x0112] = way
        yield f"turned{way}.{kind.lower()}", saved(busy(), kind, exif=exif, **({"subsampling": 0} if kind == "JPEG" else {}))


def grey(colours):
    """What Pillow makes of colours by `convert("L")`."""
    return bytes(19595 * r + 38470 * g + 7471 * b + 0x8000 >> 16 for r, g, b in zip(*[iter(colours)] * 3))


def write(name, data):
    (HERE / name).write_bytes(data)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        # 16 bits of grey: their upper byte, as Pillow has it of 16 bits of colours. These it clips at 255, so that all is white.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    colours = image.convert("RGB")
    # So the test needs to know no more than the colours.
    assert image.convert("L").tobytes() == grey(colours.tobytes()), name
    (HERE / "rgb").mkdir(exist_ok=True)
    colours.save(HERE / "rgb" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    for kinds in (pngs, jpegs, turned):
        for name, data in kinds():
            write(name, data)
