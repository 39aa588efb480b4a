"""XXH64 in plain integers, as its specification states it, for short content."""

PRIMES = (
    11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
    2870177450012600261,
)  # fmt: skip
WORD = 2**64


def xxh64_of(content):
    """Return the digest of some bytes in hexadecimal."""
    one, two, three, four, five = PRIMES
    total, position = five, 0
    if len(content) >= 32:
        lanes = [one + two, two, 0, WORD - one]
        while position + 32 <= len(content):
            for lane in range(4):
                word = _little(content, position + 8 * lane, 8)
                lanes[lane] = _round(lanes[lane], word)
            position += 32
        total = sum(_turn(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) % WORD
        for lane in lanes:
            total = ((total ^ _round(0, lane)) * one + four) % WORD
    total = (total + len(content)) % WORD
    while position < len(content):
        left = len(content) - position
        if left >= 8:
            total ^= _round(0, _little(content, position, 8))
            total, position = (_turn(total, 27) * one + four) % WORD, position + 8
        elif left >= 4:
            total ^= _little(content, position, 4) * one % WORD
            total, position = (_turn(total, 23) * two + three) % WORD, position + 4
        else:
            total ^= content[position] * five % WORD
            total, position = _turn(total, 11) * one % WORD, position + 1
    total = (total ^ total // 2**33) * two % WORD
    total = (total ^ total // 2**29) * three % WORD
    return f"{total ^ total // 2**32:016x}"


def _little(content, position, count):
    return int.from_bytes(content[position : position + count], "little")


def _turn(value, by):
    return value * 2**by % WORD + value // 2 ** (64 - by)


def _round(lane, word):
    return _turn((lane + word * PRIMES[1]) % WORD, 31) * PRIMES[0] % WORD
