"""Which rows may be compared: only figures of equal n, extractor and reference say anything about each other."""

from collections.abc import Sequence

from replication.harness.journal import Record
from replication.types import InputError

MARK = "†"  # on whatever was compared all the same, because somebody asked for it
FIELDS = {
    "protocol.n": "n",
    "protocol.extractor": "extractor",
    "protocol.extractor_sha256": "extractor weights",
    "protocol.reference": "reference",
    "protocol.preprocessing": "preprocessing",
    "protocol.drop_last": "reference batches",
    "profile": "profile",
}


def differences(a: Record, b: Record) -> list[str]:
    """In which of these two rows differ, each with both values: "n 500 against 1797"; empty if they may be compared."""
    return [f"{name} {a.get(key)} against {b.get(key)}" for key, name in FIELDS.items() if a.get(key) != b.get(key)]


def check_comparable(records: Sequence[Record], unequal: bool = False) -> str:
    """The mark that a comparison of these rows carries: empty, or MARK if they differ and `unequal` asks for it.

    Raises InputError naming the two rows and what differs between them, unless it was asked for.
    """
    for record in records[1:]:
        if found := differences(records[0], record):
            if unequal:
                return MARK
            one, other = (f"{r.get('label')} x {r.get('sampling.steps')}" for r in (records[0], record))
            raise InputError(
                f"{one} and {other} can't be compared: {'; '.join(found)}; `unequal = true` or --unequal asks for it"
            )
    return ""
