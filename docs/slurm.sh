#!/bin/bash
# Train one model on two machines with four GPUs each: sbatch docs/slurm.sh vae
#SBATCH --job-name=latentlab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4   # one process a GPU; --ntasks alone is not understood
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue             # taken away or out of luck: the same command goes on
#SBATCH --open-mode=append

set -euo pipefail
model=${1:?which model? e.g. sbatch docs/slurm.sh vae}
cd "$SLURM_SUBMIT_DIR"        # on a file system that all machines share
. .venv/bin/activate

dvc repro --single-item prepare   # nothing to do if it was done

# Not `dvc repro` here: it starts one process, which would wait for tasks that srun never started.
# --kill-on-bad-exit: a task that ends badly takes the others along.
srun --kill-on-bad-exit=1 python -m latentlab.stages train "$model"

dvc commit --force "train@$model" # tell DVC that this is its output
