"""Encodings of text files: their names, signs of another one, and advice where bytes do not fit."""

import codecs
from typing import BinaryIO

from splinelens.errors import BadTexts

_ESCAPES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}  # not of whole texts
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_SIGNATURES = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip or Excel file",
    b"\x1f\x8b": "a gzip file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"%PDF-": "a PDF",
    b"\x7fELF": "a program",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
_CONTROLS = bytes({*range(32)} - {*b"\t\n\f\r\x1b"}) + b"\x7f"
_MOST_HIGH_BYTES = 6
"""How many different high bytes the UTF-16 of one language has: letters, digits, punctuation."""


def check_encoding(encoding: str) -> str:
    """The name of Python's codec; that of UTF-8 skips a byte order mark.

    Raises:
        BadTexts: No encoding of texts has that name.

    Example:
        >>> check_encoding("UTF8"), check_encoding("Windows-1252")
        ('utf-8-sig', 'cp1252')
    """
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses codecs that are no encoding of text, such as base64
        if codec.replace("_", "-") in _ESCAPES:
            raise LookupError(codec)
    except (LookupError, ValueError) as error:  # a ValueError: NUL, surrogates
        shown = encoding if len(encoding) <= 60 else encoding[:60] + "..."
        raise BadTexts(f"no text encoding {shown!r}. Try --encoding utf-8, or cp1252") from error
    return "utf-8-sig" if codec == "utf-8" else codec


def codec_with_mark(head: bytes, codec: str, source: str) -> str:
    """The codec that reads a file which starts with these bytes, its byte order mark included.

    Raises:
        BadTexts: The bytes are of another encoding, by their mark or by the zeros of UTF-16 and UTF-32, or
            of no text, by the signature of their format.
    """
    if (what := _signed(head)) and not _is_text(head, codec):
        raise BadTexts(f"{source}{what}")
    if len(head) >= 1024 and not head.strip(b"\0"):
        raise BadTexts(f"{source} starts with {len(head):,} NUL bytes; it is no text file")
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    likely = marked or (None if codec.startswith(("utf-16", "utf-32")) else _unmarked(head))
    if likely and not codec.startswith(likely):
        given = codec.removesuffix("-sig")
        raise BadTexts(f"{source} looks like {likely.upper()}, not {given}. Try --encoding {likely}")
    return marked if marked and marked != "utf-8" else codec


def undecodable(stream: BinaryIO, codec: str, error: UnicodeError) -> str:
    """Why the bytes of a stream are not of this encoding, and which to try."""
    stream.seek(0)
    data = stream.read()
    codec = codec.removesuffix("-sig")
    if what := _signed(data):
        return what
    other = _fitting(data, codec)
    try:
        data.decode(codec)
    except UnicodeDecodeError as exact:
        line = data.count(b"\n", 0, exact.start) + 1
        byte = f"byte {exact.start} (0x{data[exact.start]:02x})"
        if exact.reason == "truncated data":
            return f", line {line}: {byte} is only a part of a character; is the file cut short?"
        return f", line {line}: {byte} is not {codec}. Try --encoding {other}"
    except UnicodeError:
        pass
    return f": not {codec} ({error}). Try --encoding {other}"


def _signed(data: bytes) -> str | None:
    """What a file is that starts with the signature of a format, and what to do with it."""
    for signature, what in _SIGNATURES.items():
        if data.startswith(signature):
            return f" is {what}, whatever its name says; unpack it, rename it or save it as CSV"
    return None


def _is_text(head: bytes, codec: str) -> bool:
    """Whether the first bytes of a file are of this encoding, without control characters."""
    try:
        codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeError:
        return False
    return len(head.translate(None, _CONTROLS)) == len(head)


def _fitting(data: bytes, codec: str) -> str:
    """An encoding that the bytes may be of; one of Western Europe has few bytes beyond ASCII."""
    if b"\0" in data:
        return _unmarked(data[:4096]) or "utf-16-le"
    foreign = len(data) - len(data.translate(None, bytes(range(128, 256))))
    if foreign > max(16, len(data) // 3) and codec == "utf-8":
        return "NAME, the one it was saved in, such as cp1251, shift_jis or gb18030"
    for other in ("utf-8", "cp1252"):
        if other != codec:
            try:
                data.decode(other)
            except UnicodeError:
                continue
            return other
    return "latin-1"


def _unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: zeros, and few other bytes, at every second or fourth byte."""
    start = [byte == 0 for byte in head[:6]]
    if start in ([False, True] * 3, [True, False] * 3):
        return "utf-16-be" if start[0] else "utf-16-le"
    if len(head) < 16:
        return None
    quarters = [head[start::4] for start in range(4)]
    for name, zeros, rest in (
        ("utf-32-le", quarters[3], quarters[0]),
        ("utf-32-be", quarters[0], quarters[3]),
    ):
        second = quarters[2] if name.endswith("le") else quarters[1]
        if not zeros.strip(b"\0") and max(second) <= 0x10 and rest.strip(b"\0"):
            return name
    even, odd = head[0::2], head[1::2]
    for name, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high.count(0) > 10 * low.count(0) and len({*high}) <= min(_MOST_HIGH_BYTES, len(high) // 4):
            return name
    return None
