"""The maps of a report, and what their checks found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.pages.facts import Facts, Statement
from medcnn.pages.format import counted, percent

METHODS = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
}
KINDS = {
    "sure hit": "Sure hits",
    "miss": "Misses",
    "false alarm": "False alarms",
    "least certain": "Least certain",
}
# What the warning says of each failed check.
CHECKS = {
    "weights": "they hardly change when all weights are random",
    "agreement": "another method produces different maps",
    "pointing": "they are not shown to point at the marked lesions more often than chance",
    "outside": "their share outside the picture is as large as that of a uniform map",
}


MAPS: dict[str, Statement[Facts]] = {
    "maps": Statement(
        lambda f: (
            f"Maps of the named class by {f.maps_by}: on the left, what the network saw; on the "
            "right, where its logit comes from. Colours run from 0 to the maximum of each map."
        ),
        lambda f: "maps" in f.sections and bool(f.maps_by),
    ),
    "maps explain nothing": Statement(
        lambda f: (
            "These maps explain nothing: "
            f"{'; '.join(CHECKS[name] for name in f.maps_failed)}. Do not interpret them."
        ),
        lambda f: "maps" in f.sections and bool(f.maps_failed),
    ),
    "maps passed": Statement(
        "The maps passed the checks below. They show where the network looked, but not why, nor "
        "that it is right.",
        lambda f: "maps" in f.sections and not f.maps_failed,
    ),
}


def failed(maps: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the checks that did not pass."""
    return tuple(check["name"] for check in maps.get("checks", ()) if not check["passed"])


def grouped(maps: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Heading and images of each kind present."""
    cases = maps.get("cases", ())
    found = [(title, [c for c in cases if c["kind"] == kind]) for kind, title in KINDS.items()]
    return [(title, of) for title, of in found if of]


def checked(maps: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What was checked, what was found, what was required, of how many maps, and the verdict."""
    return [
        (*_words(check, maps), counted(check["maps"], "map"), _verdict(check))
        for check in maps.get("checks", ())
    ]


def _verdict(check: Mapping[str, Any]) -> str:
    return "passed" if check["passed"] else "failed"


def _words(check: Mapping[str, Any], maps: Mapping[str, Any]) -> tuple[str, str, str]:
    value, limit, detail = check["value"], check["limit"], check["detail"]
    if check["name"] == "weights":
        stages = "; ".join(f"{stage} {found:z.2f}" for stage, found in detail.items())
        return (
            "Rank correlation with the map after weights are randomised from the top",
            stages,
            f"everything: within ±{limit:g}",
        )
    if check["name"] == "agreement":
        other = METHODS[maps["other"]]
        return f"Rank correlation with {other}", f"{value:z.2f}", f"{limit:g} or more"
    if check["name"] == "pointing":
        return (
            "Highest value in a marked lesion",
            f"{detail['hits']:.0f} of {check['maps']}; {detail['expected']:.1f} expected by chance",
            f"p = {value:.2g}, below {limit:g}",
        )
    return (
        "Share of the map outside the picture",
        f"{percent(value)} %",
        f"less than the area's {percent(limit)} %",
    )
