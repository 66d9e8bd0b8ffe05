"""How a long recording is cut in time, so that what is kept for every age of a neuron fits into memory.

Filters, the pool of old neurons and recorded neurons are one number, or a few, in each bin: they go over all bins at
once. The loop over ages keeps potential and survival of every age in every bin. It goes chunk by chunk. The state of
all ages after the last bin of a chunk is where the next one starts, so that nothing changes but the order. Gradients go
from the last chunk to the first, and compute what was not kept anew.
"""

LONGEST = 16384
"""Most bins of a chunk: 65 s in bins of 4 ms. Its arrays stay in the processor's cache."""


def chunk_bins(T: int) -> int:
    """Return how many bins a chunk of a recording of T bins has: all of them, or equal parts of at most `LONGEST`."""
    return -(-T // -(-T // LONGEST))


def chunks_of(T: int, bins: int) -> list[slice]:
    """Return the chunks of T bins in their order; the last one may be shorter than `bins`."""
    return [slice(first, min(first + bins, T)) for first in range(0, T, bins)]
