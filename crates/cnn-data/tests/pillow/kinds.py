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


def webps():
    opacity = Image.new("L", (WIDTH, HEIGHT))
    opacity.putdata([255 - 6 * x for x, y in PIXELS])
    transparent = busy().copy()
    transparent.putalpha(opacity)
    softer = smooth().copy()
    softer.putalpha(opacity)
    yield "lossy.webp", saved(smooth(), "WEBP", quality=90)
    yield "lossy_edges.webp", saved(busy(), "WEBP", quality=80)
    yield "lossy_alpha.webp", saved(softer, "WEBP", quality=90)
    yield "lossless.webp", saved(busy(), "WEBP", lossless=True)
    yield "lossless_alpha.webp", saved(transparent, "WEBP", lossless=True, exact=True)
    yield "lossless_animated.webp", saved(busy(), "WEBP", lossless=True, save_all=True, append_images=[smooth()])
    yield "lossy_animated.webp", saved(softer, "WEBP", quality=90, save_all=True, append_images=[transparent])
    exif = Image.Exif()
    exif[0x0112] = 8
    yield "lossless_turned8.webp", saved(busy(), "WEBP", lossless=True, exif=exif)


def gifs():
    few = busy().quantize(16)
    yield "palette.gif", saved(few, "GIF", interlace=0)
    yield "interlaced.gif", saved(busy().quantize(200), "GIF", interlace=1)
    yield "grey.gif", saved(busy().convert("L"), "GIF")
    yield "transparent.gif", saved(few, "GIF", transparency=few.getpixel((3, 3)))
    yield "animated.gif", saved(few, "GIF", save_all=True, append_images=[smooth().quantize(8)])
    # A first frame that covers a part of the picture: its sides are those of the screen, which are at 6 to 10.
    corner = few.crop((0, 0, 13, 7))
    for name, options in [("part.gif", {}), ("part_transparent.gif", {"transparency": few.getpixel((3, 3))})]:
        data = bytearray(saved(corner, "GIF", interlace=0, **options))
        data[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
        frame = data.index(struct.pack("<BHHHH", 0x2c, 0, 0, 13, 7))
        data[frame + 1:frame + 5] = struct.pack("<HH", 5, 4)
        yield name, bytes(data)


def bmp(bits, rows, palette=b"", compression=0, masks=b"", down=False):
    """A BMP by hand: `rows` from the bottom, or all of its data."""
    data = rows if isinstance(rows, bytes) else b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, -HEIGHT if down else HEIGHT, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    start = 14 + len(info) + len(masks) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + info + masks + palette + data


def bmps():
    yield "rgb.bmp", saved(busy(), "BMP")
    yield "rgba.bmp", saved(busy().convert("RGBA"), "BMP")
    yield "grey.bmp", saved(busy().convert("L"), "BMP")
    yield "palette.bmp", saved(busy().quantize(100), "BMP")
    yield "bilevel.bmp", saved(busy().convert("1"), "BMP")
    few = busy().quantize(16)
    palette = b"".join(bytes([b, g, r, 0]) for r, g, b in zip(*[iter(few.getpalette()[:48])] * 3))
    rows = [[few.getpixel((x, y)) for x in range(WIDTH)] for y in reversed(range(HEIGHT))]
    packed = [bytes(a << 4 | b for a, b in zip(row[::2], row[1::2])) for row in rows]
    yield "palette4.bmp", bmp(4, packed, palette)
    yield "down.bmp", bmp(4, packed, palette, down=True)
    # Runs of one, and of what is equal; then the end of a row, and of the picture.
    runs = b"".join(b"".join(bytes([1, value]) for value in row[:8]) + bytes([0, WIDTH - 8]) + bytes(row[8:]) + b"\0\0" for row in rows)
    yield "rle8.bmp", bmp(8, runs + b"\0\1", palette, compression=1)
    words = [struct.pack(f"<{WIDTH}H", *((7919 * x + 2711 * y + 131 * x * y) % 65536 for x in range(WIDTH))) for y in range(HEIGHT)]
    yield "rgb555.bmp", bmp(16, words)
    yield "rgb565.bmp", bmp(16, words, compression=3, masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))


def tiff(order, bits, samples, photometric, channels, *more):
    """A TIFF by hand, in one strip behind its directory; `order` is < or >."""
    data = struct.pack(f"{order}{len(PIXELS) * samples}{'H' if bits == 16 else 'B'}", *(channel[i] for i in range(len(PIXELS)) for channel in channels))
    entries = [(256, 3, [WIDTH]), (257, 3, [HEIGHT]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric]),
               (273, 4, [0]), (277, 3, [samples]), (278, 3, [HEIGHT]), (279, 4, [len(data)]), *more]
    place, extra, table = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", place + len(extra)), extra + packed
        table += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    # Where the strip is was not known before.
    strip = struct.pack(f"{order}HHI", 273, 4, 1)
    table = table.replace(strip + bytes(4), strip + struct.pack(f"{order}I", place + len(extra)))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(entries)) + table + bytes(4) + extra + data


def tiffs():
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"rgb_{compression}.tif", saved(busy(), "TIFF", compression=compression)
    yield "predictor.tif", saved(smooth(), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "grey.tif", saved(busy().convert("L"), "TIFF")
    yield "grey_strips.tif", saved(busy().convert("L"), "TIFF", compression="tiff_lzw", strip_size=100)
    yield "bilevel.tif", saved(busy().convert("1"), "TIFF")
    yield "rgba.tif", saved(busy().convert("RGBA"), "TIFF")
    yield "cmyk.tif", saved(smooth().convert("CMYK"), "TIFF")
    yield "palette.tif", saved(busy().quantize(90), "TIFF")
    yield "palette_lzw.tif", saved(busy().quantize(90), "TIFF", compression="tiff_lzw")
    yield "pages.tif", saved(busy(), "TIFF", save_all=True, append_images=[smooth()])
    yield "turned7.tif", saved(busy(), "TIFF", tiffinfo={274: 7})
    ways = [(1, 1), (3, 2), (2, 5)]
    deep = [ramp(16, by) for by in ways]
    for order, name in (("<", "little"), (">", "big")):
        yield f"grey16_{name}.tif", tiff(order, 16, 1, 1, deep[:1])
        yield f"rgb16_{name}.tif", tiff(order, 16, 3, 2, deep)
    yield "white_is_zero.tif", tiff(">", 8, 1, 0, [ramp(8)])


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
    for kinds in (pngs, jpegs, turned, webps, gifs, bmps, tiffs):
        for name, data in kinds():
            write(name, data)
