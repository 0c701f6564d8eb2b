"""The stages of dvc.yaml. Each is one file, read from top to bottom.

`python -m latentlab.stages train vae` runs one.
"""

UNTRACKED = 3  # exit code: the results are complete, but the MLflow run is not
