"""The objective of every model as MathML, and what one should see."""

import inspect
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

import latentlab
from latentlab.report.equations import _notes, mathml, note_of

MODELS = sorted(
    path.stem
    for path in (Path(latentlab.__file__).parent / "models").glob("[a-z]*.py")
    if path.stem != "classifier"  # it is no generative model and has no card
)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_an_equation_and_two_sentences(name):
    note = note_of(f"latentlab.models.{name}.SomeClass")
    assert note is not None
    assert 1 <= len(note.objective) <= 3
    for formula in note.objective:
        assert ET.fromstring(formula).tag.endswith("math")
    for sentence in (note.see, note.why):
        assert sentence.endswith(".")
        assert 20 < len(sentence) < 200


def test_a_config_can_have_sentences_of_its_own():
    of_class = note_of("latentlab.models.autoencoder.Autoencoder", "stacked_ae")
    of_config = note_of("latentlab.models.autoencoder.Autoencoder", "deep_ae_2d")
    assert "sharp" in of_class.see
    assert "blurred" in of_config.see
    assert of_config.objective == of_class.objective
    other = note_of("latentlab.models.vae.VAE", "deep_ae_2d")
    assert other == note_of("latentlab.models.vae.VAE"), "a config of another class"


def classes_of(name):
    module = import_module(f"latentlab.models.{name}")
    found = [each for _, each in inspect.getmembers(module, inspect.isclass)]
    return [each for each in found if each.__module__ == module.__name__]


@pytest.mark.parametrize("name", MODELS)
def test_each_loss_that_can_be_chosen_has_its_equation(name):
    note = _notes()[name]
    for each in classes_of(name):
        arguments, hints = inspect.signature(each).parameters, get_type_hints(each.__init__)
        for argument in {"loss", "reconstruction", "penalty"} & set(arguments):
            others = set(get_args(hints[argument])) - {arguments[argument].default}
            assert set(note["settings"][argument]) == others


@pytest.mark.parametrize("name", MODELS)
def test_equations_of_settings_are_of_arguments_and_can_be_set(name):
    note = _notes()[name]
    names = {
        argument for each in classes_of(name) for argument in inspect.signature(each).parameters
    }
    chosen = [*(note.get("settings") or {}).items(), *(note.get("terms") or {}).items()]
    for argument, values in chosen:
        assert argument.partition(".")[0] in names
        for lines in values.values():
            for line in [lines] if isinstance(lines, str) else lines:
                assert ET.fromstring(mathml(line)).tag.endswith("math")


@pytest.mark.parametrize("name", MODELS)
def test_a_regularized_discriminator_has_its_terms(name):
    arguments = {a for each in classes_of(name) for a in inspect.signature(each).parameters}
    unsupported = getattr(import_module(f"latentlab.models.{name}"), "UNSUPPORTED", {})
    if "regularization" in arguments and "r1_gamma" not in unsupported:
        settings = {"regularization": {"r1_gamma": 2.0}}
        found = note_of(f"latentlab.models.{name}.X", "", settings).objective
        assert any("∇" in line or "&#x02207;" in line for line in found)


def objective_of_config(name, **changes):
    text = (Path(latentlab.__file__).parents[2] / "configs" / f"{name}.yaml").read_text()
    model = yaml.safe_load(text)["model"]
    found = note_of(model["class_path"], name, model["init_args"] | changes)
    return ["".join(ET.fromstring(line).itertext()) for line in found.objective]


def test_the_objective_is_that_of_the_config():
    assert "log" not in objective_of_config("stacked_ae")[1]
    assert "log" in objective_of_config("conv_ae")[1]
    assert "KL" in objective_of_config("sparse_kl_ae")[0]
    assert "KL" not in objective_of_config("sparse_l1_ae")[0]
    two_players, minimax = objective_of_config("gan"), objective_of_config("gan_minimax")
    assert (len(two_players), len(minimax)) == (2, 1)
    assert minimax[0].startswith("minGmaxD")
    assert "exp" in objective_of_config("gan_likelihood")[1]
    assert "∇" in objective_of_config("gan_likelihood")[2]  # R1
    assert "log" not in "".join(objective_of_config("lsgan"))
    _, generator, layers = objective_of_config("hinge_gan")
    assert "log" not in generator
    assert "layer" in layers
    assert "clipped" in objective_of_config("wgan")[1]
    assert "penalty" in objective_of_config("wgan_gp")[1]
    assert len(objective_of_config("dcgan", regularization={"r1_gamma": 0.0})) == 2
    assert len(objective_of_config("dcgan", regularization={"spectral_norm": False})) == 2


@pytest.mark.parametrize("name", MODELS)
def test_sentences_of_configs_are_of_configs(name):
    configs = Path(latentlab.__file__).parents[2] / "configs"
    for config, words in (_notes()[name].get("configs") or {}).items():
        assert f"latentlab.models.{name}." in (configs / f"{config}.yaml").read_text()
        assert set(words) == {"see", "why"}
        assert all(text.endswith(".") and 20 < len(text) < 200 for text in words.values())


def test_a_class_of_a_user_has_no_note():
    assert note_of("my_models.wae.WAE") is None
    assert note_of("latentlab.models.unknown.X") is None
    assert note_of("") is None


def test_an_unknown_command_is_an_error():
    with pytest.raises(ValueError, match="does not know"):
        mathml(r"x \unknowncommand y")


def test_a_relation_and_a_name_are_set_as_such():
    assert "<mo>&#x0223C;</mo>" in mathml(r"x \sim p")
    assert "<mi>KL</mi>" in mathml(r"\operatorname{KL}(q)")
