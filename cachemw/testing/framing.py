"""Where the messages of a RESP2 or RESP3 stream end; what they say is not known here."""


class Framer:
    """Cuts a stream of RESP2 or RESP3, commands or replies, into whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while (end := _message_end(self._buffer, start)) is not None:
            messages.append(bytes(self._buffer[start:end]))
            start = end
        del self._buffer[:start]
        return messages


def _message_end(buffer: bytearray, start: int) -> int | None:
    """Where the message ends that begins at `start`; None while it is not all there."""
    expected = 1  # values still to come, nested ones included
    while expected:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind, rest = chr(buffer[start]), buffer[start + 1 : line_end]
        start = line_end + 2
        expected -= 1
        if kind in "$=!":
            start += int(rest) + 2 if int(rest) >= 0 else 0  # $-1 is nil
        elif kind in "*~>":
            expected += max(int(rest), 0)
        elif kind in "%|":
            expected += 2 * int(rest) + (kind == "|")  # an attribute comes before what it is of
    return start if start <= len(buffer) else None


def command_name(command: bytes) -> bytes:
    """The first word: of `*2 $3 GET $1 a`, or of a line as people type it."""
    is_array = command.startswith(b"*")
    return command.split(maxsplit=3)[2 if is_array else 0].upper()
