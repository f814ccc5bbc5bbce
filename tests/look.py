"""Judges a screenshot without eyes: look.py PICTURE.png light|dark. The page's own colour must be the most frequent, text
must stand out from it, and there must be pictures (many colours)."""
import collections
import struct
import sys
import zlib


def pixels(path):
    """Width, height, and rows of (r, g, b) of an 8-bit PNG without interlacing."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[at + 8 : at + 21])
        if kind == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += 12 + size
    assert depth == 8 and colour in (2, 6) and not interlaced
    n = 3 if colour == 2 else 4
    raw, stride, above, rows = zlib.decompress(packed), width * n, bytearray(width * n), []
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for i in range(stride):
            a, b, c = (row[i - n] if i >= n else 0), above[i], (above[i - n] if i >= n else 0)
            if kind == 1:
                row[i] = (row[i] + a) & 255
            elif kind == 2:
                row[i] = (row[i] + b) & 255
            elif kind == 3:
                row[i] = (row[i] + (a + b) // 2) & 255
            elif kind == 4:
                p = a + b - c
                best = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                row[i] = (row[i] + best) & 255
        above = row
        rows.append(row)
    return width, height, n, rows


def main():
    width, height, n, rows = pixels(sys.argv[1])
    counts = collections.Counter()
    for row in rows[::2]:
        for i in range(0, len(row), n):
            counts[bytes(row[i : i + 3])] += 1
    page, often = counts.most_common(1)[0]
    total = sum(counts.values())
    dark = sum(page) < 3 * 128
    ink = sum(c for p, c in counts.items() if abs(sum(p) - sum(page)) > 3 * 110)
    print(f"{width} x {height}, page {page.hex()} {often / total:.0%}, stands out {ink / total:.1%}, {len(counts)} colours")
    assert dark == (sys.argv[2] == "dark"), "the page's colour"
    assert 0.3 < often / total < 0.97, "an empty page, or a full one"
    assert ink / total > 0.005, "nothing stands out"
    assert len(counts) > 60, "no pictures"


main()
