"""The shared language of meterline: what edge and head-end both have to mean the same by.

Read in this order:

- :mod:`meterline.units` and :mod:`meterline.measurands`: what can be measured, and in which one unit it is kept;
- :mod:`meterline.readings`: a value with its doubt, its source and its two times; the `Poll` that moves in columns;
- :mod:`meterline.profiles` and :mod:`meterline.plant`: a meter type as a page, a site as a tree;
- :mod:`meterline.settings`: the other two files of a site, and the loader that names every problem at once;
- :mod:`meterline.wire`: the one contract in which edge and head-end meet;
- :mod:`meterline.clock`, :mod:`meterline.errors`, :mod:`meterline.paths`: time, refusals, shipped files.

Nothing in here imports another package of the project (`meterline.cli` excepted: it is the composition root and
imports inside its commands). The kernel runs on the gateway, so it needs neither numpy nor a server package.
"""

from __future__ import annotations

__version__ = "0.1.0"
