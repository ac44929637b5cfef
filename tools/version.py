"""One version for the whole house.

python tools/version.py 0.2.0     write it, and the pins among siblings, into every pyproject.toml
python tools/version.py --check   fail where a version or a pin is out of step
"""

import re
import sys

from house import Package, packages

VERSION = re.compile(r"\d+\.\d+\.\d+")


def pin(version: str) -> str:
    """The pin for a sibling of this version: any release of the same minor line."""
    major, minor, _ = version.split(".")
    return f"~={major}.{minor}.0"


def rewrite(package: Package, siblings: list[str], version: str) -> None:
    """Change version and pins in place, so that comments and layout survive."""
    path = package.folder / "pyproject.toml"
    text = path.read_text("utf-8")
    text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text, count=1)
    names = "|".join(map(re.escape, siblings))
    text = re.sub(rf'"({names})(\[[\w, -]*\])?~=[^"]*"', rf'"\1\2{pin(version)}"', text)
    path.write_text(text, "utf-8")


def mistakes(house: list[Package]) -> list[str]:
    version = house[0].version
    siblings = {package.name for package in house}
    found = []
    for package in house:
        path = package.folder / "pyproject.toml"
        if package.version != version:
            found.append(f"{path}: version {package.version}, but {house[0].name} has {version}")
        requirements = package.dependencies + [r for e in package.extras.values() for r in e]
        found += [
            f"{path}: {requirement}, expected {requirement.name}{pin(version)}"
            for requirement in requirements
            if requirement.name in siblings and str(requirement.specifier) != pin(version)
        ]
    return found


def check(house: list[Package]) -> int:
    found = mistakes(house)
    for line in found:
        print(line)
    if found:
        print(f"Set them all with: python tools/version.py {house[0].version}")
        return 1
    print(f"version: {house[0].version} in all {len(house)} packages")
    return 0


def main(arguments: list[str]) -> int:
    house = packages()
    if arguments == ["--check"]:
        return check(house)
    if len(arguments) == 1 and VERSION.fullmatch(arguments[0]):
        for package in house:
            rewrite(package, [sibling.name for sibling in house], arguments[0])
        return check(packages())
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
