from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from medcnn.config import TrainerConfig, build, settings_digest, to_json
from medcnn.system.errors import UsageError

GOOD: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "micro_batch": "auto",
    "accumulate": 1,
    "warmup_share": 0.5,
    "clip_norm": None,
    "ema_decay": 0,
    "swa_from": None,
    "score": "auroc",
    "patience": None,
    "flip_average": True,
    "precision": "fp32",
    "compile": "off",
    "channels_last": False,
    "device": "cpu",
    "threads": None,
    "save_every_s": 600,
    "sync_batchnorm": False,
    "reproducible": "fast",
    "keep_state": False,
    "dry_run": False,
    "overfit_batches": None,
    "watch": False,
}


def test_on_and_off_are_understood_as_yaml_reads_them() -> None:
    built = [build(TrainerConfig, GOOD | {"compile": c}, {}).compile for c in (True, False, "auto")]
    assert built == ["on", "off", "auto"]


def test_a_config_goes_to_json_and_back() -> None:
    config = build(TrainerConfig, GOOD, {})
    assert build(TrainerConfig, to_json(config), {}) == config
    assert isinstance(config.ema_decay, float)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("batch_size", 0, "batch_size=0 should be a whole number of at least 1."),
        ("batch_size", "many", "batch_size=many should be a whole number of at least 1."),
        ("micro_batch", 0, "micro_batch: 0 should be auto or a whole number of at least 1."),
        ("micro_batch", True, "micro_batch: True should be auto"),
        ("batch_size", True, "batch_size=true should be a whole number"),
        ("ema_decay", 1.5, "ema_decay=1.5 should be a number from 0 to 0.999999."),
        ("precision", "fp23", "precision=fp23 is not one of auto, fp32, bf16, fp16; did you mean"),
        ("epochs", None, "epochs=null should be a whole number of at least 1."),
    ],
)
def test_a_wrong_value_names_key_and_range(key: str, value: Any, said: str) -> None:
    """Row 93."""
    with pytest.raises(UsageError) as raised:
        build(TrainerConfig, GOOD | {key: value}, {})
    assert said in str(raised.value)
    assert raised.value.exit_code == 2


def test_all_faults_are_reported_at_once() -> None:
    wrong = GOOD | {"epochs": 0, "devise": "cpu", "batch_size": -1}
    del wrong["score"]
    with pytest.raises(UsageError) as raised:
        build(TrainerConfig, wrong, {"device": ["cuda"]})
    lines = str(raised.value).splitlines()
    assert len(lines) == 5
    assert "devise is not a setting; did you mean 'device'?" in lines
    assert "score is required: add score=... to the command." in lines


def test_options_take_what_no_field_claims() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Thing:
        name: str
        options: dict[str, Any]

    assert build(Thing, {"name": "x", "gamma": 2}, {}).options == {"gamma": 2}


def test_a_folder_named_after_settings_tells_no_path_to_who_tries_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A digest without a key would let anybody try the names of patients."""
    names = []
    for key in ("the key of one house", "the key of another"):
        monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", key)
        names.append(settings_digest({"data": {"root": "/wards/Meier_Anna"}}))
        assert settings_digest({"data": {"root": "/wards/Meier_Anna"}}) == names[-1]
        assert settings_digest({"data": {"root": "/wards/Huber_Anna"}}) != names[-1]
    assert len(set(names)) == 2
