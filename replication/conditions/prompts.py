"""What every text condition refuses in a prompt, before it is cut into tokens."""

from replication.types import InputError

SHOWN = 60  # characters of a prompt that a message repeats


def shown(prompt: str | bytes) -> str:
    """The prompt as a message quotes it: one line of ASCII, shortened."""
    text = ascii(prompt)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(prompt):,} characters)"


def readable(prompt: str | bytes) -> str:
    """The prompt; raises InputError, which quotes it, where it is not UTF-8 or is blank.

    Bytes of the command line that are not UTF-8 arrive as lone surrogates.
    """
    try:
        text = prompt.decode() if isinstance(prompt, bytes) else prompt.encode().decode()
    except UnicodeError as error:
        raise InputError(f"prompt {shown(prompt)} is not valid UTF-8 ({error.reason})") from error  # type: ignore[attr-defined]
    if not text.strip():
        raise InputError(f"prompt {shown(prompt)} is blank: describe the image")
    return text
