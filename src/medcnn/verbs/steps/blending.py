"""WiSE-FT: old and new weights averaged with a share that validation chooses (Wortsman et al. 2022,
CVPR). The model keeps what it learned here and forgets less."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor

from medcnn.data.manifest import Split
from medcnn.models import checkpoint as checkpoints
from medcnn.models.averaging import between
from medcnn.models.classifier import Classifier
from medcnn.models.heads import output_layer
from medcnn.statistics.metrics import table as metrics
from medcnn.system.files import without_nan
from medcnn.system.progress import log
from medcnn.system.run_folder import RunFolder
from medcnn.training.epochs import is_better
from medcnn.training.setting import Setting
from medcnn.verbs.steps.scoring import predictions_of

SHARES = tuple(k / 10 for k in range(11))


def fresh_rows(classifier: Classifier, fresh: Collection[int]) -> dict[str, list[int]]:
    """Tensor -> its rows for classes that the old model did not have."""
    layer = output_layer(classifier.head)
    own = {id(p): name for name, p in classifier.named_parameters()}
    rows = {own[id(p)]: sorted(fresh) for p in layer.parameters() if p.ndim}
    return rows if fresh else {}


def blend(
    run: RunFolder,
    setting: Setting,
    start: Mapping[str, Tensor],
    fresh: Mapping[str, list[int]],
    share: float | str,
) -> None:
    """Replace the weights of the best epoch by their mean with the starting weights.

    The checkpoint records this, so a resumed run does not repeat it.

    Args:
        start: state of the classifier before training.
        fresh: as `fresh_rows` says; they are taken from the new weights.
        share: of the new weights, or `auto`: the best on validation, the largest if tied.
    """
    best, tensors = run.ranks.from_leader(lambda: checkpoints.read(run.best))
    if "wise_ft" in best.provenance:
        return
    classifier = checkpoints.restore(best, tensors, str(run.best)).to(setting.device).eval()
    scores: dict[str, float] = {}
    score: float | None = None
    chosen = 1.0 if share == "auto" else float(share)
    for one in reversed(SHARES) if share == "auto" else ():
        classifier.load_state_dict(between(start, tensors, one, fresh))
        validation = predictions_of(
            best,
            classifier,
            setting.store,
            setting.manifest,
            setting.manifest.rows(Split.VALIDATION),
            split=Split.VALIDATION,
            device=setting.device,
            dtype=setting.dtype,
            ranks=run.ranks,
        )
        found = metrics.score(validation, setting.task.score)
        scores[f"{one:g}"] = found
        if found == found and is_better(found, score, setting.task.higher_is_better):
            chosen, score = one, found
    classifier.load_state_dict(between(start, tensors, chosen, fresh))
    run.facts["wise_ft"] = {"share": chosen, "validation": without_nan(scores)}
    run.write_facts()  # before the checkpoint that says that it is done
    log.info(f"WiSE-FT: {chosen:g} of the new weights, {1 - chosen:g} of the old")
    made = {**best.provenance, "wise_ft": chosen}
    kept = replace(best, provenance=made)
    run.ranks.from_leader(lambda: checkpoints.save(run.best, classifier, kept))
