"""Whole products, cut into tiles, and the panels that they take."""

from fastnn.fused.plan import CHUNK
from fastnn.fused.tiles import STRIP, correlate, multiply, pack
from fastnn.fused.vectors import inner

# Terms of a product that are added before the next tile's: as much of a panel as stays in the first
# cache. The sums so far wait in the result.
DEPTH = 256


@inner
def multiply_rows(tile, rows, first, last, n, panels, columns, rectify, out, out_stride):
    """Compute A (., n) @ B (n, columns) + b -> out (., columns), rows first .. last-1.

    ``rows``, ``panels`` and ``out`` are addresses: of the table of A's rows, of numbers. The panels
    hold B, and b as one more row. ``rectify``: make negative results 0.
    """
    parts = (n + DEPTH - 1) // DEPTH
    for column in range(0, columns, tile.width):
        vectors, _ = vectors_for(tile, columns - column)
        stride = vectors * tile.lanes
        panel = panels + column * (n + 1) * tile.bytes
        bias = panel + n * stride * tile.bytes
        for part in range(parts):
            k, after = n * part // parts, n * (part + 1) // parts
            i = first
            while i < last:
                height = tile_height(tile, vectors, last - i)
                target = out + (i * out_stride + column) * tile.bytes
                start, start_stride = (target, out_stride) if part else (bias, 0)
                multiply(
                    tile, height, vectors, rows + 8 * i, k, after - k,
                    panel + k * stride * tile.bytes, start, start_stride,
                    rectify and after == n, target, out_stride,
                )  # fmt: skip
                i += height


@inner
def correlate_rows(tile, A, A_stride, n, D, D_stride, height, columns, out, out_stride, adds):
    """Compute A.T (height, n) @ D (n, columns) -> out (height, columns).

    A, D and ``out`` are addresses; D is in panels if ``D_stride`` is 0. ``adds`` tells to add to
    what ``out`` holds.
    """
    for column in range(0, columns, tile.width):
        vectors, last = vectors_for(tile, columns - column)
        panel, stride = D + column * tile.bytes, D_stride
        if D_stride == 0:
            panel, stride = D + column * CHUNK * tile.bytes, vectors * tile.lanes
        k = 0
        while k < height:
            rows = tile_height(tile, vectors, height - k)
            correlate(
                tile, rows, vectors, last, A + k * tile.bytes, A_stride, n, panel, stride,
                out + (k * out_stride + column) * tile.bytes, out_stride, adds,
            )  # fmt: skip
            k += rows


@inner
def pack_rows(tile, rows, first, n, columns, panels, height):
    """Copy n rows, from number ``first`` on, of a matrix of ``height`` rows into its panels.

    ``rows`` is the address of the table of those n rows.
    """
    for column in range(0, columns, tile.width):
        vectors, lanes = vectors_for(tile, columns - column)
        place = column * height + first * vectors * tile.lanes
        pack(tile, vectors, lanes, rows, column, n, panels + place * tile.bytes)


@inner
def pack_block(tile, rows, first, height, n, out):
    """Copy columns first .. first+height-1, at most a block of them, of n rows side by side."""
    stride = block_stride(tile, height)
    last = height - stride + tile.lanes
    pack(tile, stride // tile.lanes, last, rows, first, n, out)


@inner
def block_stride(tile, height):
    """Return how far the rows of a packed block are apart: whole vectors."""
    return (height + tile.lanes - 1) // tile.lanes * tile.lanes


@inner
def tile_height(tile, vectors, rows):
    """Return the height of the highest tile that fits into so many rows.

    Full tiles, and the powers of two below: those that ``tiles.lower_height`` leads to.
    """
    height = tile.height * 2 if vectors == 1 else tile.height
    if height > rows:
        height = 1
        while 2 * height <= rows:
            height *= 2
    return height


@inner
def vectors_for(tile, columns):
    """Return the vectors of the panel that so many columns begin with, and lanes of the last."""
    columns = min(columns, tile.width)
    vectors = (columns + tile.lanes - 1) // tile.lanes
    return vectors, columns - (vectors - 1) * tile.lanes


@inner
def vectors_for_strip(tile, columns):
    """Return the vectors of the strip that so many columns begin with, and lanes of the last."""
    columns = min(columns, STRIP * tile.lanes)
    vectors = (columns + tile.lanes - 1) // tile.lanes
    return vectors, columns - (vectors - 1) * tile.lanes
