"""Large numbers in few characters."""

UNITS = ("", " K", " M", " B", " T")


def short_count(count: int) -> str:
    """Return a count with three digits or so and a unit.

    >>> [short_count(n) for n in (0, 999, 1000, 2_049, 131_072, 2_600_000, 7 * 10**9, 10**16)]
    ['0', '999', '1.0 K', '2.0 K', '131 K', '2.6 M', '7.0 B', '10,000 T']
    >>> short_count(999_950)  # not 1000 K
    '1.0 M'
    """
    if count < 1000:
        return str(count)
    scaled, place = float(count), 0
    while place < len(UNITS) - 1 and scaled >= 999.5:
        scaled, place = scaled / 1000, place + 1
    digits = f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:,.0f}"
    return digits + UNITS[place]
