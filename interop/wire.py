"""A few bytes of the Kafka protocol, for what no client library does: a write that belongs to no transaction."""

import socket
import struct

_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = (_n >> 1) ^ 0x82F63B78 if _n & 1 else _n >> 1
    _TABLE.append(_n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def zigzag(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def batch(value, timestamp, producer, epoch, sequence):
    """A transactional batch of one record without a key."""
    record = b"\0" + zigzag(0) + zigzag(0) + zigzag(-1) + zigzag(len(value)) + value + zigzag(0)
    record = zigzag(len(record)) + record
    covered = struct.pack(">hiqqqhii", 0x10, 0, timestamp, timestamp, producer, epoch, sequence, 1) + record
    after = struct.pack(">ibI", -1, 2, crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(after)) + after


def text(value):
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()


def ask(bootstrap, api, version, body):
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        frame = struct.pack(">hhi", api, version, 1) + text("interop") + body
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
            part = connection.recv(1 << 16)
            if not part:
                raise ConnectionError("the broker has closed the connection")
            answer += part
    return answer[8:]


def produce(bootstrap, topic, transactional_id, records):
    """Produce in version 7; the error code."""
    body = (text(transactional_id) + struct.pack(">hii", -1, 10_000, 1) + text(topic) + struct.pack(">iii", 1, 0, len(records))
            + records)
    answer = ask(bootstrap, 0, 7, body)
    at = 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">h", answer[at:at + 2])[0]


def begin(bootstrap, topic, transactional_id):
    """Begins a transaction, adds a partition, and leaves it so. Returns its name."""
    while True:
        # FindCoordinator makes the coordinator's topic, InitProducerId may have to wait for it.
        ask(bootstrap, 10, 1, text(transactional_id) + b"\1")
        answer = ask(bootstrap, 22, 1, text(transactional_id) + struct.pack(">i", 60_000))
        _, code, producer, epoch = struct.unpack(">ihqh", answer[:16])
        if code not in (14, 15, 16, 51):
            break
    if code:
        raise ConnectionError(f"InitProducerId is answered with {code}")
    body = text(transactional_id) + struct.pack(">qhi", producer, epoch, 1) + text(topic) + struct.pack(">ii", 1, 0)
    answer = ask(bootstrap, 24, 1, body)
    code = struct.unpack(">h", answer[-2:])[0]
    if code:
        raise ConnectionError(f"AddPartitionsToTxn is answered with {code}")
    return transactional_id
