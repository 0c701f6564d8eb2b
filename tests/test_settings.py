"""Settings behind the measured numbers: defaults, constants, sizes and rates of the models.

tests/settings.txt lists them. docs/results.md and the headers of the configs were measured with
these: whoever changes one measures again, then writes the list: python tests/test_settings.py
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from latentlab.config import load_experiment
from latentlab.config.selection import model_names
from models.lightning_stub import with_trainer

REPO = Path(__file__).resolve().parents[1]
LIST = REPO / "tests" / "settings.txt"
FOLDERS = (
    *("models", "losses", "networks", "optim", "metrics", "samplers", "evaluation", "diagnostics"),
)
CONSTANTS = re.compile(r"^([A-Z0-9_, ]+?)(?:: .*)? = ", re.MULTILINE)  # "A, B = "
SHAPE = (1, 28, 28)


def modules() -> Iterator[ModuleType]:
    for folder in FOLDERS:
        package = importlib.import_module(f"latentlab.{folder}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def is_number(value: Any) -> bool:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, dict):
        value = [each for each in value.values() if not isinstance(each, str)]
    if isinstance(value, (tuple, list)):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, (bool, int, float))


def numbers(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if is_number(value)}


def defaults(function: Any) -> dict[str, str]:
    parameters = inspect.signature(function).parameters.values()
    return numbers({parameter.name: parameter.default for parameter in parameters})


def settings_of(module: ModuleType) -> Iterator[tuple[str, dict[str, str]]]:
    """Numbers of a module and of its classes, and defaults of its functions and methods."""
    found = CONSTANTS.findall(inspect.getsource(module))
    assigned = {name for names in found for name in names.split(", ")}  # and not imported
    yield "", numbers({k: v for k, v in vars(module).items() if k in assigned})
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            own = {k: v for k, v in vars(value).items() if not k.startswith("_")}
            yield f".{name}", numbers(own)
            for method, member in vars(value).items():
                function = inspect.unwrap(getattr(member, "__func__", member))
                repeats = method == "__init__" and dataclasses.is_dataclass(value)
                if inspect.isfunction(function) and not repeats:
                    yield f".{name}.{method}", defaults(function)
        elif inspect.isfunction(value):
            yield f".{name}", defaults(inspect.unwrap(value))


def models() -> Iterator[tuple[str, dict[str, str]]]:
    """Trained tensors, their values, and the optimizers of each model, for images of SHAPE."""
    for name in model_names(REPO):
        spec = {"image_shape": SHAPE, "num_classes": 10}
        model = with_trainer(load_experiment(name, spec, REPO).model)
        trained = [p.numel() for p in model.parameters() if p.requires_grad]
        described = {"tensors": str(len(trained)), "values": str(sum(trained))}
        for i, optimizer in enumerate(model.optimizers()):
            group = optimizer.param_groups[0]
            decays = "initial_lr" in group  # a scheduler writes it
            described[f"optimizer {i}"] = f"(lr {group['lr']}, betas {group['betas']}, {decays=})"
        yield f"model {name}", described


def lines(settings: Iterable[tuple[str, dict[str, str]]]) -> list[str]:
    """A line for each place that has settings."""
    return sorted(
        f"{place}: {', '.join(f'{name} {value}' for name, value in values.items())}"
        for place, values in settings
        if values
    )


def all_settings() -> Iterator[tuple[str, dict[str, str]]]:
    for module in modules():
        for place, values in settings_of(module):
            yield module.__name__.removeprefix("latentlab.") + place, values


def listed(*, models: bool) -> list[str]:
    text = LIST.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("model ") == models]


def test_numbers_are_measured_with_these_defaults_and_constants():
    """On a mismatch, measure again and write the list: python tests/test_settings.py."""
    assert lines(all_settings()) == listed(models=False)


def test_numbers_are_measured_with_these_models():
    """On a mismatch, measure again and write the list: python tests/test_settings.py."""
    assert lines(models()) == listed(models=True)


if __name__ == "__main__":
    everything = [*lines(all_settings()), *lines(models())]
    LIST.write_text("\n".join(everything) + "\n", encoding="utf-8")
