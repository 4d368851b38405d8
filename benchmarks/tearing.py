"""Files torn at random, as `benchmarks.fuzz` and the tests of readers have them."""

import random
import struct

PIECES = [
    *(b"nan", b"inf", b"-1", b"1e308", b"1e-320", b"9" * 400, b"0x1p3", b"1_0"),
    *(b"\x00", b"\x1b[0m"),
    *(b"[" * 60, b"{" * 60, b"- ", b"? ", b": ", b"&a ", b"*a", b"<<: ", b"!!int ", b"!!binary "),
    *(b"\xff\xfe", b"\xed\xa0\x80", b'"\\ud800"', b"\r", b"\n", b"\t", b",", b";", b'"', b"'"),
    *("\u2028".encode(), "\u0661".encode(), b"true", b"~", b"%YAML 9\n", b"---\n", b"...\n", b"|"),
    *(b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY", b"\xff\xff\xff\xff", b"\x00" * 8, b"." * 300),
]
"""What readers stumble over."""


def torn(content: bytes, rng: random.Random) -> bytes:
    """A file with other bytes in some places."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.choice(PIECES)
        elif kind == 2:
            del data[at : at + rng.randint(1, 40)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randint(1, 200)] * rng.choice([1, 2, 50])
        elif kind == 4 and rng.random() < 0.3:
            del data[at:]
        elif kind == 5 and at + 4 <= len(data):
            number = rng.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, rng.getrandbits(32)])
            data[at : at + 4] = struct.pack("<I", number)
        elif at < len(data):
            data[at] = rng.randrange(256)
    return bytes(data)
