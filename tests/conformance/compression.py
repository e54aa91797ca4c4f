"""Header compression (RFC 7541): blocks that cannot be decoded end the connection (RFC 9113 §4.3)."""

from . import frames
from .cases import COMPRESSION_ERROR, case, connection_error, response
from .hpack import INDEXING, PLAIN, indexed, integer, literal, table_size


def refused(name, section, title, field):
    @case(name, section, title)
    def run(c):
        c.send(frames.headers(1, c.block_of() + field, True))
        return connection_error(c, COMPRESSION_ERROR)


refused("hpack/2.3.3/1", "RFC 7541 §2.3.3", "an index beyond the tables", indexed(70))
refused("hpack/2.3.3/2", "RFC 7541 §2.3.3", "a literal field whose name's index is beyond the tables", literal(70, b"empty", INDEXING))
refused("hpack/4.2/1", "RFC 7541 §4.2", "a change of the table's size behind a field", table_size(1))


def coded(data):
    """A field whose value is this Huffman code."""
    return b"\x00\x06x-test" + integer(len(data), 7, 0x80) + data


refused("hpack/5.2/1", "RFC 7541 §5.2", "padding of more than 7 bits", coded(b"\x1f\xff\xff"))
refused("hpack/5.2/2", "RFC 7541 §5.2", "padding of zeros", coded(b"\x18"))
refused("hpack/5.2/3", "RFC 7541 §5.2", "a string with EOS", coded(b"\xff\xff\xff\xff\xfa\x52\x7f"))
refused("hpack/6.1/1", "RFC 7541 §6.1", "index 0", indexed(0))


@case("hpack/6.3/1", "RFC 7541 §6.3", "a table size above SETTINGS_HEADER_TABLE_SIZE")
def table_too_large(c):
    most = c.settings.get(frames.HEADER_TABLE_SIZE, 4096)
    c.send(frames.headers(1, table_size(most + 1) + c.block_of(), True))
    return connection_error(c, COMPRESSION_ERROR)


# Beside the usual ones ------------------------------------------------------------------------------

refused("hpack/5.1/1", "RFC 7541 §5.1", "an integer beyond all bounds", b"\x7f" + b"\xff" * 10 + b"\x01a")
refused("hpack/5.1/2", "RFC 7541 §5.1", "an integer without end", b"\x7f\x80")
refused("hpack/5.2/4", "RFC 7541 §5.2", "a string longer than its block", b"\x00\x06x-test\x0aabc")
refused("hpack/6.2/1", "RFC 7541 §6.2", "a literal field without a value", b"\x00\x06x-test")


@case("hpack/2.3.2/1", "RFC 7541 §2.3.2", "the dynamic table is the connection's")
def table_of_connection(c):
    c.send(frames.headers(1, c.block_of() + literal(b"x-one", b"1", INDEXING) + literal(b"x-two", b"2", INDEXING), True))
    response(c, 1, 200)
    c.send(frames.headers(3, c.block_of() + indexed(62) + indexed(63) + literal(63, b"3", PLAIN), True))
    return response(c, 3, 200)


@case("hpack/4.3/1", "RFC 7541 §4.3", "a table of size 0 has no entries")
def emptied(c):
    c.send(frames.headers(1, c.block_of() + literal(b"x-one", b"1", INDEXING), True))
    response(c, 1, 200)
    c.send(frames.headers(3, table_size(0) + table_size(4096) + c.block_of() + indexed(62), True))
    return connection_error(c, COMPRESSION_ERROR)


@case("hpack/4.4/1", "RFC 7541 §4.4", "a field larger than the table empties it")
def larger_than_table(c):
    c.send(frames.headers(1, table_size(64) + c.block_of() + literal(b"x-one", b"1", INDEXING) + literal(b"x", b"a" * 99, INDEXING), True))
    response(c, 1, 200)
    c.send(frames.headers(3, c.block_of() + indexed(62), True))
    return connection_error(c, COMPRESSION_ERROR)


@case("hpack/4.3/2", "RFC 7541 §2.2", "a block on a refused stream counts for the table")
def table_of_refused(c):
    c.send(frames.headers(1, c.block_of() + literal(b"x-one", b"1", INDEXING) + literal(b"X", b"", PLAIN), True))
    c.until(lambda it: it.stream == 1, "refusal")
    c.send(frames.headers(3, c.block_of() + indexed(62), True))
    return response(c, 3, 200)
