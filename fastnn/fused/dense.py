"""Whole products, cut into tiles: a layer forward, back, and its weight gradient."""

from numba import njit

from fastnn.fused.tiles import correlate, multiply


@njit
def multiply_rows(tile, rows, first, last, n, B, stride, columns, start, rectify, out, out_stride):
    """Compute A (., n) @ B (n, columns) + start -> out (., columns), rows first .. last-1.

    ``rows``, ``B``, ``start`` and ``out`` are addresses: of the table of A's rows, of numbers.
    ``rectify``: make negative results 0.
    """
    lanes = tile.lanes
    vectors = (columns + lanes - 1) // lanes
    panels = (vectors + tile.vectors - 1) // tile.vectors
    for panel in range(panels):
        v = vectors * panel // panels
        width = vectors * (panel + 1) // panels - v
        column = v * lanes * tile.bytes
        last_lanes = min(lanes, columns - (v + width - 1) * lanes)
        i = first
        while i < last:
            height = tile_height(tile, width, last - i)
            multiply(
                tile, height, width, last_lanes, rows + 8 * i, n,
                B + column, stride, start + column, rectify,
                out + i * out_stride * tile.bytes + column, out_stride,
            )  # fmt: skip
            i += height


@njit
def correlate_rows(tile, rows, n, D, stride, first, last, columns, out, out_stride, adds):
    """Compute A[:, first:last].T (., n) @ D (n, columns) -> out (last - first, columns).

    ``rows``, ``D`` and ``out`` are addresses; ``adds`` tells to add to what ``out`` holds.
    """
    lanes = tile.lanes
    vectors = (columns + lanes - 1) // lanes
    panels = (vectors + tile.vectors - 1) // tile.vectors
    for panel in range(panels):
        v = vectors * panel // panels
        width = vectors * (panel + 1) // panels - v
        column = v * lanes * tile.bytes
        last_lanes = min(lanes, columns - (v + width - 1) * lanes)
        k = first
        while k < last:
            height = tile_height(tile, width, last - k)
            correlate(
                tile, height, width, last_lanes, rows, k, n, D + column, stride,
                out + (k - first) * out_stride * tile.bytes + column, out_stride, adds,
            )  # fmt: skip
            k += height


@njit
def tile_height(tile, vectors, rows):
    """Return the height of the highest tile that fits into so many rows."""
    height = tile.height * 2 if vectors == 1 else tile.height
    while height > rows:
        height //= 2
    return height
