#!/usr/bin/python3
"""Writes tests/pictures.h: small pictures by Pillow, with what Pillow reads out of them. Run again only to add some."""
import io
import sys

import numpy
from PIL import Image

W, H = 12, 8
y, x = numpy.mgrid[0:H, 0:W]
rgb = numpy.stack([x * 20, y * 30, 255 - x * 10 - y * 8], -1).astype("u1")
colour, grey = Image.fromarray(rgb), Image.fromarray((x * 15 + y * 6).astype("u1"))


def file_of(picture, form, **more):
    to = io.BytesIO()
    picture.save(to, form, **more)
    return to.getvalue()


alpha = Image.fromarray(numpy.dstack([rgb, (x * 23).astype("u1")]))
palette = colour.quantize(16)
exif = Image.Exif()
exif[0x0112] = 6
holes = bytes(range(0, 256, 16))
deep = Image.fromarray((x * 5000 + y * 1000).astype("u2"))
rows = {
    "rgb_png": (file_of(colour, "PNG"), rgb),
    "grey_png": (file_of(grey, "PNG"), numpy.asarray(grey.convert("RGB"))),
    "alpha_png": (file_of(alpha, "PNG"), (rgb.astype(int) * (x * 23)[..., None] + 127) // 255),
    "palette_png": (file_of(palette, "PNG"), numpy.asarray(palette.convert("RGB"))),
    "holes_png": (file_of(palette, "PNG", transparency=holes),
                  (numpy.asarray(palette.convert("RGB")).astype(int) * (numpy.asarray(palette).astype(int) * 16)[..., None] + 127) // 255),
    "deep_png": (file_of(deep, "PNG"), numpy.repeat(((x * 5000 + y * 1000) * 255 + 32895 >> 16)[..., None], 3, -1)),
}
for name, picture, more in [("rgb_jpeg", colour, {}), ("grey_jpeg", grey, {}), ("progressive_jpeg", colour, {"progressive": True}),
                            ("cmyk_jpeg", colour.convert("CMYK"), {}), ("turned_jpeg", colour, {"exif": exif})]:
    data = file_of(picture, "JPEG", quality=90, optimize=True, **more)
    read = Image.open(io.BytesIO(data))
    if name == "turned_jpeg":
        read = read.transpose(Image.Transpose.ROTATE_270)
    if name == "cmyk_jpeg":
        ink = numpy.asarray(read).astype(int)
        read = (255 - ink[..., :3]) * (255 - ink[..., 3:]) // 255
    rows[name] = (data, numpy.asarray(read if name == "cmyk_jpeg" else read.convert("RGB")))

with open(sys.argv[1], "w") as out:
    out.write("/* Pictures of 12 x 8 that Pillow wrote, and the RGB values (rows from the top) that it reads: tests/make_pictures.py. */\n")
    for name, (data, pixels) in rows.items():
        for what, values in ((name, data), (name + "_pixels", numpy.asarray(pixels).astype("u1").tobytes())):
            out.write("static const unsigned char %s[] = {\n" % what)
            for i in range(0, len(values), 28):
                out.write("    " + ", ".join(map(str, values[i:i + 28])) + ",\n")
            out.write("};\n")
