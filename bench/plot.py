# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, written by hand: bars with goals, and curves on logarithmic axes. Colours have enough contrast on white."""
import math
from xml.sax.saxutils import escape

COLOURS = ['#1b6ca8', '#c4501b', '#3c7a3c', '#7a4fa3', '#666666']


class Svg:
    def __init__(self, width, height):
        self.parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif">' % (
            width, height, width, height), '<rect width="100%" height="100%" fill="#fff"/>']

    def line(self, x1, y1, x2, y2, colour='#000', width=1, dash=''):
        self.parts.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"%s/>' % (
            x1, y1, x2, y2, colour, width, ' stroke-dasharray="%s"' % dash if dash else ''))

    def rect(self, x, y, w, h, colour):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>' % (x, y, w, h, colour))

    def text(self, x, y, text, anchor='start', size=11, colour='#000', turn=False):
        self.parts.append('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s"%s>%s</text>' % (
            x, y, anchor, size, colour, ' transform="rotate(-90 %.1f %.1f)"' % (x, y) if turn else '', escape(text)))

    def path(self, points, colour, dash='', marks=True):
        self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"%s/>' % (
            ' '.join('%.1f,%.1f' % p for p in points), colour, ' stroke-dasharray="%s"' % dash if dash else ''))
        if marks:
            self.parts += ['<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>' % (*p, colour) for p in points]

    def save(self, path):
        with open(path, 'w') as f:
            f.write('\n'.join(self.parts) + '\n</svg>\n')


def bars(path, panels, label=290, width=380, height=18):
    """panels: (title, [(name, value, least, most, goals)], least right end of the axis or None). A whisker from least to most; a grey
    stroke for each goal."""
    rows = sum(len(p[1]) for p in panels)
    svg, y = Svg(label + width + 60, height * rows + 50 * max(1, len(panels)) + 10), 0
    for title, items, top in panels:
        top = max([top or 0] + [1.1 * v for i in items for v in (i[3], *(g for g in i[4] if g is not None)) if v > (top or 0)])
        scale = width / top
        svg.text(label, y + 24, title, size=13)
        svg.text(label + width, y + 24, '| must, target, beyond', 'end', colour='#666')
        y += 34
        for k, (name, value, least, most, goals) in enumerate(items):
            svg.text(label - 6, y + 12, name, 'end')
            svg.rect(label, y + 3, value * scale, height - 7, COLOURS[0])
            svg.line(label + least * scale, y + height / 2 - 0.5, label + most * scale, y + height / 2 - 0.5, '#000')
            for goal in goals:
                if goal is not None:
                    svg.line(label + goal * scale, y + 1, label + goal * scale, y + height - 2, '#888', 2)
            svg.text(label + max(value, most) * scale + 5, y + 12, '%.3g' % value)
            y += height
        svg.line(label, y, label + width, y)
        y += 16
    svg.save(path)


def _ticks(lo, hi):
    return [10.0 ** e for e in range(math.floor(math.log10(lo) + 1e-9), math.ceil(math.log10(hi) - 1e-9) + 1)]


def _short(v):
    for unit, name in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if v >= unit:
            return '%g%s' % (v / unit, name)
    return '%g' % v


def curves(path, title, xlabel, ylabel, series, width=420, height=300):
    """series: (name, [(x, y)], measured?, colour): what is measured has marks, bounds are dashed. Both axes logarithmic."""
    svg, left, right, top, bottom = Svg(width, height), 52, 12, 28, 38
    xs = sorted({x for s in series for x, _ in s[1]})
    ys = [y for s in series for _, y in s[1] if y > 0]
    ticks = _ticks(min(ys), max(ys))
    x_lo, x_hi, y_lo, y_hi = math.log(xs[0]), math.log(xs[-1]), math.log(ticks[0]), math.log(ticks[-1])

    def at(x, y):
        return (left + (math.log(x) - x_lo) / max(x_hi - x_lo, 1e-9) * (width - left - right),
                height - bottom - (math.log(y) - y_lo) / max(y_hi - y_lo, 1e-9) * (height - top - bottom))
    for y in ticks:
        svg.line(left, at(xs[0], y)[1], width - right, at(xs[0], y)[1], '#ddd')
        svg.text(left - 4, at(xs[0], y)[1] + 4, _short(y), 'end')
    for x in xs:
        svg.line(at(x, ticks[0])[0], top, at(x, ticks[0])[0], height - bottom, '#eee')
        svg.text(at(x, ticks[0])[0], height - bottom + 14, '%g' % x, 'middle')
    svg.text(width / 2, 16, title, 'middle', 13)
    svg.text((left + width - right) / 2, height - 6, xlabel, 'middle')
    svg.text(12, (top + height - bottom) / 2, ylabel, 'middle', turn=True)
    for k, (name, points, measured, number) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        svg.path([at(x, y) for x, y in points if y > 0], colour, '' if measured else '5 3', measured)
        svg.line(left + 8, top + 9 + 14 * k, left + 28, top + 9 + 14 * k, colour, 1.5, '' if measured else '5 3')
        svg.text(left + 33, top + 13 + 14 * k, name)
    svg.save(path)
