"""MIDI files put together byte by byte, for what no library would write."""

END = b"\xff\x2f\x00"


def quantity(value: int) -> bytes:
    """Variable-length quantity."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(digits[::-1])


def track(*events: tuple[int, bytes], length: int | None = None) -> bytes:
    """Chunk of (delta, message) with a length that may lie."""
    body = b"".join(quantity(delta) + message for delta, message in events)
    return b"MTrk" + (len(body) if length is None else length).to_bytes(4, "big") + body


def header(kind: int = 0, tracks: int = 1, division: int = 480, length: int = 6) -> bytes:
    return b"MThd" + length.to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in (kind, tracks, division))


def meta(kind: int, content: bytes) -> bytes:
    return bytes((0xFF, kind)) + quantity(len(content)) + content


def on(pitch: int, velocity: int = 100, channel: int = 0) -> bytes:
    return bytes((0x90 | channel, pitch, velocity))


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x80 | channel, pitch, 0))


def one_track(*events: tuple[int, bytes], division: int = 480) -> bytes:
    """Type 0 file with an end mark."""
    return header(division=division) + track(*events, (0, END))
