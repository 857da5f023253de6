"""Server, thinking side: arrays in, findings out.

Reading order: `series` (values in time), `counter_track` (which readings of a counter to believe), `counters` (interval
energies that add up to the last digit), `findings` (what a detector says, in words), `detectors/` (one idea a file),
`benchmarks/`, `carbon` and `coal_equivalent` (what the energy means). Every function is pure: no file, no network, no
clock, no log. Each method has a page in ``docs/methods/``.
"""
