"""`latentlab export`: weights or programs of a trained model, with a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentlab.cli.output import require_writable

FORMATS = ("safetensors", "torch.export", "onnx")


def export(args: argparse.Namespace) -> None:
    """Write a trained model into a new folder, with config.json and a model card, README.md.

    safetensors: the weights, for `latentlab.load`. torch.export and onnx: the decoder and the
    encoder as programs that run without latentlab.
    """
    if args.output:
        require_writable(args.output, is_folder=True, is_new=True)
    from latentlab import load
    from latentlab.export.folder import export_model

    trained = load(args.model, project=args.project)
    folder = args.output or Path("export") / trained.name
    require_writable(folder, is_folder=True, is_new=True)
    for note in export_model(trained, folder, args.format):
        print(f"note: {note}")
    print(f"{trained.name} as {args.format}: {folder}")
