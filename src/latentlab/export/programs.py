"""Encoder and decoder as programs that run without latentlab. The batch may have any size."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.inference.trained import TrainedModel
from latentlab.utils.errors import LatentlabError

BATCH = 5  # images of the trace; a batch of one would be taken for a constant
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Program(nn.Module):
    """One method of a model as `forward`."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.model, self.method)(x)


def write_programs(trained: TrainedModel, folder: Path, form: str) -> list[str]:
    """Write decode and, of a model with an encoder, encode. Return notes for the model card.

    `form`: torch.export or onnx. A method whose code fixes the size of the batch is written for a
    batch of one, and an encoder that cannot be traced is left out, both with a note. Each program
    is run and compared with the model. Raises LatentlabError if the decoder cannot be traced, or
    packages are missing.
    """
    if form == "onnx":
        require_onnx()
    save = _save_onnx if form == "onnx" else _save_program
    z = trained.sample_latents(BATCH)
    notes = _write(trained, "decode", z, folder, save)
    if not trained.has_encoder:
        return notes
    try:
        return notes + _write(trained, "encode", trained.decode(z), folder, save)
    except LatentlabError as error:
        for path in folder.glob("encode.*"):
            path.unlink()
        return [*notes, f"There is no program of the encoder: {error}."]


def require_onnx() -> None:
    """Raise LatentlabError if the packages of the ONNX export are not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise LatentlabError(
            f"the format onnx needs {', '.join(missing)}, not installed here: run `pip install"
            ' "latentlab[export]"`, or use --format torch.export'
        )


def _write(trained: TrainedModel, method: str, x: Tensor, folder: Path, save: Any) -> list[str]:
    program = Program(trained.module.cpu(), method).eval()
    try:
        _trace(program, x, folder / method, save, dynamic=True)
        return []
    except Exception:  # the tracer raises many types
        pass
    try:
        _trace(program, x[:1], folder / method, save, dynamic=False)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LatentlabError(
            f"{method} of {trained.name} cannot be exported ({reason}); --format safetensors works"
        ) from error
    return [f"`{method}` takes a batch of one: the code of this model fixes the size of the batch."]


def _trace(program: nn.Module, x: Tensor, path: Path, save: Any, *, dynamic: bool) -> None:
    """Trace, compare with the model, save."""
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer; the result is compared below
        traced = torch.export.export(program, (x,), dynamic_shapes=shapes)
        for size in {1, 3} if dynamic else {1}:
            _compare(program, traced.module(), x[:size])
        save(traced, x, path, shapes)


def _compare(program: nn.Module, traced: Any, x: Tensor) -> None:
    """Raise ValueError if the program computes something else."""
    if not torch.allclose(traced(x), program(x), rtol=1e-4, atol=1e-5):
        raise ValueError(f"the program differs from the model for a batch of {len(x)}")


def _save_program(traced: Any, x: Tensor, path: Path, shapes: Any) -> None:
    torch.export.save(traced, path.with_suffix(".pt2"))


def _save_onnx(traced: Any, x: Tensor, path: Path, shapes: Any) -> None:
    torch.onnx.export(
        traced,
        (x,),
        path.with_suffix(".onnx"),
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=["codes" if path.name == "decode" else "images"],
        output_names=["images" if path.name == "decode" else "codes"],
        external_data=False,
        verbose=False,
    )
    _compare_onnx(traced.module(), x, path.with_suffix(".onnx"))


def _compare_onnx(model: Any, x: Tensor, path: Path) -> None:
    """Raise ValueError if ONNX Runtime computes something else.

    It can: torch writes log σ(x) as Log(Sigmoid(x)), which is −∞ for x below about −18.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    if not torch.allclose(torch.from_numpy(found), model(x), rtol=1e-3, atol=1e-4):
        raise ValueError("ONNX Runtime computes other values than the model")
