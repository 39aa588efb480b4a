"""FITS files made byte by byte, so that tests can make invalid ones."""

BLOCK = 2880


def blocks(data, fill=b"\0"):
    """Return bytes padded to whole blocks."""
    return data + fill * (-len(data) % BLOCK)


def header(*cards, end=True):
    """Return a header of cards given as text: ``"BITPIX = 8"``, ``"COMMENT what"``."""
    images = []
    for card in cards:
        keyword, equals, value = card.partition("=")
        image = f"{keyword.strip():8}= {value.strip():>20}" if equals else card
        images.append(image.ljust(80))
    text = "".join(images) + ("END" if end else "")
    return blocks(text.encode("latin-1"), b" ")


def primary(*cards):
    """Return a primary HDU without data."""
    return header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", *cards)


def image(name, bitpix, axes, data, *cards):
    """Return an image extension; axes are in FITS's order."""
    lengths = [f"NAXIS{n} = {length}" for n, length in enumerate(axes, 1)]
    head = header(
        "XTENSION= 'IMAGE   '",
        f"BITPIX = {bitpix}",
        f"NAXIS = {len(axes)}",
        *lengths,
        "PCOUNT = 0",
        "GCOUNT = 1",
        f"EXTNAME = '{name}'",
        *cards,
    )
    return head + blocks(data)
