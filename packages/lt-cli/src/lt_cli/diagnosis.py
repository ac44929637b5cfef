"""One line for what is wrong with a command line or a configuration.

jsonargparse tells it in paragraphs, one for each type a value might have had. What matters is in
them: the key, the class, what was expected, what was received. What is missing is where it stands
and what was meant; both are looked up.
"""

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from lt_cli.imports import argument_names, imported, why_not
from lt_cli.named import config_files
from lt_cli.places import Place, find_place, syntax_error
from lt_cli.spelling import suggestion


@dataclass(frozen=True)
class Context:
    """What is known so far on the way into a message.

    Attributes:
        path: the keys down to here.
        owner: the class whose arguments are read.
        value: what was received, as it is written.
    """

    path: str = ""
    owner: str | None = None
    value: str | None = None


@final
class Diagnosis:
    """Explains the messages of a parser."""

    def __init__(
        self,
        *,
        words: Iterable[str],
        keys: Iterable[str],
        options: Iterable[str],
        subcommand: str = "",
    ) -> None:
        """Take what is needed to look things up.

        Args:
            words: what was parsed.
            keys: what a configuration may have, as ``trainer.max_epochs``.
            options: what a command line may have, as ``--trainer.max_epochs``.
            subcommand: the one that was asked for, which messages of its parser's parent begin
                their keys with.
        """
        self._files = config_files(words)
        self._keys, self._options = list(keys), list(options)
        self._prefix = f"{subcommand}." if subcommand else ""

    def explain(self, message: str) -> str:
        """Return one line: the place, what is wrong with it, and what was meant.

        Raises:
            Exception: a module of the user's fails when it is imported, which explains it all.
        """
        return self._explain(message, Context())

    def _explain(self, message: str, context: Context) -> str:
        for pattern, explain in self._cases().items():
            if found := re.match(pattern, message, re.DOTALL):
                return explain(found, context)
        return self._at(context, " ".join(message.split()))

    def _cases(self) -> dict[str, Callable[[re.Match[str], Context], str]]:
        return {
            r'Parser key "(?P<key>[^"]+)"(?: element \d+)?:\s*(?P<rest>.*)': self._key,
            r"(?:- Expected a path[^\n]*\s*- )?Does not validate against any of the Union subtypes"
            r"(?P<rest>.*)": self._union,
            r"Problem with given class_path '(?P<cls>[^']*)':\s*(?P<rest>.*)": self._class,
            r"(?:Option|Group|Subcommand) .*not accept": self._unknown_key,
            r"Expected a dot import path string: (?P<cls>\S+)": self._no_path,
            r"Expected an instantiatable class": self._unchosen,
            r"Import path (?P<cls>\S*) ?does not correspond": self._other_kind,
            r"Not a valid subclass of (?P<kind>\w+)": self._no_class,
            r"the following arguments are required: (?P<names>.*)": self._required,
            r"unrecognized arguments: (?P<words>.*)": self._unrecognized,
            r"Problems parsing config|Unexpected config": self._syntax,
            r"File does not exist: '?(?P<file>[^'\n]*)": self._no_file,
            r"Expected a (?P<type>[^\n]*?)(?:\. Got value: (?P<value>.*))?$": self._wrong_type,
        }

    # Each takes what its pattern found.

    def _key(self, found: re.Match[str], context: Context) -> str:
        inner = "init_args." if context.owner else ""
        key = f"{context.path}.{inner}{found['key']}" if context.path else found["key"]
        return self._explain(textwrap.dedent(found["rest"]), replace(context, path=key))

    def _union(self, found: re.Match[str], context: Context) -> str:
        rest = textwrap.dedent(found["rest"])
        value = re.search(r"Given value: (.*)\Z", rest, re.DOTALL)
        context = replace(context, value=value[1].strip() if value else context.value)
        self._import_all(context.value or "")
        errors = rest.partition("Errors:\n")[2].partition("\nGiven value type:")[0]
        items = re.split(r"^\s{0,4}- ", errors, flags=re.MULTILINE)
        items = [textwrap.dedent(" " * 4 + item).strip() for item in items if item.strip()]
        deep = [item for item in items if item.startswith(("Problem with given", "Parser key"))]
        paths = [item for item in items if item.startswith(("Import path", "Expected a dot"))]
        telling = deep or paths or [i for i in items if not i.startswith("Expected a <class 'None")]
        types = [
            t
            for item in items
            if (t := re.fullmatch(r"Expected an? ((?:<class|typing\.).*)", item))
        ]
        kinds = [_plain(kind[1]) for kind in types]
        named = re.fullmatch(r"[A-Z]\w*|[\w.]+\.[\w.]+", context.value or "")
        if not deep and {*kinds} - {"null"} and not (paths and named):
            known = [kind for kind in kinds if kind != "null"] + ["a class"] * bool(paths)
            return self._wrong_types([*known, *({*kinds} & {"null"})], context)
        return self._explain((telling or items or [rest])[0], context)

    def _import_all(self, value: str) -> None:
        """Import each class of a value again: if its module fails, that explains it all."""
        paths = re.findall(r"class_path['\"]?[:=] ?['\"]([\w.]+)", value)
        for path in [*paths, *re.findall(r"\A[A-Za-z_]\w*(?:\.\w+)+\Z", value)]:
            why_not(path)

    def _class(self, found: re.Match[str], context: Context) -> str:
        path = found["cls"]
        if (reason := why_not(path)) is not None and imported(path) is None:
            return self._at_value(path, context, reason)
        owned = replace(context, owner=path)
        return self._explain(textwrap.dedent(found["rest"]), owned)

    def _unknown_key(self, found: re.Match[str], context: Context) -> str:
        quoted = re.findall(r"'([^']*)'", found.string.partition("\n")[0])
        key, group = quoted[-1], quoted[0] if len(quoted) > 1 else None
        first = key.partition(".")[0]
        if context.owner and context.owner in UNCHOSEN:
            return self._unchosen(found, context)
        if context.owner:
            valid = argument_names(imported(context.owner))
            problem = f"{context.owner} has no argument {first!r}.{suggestion(first, valid)}"
            written = self._find(lambda p: p.owner == context.owner and _last(p.path) == first)
            return self._at(
                replace(context, path=f"{context.path}.init_args.{first}"), problem, written
            )
        return self._unknown_in_group(key, group)

    def _unchosen(self, found: re.Match[str], context: Context) -> str:
        return f"{context.path}: its class is not given. Write --{context.path} CLASS before."

    def _unknown_in_group(self, key: str, group: str | None) -> str:
        """Explain a key that the parser itself does not have: find the first part that is wrong."""
        known = self._keys
        in_group = group is not None and any(k.startswith(f"{group}.") for k in known)
        path = f"{group}.{key}" if in_group else key
        before, parts = "", path.split(".")
        while len(parts) > 1 and any(k.startswith(f"{before}{parts[0]}.") for k in known):
            before += f"{parts.pop(0)}."
        valid = {k.removeprefix(before).partition(".")[0] for k in known if k.startswith(before)}
        what = f"{before[:-1]} has no argument" if before else "there is no argument"
        at = f"{before}{parts[0]}"
        written = self._find(lambda place: place.path == at)
        return self._at(Context(at), f"{what} {parts[0]!r}.{suggestion(parts[0], valid)}", written)

    def _no_path(self, found: re.Match[str], context: Context) -> str:
        return self._at_value(found["cls"], context, why_not(found["cls"]) or "")

    def _other_kind(self, found: re.Match[str], context: Context) -> str:
        name, kind = found["cls"] or context.value or "it", found.string.split()[-1]
        return self._at_value(name, context, f"{name} is no {KINDS.get(kind, kind)}.")

    def _no_class(self, found: re.Match[str], context: Context) -> str:
        kind = KINDS.get(found["kind"], found["kind"])
        received = f" Received {context.value}." if context.value else ""
        return self._at(context, f"a {kind} is written as class_path and init_args.{received}")

    def _required(self, found: re.Match[str], context: Context) -> str:
        names = [name.strip().removeprefix(self._prefix) for name in found["names"].split(",")]
        if context.owner:
            names = [f"{context.path}.init_args.{name}" for name in names]
            plural = "s" if len(names) > 1 else ""
            return f"{context.owner} needs the argument{plural} {', '.join(names)}."
        options = ", ".join(f"--{name}" for name in names)
        config = "" if self._files else " Or give a configuration that says it: --config FILE."
        return f"required, and not given: {options}.{config}"

    def _unrecognized(self, found: re.Match[str], context: Context) -> str:
        word = found["words"].split()[0].partition("=")[0]
        near = suggestion(word, self._options)
        if word.endswith((".yaml", ".yml")):
            near = f" Did you mean '--config {word}'?"
        return f"{word}: there is no such option.{near}"

    def _syntax(self, found: re.Match[str], context: Context) -> str:
        for file in self._files:
            if reason := syntax_error(file):
                return f"{file}: {reason}"
        return " ".join(found.string.split())

    def _no_file(self, found: re.Match[str], context: Context) -> str:
        file = Path(found["file"])
        near = [path.name for path in file.parent.glob("*")] if file.parent.is_dir() else []
        return self._at(context, f"there is no file {file}.{suggestion(file.name, near)}")

    def _wrong_type(self, found: re.Match[str], context: Context) -> str:
        context = replace(context, value=found["value"] or context.value)
        return self._wrong_types([_plain(found["type"])], context)

    def _wrong_types(self, kinds: list[str], context: Context) -> str:
        problem = f"expected {' or '.join(kinds)}. Received {context.value!r}."
        key = _last(context.path)

        def wanted(place: Place) -> bool:
            scalar = isinstance(place.value, str | int | float)
            if scalar and str(place.value) != context.value:
                return False  # an option has taken its place
            owned = place.owner == context.owner and str(place.value) == context.value
            return place.path == context.path or (owned and _last(place.path) == key)

        return self._at(context, problem, self._find(wanted))

    # Places.

    def _find(self, wanted: Callable[[Place], bool]) -> tuple[Path, Place] | None:
        return find_place(self._files, wanted)

    def _at_value(self, value: str, context: Context, problem: str) -> str:
        return self._at(context, problem, self._find(lambda place: place.value == value))

    def _at(self, context: Context, problem: str, written: tuple[Path, Place] | None = None) -> str:
        if written is not None:
            return f"{written[0]}: {written[1].path}: {problem}"
        return f"{context.path}: {problem}" if context.path else problem


UNCHOSEN = {
    "lt_loop.Callback",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
}
"""What jsonargparse takes for the class where none is given: the type of the option."""

KINDS = {
    "AnyModule": "module, a class with a step such as training_step",
    "AnyDataModule": "datamodule, a class that makes a loader such as train_dataloader",
    "AnyOptimizer": "optimizer",
    "AnyLRScheduler": "learning-rate schedule",
    "AnyObject": "class",
}
"""What the types of the options are in plain words."""


def _last(path: str) -> str:
    return re.split(r"[.\[]", path)[-1]


def _plain(kind: str) -> str:
    """Return the name of a type as people write it.

    >>> _plain("<class 'int'>"), _plain("<class 'NoneType'>")
    ('int', 'null')
    >>> _plain("typing.Literal['epoch', 'step']")
    "'epoch' or 'step'"
    """
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", kind.strip()):
        return " or ".join(literal[1].split(", "))
    found = re.fullmatch(r"<class '(?:[\w.]*\.)?(\w+)'>", kind.strip())
    name = found[1] if found else kind.strip().rstrip(".")
    return "null" if name == "NoneType" else name
