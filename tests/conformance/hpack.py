"""Header compression (RFC 7541), as small as a test client can have it."""

# The length of each symbol's Huffman code in bits, EOS at the end (Appendix B). The code is canonical.
LENGTHS = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
]  # fmt: skip

# Names and values of the static table (Appendix A), from index 1.
STATIC = [
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
] + [
    (name, b"")
    for name in (
        b"accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control"
        b" content-disposition content-encoding content-language content-length content-location content-range"
        b" content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range"
        b" if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range"
        b" referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary"
        b" via www-authenticate"
    ).split()
]  # fmt: skip


def codes():
    """Code and length of each symbol."""
    table, code, before = [None] * 257, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(LENGTHS)):
        code <<= length - before
        table[symbol], before = (code, length), length
        code += 1
    return table


CODES = codes()
SYMBOLS = {(code, length): symbol for symbol, (code, length) in enumerate(CODES)}


def huffman(text, padding=1):
    """The text in Huffman code, filled up with ones, or with zeros."""
    bits = "".join(format(code, f"0{length}b") for code, length in (CODES[byte] for byte in text))
    bits += str(padding) * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def unhuffman(data):
    out, code, length = bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            symbol = SYMBOLS.get((code, length))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
    return bytes(out)


def integer(value, bits, first=0):
    """An integer with a prefix of so many bits; `first` has the bits before it (§5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text, coded=False):
    """A string (§5.2)."""
    data = huffman(text) if coded else text
    return integer(len(data), 7, 0x80 if coded else 0) + data


def indexed(index):
    """An indexed field (§6.1)."""
    return integer(index, 7, 0x80)


# Literal fields (§6.2): the bits before the index, and how many the index has.
INDEXING, PLAIN, NEVER = (0x40, 6), (0x00, 4), (0x10, 4)


def literal(name, value, kind=PLAIN, coded=False):
    """A literal field. A number for the name is an index."""
    first, bits = kind
    if isinstance(name, int):
        return integer(name, bits, first) + string(value, coded)
    return bytes([first]) + string(name, coded) + string(value, coded)


def table_size(size):
    """A change of the dynamic table's size (§6.3)."""
    return integer(size, 5, 0x20)


def encode(fields):
    """A header block without use of any table, so that its bytes are what they seem."""
    return b"".join(literal(name, value) for name, value in fields)


class Decoder:
    """Reads header blocks of a peer that is taken to be correct."""

    def __init__(self):
        self.table, self.most = [], 4096

    def decode(self, block):
        fields, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = self.integer(block, at, 7)
                fields.append(self.entry(index))
            elif first & 0xE0 == 0x20:
                self.most, at = self.integer(block, at, 5)
                self.evict()
            else:
                index, at = self.integer(block, at, 6 if first & 0x40 else 4)
                if index:
                    name = self.entry(index)[0]
                else:
                    name, at = self.string(block, at)
                value, at = self.string(block, at)
                fields.append((name, value))
                if first & 0x40:
                    self.table.insert(0, (name, value))
                    self.evict()
        return fields

    def evict(self):
        while self.table and sum(len(name) + len(value) + 32 for name, value in self.table) > self.most:
            self.table.pop()

    def entry(self, index):
        return STATIC[index - 1] if index <= len(STATIC) else self.table[index - len(STATIC) - 1]

    @staticmethod
    def integer(block, at, bits):
        most = (1 << bits) - 1
        value, at, shift = block[at] & most, at + 1, 0
        if value < most:
            return value, at
        while True:
            byte, at = block[at], at + 1
            value += (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value, at

    def string(self, block, at):
        coded = block[at] & 0x80
        length, at = self.integer(block, at, 7)
        data = block[at : at + length]
        return (unhuffman(data) if coded else data), at + length
