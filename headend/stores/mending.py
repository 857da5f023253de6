"""Making a day's file claim what it holds, after rows of it were lost or set aside.

The ledger of a file says which numbers it took; an acknowledgement is made of it. Where the batch of such a number is
not in the file any more, the number must be free again, or its own batch would be refused as a conflict when the
gateway sends it once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from headend.stores import hot
from meterline.errors import StoreUnavailable
from meterline.ranges import RangeSet


def mend(path: Path, gateway: str, epoch: str, without: Collection[int] = ()) -> None:
    """Let the file's ledger of an epoch say what its rows say; readings without their batch are taken out.

    Parameters
    ----------
    without
        Batches to be taken out with their readings; whoever calls keeps their bytes elsewhere.

    Raises
    ------
    StoreUnavailable
        The file cannot be written; nothing was changed.
    """
    db = hot.connect(path, write=True)
    try:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "DELETE FROM batches WHERE gateway = ? AND epoch = ? AND seq = ?", [(gateway, epoch, s) for s in without]
        )
        for table in ("polls", "missing", "lost"):
            db.execute(f"DELETE FROM {table} WHERE batch NOT IN (SELECT id FROM batches)")
        db.execute("DELETE FROM newest WHERE poll NOT IN (SELECT id FROM polls)")
        here = RangeSet()
        for (seq,) in db.execute(
            "SELECT seq FROM batches WHERE gateway = ? AND epoch = ? ORDER BY seq", (gateway, epoch)
        ):
            here.add(seq)
        db.execute("DELETE FROM received WHERE gateway = ? AND epoch = ?", (gateway, epoch))
        db.executemany("INSERT INTO received VALUES (?, ?, ?, ?)", [(gateway, epoch, *pair) for pair in here])
        db.execute(
            "UPDATE totals SET batches = (SELECT count(*) FROM batches),"
            " readings = (SELECT coalesce(sum(json_array_length(numbers)), 0) FROM polls)"
        )
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path.name}: {error}") from error
    finally:
        db.close()
