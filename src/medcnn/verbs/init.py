"""`init`: looks at data, says what they seem to be, and writes a YAML to edit."""

from __future__ import annotations

from medcnn.verbs import Command, Verb


def run(_: None, command: Command) -> None:
    from medcnn.verbs.steps.drafting import show_init

    show_init(command.words[1:])


VERB = Verb(
    name="init",
    lines=("init FOLDER [table.csv]: guess what your data are, write a YAML to edit",),
    usage="FOLDER [TABLE] [data.sheet=NAME] [output=conf/data/NAME.yaml]",
    examples=("init my_images labels.xlsx",),
    about="Guess what your images and tables are, and write a YAML to edit.",
    synonyms=("new", "create", "setup", "import"),
    config=None,
    run=run,
)
