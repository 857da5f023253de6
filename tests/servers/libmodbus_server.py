"""A Modbus server on libmodbus.so.5: an implementation that shares no line with ours. Runs as a process of its own.

    python libmodbus_server.py LIBRARY tcp HOST:PORT | rtu DEVICE:BAUD

First line on stdin: `{"1": {"holding": {"0": 17}, "input": {"52": 3}}}` (unit -> table -> address -> word; tables
`coil`, `discrete`, `holding`, `input`). Each further line sets words in the same form while the server runs and is
answered with `ok`. Addresses between the lowest and the highest named one exist and hold 0; outside them libmodbus
answers exception 02. A unit that was not named stays silent. An RTU server answers for one unit only (libmodbus filters
by its own address).
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import sys
from typing import Any

MAX_ADU = 260
TABLES = ("coil", "discrete", "holding", "input")
Words = dict[str, dict[str, dict[str, int]]]


class Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1."""

    _fields_ = (
        ("nb_bits", ctypes.c_int),
        ("start_bits", ctypes.c_int),
        ("nb_input_bits", ctypes.c_int),
        ("start_input_bits", ctypes.c_int),
        ("nb_input_registers", ctypes.c_int),
        ("start_input_registers", ctypes.c_int),
        ("nb_registers", ctypes.c_int),
        ("start_registers", ctypes.c_int),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    )


FIELDS = {
    "coil": ("tab_bits", "start_bits", "nb_bits"),
    "discrete": ("tab_input_bits", "start_input_bits", "nb_input_bits"),
    "holding": ("tab_registers", "start_registers", "nb_registers"),
    "input": ("tab_input_registers", "start_input_registers", "nb_input_registers"),
}


def load(path: str) -> ctypes.CDLL:
    """Open libmodbus and tell ctypes what its functions take."""
    library = ctypes.CDLL(path, use_errno=True)
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("modbus_new_tcp", pointer, [text, integer]),
        ("modbus_new_rtu", pointer, [text, integer, ctypes.c_char, integer, integer]),
        ("modbus_set_slave", integer, [pointer, integer]),
        ("modbus_set_socket", integer, [pointer, integer]),
        ("modbus_get_socket", integer, [pointer]),
        ("modbus_connect", integer, [pointer]),
        ("modbus_tcp_listen", integer, [pointer, integer]),
        ("modbus_receive", integer, [pointer, ctypes.POINTER(ctypes.c_uint8)]),
        ("modbus_reply", integer, [pointer, ctypes.POINTER(ctypes.c_uint8), integer, ctypes.POINTER(Mapping)]),
        ("modbus_get_header_length", integer, [pointer]),
        ("modbus_mapping_new_start_address", ctypes.POINTER(Mapping), [ctypes.c_uint] * 8),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Meter:
    """The words of one or more units, held in libmodbus's own memory."""

    def __init__(self, library: ctypes.CDLL, words: Words) -> None:
        self.units: dict[int, Any] = {}
        for unit, tables in words.items():
            bounds: list[int] = []
            for table in TABLES:
                addresses = [int(address) for address in tables.get(table, {})]
                bounds += [min(addresses), max(addresses) - min(addresses) + 1] if addresses else [0, 0]
            self.units[int(unit)] = library.modbus_mapping_new_start_address(*bounds).contents
        self.set(words)

    def set(self, words: Words) -> None:
        for unit, tables in words.items():
            mapping = self.units[int(unit)]
            for table, cells in tables.items():
                array, start, count = (getattr(mapping, field) for field in FIELDS[table])
                for address, value in cells.items():
                    index = int(address) - start
                    if not 0 <= index < count:
                        raise ValueError(f"{table} {address} was not named at the start")
                    array[index] = value


def read_command(meter: Meter) -> bool:
    """Take one line from stdin; False at its end, which is how the parent says goodbye."""
    line = sys.stdin.readline()
    if not line:
        return False
    meter.set(json.loads(line))
    print("ok", flush=True)
    return True


def serve_tcp(library: ctypes.CDLL, meter: Meter, host: str, port: int) -> None:
    context = library.modbus_new_tcp(host.encode(), port)
    listener = library.modbus_tcp_listen(context, 8)
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"libmodbus cannot listen on {host}:{port}")
    door = socket.socket(fileno=listener)
    header = library.modbus_get_header_length(context)
    frame = (ctypes.c_uint8 * MAX_ADU)()
    clients: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([sys.stdin, door, *clients], [], [])
        for source in ready:
            if source is sys.stdin:
                if not read_command(meter):
                    return
            elif source is door:
                client, _ = door.accept()
                clients[client.fileno()] = client
            elif isinstance(source, int):
                library.modbus_set_socket(context, source)
                length = library.modbus_receive(context, frame)
                if length < 0:
                    clients.pop(source).close()
                elif frame[header - 1] in meter.units:
                    library.modbus_reply(context, frame, length, ctypes.byref(meter.units[frame[header - 1]]))


def serve_rtu(library: ctypes.CDLL, meter: Meter, device: str, baud: int) -> None:
    (unit,) = meter.units
    context = library.modbus_new_rtu(device.encode(), baud, b"N", 8, 1)
    library.modbus_set_slave(context, unit)
    if library.modbus_connect(context) < 0:
        raise OSError(ctypes.get_errno(), f"libmodbus cannot open {device}")
    line = library.modbus_get_socket(context)
    frame = (ctypes.c_uint8 * MAX_ADU)()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([sys.stdin, line], [], [])
        if sys.stdin in ready and not read_command(meter):
            return
        if line in ready:
            length = library.modbus_receive(context, frame)
            if length > 0:
                library.modbus_reply(context, frame, length, ctypes.byref(meter.units[unit]))


def main() -> None:
    library_path, kind, where = sys.argv[1:4]
    library = load(library_path)
    meter = Meter(library, json.loads(sys.stdin.readline()))
    place, _, number = where.rpartition(":")
    (serve_tcp if kind == "tcp" else serve_rtu)(library, meter, place, int(number))


if __name__ == "__main__":
    main()
