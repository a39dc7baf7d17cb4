"""Rows that were read before, kept in memory: a grid search asks for the same texts again and again.

The rows of one model under one spec are a group. When the room is used up, the group that was asked
for longest ago gives way; a group never drives out rows of its own, because texts that come round
in the same order would each be gone just before they are asked for again. No text is kept, only its hash.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import RLock

import numpy as np

ROOM_BYTES = 2**30
"""Room for rows in one process, unless a caller asks for other."""

OVERHEAD_BYTES = 256
"""Of a row's key, its place in the table and the array around its numbers."""


class KeptRows:
    """Rows by group and text, bounded in bytes.

    Example:
        >>> kept = KeptRows()
        >>> kept.put("spec", ["good morning"], [np.ones(2, np.float32)])
        >>> {text: row.tolist() for text, row in kept.get("spec", ["good evening", "good morning"]).items()}
        {'good morning': [1.0, 1.0]}
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, dict[bytes, np.ndarray]] = OrderedDict()
        self._lock = RLock()
        self.size_bytes = 0

    def get(self, group: Hashable, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The rows of those texts that are kept.

        Args:
            group: What decides a row besides its text.
            texts: The texts.

        Returns:
            Rows by text; they are not to be written to.
        """
        with self._lock:
            rows = self._groups.get(group)
            if rows is None:
                return {}
            self._groups.move_to_end(group)
            found = ((text, rows.get(_digest(text))) for text in texts)
            return {text: row for text, row in found if row is not None}

    def put(
        self, group: Hashable, texts: Sequence[str], rows: Sequence[np.ndarray], room_bytes: int = ROOM_BYTES
    ) -> None:
        """Keep rows as far as there is room.

        Args:
            group: What decides a row besides its text.
            texts: The texts.
            rows: One row a text.
            room_bytes: Bytes that all rows of all groups may take together; rows that find no room are
                not kept.
        """
        with self._lock:
            own = self._groups.setdefault(group, {})
            self._groups.move_to_end(group)
            for text, row in zip(texts, rows, strict=True):
                digest = _digest(text)
                if digest in own or not self._made_room(row.nbytes + OVERHEAD_BYTES, room_bytes):
                    continue
                own[digest] = row.copy()  # a view would keep the whole table
                self.size_bytes += row.nbytes + OVERHEAD_BYTES

    def forget(self) -> None:
        """Let go of all rows."""
        with self._lock:
            self._groups.clear()
            self.size_bytes = 0

    def _made_room(self, wanted: int, room_bytes: int) -> bool:
        """Whether so many bytes fit, once groups other than the last used have given way."""
        while self.size_bytes + wanted > room_bytes and len(self._groups) > 1:
            _, rows = self._groups.popitem(last=False)
            self.size_bytes -= sum(row.nbytes + OVERHEAD_BYTES for row in rows.values())
        return self.size_bytes + wanted <= room_bytes


KEPT = KeptRows()
"""The rows of this process."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
