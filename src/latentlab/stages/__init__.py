"""The stages of dvc.yaml: thin, read top to bottom. `python -m latentlab.stages train vae`."""

UNTRACKED = 3  # exit code: all is done, but MLflow lacks something of it
