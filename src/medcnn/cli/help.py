"""The text of `--help`, for medcnn and for each command. Settings come from the files in
`configs/`; nothing slow is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medcnn.system.paths import config_folder
from medcnn.system.plugins import installed
from medcnn.verbs import VERBS, Verb, verb_of

# Group of `configs/` -> group of entry points.
PLUGGED = {
    "data": "datasets",
    "head": "heads",
    "loss": "losses",
    "model": "backbones",
    "pooling": "poolings",
}
GENERAL = """\
medcnn: audit data, train, evaluate and fine-tune CNNs on medical images.

usage: medcnn COMMAND [key=value ...] [--config-dir FOLDER] [--show-config] [--debug]

{commands}

  medcnn COMMAND --help shows the settings of a command.
  Without data, `medcnn train` draws phantoms, so you can try everything at once.
  Settings have Hydra's grammar. Complete recipes: experiment=retinopathy|skin_lesion|chest_xray.

  --config-dir FOLDER   your own YAML, e.g. FOLDER/data/my_hospital.yaml for data=my_hospital
  --show-config         print all settings of the command and stop
  --debug               show a traceback, without names, if something goes wrong
  --version             print the version and stop

exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 training diverged, 4 data refused,
75 stopped by a signal with everything saved (run the same command again to resume)
"""

OPTIONS = (
    "  --config-dir FOLDER   the folder of your own YAML files: FOLDER/data/NAME.yaml",
    "  --show-config         print all settings of this command and stop",
    "  --debug               show a traceback, without names, if something goes wrong",
)


def general() -> str:
    """All commands, with an example of each."""
    lines = [line for name in VERBS for line in verb_of(name).lines]
    names = [
        line.partition(" -m ")[0] + " -m" if " -m " in line else line.split()[0] for line in lines
    ]
    return GENERAL.format(
        commands="\n".join(f"  {n:<14} medcnn {w}" for n, w in zip(names, lines, strict=True))
    )


def help_of(verb: Verb) -> str:
    """Usage, examples and all settings of a command, in the form to type."""
    configs = config_folder()
    file = configs / f"{verb.name}.yaml"
    about = [verb.about] if verb.about else list(_about(file))
    lines = [f"usage: medcnn {verb.name} {verb.usage}", "", *about, ""]
    lines += [f"  medcnn {example}" for example in verb.examples]
    if file.is_file():
        lines += ["", "settings, and their defaults (???: must be given):"]
        for key, (value, comment) in settings(verb.name, configs).items():
            lines += _folded(f"{key}={value}", comment)
        lines += ["", *OPTIONS]
    return "\n".join(lines) + "\n"


def _about(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            return
        yield line[2:]


def settings(verb: str, configs: Path) -> dict[str, tuple[str, str]]:
    """Key -> default and comment, from a command's file and the files in its `defaults`."""
    found: dict[str, tuple[str, str]] = {}
    text = (configs / f"{verb}.yaml").read_text(encoding="utf-8")
    before, _, rest = text.partition("defaults:\n")
    for line in re.findall(r"^  - .*\n", rest, re.MULTILINE):
        word = line[4:].partition("#")[0].strip().removeprefix("override ")
        key, chosen, value = word.partition(": ")
        if chosen and (configs / key).is_dir():
            names = sorted(p.stem for p in (configs / key).glob("*.yaml"))
            names += sorted(installed(PLUGGED[key])) if key in PLUGGED else []
            more = ", or any name of `medcnn list backbones`" if key == "model" else ""
            found[key] = value, f"one of {', '.join(names)}{more}"
            if key not in ("data", "experiment") and value != "null":
                own = _flat((configs / key / f"{value}.yaml").read_text(encoding="utf-8"))
                found |= {f"{key}.{name}": (v, said) for name, v, said in own if name != "name"}
        elif not chosen and word != "_self_":
            found |= settings(word, configs)
    for key, value, comment in _flat(rest or before):
        found[key] = value, comment or found.get(key, ("", ""))[1]
    return found


def _flat(text: str) -> Iterator[tuple[str, str, str]]:
    """Key, value and comment of each setting. A comment continues in lines that are indented more
    than the settings; other comment lines belong to the setting below."""
    section, before = "", ""
    found: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        comment = re.match(r"( +)# ?(.*)", line)
        setting = re.match(r"( *)(\w+):(?: +([^#]*?))?(?: *# ?(.*))?$", line)
        if comment and len(comment[1]) > 4 and found:
            found[-1] = (*found[-1][:2], f"{found[-1][2]} {comment[2]}")
        elif comment:
            before = f"{before} {comment[2]}".strip()
        elif setting:
            indent, key, value, words = setting.groups("")
            if not indent:
                section = "" if value else f"{key}."
            if value:
                place = f"{section}{key}" if indent else key
                found.append((place, value, f"{before} {words}".strip()))
                before = ""
    yield from found


START, WIDTH = 38, 98


def _folded(setting: str, comment: str) -> Iterator[str]:
    line = f"  {setting}".ljust(START if comment else 0)
    for word in comment.split():
        if len(line) + len(word) >= WIDTH:
            yield line.rstrip()
            line = " " * START
        line += f" {word}"
    yield line.rstrip()
