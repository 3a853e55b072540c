"""A frozen config to its workflow. Torch is imported here, and not before."""

from __future__ import annotations

from medcnn.cli.compose import Command
from medcnn.config import (
    AuditConfig,
    CompareConfig,
    EvaluateConfig,
    PredictConfig,
    PreviewConfig,
    ReportConfig,
    SweepConfig,
    TrainConfig,
    WhoConfig,
    to_json,
)
from medcnn.places import check
from medcnn.system.privacy import for_terminal
from medcnn.system.progress import follows, log, show_log


def execute(command: Command) -> None:
    config = command.config
    check(config)
    if isinstance(config, SweepConfig):
        from medcnn.cli.sweeping import search_of

        search_of(command, config)
        return
    show_log(for_terminal)
    for hint in command.hints:
        log.info(hint)
    if follows() and not isinstance(config, TrainConfig):
        return  # only training is shared among processes
    if isinstance(config, PredictConfig):
        from medcnn.verbs.predicting import predict_images

        predict_images(config)
    elif isinstance(config, ReportConfig):
        from medcnn.verbs.reporting import rebuild_report

        rebuild_report(config)
    elif isinstance(config, CompareConfig):
        from medcnn.verbs.comparing import compare_runs

        compare_runs(config)
    elif isinstance(config, WhoConfig):
        from medcnn.verbs.naming import name_images

        print(name_images(config))
    elif isinstance(config, AuditConfig):
        from medcnn.verbs.auditing import audit_data

        audit_data(config)
    elif isinstance(config, EvaluateConfig):
        from medcnn.verbs.evaluating import evaluate_checkpoint

        evaluate_checkpoint(config, command.words)
    elif isinstance(config, PreviewConfig):
        from medcnn.verbs.previewing import preview

        idle = sorted(
            k for k in command.keys if k.split(".")[0] not in (*to_json(config), "experiment")
        )
        if idle:
            log.info(f"without effect on a preview: {', '.join(idle)}")
        preview(config)
    else:
        from medcnn.verbs.dry_run import rehearse
        from medcnn.verbs.finetuning import finetune
        from medcnn.verbs.training import run_folder_of, train

        run = train if command.verb == "train" else finetune
        if config.trainer.dry_run:
            rehearse(run, run_folder_of(config), config, command.words)
        else:
            run(config, command.words)
