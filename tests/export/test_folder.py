"""`latentlab export`: each format is loaded again and compared with `latentlab.load`."""

import json

import numpy as np
import pytest
import torch

import latentlab
from latentlab.cli import main
from latentlab.contracts import to_float
from latentlab.data.prepared import read_split
from latentlab.export.folder import export_model
from latentlab.utils.errors import LatentlabError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:torch", "ignore::UserWarning:torch")


@pytest.fixture(scope="module")
def x(tiny):
    return to_float(read_split(tiny.root / "data" / "prepared", "test").images[:7])


@pytest.mark.parametrize("name", ["linear_ae", "vae", "dcgan"])
def test_exported_weights_are_loaded_by_their_folder(tiny, tmp_path, x, name, capsys):
    folder = tmp_path / "new" / name
    main(["export", name, "-o", str(folder), "--project", str(tiny.root)])
    assert capsys.readouterr().out == f"{name} as safetensors: {folder}\n"
    files = {path.name for path in folder.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "sampler.safetensors"}
    there, here = latentlab.load(folder), latentlab.load(name, project=tiny.root)
    assert torch.equal(there.sample(5, seed=2), here.sample(5, seed=2))
    assert torch.equal(there.encode(x), here.encode(x))
    assert there.classes == here.classes


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_programs_take_any_batch(tiny, tmp_path, x, name):
    here = latentlab.load(name, project=tiny.root)
    assert export_model(here, tmp_path / name, "torch.export") == []
    decode = torch.export.load(tmp_path / name / "decode.pt2").module()
    codes = torch.from_numpy(np.load(tmp_path / name / "codes.npy"))
    assert torch.equal(codes, here.sample_latents(1000))
    for size in (1, 2, 64):
        torch.testing.assert_close(decode(codes[:size]), here.decode(codes[:size]))
    assert (tmp_path / name / "encode.pt2").exists() == here.has_encoder
    if here.has_encoder:
        encode = torch.export.load(tmp_path / name / "encode.pt2").module()
        torch.testing.assert_close(encode(x), here.encode(x))


def test_a_program_for_one_image_says_so(conditional, tmp_path):
    """The encoder of the conditional VAE makes labels for a batch of known size."""
    here = latentlab.load(conditional)
    (note,) = export_model(here, tmp_path / "out", "torch.export")
    assert note.startswith("`encode` takes a batch of one")
    assert note in (tmp_path / "out" / "README.md").read_text()
    encode = torch.export.load(tmp_path / "out" / "encode.pt2").module()
    images = here.sample(1)
    torch.testing.assert_close(encode(images), here.encode(images))


def test_onnx_runtime_computes_the_same(tiny, tmp_path, x):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    here = latentlab.load("vae", project=tiny.root)
    export_model(here, tmp_path / "out", "onnx")
    codes = here.sample_latents(9)
    for name, given, expected in (
        ("decode", {"codes": codes}, here.decode(codes)),
        ("encode", {"images": x}, here.encode(x)),
    ):
        session = runtime.InferenceSession(tmp_path / "out" / f"{name}.onnx")
        (found,) = session.run(None, {key: value.numpy() for key, value in given.items()})
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_missing_packages_are_named_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    here = latentlab.load("vae", project=tiny.root)
    message = (
        r'needs onnx, onnxscript, onnxruntime, not installed here: run `pip install "latentlab\['
    )
    with pytest.raises(LatentlabError, match=message):
        export_model(here, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_never_overwritten(tiny, tmp_path):
    here = latentlab.load("vae", project=tiny.root)
    with pytest.raises(LatentlabError, match=r"exists already: give a new folder with -o"):
        export_model(here, tmp_path, "safetensors")
    with pytest.raises(LatentlabError, match="classifier is no generative model"):
        export_model(latentlab.load("classifier", project=tiny.root), tmp_path / "c", "onnx")


def test_a_damaged_export_is_an_error(tiny, tmp_path):
    folder = tmp_path / "out"
    export_model(latentlab.load("vae", project=tiny.root), folder, "safetensors")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(
        LatentlabError, match=r"model.safetensors does not hold this model's weights"
    ):
        latentlab.load(folder)
    (folder / "config.json").write_text(json.dumps({"name": "vae"}))
    with pytest.raises(LatentlabError, match="not a complete run folder"):
        latentlab.load(folder)
