from medcnn.system.run_facts import differences


def test_a_run_from_before_losses_had_weights_goes_on_as_it_began_and_not_with_weights() -> None:
    before = {"loss": {"name": "auto", "options": {}}}
    now = {"loss": {"name": "auto", "options": {"weighting": "none", "beta": 0.9999}}}
    weighted = {"loss": {"name": "auto", "options": {"weighting": "balanced", "beta": 0.9999}}}
    assert differences(before, now) == []
    assert differences(before, weighted) == ["loss.options.weighting: none there, balanced now"]


def test_a_run_that_kept_the_folders_of_its_weights_goes_on() -> None:
    before = {"model": {"weights": "exports/Meier/w.pth"}}
    assert differences(before, {"model": {"weights": ".../w.pth"}}) == []
    assert differences(before, {"model": {"weights": ".../v.pth"}}) != []


def test_a_table_elsewhere_is_not_the_one_beside_the_images() -> None:
    before, now = ({"data": {"table": t}} for t in ("labels.csv", ".../labels.csv"))
    assert differences(before, now) != []
