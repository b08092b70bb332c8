"""Writes the pictures of this folder, and what Pillow and Transformers' Pillow-backed image processors make of them.

    pip install pillow==13.0.0 transformers==5.24.0 numpy torch
    python generate_pictures.py

`files/` has a picture of each mode and depth; `expected.json` has, for each file, its size and the CRC-32 of its RGB bytes with alpha laid
over white ("white", `convert_to_rgb` of Transformers 5) and dropped ("drop", `convert("RGB")`), both behind `exif_transpose`. For lossy files,
which other decoders decode a little differently (and a BMP of 16 bits, of which Pillow cuts what others round), `lossy/NAME.png` has the pixels. Under "resized" are the results of image processors on
pictures that the formula in `noise` gives, CRC-32 of bytes [h, w, 3] and of f32 [3, h, w].
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil
from transformers.image_transforms import convert_to_rgb

HERE = Path(__file__).parent
FILES, LOSSY = HERE / "files", HERE / "lossy"


def noise(height, width, channels=3):
    """Byte i is the upper byte of a hash of i."""
    x = (np.arange(height * width * channels, dtype=np.uint64) * 0x9E3779B1) & 0xFFFFFFFF
    x ^= x >> np.uint64(15)
    x = (x * 0x85EBCA77) & 0xFFFFFFFF
    x ^= x >> np.uint64(13)
    return (x >> np.uint64(24)).astype(np.uint8).reshape(height, width, channels)


def smooth(height, width):
    """Waves of colour with an edge: what lossy formats are made for."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [np.sin(x / 7) + np.cos(y / 5), np.cos((x + y) / 9) * 2, np.sin(y / 11) + (x > width / 2)]
    return np.stack([np.clip(127 + 60 * p, 0, 255) for p in planes], -1).astype(np.uint8)


def png(name, samples, depth, kind, palette=None, transparency=None, interlaced=False):
    """Samples [h, w, channels] of `depth` bits as a PNG; Pillow writes few of the depths."""
    height, width = samples.shape[:2]

    def lines(part):
        rows = b""
        for row in part:
            flat = row.reshape(-1).astype(np.int64)
            if depth == 16:
                packed = flat.astype(">u2").tobytes()
            elif depth == 8:
                packed = flat.astype(np.uint8).tobytes()
            else:
                bits = ((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
                packed = np.packbits(bits).tobytes()
            rows += b"\0" + packed
        return rows

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [samples]
    data = b"".join(lines(part) for part in parts if part.size)

    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))
    if palette is not None:
        out += chunk(b"PLTE", palette.tobytes())
    if transparency is not None:
        out += chunk(b"tRNS", transparency)
    (FILES / name).write_bytes(out + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def pngs():
    size = (9, 13)
    for depth in (1, 2, 4, 8, 16):
        high = noise(*size, 1).astype(np.int64) << 8 | noise(*size, 2)[..., 1:]
        png(f"grey{depth}.png", high >> (16 - depth), depth, 0)
    wide = noise(*size, 4).astype(np.int64) << 8 | noise(*size, 4)[::-1]
    png("greyalpha8.png", noise(*size, 2), 8, 4)
    png("greyalpha16.png", wide[..., :2], 16, 4)
    png("rgb8.png", noise(*size), 8, 2)
    png("rgb16.png", wide[..., :3], 16, 2)
    png("rgba8.png", noise(*size, 4), 8, 6)
    png("rgba16.png", wide, 16, 6)
    png("interlaced.png", noise(21, 19), 8, 2, interlaced=True)
    for depth in (1, 2, 4, 8):
        colours = noise(1, 1 << depth)[0]
        index = noise(*size, 1) >> (8 - depth)
        png(f"palette{depth}.png", index, depth, 3, colours)
    png("palette_alpha.png", noise(*size, 1) >> 4, 4, 3, noise(1, 16)[0], noise(1, 9, 1).tobytes())
    grey = noise(*size, 1)
    png("grey_key.png", grey, 8, 0, transparency=struct.pack(">H", int(grey[0, 0, 0])))
    rgb = np.repeat(noise(3, 4), 3, axis=0)
    png("rgb_key.png", rgb, 8, 2, transparency=struct.pack(">HHH", *(int(v) for v in rgb[0, 1])))
    png("one_pixel.png", noise(1, 1), 8, 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(5, 8)).save(FILES / "turned.png", exif=exif)


def jpegs():
    picture = Image.fromarray(smooth(30, 41))
    picture.convert("L").save(FILES / "grey.jpg", quality=90)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        picture.save(FILES / f"rgb{name}.jpg", quality=92, subsampling=subsampling)
    picture.save(FILES / "progressive.jpg", quality=88, progressive=True)
    picture.convert("CMYK").save(FILES / "cmyk.jpg", quality=92)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(smooth(17, 24)).save(FILES / f"turned{turn}.jpg", quality=95, subsampling=0, exif=exif)


def others():
    picture, clear = Image.fromarray(smooth(19, 23)), noise(19, 23, 4)
    clear[..., 3] = np.where(clear[..., 3] < 80, 0, clear[..., 3])
    picture.save(FILES / "lossless.webp", lossless=True)
    Image.fromarray(clear).save(FILES / "clear.webp", lossless=True, exact=True)
    Image.fromarray(smooth(32, 40)).save(FILES / "lossy.webp", quality=85)
    exif = Image.Exif()
    exif[0x0112] = 8
    picture.save(FILES / "turned.webp", lossless=True, exif=exif)
    frames = [Image.fromarray(noise(8, 9) // 2 + 60 * i) for i in range(3)]
    frames[0].save(FILES / "film.webp", save_all=True, append_images=frames[1:], lossless=True)
    flat = Image.fromarray(noise(12, 14)).quantize(16)
    flat.save(FILES / "plain.gif")
    flat.save(FILES / "clear.gif", transparency=3)
    frames = [Image.fromarray(noise(10, 11) // 2 + 50 * i).quantize(32) for i in range(3)]
    frames[0].save(FILES / "film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(noise(7, 10)).save(FILES / "rgb24.bmp")
    Image.fromarray(noise(7, 10)).quantize(200).save(FILES / "palette8.bmp")
    Image.fromarray(noise(7, 10, 1)[..., 0]).save(FILES / "grey8.bmp")
    Image.fromarray(noise(7, 10, 1)[..., 0] > 127).save(FILES / "bits1.bmp")
    Image.fromarray(noise(7, 10, 4)).save(FILES / "rgba32.bmp")
    bits15 = (noise(6, 8, 2).astype(np.uint16) @ np.array([256, 1], np.uint16)) & 0x7FFF
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + bits15.nbytes, 0, 0, 54, 40, 8, 6, 1, 16, 0, bits15.nbytes, 0, 0, 0, 0)
    (FILES / "bits15.bmp").write_bytes(head + bits15.astype("<u2").tobytes())


def crc(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def expected_files():
    found = {}
    lossy = ("grey.jpg", "rgb", "progressive", "cmyk", "turned1", "turned2", "turned3", "turned4", "turned5", "turned6", "turned7", "turned8")
    for path in sorted(FILES.iterdir()):
        picture = ImageOps.exif_transpose(Image.open(path))
        if picture.mode.startswith("I"):
            # Pillow clips it to white; the upper byte is what it takes of all other kinds of 16 bits.
            picture = Image.fromarray((np.array(picture) >> 8).astype(np.uint8))
        white, drop = convert_to_rgb(picture, return_numpy=True), np.array(picture.convert("RGB"))
        is_lossy = path.name in ("lossy.webp", "bits15.bmp") or (path.suffix == ".jpg" and path.name.startswith(lossy))
        found[path.name] = {"height": picture.height, "width": picture.width, "white": crc(white), "drop": crc(drop), "lossy": is_lossy}
        if is_lossy:
            Image.fromarray(white).save(LOSSY / (path.stem + ".png"), optimize=True)
    return found


def expected_resized():
    clip = lambda edge, crop, **more: (CLIPImageProcessorPil, {"size": {"shortest_edge": edge}, "crop_size": crop, **more})
    siglip = lambda height, width, **more: (SiglipImageProcessorPil, {"size": {"height": height, "width": width}, **more})
    both = lambda height, width: {"height": height, "width": width}
    cases = [(shape, clip(32, both(32, 32))) for shape in [(1, 1), (2, 3000), (3000, 2), (2, 30000), (32, 32), (32, 47), (57, 32), (333, 500), (500, 333), (31, 33), (7, 9)]]
    cases += [((97, 131), clip(24, both(24, 24), resample=resample)) for resample in range(6)]
    cases += [((40, 61), clip(24, both(31, 27))), ((61, 40), clip(24, both(20, 35))), ((40, 61), clip(25, both(10, 25)))]
    cases += [(shape, siglip(24, 24)) for shape in [(1, 1), (2, 3000), (24, 24), (24, 50), (50, 24), (333, 500), (5, 6)]]
    cases += [((97, 131), siglip(20, 31, resample=resample)) for resample in range(6)]
    cases += [((45, 50), clip(224, both(224, 224))), ((640, 480), clip(224, both(224, 224))), ((640, 480), siglip(224, 224, resample=2))]
    cases += [((20, 30), clip(9, both(40, 20), do_resize=False)), ((33, 20), siglip(9, 9, do_rescale=False)), ((33, 20), siglip(9, 9, do_normalize=False))]
    found = []
    for (height, width), (kind, settings) in cases:
        picture = Image.fromarray(noise(height, width))
        config = json.loads(kind(**settings).to_json_string())
        pixels = np.array(kind(**settings)(images=picture)["pixel_values"][0], dtype=np.float32)
        raw = kind(**{**settings, "do_rescale": False, "do_normalize": False})(images=picture)["pixel_values"][0]
        bytes_ = np.moveaxis(np.array(raw), 0, -1).astype(np.uint8)
        found.append({"height": height, "width": width, "config": config, "size": list(bytes_.shape[:2]), "bytes": crc(bytes_),
                      "pixels": crc(pixels), "sum": float(pixels.astype(np.float64).sum())})
    return found


FILES.mkdir(exist_ok=True)
LOSSY.mkdir(exist_ok=True)
pngs()
jpegs()
others()
text = json.dumps({"files": expected_files(), "resized": expected_resized()}, indent=1, sort_keys=True)
(HERE / "expected.json").write_text(text + "\n")
