"""A frozen config to its workflow. Torch is imported here, and not before."""

from __future__ import annotations

from medcnn.cli.compose import Command
from medcnn.config import EvaluateConfig, PredictConfig
from medcnn.progress import show_log


def execute(command: Command) -> None:
    show_log()
    config = command.config
    if isinstance(config, PredictConfig):
        from medcnn.workflows.predicting import predict_images

        predict_images(config)
    elif isinstance(config, EvaluateConfig):
        from medcnn.workflows.evaluating import evaluate_checkpoint

        evaluate_checkpoint(config, command.words)
    else:
        from medcnn.workflows import training

        run = training.train if command.verb == "train" else training.finetune
        run(config, command.words)
