"""From predictions to scores with intervals, figures and a report. Nothing here imports torch."""
