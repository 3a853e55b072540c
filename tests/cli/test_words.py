"""Words as users type them: paths without quotes, files without keys, names of old."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcnn.cli import compose
from medcnn.cli.compose import read_command
from medcnn.config import to_json
from medcnn.system.errors import UsageError
from medcnn.system.run_places import placeless
from medcnn.verbs.evaluate import EvaluateConfig
from medcnn.verbs.predict import PredictConfig
from medcnn.verbs.train import TrainConfig

ODD = (
    *("a b", "a, b,c", "(1) x", "[2]", "{3}", "a=b", "#1", "é ü 研究", "x:y", 'say "x"'),
    *(
        "C:\\Users\\x (1)\\",
        "\\\\server\\share",
        "-x",
        "null.d",
        "2024",
        "true",
        "*?|;&",
        "a\\",
        "@x",
    ),
)


def config(verb: str, *words: str) -> TrainConfig | EvaluateConfig | PredictConfig:
    found = read_command(verb, list(words)).config
    assert isinstance(found, TrainConfig | EvaluateConfig | PredictConfig)
    return found


def refusal(verb: str, *words: str) -> str:
    def read_and_check() -> None:
        command = read_command(verb, list(words))
        command.verb.check(command.config)

    with pytest.raises(UsageError) as raised:
        read_and_check()
    return str(raised.value)


def test_a_path_needs_no_quotes_in_any_setting() -> None:
    for odd in ODD:
        words = [f"{key}={odd}" for key in ("checkpoint", "input", "output")]
        found = config("predict", *words)
        assert isinstance(found, PredictConfig)
        assert (found.checkpoint, found.input, found.output) == (odd, odd, odd)


@pytest.mark.parametrize("odd", ["a, b (c)", "[2]#"])
def test_a_path_of_data_or_weights_needs_no_quotes(odd: str) -> None:
    paths = [f"data.root=/x/{odd}", f"data.table={odd}", f"model.weights={odd}", f"run_dir={odd}"]
    found = config("train", "data=table", *paths)
    assert isinstance(found, TrainConfig)
    assert found.model is not None
    assert (found.data.root, found.data.options["table"]) == (f"/x/{odd}", odd)
    assert (found.model.weights, found.run_dir) == (odd, odd)


def test_quotes_that_hydra_asks_for_are_still_understood_and_home_is_expanded() -> None:
    found = config("predict", "checkpoint='a, b'", 'input="(x)"', "output=~/y.csv")
    assert isinstance(found, PredictConfig)
    assert (found.checkpoint, found.input) == ("a, b", "(x)")
    assert found.output == str(Path("~/y.csv").expanduser())


def test_columns_with_signs_need_no_quotes() -> None:
    words = ("data.label=Grade (ICDR)", "data.patient=N° patient", "data.separator=;")
    data = config("train", "data=table", *words).data
    assert data is not None
    assert [data.options[k] for k in ("label", "patient", "separator")] == [
        "Grade (ICDR)",
        "N° patient",
        ";",
    ]


def test_an_empty_path_is_refused_since_it_would_mean_the_folder_of_the_command() -> None:
    for word in ("data.root=", "run_dir=", "data.cache= "):
        assert "is empty" in refusal("train", word)


def test_files_are_taken_without_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config("evaluate", "a/best.safetensors", "seed=1") == config(
        "evaluate", "checkpoint=a/best.safetensors", "seed=1"
    )
    right = config("predict", "checkpoint=m.safetensors", "input=images", "output=o.csv")
    assert config("predict", "m.safetensors", "images", "o.csv") == right
    assert config("predict", "images", "m.safetensors", "output=o.csv") == right
    assert (
        read_command("report", ["runs/x"]).config == read_command("report", ["run=runs/x"]).config
    )
    (tmp_path / "runs" / "optimizer.lr=0.1").mkdir(parents=True)
    found = read_command("report", ["runs/optimizer.lr=0.1"]).config
    assert found.run == "runs/optimizer.lr=0.1"  # type: ignore[union-attr]
    assert "takes CHECKPOINT" in refusal("evaluate", "a.safetensors", "b.safetensors")
    assert "swapped" in refusal("predict", "checkpoint=images", "input=m.safetensors")


def test_any_name_of_timm_is_a_model() -> None:
    found = config("train", "model=vit_base_patch16_224", "model.weights=none")
    assert isinstance(found, TrainConfig)
    assert found.model is not None
    assert (found.model.backbone, found.model.weights) == ("vit_base_patch16_224", "none")
    said = refusal("train", "model=vit_base_patch16_225")
    assert "did you mean 'vit_base_patch16_224'?" in said
    assert "medcnn list backbones" in said


def test_one_thing_has_one_name_in_every_command_and_the_others_are_understood() -> None:
    for short in ("threads=2", "max_bad=3", "max_unreadable=3", "device=cpu", "batch_size=5"):
        for verb, more in (("train", []), ("evaluate", ["x"]), ("predict", ["x", "y"])):
            command = read_command(verb, [*more, short])
            [hint] = command.hints
            assert hint.startswith(f"{short.partition('=')[0]}= is now called ")
            long = hint.split("called ")[1].partition("=")[0]
            assert command.config == config(verb, *more, f"{long}={short.partition('=')[2]}")
    assert "trainer.threads=0 should be" in refusal("predict", "x", "y", "threads=0")


def test_a_yaml_of_ones_own_is_found_nearby_and_the_option_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "alone" / "here"  # folders of other tests lie beside tmp_path
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert "Give --config-dir FOLDER if its YAML is elsewhere" in refusal("train", "data=ours")
    file = here / "my-configs" / "data" / "ours.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [table]\nroot: /nowhere\n")
    there = "There is my-configs/data/ours.yaml: "
    assert refusal("train", "data=ours").endswith(f"{there}add --config-dir my-configs.")
    said = refusal("train", "data=my-configs/data/ours.yaml")
    assert said.endswith(f"{there}write data=ours and add --config-dir my-configs.")
    assert config("train", "data=ours", "--config-dir", "my-configs").data is not None


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("train", ["trainer.epochs", "=", "5"], "write trainer.epochs=5, without spaces"),
        ("train", ["trainer.epochs:5"], "write trainer.epochs=5."),
        ("train", ["trainer.epochs=3 seed=4"], "several settings in one word"),
        ("train", ["trainer.lr=0.1"], "did you mean 'optimizer.lr'?"),
        ("train", ["batch=8"], "did you mean 'trainer.batch_size'?"),
        ("train", ["data.root=/a", "b"], "Then quote it: 'data.root=/a b'."),
        ("train", ["checkpoint=x"], "medcnn finetune --help"),
        ("train", ["."], "medcnn init ."),
        ("train", ["trainer.device=gpu"], "should be auto, cpu, cuda, cuda:1 or mps"),
        ("train", ["trainer.patience=none"], "of at least 1, or null."),
        ("train", ["data=null"], "leave it out, or choose one of"),
        ("train", ["model.weights=imagenet"], "give auto, pretrained, none or the path"),
        ("train", ["--config-dir"], "--config-dir needs a folder"),
        ("compare", ["run=a"], "medcnn compare RUN RUN"),
    ],
)
def test_a_slip_is_answered_with_what_to_write(verb: str, words: list[str], said: str) -> None:
    assert said in refusal(verb, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=chest_xray", "loss=focal", "loss.gamma=1", "loss.gamma=3", "model=resnet50"),
        ("trainer.epochs=9", "trainer={epochs: 3}", "run_dir='${oc.env:HOME}/a'", "++seed=3"),
        ("model.options={a: [1]}", "model.options.b=null", "readout.conformal={name: split}"),
        ("trainer={epochs: 3, foo: 1}",),
    ],
)
def test_values_mean_what_they_mean_to_hydra(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most commands are not composed again for their values; here, each is done both ways."""

    def answer() -> str:
        try:
            return read_command("train", list(words)).yaml
        except UsageError as error:
            return str(error)

    once = answer()
    monkeypatch.setattr(compose, "_only_a_value", lambda override: False)
    assert answer() == once


def test_paths_that_a_run_keeps_are_absolute_so_that_its_files_show_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Meier").mkdir()
    for name in ("Meier/old.pth", "auto"):
        (tmp_path / name).write_text("")
    given = config("train", "model.weights=Meier/old.pth", "data.cache=Meier/cache")
    kept = placeless(to_json(given))
    assert kept["model"]["weights"] == ".../old.pth"
    assert kept["data"]["cache"] == ".../cache"
    words = config("train", "model.weights=auto", "data.cache=off")
    assert isinstance(words, TrainConfig)
    assert words.model is not None
    assert (words.model.weights, words.data.cache) == ("auto", "off")
    typed = ("checkpoint=Meier/old.pth", "old_data=Meier", "data=phantom")
    assert placeless(to_json(read_command("finetune", [*typed]).config))["old_data"] == ".../Meier"
