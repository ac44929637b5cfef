"""Show what installing each package brings along: how many distributions, and how large.

python tools/closure.py              a table of all packages, without and with their extras
python tools/closure.py lt-accel     these packages alone, with the names of what they bring

What a package brings is followed through the metadata of what is installed here. The size of a
distribution is that of its files on disk, so torch's is that of the build that is installed here;
of a package of the house it is that of its source.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from house import Package, packages
from solo import needed


def brought_by(name: str, *, extras: Iterable[str] = ()) -> set[str]:
    """Return the distributions that installing one brings, itself not counted."""
    itself = Requirement(name)
    itself.extras = set(extras)
    found = {str(canonicalize_name(one)) for one in needed([itself], set())}
    return found - {canonicalize_name(name)}


def megabytes(name: str, house: dict[str, Package]) -> float:
    """Return the size on disk of an installed distribution, in units of 10**6 bytes."""
    if name in house:  # installed editable: what is installed is its source
        files = [path for path in house[name].source.rglob("*") if "__pycache__" not in path.parts]
    else:
        distribution = importlib.metadata.distribution(name)
        files = [Path(str(file.locate())) for file in distribution.files or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description="Show what installing each package brings along.")
    parser.add_argument("names", nargs="*", metavar="package")
    arguments = parser.parse_args()
    house = {package.name: package for package in packages()}
    if unknown := set(arguments.names) - house.keys():
        parser.error(f"no such package: {', '.join(sorted(unknown))}")

    print(f"{'package':<50} {'brings':>6} {'own MB':>8} {'MB in all':>10}")
    for name in arguments.names or house:
        everything = tuple(house[name].extras)
        for extras in [(), everything] if everything else [()]:
            title = f"{name}[{','.join(extras)}]" if extras else name
            try:
                brought = {one: megabytes(one, house) for one in brought_by(name, extras=extras)}
            except importlib.metadata.PackageNotFoundError as error:
                print(f"{title}: not known here, where {error.name} is not installed")
                continue
            own = megabytes(name, house)
            total = own + sum(brought.values())
            print(f"{title:<50} {len(brought):>6} {own:>8.2f} {total:>10.1f}")
            if arguments.names:
                for one, size in sorted(brought.items()):
                    print(f"    {one:<46} {'':>6} {size:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
