"""The bus side of the gateway: questions leave, answers become polls.

The way of a value through this room::

    schedule ──turn──► poller ──question──► bus ──bytes──► transports ══► meter
       ▲                 │  ▲                │
    plan (profile)       │  └── decode ◄─────┘ protocols.modbus (finds the answer)
                         ▼
                  Poll / MissingSpan ──► Sink (the gateway's journal)

* :mod:`collector.plan` and :mod:`collector.plan_items` say what to ask for, :mod:`collector.schedule` when;
* :mod:`collector.bus` owns one line and its manners, over a :mod:`collector.transports`;
* :mod:`collector.protocols` are pure codecs; :mod:`collector.decode` is the only place where byte order exists;
  :mod:`collector.dialects` gives all protocols one face;
* :mod:`collector.poller` is the one task per bus that puts it together, :mod:`collector.stream` a Modbus/TCP
  connection that needs none, on the gateway's one :mod:`collector.wheel`; :mod:`collector.turns` decides for both what
  a failed question means; :mod:`collector.contact` is what they know of a meter, :mod:`collector.patience` how long it
  is worth waiting for; :mod:`collector.plausibility` the first doubts about its numbers;
* :mod:`collector.capacity` proves before anything starts what a line can carry;
* :mod:`collector.oneshot` reads one meter now, :mod:`collector.describe` says what frames mean;
* for the person on site: :mod:`collector.scan` finds who is on a line (:mod:`collector.scan_plan` in which order,
  :mod:`collector.address_tree` without knowing an address, :mod:`collector.recognise` which page fits),
  :mod:`collector.interpret` reads one place in every way, :mod:`collector.commission` checks one meter;
* :mod:`collector.simulated` is a factory that answers real frames.
"""

from collector.describe import describe
from collector.dialects import plan_of
from collector.oneshot import read_meter
from collector.poller import BusMaster, Sink, Tap
from collector.requests import Plan
from collector.wheel import Wheel

__all__ = ["BusMaster", "Plan", "Sink", "Tap", "Wheel", "describe", "plan_of", "read_meter"]
