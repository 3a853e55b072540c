"""Classes of an old model under the names of a new hospital."""

from __future__ import annotations

import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.matching import renamed
from medcnn.system.errors import UsageError


def space(*names: str, kind: Kind = Kind.MULTICLASS) -> LabelSpace:
    return LabelSpace(kind=kind, names=names)


def test_mapped_classes_take_the_new_name_and_the_others_keep_theirs() -> None:
    old, new = space("nv", "mel", "bcc"), space("mel", "naevus", "carcinoma")
    found = renamed(old, {"nv": "naevus", "bcc": "carcinoma"}, new)
    assert found == space("naevus", "mel", "carcinoma")
    assert renamed(old, {}, new) is old


def test_two_classes_may_swap_their_names() -> None:
    assert renamed(space("a", "b"), {"a": "b", "b": "a"}, space("a", "b")).names == ("b", "a")


def test_a_class_that_is_not_here_gets_a_name_that_nothing_here_has() -> None:
    old, new = space("nv", "mel", "other"), space("nv", "mel")
    assert renamed(old, {"other": None}, new).names == ("nv", "mel", "other (old model)")
    findings = space("Mass", "Fibrosis", kind=Kind.MULTILABEL)
    here = space("Tumour", "Edema", kind=Kind.MULTILABEL)
    assert renamed(findings, {"Mass": "Tumour"}, here).names == ("Tumour", "Fibrosis (old model)")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"nev": "naevus"}, "the old model has no class 'nev'; did you mean 'nv'?"),
        ({"nv": "nevus"}, "these data have no class 'nevus'; did you mean 'naevus'?"),
        ({"nv": "naevus", "bcc": "naevus"}, "both 'nv' and 'bcc' of the old model become 'naevus'"),
        ({"nv": "mel", "bcc": "naevus"}, "both 'nv' and 'mel' of the old model become 'mel'"),
        ({"mel": "naevus", "nv": None, "bcc": None}, "these data have a class 'mel' too"),
        ({"nv": "naevus"}, "'bcc' of the old model would have no counterpart"),
        ({"nv": None, "bcc": None}, "'naevus' of these data would have no counterpart"),
    ],
)
def test_what_leaves_open_which_class_is_which_is_refused(names, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        renamed(space("nv", "mel", "bcc"), names, space("mel", "naevus"))
    assert said in str(caught.value)


@pytest.mark.fault
def test_all_faults_of_the_names_are_said_at_once() -> None:
    names = {"x": "naevus", "nv": "y", "mel": "naevus"}
    with pytest.raises(UsageError) as caught:
        renamed(space("nv", "mel", "bcc"), names, space("naevus", "melanoma"))
    assert len(str(caught.value).splitlines()) == 3
    with pytest.raises(UsageError, match="multiclass labels, these data have multilabel ones"):
        renamed(space("a", "b"), {"a": "c"}, space("c", "b", kind=Kind.MULTILABEL))
