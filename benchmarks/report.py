#!/usr/bin/env python3
"""The report of what scripts/bench kept: FILE.json becomes FILE.html, one page with tables and plots, nothing outside it
needed. Lines of JSON that `plumb bench ... --json` printed are taken as well.

    benchmarks/report.py FILE.json"""
import html
import json
import math
import statistics
import sys

COLOURS = ["#2563a8", "#c2410c", "#2f7d32", "#7b3fa0", "#8a6d1b", "#4b5563"]
STYLE = """body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 60em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .no { color: #b00020; font-weight: bold } .yes { color: #2f7d32 }
svg { margin: .5em 1em .5em 0 } p { max-width: 46em }"""


def read(path):
    with open(path) as file:
        text = file.read()
    try:
        result = json.loads(text)
    except ValueError:
        result = None
    if isinstance(result, dict) and "rows" in result:
        return result
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    sections = {"op": "conv", "train": "batch"}
    return {"rows": [dict(row, section=sections.get(row.get("bench"), row.get("bench", "")), who="plumb") for row in rows]}


def number(value, digits=4):
    return "-" if value is None else "%.*g" % (digits, value)


def table(head, rows):
    def cells(row, tag):
        return "<tr>" + "".join("<%s>%s</%s>" % (tag, c if str(c).startswith("<") else html.escape(str(c)), tag) for c in row) + "</tr>"
    return "<table>" + cells(head, "th") + "".join(cells(row, "td") for row in rows) + "</table>"


# ---- plots ----

def ticks(low, high, log):
    if log:
        return [10.0 ** e * f for e in range(-9, 12) for f in (1, 2, 5) if low * 0.999 <= 10.0 ** e * f <= high * 1.001]
    step = 10 ** math.floor(math.log10((high - low) / 3 or 1))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= 6)
    return [i * step for i in range(math.ceil(low / step), int(high / step) + 1)]


def plot(title, across, up, curves, log=True):
    """curves: name -> [(x, y)]; both axes logarithmic, or both straight from 0."""
    wide, high, left, bottom, top = 470, 300, 62, 42, 28
    points = [p for curve in curves.values() for p in curve]
    if not points:
        return ""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low_x, high_x = (min(xs), max(xs)) if log else (0, max(xs) * 1.05)
    low_y, high_y = (min(ys) * 0.8, max(ys) * 1.25) if log else (0, max(ys) * 1.1)

    def place(value, low, high_, room):
        if log:
            value, low, high_ = math.log(value), math.log(low), math.log(high_)
        return room * (value - low) / ((high_ - low) or 1)

    def at(x, y):
        return left + place(x, low_x, high_x, wide - left - 12), high - bottom - place(y, low_y, high_y, high - bottom - top)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">' % (wide, high),
           '<text x="%d" y="16" font-size="13">%s</text>' % (left, html.escape(title))]
    marks = sorted(set(xs)) if log and len(set(xs)) <= 12 else ticks(low_x, high_x, log)
    for x in marks:
        px = at(x, low_y)[0]
        out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e5e5e5"/><text x="%.1f" y="%d" text-anchor="middle">%g</text>'
                   % (px, px, top, high - bottom, px, high - bottom + 14, x))
    for y in ticks(low_y, high_y, log):
        py = at(low_x, y)[1]
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#e5e5e5"/><text x="%d" y="%.1f" text-anchor="end">%g</text>'
                   % (left, wide - 12, py, py, left - 5, py + 4, y))
    for i, (name, curve) in enumerate(curves.items()):
        colour, line = COLOURS[i % len(COLOURS)], " ".join("%.1f,%.1f" % at(*p) for p in sorted(curve))
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (line, colour))
        out += ['<circle cx="%.1f" cy="%.1f" r="2.6" fill="%s"/>' % (*at(*p), colour) for p in curve]
        out.append('<text x="%d" y="%d" text-anchor="end" fill="%s">%s</text>' % (
            wide - 20, high - bottom - 10 - 14 * (len(curves) - 1 - i), colour, html.escape(name)))
    out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((wide + left) // 2, high - 8, html.escape(across)))
    out.append('<text transform="translate(13 %d) rotate(-90)" text-anchor="middle">%s</text></svg>' % (high // 2, html.escape(up)))
    return "".join(out)


# ---- parts of the page ----

def goals(result):
    rows = []
    for g in result.get("goals", []):
        met = "-" if g["value"] is None else '<span class="%s">%s</span>' % (("yes", "yes") if g["met"] else ("no", "no"))
        rows.append((g["what"], number(g["value"], 3), ("at most %g" if g.get("at_most") else "at least %g") % g["target"], met))
    return "<h2>Goals</h2>" + table(("", "measured", "goal", "met"), rows) if rows else ""


def training(rows):
    cases = {}
    for r in rows:
        if r["section"] == "train":
            who = r["who"] if r.get("device", "cpu") == "cpu" else "%s, %s" % (r["who"], r["device"])
            cases.setdefault((r["model"], r["batch"] if r["who"] != "FANN" else 64), {}).setdefault(who, []).append(r)
    if not cases:
        return ""
    out = []
    for (model, batch), by in cases.items():
        for who, runs in by.items():
            rates = sorted(r["images_per_s"] for r in runs)
            base = by.get("PyTorch")
            ratio = statistics.median(rates) / statistics.median(r["images_per_s"] for r in base) if base else None
            gflops = statistics.median(r["gflops"] for r in runs) if "gflops" in runs[0] else None
            out.append(("%s, batch %d" % (model, runs[0]["batch"]), who + (" (%s)" % runs[0]["setting"] if "setting" in runs[0] else ""),
                        number(statistics.median(rates)), "%s to %s" % (number(rates[0]), number(rates[-1])),
                        number(1e3 * statistics.median(r["seconds"] for r in runs)), number(gflops, 3), number(ratio, 3)))
    return ("<h2>Training steps</h2><p>Whole steps with Adam: gathering and shuffling of batches included on all sides. Medians of "
            "rounds in which they took turns; FANN's batch is always 1, by plain gradient descent.</p>" +
            table(("", "", "images/s", "least to most", "ms a step", "GFLOP/s", "times PyTorch"), out))


def shares(rows, section, title, text):
    names, out, first = {}, [], None
    peaks = [r for r in rows if r["section"] == section and r.get("bench") == "ceilings"]
    for r in (r for r in rows if r["section"] == section and r.get("bench") == "op"):
        same = first and (first["op"], first["shapes"], first["attributes"]) == (r["op"], r["shapes"], r["attributes"])
        if not same:
            first = r
        ratio = r["seconds"] / first["seconds"] if same and first["implementation"].startswith("cpu.native") else None
        out.append(("%s %s" % (r["op"], r["shapes"]), r.get("set", ""), "%s %s" % (r["implementation"], r.get("layout", "")),
                    number(1e3 * r["seconds"]), number(r["gflops"], 3), "-" if r["share_of_peak"] is None else "%.0f %%" % (100 * r["share_of_peak"]),
                    number(r["gb_per_s"], 3), number(ratio, 3)))
        if ratio:  # of several the best counts
            case = names.setdefault(r.get("set", ""), {})
            key = (r["op"], r["shapes"], r["attributes"])
            case[key] = min(ratio, case.get(key, ratio))
    if not out:
        return ""
    summary = [(name, len(v), number(math.exp(statistics.fmean(map(math.log, v.values()))), 3),
                number(min(v.values()), 3)) for name, v in names.items()]
    ceiling = "" if not peaks else "<p>Measured in the same run at most: %s GFLOP/s in f32, %s in bf16, %s GB/s in a triad.</p>" % (
        number(max(p["gflops"] for p in peaks)), number(max(p["gflops_bf16"] for p in peaks)),
        number(max(p["triad_gb_per_s"] for p in peaks)))
    details = "<details><summary>each op</summary>" + table(
        ("", "set", "", "ms", "GFLOP/s", "of peak", "GB/s", "the first is so many times as fast"), out) + "</details>"
    return "<h2>%s</h2><p>%s</p>%s%s%s" % (title, text, ceiling, table(("set", "ops", "geometric mean", "least"), summary), details)


def growth(rows):
    def curves(section, key, value, keep=lambda r: True):
        out = {}
        for r in rows:
            if r["section"] == section and keep(r):
                name = "%s, %s thread%s" % (r["who"], r["threads"], "" if r["threads"] == 1 else "s")
                out.setdefault(name, []).append((r[key], value(r)))
        return out
    out = ""
    for model in ("lenet5", "resnet20-cifar"):
        data = curves("batch", "batch", lambda r: r["images_per_s"], lambda r: r["model"] == model)
        out += plot("%s: throughput against batch" % model, "batch", "images/s", data)
    layers = {"resnet8-cifar": 8, "resnet20-cifar": 20, "resnet32-cifar": 32, "resnet56-cifar": 56}
    deep = {}
    for r in rows:
        if r["section"] == "depth" and r["model"] in layers:
            deep.setdefault("%s, batch %d" % (r["who"], r["batch"]), []).append((layers[r["model"]], 1e3 * r["seconds"]))
    out += plot("residual networks for 32 x 32: step against depth", "layers", "ms a step", deep, log=False)
    words = "".join("<p>%s: from 8 to %d layers each layer costs %.3g ms, the rest %.3g ms.</p>" % (
        html.escape(name), curve[-1][0], slope(curve)[0], slope(curve)[1]) for name, curve in
        ((n, sorted(c)) for n, c in deep.items()) if len(curve) > 1)
    return ("<h2>Growth</h2><p>Throughput rises with the batch until the work of a step outweighs what every step costs (the launch "
            "of its ops and the update of all weights, which does not depend on the batch), and is flat from there on as long as "
            "activations stay in the caches. Time against depth is a straight line when every layer costs the same.</p>" + out + words) if out else ""


def slope(curve):
    each = (curve[-1][1] - curve[0][1]) / (curve[-1][0] - curve[0][0])
    return each, curve[0][1] - each * curve[0][0]


def others(rows):
    out = ""
    low = [r for r in rows if r["section"] == "bf16"]
    if low:
        out += "<h2>bf16 and f32</h2>" + table(("", "", "ms a step", "images/s", "GFLOP/s"), [
            ("%s, batch %d" % (r["model"], r["batch"]), r["precision"], number(1e3 * r["seconds"]), number(r["images_per_s"]),
             number(r["gflops"], 3)) for r in low])
    near = [r for r in rows if r["section"] == "neighbour"]
    if near:
        out += ("<h2>Beside one process that spins</h2><p>LeNet-5, batch 64. The last column is the speed left by the share of the "
                "CPUs that the neighbour left: 1 is fair.</p>") + table(
            ("", "images/s alone", "beside it", "left", "CPUs taken", "left by share"),
            [(r["who"], number(r["alone"]), number(r["beside"]), "%.0f %%" % (100 * r["left"]), "%.0f %%" % (100 * r["cpu_taken"]),
              number(r["left"] / (1 - r["cpu_taken"]), 3)) for r in near])
    for r in rows:
        if r["section"] == "start":
            parts = ["process", "context", "network", "data", "program", "step"]
            out += "<h2>Start</h2>" + table(("until", "ms"), [(p, number(1e3 * r["until_" + p])) for p in parts]) + \
                "<p>%.2f MB are loaded.</p>" % (r["loaded_bytes"] / 1e6)
    return out


def main():
    path = sys.argv[1]
    result = read(path)
    rows = result["rows"]
    head = ", ".join("%s %s" % (k, result[k]) for k in ("date", "commit", "cpu", "threads", "mode", "rounds") if k in result)
    peers = ", ".join("%s %s" % (name, version or "absent") for name, version in result.get("peers", {}).items())
    noise = "" if result.get("quiet", True) else '<p class="no">The machine was not quiet: ratios say more than figures.</p>'
    failed = "".join("<p class=no>failed: %s: %s</p>" % (html.escape(f["command"]), html.escape(f["message"])) for f in result.get("failed", []))
    page = ["<!doctype html><html lang=en><meta charset=utf-8><title>Plumb: benchmarks</title><style>%s</style>" % STYLE,
            "<h1>Plumb: benchmarks</h1><p>%s</p><p>Peers: %s. CPU pressure over all %s %%.</p>" % (
                html.escape(head), html.escape(peers or "none"), result.get("cpu_pressure_percent", "-")), noise, failed,
            goals(result), training(rows),
            shares(rows, "conv", "Convolutions beside oneDNN's direct ones", "Forward, data and filter gradients of all different "
                   "convolutions of a training step. oneDNN has threads of its own; its pictures are channels-last, as ours, or in rows, "
                   "which it turns into blocks of its own and back: whichever is faster counts."),
            shares(rows, "winograd", "Winograd's, beside oneDNN's direct ones", "GFLOP/s count the multiplications of the direct form."),
            shares(rows, "gemm", "Products beside OpenBLAS's", "With the gradients, which are products of transposed matrices."),
            others(rows), growth(rows), "</html>"]
    to = path.rsplit(".", 1)[0] + ".html"
    with open(to, "w") as file:
        file.write("\n".join(page))
    print("report in %s" % to)


main()
