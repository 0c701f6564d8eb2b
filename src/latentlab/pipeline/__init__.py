"""Run the stages of dvc.yaml side by side. DVC decides what changed; this folder decides the order.

graph      the stages, what each one needs, what has changed
unchanged  what DVC has looked at, when it found nothing to do
changes    a process that asks DVC for it, and looks at each file once
scheduler  starts a stage when all stages that it needs have ended
job        one stage: a process `dvc repro --single-item STAGE`
forking    starts a process that has imported what stages need; fork_server: that process
cluster    one stage: a job of SLURM, through submitit
progress   what is printed meanwhile
"""
