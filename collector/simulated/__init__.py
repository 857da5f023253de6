"""A factory that answers real frames: load shapes, meters of any profile, faults by recipe, recordings replayed.

It is driven by the same site file and profiles as the collector and shares no byte of code with it: its own encoder,
its own framing. In reading order:

========================  ========================================================================================
`noise`, `loads`          what consumers draw, as a pure function of plant time
`replay`                  or what a recording says they drew
`faults`                  what goes wrong, and the sentence that says so
`physics`                 the tree of meters and the counters that integrate it, in integers
`electrical`, `counting`  what a display shows of a moment, and of a sum
`words`, `meters`         a display as words; reads answered or refused
`answering`, `lines`      requests and answers on TCP, RTU over TCP and pseudo-terminals
`journal`, `factory`      what is remembered; the whole
`demo_site`               the two sites of ``meterline demo``
========================  ========================================================================================
"""

from collector.simulated.factory import Factory
from collector.simulated.faults import Fault, Recipe
from collector.simulated.lines import Timing
from collector.simulated.loads import Load
from collector.simulated.meters import Shown

__all__ = ["Factory", "Fault", "Load", "Recipe", "Shown", "Timing"]
