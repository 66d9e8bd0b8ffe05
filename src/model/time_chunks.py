"""How a long recording is cut in time, so that what is kept for every age of a neuron fits into memory.

Filters, the pool of old neurons and recorded neurons are one number, or a few, in each bin: they go over all bins at
once. The loop over ages keeps potential and survival of every age in every bin. It goes chunk by chunk. The state of
all ages after the last bin of a chunk is where the next one starts, so that nothing changes but the order. Gradients go
from the last chunk to the first, and compute what was not kept anew.
"""

LONGEST = 16384
"""Most bins of a recording that is not cut: 65 s in bins of 4 ms."""
AT_ONCE, FEWEST = 8192, 1024
"""Numbers in an array of a chunk, so that it stays in the processor's cache; and least bins of a chunk."""


def is_cut(T: int) -> bool:
    """Tell whether a recording of T bins is cut."""
    return T > LONGEST


def chunk_bins(T: int, rows: int) -> int:
    """Return how many bins a chunk of T bins has, of an array of so many rows: all of them, or about equal parts.

    The parts are odd: where rows lie a power of two apart in memory, they push each other out of the cache, and the
    loop over ages takes twice the time.
    """
    if not is_cut(T):
        return T
    most = min(LONGEST, max(FEWEST, AT_ONCE // max(rows, 1)))
    return -(-T // -(-T // most)) | 1


def chunks_of(T: int, bins: int) -> list[slice]:
    """Return the chunks of T bins in their order; the last one may be shorter than `bins`."""
    return [slice(first, min(first + bins, T)) for first in range(0, T, bins)]
