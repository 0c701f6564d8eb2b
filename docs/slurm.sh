#!/bin/bash
# Train one model on two machines with four GPUs each: sbatch docs/slurm.sh vae
#SBATCH --job-name=latentlab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4   # one process for each GPU; do not use --ntasks
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue             # after a preemption or a failure, the training resumes
#SBATCH --open-mode=append

set -euo pipefail
model=${1:?name a model, for example: sbatch docs/slurm.sh vae}
cd "$SLURM_SUBMIT_DIR"        # must be on a file system that all machines share
. .venv/bin/activate

dvc repro --single-item prepare   # does nothing if the data are prepared

# Do not run `dvc repro` here: it starts one process, which waits for tasks that srun did not start.
# --kill-on-bad-exit: if one task fails, srun ends the others.
srun --kill-on-bad-exit=1 python -m latentlab.stages train "$model"

dvc commit --force "train@$model" # tells DVC that runs/<model> is the output of this stage
